"""Several daemons on one PostgreSQL database share the checks of feeds: real HTTP, one process."""

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from feedwatch.core.daemons import checker_of
from feedwatch.core.feed import Feed
from feedwatch.core.settings import FeedConfig, Policy
from feedwatch.net.client import Cancellation, client
from feedwatch.store.feeds import DueFeed
from feedwatch.store.store import Store
from feedwatch.watcher.checks import Checks
from feedwatch.watcher.context import Context, Plan
from feedwatch.watcher.host_limiter import HostLimiter
from tests.databases import Server
from tests.shared_parser import SharedParser
from tests.support import LONG, Answer, FeedServer, item, wait_for

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
HOSTS = 9


class Publisher(FeedServer):
    """On several addresses of loopback. Counts the requests that are under way at one of them."""

    def __init__(self) -> None:
        super().__init__("0.0.0.0")
        self.most: Counter[str] = Counter()  # at once, by host
        self.asked_by: dict[str, set[str]] = defaultdict(set)  # ids of daemons, by host
        self.answers = 0  # that are known, and said at once or after the delay
        self.delay = 0.0
        self._now: Counter[str] = Counter()
        self._lock = threading.Lock()

    def _answer_to(self, path: str, headers: Mapping[str, str]) -> Answer:
        host = headers["host"]
        with self._lock:
            self._now[host] += 1
            self.most[host] = max(self.most[host], self._now[host])
            self.asked_by[host].add(headers["x-daemon"])
        self.over.wait(0.01)
        with self._lock:
            self._now[host] -= 1
            answer = replace(super()._answer_to(path, headers), delay=self.delay)
            self.answers += 1
            return answer


class Daemon:
    """What one daemon has for its checks."""

    def __init__(self, url: str, setting: "Setting") -> None:
        self.store = Store(url, processor="inlet", may_create=True)
        self.context = Context(
            store=self.store,
            processors={},
            plan=Plan(sources=setting.sources, policy=Policy()),
            clock=lambda: setting.now,
        )
        self._http = client(Cancellation(), headers={"x-daemon": self.store.daemon_id})
        self.checks = Checks(self.context, self._http, SharedParser())
        self.checks._hosts = HostLimiter(spacing=0.0)

    def ask(self, statement: str) -> list[Any]:
        with self.store._engine.begin() as db:
            done = db.exec_driver_sql(statement)
            return list(done.scalars()) if done.returns_rows else []

    def take(self) -> list[str]:
        """Take all that is due, as if to check it."""
        now = self.context.clock()
        ids = [one.id for one in self.store.feeds.due(now, 2 * DAY, 99)]
        return [one.name for one in self.store.feeds.take(ids, now, 2 * DAY)]

    def is_done(self) -> bool:
        self.checks.tick()
        return self.checks.is_idle()

    def end(self) -> None:
        self.checks.close()
        self._http.close()
        self.store.close()


class Setting:
    """A publisher, a database and the feeds that are due."""

    def __init__(self, url: str, publisher: Publisher) -> None:
        self.url = url
        self.publisher = publisher
        self.now = datetime(2026, 11, 21, 12, tzinfo=UTC)
        self.sources: dict[str, FeedConfig] = {}

    def add(self, hosts: int, of_each: int) -> None:
        """Add feeds; each has one episode."""
        port = urlsplit(self.publisher.url).port
        for number in range(hosts * of_each):
            name, path = f"f{number}", f"/{number}.xml"
            url = f"http://127.0.0.{1 + number % hosts}:{port}{path}"
            self.sources[name] = FeedConfig(name=name, url=url, check_interval=15 * MINUTE)
            self.publisher.publish(item(number), path=path)
        store = Store(self.url, processor="inlet", may_create=True)
        store.feeds.sync(self.sources.values(), dict.fromkeys(self.sources, self.now))
        store.close()

    @contextmanager
    def daemons(self, number: int) -> Iterator[list[Daemon]]:
        """So many, of which none knows of another yet."""
        with ExitStack() as ends:
            found = [Daemon(self.url, self) for _ in range(number)]
            for one in found:
                ends.callback(one.end)
            yield found

    def times_fetched(self) -> list[int]:
        return [self.publisher.count(f"/{number}.xml") for number in range(len(self.sources))]


@pytest.fixture
def setting(postgresql: Server, tmp_path: Path) -> Iterator[Setting]:
    with Publisher() as publisher:
        yield Setting(postgresql.url_of(tmp_path / "feedwatch.db"), publisher)
    postgresql.drop_all()


def know_each_other(daemons: list[Daemon]) -> None:
    for one in daemons:
        one.context.peers = [peer.store.daemon_id for peer in daemons]


def to_the_end(daemons: list[Daemon]) -> None:
    wait_for(lambda: False not in [one.is_done() for one in daemons])
    # A tick that is taken up later would find what is due then.
    wait_for(lambda: True not in [one.checks._tick_pending for one in daemons])


def the_feed(daemon: Daemon) -> Feed:
    (feed,) = daemon.store.feeds.all()
    return feed


def test_each_due_feed_is_fetched_once_and_each_host_asked_by_its_own_daemon(
    setting: Setting,
) -> None:
    setting.add(HOSTS, 4)
    with setting.daemons(3) as daemons:
        know_each_other(daemons)
        to_the_end(daemons)
        assert setting.times_fetched() == [1] * len(setting.sources)
        ids = [one.store.daemon_id for one in daemons]
        asked_by = setting.publisher.asked_by
        assert asked_by == {host: {checker_of(host, ids)} for host in asked_by}
        assert max(setting.publisher.most.values()) <= 2
        setting.now += 30 * MINUTE - timedelta(seconds=1)  # all are due, and none is late
        with daemons[0].store._engine.begin() as db:
            db.exec_driver_sql(f"update feeds set due_at = '{setting.now}'")
        to_the_end(daemons)
        assert setting.times_fetched() == [2] * len(setting.sources)
        assert asked_by == {host: {checker_of(host, ids)} for host in asked_by}
        assert daemons[0].ask("select feed_id from feed_leases") == []


def test_what_is_late_is_fetched_by_whoever_comes_first_and_by_nobody_else(
    setting: Setting,
) -> None:
    setting.add(HOSTS, 4)
    with setting.daemons(3) as daemons:
        know_each_other(daemons)
        setting.now += 2 * MINUTE
        to_the_end(daemons)
        assert setting.times_fetched() == [1] * len(setting.sources)
        assert [one.error for one in daemons[0].store.feeds.all() if one.error] == []


def test_the_hosts_of_a_daemon_that_leaves_are_the_others_at_once(setting: Setting) -> None:
    setting.add(HOSTS, 1)
    with setting.daemons(2) as (stays, leaves):
        know_each_other([stays, leaves])
        ids = [stays.store.daemon_id, leaves.store.daemon_id]
        to_the_end([stays])
        hosts = [urlsplit(one.url).netloc for one in setting.sources.values()]
        mine = [int(checker_of(host, ids) == ids[0]) for host in hosts]
        assert setting.times_fetched() == mine
        stays.context.peers = ids[:1]
        to_the_end([stays])
        assert setting.times_fetched() == [1] * HOSTS


def test_a_daemon_that_joins_gets_its_hosts_from_the_others_queues(setting: Setting) -> None:
    setting.add(1, 40)
    setting.publisher.delay = LONG
    host = urlsplit(setting.sources["f0"].url).netloc
    with setting.daemons(2) as daemons:
        its = checker_of(host, [one.store.daemon_id for one in daemons])
        first, joins = sorted(daemons, key=lambda one: one.store.daemon_id == its)
        first.checks.tick()
        wait_for(lambda: setting.publisher.answers == 2)
        assert len(first.checks._hosts) == 38
        know_each_other([first, joins])
        wait_for(lambda: first.checks.tick() and len(first.checks._hosts) == 0)
        setting.publisher.over.set()
        to_the_end([first, joins])
        assert setting.times_fetched() == [1] * 40


def test_others_feeds_do_not_keep_ours_from_being_listed(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feedwatch.watcher.due_feeds.MAX_DUE_FEEDS", 12)
    setting.add(HOSTS, 4)
    with setting.daemons(3) as daemons:
        know_each_other(daemons)
        to_the_end(daemons)
        assert setting.times_fetched() == [1] * len(setting.sources)


def test_a_feed_that_one_daemon_has_taken_is_listed_and_taken_by_no_other(
    setting: Setting,
) -> None:
    setting.add(1, 2)
    with setting.daemons(2) as (one, other):
        ids = [feed.id for feed in one.store.feeds.all()]
        assert sorted(one.take()) == ["f0", "f1"]
        assert other.take() == []
        assert other.store.feeds.take(ids, setting.now, 2 * DAY) == []
        assert sorted(one.take()) == ["f0", "f1"], "ours, again"
        other.store.feeds.give_back(ids)
        assert other.take() == [], "not theirs to give back"
        one.store.feeds.give_back(ids[:1])
        assert other.take() == ["f0"]


def test_the_leases_of_a_daemon_that_died_run_out(setting: Setting) -> None:
    setting.add(1, 2)
    with setting.daemons(2) as (dead, lives):
        assert sorted(dead.take()) == ["f0", "f1"]
        setting.now += 2 * MINUTE
        to_the_end([lives])
        assert setting.times_fetched() == [0, 0]
        left = "select extract(epoch from until - clock_timestamp()) from feed_leases"
        assert all(290 < seconds <= 300 for seconds in lives.ask(left))
        lives.ask("update feed_leases set until = clock_timestamp() - interval '1 second'")
        to_the_end([lives])
        assert setting.times_fetched() == [1, 1]
        assert lives.ask("select feed_id from feed_leases") == []


def test_a_feed_whose_check_is_just_being_recorded_does_not_seem_due(setting: Setting) -> None:
    setting.add(1, 1)
    with setting.daemons(2) as (one, other):
        (feed,) = one.store.feeds.all()
        due = [feed.id], setting.now, 2 * DAY
        with one.store._engine.begin() as db:
            later = setting.now + 15 * MINUTE
            db.exec_driver_sql(f"update feeds set due_at = '{later}'")
            assert other.store.feeds.take(*due) == []
        assert other.store.feeds.take(*due) == []
        assert other.ask("select feed_id from feed_leases") == []


@pytest.mark.parametrize("is_first", [True, False])
def test_who_comes_second_with_the_same_feed_writes_nothing_and_no_error(
    setting: Setting, caplog: pytest.LogCaptureFixture, *, is_first: bool
) -> None:
    setting.add(1, 1)
    publisher = setting.publisher
    with setting.daemons(2) as (slow, quick):
        if not is_first:
            to_the_end([quick])
            setting.now += 30 * MINUTE
        publisher.delay, before = LONG, publisher.answers
        slow.checks.tick()
        wait_for(lambda: publisher.answers > before)
        slow.ask("update feed_leases set until = clock_timestamp() - interval '1 second'")
        publisher.publish(item(0), item(1), path="/0.xml")
        publisher.delay = 0.0
        setting.now += timedelta(seconds=1)
        to_the_end([quick])
        recorded = the_feed(quick)
        assert len(quick.store.episodes.find()) == 2
        setting.now += timedelta(seconds=1)
        publisher.over.set()
        wait_for(lambda: not slow.checks._under_way)
        assert the_feed(quick) == recorded
        assert (recorded.failures, recorded.error) == (0, None)
        assert len(quick.store.episodes.find()) == 2
        assert "another process" not in caplog.text
        assert quick.ask("select feed_id from feed_leases") == []


def test_what_a_stop_breaks_off_is_given_back(setting: Setting) -> None:
    setting.add(2, 4)
    for number in range(8):
        setting.publisher.answer(500, path=f"/{number}.xml")
    setting.publisher.delay = LONG
    with setting.daemons(1) as (one,):
        one.checks.tick()
        wait_for(lambda: setting.publisher.answers == 4)
        assert len(one.ask("select feed_id from feed_leases")) == 4
        one.context.stopping.set()
        setting.publisher.over.set()
        one.checks.close()
        assert one.ask("select feed_id from feed_leases") == []
        assert [feed.checked_at for feed in one.store.feeds.all() if feed.checked_at] == []


def test_a_bug_ends_the_lease(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("feedwatch.watcher.evaluate.decide", broken)
    setting.add(1, 1)
    with setting.daemons(1) as (one,):
        to_the_end([one])
        assert the_feed(one).failures == 1
        assert one.ask("select feed_id from feed_leases") == []


def test_a_feed_is_checked_only_by_a_daemon_whose_config_has_it_with_this_url(
    setting: Setting,
) -> None:
    setting.add(1, 3)
    with setting.daemons(1) as (one,):
        elsewhere = replace(setting.sources["f1"], url=setting.sources["f2"].url)
        sources = {"f0": setting.sources["f0"], "f1": elsewhere}
        one.context.plan = replace(one.context.plan, sources=sources)
        to_the_end([one])
        assert setting.times_fetched() == [1, 0, 0]


def test_a_config_that_changes_while_a_feed_waits_for_its_host_is_heeded(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting.add(1, 2)
    with setting.daemons(1) as (one,):
        find, plan = one.store.feeds.due, one.context.plan
        elsewhere = replace(setting.sources["f1"], url=setting.sources["f0"].url)

        def found(*which: Any, **but: Any) -> list[DueFeed]:
            one.context.plan = replace(plan, sources={"f1": elsewhere})
            return find(*which, **but)

        monkeypatch.setattr(one.store.feeds, "due", found)
        to_the_end([one])
        assert setting.times_fetched() == [0, 0]
        wait_for(lambda: one.ask("select feed_id from feed_leases") == [])
