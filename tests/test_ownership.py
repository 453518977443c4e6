"""One daemon for one database, and a database that is not the one it was."""

import shutil
import signal
import sqlite3
from pathlib import Path

import pytest

from feedwatch.core.ledger import DatabaseId, is_older
from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.server import Sandbox
from feedwatch.store.journal import Journal, places
from tests.support import FeedServer, Feedwatch, Workspace, wait_for

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
    workspace.set(FEEDS__SHOW__FIRST_RUN="latest:1")
    assert feedwatch.once().status == 0
    assert feedwatch.states() == {"guid-1": "ready"}
    return feedwatch


def lose(workspace: Workspace) -> None:
    for path in workspace.folder.glob("feedwatch.db*"):
        path.unlink()


def test_a_lost_database_holds_what_it_would_have_paid_for_again(
    paid: Feedwatch, workspace: Workspace, sandbox: Sandbox, feed_server: FeedServer
) -> None:
    lose(workspace)
    feed_server.publish(2, 1)
    again = paid.once()
    assert again.status == 4
    assert "more was submitted than this database knows of" in again.stderr
    assert "config.env.marker" in again.stderr
    assert paid.states() == {"guid-2": "held", "guid-1": "skipped"}
    assert len(sandbox.submissions) == 1
    assert paid.here("approve", "--feed", "show", "--yes").status == 0
    assert paid.once().status == 0, "said once"
    assert [body["name"] for body in sandbox.taken] == ["Episode 1", "Episode 2"]


def test_starting_anew_on_purpose_means_deleting_the_mark_too(
    paid: Feedwatch, workspace: Workspace, sandbox: Sandbox
) -> None:
    lose(workspace)
    (workspace.folder / "config.env.marker").unlink()
    assert paid.once().status == 0
    assert len(sandbox.submissions) == 2


def test_a_database_restored_from_an_old_copy_holds_what_looks_new(
    paid: Feedwatch, workspace: Workspace, sandbox: Sandbox, feed_server: FeedServer
) -> None:
    copy = workspace.folder / "copy.db"
    with sqlite3.connect(workspace.database) as db:
        db.execute("vacuum into ?", (str(copy),))
    db.close()
    feed_server.publish(2, 1)
    assert paid.once().status == 0
    assert len(sandbox.submissions) == 2
    lose(workspace)
    shutil.copy(copy, workspace.database)
    feed_server.publish(3, 2, 1)
    assert paid.once().status == 4
    assert paid.states() == {"guid-3": "held", "guid-2": "held", "guid-1": "ready"}
    assert len(sandbox.submissions) == 2
    feed_server.publish(4, 3, 2, 1)
    paid.here("skip", "--feed", "show")
    assert paid.once().status == 0
    assert paid.states()["guid-4"] == "ready", "what is new after that check is new"


def test_what_was_queued_in_a_restored_database_is_held(
    feedwatch: Feedwatch, workspace: Workspace, sandbox: Sandbox
) -> None:
    feedwatch.here("pause")
    feedwatch.once()
    assert feedwatch.states() == {"guid-1": "queued"}
    copy = workspace.folder / "copy.db"
    with sqlite3.connect(workspace.database) as db:
        db.execute("vacuum into ?", (str(copy),))
    db.close()
    feedwatch.here("resume")
    assert feedwatch.once().status == 0
    lose(workspace)
    shutil.copy(copy, workspace.database)
    feedwatch.here("resume")
    assert feedwatch.once().status == 4
    assert feedwatch.states() == {"guid-1": "held"}
    assert len(sandbox.submissions) == 1


def test_a_database_from_which_nothing_was_paid_may_be_lost(
    feedwatch: Feedwatch, workspace: Workspace, sandbox: Sandbox
) -> None:
    workspace.set(FEEDS__SHOW__FIRST_RUN="none")
    assert feedwatch.once().status == 0
    lose(workspace)
    workspace.set(FEEDS__SHOW__FIRST_RUN="all")
    assert feedwatch.once().status == 0
    assert len(sandbox.submissions) == 1


# The mark


def test_the_mark_is_in_every_place_that_can_be_written(tmp_path: Path) -> None:
    config, cache, database = tmp_path / "etc", tmp_path / "cache", tmp_path / "lib"
    for folder in (config, cache, database):
        folder.mkdir()
    paths = places(
        config / "config.env", database / "feedwatch.db", {"CACHE_DIRECTORY": str(cache)}
    )
    marker = Journal([*paths, tmp_path / "no such folder" / "marker"])
    marker.write(DatabaseId(id="a", claims=3))
    shutil.rmtree(database)
    shutil.rmtree(config)
    assert marker.read() == DatabaseId(id="a", claims=3)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"database": 1}', '{"claims": "x"}'])
def test_a_mark_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "marker"
    path.write_text(content, encoding="utf-8")
    assert Journal([path]).read() is None


@pytest.mark.parametrize(
    ("database", "mark", "behind"),
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
def test_a_database_is_behind_if_it_knows_of_fewer_claims_or_is_another(
    database: DatabaseId, mark: DatabaseId | None, *, behind: bool
) -> None:
    assert is_older(database, mark) == behind
