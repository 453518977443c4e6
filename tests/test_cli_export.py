"""`export`: the processed URLs, and the feed with its enclosures replaced."""

import csv
import io
import json
import xml.etree.ElementTree as ET

import pytest

from feedwatch.sandbox.server import Sandbox
from tests.support import FeedServer, Feedwatch, Workspace, audio, item


@pytest.fixture
def two_feeds(feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace) -> Feedwatch:
    """Feed `show`: 1 skipped, 2 ready. Feed `other`: 11 ready."""
    feed_server.publish(1, item(2, title='Quotes " and, commas; and ümlauts'))
    feed_server.publish(11, path="/other.xml")
    workspace.set(FEEDS__SHOW__FIRST_RUN="latest:1")
    workspace.add_feed("other", feed_server.url_of("/other.xml"), FIRST_RUN="all")
    assert feedwatch.once().status == 0
    return feedwatch


def test_csv_has_a_row_for_each_ready_episode_and_is_the_default(
    two_feeds: Feedwatch,
) -> None:
    ended = two_feeds("export")
    assert ended.status == 0
    rows = list(csv.DictReader(io.StringIO(ended.stdout)))
    assert {(row["feed"], row["guid"], row["title"]) for row in rows} == {
        ("show", "guid-2", 'Quotes " and, commas; and ümlauts'),
        ("other", "guid-11", "Episode 11"),
    }
    for row in rows:
        assert row["processed_url"] == two_feeds.episode(row["guid"])["processed_url"]
    assert two_feeds.here("export", "--format", "csv").stdout == ended.stdout


def test_a_row_of_csv_is_about_one_job_also_while_the_episode_is_sent_again(
    feedwatch: Feedwatch,
) -> None:
    def row() -> dict[str, str]:
        (only,) = csv.DictReader(io.StringIO(feedwatch.here("export").stdout))
        return only

    feedwatch.once()
    before = row()
    assert before["media_id"]
    assert before["finished_at"]
    assert feedwatch.here("retry", "--again", 1, "--yes").status == 0
    assert row() == before
    feedwatch.once("--timeout", 0)
    assert feedwatch.episode()["media_id"] not in (None, before["media_id"])
    assert row() == before


def test_json_has_each_ready_episode_as_episodes_json_gives_it(two_feeds: Feedwatch) -> None:
    ended = two_feeds.here("export", "--format", "json")
    ready = [one for one in two_feeds.json("episodes") if one["state"] == "ready"]
    assert ended.json == ready
    ended = two_feeds.here("export", "--format", "json", "--feed", "other")
    assert [one["guid"] for one in ended.json] == ["guid-11"]


def test_rss_is_the_feed_byte_for_byte_but_for_the_enclosures_of_ready_episodes(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace, sandbox: Sandbox
) -> None:
    def enclosure(number: int) -> str:
        return f'<enclosure url="{audio(number)}" length="1000" type="audio/mpeg"/>'

    odd = (
        f"\r\n<!-- {enclosure(2)} --><item ><title>T\u00fc &#8211; <![CDATA[<b>{audio(2)}</b>]]>"
        f"</title><link>{audio(2)}</link>\t<x:y xmlns:x='urn:z' a = 'b'/></item>\r\n"
    )
    document = feed_server.publish(item(1), odd, item(2)) + b"\n<!-- the end -->"
    feed_server.serve(document)
    workspace.set(FEEDS__SHOW__FIRST_RUN="latest:1")
    assert feedwatch.once().status == 0
    processed = feedwatch.episode("guid-2")["processed_url"]
    ended = feedwatch.here("export", "--format", "rss", "--feed", "show")
    assert ended.status == 0
    before, old, after = document.rpartition(enclosure(2).encode())
    assert old
    assert ended.raw.startswith(before)
    assert ended.raw.endswith(after)
    new = ended.raw.removeprefix(before).removesuffix(after).decode()
    assert f'url="{processed}"' in new
    assert 'type="audio/mpeg"' in new


def test_rss_of_a_feed_without_ready_episodes_is_the_feed_as_it_is(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace
) -> None:
    workspace.set(FEEDS__SHOW__FIRST_RUN="none")
    assert feedwatch.once().status == 0
    ended = feedwatch.here("export", "--format", "rss")
    assert (ended.status, ended.raw) == (0, feed_server.publish(1))


def test_rss_on_a_terminal_ends_with_a_new_line_and_elsewhere_as_the_publisher_ends_it(
    feedwatch: Feedwatch, feed_server: FeedServer
) -> None:
    feed_server.serve(document := feed_server.publish(1).rstrip())
    assert feedwatch.here("export", "--format", "rss").raw == document
    assert feedwatch.on_terminal("export", "--format", "rss").stdout.endswith("</rss>\n")


def test_rss_of_several_feeds_in_one_document_is_wrong_usage(two_feeds: Feedwatch) -> None:
    ended = two_feeds.here("export", "--format", "rss")
    assert ended.status == 2
    assert "--feed" in ended.stderr


def test_rss_of_a_feed_that_cannot_be_fetched_is_an_error_and_no_document(
    two_feeds: Feedwatch, feed_server: FeedServer
) -> None:
    feed_server.answer(500)
    ended = two_feeds.here("export", "--format", "rss", "--feed", "show")
    assert (ended.status, ended.stdout) == (1, "")
    assert "500" in ended.stderr


def outlines(document: bytes) -> list[dict[str, str]]:
    """The attributes of each feed of an OPML file."""
    return [dict(one.attrib) for one in ET.fromstring(document).findall("body/outline")]


def test_opml_has_each_configured_feed_and_asks_neither_the_database_nor_anybody_else(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace
) -> None:
    workspace.set(CHECK_INTERVAL="15m")
    workspace.add_feed("other", "https://example.org/?a=1&b=2", "podcast-2")
    ended = feedwatch.here("export", "--format", "opml")
    assert (ended.status, ended.stderr) == (0, "")
    podcast = "{urn:feedwatch:opml}podcast"
    other = {"text": "other", "title": "other", "type": "rss", podcast: "podcast-2"}
    show = {"text": "show", "title": "show", "type": "rss", podcast: "podcast-1"}
    assert outlines(ended.raw) == [
        other | {"xmlUrl": "https://example.org/?a=1&b=2"},
        show | {"xmlUrl": feed_server.url},
    ]
    assert not workspace.database.exists()
    assert feed_server.count() == 0
    only = feedwatch.here("export", "--format", "opml", "--feed", "show")
    assert [one["text"] for one in outlines(only.raw)] == ["show"]
    assert feedwatch.here("export", "--format", "opml", "--feed", "nosuch").status == 2


def test_no_credential_of_a_private_feed_leaves_by_opml_and_what_is_left_out_is_told(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    workspace.set(CHECK_INTERVAL="15m")
    workspace.add_feed("login", "https://listener:pass-phrase@example.org:8443/f")
    workspace.add_feed("basic", "https://example.org/b", USERNAME="me", PASSWORD="pass-phrase")
    headers = json.dumps({"Authorization": "Bearer pass-phrase"})
    workspace.add_feed("bearer", "https://example.org/h", HEADERS=headers)
    workspace.add_feed("token", "https://example.org/f?auth=pass-phrase-of-mine")
    ended = feedwatch.here("export", "--format", "opml")
    assert ended.status == 3
    urls = {one["text"]: one["xmlUrl"] for one in outlines(ended.raw)}
    assert urls["login"] == "https://example.org:8443/f"
    assert urls.keys() == {"basic", "bearer", "login", "show"}
    assert "pass-phrase" not in ended.output
    assert "listener" not in ended.output
    for name in ("login", "basic", "bearer"):
        assert f"feed {name}: private; its user, password and header fields" in ended.stderr
    assert "feed token: left out" in ended.stderr
