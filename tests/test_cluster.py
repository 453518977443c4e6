"""Several daemons on one PostgreSQL database: nothing lost, nothing sent twice.

See docs/cluster-test.md.
"""

import subprocess
import sys

import pytest

from tests.cluster.scenarios import ALL
from tests.databases import Server
from tests.support import ROOT

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]  # it takes a fifth at most


def run(*arguments: str) -> str:
    """In a process of its own: before it has threads it forks the daemons' launcher."""
    command = [sys.executable, "-m", "tests.cluster", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    return ended.stdout


@pytest.mark.parametrize("seed", ["20261130", "20261131"])
def test_50_moments_lose_nothing_and_repeat_nothing(postgresql: Server, seed: str) -> None:
    said = run("--moments", "50", "--lanes", "1", "--seed", seed)
    assert "0 twice, 0 lost" in said


@pytest.mark.parametrize("scenario", sorted(ALL))
def test_what_one_scenario_shows_holds(postgresql: Server, scenario: str) -> None:
    assert "all holds" in run(scenario, "--seed", "1")
