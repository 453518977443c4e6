"""The machine's own troubles: a full disk, a locked or read-only database, a clock that jumps."""

import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import event

from feedwatch.core.episode import State
from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.server import Sandbox
from feedwatch.store.errors import StoreError
from feedwatch.store.journal import Journal
from tests.support import PATIENCE, FeedServer, Feedwatch, Workspace, wait_for
from tests.world import HookedJournal, World
from tests.world import world as a_world


@pytest.fixture
def loops(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path / "feedwatch.db") as loops:
        yield loops


@contextmanager
def locked(loops: World) -> Iterator[None]:
    """Another program is in the middle of a long write, longer than anybody waits."""
    path = loops.store.path
    assert path is not None
    engine = loops.store._engine
    engine.dispose()
    event.listen(engine, "connect", _impatient)
    other = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    other.execute("begin immediate")
    try:
        yield
    finally:
        other.execute("rollback")
        other.close()
        event.remove(engine, "connect", _impatient)
        engine.dispose()


def _impatient(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("pragma busy_timeout = 200")


# A locked database


def test_nothing_is_sent_that_cannot_be_written_down_first(loops: World) -> None:
    loops.feeds.publish(1)
    loops.check()
    loops.submissions._proven = dict(loops.context.processors)
    with locked(loops), pytest.raises(StoreError, match="another program keeps it locked"):
        loops.submit()
    assert loops.sandbox.submissions == []
    loops.submit()
    assert loops.episode().state is State.PROCESSING


def test_an_answer_that_could_not_be_written_is_written_before_anything_else_is_sent(
    loops: World,
) -> None:
    loops.feeds.publish(2, 1)
    loops.check()
    lock = locked(loops)
    loops.context.journal = HookedJournal(lock.__enter__)
    with pytest.raises(StoreError):
        loops.submit()
    assert len(loops.sandbox.taken) == 1
    assert loops.episode("guid-1").state is State.SUBMITTING
    with pytest.raises(StoreError):
        loops.submit()
    assert len(loops.sandbox.submissions) == 1, "the queue waits for the answer to be on disk"
    lock.__exit__(None, None, None)
    loops.context.journal = Journal([])
    loops.submit()
    assert loops.states() == {"guid-1": State.PROCESSING, "guid-2": State.PROCESSING}
    assert len(loops.sandbox.taken) == 2


def test_a_check_that_could_not_be_written_is_made_again(loops: World) -> None:
    loops.feeds.publish(1)
    with locked(loops), pytest.raises(StoreError):
        loops.check()
    assert loops.store.episodes.find() == []
    loops.check()
    assert loops.states() == {"guid-1": State.QUEUED}


# A disk of its own, for what only a real one can do


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("making a file system takes root's rights")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Leave no room."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1024)):
            pass
    assert shutil.disk_usage(disk).free == 0
    return filler


@pytest.mark.slow
def test_with_a_full_disk_nothing_is_submitted_and_with_room_everything_once(
    disk: Path,
    workspace: Workspace,
    feedwatch: Feedwatch,
    feed_server: FeedServer,
    sandbox: Sandbox,
) -> None:
    workspace.set(DATABASE_URL=f"sqlite:///{disk}/feedwatch.db")
    running = feedwatch.start("run")
    wait_for(lambda: feedwatch.states() == {"guid-1": "ready"})
    filler = fill(disk)
    feed_server.publish(3, 2, 1)
    wait_for(lambda: "stand still" in running.stderr)
    assert "make room" in running.stderr
    assert running.alive
    assert len(sandbox.submissions) == 1
    filler.unlink()
    wait_for(lambda: feedwatch.states() == dict.fromkeys(["guid-3", "guid-2", "guid-1"], "ready"))
    assert len(sandbox.submissions) == len(sandbox.taken) == 3
    assert "go on: the database works again" in running.stderr
    assert "Traceback" not in running.stderr
    assert running.stop().status == 0


@pytest.mark.slow
def test_a_disk_that_fills_up_during_a_post_loses_no_answer(
    disk: Path, workspace: Workspace, feedwatch: Feedwatch, sandbox: Sandbox
) -> None:
    workspace.set(DATABASE_URL=f"sqlite:///{disk}/feedwatch.db")
    sandbox.faults.add(Fault("submit", "delay", seconds=5.0))
    running = feedwatch.start("run")
    wait_for(lambda: feedwatch.states() == {"guid-1": "submitting"})
    filler = fill(disk)
    wait_for(lambda: "stand still" in running.stderr)
    filler.unlink()
    wait_for(lambda: feedwatch.states() == {"guid-1": "ready"})
    assert len(sandbox.taken) == 1
    assert running.stop().status == 0


@pytest.mark.slow
def test_a_database_that_cannot_be_written_is_told_in_words(
    disk: Path, workspace: Workspace, feedwatch: Feedwatch, sandbox: Sandbox
) -> None:
    workspace.set(DATABASE_URL=f"sqlite:///{disk}/feedwatch.db")
    assert feedwatch.once().status == 0
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for args in (("run", "--once"), ("skip", 1), ("pause",)):
        ended = feedwatch.here(*args)
        assert ended.status == 1
        assert ended.stderr.startswith("Error: ")
        assert "Traceback" not in ended.output
    assert len(sandbox.submissions) == 1


# The clock


def test_a_clock_that_was_ahead_for_a_while_stops_nothing_once_it_is_right(loops: World) -> None:
    loops.feeds.publish(1)
    loops.check()
    loops.submit()
    right = loops.now
    loops.later(days=400)
    loops.check()
    loops.poll()
    loops.feeds.publish(3, 2, 1)
    loops.later(days=1)
    loops.check()
    loops.sandbox.faults.add(Fault("submit", "status", status=503))
    loops.submit()
    loops.now = right
    loops.feeds.publish(4, 3, 2, 1)
    for _ in range(10):
        loops.later(minutes=30)
        loops.check()
        loops.submit()
        loops.poll()
    assert set(loops.states().values()) == {State.READY}
    assert len(loops.states()) == len(loops.sandbox.taken) == 4


def test_a_clock_set_back_neither_repeats_nor_stops(loops: World) -> None:
    loops.feeds.publish(1)
    loops.check()
    loops.submit()
    loops.later(days=-30)
    loops.feeds.publish(2, 1)
    for _ in range(10):
        loops.later(minutes=30)
        loops.check()
        loops.submit()
        loops.poll()
    assert loops.states() == {"guid-1": State.READY, "guid-2": State.READY}
    assert len(loops.sandbox.taken) == 2


def test_a_clock_set_forward_during_a_post_loses_no_answer(loops: World) -> None:
    loops.feeds.publish(1)
    loops.check()
    loops.context.journal = HookedJournal(lambda: loops.later(days=2))
    loops.submit()
    assert loops.episode().state is State.PROCESSING
    assert len(loops.sandbox.taken) == 1
