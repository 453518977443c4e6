"""Upkeep: back the database up, prune its history, follow the clock. All while the daemon runs."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Select,
    bindparam,
    delete,
    exists,
    func,
    select,
    true,
    update,
)

from feedwatch.core.episode import State
from feedwatch.core.episode_lifecycle import LEASE, RESUBMIT_AFTER
from feedwatch.core.schedule import MINUTE
from feedwatch.store.database import reading, sqlite_file
from feedwatch.store.errors import StoreError
from feedwatch.store.schema import episodes, feeds, gates, history, outbox, subscriptions

FINAL = (State.READY, State.FAILED, State.SKIPPED)
# When something is to be done: brought nearer where the clock was set back, at once where it was
# set ahead. The lease of a claim is not among it: it may last longer, never end before the POST.
DUE_TIMES: tuple[tuple[Column[Any], ColumnElement[bool]], ...] = (
    (feeds.c.due_at, true()),
    (episodes.c.due_at, episodes.c.state.not_in((State.SUBMITTING, State.UNKNOWN))),
    (outbox.c.due_at, true()),
    (gates.c.tripped_until, true()),
    (subscriptions.c.due_at, true()),
)
# Until when something is waited for or holds, and no shorter: what is sent again may be paid again,
# a feed whose patience is over is told, and a hub counts its lease by its own clock.
WAITS: tuple[tuple[Column[Any], ColumnElement[bool]], ...] = (
    (episodes.c.due_at, episodes.c.state == State.UNKNOWN),
    (feeds.c.expected_by, true()),
    (subscriptions.c.lease_until, true()),
)
# Since when something waits: its age goes on as if nobody had set the clock.
AGES: tuple[tuple[Column[Any], ColumnElement[bool]], ...] = (
    (episodes.c.first_seen_at, episodes.c.state == State.QUEUED),
    (episodes.c.submitted_at, episodes.c.state == State.PROCESSING),
    (episodes.c.remote_since, episodes.c.state == State.PROCESSING),
    (episodes.c.finished_at, episodes.c.state == State.FAILED),
    (outbox.c.at, true()),
)
BATCH = 500  # history entries deleted in one transaction: the daemon waits no longer than for it


@dataclass(frozen=True, kw_only=True)
class OldHistory:
    """How many history entries are old, and of how many episodes they are."""

    lines: int
    episodes: int


class Upkeep:
    """Backup and pruning. `prune` takes many short transactions."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def back_up(self, copy: Path) -> int:
        """Copy an SQLite database to `copy`, as it is at one moment. Returns the size in bytes.

        The copy is checked and on the disk before it gets its name. Raises `StoreError`.
        """
        path = sqlite_file(self._engine)
        if path is None:
            raise StoreError(
                "this database is no SQLite file; PostgreSQL copies it by "
                "pg_dump --format=custom --file=feedwatch.dump, and pg_restore --clean --if-exists "
                "puts it back"
            )
        fresh = copy.with_name(f".{copy.name}.{os.getpid()}.new")
        try:
            # Made first, so that nobody else can read it at any time: feeds may be private.
            os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
                db.execute("VACUUM INTO ?", (str(fresh),))
            uri = f"{fresh.absolute().as_uri()}?immutable=1"
            with closing(sqlite3.connect(uri, uri=True)) as db:
                (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                what = f"the copy is damaged, and so may be the database: {found}"
                raise sqlite3.DatabaseError(what)
            _sync(fresh)
            size = fresh.stat().st_size
            fresh.replace(copy)
            _sync(copy.parent)
        except (OSError, ValueError, sqlite3.Error) as error:
            raise StoreError(f"no copy was made at {copy}: {error}") from error
        finally:
            with suppress(OSError):
                fresh.unlink()
        return size

    def old_history(self, before: datetime) -> OldHistory:
        """What `prune` would delete."""
        old = _old(before).subquery()
        query = select(func.count(), func.count(old.c.episode_id.distinct())).select_from(old)
        with reading(self._engine) as db:
            lines, of_episodes = db.execute(query).one()
        return OldHistory(lines=lines, episodes=of_episodes)

    def prune(self, before: datetime) -> Iterator[int]:
        """Delete history entries older than `before`; yields how many each transaction deleted.

        Only those of final episodes, and never an episode's last one: it tells why the episode is
        in its state.
        """
        after = 0
        while True:
            query = _old(before).where(history.c.id > after).order_by(history.c.id).limit(BATCH)
            with reading(self._engine) as db:
                ids = [row.id for row in db.execute(query)]
            if not ids:
                return
            with self._engine.begin() as db:
                done = db.execute(delete(history).where(history.c.id.in_(ids)))
            after = ids[-1]
            yield done.rowcount

    def last_checked_at(self) -> datetime | None:
        """When a feed of the config was last checked: later than now if the clock was set back."""
        latest = select(func.max(feeds.c.checked_at)).where(feeds.c.active)
        with reading(self._engine) as db:
            at: datetime | None = db.scalars(latest).one()
        return at

    def follow_clock(self, now: datetime, step: timedelta, *, inferred: bool = False) -> None:
        """Put right what waits for a time of day, after the clock was set by `step` to `now`.

        What is due is due as soon as before a clock that was set back, and at once by one that was
        set ahead. Ages, and waits that must not be cut short, stay what they were.

        `inferred`: nobody saw the step, and what was written down before the clock went wrong is
        right as it is. So only what lies ahead is touched.
        """
        is_back = step < timedelta()
        with self._engine.begin() as db:
            for column, concerned in () if inferred else WAITS:
                _move(db, column, concerned, lambda at: at + step)
            for column, concerned in () if inferred else AGES:
                # The loops go by a clock set back before this: what they wrote since then is right,
                # and that may be the age of a POST that has just been answered.
                is_old = (column < now - LEASE) | (column > now + MINUTE) if is_back else true()
                _move(db, column, concerned & is_old, lambda at: at + step)
            if inferred:
                ahead = (episodes.c.state == State.UNKNOWN) & (episodes.c.due_at > now)
                _move(db, episodes.c.due_at, ahead, lambda at: min(at, now + RESUBMIT_AFTER))
                for column, concerned in AGES:
                    _move(db, column, concerned & (column > now), lambda at: at + step)
            for column, concerned in DUE_TIMES if is_back else ():
                _move(db, column, concerned & (column > now), lambda at: at + max(step, now - at))
            if is_back:
                silent = feeds.c.silent_since > now
                db.execute(update(feeds).where(silent).values(silent_since=None))


def _move(
    db: Connection,
    column: Column[Any],
    concerned: ColumnElement[bool],
    moved: Callable[[datetime], datetime],
) -> None:
    """Replace the times in a column of the rows that are concerned."""
    (key,) = column.table.primary_key.columns
    query = select(key, column).where(concerned, column.is_not(None)).with_for_update()
    rows = [{"row": name, "moved": moved(at)} for name, at in db.execute(query)]
    values: dict[str, Any] = {column.key: bindparam("moved")}
    if "version" in column.table.columns:  # whoever has read the row reads it again
        values["version"] = column.table.columns["version"] + 1
    if rows:
        db.execute(update(column.table).where(key == bindparam("row")).values(values), rows)


def _old(before: datetime) -> Select[tuple[int, int]]:
    later = history.alias("later")
    is_last = ~exists().where(later.c.episode_id == history.c.episode_id, later.c.id > history.c.id)
    return (
        select(history.c.id, history.c.episode_id)
        .join(episodes, episodes.c.id == history.c.episode_id)
        .where(history.c.at < before, episodes.c.state.in_(FINAL), ~is_last)
    )


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
