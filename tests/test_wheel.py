"""What is installed is all that is needed: nothing works only because the checkout is beside it."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

from feedwatch import __version__
from tests.support import ROOT, Scene

UNREACHABLE = ("No matching distribution found", "Could not find a version", "ConnectionError")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command in a virtual environment that holds the wheel and what it depends on."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python")]
    options = ["--quiet", "--no-compile", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "install", *options, str(ROOT)], capture_output=True, text=True, check=False
    )
    if any(words in done.stderr for words in UNREACHABLE):
        pytest.skip("the dependencies cannot be fetched here")
    assert done.returncode == 0, done.stderr
    return folder / "bin/feedwatch"


@pytest.mark.slow
def test_the_wheel_alone_takes_an_episode_from_the_feed_to_its_end(
    installed: Path, world: Scene
) -> None:
    environment = {"PATH": "/usr/bin:/bin"}
    version = subprocess.run(
        [installed, "--version"], capture_output=True, text=True, env=environment, check=True
    )
    assert version.stdout.split()[-1] == __version__
    subprocess.run(
        [installed, "--config", world.workspace.config, "run", "--once"],
        env=environment,
        cwd=world.workspace.elsewhere,
        check=True,
    )
    assert world.feedwatch.states() == {"guid-1": "ready"}
