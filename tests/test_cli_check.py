"""`check`: says what would happen to each item and why, and leaves no trace."""

import pytest

from feedwatch.cli.check import error_of
from feedwatch.core.feed import Failed, Gone, NotModified, ParsedFeed
from feedwatch.sandbox.server import Sandbox
from tests.support import FeedServer, Feedwatch, Workspace, audio, item


def test_check_writes_nothing_and_submits_nothing(
    feedwatch: Feedwatch, workspace: Workspace, sandbox: Sandbox
) -> None:
    before = sorted(workspace.folder.rglob("*.db*"))
    ended = feedwatch.here("check")
    assert ended.status == 0
    assert "Episode 1" in ended.stdout
    assert "submit" in ended.stdout
    assert sorted(workspace.folder.rglob("*.db*")) == before == []
    assert sandbox.submissions == []


def test_check_leaves_a_database_as_it_was_and_the_item_to_be_submitted_later(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace, sandbox: Sandbox
) -> None:
    assert feedwatch.once().status == 0
    feed_server.publish(1, 2)
    before = feedwatch.json("feeds"), feedwatch.json("episodes"), feedwatch.json("status")
    content = workspace.database.read_bytes()
    for _ in range(2):
        (feed,) = feedwatch.json("check")
        assert [one["decision"] for one in feed["items"]] == ["known", "submit"]
    assert workspace.database.read_bytes() == content
    assert (feedwatch.json("feeds"), feedwatch.json("episodes"), feedwatch.json("status")) == before
    assert feedwatch.once().status == 0
    assert [body["url"] for body in sandbox.taken] == [audio(1), audio(2)]


def test_of_much_that_is_to_be_paid_for_the_first_are_listed_and_the_others_are_counted(
    feedwatch: Feedwatch, feed_server: FeedServer
) -> None:
    feed_server.publish(*range(1, 26))
    ended = feedwatch.here("check")
    rows = [line.split() for line in ended.stdout.splitlines() if line.startswith("submit")]
    assert [int(row[1]) for row in rows] == [1] * 20 + [5]
    assert "--all" in ended.stderr


def test_json_of_check_is_a_list_of_feeds_as_promised(
    feedwatch: Feedwatch, feed_server: FeedServer
) -> None:
    bare = f'<item><enclosure url="{audio(2)}" length="1" type="audio/mpeg"/></item>'
    feed_server.publish(1, bare)
    ended = feedwatch.here("check", "--json")
    (feed,) = ended.json
    items = feed.pop("items")
    assert feed == {"name": "show", "url": feed_server.url, "error": None}
    first, second = items
    assert first.pop("reason")
    assert first == {
        "guid": "guid-1",
        "title": "Episode 1",
        "enclosure_url": audio(1),
        "published_at": "2026-01-02T06:00:00Z",
        "decision": "submit",
    }
    assert set(second) == {*first, "reason"}
    assert (second["guid"], second["published_at"]) == (None, None)
    assert second["enclosure_url"] == audio(2)


def test_check_tells_submit_hold_skip_and_known_apart_each_with_a_reason(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace
) -> None:
    workspace.set(FLOOD_LIMIT=1, FEEDS__SHOW__EXCLUDE_TITLE="Rerun")
    assert feedwatch.once().status == 0
    no_audio = "<item><title>A post</title><guid>post</guid></item>"
    feed_server.publish(1, 2, item(4, title="Rerun of 1"), no_audio)
    assert decisions(feedwatch) == {
        "guid-1": "known",
        "guid-2": "submit",
        "guid-4": "skip",
        "post": "skip",
    }
    feed_server.publish(1, 2, 3)
    assert decisions(feedwatch) == {"guid-1": "known", "guid-2": "hold", "guid-3": "hold"}


def decisions(feedwatch: Feedwatch) -> dict[str, str]:
    (feed,) = feedwatch.json("check")
    assert all(one["reason"] for one in feed["items"])
    return {one["guid"]: one["decision"] for one in feed["items"]}


def test_a_filter_keeps_an_item_out_and_lets_one_pass_that_says_nothing(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace
) -> None:
    filters = {
        "INCLUDE_TITLE": ("^Episode", item(2, title="Best of 2025")),
        "EXCLUDE_TITLE": ("(?i)rerun", item(2, title="Rerun: Episode 1")),
        "EPISODE_TYPES": (
            "full",
            item(2, more="<itunes:episodeType>trailer</itunes:episodeType>"),
        ),
        "MEDIA_TYPES": ("audio/*", item(2, media_type="video/mp4")),
        "MIN_DURATION": ("5m", item(2, more="<itunes:duration>4:59</itunes:duration>")),
        "MAX_DURATION": ("1h", item(2, more="<itunes:duration>1:00:01</itunes:duration>")),
    }
    for key, (value, kept_out) in filters.items():
        path = f"/{key}.xml"
        feed_server.publish(1, kept_out, path=path)
        workspace.add_feed(key, feed_server.url_of(path), FIRST_RUN="all", **{key: value})
    for feed in feedwatch.json("check", *filters):
        assert [one["decision"] for one in feed["items"]] == ["submit", "skip"], feed
        assert feed["items"][1]["reason"]


def test_check_says_what_the_first_run_would_do(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace
) -> None:
    feed_server.publish(1, 2)
    workspace.set(FEEDS__SHOW__FIRST_RUN="latest:1")
    assert decisions(feedwatch) == {"guid-1": "skip", "guid-2": "submit"}


def test_check_of_named_feeds_fetches_no_other(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace
) -> None:
    feed_server.publish(2, path="/other.xml")
    workspace.add_feed("other", feed_server.url_of("/other.xml"))
    (feed,) = feedwatch.json("check", "Other")
    assert feed["name"] == "other"
    assert feed_server.count() == 0


def test_check_of_a_feed_that_is_not_configured_names_those_that_are(feedwatch: Feedwatch) -> None:
    ended = feedwatch.here("check", "shaw")
    assert ended.status == 2
    assert "shaw" in ended.stderr
    assert "show" in ended.stderr


def test_a_failing_feed_gives_its_error_and_status_3_or_1_if_all_fail(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace
) -> None:
    workspace.add_feed("broken", feed_server.url_of("/nothing.xml"))
    ended = feedwatch.here("check", "--json")
    assert ended.status == 3
    good, bad = sorted(ended.json, key=lambda feed: feed["error"] is not None)
    assert (good["name"], good["error"], len(good["items"])) == ("show", None, 1)
    assert (bad["name"], bad["items"]) == ("broken", [])
    assert "404" in bad["error"]
    ended = feedwatch.here("check", "broken")
    assert ended.status == 1
    assert "404" in ended.output


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Failed("it is no feed"), "it is no feed"),
        (Gone(), "gone: the server answered 410"),
        (NotModified(), "the server answered 304 to a request without conditions"),
        (ParsedFeed(title="T", items=()), "the feed has no items"),
    ],
    ids=["failed", "gone", "not modified", "empty"],
)
def test_a_look_that_gives_no_items_says_why(
    outcome: Failed | Gone | NotModified | ParsedFeed, words: str
) -> None:
    assert error_of(outcome) == words
