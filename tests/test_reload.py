"""SIGHUP: the config is read anew while the daemon runs, as a whole or not at all."""

import os
import re
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from feedwatch.config.changes import changes
from feedwatch.config.load import load
from feedwatch.daemon.systemd import Manager
from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.server import Sandbox
from tests.support import (
    KEY,
    PATIENCE,
    Beside,
    Feedwatch,
    Running,
    Scene,
    Workspace,
    scene,
    wait_for,
)

BLOCK = ("URL", "PODCAST_ID", "FIRST_RUN", "CHECK_INTERVAL", "USERNAME", "PASSWORD")


@dataclass(frozen=True)
class Stage:
    """A daemon that has begun its work, for several tests: each leaves its config as it was."""

    world: Scene
    daemon: Running

    def set(self, **keys: str | int | None) -> None:
        self.world.workspace.set(**keys)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with scene(tmp_path_factory.mktemp("stage")) as world:
        daemon = world.feedwatch.start("run")
        daemon.until(lambda: world.sandbox.taken, "the first episode")
        yield Stage(world, daemon)
        assert daemon.stop().status == 0
        assert "Traceback" not in daemon.stderr


def reload(daemon: Running | Beside, *, refused: bool = False) -> str:
    """Send SIGHUP, and return what the log says of it."""
    before = len(daemon.stderr)
    daemon.send(signal.SIGHUP)
    end = "what held before holds on" if refused else "config: read anew"
    daemon.until(lambda: end in daemon.stderr[before:], "the reload")
    return daemon.stderr[before:]


def taken(world: Scene) -> set[str]:
    """The episodes that the API was sent."""
    return {body["name"] for body in world.sandbox.taken}


def test_feeds_come_go_and_change_in_a_running_daemon_and_the_log_has_a_line_for_each(
    stage: Stage,
) -> None:
    world, daemon = stage.world, stage.daemon
    world.feeds.publish(7, path="/other.xml")
    other = world.feeds.url_of("/other.xml")
    world.workspace.add_feed("other", other, "podcast-2", FIRST_RUN="all")
    stage.set(FEEDS__SHOW__CHECK_INTERVAL="1h", FEEDS__SHOW__PASSWORD="s3cret-word")
    stage.set(FEEDS__SHOW__USERNAME="me", MAX_CONCURRENT_JOBS=9)
    told = reload(daemon)
    assert "config: feed other: added" in told
    assert "config: FEEDWATCH_FEEDS__SHOW__CHECK_INTERVAL unset → 1h" in told
    assert "config: FEEDWATCH_FEEDS__SHOW__PASSWORD changed" in told
    assert "config: FEEDWATCH_MAX_CONCURRENT_JOBS unset → 9" in told
    assert "config: read anew, 5 changes" in told
    daemon.until(lambda: "Episode 7" in taken(world), "the new feed's episode")
    stage.set(**{f"FEEDS__SHOW__{key}": None for key in BLOCK})
    assert "config: feed show: removed" in reload(daemon)
    asked = world.feeds.count()
    world.feeds.publish(7, 8, path="/other.xml")
    daemon.until(lambda: "Episode 8" in taken(world), "a later episode")
    assert world.feeds.count() == asked
    world.workspace.add_feed("show", world.feeds.url)
    assert "config: feed show: added" in reload(daemon)
    daemon.until(lambda: world.feeds.count() > asked, "another check")
    assert "s3cret-word" not in daemon.stderr


def test_a_config_with_mistakes_is_refused_with_all_of_them_and_the_old_one_holds(
    stage: Stage,
) -> None:
    stage.set(CHECK_INTERVAL="soon", CHEK_INTERVAL="1s", FEEDS__SHOW__URL="nowhere")
    told = reload(stage.daemon, refused=True)
    for part in ("CHECK_INTERVAL='soon'", "did you mean FEEDWATCH_CHECK_INTERVAL", "SHOW__URL="):
        assert part in told
    asked = stage.world.feeds.count()
    stage.daemon.until(lambda: stage.world.feeds.count() > asked, "another check")
    stage.set(CHECK_INTERVAL="1s", CHEK_INTERVAL=None, FEEDS__SHOW__URL=stage.world.feeds.url)
    assert "0 changes" in reload(stage.daemon)


def test_what_needs_a_restart_is_named_each_time_and_stays(stage: Stage) -> None:
    stage.set(DATABASE_URL="sqlite:///another.db")
    for _ in range(2):
        told = reload(stage.daemon)
        assert "DATABASE_URL unset → sqlite:///another.db; this needs a restart" in told
    assert not (stage.world.workspace.folder / "another.db").exists()
    stage.set(DATABASE_URL=None)
    reload(stage.daemon)


def test_the_logs_change_with_it(stage: Stage) -> None:
    stage.set(LOG_FORMAT="json")
    assert '"message": "config: FEEDWATCH_LOG_FORMAT unset → json"' in reload(stage.daemon)
    stage.set(LOG_FORMAT=None)
    reload(stage.daemon)


def test_a_job_of_a_feed_that_was_taken_out_is_polled_to_its_end(world: Scene) -> None:
    world.sandbox.faults.add(Fault("poll", "status", status=503, times=None))
    daemon = world.feedwatch.start("run")
    daemon.until(lambda: world.sandbox.jobs, "the job")
    world.workspace.add_feed("other", world.feeds.url_of("/other.xml"))
    world.workspace.set(**{f"FEEDS__SHOW__{key}": None for key in BLOCK})
    reload(daemon)
    world.sandbox.faults.clear()
    daemon.until(lambda: "→ ready" in daemon.stderr, "the end of the job")


def test_a_right_key_in_place_of_a_wrong_one_is_tried_at_once(
    feedwatch: Feedwatch, workspace: Workspace, sandbox: Sandbox
) -> None:
    workspace.set(API_KEY="wr0ng-key-altogether", POLL_INTERVAL="1h")

    def give_the_right_one(daemon: Beside) -> None:
        daemon.until(lambda: "submissions paused" in daemon.stderr, "the refusal")
        workspace.set(API_KEY=KEY)
        assert "config: FEEDWATCH_API_KEY changed" in reload(daemon)
        daemon.until(lambda: sandbox.submissions, "the submission")

    assert KEY not in feedwatch.while_it_runs(["run"], give_the_right_one).stderr


def test_a_hangup_while_it_starts_or_stops_does_no_harm(world: Scene) -> None:
    world.sandbox.faults.add(Fault("submit", "delay", seconds=3))
    daemon = world.feedwatch.start("run")
    wait_for(lambda: takes_hangups(daemon.pid), what="the mask")
    daemon.send(signal.SIGHUP)
    daemon.until(lambda: "config: read anew, 0 changes" in daemon.stderr, "the reload")
    daemon.until(lambda: world.sandbox.submissions, "a submission")
    daemon.send(signal.SIGTERM)
    for _ in range(20):
        daemon.send(signal.SIGHUP)
    assert daemon.wait().status == 0
    assert "Traceback" not in daemon.stderr
    assert world.feedwatch.states() == {"guid-1": "processing"}


def takes_hangups(pid: int) -> bool:
    """Whether SIGHUP is held back or caught, and would not end the process any more."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    masks = re.findall(r"^Sig(?:Blk|Cgt):\t(\w+)$", text, re.MULTILINE)
    return any(int(mask, 16) & 1 for mask in masks)


# The lines


def test_an_environment_that_did_not_change_makes_no_line(workspace: Workspace) -> None:
    settings = load(workspace.config, {})
    assert changes(settings, load(workspace.config, {})) == []


def test_what_is_secret_in_an_address_or_long_is_not_shown(workspace: Workspace) -> None:
    workspace.set(CHECK_INTERVAL="1m")
    before = load(workspace.config, {})
    workspace.set(FEEDS__SHOW__URL="https://me:pw0rd@example.com/feed?token=t0ken")
    workspace.set(FEEDS__SHOW__EXCLUDE_TITLE="x" * 100)
    url, title = sorted(changes(before, load(workspace.config, {})), key=len)[::-1]
    assert "pw0rd" not in url + title
    assert "t0ken" not in url + title
    assert "x" * 61 not in url + title


# systemd


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Where systemd listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        yield manager


def until(manager: socket.socket, begin: str) -> list[str]:
    """What systemd is told until there is a message that begins like this."""
    messages: list[str] = []
    while not messages or not messages[-1].startswith(begin):
        messages.append(manager.recv(1000).decode())
    return messages


def test_systemd_is_told_of_start_progress_reload_and_end(
    manager: socket.socket, feedwatch: Feedwatch
) -> None:
    env = {"NOTIFY_SOCKET": str(manager.getsockname()), "WATCHDOG_USEC": "400000"}

    def listen(daemon: Beside) -> None:
        assert until(manager, "READY=1") == ["READY=1"]
        assert until(manager, "STATUS=")[-1].startswith("STATUS=1 feed, ")
        assert until(manager, "WATCHDOG=1")
        daemon.send(signal.SIGHUP)
        reloading = until(manager, "RELOADING=1")[-1]
        assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", reloading)
        assert until(manager, "READY=1")
        assert until(manager, "WATCHDOG=1")
        daemon.send(signal.SIGTERM)
        assert until(manager, "STOPPING=1")

    assert feedwatch.while_it_runs(["run"], listen, env).status == 0


def test_a_watchdog_that_is_meant_for_another_process_is_not_fed(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(manager.getsockname()))
    monkeypatch.setenv("WATCHDOG_USEC", "1000")
    for pid in (os.getpid(), os.getppid()):
        monkeypatch.setenv("WATCHDOG_PID", str(pid))
        systemd = Manager()
        systemd.feed()
        systemd.stopping()
    assert manager.recv(100) == b"WATCHDOG=1"
    assert manager.recv(100).startswith(b"STOPPING=1")
    assert manager.recv(100).startswith(b"STOPPING=1")
