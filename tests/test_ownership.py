"""One daemon for one database, and a database that is not the one it was."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import event

from feedwatch.core.ledger import DatabaseId, is_older
from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.server import Sandbox
from feedwatch.store.errors import StoreError
from feedwatch.store.store import Store
from tests.empty_database import empty_database
from tests.support import FeedServer, Feedwatch, Workspace, item, one_in, wait_for

# One daemon


def test_a_second_daemon_ends_with_a_clear_message(feedwatch: Feedwatch) -> None:
    first = feedwatch.start("run")
    wait_for(lambda: feedwatch.states() if "watching" in first.stderr else None)
    for args in (("run",), ("run", "--once")):
        second = feedwatch.here(*args)
        assert second.status == 1
        assert f"another feedwatch (process {first.pid}) runs on this database" in second.stderr
        assert "Traceback" not in second.stderr
    assert first.alive
    assert first.stop().status == 0
    assert feedwatch.once().status == 0, "the lock ends with its holder"


def test_the_lock_of_a_killed_daemon_is_free(feedwatch: Feedwatch) -> None:
    first = feedwatch.start("run")
    wait_for(lambda: "watching" in first.stderr)
    first.stop(signal.SIGKILL)
    assert feedwatch.once().status == 0


def test_verbs_work_beside_a_running_daemon(feedwatch: Feedwatch, feed_server: FeedServer) -> None:
    running = feedwatch.start("run")
    wait_for(lambda: "ready" in feedwatch.states().values())
    assert feedwatch.here("pause").status == 0
    feed_server.publish(2, 1)
    wait_for(lambda: feedwatch.states().get("guid-2") == "queued")
    assert feedwatch.here("resume").status == 0
    wait_for(lambda: feedwatch.states()["guid-2"] == "ready")
    assert running.stop().status == 0


def test_what_a_killed_daemon_left_under_way_is_in_doubt_at_the_next_start(
    feedwatch: Feedwatch, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault("submit", "hang_after", seconds=30))
    running = feedwatch.start("run")
    wait_for(lambda: sandbox.submissions)
    running.stop(signal.SIGKILL)
    assert feedwatch.once().status == 4
    assert feedwatch.states() == {"guid-1": "unknown"}
    assert len(sandbox.submissions) == 1


# Lost and restored


@pytest.fixture
def paid(feedwatch: Feedwatch, workspace: Workspace) -> Feedwatch:
    """A feed whose one episode was submitted."""
    workspace.set(FEEDS__SHOW__FIRST_RUN="all")
    assert feedwatch.once().status == 0
    assert feedwatch.states() == {"guid-1": "ready"}
    return feedwatch


def lose(workspace: Workspace) -> None:
    """Delete the database, and with it the journal beside it."""
    for path in workspace.folder.glob("feedwatch.db*"):
        path.unlink()


def after(moment: datetime) -> datetime:
    """A later moment, now: feeds state whole seconds."""
    wait_for(lambda: datetime.now(UTC) >= moment + timedelta(seconds=1))
    return datetime.now(UTC)


def back_up(workspace: Workspace) -> Path:
    copy = workspace.folder / "copy.db"
    with closing(sqlite3.connect(workspace.database)) as db:
        db.execute("vacuum into ?", (str(copy),))
    return copy


def put_back(workspace: Workspace, copy: Path) -> None:
    for path in workspace.folder.glob("feedwatch.db-*"):
        path.unlink()
    shutil.copy(copy, workspace.database)


def test_a_lost_database_rebuilds_itself_from_the_journal_and_pays_for_nothing_again(
    paid: Feedwatch, workspace: Workspace, sandbox: Sandbox, feed_server: FeedServer
) -> None:
    lose(workspace)
    feed_server.publish(item(2, when=after(datetime.now(UTC))), 1)
    again = paid.once()
    assert again.status == 0
    assert "the journal has 1 claim that it did not know" in again.stderr
    assert paid.states() == {"guid-2": "ready", "guid-1": "ready"}
    assert [body["name"] for body in sandbox.taken] == ["Episode 1", "Episode 2"]
    assert "the journal has" not in paid.once().stderr, "said once"


def test_without_any_journal_a_new_database_is_a_first_start(
    paid: Feedwatch, workspace: Workspace, sandbox: Sandbox
) -> None:
    lose(workspace)
    (workspace.folder / "config.env.claims").unlink()
    assert paid.once().status == 0
    assert len(sandbox.submissions) == 2


@pytest.mark.parametrize("times", one_in(2, [3, 1]))
def test_a_restored_copy_pays_for_nothing_again_however_often_it_is_put_back(
    paid: Feedwatch, workspace: Workspace, sandbox: Sandbox, feed_server: FeedServer, times: int
) -> None:
    copy = back_up(workspace)
    feed_server.publish(2, 1)
    assert paid.once().status == 0
    for _ in range(times):
        put_back(workspace, copy)
        assert paid.once().status == 0
        assert paid.states() == {"guid-2": "ready", "guid-1": "ready"}
    feed_server.publish(item(3, when=after(datetime.now(UTC))), 2, 1)
    assert paid.once().status == 0
    assert [body["name"] for body in sandbox.taken] == ["Episode 1", "Episode 2", "Episode 3"]


def test_what_no_answer_was_recorded_for_is_in_doubt_after_a_restore(
    paid: Feedwatch, workspace: Workspace, sandbox: Sandbox, feed_server: FeedServer
) -> None:
    copy = back_up(workspace)
    sandbox.faults.add(Fault("submit", "status_after", status=502))
    feed_server.publish(2, 1)
    assert paid.once().status == 4
    put_back(workspace, copy)
    assert paid.once().status == 4
    assert paid.states() == {"guid-2": "unknown", "guid-1": "ready"}
    assert len(sandbox.submissions) == 2


def test_what_looks_new_and_is_older_than_the_missing_claims_is_held_until_it_was_looked_at(
    paid: Feedwatch, workspace: Workspace, sandbox: Sandbox, feed_server: FeedServer
) -> None:
    """A person may have skipped it meanwhile, or its item may have changed all its keys."""
    copy = back_up(workspace)
    feed_server.publish(2, 1)
    assert paid.once().status == 0
    put_back(workspace, copy)
    feed_server.answer(503, b"down")
    paid.once()
    too_early = paid.here("skip", "--feed", "show")
    assert too_early.status == 1
    assert "not checked yet since" in too_early.stderr
    feed_server.publish(item(7), 2, 1)  # dated long ago
    assert paid.once().status == 4
    assert paid.states() == {"guid-7": "held", "guid-2": "ready", "guid-1": "ready"}
    assert paid.here("skip", "--feed", "show").status == 0
    feed_server.publish(8, item(7), 2, 1)
    assert paid.once().status == 0
    assert paid.states()["guid-8"] == "ready", "what is new after that check is new"
    assert len(sandbox.submissions) == 3


def test_what_was_queued_in_a_restored_database_is_polled(
    feedwatch: Feedwatch, workspace: Workspace, sandbox: Sandbox
) -> None:
    feedwatch.here("pause")
    feedwatch.once()
    assert feedwatch.states() == {"guid-1": "queued"}
    copy = back_up(workspace)
    feedwatch.here("resume")
    assert feedwatch.once().status == 0
    put_back(workspace, copy)
    assert feedwatch.once().status == 0
    assert feedwatch.states() == {"guid-1": "ready"}
    assert len(sandbox.submissions) == 1


def test_a_copy_written_over_the_live_database_is_noticed_before_the_next_post(
    paid: Feedwatch, workspace: Workspace, sandbox: Sandbox, feed_server: FeedServer
) -> None:
    copy = back_up(workspace)
    running = paid.start("run")
    feed_server.publish(2, 1)
    wait_for(lambda: paid.states().get("guid-2") == "ready")
    with closing(sqlite3.connect(copy)) as old, closing(sqlite3.connect(workspace.database)) as db:
        old.backup(db)  # as SQLite's own tool does it
    feed_server.publish(3, 2, 1)
    wait_for(lambda: "this database is new" in running.stderr or not running.alive)
    running.stop()
    paid.once()
    names = [body["name"] for body in sandbox.taken]
    assert len(names) == len(set(names))


def replaced_at_once(workspace: Workspace, copy: Path) -> None:
    copy.replace(workspace.database)


def removed(workspace: Workspace, _copy: Path) -> None:
    workspace.database.unlink()


def lost(workspace: Workspace, _copy: Path) -> None:
    lose(workspace)


@pytest.mark.parametrize("change", one_in(3, [replaced_at_once, removed, lost]))
def test_a_database_replaced_under_the_daemon_stops_submissions_and_says_so(
    paid: Feedwatch,
    workspace: Workspace,
    sandbox: Sandbox,
    feed_server: FeedServer,
    change: Callable[[Workspace, Path], None],
) -> None:
    copy = back_up(workspace)
    running = paid.start("run")
    wait_for(lambda: "watching" in running.stderr)
    change(workspace, copy)
    feed_server.publish(2, 1)
    wait_for(lambda: "deleted or replaced while feedwatch has it open" in running.stderr)
    assert paid.here("healthcheck").status == 5
    if change is not lost:  # the lock, by which other processes know of it, is gone as well
        shown = paid.here("status")
        assert shown.status == 4
        assert "was deleted or replaced, and submits nothing" in shown.stdout
    assert len(sandbox.submissions) == 1
    running.stop()
    assert "Traceback" not in running.stderr


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Store]:
    """A database that is open in this process alone, and keeps changes in its WAL."""
    path = tmp_path / "feedwatch.db"
    shutil.copy(empty_database(), path)
    store = Store(f"sqlite:///{path}", processor="inlet", may_create=True, alone=True)
    shutil.copy(path, tmp_path / "copy.db")
    store.heartbeats.end()
    yield store
    store.close()


def test_the_new_file_is_not_opened_and_does_not_get_the_log_of_the_old_one(
    opened: Store, tmp_path: Path
) -> None:
    path = tmp_path / "feedwatch.db"
    (tmp_path / "copy.db").replace(path)
    before = path.read_bytes()
    opened._engine.dispose(close=False)  # the open connections are in use, a new one is needed
    with pytest.raises(StoreError, match="deleted or replaced while feedwatch has it open"):
        opened.breakers.get("inlet")
    assert opened.is_replaced()
    assert not path.with_name("feedwatch.db-wal").exists()
    assert path.read_bytes() == before


@pytest.mark.parametrize("end", ["-wal", "-shm"])
def test_a_log_or_index_that_is_deleted_under_the_daemon_is_noticed_too(
    opened: Store, tmp_path: Path, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert not opened.is_replaced()
    (tmp_path / f"feedwatch.db{end}").unlink()
    assert opened.is_replaced()
    assert "or its -wal or -shm, was deleted" in caplog.text
    opened.close()
    again = Store(
        f"sqlite:///{tmp_path / 'feedwatch.db'}", processor="inlet", may_create=True, alone=True
    )
    assert not again.is_replaced()
    again.close()


def test_a_file_that_is_missing_is_not_made_anew(opened: Store, tmp_path: Path) -> None:
    (tmp_path / "feedwatch.db").unlink()
    opened._engine.dispose(close=False)
    with pytest.raises(StoreError, match="deleted or replaced while feedwatch has it open"):
        opened.breakers.get("inlet")
    assert not (tmp_path / "feedwatch.db").exists()


def test_a_file_replaced_while_it_is_opened_is_not_used(opened: Store, tmp_path: Path) -> None:
    path, copy = tmp_path / "feedwatch.db", tmp_path / "copy.db"
    event.listen(opened._engine, "do_connect", lambda *_: copy.exists() and copy.replace(path))
    opened._engine.dispose(close=False)
    with pytest.raises(StoreError, match="deleted or replaced while feedwatch has it open"):
        opened.breakers.get("inlet")
    assert not path.with_name("feedwatch.db-wal").exists()


def test_the_log_goes_aside_once_though_many_threads_notice_it_together(
    opened: Store, tmp_path: Path
) -> None:
    (tmp_path / "feedwatch.db").unlink()
    together = Barrier(8)

    def look(_: int) -> bool:
        together.wait()
        return opened.is_replaced()

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(look, range(8)))
    assert len(list(tmp_path.glob("*.of-*"))) == 1


KILLED_AFTER_ITS_FILE_WAS_AWAY = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from feedwatch.core.circuit_breaker import breaker_after_block
from feedwatch.store.store import Store

path = Path(sys.argv[1])
store = Store(f"sqlite:///{path}", processor="inlet", may_create=True, alone=True)
now = datetime.now(UTC)
store.breakers.change("inlet", lambda breaker: breaker_after_block(breaker, "kept", now))
path.rename(path.with_name("away.db"))
assert store.is_replaced()
path.with_name("away.db").rename(path)
assert store.is_replaced(), "log and file are not beside each other any more"
os._exit(0)
"""


def test_the_old_file_put_back_has_its_changes_again_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "feedwatch.db"
    subprocess.run([sys.executable, "-c", KILLED_AFTER_ITS_FILE_WAS_AWAY, path], check=True)
    again = Store(f"sqlite:///{path}", processor="inlet", may_create=True, alone=True)
    assert again.breakers.get("inlet").reason == "kept"
    again.close()


def test_a_backup_in_place_of_the_old_file_does_not_get_its_log_even_under_its_inode(
    tmp_path: Path,
) -> None:
    path = tmp_path / "feedwatch.db"
    subprocess.run([sys.executable, "-c", KILLED_AFTER_ITS_FILE_WAS_AWAY, path], check=True)
    with closing(sqlite3.connect(path)) as old:
        old.execute("VACUUM INTO ?", (str(tmp_path / "copy.db"),))
    path.write_bytes((tmp_path / "copy.db").read_bytes())
    again = Store(f"sqlite:///{path}", processor="inlet", may_create=True, alone=True)
    assert again.breakers.get("inlet").reason is None
    again.close()


def test_a_database_with_two_names_is_refused(paid: Feedwatch, workspace: Workspace) -> None:
    os.link(workspace.database, workspace.folder / "other.db")
    refused = paid.once()
    assert refused.status == 1
    assert "has 2 names (hard links)" in refused.stderr


def test_a_database_is_one_whatever_its_lock_is_called(tmp_path: Path) -> None:
    """As where the file alone is mounted into two containers, each with a lock of its own."""
    path = tmp_path / "some.db"
    first = Store(f"sqlite:///{path}", processor="inlet", may_create=True, alone=True)
    (tmp_path / "some.db.lock").rename(tmp_path / "lock of another name")
    with pytest.raises(StoreError, match="under another name"):
        Store(f"sqlite:///{path}", processor="inlet", may_create=True, alone=True)
    first.close()


def test_a_database_from_which_nothing_was_paid_may_be_lost(
    feedwatch: Feedwatch, workspace: Workspace, sandbox: Sandbox
) -> None:
    workspace.set(FEEDS__SHOW__FIRST_RUN="none")
    assert feedwatch.once().status == 0
    lose(workspace)
    workspace.set(FEEDS__SHOW__FIRST_RUN="all")
    assert feedwatch.once().status == 0
    assert len(sandbox.submissions) == 1


# The marker of feedwatch 0.1


@pytest.mark.parametrize(
    ("database", "marker", "older"),
    [
        (DatabaseId(id="a", claims=0), None, False),
        (DatabaseId(id="a", claims=5), None, False),
        (DatabaseId(id="a", claims=5), DatabaseId(id="a", claims=5), False),
        (DatabaseId(id="a", claims=6), DatabaseId(id="a", claims=5), False),
        (DatabaseId(id="a", claims=4), DatabaseId(id="a", claims=5), True),
        (DatabaseId(id="b", claims=0), DatabaseId(id="a", claims=5), True),
        (DatabaseId(id="b", claims=9), DatabaseId(id="a", claims=5), True),
        (DatabaseId(id="b", claims=0), DatabaseId(id="a", claims=0), False),
    ],
)
def test_a_database_is_older_if_it_knows_of_fewer_claims_or_is_another(
    database: DatabaseId, marker: DatabaseId | None, *, older: bool
) -> None:
    assert is_older(database, marker) == older


def test_the_journal_takes_the_place_of_the_marker_after_one_last_comparison(
    paid: Feedwatch, workspace: Workspace, sandbox: Sandbox, feed_server: FeedServer
) -> None:
    for path in workspace.folder.glob("*.claims"):
        path.unlink()
    marker = workspace.folder / "config.env.marker"
    marker.write_text('{"database": "another", "claims": 9}', encoding="utf-8")
    feed_server.publish(2, 1)
    again = paid.once()
    assert again.status == 4
    assert "no journal has it" in again.stderr
    assert paid.states() == {"guid-2": "held", "guid-1": "ready"}
    assert not marker.exists()
    assert paid.here("approve", "--feed", "show", "--yes").status == 0
    assert paid.once().status == 0
    assert len(sandbox.submissions) == 2
