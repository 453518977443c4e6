"""WebSub: feeds are subscribed to at their hubs, and a push makes them due and no more."""

import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from feedwatch.core import websub
from feedwatch.core.episode import State
from feedwatch.core.feed import Links
from feedwatch.core.settings import FeedConfig
from feedwatch.core.websub import Mode, Push, Step, Subscription, Topic
from feedwatch.feeds.links import links_of
from feedwatch.net.client import client
from feedwatch.sandbox.server import Sandbox
from feedwatch.store.store import Store
from feedwatch.watcher import overview
from feedwatch.watcher.websub import Callback, WebSub
from feedwatch.web.public import public_application
from feedwatch.web.public_side import PublicSide
from feedwatch.web.server import MAX_PUSH, HttpSide
from tests.hub import TOPIC, Hub, Request, with_hub
from tests.support import KEY, PODCAST, FeedServer, Feedwatch, Workspace, rss, wait_for
from tests.world import World

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


class PushedWorld(World):
    """A world whose feed names a hub, with a public side."""

    def __init__(self, path: Path, sandbox: Sandbox, feeds: FeedServer, hub: Hub) -> None:
        self.hub = hub
        self.side = PublicSide()
        self.http = HttpSide("127.0.0.1", 0)
        self.is_private = False
        super().__init__(path, sandbox, feeds)

    def source(self, name: str, path: str = "/feed.xml") -> FeedConfig:
        return replace(super().source(name, path), is_private=self.is_private)

    def restart(self) -> None:
        super().restart()
        self.sources = [self.source("show")]
        self.context.plan = replace(
            self.context.plan, sources={one.name: one for one in self.sources}
        )
        http = client(self.cancellation)
        self._ends.append(http.close)
        self.websub = WebSub(self.context, http, self.http.url)
        self.side.callback = Callback(
            self.store, lambda: self.context.plan.sources, lambda: self.now
        )

    def publish(self, *items: int, hub: str | None = None, topic: str | None = TOPIC) -> None:
        """Serve a feed that names a hub."""
        self.feeds.serve(with_hub(rss(*items), hub or self.hub.url, topic))

    def round(self) -> None:
        """One round of the loop."""
        self.websub._next_round = 0.0
        self.websub.tick()

    def subscribed(self) -> Subscription:
        """The feed's one subscription."""
        (one,) = self.store.subscriptions.all()
        return one

    def begin(self) -> None:
        """Check the feed, and subscribe it."""
        self.check()
        self.round()

    def is_due(self) -> bool:
        """Whether the feed is due in a minute at the latest."""
        (feed,) = self.store.feeds.all()
        assert feed.due_at is not None
        return feed.due_at <= self.now + timedelta(minutes=1)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as one:
        yield one


@pytest.fixture
def one(tmp_path: Path, hub: Hub) -> Iterator[PushedWorld]:
    with (
        Sandbox(api_key=KEY, podcasts={PODCAST: "The show"}, job_seconds=0.0) as sandbox,
        FeedServer() as feeds,
    ):
        world = PushedWorld(tmp_path / "feedwatch.db", sandbox, feeds, hub)
        world.publish(1)
        application = public_application(world.side)
        try:
            with world.http.serve(application, max_body=MAX_PUSH):
                yield world
        finally:
            world.end()
            world.store.close()


def test_a_feed_is_subscribed_at_its_hub_which_verifies_it(one: PushedWorld, hub: Hub) -> None:
    one.begin()
    (asked,) = hub.requests
    assert hub.verified == [200]
    assert asked.fields["hub.topic"] == TOPIC
    assert asked.mode == "subscribe"
    assert asked.callback.startswith(f"{one.http.url}/websub/")
    assert len(asked.callback.rpartition("/")[2]) == 32
    assert len(asked.fields["hub.secret"]) == 64
    assert asked.fields["hub.lease_seconds"] == str(10 * 24 * 3600)
    assert not asked.headers.keys() & {"authorization", "cookie"}
    assert one.subscribed().lease_until == one.now + timedelta(seconds=600)
    one.later(minutes=5)
    one.round()
    assert len(hub.requests) == 1, "nothing is due"


def test_without_a_link_to_itself_the_address_of_the_document_is_the_topic(
    one: PushedWorld, hub: Hub
) -> None:
    one.publish(1, topic=None)
    one.begin()
    assert hub.last.fields["hub.topic"] == one.feeds.url


def test_a_push_makes_the_feed_due_and_no_content_of_it_is_believed(
    one: PushedWorld, hub: Hub
) -> None:
    one.begin()
    one.submit()
    one.later(minutes=2)
    one.publish(1, 2)
    assert not one.is_due()
    assert hub.push(rss(7, 8, 9)) == 202
    assert one.is_due()
    one.check()
    assert one.states() == {"guid-1": State.PROCESSING, "guid-2": State.QUEUED}


def test_a_flood_of_pushes_makes_one_check_a_minute(one: PushedWorld, hub: Hub) -> None:
    one.begin()
    one.later(minutes=2)
    for number in range(20):
        assert hub.push(f"<rss>{number}</rss>".encode()) == 202
        one.check()
        one.later(seconds=5)
    assert one.feeds.count() == 3, "the first one, and two in 100 seconds"


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384", "sha512"])
def test_every_signature_that_hubs_use_is_understood(
    one: PushedWorld, hub: Hub, algorithm: str
) -> None:
    one.begin()
    one.later(minutes=2)
    assert hub.push(algorithm=algorithm) == 202
    assert one.is_due()


def test_a_push_that_is_forged_unsigned_replayed_late_or_oversized_does_nothing(
    one: PushedWorld, hub: Hub
) -> None:
    one.begin()
    one.later(minutes=2)
    before = one.subscribed()
    assert hub.push(secret="another secret") == 202
    assert hub.push(signature="") == 202
    for signature in ("sha256=", "sha256", "md5=00", "sha256=" + "é" * 64, "=", "none=x"):
        assert hub.push(signature=signature) == 202
    assert hub.push(b"x" * (MAX_PUSH + 1)) == 413
    assert hub.push(to=Request(fields={"hub.callback": hub.last.callback[:-1] + "_"})) == 404
    assert hub.push(to=Request(fields={"hub.callback": f"{one.http.url}/websub/{'0' * 32}"})) == 404
    assert one.subscribed() == before
    assert not one.is_due()
    assert hub.push(b"the first") == 202
    one.check()
    one.later(minutes=2)
    assert one.subscribed().pushed_at is not None
    assert hub.push(b"the first") == 202
    assert not one.is_due(), "a replay"
    one.later(minutes=10)
    assert hub.push(b"another") == 202
    assert one.subscribed().pushed_at == NOW + timedelta(minutes=2), "the lease is over"


def test_only_what_was_asked_for_is_verified(one: PushedWorld, hub: Hub) -> None:
    hub.verifies = False
    one.begin()
    asked = hub.last
    assert hub.verify(asked, mode="unsubscribe") == 404
    assert hub.verify(asked, topic="https://other.example.org/feed.xml") == 404
    assert hub.verify(asked, challenge="x" * 2000) == 404
    assert hub.verify(Request(fields=asked.fields | {"hub.callback": f"{asked.callback}0"})) == 404
    assert httpx.get(asked.callback).status_code == 404
    assert one.subscribed().lease_until is None
    assert hub.push() == 202
    assert one.subscribed().pushed_at is None, "it is not verified yet"
    assert hub.verify(asked, challenge="<script>") == 200
    assert hub.verify(asked) == 404, "once"
    assert one.subscribed().lease_until is not None


def test_a_challenge_is_answered_as_plain_text(one: PushedWorld, hub: Hub) -> None:
    hub.verifies = False
    one.begin()
    got = httpx.get(
        hub.last.callback,
        params={"hub.mode": "subscribe", "hub.topic": TOPIC, "hub.challenge": "<b>"},
    )
    assert (got.text, got.headers["Content-Type"]) == ("<b>", "text/plain; charset=utf-8")
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert one.subscribed().lease_until == one.now + websub.LEASE, "the hub has named none"


def test_it_is_renewed_before_its_end_and_what_holds_goes_on_to_hold(
    one: PushedWorld, hub: Hub
) -> None:
    one.begin()
    one.later(seconds=390)
    one.round()
    assert len(hub.requests) == 1
    hub.status = 500
    one.later(seconds=20)
    one.round()
    assert [asked.mode for asked in hub.requests] == ["subscribe", "subscribe"]
    assert hub.requests[0].fields == hub.requests[1].fields, "the same callback and secret"
    assert one.subscribed().error == "the hub answered 500"
    assert hub.push() == 202
    assert one.subscribed().pushed_at == one.now, "the old lease holds"
    hub.status = 202
    one.later(minutes=13)
    one.round()
    assert one.subscribed().error is None
    assert one.subscribed().lease_until == one.now + timedelta(seconds=600)


def test_a_lease_that_has_run_out_is_asked_for_anew(one: PushedWorld, hub: Hub) -> None:
    one.begin()
    first = one.subscribed()
    one.later(hours=2)
    assert hub.push() == 202
    assert one.subscribed().pushed_at is None, "it is over"
    one.round()
    assert [asked.mode for asked in hub.requests] == ["subscribe", "subscribe"]
    assert hub.verified == [200, 200]
    assert one.subscribed().token == first.token
    assert one.subscribed().lease_until == one.now + timedelta(seconds=600)
    assert hub.push() == 202
    assert one.subscribed().pushed_at == one.now


def test_a_push_to_the_page_s_own_process_makes_the_daemon_s_feed_due(
    one: PushedWorld, hub: Hub, tmp_path: Path
) -> None:
    one.begin()
    one.later(minutes=2)
    store = Store(f"sqlite:///{tmp_path / 'feedwatch.db'}", processor="inlet", may_create=False)
    try:  # as `feedwatch web` does beside the daemon: another store on the same database
        one.side.callback = Callback(store, lambda: one.context.plan.sources, lambda: one.now)
        assert not one.is_due()
        assert hub.push() == 202
    finally:
        store.close()
    assert one.is_due()


def test_without_websub_no_hub_is_asked_and_no_callback_answers(
    feedwatch: Feedwatch, workspace: Workspace, feed_server: FeedServer, hub: Hub
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    public = f"http://127.0.0.1:{free}"
    workspace.set(
        WEBSUB="false", FIRST_RUN="none", PUBLIC_LISTEN=f"127.0.0.1:{free}", PUBLIC_URL=public
    )
    feed_server.serve(with_hub(feed_server.publish(1), hub.url))
    daemon = feedwatch.start("run")
    daemon.until(lambda: feedwatch.json("feeds")[0]["last_checked_at"], "it has checked the feed")
    assert httpx.get(f"{public}/websub/{'0' * 32}").status_code == 404
    assert httpx.post(f"{public}/websub/{'0' * 32}").status_code == 404
    assert daemon.stop().status == 0
    assert hub.requests == []


def test_a_hub_that_does_not_ask_back_is_asked_again_ever_later(one: PushedWorld, hub: Hub) -> None:
    hub.verifies = False
    one.begin()
    counts = []
    for _ in range(7):
        for _ in range(24 * 4):
            one.later(minutes=15)
            one.round()
        counts.append(len(hub.requests))
    assert counts[0] <= 8
    assert counts[-1] - counts[-2] == 1, "daily at last"
    assert "did not verify" in (one.subscribed().error or "")


def test_a_hub_that_denies_is_asked_again_later(one: PushedWorld, hub: Hub) -> None:
    hub.verifies = False
    one.begin()
    assert hub.verify(hub.last, mode="denied", topic="https://other.example.org/") == 404
    assert hub.verify(hub.last, mode="denied") == 200
    assert one.subscribed().error == "the hub has denied it"
    assert hub.verify(hub.last) == 404


def test_another_hub_is_subscribed_to_before_the_old_one_is_left(
    one: PushedWorld, hub: Hub
) -> None:
    one.begin()
    with Hub() as other:
        other.verifies = False
        one.publish(1, hub=other.url)
        one.later(minutes=3)
        one.feeds.answer(body=with_hub(rss(1), other.url))
        one.store.feeds.make_due(one.now)
        one.check()
        one.round()
        one.round()
        assert len(other.requests) == 1
        assert len(hub.requests) == 1, "it is not left yet"
        assert hub.push() == 202
        assert one.store.subscriptions.all()[0].pushed_at == one.now
        assert other.verify(other.last) == 200
        one.round()
        assert hub.last.mode == "unsubscribe"
        assert hub.verified == [200, 200]
        assert one.subscribed().hub == other.url


def test_a_feed_that_leaves_the_config_is_unsubscribed(one: PushedWorld, hub: Hub) -> None:
    one.begin()
    subscribed = hub.last
    one.context.plan = replace(one.context.plan, sources={})
    one.store.feeds.sync([], {})
    one.round()
    assert hub.last.mode == "unsubscribe"
    assert "hub.secret" not in hub.last.fields
    assert one.store.subscriptions.all() == []
    assert hub.push(to=subscribed) == 404


def test_a_hub_that_does_not_confirm_the_end_is_asked_three_times(
    one: PushedWorld, hub: Hub
) -> None:
    hub.lease = 10_000
    one.begin()
    hub.verifies, hub.status = False, 500
    one.publish(1, hub="ftp://no.hub")
    one.later(minutes=30)
    one.check()
    for _ in range(8):
        one.round()
        one.later(minutes=11)
    assert [asked.mode for asked in hub.requests] == ["subscribe"] + ["unsubscribe"] * 3
    assert one.store.subscriptions.all() == []


def test_a_private_feed_tells_no_hub_its_address(one: PushedWorld, hub: Hub) -> None:
    one.is_private = True
    one.restart()
    one.begin()
    assert hub.requests == []
    assert one.store.subscriptions.topics()
    assert overview.topics(one.store, one.sources) == {}


def test_a_feed_that_became_private_counts_no_longer(one: PushedWorld) -> None:
    one.begin()
    assert overview.push(one.store, one.sources, one.now) == Push(named=1, subscribed=1, errors=())
    one.is_private = True
    one.restart()
    assert overview.push(one.store, one.sources, one.now) == Push(named=0, subscribed=0, errors=())


def test_what_was_not_saved_is_not_logged(
    one: PushedWorld, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(one.store.subscriptions, "save", lambda *_: None)
    pending = one.store.subscriptions.add(
        subscription(feed_id=1, hub="http://h/", topic=TOPIC, scope=0, pending=Mode.SUBSCRIBE)
    )
    callback = one.side.callback
    assert callback is not None
    assert not callback.verify(pending.token, "subscribe", TOPIC, None)
    assert "subscribed" not in caplog.text


def test_a_hub_more_private_than_its_feed_is_not_asked(one: PushedWorld, hub: Hub) -> None:
    one.check()
    (feed,) = one.store.feeds.all()
    assert feed.hub == hub.url
    topic = replace(one.store.subscriptions.topics()[feed.id], scope=0)
    made = one.store.subscriptions.add(
        subscription(feed_id=feed.id, hub=topic.hub, topic=topic.url, scope=0, due_at=one.now)
    )
    one.round()
    assert hub.requests == []
    assert "private address" in (one.store.subscriptions.all()[0].error or "")
    assert made.token == one.subscribed().token


def test_a_redirect_of_a_hub_is_followed_with_the_same_request(one: PushedWorld, hub: Hub) -> None:
    with Hub() as other:
        hub.status, hub.location = 307, other.url
        one.begin()
        assert other.last.fields == hub.last.fields
        hub.location = hub.url
        one.publish(1, topic="https://publisher.example.org/other")
        one.later(hours=1)
        one.begin()
        assert "redirects too often" in (one.store.subscriptions.all()[-1].error or "")
        hub.status = 302
        one.later(hours=1)
        one.round()
        assert "answered 302" in (one.store.subscriptions.all()[-1].error or "")


@pytest.mark.parametrize("address", [None, "http://xn--/"])
def test_a_hub_that_cannot_be_reached_is_no_trouble(one: PushedWorld, address: str | None) -> None:
    with Hub() as gone:
        address = address or gone.url
    one.publish(1, hub=address)
    one.begin()
    assert "could not be asked" in (one.subscribed().error or "")
    assert one.websub.tick(), "between two rounds"


def test_a_feed_whose_hub_has_pushed_is_polled_four_times_less_often(
    one: PushedWorld, hub: Hub
) -> None:
    hub.lease = 100_000

    def wait() -> timedelta:
        one.later(hours=2)
        one.check()
        (feed,) = one.store.feeds.all()
        assert feed.due_at is not None
        return feed.due_at - one.now

    one.begin()
    assert wait() < timedelta(minutes=20), "it has not pushed yet"
    hub.push()
    one.round()
    assert timedelta(minutes=55) < wait() < timedelta(minutes=80)
    one.later(hours=100)
    hub.verifies = False
    one.round()
    assert wait() < timedelta(minutes=20), "its lease is over"


def test_a_push_while_the_feed_is_being_checked_makes_another_check(
    one: PushedWorld, hub: Hub
) -> None:
    hub.lease = 10_000
    one.begin()
    one.later(minutes=20)
    one.feeds.answer(body=with_hub(rss(1), hub.url), delay=0.5)
    one.checks.tick()
    wait_for(lambda: one.feeds.count() == 2)
    assert hub.push() == 202
    wait_for(lambda: not one.checks._under_way)
    assert one.is_due()


# Without a network


def subscription(**other: object) -> Subscription:
    values: dict[str, object] = {
        "feed_id": 1,
        "hub": "https://hub.example.org/",
        "topic": TOPIC,
        "scope": 0,
        "token": "0" * 32,
        "secret": "s",
        "due_at": NOW,
    }
    return Subscription(**(values | other))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lease", "believed"),
    [(None, websub.LEASE), (0, websub.SHORTEST_LEASE), (10**12, websub.LONGEST_LEASE)],
)
def test_no_lease_is_believed_that_would_never_or_always_be_renewed(
    lease: int | None, believed: timedelta
) -> None:
    one = websub.verified(subscription(), lease, NOW)
    assert one.lease_until == NOW + believed
    assert one.due_at == NOW + believed * 2 / 3


def test_what_was_never_verified_and_is_not_wanted_any_more_is_dropped() -> None:
    topic = Topic(feed="show", hub="https://other.example.org/", url=TOPIC, scope=0)
    old = subscription(pending=Mode.SUBSCRIBE)
    for now in (None, topic):
        assert websub.next_step(old, now, NOW, is_replaced=False) is Step.DROP


def test_a_replay_is_remembered_over_fifty_pushes() -> None:
    one = websub.verified(subscription(), None, NOW)
    for number in range(60):
        one = websub.pushed(one, str(number).encode(), NOW)
    assert len(one.pushes.split()) == websub.REMEMBERED_PUSHES


def test_hub_and_self_are_read_from_the_header_first_and_else_from_the_document() -> None:
    def found(links: str, header: dict[str, str] | None = None) -> tuple[str | None, str | None]:
        body = f"<rss><channel>{links}<item><link rel='hub' href='https://no.example'/></item>"
        read = links_of(body.encode(), "https://example.org/a/feed.xml", header)
        return read.hub, read.itself

    atom = '<atom:link rel="hub" href="https://h.example/"/><atom:link rel="self" href="x.xml"/>'
    assert found(atom) == ("https://h.example/", "https://example.org/a/x.xml")
    assert found(atom, {"hub": "/hub"}) == (
        "https://example.org/hub",
        "https://example.org/a/x.xml",
    )
    assert found('<link rel="self hub" href="https://h.example/"/>')[0] == "https://h.example/"
    for odd in ("ftp://h.example/", "https://user:pass@h.example/", "https://é.example/", ""):
        assert found(f'<link rel="hub" href="{odd}"/>')[0] in (
            None,
            "https://example.org/a/feed.xml",
        )
    assert found(f'<link rel="hub" href="https://h.example/{"x" * 2000}"/>') == (None, None)
    assert links_of(b"<rss/>", "https://example.org/") == Links()


# The daemon


def test_which_feeds_are_subscribed_is_told(
    feedwatch: Feedwatch, workspace: Workspace, feed_server: FeedServer
) -> None:
    feed_server.serve(with_hub(feed_server.publish(1), "https://hub.example.org/"))
    assert feedwatch.once().status == 0
    assert "1 feed with a hub, only polled" in feedwatch.here("doctor").stdout
    assert feedwatch.json("status")["push"] is None
    (listed,) = feedwatch.json("feeds")
    nothing = {"subscribed_until": None, "last_push_at": None, "error": None}
    assert listed["push"] == {"hub": "https://hub.example.org/"} | nothing
    workspace.set(PUBLIC_LISTEN="127.0.0.1:0", PUBLIC_URL="https://feeds.example.org")
    assert "0 of 1 feed with a hub subscribed" in feedwatch.here("doctor").stdout
    store = Store(f"sqlite:///{workspace.database}", processor="inlet", may_create=True)
    (feed,) = store.feeds.all()
    store.subscriptions.add(
        subscription(
            feed_id=feed.id,
            lease_until=datetime.now(UTC) + timedelta(days=1),
            error="the hub answered 500",
        )
    )
    store.close()
    said = "1 of 1 feed with a hub subscribed; hub.example.org: the hub answered 500"
    assert f"push         {said}" in feedwatch.here("status").stdout
    assert f"push: {said}\n      → see whether" in feedwatch.here("doctor").stdout
    told = {"named": 1, "subscribed": 1, "errors": ["hub.example.org: the hub answered 500"]}
    assert feedwatch.json("status")["push"] == told
    assert feedwatch.json("feeds")[0]["push"]["error"] == "the hub answered 500"


def test_a_push_is_followed_by_the_submission_long_before_the_next_check(
    feedwatch: Feedwatch, workspace: Workspace, feed_server: FeedServer, sandbox: Sandbox, hub: Hub
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    workspace.set(
        CHECK_INTERVAL="1h",
        FIRST_RUN="none",
        PUBLIC_LISTEN=f"127.0.0.1:{free}",
        PUBLIC_URL=f"http://127.0.0.1:{free}",
    )
    feed_server.serve(with_hub(feed_server.publish(1), hub.url))
    daemon = feedwatch.start("run")
    daemon.until(lambda: hub.verified, "it has subscribed")
    assert hub.verified == [200]
    # The last check is a minute ago: nobody waits for that here.
    database = sqlite3.connect(workspace.database, timeout=10)
    with closing(database), database:
        database.execute("UPDATE feeds SET checked_at = '2026-01-01 00:00:00.000000'")
    feed_server.serve(with_hub(feed_server.publish(1, 2), hub.url))
    pushed_at = time.monotonic()
    assert hub.push() == 202
    daemon.until(lambda: sandbox.submissions, "it has submitted the new episode")
    took = [time.monotonic() - pushed_at]
    for number in (3, 4):  # only where this machine had other things to do
        if took[-1] < 5:
            break
        with closing(sqlite3.connect(workspace.database, timeout=10)) as again, again:
            again.execute("UPDATE feeds SET checked_at = '2026-01-01 00:00:00.000000'")
        feed_server.serve(with_hub(feed_server.publish(*range(1, number + 1)), hub.url))
        before, pushed_at = len(sandbox.submissions), time.monotonic()
        assert hub.push(f"<rss>{number}</rss>".encode()) == 202
        daemon.until(lambda: len(sandbox.submissions) > before, "it has submitted another one")  # noqa: B023
        took.append(time.monotonic() - pushed_at)
    assert min(took) < 5, took
    assert feedwatch.json("feeds")[0]["push"]["last_push_at"]
    ended = daemon.stop()
    assert ended.status == 0
    assert "feed show: pushed, due at" in ended.stderr
