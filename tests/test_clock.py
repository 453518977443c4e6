"""The wall clock is set while feedwatch runs, or between two runs: nothing stops or piles up.

The clock of the real process is moved, by a library that is preloaded into it.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from feedwatch.core.circuit_breaker import is_tripped
from feedwatch.core.episode import Episode, State
from feedwatch.core.episode_lifecycle import LEASE
from feedwatch.core.feed import Feed, NotModified
from feedwatch.core.feed_lifecycle import checked, may_settle
from feedwatch.core.post_deadline import Moment
from feedwatch.core.settings import OnUnknown
from feedwatch.daemon.wall_clock import EveryInterval, FollowedClock
from feedwatch.sandbox.faults import Fault
from feedwatch.store.errors import StoreError
from feedwatch.store.schema import feeds
from tests.support import LONG, PATIENCE, Feedwatch, Running, Scene, one_in, scene, wait_for
from tests.world import World
from tests.world import world as world_of

HOUR, DAY = 3600, 86_400
MOST_MEGABYTES = 200
SOON = PATIENCE  # far less than any step, so what waits for the clock comes too late
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that moves the clock."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        assert "CI" not in os.environ, "a C compiler moves the clock: install gcc"
        pytest.skip("no C compiler, which moves the clock: install gcc")
    built = tmp_path_factory.mktemp("clock") / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", built, source], check=True)
    return built


class Clock:
    """The wall clock of all processes that are started with `env`."""

    def __init__(self, library: Path, folder: Path) -> None:
        self._offset = folder / "offset"
        self.env = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(self._offset)}
        self.set(0)

    def set(self, seconds: int) -> None:
        """Let the clock be so far ahead of the true time from now on."""
        fresh = self._offset.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.replace(self._offset)


def megabytes(process: Running) -> int:
    """The most memory that it has had."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) // 1000


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Scene]:
    """A scene whose jobs go on for ever."""
    with scene(tmp_path, job_seconds=10.0**6) as one:
        yield one


@pytest.mark.parametrize(
    "steps",
    one_in(
        5, [(2 * HOUR, 0), (-2 * HOUR,), (400 * DAY, 0), (-20_000 * DAY,), (80_000 * DAY, -HOUR)]
    ),
    ids=["ahead and back", "two hours back", "a year and back", "to 1971", "to 2245 and back"],
)
def test_a_clock_that_is_set_stops_no_loop_and_piles_up_nothing(
    slow: Scene, library: Path, tmp_path: Path, steps: tuple[int, ...]
) -> None:
    clock, api = Clock(library, tmp_path), slow.sandbox
    daemon = slow.feedwatch.start("run", env=clock.env)
    daemon.until(lambda: api.submissions, "the first submission")
    number = 1
    for step in steps:
        clock.set(step)
        number += 1
        checked, polled = slow.feeds.count(), polls(slow)
        slow.feeds.publish(*range(1, number + 1))
        daemon.until(lambda: len(api.submissions) == number, "a submission", SOON)  # noqa: B023
        daemon.until(lambda: slow.feeds.count() > checked + 2, "checks", SOON)  # noqa: B023
        daemon.until(lambda: polls(slow) > polled + 3, "polls", SOON)  # noqa: B023
        wait_for(lambda: slow.feedwatch("healthcheck", env=clock.env).status == 0, SOON, "health")
    assert slow.feedwatch.json("status")["overdue"] == []
    assert megabytes(daemon) < MOST_MEGABYTES
    ended = daemon.stop(signal.SIGTERM)
    assert ended.status == 0, ended
    assert "Traceback" not in ended.stderr
    assert "overdue" not in ended.stderr


@pytest.mark.parametrize(
    "step", one_in(3, [-HOUR, HOUR, 400 * DAY]), ids=["back", "ahead", "a year ahead"]
)
def test_health_is_as_old_as_it_was_before_the_daemon_notices_that_the_clock_was_set(
    feedwatch: Feedwatch, world: Scene, library: Path, tmp_path: Path, step: int
) -> None:
    clock = Clock(library, tmp_path)
    daemon = feedwatch.start("run", env=clock.env)
    daemon.until(lambda: feedwatch("healthcheck", env=clock.env).status == 0, "it is healthy")
    daemon.send(signal.SIGSTOP)
    try:
        clock.set(step)
        by_peek = feedwatch("healthcheck", env=clock.env)
        shown = json.loads(feedwatch("status", "--json", env=clock.env).stdout)
    finally:
        daemon.send(signal.SIGCONT)
    assert (by_peek.status, by_peek.stderr) == (0, "")
    assert shown["daemon"]["problems"] == []
    last = datetime.fromisoformat(shown["daemon"]["last_progress_at"])
    assert abs(datetime.now(UTC) + timedelta(seconds=step) - last) < MINUTE


def polls(one: Scene) -> int:
    """How often the first job was asked for."""
    return sum(n for (_, path), n in one.sandbox.requests.items() if "/media/{" in path)


def test_a_daemon_that_starts_by_a_clock_set_back_checks_its_feeds_at_once(
    feedwatch: Feedwatch, world: Scene, library: Path, tmp_path: Path
) -> None:
    clock = Clock(library, tmp_path)
    clock.set(12 * HOUR)
    assert feedwatch("run", "--once", env=clock.env).status == 0
    clock.set(0)
    asked = world.feeds.count()
    daemon = feedwatch.start("run", env=clock.env)
    daemon.until(lambda: world.feeds.count() > asked, "a check", SOON)
    assert re.search("the clock was set back by 1[12] h since", daemon.stderr)


def test_one_pass_ends_and_polls_on_whose_clock_is_set_back_meanwhile(
    slow: Scene, library: Path, tmp_path: Path
) -> None:
    clock = Clock(library, tmp_path)
    slow.workspace.set(CHECK_INTERVAL="15m", POLL_INTERVAL="1s")
    run = slow.feedwatch.start("run", "--once", "--timeout", int(LONG), env=clock.env)
    run.until(lambda: polls(slow), "a poll")
    clock.set(-2 * HOUR)
    polled = polls(slow)
    run.until(lambda: polls(slow) > polled + 2, "more polls")
    run.stop()
    assert slow.feeds.count() == 1


# What stands in the database


@pytest.fixture
def one(tmp_path: Path) -> Iterator[World]:
    with world_of(tmp_path / "feedwatch.db") as loops:
        loops.feeds.publish(1)
        yield loops


def test_what_is_due_comes_as_soon_as_before_the_clock_was_set_back(one: World) -> None:
    one.check()
    one.submit()
    (job,) = one.store.episodes.find(states=[State.PROCESSING])
    one.store.breakers.change(
        "inlet", lambda breaker: replace(breaker, tripped_until=one.now + 3 * MINUTE)
    )
    (feed,) = one.store.feeds.all()
    assert feed.due_at is not None
    assert job.due_at is not None
    one.later(hours=-5)
    one.store.upkeep.follow_clock(one.now, timedelta(hours=-5))
    (after,) = one.store.feeds.all()
    (polled,) = one.store.episodes.find(states=[State.PROCESSING])
    assert after.due_at == feed.due_at - timedelta(hours=5)
    assert polled.due_at == job.due_at - timedelta(hours=5)
    breaker = one.store.breakers.get("inlet")
    assert is_tripped(breaker, one.now + 2 * MINUTE)
    assert not is_tripped(breaker, one.now + 4 * MINUTE)


STEPS = one_in(
    3, [timedelta(hours=5), timedelta(days=400), timedelta(hours=-5), timedelta(days=-400)]
)


def set_clock(one: World, step: timedelta) -> None:
    """Set the wall clock; time itself does not pass."""
    before = one.now.timestamp() - one.context.elapsed()
    one.now += step
    after = before + step.total_seconds()
    one.context.elapsed = lambda: one.now.timestamp() - after
    one.store.upkeep.follow_clock(one.now, step)


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_a_job_is_as_old_as_it_was_whatever_the_clock_says(one: World, step: timedelta) -> None:
    one.check()
    one.submit()
    one.later(seconds=10)
    set_clock(one, step)
    (job,) = one.store.episodes.find(states=[State.PROCESSING])
    assert job.submitted_at == one.now - timedelta(seconds=10)


def test_a_doubt_written_while_the_clock_is_set_is_not_sent_again_too_early(
    tmp_path: Path,
) -> None:
    with world_of(tmp_path / "feedwatch.db", on_unknown=OnUnknown.RESUBMIT) as one:
        one.feeds.publish(1)
        one.sandbox.faults.add(Fault("submit", "drop_after", times=1))
        one.check()
        one.submit()
        doubt = one.episode()
        assert doubt.state is State.UNKNOWN
        one.store.episodes.save(doubt, replace(doubt, due_at=one.now), one.now)
        for minutes, posts in ((0, 1), (59, 1), (2, 2)):
            one.later(minutes=minutes)
            one.submit()
            assert len(one.sandbox.submissions) == posts


def test_a_machine_that_was_suspended_has_not_had_its_clock_set() -> None:
    at = [Moment(wall=1.8e9, boot=5_000.0)]
    clock = FollowedClock(lambda: at[0])
    trigger = EveryInterval(timedelta(seconds=1))
    before = clock.now()
    at[0] = Moment(wall=1.8e9 + 8 * HOUR, boot=5_000.0 + 8 * HOUR)
    assert clock.follow(lambda _now, _step: pytest.fail("no step")) == timedelta()
    assert clock.now() == before + timedelta(hours=8)
    coming = trigger.get_next_fire_time(before, clock.now())
    assert coming == clock.now() + timedelta(seconds=1), "what was missed is not made up for"


def test_what_is_due_in_more_than_a_year_is_due_now(one: World) -> None:
    one.check()
    one.submit()
    absurd = one.now + timedelta(days=400)
    job = one.episode()
    one.store.episodes.save(job, replace(job, due_at=absurd), one.now)
    with one.store._engine.begin() as db:
        db.execute(update(feeds).values(due_at=absurd))
    checked = one.feeds.count()
    one.check()
    assert one.feeds.count() == checked + 1
    assert [one.id for one in one.store.episodes.due(State.PROCESSING, one.now, 9)] == [job.id]


def test_a_job_of_the_moment_at_which_the_clock_is_set_back_is_new(one: World) -> None:
    one.check()
    one.later(days=-400)
    one.submit()  # a loop that goes by the new time before the database follows
    one.store.upkeep.follow_clock(one.now, timedelta(days=-400))
    (job,) = one.store.episodes.find(states=[State.PROCESSING])
    assert job.submitted_at == one.now


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_a_job_whose_post_was_under_way_while_the_clock_was_set_is_new(
    one: World, step: timedelta
) -> None:
    one.check()
    claimed = one.submissions._claim(one.context.processors["inlet"])
    assert claimed is not None
    set_clock(one, step)
    one.submissions._submit(*claimed)
    (job,) = one.store.episodes.find(states=[State.PROCESSING])
    assert job.submitted_at is not None
    assert one.now - LEASE <= job.submitted_at <= one.now
    one.later(minutes=5)
    set_clock(one, -step)
    (job,) = one.store.episodes.find(states=[State.PROCESSING])
    assert job.submitted_at is not None
    assert one.now - LEASE - timedelta(minutes=5) <= job.submitted_at <= one.now


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_an_error_stands_for_an_hour_and_is_polled_on_for_a_day_by_a_clock_that_nobody_sets(
    one: World, step: timedelta
) -> None:
    one.sandbox.faults.add(Fault(on="submit", kind="job_status", statuses=["ERROR"]))
    one.check()
    one.submit()
    for _ in range(10):
        one.later(minutes=5)
        one.poll()
    set_clock(one, step)
    one.later(minutes=5)
    one.poll()
    assert one.episode().state is State.PROCESSING
    for _ in range(4):
        one.later(minutes=15)
        one.poll()
    assert one.episode().state is State.FAILED
    set_clock(one, step)
    one.later(hours=6)
    one.poll()
    assert one.episode().due_at is not None  # polled on: it may mend itself


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_what_is_in_doubt_is_sent_again_no_sooner_because_the_clock_was_set(
    one: World, step: timedelta
) -> None:
    one.policy = replace(one.policy, on_unknown=OnUnknown.RESUBMIT)
    one.restart()
    one.sandbox.faults.add(Fault(on="submit", kind="drop_after"))
    one.check()
    one.submit()
    assert one.episode().state is State.UNKNOWN
    set_clock(one, step)
    one.later(minutes=50)
    one.submit()
    assert len(one.sandbox.submissions) == 1
    one.later(minutes=20)
    one.submit()
    assert len(one.sandbox.submissions) == 2


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_a_delay_lasts_as_long_as_it_should_whatever_the_clock_says(
    one: World, step: timedelta
) -> None:
    one.sources = [replace(one.sources[0], submit_delay=timedelta(hours=2))]
    one.restart()
    one.check()
    one.later(minutes=10)
    set_clock(one, step)
    one.later(minutes=100)
    one.submit()
    assert one.states() == {"guid-1": State.QUEUED}
    one.later(minutes=20)
    one.submit()
    assert one.states() == {"guid-1": State.PROCESSING}


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_the_daily_limit_holds_however_the_clock_is_set(one: World, step: timedelta) -> None:
    one.policy = replace(one.policy, max_submissions_per_day=1)
    one.restart()
    one.feeds.publish(1, 2)
    one.check()
    one.submit()
    set_clock(one, step)
    one.later(hours=23)
    one.submit()
    assert len(one.sandbox.submissions) == 1
    one.later(days=2)
    one.submit()
    assert len(one.sandbox.submissions) == 2


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_no_feed_falls_silent_because_the_clock_was_set(one: World, step: timedelta) -> None:
    one.check()
    patience = timedelta(days=3)
    with one.store._engine.begin() as db:
        expected = {"expected_by": one.now + patience, "silent_since": None}
        db.execute(update(feeds).values(expected))
    set_clock(one, step)
    one.later(hours=25)
    one.check()
    (feed,) = one.store.feeds.all()
    assert feed.success_at == one.now
    assert feed.silent_since is None
    assert feed.expected_by == one.now - timedelta(hours=25) + patience


def test_a_doubt_of_a_time_to_come_can_be_settled_after_a_good_check() -> None:
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    ahead = now + timedelta(days=400)
    feed = Feed(name="show", url="http://h/", doubted_at=ahead, hold_if_published_before=ahead)
    for minutes in (0, 15):
        then = now + timedelta(minutes=minutes)
        feed = checked(feed, NotModified(), None, then, timedelta(minutes=15))
    assert may_settle(feed)


@pytest.mark.parametrize("days", [40, 4000])
def test_a_clock_that_goes_wrong_and_right_again_leaves_everything_but_due_times_as_it_was(
    one: World, days: int
) -> None:
    def known() -> tuple[list[Feed], list[Episode]]:
        return (
            [replace(feed, due_at=None, version=0) for feed in one.store.feeds.all()],
            [replace(episode, due_at=None, version=0) for episode in one.store.episodes.find()],
        )

    one.check()
    one.submit()
    one.later(days=days // 2)
    before = known()
    for step in (timedelta(days=-days), timedelta(days=days)):
        set_clock(one, step)
    assert known() == before


def test_a_start_by_a_clock_set_back_makes_no_job_older_and_sends_nothing_again(
    one: World,
) -> None:
    one.policy = replace(one.policy, on_unknown=OnUnknown.RESUBMIT)
    one.restart()
    one.feeds.publish(1, 2)
    one.sandbox.faults.add(Fault(on="submit", kind="drop_after"))
    one.check()
    one.submit()
    one.later(minutes=5)
    one.submit()
    before = {episode.state: episode for episode in one.store.episodes.find()}
    for days in (0.5, 400):
        one.store.upkeep.follow_clock(one.now, timedelta(days=-days), inferred=True)
        one.submit()
    after = {episode.state: episode for episode in one.store.episodes.find()}
    job = State.PROCESSING
    assert after[job].submitted_at == before[job].submitted_at
    assert after[State.UNKNOWN].due_at == before[State.UNKNOWN].due_at


# The time that the loops go by


class SetClock:
    """A wall clock that is set, beside one that nobody sets."""

    def __init__(self) -> None:
        self.at = Moment(boot=1000.0, wall=1_800_000_000.0)

    def set(self, seconds: float) -> None:
        self.at = Moment(boot=self.at.boot, wall=self.at.wall + seconds)


@pytest.mark.parametrize("seconds", [3, 2 * HOUR, 400 * DAY, -3, -2 * HOUR, -400 * DAY])
def test_nobody_sees_a_clock_that_was_set_before_the_database_follows_it(seconds: int) -> None:
    wall = SetClock()
    clock = FollowedClock(lambda: wall.at)
    was = clock.now()
    wall.set(seconds)
    assert clock.now() == was
    seen: list[datetime] = []

    def follow(now: datetime, step: timedelta) -> None:
        assert (now, step) == (was + step, timedelta(seconds=seconds))
        seen.append(clock.now())
        if len(seen) == 1:
            raise StoreError("it is locked")

    with pytest.raises(StoreError):
        clock.follow(follow)
    assert clock.follow(follow) == timedelta(seconds=seconds)
    # While the database follows, all that waits is younger than it is, and nothing is overdue.
    assert set(seen) == {min(was, was + timedelta(seconds=seconds))}
    assert clock.now() == was + timedelta(seconds=seconds)
    assert clock.follow(follow) == timedelta()


def test_a_clock_that_is_right_again_before_the_database_could_follow_is_followed_again() -> None:
    wall = SetClock()
    clock = FollowedClock(lambda: wall.at)
    was = clock.now()

    def locked(*_: object) -> None:
        raise StoreError("it is locked")

    wall.set(-2 * HOUR)
    with pytest.raises(StoreError):
        clock.follow(locked)
    wall.set(2 * HOUR)
    assert clock.follow(locked) == timedelta()
    assert clock.now() == was


def test_a_clock_that_is_slewed_is_believed_at_once() -> None:
    wall = SetClock()
    clock = FollowedClock(lambda: wall.at)
    was = clock.now()
    wall.set(1.5)
    assert clock.now() == was + timedelta(seconds=1.5)
    assert clock.follow(lambda _now, _step: pytest.fail("nothing to follow")) == timedelta()


def test_a_lease_never_ends_before_its_post_because_the_clock_was_set_back(one: World) -> None:
    one.check()
    claimed = one.submissions._claim(one.context.processors["inlet"])
    assert claimed is not None
    lease = claimed[0].due_at
    assert lease is not None
    one.later(hours=-5)
    one.store.upkeep.follow_clock(one.now, timedelta(hours=-5))
    (now,) = one.store.episodes.find(states=[State.SUBMITTING])
    assert now.due_at == lease


def test_a_schedule_names_one_time_however_many_were_missed(one: World) -> None:
    trigger = EveryInterval(timedelta(seconds=1))
    assert trigger.get_next_fire_time(None, one.now) == one.now
    long_ago = one.now - timedelta(days=400)
    assert trigger.get_next_fire_time(long_ago, one.now) == one.now + timedelta(seconds=1)
