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
from feedwatch.daemon import heartbeat
from feedwatch.daemon.heartbeat import Heartbeat, HeartbeatLoop
from feedwatch.notify import Channel
from feedwatch.store.changes import Changes
from feedwatch.store.database import connect
from feedwatch.store.store import Store
from feedwatch.watcher.alerts import Alerts
from tests.support import wait_for
from tests.world import World
from tests.world import world as made


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with made(tmp_path / "feedwatch.db") as one:
        yield one


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


def go_round(world: World) -> None:
    """One round of each loop, as the daemon's metronome has it."""
    world.checks.tick()
    wait_for(lambda: not world.checks._tick_pending and world.checks.tick())
    wait_for(lambda: not world.checks._tick_pending)
    world.submissions.tick()
    world.polls.tick()


def come_to_rest(world: World) -> None:
    """Go round until nothing is asked any more."""

    def rests() -> bool:
        with statements() as asked:
            go_round(world)
        return not asked

    wait_for(rests)


class Silent:
    """A channel that takes everything."""

    name = "silent"

    def deliver(self, _event: object) -> str | None:
        return None


def test_loops_that_have_nothing_to_do_ask_the_database_nothing(world: World) -> None:
    world.feeds.publish(1)
    world.check()
    world.submit()
    world.later(minutes=1)
    world.poll()
    assert world.episode().state is State.READY
    come_to_rest(world)
    with statements() as asked:
        for _ in range(20):
            world.later(seconds=1)
            go_round(world)
    assert asked == []


def test_alerts_with_nothing_to_tell_ask_the_database_nothing(world: World) -> None:
    channels: list[Channel] = [Silent()]  # type: ignore[list-item]
    world.store.outbox.open(["silent"])
    alerts = Alerts(world.context, channels, world.cancellation)
    alerts.tick()
    with statements() as asked:
        for _ in range(20):
            world.later(seconds=1)
            alerts.tick()
    assert asked == []
    alerts.close()


def test_a_rest_does_not_last_long_whoever_has_written_or_not(world: World) -> None:
    come_to_rest(world)
    world.later(seconds=31)
    with statements() as asked:
        go_round(world)
    assert len(asked) >= 3


def refreshed(world: World, other: Store) -> Callable[[], bool]:
    before = len(world.feeds.seen)
    other.feeds.make_due(world.now, ["show"])
    return lambda: len(world.feeds.seen) > before


def approved(world: World, other: Store) -> Callable[[], bool]:
    held = next(one for one in other.episodes.find() if one.state is State.HELD)
    other.episodes.decide(
        [(held, episode_lifecycle.approved(held, world.now))], world.now, actor="someone"
    )
    return lambda: bool(world.sandbox.submissions)


def resumed(world: World, other: Store) -> Callable[[], bool]:
    held = next(one for one in other.episodes.find() if one.state is State.HELD)
    other.breakers.change("inlet", lambda breaker: replace(breaker, paused=True))
    other.episodes.decide(
        [(held, episode_lifecycle.approved(held, world.now))], world.now, actor="someone"
    )
    go_round(world)
    assert not world.sandbox.submissions
    other.breakers.change("inlet", lambda breaker: replace(breaker, paused=False))
    return lambda: bool(world.sandbox.submissions)


@pytest.mark.parametrize("write", [refreshed, approved, resumed])
def test_what_another_process_writes_is_noticed_in_the_next_round(
    world: World, tmp_path: Path, write: Callable[[World, Store], Callable[[], bool]]
) -> None:
    world.feeds.publish(1)
    world.check()
    queued = world.episode()
    held = replace(queued, state=State.HELD, due_at=None, reason="by a test")
    assert world.context.move(queued, held) is not None
    come_to_rest(world)
    with closing(Store(f"sqlite:///{tmp_path / 'feedwatch.db'}", processor="inlet")) as other:
        is_done = write(world, other)
    go_round(world)
    wait_for(is_done)


def test_what_becomes_due_is_done_when_it_is_due(world: World) -> None:
    world.feeds.publish(1)
    world.check()
    feed_due_at = world.store.feeds.next_due()
    assert feed_due_at is not None
    world.submit()
    come_to_rest(world)
    job_due_at = world.episode().due_at
    assert job_due_at is not None
    assert world.now < job_due_at < feed_due_at
    world.now = job_due_at - timedelta(milliseconds=1)
    go_round(world)
    go_round(world)
    assert not world.sandbox.polls
    world.now = job_due_at
    go_round(world)
    wait_for(lambda: world.sandbox.polls)
    before = len(world.feeds.seen)
    world.now = feed_due_at - timedelta(milliseconds=1)
    go_round(world)
    come_to_rest(world)
    assert len(world.feeds.seen) == before
    world.now = feed_due_at
    go_round(world)
    wait_for(lambda: len(world.feeds.seen) > before)


def test_a_reload_ends_the_rest(world: World) -> None:
    come_to_rest(world)
    world.context.plan = replace(
        world.context.plan, policy=replace(world.policy, on_unknown=OnUnknown.RESUBMIT)
    )
    with statements() as asked:
        go_round(world)
    assert len(asked) >= 3


def test_between_two_heartbeats_only_a_lock_is_looked_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = HeartbeatLoop(Heartbeat(), world.context)
    loop.tick()
    with statements() as asked:
        for _ in range(20):
            loop.tick()
        assert asked == []
        monkeypatch.setattr(heartbeat, "TRY_EVERY", 0.0)
        loop._next_try = 0.0
        loop.tick()
        loop.tick()
    assert asked == ["BEGIN IMMEDIATE", "BEGIN IMMEDIATE"]


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
