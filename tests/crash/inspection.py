"""What must hold of a database at any instant, looked up in a copy of its files.

In a copy, because to open a database after a crash repairs it, which is left to the daemon.
"""

import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tests.support import PATIENCE

# The arrows of docs/states.md, in this world of clear answers and with no deadline passed.
ARROWS = {
    None: {"queued", "skipped"},
    "queued": {"queued", "submitting"},
    "submitting": {"processing", "unknown"},
    "unknown": {"processing", "queued"},  # adopted, retried
    "processing": {"processing", "ready"},
    "skipped": set[str](),
    "ready": set[str](),
}
# Further ones where an earlier copy was put back: what the journal has is imported, and what is
# dated before it is held until a person approves it.
AFTER_RESTORE = {
    None: {"held"},
    "queued": {"processing", "unknown", "held"},
    "held": {"processing", "unknown", "queued"},
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One episode as the database has it."""

    id: int
    guid: str
    url: str
    state: str
    reason: str | None
    version: int
    media_id: str | None
    processed_url: str | None


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A database at one instant."""

    rows: dict[str, Row]  # by guid
    wrong: tuple[str, ...]  # what does not hold of the database by itself
    doubtful_posts: int = 0  # in a row, as the gate counts them
    baselines: frozenset[str] = frozenset()  # feeds whose first run is recorded
    validators: frozenset[str] = frozenset()  # the ETags that the feeds' next requests will have
    born: bool = True  # whether there are tables
    tokens: frozenset[str] = frozenset()  # of all claims
    unchecked: frozenset[str] = frozenset()  # feeds in doubt, not checked since

    def in_state(self, *states: str) -> set[str]:
        """The guids of the episodes in these states."""
        return {guid for guid, row in self.rows.items() if row.state in states}


UNBORN = Picture(rows={}, wrong=(), born=False)


def of_the_dead(database: Path, scratch: Path, *, restored: bool) -> Picture:
    """What a process that was killed has left."""
    if not database.exists():
        return UNBORN
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for suffix in ("", "-wal"):
        file = database.with_name(database.name + suffix)
        if file.exists():
            shutil.copy(file, scratch / file.name)
    return of_the_living(scratch / database.name, restored=restored)


def of_the_living(database: Path, *, restored: bool) -> Picture:
    """What stands in a database that may be in use, where `restored` by one that once was."""
    with closing(sqlite3.connect(f"file:{quote(str(database))}", uri=True, timeout=PATIENCE)) as db:
        db.row_factory = sqlite3.Row
        db.execute("BEGIN")
        if not _has_tables(db):
            return UNBORN
        breaker = db.execute("SELECT doubts FROM gates").fetchone()
        feeds = db.execute("SELECT * FROM feeds").fetchall()
        return Picture(
            rows={row["guid"]: _row(row) for row in db.execute("SELECT * FROM episodes")},
            wrong=tuple(_wrong(db, restored=restored)),
            doubtful_posts=breaker["doubts"] if breaker else 0,
            baselines=frozenset(row["name"] for row in feeds if row["baseline_at"]),
            validators=frozenset(row["etag"] for row in feeds if row["etag"]),
            tokens=frozenset(row[0] for row in db.execute("SELECT token FROM claims")),
            unchecked=frozenset(row["name"] for row in feeds if _is_unchecked(row)),
        )


def _is_unchecked(feed: sqlite3.Row) -> bool:
    since, success = feed["doubted_at"], feed["success_at"]
    return since is not None and (success is None or success <= since)


def _has_tables(db: sqlite3.Connection) -> bool:
    query = "SELECT count(*) FROM sqlite_master WHERE name IN ('claims', 'gates', 'history')"
    return int(db.execute(query).fetchone()[0]) == 3


def _row(row: sqlite3.Row) -> Row:
    return Row(
        id=row["id"],
        guid=row["guid"],
        url=row["enclosure_url"],
        state=row["state"],
        reason=row["reason"],
        version=row["version"],
        media_id=row["media_id"],
        processed_url=row["processed_url"],
    )


def _wrong(db: sqlite3.Connection, *, restored: bool) -> Iterator[str]:
    said = [row[0] for row in db.execute("PRAGMA integrity_check")]
    if said != ["ok"]:
        yield f"integrity_check: {'; '.join(map(str, said))}"
    if broken := db.execute("PRAGMA foreign_key_check").fetchall():
        yield f"foreign_key_check: {len(broken)} rows"
    episodes = db.execute("SELECT id, guid, state FROM episodes").fetchall()
    if len({row["guid"] for row in episodes}) < len(episodes):
        yield "one guid has two episodes"
    if sum(row["state"] == "submitting" for row in episodes) > 1:
        yield "two submissions under way"
    known = {row[0] for row in db.execute("SELECT episode_id FROM identities")}
    moves = defaultdict(list)
    for row in db.execute("SELECT * FROM history ORDER BY id"):
        moves[row["episode_id"]].append(row)
    for row in episodes:
        if row["id"] not in known:
            yield f"{row['guid']} is known by no key"
        wrong = _wrong_history(row, moves[row["id"]], restored=restored)
        yield from (f"{row['guid']}: {what}" for what in wrong)


def _wrong_history(
    episode: sqlite3.Row, moves: list[sqlite3.Row], *, restored: bool
) -> Iterator[str]:
    if not moves:
        yield "no history"
        return
    before: str | None = None
    for move in moves:
        if move["previous"] != before:
            yield f"history says it left {move['previous']}, but it was {before}"
        allowed = ARROWS.get(move["previous"], set())
        if restored:
            allowed = allowed | AFTER_RESTORE.get(move["previous"], set())
        if move["state"] not in allowed:
            yield f"no arrow leads from {move['previous']} to {move['state']}: {move['reason']}"
        before = move["state"]
    if before != episode["state"]:
        yield f"is {episode['state']}, but its history ends with {before}"
    # A person, and the command itself, have a clock that was not put forward.
    if not restored and [move["at"] for move in moves] != sorted(move["at"] for move in moves):
        yield "its history goes back in time"
