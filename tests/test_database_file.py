"""The database's file: one daemon at a time has it, and what it cannot be kept on is told."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from feedwatch.core.health import Use
from feedwatch.store import database, lock
from feedwatch.store.errors import StoreError
from feedwatch.store.lock import DatabaseFile, FileLock, filesystem_of, is_mount_point, use_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "feedwatch.db"
    path.touch()
    return path


@pytest.fixture
def held(path: Path) -> Iterator[FileLock]:
    """The lock beside the database, as a daemon holds it."""
    one = FileLock(lock.lock_path(path))
    yield one
    one.release()


def use(path: Path) -> Use:
    return use_of(lock.lock_path(path), path)


@pytest.mark.parametrize("system", sorted(lock.NETWORK))
def test_a_database_on_a_network_share_is_refused(
    path: Path, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "filesystem_of", lambda _path: system)
    with pytest.raises(StoreError, match=rf"on a network share \({system}\).*local disk"):
        DatabaseFile(path)


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot be opened.*give this user the right"):
        DatabaseFile(tmp_path)  # a folder, which not even root opens for writing


def test_a_file_that_was_deleted_or_replaced_is_noticed(path: Path) -> None:
    file = DatabaseFile(path)
    assert not file.is_replaced()
    path.unlink()
    assert file.is_replaced()
    path.touch()
    assert file.is_replaced()
    file.release()


def test_where_mounts_cannot_be_looked_up_no_file_is_taken_for_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise PermissionError

    assert filesystem_of(path) is not None
    monkeypatch.setattr(Path, "read_text", fail)
    assert filesystem_of(path) is None
    assert not is_mount_point(path)


def test_a_database_that_nobody_has_open_is_not_in_use(path: Path) -> None:
    assert use(path) is Use.NONE
    FileLock(lock.lock_path(path)).release()
    assert use(path) is Use.NONE


def test_whose_lock_cannot_be_read_may_be_in_use(path: Path) -> None:
    assert use_of(path / "lock", path) is Use.UNKNOWN


def test_who_holds_the_lock_says_which_file_is_open(path: Path, held: FileLock) -> None:
    assert use(path) is Use.OPEN, "it is about to open it"
    held.note(path)
    assert use(path) is Use.OPEN
    path.rename(path.with_name("old.db"))
    assert use(path) is Use.REPLACED, "there is no such file any more"
    path.touch()
    assert use(path) is Use.REPLACED, "there is another one"


def test_what_a_broken_lock_says_is_no_file_of_ours(path: Path, held: FileLock) -> None:
    held.note()
    lock.lock_path(path).write_text(f"{os.getpid()} nonsense")
    assert use(path) is Use.REPLACED


def test_a_url_of_no_database_and_one_without_its_driver_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for url in ("sqlite+nonesuch:///a.db", "oracle+oracledb://h/x"):
        with pytest.raises(StoreError, match="FEEDWATCH_DATABASE_URL is not usable"):
            database.connect(url)
    with pytest.raises(StoreError, match="in a password @ : / are written as %40 %3A %2F") as told:
        database.connect("postgresql://me:p@ss:w0rd@h/d")
    assert "w0rd" not in str(told.value)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match="pip install 'feedwatch"):
        database.connect("postgresql+psycopg://h/x")


def test_a_copy_that_cannot_be_made_before_an_upgrade_stops_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = database.connect(f"sqlite:///{tmp_path / 'feedwatch.db'}")
    with engine.begin() as db:
        db.exec_driver_sql("create table precious (value text)")
    monkeypatch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(StoreError, match=r"cannot be opened: .*No space left"):
        database.upgrade(engine)
    with engine.begin() as db:
        names = db.exec_driver_sql("select name from sqlite_master").scalars().all()
    assert names == ["precious"]
    engine.dispose()
