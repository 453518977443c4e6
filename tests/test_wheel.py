"""What is installed is all that is needed: nothing works only because the checkout is beside it."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from feedwatch import __version__
from tests.support import ROOT, Scene, one_in

UNREACHABLE = ("No matching distribution found", "Could not find a version", "ConnectionError")


@pytest.fixture(
    scope="module", params=one_in(2, [False, True]), ids=["alone", "with what it needs"]
)
def installed(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """The command in a virtual environment that holds the wheel; what it needs is there or here.

    To build it apart from all that is here and to fetch what it depends on takes most of the time.
    """
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    install = ["--python", str(folder / "bin/python"), "install", "--no-compile"]
    if request.param:
        pip(*install, str(ROOT))
    else:
        pip("wheel", "--no-deps", "--no-build-isolation", f"--wheel-dir={folder}", str(ROOT))
        (wheel,) = folder.glob("*.whl")
        pip(*install, "--no-deps", str(wheel))
        # A folder that is named in a .pth file has its own .pth files ignored: no checkout's.
        (packages,) = folder.glob("lib/python3*/site-packages")
        (packages / "here.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return folder / "bin/feedwatch"


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if any(words in done.stderr for words in UNREACHABLE):
        pytest.skip("the dependencies cannot be fetched here")
    assert done.returncode == 0, done.stderr


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
