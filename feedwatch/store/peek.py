"""A look into SQLite's file without SQLAlchemy, which takes longer to import than all the rest.

The tables are those of `schema.py`; a test compares the answer with the store's.
"""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from feedwatch.core.health import (
    HealthRecord,
    HealthSnapshot,
    Pass,
    by_clock_of_reader,
    record_of,
)
from feedwatch.store.boot import machine_boot
from feedwatch.store.errors import StoreError

BUSY_SECONDS = 10  # how long a look waits where another process changes the file's mode
HEARTBEATS = "SELECT duty, at FROM heartbeats"
PASSES = "SELECT began_at, seconds, status FROM passes ORDER BY id DESC"
SNAPSHOT = """
SELECT (SELECT count(*) FROM feeds WHERE active),
       (SELECT count(*) FROM episodes WHERE state IN ('submitting', 'processing')),
       (SELECT count(*) FROM episodes WHERE state = 'held'),
       (SELECT count(*) FROM episodes WHERE state = 'unknown'),
       (SELECT min(due_at) FROM feeds WHERE active AND due_at <= :now),
       (SELECT min(due_at) FROM episodes WHERE state = 'processing' AND due_at <= :now)"""


def peek(database: Path, now: datetime) -> tuple[HealthRecord | None, list[Pass]]:
    """How the daemon does, None where none has started; and the last passes, the newest first.

    Raises `StoreError`.
    """
    uri = f"{database.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)) as db:
            written = {name: _time(at) for name, at in db.execute(HEARTBEATS)}
            passes = [Pass(_time(at), *rest) for at, *rest in db.execute(PASSES)]
            stored = f"{now.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"
            *counts, feed_due, job_due = db.execute(SNAPSHOT, {"now": stored}).fetchone()
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise StoreError(f"the database {database} cannot be read: {error}") from error
    due = (_time(at) if at is not None else None for at in (feed_due, job_due))
    heartbeats = by_clock_of_reader(written, machine_boot(now))
    return record_of(heartbeats, HealthSnapshot(now, *counts, *due)), passes


def _time(stored: str) -> datetime:
    return datetime.fromisoformat(stored).replace(tzinfo=UTC)
