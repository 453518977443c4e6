"""The fault matrix: everything the API can do wrong, at every step, and what becomes of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from feedwatch.core.episode import State
from feedwatch.sandbox.faults import Fault
from tests.support import one_in
from tests.world import World
from tests.world import world as a_world

WORDS = '{"error": "No", "message": "not this one"}'
RICHER = '{"error": "No", "message": "not this one", "statusCode": 1}'
ODD = '{"message": ["too long"]}'
ENOUGH = 8  # polls; an error that stands so long is final


@dataclass(frozen=True)
class Cell:
    """One fault at one step: the state it leads to at once, and once it has passed."""

    fault: Fault
    at_once: State
    in_the_end: State
    taken: int = 1  # jobs made in all

    def __str__(self) -> str:
        return f"{self.fault.on}-{self.fault.kind}-{self.fault.status or ''}"


def at_submit(kind: str, at_once: State, in_the_end: State, taken: int, **more: object) -> Cell:
    return Cell(Fault("submit", kind, **more), at_once, in_the_end, taken)  # type: ignore[arg-type]


def at_poll(kind: str, **more: object) -> Cell:
    fault = Fault("poll", kind, **more)  # type: ignore[arg-type]
    return Cell(fault, State.PROCESSING, State.READY)


def at_read(kind: str, **more: object) -> Cell:
    fault = Fault("podcasts", kind, **more)  # type: ignore[arg-type]
    return Cell(fault, State.QUEUED, State.READY)


MATRIX = [
    # A POST of which it can't be known whether it was taken: a person's, whatever comes.
    at_submit("refuse", State.UNKNOWN, State.UNKNOWN, 0),
    at_submit("drop_before", State.UNKNOWN, State.UNKNOWN, 0),
    at_submit("drop_after", State.UNKNOWN, State.UNKNOWN, 1),
    at_submit("truncate", State.UNKNOWN, State.UNKNOWN, 1),
    at_submit("junk", State.UNKNOWN, State.UNKNOWN, 1),
    at_submit("no_id", State.UNKNOWN, State.UNKNOWN, 1),
    at_submit("status", State.UNKNOWN, State.UNKNOWN, 0, status=408),
    at_submit("status", State.UNKNOWN, State.UNKNOWN, 0, status=500),
    at_submit("status", State.UNKNOWN, State.UNKNOWN, 0, status=502),
    at_submit("status", State.UNKNOWN, State.UNKNOWN, 0, status=504),
    at_submit("status", State.UNKNOWN, State.UNKNOWN, 0, status=302),
    at_submit("status_after", State.UNKNOWN, State.UNKNOWN, 1, status=502),
    at_submit("unsuccessful", State.UNKNOWN, State.UNKNOWN, 1),
    at_submit("wrong_id", State.UNKNOWN, State.UNKNOWN, 1, id="not one"),
    at_submit("html", State.UNKNOWN, State.UNKNOWN, 0, status=403),
    at_submit("html", State.UNKNOWN, State.UNKNOWN, 0, status=404),
    at_submit("html", State.UNKNOWN, State.UNKNOWN, 0, status=413),
    at_submit("html", State.UNKNOWN, State.UNKNOWN, 0, status=503),
    at_submit("status", State.UNKNOWN, State.UNKNOWN, 0, status=400, body="[]"),
    at_submit("status", State.UNKNOWN, State.UNKNOWN, 0, status=503, body=RICHER),
    at_submit("status_after", State.UNKNOWN, State.UNKNOWN, 1, status=503, body="<html>"),
    at_submit("status_after", State.UNKNOWN, State.UNKNOWN, 1, status=403, body="<html>"),
    # Surely not taken: once more, later.
    at_submit("status", State.QUEUED, State.READY, 1, status=429, retry_after=60),
    at_submit("status", State.QUEUED, State.READY, 1, status=503),
    at_submit("status", State.QUEUED, State.READY, 1, status=401),
    at_submit("api_disabled", State.QUEUED, State.READY, 1),
    at_submit("status", State.QUEUED, State.READY, 1, status=402, body="no credit"),
    at_submit("status", State.QUEUED, State.READY, 1, status=407, body="<html>"),
    at_submit("status", State.QUEUED, State.READY, 1, status=400, body=ODD),
    # Refused: final, with the API's words.
    at_submit("status", State.FAILED, State.FAILED, 0, status=400, body=WORDS),
    at_submit("status", State.FAILED, State.FAILED, 0, status=403, body=WORDS),
    at_submit("status", State.FAILED, State.FAILED, 0, status=404, body=WORDS),
    at_submit("status", State.FAILED, State.FAILED, 0, status=422, body=RICHER),
    # Slow, and yet in time.
    at_submit("delay", State.PROCESSING, State.READY, 1, seconds=0.2),
    # A poll that says nothing about the job.
    at_poll("refuse"),
    at_poll("drop_before"),
    at_poll("truncate"),
    at_poll("junk"),
    at_poll("html", status=200),
    at_poll("html", status=404),
    at_poll("status", status=401),
    at_poll("status", status=429, retry_after=60),
    at_poll("stale"),
    at_poll("unsuccessful"),
    at_poll("wrong_id", id="another"),
    at_poll("wrong_url", url="/files/1.mp3"),
    at_poll("status", status=402),
    at_poll("status", status=500),
    at_poll("status", status=503),
    Cell(Fault("poll", "delay", seconds=0.2), State.READY, State.READY),
    at_poll("lost"),  # once is not enough
    # A read before the first POST that fails: nothing is sent.
    at_read("refuse"),
    at_read("drop_before"),
    at_read("junk"),
    at_read("html", status=200),
    at_read("status", status=401),
    at_read("status", status=429),
    at_read("status", status=500),
    at_read("api_disabled"),
    # One that the API does not have: it is asked for a job instead.
    *(
        Cell(Fault("podcasts", "status", status=status, body=body), State.PROCESSING, State.READY)
        for status in (404, 405)
        for body in (WORDS, ODD, "<html>", "")
    ),
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path / "feedwatch.db") as world:
        world.feeds.publish(1)
        yield world


def run_on(world: World, times: int = 6) -> None:
    """Let time pass and everything be done that is due."""
    for _ in range(times):
        world.submit()
        world.later(minutes=20)
        world.poll()


@pytest.mark.parametrize("cell", MATRIX, ids=str)
def test_each_fault_at_each_step_leads_where_it_should(world: World, cell: Cell) -> None:
    world.check()
    world.sandbox.faults.add(cell.fault)
    world.submit()
    if cell.fault.on == "poll":
        world.later(minutes=1)
        world.poll()
    assert not world.sandbox.faults.active(), "the fault was met"
    assert world.episode().state is cell.at_once
    run_on(world)
    assert world.episode().state is cell.in_the_end
    assert len(world.sandbox.taken) == cell.taken
    if cell.at_once is State.UNKNOWN:
        assert len(world.sandbox.submissions) <= 1, "never sent again unasked"
        assert "may or may not have been taken" in (world.episode().reason or "")


@pytest.mark.parametrize("cell", one_in(4, MATRIX), ids=str)
def test_and_a_restart_in_the_middle_changes_nothing(world: World, cell: Cell) -> None:
    world.check()
    world.sandbox.faults.add(cell.fault)
    world.submit()
    world.restart()
    world.submissions.recover()
    if cell.fault.on == "poll":
        world.later(minutes=1)
        world.poll()
        world.restart()
        world.submissions.recover()
    run_on(world)
    assert world.episode().state is cell.in_the_end
    assert len(world.sandbox.taken) == cell.taken


@pytest.mark.parametrize(
    "status",
    ["AI_ERROR", "AD_BREAK_ERROR", "REMOVE_ADS_ERROR", "PUBLISHING_ERROR", "ERROR", "UNAVAILABLE"],
)
def test_an_error_status_fails_once_it_has_stood_and_passes_if_it_passes(
    world: World, status: str
) -> None:
    world.feeds.publish(2, 1)
    world.check()
    world.sandbox.faults.add(
        Fault("submit", "job_status", statuses=[status]),
        Fault("submit", "job_status", statuses=[status, status, "READY"]),
    )
    world.submit()
    run_on(world, ENOUGH)
    failed, ready = world.episode("guid-1"), world.episode("guid-2")
    assert failed.state is State.FAILED
    assert (failed.reason or "").startswith(f"{status}: ")
    assert ready.state is State.READY
    assert len(world.sandbox.taken) == 2


def test_a_job_that_stays_lost_fails_as_lost_and_is_not_submitted_again(world: World) -> None:
    world.check()
    world.submit()
    world.sandbox.faults.add(Fault("poll", "lost", times=None))
    run_on(world, ENOUGH)
    assert world.episode().state is State.FAILED
    assert (world.episode().reason or "").startswith("lost: ")
    assert len(world.sandbox.submissions) == 1


def test_a_job_that_never_ends_is_reported_and_never_submitted_again(world: World) -> None:
    world.check()
    world.sandbox.faults.add(Fault("submit", "job_status", statuses=["AD_BREAK_PROCESSING"]))
    world.submit()
    for _ in range(60):
        world.later(hours=2)
        world.submit()
        world.poll()
    episode = world.episode()
    assert (episode.state, episode.overdue) == (State.PROCESSING, True)
    assert (episode.reason or "").startswith("overdue")
    assert len(world.sandbox.submissions) == 1
    polls = len(next(iter(world.sandbox.polls.values())))
    assert 10 < polls < 60, "polled on, ever more slowly"
