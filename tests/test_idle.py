"""A daemon with nothing to do: it asks the database for nothing, and misses nothing.

Its loops go round once a second, so what the next round of each does is done within the second.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from feedwatch.core import episode_lifecycle
from feedwatch.core.episode import State
from feedwatch.core.settings import OnUnknown
from feedwatch.daemon import heartbeat, loop
from feedwatch.daemon.heartbeat import Heartbeat, HeartbeatLoop
from feedwatch.notify import Channel
from feedwatch.store.changes import Changes
from feedwatch.store.database import connect
from feedwatch.store.store import Store
from feedwatch.watcher.alerts import Alerts
from tests.support import Beside, Feedwatch, Workspace, wait_for
from tests.world import World, world


@pytest.fixture
def one(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "world.db") as made_up:
        yield made_up


@contextmanager
def statements() -> Iterator[list[str]]:
    """What is asked of any database meanwhile, through SQLAlchemy."""
    asked: list[str] = []

    def note(_db: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def go_round(one: World) -> None:
    """One round of each loop, as the daemon's metronome has it."""
    one.checks.tick()
    wait_for(lambda: not one.checks._tick_pending and one.checks.tick())
    wait_for(lambda: not one.checks._tick_pending)
    one.submissions.tick()
    one.polls.tick()


def idle_down(one: World) -> None:
    """Go round until nothing is asked any more."""

    def is_idle() -> bool:
        with statements() as asked:
            go_round(one)
        return not asked

    wait_for(is_idle)


class Silent:
    """A channel that takes everything."""

    name = "silent"

    def deliver(self, _event: object) -> str | None:
        return None


def test_loops_that_have_nothing_to_do_ask_the_database_nothing(one: World) -> None:
    one.feeds.publish(1)
    one.check()
    one.submit()
    one.later(minutes=1)
    one.poll()
    assert one.episode().state is State.READY
    idle_down(one)
    with statements() as asked:
        for _ in range(20):
            one.later(seconds=1)
            go_round(one)
    assert asked == []


def test_alerts_with_nothing_to_tell_ask_the_database_nothing(one: World) -> None:
    channels: list[Channel] = [Silent()]  # type: ignore[list-item]
    one.store.outbox.open(["silent"])
    alerts = Alerts(one.context, channels, one.cancellation)
    alerts.tick()
    with statements() as asked:
        for _ in range(20):
            one.later(seconds=1)
            alerts.tick()
    assert asked == []
    alerts.close()


def test_idleness_does_not_last_long_whoever_has_written_or_not(one: World) -> None:
    idle_down(one)
    one.later(seconds=31)
    with statements() as asked:
        go_round(one)
    assert len(asked) >= 3


def refreshed(one: World, other: Store) -> Callable[[], bool]:
    before = len(one.feeds.seen)
    other.feeds.make_due(one.now, ["show"])
    return lambda: len(one.feeds.seen) > before


def approved(one: World, other: Store) -> Callable[[], bool]:
    held = next(iter(other.episodes.find(states=[State.HELD])))
    other.episodes.decide(
        [(held, episode_lifecycle.approved(held, one.now))], one.now, actor="someone"
    )
    return lambda: bool(one.sandbox.submissions)


def resumed(one: World, other: Store) -> Callable[[], bool]:
    held = next(iter(other.episodes.find(states=[State.HELD])))
    other.breakers.change("inlet", lambda breaker: replace(breaker, paused=True))
    other.episodes.decide(
        [(held, episode_lifecycle.approved(held, one.now))], one.now, actor="someone"
    )
    go_round(one)
    assert not one.sandbox.submissions
    other.breakers.change("inlet", lambda breaker: replace(breaker, paused=False))
    return lambda: bool(one.sandbox.submissions)


@pytest.mark.parametrize("write", [refreshed, approved, resumed])
def test_what_another_process_writes_is_noticed_in_the_next_round(
    one: World, tmp_path: Path, write: Callable[[World, Store], Callable[[], bool]]
) -> None:
    one.feeds.publish(1)
    one.check()
    queued = one.episode()
    held = replace(queued, state=State.HELD, due_at=None, reason="by a test")
    assert one.context.move(queued, held) is not None
    idle_down(one)
    with closing(Store(f"sqlite:///{tmp_path / 'world.db'}", processor="inlet")) as other:
        is_done = write(one, other)
    go_round(one)
    wait_for(is_done)


def test_what_becomes_due_is_done_when_it_is_due(one: World) -> None:
    one.feeds.publish(1)
    one.check()
    feed_due_at = one.store.feeds.next_due()
    assert feed_due_at is not None
    one.submit()
    idle_down(one)
    job_due_at = one.episode().due_at
    assert job_due_at is not None
    assert one.now < job_due_at < feed_due_at
    one.now = job_due_at - timedelta(milliseconds=1)
    go_round(one)
    go_round(one)
    assert not one.sandbox.polls
    one.now = job_due_at
    go_round(one)
    wait_for(lambda: one.sandbox.polls)
    before = len(one.feeds.seen)
    one.now = feed_due_at - timedelta(milliseconds=1)
    go_round(one)
    idle_down(one)
    assert len(one.feeds.seen) == before
    one.now = feed_due_at
    go_round(one)
    wait_for(lambda: len(one.feeds.seen) > before)


def test_a_reload_ends_idleness(one: World) -> None:
    idle_down(one)
    one.context.plan = replace(
        one.context.plan, policy=replace(one.policy, on_unknown=OnUnknown.RESUBMIT)
    )
    with statements() as asked:
        go_round(one)
    assert len(asked) >= 3


def test_between_two_heartbeats_only_a_lock_is_looked_for(
    one: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    vitals = HeartbeatLoop(Heartbeat(), one.context)
    vitals.tick()
    with statements() as asked:
        for _ in range(20):
            vitals.tick()
        assert asked == []
        monkeypatch.setattr(heartbeat, "TRY_EVERY", 0.0)
        vitals._next_try = 0.0
        vitals.tick()
        vitals.tick()
    assert asked == ["BEGIN IMMEDIATE", "BEGIN IMMEDIATE"]


def test_a_daemon_with_nothing_to_do_looks_once_between_two_heartbeats(
    feedwatch: Feedwatch, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "WRITE_ALONE_EVERY", 1.0)
    monkeypatch.setattr(loop, "TICK", timedelta(milliseconds=20))
    workspace.set(CHECK_INTERVAL="1h")
    written: list[int] = []  # how much had been asked when heartbeats were written

    def look(daemon: Beside) -> None:
        with closing(sqlite3.connect(workspace.database)) as db:
            states = "SELECT state FROM episodes"
            daemon.until(lambda: db.execute(states).fetchall() == [("ready",)], "the episode")
        with statements() as asked:

            def has_written_twice() -> bool:
                written[:] = [n for n, line in enumerate(asked) if "INTO heartbeats" in line]
                return len(written) > 2

            daemon.until(has_written_twice, "heartbeats")
        between = asked[written[-2] : written[-1]]
        assert len([line for line in between if "feeds.due_at >" in line]) <= 2
        assert len(between) <= 40, "\n".join(between)

    assert feedwatch.while_it_runs(["run"], look).status == 0


def test_each_commit_makes_another_version_and_no_look_does(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    changes = Changes(connect(f"sqlite:///{path}"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE t (a)")
        first = changes.version()
        other.execute("SELECT * FROM t")
        other.execute("BEGIN")
        other.execute("INSERT INTO t VALUES (1)")
        assert first is not None
        assert changes.version() == first
        other.execute("COMMIT")
        assert changes.version() not in (None, first)
    changes.close()


def test_a_database_that_cannot_tell_has_no_version() -> None:
    assert Changes(connect("sqlite://")).version() is None
