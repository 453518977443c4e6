"""Served feeds: what a subscriber gets while episodes come, become ready, and move."""

import gzip
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import process_time
from typing import Any
from xml.etree import ElementTree

import pytest

from feedwatch.config.errors import ConfigError
from feedwatch.config.load import load
from feedwatch.core import episode_lifecycle
from feedwatch.core.episode import State
from feedwatch.core.feed import UrlChange
from feedwatch.core.served import FileFacts, KeptDocument, ServedEpisode
from feedwatch.core.settings import NotReady, ServeRules
from feedwatch.net.address_scope import Scope
from feedwatch.net.client import Cancellation, client
from feedwatch.store.errors import StoreError
from feedwatch.watcher.processed_files import AT_ONCE, ProcessedFiles
from feedwatch.watcher.served_feeds import ServedFeeds
from feedwatch.web.served_feeds import PublicSide, public_application
from tests.feeds_corpus import Corpus
from tests.replay import latest_date, versions
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
    assert one.files.asked == AT_ONCE, "nothing is known of it but that it does not answer"
    assert len(rendered) == 1, "nothing was learnt since"
    one.later(minutes=1)
    one.render()
    assert one.files.asked == 2 * AT_ONCE
    one.later(minutes=1)
    one.render()
    assert one.files.asked == 2 * AT_ONCE
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


# The public side


def test_a_listener_gets_the_feed_and_304_as_long_as_it_stays(one: ServedWorld) -> None:
    one.settle()
    document = one.render()
    listener = one.listener()
    got = listener.get("/feeds/show.xml")
    assert (got.status_code, got.data) == (200, document)
    assert got.content_type == "application/rss+xml; charset=utf-8"
    assert "max-age=300" in got.headers["Cache-Control"]
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
    with pytest.raises(ConfigError, match="PUBLIC_LISTEN beside it"):
        load(workspace.config, {})
    workspace.set(PUBLIC_LISTEN=":0")
    with pytest.raises(ConfigError, match="PUBLIC_URL beside it"):
        load(workspace.config, {})
    workspace.set(PUBLIC_URL="https://feeds.example.org/")
    assert load(workspace.config, {}).public_url == "https://feeds.example.org"


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
            finished_at=None,
            file=None,
        )
        with client(Cancellation()) as http:
            return ProcessedFiles(http, most, lambda: NOW).ask([episode])[1]


def test_length_and_type_are_what_the_files_server_says() -> None:
    def told(path: str, **more: Any) -> tuple[int | None, str | None]:
        facts = files.ask(path, **more)
        assert (facts.due_at is None) == (facts.length is not None)
        return facts.length, facts.type

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
    "fireside-twib-fountain",
    "geek-sundry-podbean-megaphone",
    "nerdist-libsyn-reguid",
    "tagesschau-100s",
    "pair-audiolongread-guardian",
    "pair-darknetdiaries-megaphone",
]


@pytest.mark.parametrize(
    "name", [*SERIES, *(pytest.param(one, marks=pytest.mark.long) for one in LONG_SERIES)]
)
def test_a_subscriber_misses_nothing_and_gets_nothing_twice(
    name: str, real_feeds: Corpus, tmp_path: Path
) -> None:
    origin, served = Subscriber(), Subscriber()
    with served_world(tmp_path / "feedwatch.db") as one:
        one.serving = ServeRules()
        for file in versions(real_feeds.folder / "series" / name):
            body = file.read_bytes()
            one.feeds.serve(body)
            one.later(hours=6)
            one.now = max(one.now, latest_date(body))
            one.check()
            if one.store.feeds.all()[0].error:
                continue
            one.settle()
            document = one.render()
            assert served.read(document) == origin.read(body, is_ours=False), file.name
            ready = {
                episode.id: episode.processed_url
                for episode in one.store.episodes.find(states=[State.READY])
            }
            shown = set(enclosures(document).values())
            placed = sum(url in shown for url in ready.values())
            kept = one.store.documents.all()["show"]
            assert kept.problem is None
            assert placed == len(ready) - (kept.unplaced or 0)
