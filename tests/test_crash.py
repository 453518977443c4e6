"""kill -9 at any instant: nothing is lost, nothing is sent twice. docs/crash-test.md has more."""

import pytest

from tests.crash.boundaries import SIDES
from tests.crash.plan import AT_REST, EVERY
from tests.crash.run import crash

SEED = 20261121


@pytest.mark.slow
@pytest.mark.timeout(1800)  # it takes a twentieth of that on a machine with nothing else to do
def test_200_kills_at_random_and_at_every_boundary_lose_nothing_and_repeat_nothing() -> None:
    result = crash(200, SEED)
    figures = result.figures
    assert not result.wrong, f"seed {SEED}, {result.folder}: {result.wrong}"
    assert (figures.lost, figures.sent_twice) == (0, 0)
    assert figures.kills >= 200
    assert figures.moments >= 40
    # As many kills fall before a request arrives as after; both must have been tried.
    assert figures.unknown_taken
    assert figures.unknown_not_taken
    everywhere = {f"{name}, {side}" for name in EVERY for side in SIDES}
    assert everywhere <= set(figures.boundaries), figures.table()
    planned = EVERY.keys() | AT_REST
    assert figures.crossed <= planned, "a step of the daemon that no kill is planned for"
