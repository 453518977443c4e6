"""Served feeds: what a subscriber gets while episodes come, become ready, and move."""

import gzip
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import rmtree
from time import process_time
from typing import Any
from xml.etree import ElementTree

import pytest

from feedwatch.config.errors import ConfigError
from feedwatch.config.load import load
from feedwatch.core import episode_lifecycle
from feedwatch.core.episode import State
from feedwatch.core.feed import Document, UrlChange
from feedwatch.core.served import (
    FileFacts,
    KeptDocument,
    Placing,
    ServedEpisode,
    Unserved,
)
from feedwatch.core.settings import NotReady, PodcastGuid, Policy, ServeRules, TimedTags
from feedwatch.feeds.rewrite import podcast_guid
from feedwatch.feeds.well_formed import well_formed
from feedwatch.net.address_scope import Scope
from feedwatch.net.client import Cancellation, client
from feedwatch.store.errors import StoreError
from feedwatch.watcher import overview, processed_files
from feedwatch.watcher.processed_files import MAX_CONCURRENT_READS, ProcessedFiles
from feedwatch.watcher.renderings import Renderings
from feedwatch.watcher.served_feeds import ServedFeeds
from feedwatch.web.public import public_application
from feedwatch.web.public_side import PublicSide
from tests.feeds_corpus import Corpus
from tests.replay import MANY, latest_date, versions
from tests.served import LENGTH, URL, ServedWorld, Subscriber, served_world
from tests.support import FeedServer, Feedwatch, Loopback, Workspace, audio, item, wait_for
from tests.test_health import NOW

KEY = "0123456789abcdef0123"


@pytest.fixture
def one(tmp_path: Path) -> Iterator[ServedWorld]:
    with served_world(tmp_path / "feedwatch.db") as world:
        world.feeds.publish(1, 2)
        yield world


def enclosures(document: bytes) -> dict[str, str]:
    """The address of each item's audio, by guid."""
    return {
        (one.findtext("guid") or "").strip(): enclosure.get("url", "")
        for one in ElementTree.fromstring(document).iter("item")
        if (enclosure := one.find("enclosure")) is not None
    }


def test_an_episode_is_served_as_published_until_it_is_ready_and_then_processed(
    one: ServedWorld,
) -> None:
    one.check()
    assert enclosures(one.render()) == {"guid-1": audio(1), "guid-2": audio(2)}
    one.settle()
    document = one.render()
    assert enclosures(document) == {
        guid: one.episode(guid).processed_url for guid in ("guid-1", "guid-2")
    }
    assert document.count(f'length="{LENGTH}"'.encode()) == 2
    assert document.count(b"<itunes:duration") == 2
    assert f'href="{URL}/feeds/show.xml"'.encode() in document


def test_an_unchanged_feed_is_not_rendered_again(one: ServedWorld) -> None:
    one.settle()
    one.render()
    before = one.served.find("show")
    one.later(hours=1)
    one.check()
    one.served.refresh()
    assert one.served.find("show") is before
    one.feeds.serve(one.feeds.publish(1, 2).replace(b"A show", b"The show"))
    one.later(hours=1)
    one.check()
    assert b"The show" in one.render(), "no item has changed, but the document has"


def test_an_episode_whose_address_and_guid_change_at_a_host_move_keeps_its_processed_file(
    one: ServedWorld,
) -> None:
    one.feeds.publish(*range(1, 6))
    one.settle()
    processed = {guid: one.episode(guid).processed_url for guid in ("guid-1", "guid-2")}
    one.feeds.publish(
        item(1, guid="moved-1", url="https://new.example.org/a1.mp3"),
        *(item(n, url=f"https://new.example.org/a{n}.mp3") for n in range(2, 6)),
    )
    one.later(hours=1)
    one.check()
    found = enclosures(one.render())
    assert found["moved-1"] == processed["guid-1"]
    assert found["guid-2"] == processed["guid-2"]
    assert one.store.documents.all()["show"].unplaced == 0


def test_a_recording_that_waits_for_a_decision_is_served_as_published(one: ServedWorld) -> None:
    one.settle()
    one.feeds.publish(item(1, url="https://media.example.org/show/corrected.mp3"), 2)
    one.later(hours=1)
    one.check()
    assert enclosures(one.render())["guid-1"] == "https://media.example.org/show/corrected.mp3"


def test_ready_episodes_that_the_document_no_longer_has_are_counted(one: ServedWorld) -> None:
    one.settle()
    one.feeds.publish(2)
    one.later(hours=1)
    one.check()
    one.render()
    assert one.store.documents.all()["show"].unplaced == 1


def test_what_is_not_ready_can_be_left_out_for_a_while(one: ServedWorld) -> None:
    one.configure(not_ready=NotReady.OMIT)
    one.check()
    assert enclosures(one.render()) == {}
    one.later(hours=25)
    assert enclosures(one.render()) == {"guid-1": audio(1), "guid-2": audio(2)}
    one.settle()
    assert len(enclosures(one.render())) == 2


def test_how_long_it_is_left_out_is_the_feeds_to_say(one: ServedWorld) -> None:
    one.configure(not_ready=NotReady.OMIT, omit_for=timedelta(hours=1))
    one.check()
    one.later(minutes=59)
    assert enclosures(one.render()) == {}
    one.later(minutes=2)
    assert enclosures(one.render()) == {"guid-1": audio(1), "guid-2": audio(2)}


CHAPTERS = b'<podcast:chapters url="https://x.example/1.json" type="application/json"/>'


@pytest.mark.parametrize("timed_tags", list(TimedTags))
def test_chapters_of_what_is_replaced_are_kept_on_demand_alone(
    one: ServedWorld, timed_tags: TimedTags
) -> None:
    one.feeds.serve(with_podcast_tags(one.feeds.publish(item(1, more=CHAPTERS.decode()))))
    one.configure(timed_tags=timed_tags)
    one.check()
    assert CHAPTERS in one.render(), "nothing is replaced yet"
    one.settle()
    assert (CHAPTERS in one.render()) is (timed_tags is TimedTags.KEEP)


@pytest.mark.parametrize("kept", list(PodcastGuid))
def test_the_guid_of_a_served_feed_is_the_origins_or_its_own(
    one: ServedWorld, kept: PodcastGuid
) -> None:
    origins = "<podcast:guid>9b024349-ccf0-5f69-a609-6b82873eab3c</podcast:guid>"
    one.feeds.serve(with_podcast_tags(one.feeds.publish(1), origins))
    one.configure(podcast_guid=kept)
    one.settle()
    own = f">{podcast_guid(f'{URL}/feeds/show.xml')}</podcast:guid>"
    served = one.render().decode()
    assert (origins in served, own in served) == (
        (True, False) if kept is PodcastGuid.KEEP else (False, True)
    )


def with_podcast_tags(document: bytes, tags: str = "") -> bytes:
    """The document with the podcast namespace, and with tags of its channel."""
    namespace = b'<rss xmlns:podcast="https://podcastindex.org/namespace/1.0" '
    return document.replace(b"<rss ", namespace).replace(b"<channel>", f"<channel>{tags}".encode())


def test_what_is_sent_again_is_served_with_its_file_until_the_new_one_is_there(
    one: ServedWorld,
) -> None:
    one.configure(not_ready=NotReady.OMIT)
    one.settle()
    one.render()
    before = one.episode("guid-1")
    again = episode_lifecycle.sent_again(before, one.now)
    assert one.store.episodes.save(before, again, one.now) is not None
    assert enclosures(one.render())["guid-1"] == before.processed_url
    one.settle()
    found = one.episode("guid-1").processed_url
    assert enclosures(one.render())["guid-1"] == found != before.processed_url


def send_again(one: ServedWorld, guid: str = "guid-1") -> tuple[str, str]:
    """Have a ready episode made ready once more; its processed addresses before and now."""
    before = one.episode(guid)
    again = episode_lifecycle.sent_again(before, one.now)
    assert one.store.episodes.save(before, again, one.now) is not None
    one.settle()
    now = one.episode(guid).processed_url
    assert now != before.processed_url
    return before.processed_url or "", now or ""


def test_the_file_of_the_job_before_stays_until_the_new_one_is_known(one: ServedWorld) -> None:
    one.settle()
    one.render()
    one.files.is_silent = True
    before, now = send_again(one)
    assert enclosures(one.render())["guid-1"] == before
    for _ in range(12):
        one.later(hours=5)
        document = one.render()
    assert enclosures(document)["guid-1"] == before, "however long its server is not there"
    assert document.count(f'length="{LENGTH}"'.encode()) == 2
    asked = one.files.asked
    one.later(hours=1)
    one.render()
    assert one.files.asked == asked, "it is asked ever less often"
    reason = placing_of_episode(one).reason or ""
    assert "did not tell it when asked 13 times" in reason
    assert "until then it has the file of the job before" in reason
    one.files.is_silent = False
    one.later(hours=4)
    assert enclosures(one.render())["guid-1"] == now
    assert placing_of_episode(one) == Placing(url=now)


def test_a_server_that_has_the_new_file_and_tells_no_length_is_believed_after_an_hour(
    one: ServedWorld,
) -> None:
    one.settle()
    one.render()
    one.files.length = None
    before, now = send_again(one)
    assert enclosures(one.render())["guid-1"] == before
    for _ in range(8):
        one.later(minutes=16)
        document = one.render()
    assert enclosures(document)["guid-1"] == now
    assert "served with length 0" in (placing_of_episode(one).reason or "")
    one.files.length = LENGTH
    _, third = send_again(one)
    assert enclosures(one.render())["guid-1"] == third


def placing_of_episode(one: ServedWorld, guid: str = "guid-1") -> Placing:
    """What an episode is in its served feed, as verbs and page say it."""
    found = overview.placing_of(one.store, one.context.plan, one.episode(guid))
    assert found is not None
    return found


def test_why_a_ready_episode_is_not_in_its_served_feed_is_told(one: ServedWorld) -> None:
    one.check()
    assert overview.placing_of(one.store, one.context.plan, one.episode("guid-1")) is None
    one.settle()
    assert "was not rendered yet" in (placing_of_episode(one).reason or "")
    one.files.length = None
    one.served.refresh()
    assert placing_of_episode(one).url is None
    assert "when asked once; the next time is " in (placing_of_episode(one).reason or "")
    assert overview.unserved(one.store) == Unserved(unplaced=0, waiting=2)
    one.files.length = LENGTH
    one.later(hours=1)
    one.feeds.publish(2)
    one.check()
    one.render()
    assert "has no item" in (placing_of_episode(one, "guid-1").reason or "")
    assert placing_of_episode(one, "guid-2") == Placing(url=one.episode("guid-2").processed_url)
    assert overview.unserved(one.store) == Unserved(unplaced=1, waiting=0)
    send_again(one, "guid-2")
    assert "is to be asked for the length" in (placing_of_episode(one, "guid-2").reason or "")
    one.feeds.serve(one.feeds.publish(2).replace(b"</channel>", b"<b></channel>"))
    one.restart()
    one.store.documents.keep_only([], one.now)
    one.store.documents.keep_only(["show"], one.now)
    one.later(hours=1)
    one.check()
    assert "no well-formed XML" in (placing_of_episode(one, "guid-2").reason or "")


def test_what_is_skipped_is_never_left_out(one: ServedWorld) -> None:
    one.configure(not_ready=NotReady.OMIT)
    one.check()
    held = one.episode("guid-1")
    one.store.episodes.save(held, type(held)(**vars(held) | {"state": State.SKIPPED}), one.now)
    assert enclosures(one.render()) == {"guid-1": audio(1)}


def test_without_a_length_an_episode_counts_as_not_ready_for_an_hour(
    one: ServedWorld, caplog: pytest.LogCaptureFixture
) -> None:
    one.files.length = None
    one.settle()
    assert enclosures(one.render()) == {"guid-1": audio(1), "guid-2": audio(2)}
    for _ in range(8):
        one.later(minutes=16)
        document = one.render()
    assert enclosures(document)["guid-1"] == one.episode("guid-1").processed_url
    assert document.count(b'length="0"') == 2
    assert caplog.text.count("its server does not tell") == 2


def test_a_server_that_keeps_silent_is_asked_for_a_few_files_only_and_ever_less_often(
    one: ServedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[str] = []
    publish = ServedFeeds._publish

    def counted(*of: Any) -> None:
        rendered.append(of[1].name)
        publish(*of)

    monkeypatch.setattr(ServedFeeds, "_publish", counted)
    one.feeds.publish(*range(1, 13))
    one.files.is_silent = True
    one.settle()
    one.render()
    assert one.files.asked == MAX_CONCURRENT_READS, "only that it does not answer is known"
    assert len(rendered) == 1, "nothing was learnt since"
    one.later(minutes=1)
    one.render()
    assert one.files.asked == 2 * MAX_CONCURRENT_READS
    one.later(minutes=1)
    one.render()
    assert one.files.asked == 2 * MAX_CONCURRENT_READS
    one.files.is_silent = False
    one.later(minutes=1)
    assert one.render().count(f'length="{LENGTH}"'.encode()) == 12


def test_a_document_that_came_while_the_feeds_row_changed_is_not_kept(one: ServedWorld) -> None:
    """It may be of another URL, and the check that is to come would find it unchanged."""
    one.check()
    (feed,) = one.store.feeds.all()
    document = KeptDocument(body=b"of another URL", url="https://old.example.org", at=one.now)
    change = UrlChange(at=one.now, url=feed.url, reason="it has moved")
    for other in (replace(feed, url="https://old.example.org"), replace(feed, version=99)):
        one.store.checks.record_unchanged([(feed, other)], {feed.id: change}, {feed.id: document})
        assert one.store.documents.all()["show"].version == 1
        assert one.store.feeds.url_changes() == {}
    one.store.checks.record_unchanged([(feed, feed)], {feed.id: change}, {feed.id: document})
    assert one.store.documents.all()["show"].version == 2
    assert one.store.feeds.url_changes() == {"show": [change]}


def test_a_document_that_cannot_be_mended_leaves_the_last_good_one(one: ServedWorld) -> None:
    one.settle()
    before = one.render()
    one.feeds.serve(one.feeds.publish(1, 2, 3).replace(b"</channel>", b"<b></channel>"))
    one.later(hours=1)
    one.check()
    held = one.states()["guid-3"]  # feedparser reads it all the same; what is new in it is held
    assert held is State.HELD
    assert one.render() == before
    assert "no well-formed XML" in (one.store.documents.all()["show"].problem or "")
    one.feeds.publish(1, 2, 3)
    one.later(hours=1)
    one.check()
    assert "guid-3" in enclosures(one.render())
    assert one.store.documents.all()["show"].problem is None


def test_where_no_feed_is_served_no_document_is_kept(one: ServedWorld) -> None:
    one.check()
    assert one.store.documents.all().keys() == {"show"}
    one.store.documents.keep_only([], one.now)
    assert one.store.documents.all() == {}
    one.feeds.publish(1, 2, 3)
    one.context.plan = type(one.context.plan)(sources=one.context.plan.sources, policy=one.policy)
    one.later(hours=1)
    one.check()
    assert one.store.documents.all() == {}
    one.restart()  # served again: the document is asked for, though it has not changed
    one.check()
    assert "guid-3" in enclosures(one.render())


def test_what_does_not_fit_in_memory_is_served_from_files_that_go_with_it(
    one: ServedWorld,
) -> None:
    one.check()
    renderings = one.served._renderings = Renderings(most=100)
    one.served._states.clear()
    document = one.render()
    assert one.listener().get("/feeds/show.xml").data == document
    kept = renderings.find("show")
    assert kept is not None
    file = kept.content
    assert isinstance(file, Path)
    del kept
    one.feeds.publish(1, 2, 3)
    one.later(hours=1)
    one.check()
    assert "guid-3" in enclosures(one.render())
    assert not file.exists(), "nobody can ask for it any more"
    assert renderings._folder is not None
    rmtree(renderings._folder.name)  # as systems clear their temporary files
    assert one.listener().get("/feeds/show.xml").status_code == 503
    assert "guid-3" in enclosures(one.render())
    renderings.close()


def test_where_there_is_no_room_for_a_rendering_the_one_before_is_served(
    one: ServedWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one.check()
    before = one.render()
    one.served._renderings._most = 0
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    one.feeds.publish(1, 2, 3)
    one.later(hours=1)
    one.check()
    assert one.render() == before
    assert "there is no room for its rendering" in caplog.text


# The public side


def test_a_listener_gets_the_feed_and_304_as_long_as_it_stays(one: ServedWorld) -> None:
    one.settle()
    document = one.render()
    listener = one.listener()
    got = listener.get("/feeds/show.xml")
    assert (got.status_code, got.data) == (200, document)
    assert got.content_type == "application/rss+xml; charset=utf-8"
    lifetimes = "max-age=300, stale-while-revalidate=3600, stale-if-error=86400"
    assert got.headers["Cache-Control"] == f"public, {lifetimes}"
    assert got.headers["Vary"] == "Accept-Encoding"
    assert "Set-Cookie" not in got.headers
    etag = got.headers["ETag"]
    assert not etag.startswith("W/")
    packed = listener.get("/feeds/show.xml", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(packed.data) == document
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["ETag"] != etag, "another representation"
    head = listener.head("/feeds/show.xml")
    assert (head.status_code, head.data) == (200, b"")
    assert head.content_length == len(document)
    for conditional in (
        {"If-None-Match": etag},
        {"If-None-Match": f'"other", W/{etag}'},
        {"If-None-Match": "*"},
        {"If-Modified-Since": got.headers["Last-Modified"]},
    ):
        same = listener.get("/feeds/show.xml", headers=conditional)
        assert (same.status_code, same.data) == (304, b""), conditional
        assert same.headers["ETag"] == etag
    stale = {"If-None-Match": '"x"', "If-Modified-Since": got.headers["Last-Modified"]}
    assert listener.get("/feeds/show.xml", headers=stale).status_code == 200
    one.feeds.publish(1, 2, 3)
    one.later(hours=1)
    one.check()
    one.render()
    assert listener.get("/feeds/show.xml", headers={"If-None-Match": etag}).status_code == 200


def test_nothing_else_ever_answers_on_the_public_side(one: ServedWorld) -> None:
    one.check()
    one.render()
    listener = one.listener()
    paths = ["/", "/healthz", "/readyz", "/metrics", "/login", "/api/v1/feeds", "/feeds", "/feeds/"]
    paths += ["/feeds/show", "/feeds/SHOW.xml", "/feeds/other.xml", "/feeds/show.xml/", "/static/x"]
    paths += ["/feeds/../feeds/show.xml", f"/feeds/{KEY}/show.xml", "//feeds/show.xml"]
    for path in paths:
        got = listener.get(path)
        assert (got.status_code, got.text) == (404, "not found\n"), path
        assert "Set-Cookie" not in got.headers
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert listener.open("/feeds/show.xml", method=method).status_code == 405
        assert listener.open("/login", method=method).status_code == 404


def test_a_feed_that_is_not_rendered_yet_is_503(one: ServedWorld) -> None:
    for listener in (one.listener(), public_application(PublicSide()).test_client()):
        got = listener.get("/feeds/show.xml")
        assert (got.status_code, got.headers["Retry-After"]) == (503, "60")


def test_a_private_feed_is_served_at_its_unguessable_path_only(one: ServedWorld) -> None:
    one.configure(is_private=True)
    one.check()
    one.served.refresh()
    listener = one.listener()
    assert listener.get("/feeds/show.xml").status_code == 404
    assert one.store.documents.all() == {}
    one.configure(is_private=True, serve_key=KEY)
    one.check()
    assert f"/feeds/{KEY}/show.xml".encode() in one.render()
    listener = one.listener()
    assert listener.get(f"/feeds/{KEY}/show.xml").status_code == 200
    for path in ("/feeds/show.xml", f"/feeds/{KEY}x/show.xml", "/feeds/%C3%A9/show.xml"):
        assert listener.get(path).status_code == 404


def test_a_database_that_is_down_takes_no_feed_away(one: ServedWorld) -> None:
    one.settle()
    one.render()
    one.store.close()
    (one.store.path or Path()).unlink()
    assert one.listener().get("/feeds/show.xml").status_code == 200


def test_a_304_takes_less_than_a_millisecond_without_its_connection(one: ServedWorld) -> None:
    one.check()
    one.render()
    listener = one.listener()
    etag = listener.get("/feeds/show.xml").headers["ETag"]
    began = process_time()
    for _ in range(100):
        assert listener.get("/feeds/show.xml", headers={"If-None-Match": etag}).status_code == 304
    assert process_time() - began < 1.0, "ten times what it takes"


# The config


def test_feeds_are_served_only_on_a_public_side(workspace: Workspace) -> None:
    workspace.set(SERVE_FEEDS="true")
    with pytest.raises(ConfigError, match="PUBLIC_LISTEN and FEEDWATCH_PUBLIC_URL beside it"):
        load(workspace.config, {})
    workspace.set(PUBLIC_LISTEN=":0")
    with pytest.raises(ConfigError, match="PUBLIC_URL beside it"):
        load(workspace.config, {})
    workspace.set(PUBLIC_URL="https://feeds.example.org/")
    assert load(workspace.config, {}).public_url == "https://feeds.example.org"


def test_how_a_feed_is_served_is_the_configs_to_say(workspace: Workspace) -> None:
    keys = {"NOT_READY": "omit", "OMIT_FOR": "1h", "TIMED_TAGS": "keep", "PODCAST_GUID": "own"}
    wanted = ServeRules(
        not_ready=NotReady.OMIT,
        omit_for=timedelta(hours=1),
        timed_tags=TimedTags.KEEP,
        podcast_guid=PodcastGuid.OWN,
    )
    assert load(workspace.config, {}).sources[0].serving == ServeRules()
    workspace.set(**{f"FEEDS__SHOW__{key}": value for key, value in keys.items()})
    assert load(workspace.config, {}).sources[0].serving == wanted


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({}, "/feeds/show.xml"),
        ({"SERVE_KEY": KEY}, f"/feeds/{KEY}/show.xml"),
        ({"USERNAME": "u"}, None),
        ({"HEADERS": '{"X-Token": "abc"}'}, None),
        ({"URL": "https://u:p@example.org/feed.xml"}, None),
        ({"URL": "https://example.org/feed.xml?token=abc"}, None),
        ({"URL": "https://example.org/feed.xml?token=abc", "SERVE_KEY": KEY}, "/feeds/KEY"),
    ],
)
def test_where_a_feed_is_served(
    workspace: Workspace, keys: dict[str, str], path: str | None
) -> None:
    workspace.set(CHECK_INTERVAL="1m")
    workspace.set(**{f"FEEDS__SHOW__{key}": value for key, value in keys.items()})
    settings = load(workspace.config, {})
    found = settings.sources[0].served_path
    assert found == (path if path != "/feeds/KEY" else f"/feeds/{KEY}/show.xml")
    assert "SERVE_KEY" not in keys or KEY in settings.secrets()


def test_a_daemon_serves_its_feeds_from_one_process_to_the_next(
    feedwatch: Feedwatch, workspace: Workspace, feed_server: FeedServer
) -> None:
    workspace.set(PUBLIC_LISTEN="127.0.0.1:0", PUBLIC_URL=URL, SERVE_FEEDS="true")
    assert feedwatch.once().status == 0
    assert feedwatch.json("feeds")[0]["served"]["document_at"]
    number = feedwatch.episode()["id"]
    shown = feedwatch.here("show", number).stdout
    assert "served feed:         as published; the feed was not rendered yet" in shown
    assert feedwatch.json("show", number)["served"]["url"] is None
    assert "served feeds" not in feedwatch.here("status").stdout
    database = sqlite3.connect(workspace.database)
    with closing(database), database:
        database.execute("UPDATE documents SET unplaced = 1, unplaced_episodes = '[99]'")
    assert "served feeds 1 ready episode without an item" in feedwatch.here("status").stdout
    feed_server.publish()
    ended = feedwatch.here("export", "--format", "rss")
    assert "1 of 1 ready episode without an item in it" in ended.stderr


# The servers of processed files


class Files(Loopback):
    """A server of files, each path with its own manners."""

    def __init__(self) -> None:
        self.over = threading.Event()
        seen = self.seen = list[str]()

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                seen.append(f"{self.command} {self.path}")
                match self.path:
                    case "/moved":
                        self.send_response(302)
                        self.send_header("Location", "/plain")
                    case "/no-head" if self.command == "GET":
                        self.send_response(206)
                        self.send_header("Content-Range", "bytes 0-0/99")
                        self.send_header("Content-Type", "text/html")
                    case "/plain":
                        self.send_response(200)
                        self.send_header("Content-Length", "4321")
                        self.send_header("Content-Type", "audio/mp4; x=y")
                    case "/loop":
                        self.send_response(302)
                        self.send_header("Location", "/loop")
                    case _:
                        self.send_response(405)
                self.end_headers()

            do_GET = do_HEAD  # noqa: N815

            def log_message(self, format: str, *_: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def ask(self, path: str, most: Scope = Scope.LOOPBACK) -> FileFacts:
        """What is found out about the file at this path."""
        url = f"http://127.0.0.1:{self._server.server_port}{path}"
        episode = ServedEpisode(
            id=1,
            state=State.READY,
            first_seen_at=NOW,
            processed_url=url,
            duration=None,
            facts=None,
        )
        with client(Cancellation()) as http:
            return ProcessedFiles(http, lambda: most, lambda: NOW).ask([episode])[1]


def test_length_and_type_are_what_the_files_server_says() -> None:
    def told(path: str, **more: Any) -> tuple[int | None, str | None]:
        facts = files.ask(path, **more)
        assert (facts.due_at is None) == (facts.file.length is not None)
        return facts.file.length, facts.file.type

    with Files() as files:
        assert told("/plain") == (4321, "audio/mp4")
        assert told("/moved") == (4321, "audio/mp4")
        assert told("/no-head") == (99, None)
        assert told("/loop") == told("/gone") == (None, None)
        files.seen.clear()
        assert told("/plain", most=Scope.PUBLIC) == (None, None)
        assert files.seen == [], "nothing was sent to an address that private"


# The thread that renders


def test_feeds_are_rendered_on_after_an_error_of_the_database_and_after_a_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("feedwatch.watcher.served_feeds.WAIT_AFTER_ERROR", 0.01)
    with served_world(tmp_path / "feedwatch.db") as one:
        one.feeds.publish(1)
        one.settle()
        refresh = one.served.refresh
        errors = [StoreError("the disk is full"), StoreError("the disk is full"), KeyError("bug")]

        def break_down() -> None:
            if errors:
                raise errors.pop(0)
            refresh()

        monkeypatch.setattr(one.served, "refresh", break_down)
        with one.served:
            wait_for(lambda: one.served.find("show"), what="the feed")
    assert caplog.text.count("served feeds stay as they are: the disk is full") == 1
    assert "a bug has ended the round" in caplog.text


def test_a_bug_over_one_feed_keeps_the_last_good_rendering(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with served_world(tmp_path / "feedwatch.db") as one:
        one.feeds.publish(1)
        one.settle()
        good = one.render()
        for wrong in ("layout_of", "is_well_formed"):
            one.feeds.publish(*range(1, 3 + len(caplog.records)))
            one.later(hours=1)
            one.settle()
            with monkeypatch.context() as patch:
                patch.setattr(f"feedwatch.watcher.served_feeds.{wrong}", lambda _body: None)
                assert one.render() == good
    assert "a bug has ended its rendering; it is served as it was" in caplog.text
    assert "a bug has made its rendering ill-formed" in caplog.text


# A subscriber, over all that real shows have published


SERIES = ["podcasting20-growth", "homegrown-hits-fountain"]
LONG_SERIES = [
    "critical-role-anchor-simplecast",
    "fireside-coder-growth",
    "fireside-selfhosted-polls",
    "fireside-twib-fountain",
    "geek-sundry-podbean-megaphone",
    "nerdist-libsyn-reguid",
    "pair-areyougarbage-megaphone",
    "pair-audiolongread-guardian",
    "pair-darknetdiaries-megaphone",
    "pair-makingsense-libsyn",
    "pair-talkshow-selfhosted",
    "tagesschau-100s",
]


def served_versions(
    one: ServedWorld, folder: Path
) -> Iterator[tuple[str, bytes, bytes, dict[str, str]]]:
    """Each version of a series: its name, as published, as served, and the ready files by guid.

    What is new in a version is ready before it is served.
    """
    one.policy = Policy(max_concurrent_jobs=MANY, max_submissions_per_day=MANY)
    one.restart()
    for file in versions(folder):
        body = file.read_bytes()
        one.feeds.serve(body)
        one.later(hours=6)
        one.now = max(one.now, latest_date(body))
        one.check()
        if one.store.feeds.all()[0].error:
            continue
        one.settle()
        ready = one.store.episodes.find(states=[State.READY])
        files = {episode.guid or "": episode.processed_url or "" for episode in ready}
        yield file.name, body, one.render(), files


@pytest.mark.parametrize(
    "name", [*SERIES, *(pytest.param(one, marks=pytest.mark.long) for one in LONG_SERIES)]
)
def test_a_subscriber_misses_nothing_and_gets_nothing_twice(
    name: str, real_feeds: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processed_files, "PER_ROUND", MANY)
    origin, served = Subscriber(), Subscriber()
    ever_processed: set[str] = set()
    before: dict[str, tuple[str, str]] = {}  # of each guid the address as published and as served
    with served_world(tmp_path / "feedwatch.db") as one:
        for version, body, document, files in served_versions(
            one, real_feeds.folder / "series" / name
        ):
            assert served.read(document) == origin.read(body, is_ours=False), version
            shown, published = enclosures(document), enclosures(mended(body))
            kept = one.store.documents.all()["show"]
            assert kept.problem is None
            placed = set(files.values()) & set(shown.values())
            assert len(placed) == len(files) - (kept.unplaced or 0), version
            ever_processed |= set(files.values())
            for guid, address in shown.items():
                was_published, was_shown = before.get(guid, (published[guid], address))
                if was_shown in ever_processed and was_published == published[guid]:
                    assert address in ever_processed, f"{version}: {guid} went back to its origin"
                before[guid] = published[guid], address
            addresses = [url for url in shown.values() if url in ever_processed]
            if len(set(published.values())) == len(published):
                assert len(set(addresses)) == len(addresses), f"{version}: one file, two episodes"


@pytest.mark.parametrize("name", SERIES)
def test_what_is_left_out_until_it_is_ready_is_not_lost(
    name: str, real_feeds: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processed_files, "PER_ROUND", MANY)
    served = Subscriber()
    with served_world(tmp_path / "feedwatch.db") as one:
        one.configure(not_ready=NotReady.OMIT)
        published = b""
        for _, body, document, _ in served_versions(one, real_feeds.folder / "series" / name):
            published = body
            served.read(document)
        assert all(len(addresses) == 1 for addresses in served.addresses.values())
        one.later(hours=25)
        served.read(one.render())
        assert enclosures(mended(published)).keys() <= served.addresses.keys()


def mended(body: bytes) -> bytes:
    """A publisher's document, well-formed."""
    document = well_formed(Document(body=body, url="https://example.org/feed.xml"))
    assert document is not None
    return document
