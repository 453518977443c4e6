"""The wall clock is set while feedwatch runs, or between two runs: nothing stops or piles up.

The clock of the real process is moved, by a library that is preloaded into it.
"""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from feedwatch.core.circuit_breaker import is_tripped
from feedwatch.core.episode import State
from feedwatch.daemon.wall_clock import EveryInterval
from tests.support import PATIENCE, Feedwatch, Running, Scene, scene, wait_for
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
    [(-2 * HOUR,), (2 * HOUR, 0), (400 * DAY, 0), (-20_000 * DAY,), (80_000 * DAY, -HOUR)],
    ids=["two hours back", "ahead and back", "a year and back", "to 1971", "to 2245 and back"],
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
    # A poll at the very moment may be by the new clock; the next one takes it back.
    wait_for(lambda: slow.feedwatch.json("status")["overdue"] == [], SOON, "no job overdue")
    assert megabytes(daemon) < MOST_MEGABYTES
    ended = daemon.stop(signal.SIGTERM)
    assert ended.status == 0, ended
    assert "Traceback" not in ended.stderr


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
    run = slow.feedwatch.start("run", "--once", "--timeout", 15, env=clock.env)
    run.until(lambda: polls(slow), "a poll")
    clock.set(-2 * HOUR)
    polled = polls(slow)
    ended = run.wait()
    assert polls(slow) > polled + 2, ended
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


@pytest.mark.parametrize("hours", [5, -5])
def test_a_job_is_as_old_as_it_was_whatever_the_clock_says(one: World, hours: int) -> None:
    one.check()
    one.submit()
    one.later(seconds=10)
    one.later(hours=hours)
    one.store.upkeep.follow_clock(one.now, timedelta(hours=hours))
    (job,) = one.store.episodes.find(states=[State.PROCESSING])
    assert job.submitted_at == one.now - timedelta(seconds=10)


def test_a_lease_never_ends_before_its_post_because_the_clock_was_set_back(one: World) -> None:
    one.check()
    claimed = one.submissions._claim()
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
