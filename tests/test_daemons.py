"""Several daemons on one PostgreSQL database: who they are, who leads, and what the others do."""

import json
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from feedwatch.cli.assembly import assembled
from feedwatch.config import mark
from feedwatch.config.load import load
from feedwatch.core.daemons import DIFFERS_FOR, Daemon, DaemonHealth, checker_of
from feedwatch.core.episode import State
from feedwatch.core.events import event
from feedwatch.core.health import START, VITALS, HealthRecord, LoopHealth, unready
from feedwatch.core.post_deadline import perhaps_under_way
from feedwatch.core.settings import Policy
from feedwatch.daemon.heartbeat import Heartbeat, HeartbeatLoop
from feedwatch.sandbox.server import Sandbox
from feedwatch.store import database_server
from feedwatch.store import lease as leases
from feedwatch.store.boot import boot_seconds
from feedwatch.store.errors import NotLeadingError
from feedwatch.store.journal import Journal
from feedwatch.store.store import Store
from feedwatch.watcher.context import Context, Plan
from feedwatch.watcher.overview import daemon_problems, health_of_daemons
from feedwatch.watcher.submissions import Submissions
from tests.databases import Server
from tests.support import Beside, FeedServer, Feedwatch, Workspace, wait_for
from tests.test_ledger import claim_of
from tests.test_store import SOURCE, admit, claim, new_episode

SCRYPT_COST = mark.SCRYPT_COST
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def url(postgresql: Server, tmp_path: Path) -> Iterator[str]:
    yield postgresql.url_of(tmp_path / "feedwatch.db")
    postgresql.drop_all()


@pytest.fixture
def name(url: str) -> str:
    return url.partition("@/")[2].partition("?")[0]


LOCKED_FOR = 10.0  # seconds after which PostgreSQL gives up a statement that waits for a lock


def daemon_of(url: str) -> "closing[Store]":
    return closing(Store(url, processor="inlet", may_create=True, alone=True, must_lead=False))


def context_of(store: Store, mark: str = "a") -> Context:
    plan = Plan(sources={}, policy=Policy())
    return Context(
        store=store, processors={}, plan=plan, clock=store.now, term=store.term, config_mark=mark
    )


# Pure


def test_all_come_to_one_checker_of_a_host_and_few_hosts_move_where_one_leaves() -> None:
    hosts = [f"h{number}.example" for number in range(3000)]
    three = {host: checker_of(host, ["a", "b", "c"]) for host in hosts}
    assert three == {host: checker_of(host, ("c", "b", "a")) for host in hosts}
    assert all(900 < count < 1100 for count in Counter(three.values()).values())
    two = {host: checker_of(host, ["a", "b"]) for host in hosts}
    assert all(three[host] in (two[host], "c") for host in hosts)
    assert checker_of("h", []) is None


def test_a_fleet_without_a_leader_is_not_ready_and_not_ill() -> None:
    loops = (LoopHealth(VITALS, finished=SECOND),)
    record = HealthRecord(up=timedelta(hours=1), loops=loops, leaderless=timedelta(minutes=2))
    assert unready(record) == ["no daemon leads for 2 min: nothing is submitted"]
    assert unready(record._replace(leaderless=timedelta(seconds=50))) == []


def test_a_daemon_that_is_not_seen_any_more_is_ill() -> None:
    daemon = Daemon("a/1/x", "a", "1", "", NOW, timedelta(minutes=3), None, leads=False)
    assert DaemonHealth(daemon, None, None).problems == ["not seen for 3 min"]
    assert DaemonHealth(daemon._replace(unseen_for=SECOND), None, None).problems == ["starting"]


# The lease


def test_one_leads_and_another_takes_over_as_soon_as_it_ends(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "TRIED_EVERY", 0.05)
    with daemon_of(url) as second_to_end:
        with closing(Store(url, processor="inlet", may_create=True)) as verb:
            assert verb.term() == 0  # it is no daemon, and claims nothing
        with daemon_of(url) as watcher:
            assert (second_to_end.term(), watcher.term()) == (1, None)
        with daemon_of(url) as watcher:
            second_to_end.close()
            wait_for(lambda: watcher.term() == 2)


@pytest.mark.parametrize(
    "held",
    [
        "update leaders set until = until",  # at an election or a renewal
        "select role from leaders for share",  # at a claim
        "update gates set failures = failures",  # at an answer
    ],
)
def test_a_start_waits_for_no_daemon_that_was_stopped_in_a_transaction(url: str, held: str) -> None:
    with daemon_of(url) as first:
        with first._engine.begin() as db:
            db.execute(text("update leaders set until = '2000-01-01'"))
        with first._engine.begin() as stopped:
            stopped.execute(text(held))
            began = time.monotonic()
            with daemon_of(url):
                assert time.monotonic() - began < LOCKED_FOR


def test_a_daemon_whose_loops_hang_leads_no_more_and_leads_on_where_they_go_on(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(leases, "RENEWED_EVERY", 0.01)
    monkeypatch.setattr(leases, "TRIED_EVERY", 0.01)
    with daemon_of(url) as first:
        first.feed_lease()
        monkeypatch.setattr(leases, "FED_FOR", 0.0)
        first.feed_lease()
        wait_for(lambda: "the loops hang" in caplog.text)
        with first._engine.begin() as db:
            db.execute(text("update leaders set until = '2000-01-01'"))
        with daemon_of(url) as second:
            assert second.term() == 2
        monkeypatch.setattr(leases, "FED_FOR", LOCKED_FOR)
        first.feed_lease()
        wait_for(lambda: first.term() == 3)
        assert caplog.text.count("the loops hang") == 1


def test_a_lease_that_cannot_be_renewed_is_lost_by_our_own_clock(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "TTL", 4 * SECOND)
    with daemon_of(url) as store:  # renewed every five seconds
        assert store.term() == 1
        wait_for(lambda: store.term() is None)


def test_a_term_on_another_server_is_noticed(url: str, postgresql: Server, name: str) -> None:
    with daemon_of(url) as store:
        assert not store.has_begun()
        assert not store.begin_term()  # the first one of all
        assert store.has_begun()
        assert not store.begin_term()
        postgresql.execute("update leaders set server = server - interval '1 day'", name)
        assert store.begin_term()
        assert store.begin_term()  # until all daemons had time to compare their journals
        store.confirm_server()
        assert not store.begin_term()


def test_nothing_is_claimed_in_a_term_or_on_a_server_that_was_not_begun(
    url: str, postgresql: Server, name: str
) -> None:
    with daemon_of(url) as store:
        store.feeds.sync([SOURCE], {"show": NOW})
        admit(store, 1, 2, 3)
        with pytest.raises(NotLeadingError):
            claim(store)
        store.begin_term()
        assert claim(store) is not None
        postgresql.execute("update leaders set term = term + 2", name)  # deposed, and elected again
        with pytest.raises(NotLeadingError):
            claim(store)
        store._lease._note(3, boot_seconds())  # type: ignore[union-attr]
        assert not store.has_begun()
        with pytest.raises(NotLeadingError):
            claim(store)
        store.begin_term()
        assert claim(store) is not None
        term, server = store._lease._begun  # type: ignore[union-attr, misc]
        store._lease._begun = (term, server - SECOND)  # type: ignore[union-attr] # now a standby
        assert not store.has_begun()
        with pytest.raises(NotLeadingError):
            claim(store)


def test_a_lease_that_is_too_long_to_be_true_is_free(
    url: str, postgresql: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "TRIED_EVERY", 0.05)
    with daemon_of(url) as store:
        postgresql.execute(
            "update leaders set holder = 'b/1/x', term = 7, until = now() + interval '1 hour'", name
        )
        store._lease.renew()  # type: ignore[union-attr]
        wait_for(lambda: store.term() == 8)


def test_a_slow_answer_is_no_clock_that_was_set(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with daemon_of(url) as store:
        assert store.server is not None
        before, boots = store.now(), iter((100.0, 110.0))
        with store._engine.begin() as db, monkeypatch.context() as patch:
            patch.setattr(database_server, "boot_seconds", lambda: next(boots))
            store.server.ask(db)
        assert abs(store.now() - before) < timedelta(seconds=30)
        with store._engine.begin() as db, monkeypatch.context() as patch:
            patch.setattr(database_server, "boot_seconds", lambda: 100.0)
            store.server.ask(db)
        assert abs(store.now() - before) > timedelta(seconds=30)


def test_a_watcher_brings_in_its_journal_as_it_starts_and_where_the_server_is_another_one(
    url: str, postgresql: Server, tmp_path: Path
) -> None:
    with daemon_of(url), daemon_of(url) as watcher:
        context = context_of(watcher)
        context.journal = Journal([tmp_path / "claims"], watcher.claims.database_id().id)
        loop = Submissions(context)

        def imported(token: str) -> bool:
            assert context.journal.append_claim(claim_of("guid:g", token=token))
            loop.tick()
            return token in watcher.claims.by_token([token])

        assert imported("restored")
        assert not imported("of the same server")
        assert watcher.server is not None
        watcher.server.started_at += SECOND  # as a standby has that was promoted
        assert imported("of another server")


# Heartbeats


def beat(store: Store, context: Context, heartbeat: Heartbeat | None = None) -> HeartbeatLoop:
    loop = HeartbeatLoop(heartbeat or Heartbeat(), context)
    assert loop.tick()
    return loop


def test_each_daemon_knows_its_peers_until_they_are_not_seen_any_more(
    url: str, postgresql: Server, name: str
) -> None:
    with daemon_of(url) as first, daemon_of(url) as second:
        one, other = context_of(first), context_of(second, "b")
        beat(first, one)
        assert one.peers == (first.daemon_id,)
        beat(second, other)
        beat(first, one)
        assert set(one.peers) == {first.daemon_id, second.daemon_id}
        found = {one.id: one for one in first.heartbeats.daemons()}
        assert [found[store.daemon_id].leads for store in (first, second)] == [True, False]
        assert [found[store.daemon_id].config_mark for store in (first, second)] == ["a", "b"]
        assert all(abs(one.clock_offset or 0) < 1 for one in found.values())
        assert daemon_problems(first, first.now()) == []
        old = f"update daemons set seen_at = now() - interval '%s' where id = '{second.daemon_id}'"
        elsewhere = f"update daemons set host = 'b' where id = '{second.daemon_id}'"
        postgresql.execute(elsewhere, name)  # or whoever is on its machine takes its place
        postgresql.execute(old % "31 seconds", name)
        beat(first, one)
        assert one.peers == (first.daemon_id,)
        assert len(health_of_daemons(first, first.now(), first.use())) == 2
        assert "not seen for 31 s" in str(daemon_problems(first, first.now(), "elsewhere"))
        postgresql.execute(old % "25 hours", name)
        beat(first, one)
        assert [one.id for one in first.heartbeats.daemons()] == [first.daemon_id]
        assert first.heartbeats.read(first.now()).keys() == {first.daemon_id}


def test_an_orderly_end_takes_a_daemon_from_the_list(url: str) -> None:
    with daemon_of(url) as first, daemon_of(url) as second:
        beat(first, context_of(first))
        beat(second, context_of(second))
        second.heartbeats.end()
        assert [one.id for one in first.heartbeats.daemons()] == [first.daemon_id]


def test_heartbeats_are_read_by_the_readers_clock(url: str) -> None:
    with daemon_of(url) as store:
        store.heartbeats.write({START: store.now()}, store.now())
        ahead = store.now() + timedelta(days=400)
        (found,) = store.heartbeats.read(ahead).values()
        assert abs(found[START] - ahead) < timedelta(minutes=1)


def test_two_configs_are_told_once_and_not_at_once(
    url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("ERROR")
    with daemon_of(url) as first, daemon_of(url) as second:
        beat(first, context_of(first))
        watcher = context_of(second, "b")
        loop = beat(second, watcher)
        now = time.monotonic()
        for later in (1.0, DIFFERS_FOR + 2.0, DIFFERS_FOR + 9.0):
            monkeypatch.setattr(time, "monotonic", lambda later=later: now + later)
            loop.tick()
        assert caplog.text.count("two daemons, two configs") == 1
        watcher.config_mark = "a"
        monkeypatch.setattr(time, "monotonic", lambda: now + 999.0)
        loop.tick()
        assert caplog.text.count("two daemons, two configs") == 1


def test_who_has_just_been_elected_keeps_the_events_of_what_it_polls_before_its_term_begins(
    url: str, workspace: Workspace
) -> None:
    workspace.set(DATABASE_URL=url, NOTIFY_COMMAND="true")
    told = event("episode.ready", "an episode", NOW, "it is ready", {})
    settings = load(workspace.config, {})
    with daemon_of(url), assembled(settings, must_lead=False) as (_, context):
        assert context.term() is None
        with context.store._engine.begin() as db:
            context.store.outbox.put(db, told, NOW)
        assert context.store.outbox.oldest("command") is not None


# The whole


def test_a_second_daemon_watches_and_takes_over_from_one_that_ends(
    feedwatch: Feedwatch,
    workspace: Workspace,
    sandbox: Sandbox,
    feed_server: FeedServer,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mark, "SCRYPT_COST", SCRYPT_COST)  # here as in the other process
    workspace.set(DATABASE_URL=url, CHECK_INTERVAL="1s", FIRST_RUN="all", LISTEN="127.0.0.1:0")
    first = feedwatch.start("run")
    first.until(lambda: len(sandbox.submissions) == 1, "the first submission")

    def act(second: Beside) -> None:
        second.until(lambda: "ready after" in second.stderr, "its start")
        lines = json.loads(feedwatch("daemons", "--json").stdout)
        assert Counter(one["role"] for one in lines) == {"leader": 1, "watcher": 1}
        assert len({one["config_mark"] for one in lines}) == 1
        assert "2, led by process" in feedwatch("status").stdout
        assert feedwatch("healthcheck").status == 0
        first.stop(signal.SIGTERM)
        second.until(lambda: "leads from now on" in second.stderr, "the election")
        feed_server.publish(1, 2)
        second.until(lambda: len(sandbox.submissions) == 2, "its submission")
        assert re.search("process .* leader", feedwatch("daemons").stdout)

    assert feedwatch.while_it_runs(["run"], act).status == 0


def test_a_daemon_of_an_sqlite_file_leads(feedwatch: Feedwatch, feed_server: FeedServer) -> None:
    def act(running: Beside) -> None:
        running.until(lambda: "ready after" in running.stderr, "its start")
        running.until(lambda: feedwatch("daemons", "--json").stdout != "[]\n", "its heartbeat")
        (one,) = json.loads(feedwatch("daemons", "--json").stdout)
        assert (one["role"], one["clock_offset_seconds"]) == ("leader", None)

    assert feedwatch.while_it_runs(["run"], act).status == 0
    assert "No daemon" not in feedwatch.here("daemons").stdout


def test_who_submits_again_what_was_just_submitted_is_warned() -> None:
    at = NOW - timedelta(minutes=2)
    episode = replace(new_episode(1), state=State.UNKNOWN, submitted_at=at)
    assert "0 was submitted 2 min ago" in (perhaps_under_way(episode, NOW) or "")
    assert perhaps_under_way(episode, NOW + timedelta(minutes=13)) is None
    assert perhaps_under_way(replace(episode, state=State.FAILED), NOW) is None
