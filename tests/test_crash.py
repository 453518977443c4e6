"""kill -9 and restores at any instant: nothing lost, nothing sent twice. See docs/crash-test.md.

One half of the kills falls into worlds with a single step, the other into worlds with two.
"""

import pytest

from tests.crash.boundaries import SIDES
from tests.crash.figures import Figures
from tests.crash.plan import AT_REST, BY_CHANCE, EVERY
from tests.crash.run import crash

SEED = 20261121
MORE_ROUNDS = 2


def crashed(kills: int, seed: int) -> Figures:
    result = crash(kills, seed)
    figures = result.figures
    assert not result.wrong, f"seed {seed}, {result.folder}: {result.wrong}"
    assert (figures.lost, figures.sent_twice) == (0, 0)
    assert figures.kills >= kills
    assert figures.taken["ads"] > 0
    planned = EVERY.keys() | AT_REST | BY_CHANCE
    assert figures.crossed <= planned, "a step of the daemon that no kill is planned for"
    return figures


@pytest.mark.slow
@pytest.mark.timeout(1800)  # it takes a fiftieth of that on a machine with nothing else to do
def test_12_kills_lose_nothing_and_repeat_nothing() -> None:
    """At whichever boundaries the seed has; the longer run comes to each of them on both sides."""
    crashed(12, SEED)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_400_kills_at_every_boundary_and_100_restores_lose_nothing_and_repeat_nothing() -> None:
    figures = crashed(560, SEED + 1)  # so many, for they bring 100 restores
    assert figures.restores >= 100
    assert figures.live_restores
    assert figures.lost_places
    assert 0 < figures.longer < figures.worlds
    assert figures.taken["ads"] > figures.taken["enhance"] > 0
    # As many kills fall before a request arrives as after; both must have been tried.
    assert figures.unknown_taken
    assert figures.unknown_not_taken
    everywhere = {f"{name}, {side}" for name in EVERY for side in SIDES}
    # On a busy machine a life may not come to its boundary: others get another chance at it.
    for seed in range(SEED + 2, SEED + 2 + MORE_ROUNDS):
        if not everywhere <= set(figures.boundaries):
            figures.add(crashed(160, seed))
    assert everywhere <= set(figures.boundaries), figures.table()
