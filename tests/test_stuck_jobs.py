"""For which jobs `run --once` does not wait: those whose error has stood for 20 poll intervals."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from feedwatch.core import job_lifecycle
from feedwatch.core.episode import Cause, State
from feedwatch.core.job import Broken, Lost, Progress, Running, Unreachable
from feedwatch.daemon.loop import TICK
from feedwatch.watcher.stuck_jobs import StuckJobs
from tests.support import wait_for
from tests.world import World
from tests.world import world as world_of

ERROR = Broken(remote_status="AI_ERROR", reason="it failed", remote_updated_at="t0")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A job that was accepted, polled every 30 seconds; so an error stands for ten minutes."""
    with world_of(tmp_path / "feedwatch.db") as one:
        one.feeds.publish(1)
        one.check()
        one.submit()
        assert one.episode().state is State.PROCESSING
        yield one


def polled(world: World, progress: Progress) -> None:
    before = world.episode()
    after = job_lifecycle.polled(before, progress, world.now, world.policy)
    assert world.context.move(before, after) is not None


def test_a_job_under_way_is_waited_for_even_if_it_is_overdue(world: World) -> None:
    world.later(days=3)
    jobs = StuckJobs(world.context)
    for _ in range(40):
        polled(world, Running(remote_status="PUBLISHING"))
        world.later(minutes=10)
        assert not jobs.are_all()
    assert world.episode().overdue


@pytest.mark.parametrize(
    "wrong",
    [ERROR, Lost("404"), Unreachable("Success, but …: 403", done="Success")],
    ids=["error", "lost", "no file"],
)
def test_an_error_is_waited_out_for_20_poll_intervals(world: World, wrong: Progress) -> None:
    jobs = StuckJobs(world.context)
    assert not jobs.are_all()
    polled(world, wrong)
    world.later(minutes=9)
    polled(world, Unreachable("the API answers nothing"))  # which says nothing of the job
    assert not jobs.are_all()
    world.later(minutes=1)
    assert jobs.are_all()
    polled(world, Running(remote_status="PUBLISHING"))
    assert not jobs.are_all()


def test_an_old_job_is_no_exception_though_it_is_polled_rarely(world: World) -> None:
    world.later(hours=20)
    polled(world, ERROR)
    due_at = world.episode().due_at
    assert due_at is not None
    assert due_at > world.now + timedelta(minutes=10)
    jobs = StuckJobs(world.context)
    assert not jobs.are_all()
    world.later(minutes=10)
    assert jobs.are_all()


def test_an_error_whose_time_stamp_is_renewed_stands_since_the_pass_first_saw_it(
    world: World,
) -> None:
    jobs = StuckJobs(world.context)
    for number in range(10):
        polled(world, replace(ERROR, remote_updated_at=f"t{number}"))
        assert not jobs.are_all()
        world.later(minutes=1)
    polled(world, replace(ERROR, remote_updated_at="t10"))
    assert jobs.are_all()


def test_a_doubt_about_the_next_step_does_not_keep_a_pass_waiting(world: World) -> None:
    before = world.episode()
    world.context.move(before, replace(before, cause=Cause.DOUBTED))
    jobs = StuckJobs(world.context)
    assert not jobs.are_all()
    polled(world, ERROR)
    assert world.episode().cause is Cause.DOUBTED
    world.later(minutes=10)
    assert jobs.are_all()


def test_an_error_of_an_earlier_pass_is_not_waited_for_again(world: World) -> None:
    polled(world, ERROR)
    world.later(hours=1)
    assert StuckJobs(world.context).are_all()
    assert world.episode().cause is Cause.ERROR


def test_a_job_that_nobody_can_be_asked_about_keeps_no_pass_waiting(world: World) -> None:
    world.context.processors = {}
    assert StuckJobs(world.context).are_all()


def test_a_pass_that_waits_for_a_poll_goes_round_no_oftener_than_a_daemon(world: World) -> None:
    context, least = world.context, 0.1
    assert world.polls.pause(least) == TICK.total_seconds()
    world.later(minutes=1)
    world.polls.tick()
    assert world.polls.pause(least) == least, "a poll is under way"
    wait_for(lambda: world.polls.tick() and world.polls.pause(least) > least)
    context.plan = replace(context.plan, policy=replace(world.policy, poll_interval=TICK))
    assert world.polls.pause(least) == least
