"""`backup` and `prune`, while the daemon runs and while it does not."""

import sqlite3
import stat
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from feedwatch.core import job_lifecycle
from feedwatch.core.job import Accepted, Finished
from feedwatch.store.database import connect
from feedwatch.store.errors import StoreError
from feedwatch.store.store import Store
from feedwatch.store.upkeep import Upkeep
from tests.support import Feedwatch, Workspace
from tests.test_store import DAY, NOW, POLICY, admit, answer, claim

# backup


def count(database: Path, table: str = "episodes") -> int:
    with closing(sqlite3.connect(database)) as db:
        (number,) = db.execute(f"select count(*) from {table}").fetchone()
    assert isinstance(number, int)
    return number


@pytest.fixture
def finished(feedwatch: Feedwatch) -> Feedwatch:
    assert feedwatch.once().status == 0
    return feedwatch


def test_a_copy_made_in_the_middle_of_a_write_is_a_database_to_start_from(
    finished: Feedwatch, workspace: Workspace, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    with closing(sqlite3.connect(workspace.database, isolation_level=None)) as db:
        db.execute("begin immediate")
        db.execute("update episodes set title = 'half done'")
        ended = finished.here("backup", str(copy))
    assert ended.status == 0, ended
    assert f"{copy}: {copy.stat().st_size} bytes, whole" in ended.stdout
    assert str(workspace.database) in ended.stderr
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    for path in workspace.folder.glob("feedwatch.db*"):
        path.unlink()
    copy.rename(workspace.database)
    assert finished.once().status == 0
    assert finished.states() == {"guid-1": "ready"}
    assert finished.episode()["title"] == "Episode 1"


def test_a_folder_gets_a_file_named_by_the_time_and_nothing_else(
    finished: Feedwatch, tmp_path: Path
) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    assert finished.here("backup", str(folder)).status == 0
    (copy,) = folder.iterdir()
    assert copy.match("feedwatch-*Z.db")
    assert count(copy) == 1


def test_what_ends_in_a_slash_is_a_folder_and_must_be_there(
    finished: Feedwatch, tmp_path: Path
) -> None:
    folder = tmp_path / "copies"
    ended = finished.here("backup", f"{folder}/")
    assert ended.status == 1
    assert f"there is no folder {folder}/: make it" in ended.stderr
    assert not folder.exists()
    folder.mkdir()
    assert finished.here("backup", f"{folder}/").status == 0
    assert len(list(folder.iterdir())) == 1


def test_no_file_is_written_over_unasked(finished: Feedwatch, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_text("precious")
    ended = finished.here("backup", str(copy))
    assert ended.status == 1
    assert "--force" in ended.stderr
    assert copy.read_text() == "precious"
    assert finished.here("backup", str(copy), "--force").status == 0
    assert count(copy) == 1


def test_the_database_is_no_place_for_its_own_copy(
    finished: Feedwatch, workspace: Workspace
) -> None:
    assert finished.here("backup", str(workspace.database), "--force").status == 2
    assert finished.states() == {"guid-1": "ready"}


def test_a_copy_that_cannot_be_made_leaves_nothing_behind(
    finished: Feedwatch, workspace: Workspace, tmp_path: Path
) -> None:
    ended = finished.here("backup", str(tmp_path / "no-such-folder" / "copy.db"))
    assert ended.status == 1
    assert "there is no folder" in ended.stderr
    content = bytearray(workspace.database.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    workspace.database.write_bytes(content)
    before = set(tmp_path.iterdir())
    assert finished.here("backup", str(tmp_path / "copy.db")).status == 1
    assert set(tmp_path.iterdir()) - before <= {
        Path(f"{workspace.database}-wal"),
        Path(f"{workspace.database}-shm"),
    }


def test_without_a_database_there_is_nothing_to_copy(
    feedwatch: Feedwatch, workspace: Workspace, tmp_path: Path
) -> None:
    ended = feedwatch.here("backup", str(tmp_path / "copy.db"))
    assert ended.status == 1
    assert "there is no database yet" in ended.stderr
    assert not workspace.database.exists()


def test_what_is_no_file_is_copied_by_its_own_means(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="pg_dump"):
        Upkeep(connect("sqlite://")).back_up(tmp_path / "copy.db")


# prune


def finish(store: Store, then: timedelta) -> int:
    """The oldest queued episode, all the way to ready, `then` after it was new."""
    claimed = claim(store, now=NOW + then)
    assert claimed is not None
    taken = answer(store, claimed, Accepted(f"m-{claimed.id}"), NOW + then)
    assert taken is not None
    done = Finished(remote_status="READY", url="https://p.example/1.mp3")
    store.episodes.save(taken, job_lifecycle.polled(taken, done, NOW + then, POLICY), NOW + then)
    return claimed.id


def test_pruning_keeps_last_lines_what_is_not_final_and_every_key(store: Store) -> None:
    admit(store, *range(1, 4))
    ready = finish(store, DAY)
    waiting = finish(store, DAY)
    claimed = claim(store, now=NOW + DAY)  # goes on
    assert claimed is not None
    keys = [store.episodes.keys(number) for number in (ready, waiting, claimed.id)]
    before = NOW + 2 * DAY
    assert store.upkeep.old_history(before).lines == 6
    assert store.upkeep.old_history(before).episodes == 2
    assert list(store.upkeep.prune(before)) == [6]
    assert [move.state for move in store.episodes.history(ready)] == ["ready"]
    assert [move.state for move in store.episodes.history(claimed.id)] == ["queued", "submitting"]
    assert [store.episodes.keys(number) for number in (ready, waiting, claimed.id)] == keys
    assert store.upkeep.old_history(before).lines == 0


def test_pruning_keeps_what_is_young_and_what_the_daily_limit_counts(store: Store) -> None:
    admit(store, 1)
    finish(store, 40 * DAY)
    assert store.claims.submitted_since(NOW + 39 * DAY) == 1
    assert sum(store.upkeep.prune(NOW + 39 * DAY)) == 1  # that it was queued
    assert store.claims.submitted_since(NOW + 39 * DAY) == 1


def test_pruning_goes_on_in_short_steps(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feedwatch.store.upkeep.BATCH", 2)
    admit(store, 1, 2)
    finish(store, DAY)
    finish(store, DAY)
    assert list(store.upkeep.prune(NOW + 2 * DAY)) == [2, 2, 2]


def test_prune_says_what_it_would_delete_and_wants_a_yes(
    finished: Feedwatch, workspace: Workspace
) -> None:
    with closing(sqlite3.connect(workspace.database)) as db, db:
        db.execute("update history set at = '2020-01-01 00:00:00.000000'")
    lines = count(workspace.database, "history")
    asked = finished.here("prune", "--older-than", "365d")
    assert asked.status == 2
    assert f"{lines - 1} lines of 1 episode" in asked.stderr
    assert count(workspace.database, "history") == lines
    done = finished.here("prune", "--older-than", "365d", "--yes")
    assert done.stdout == f"{lines - 1} lines deleted\n"
    assert count(workspace.database, "history") == 1
    assert finished.here("prune", "--older-than", "365d").stdout == "0 lines deleted\n"


@pytest.mark.parametrize("age", ["7d", "365", "1y", "-400d"])
def test_prune_refuses_what_is_no_age_or_too_young(feedwatch: Feedwatch, age: str) -> None:
    ended = feedwatch.here("prune", "--older-than", age, "--yes")
    assert ended.status == 2
    assert "30d or more" in ended.stderr
