"""What must hold of a database at any instant, looked up in a copy of its files.

In a copy, because to open a database after a crash repairs it, which is left to the daemon.
"""

import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

from feedwatch.core.pipeline import ORDER, Step
from feedwatch.store.database import BUSY_SECONDS
from tests.support import PATIENCE

Arrows = dict[str | None, set[str]]

# The arrows of docs/states.md, in this world of clear answers and with no deadline passed.
ARROWS: Arrows = {
    None: {"queued", "skipped"},
    "queued": {"queued", "submitting"},
    "submitting": {"processing", "unknown"},
    "unknown": {"processing", "queued"},  # adopted, retried
    "processing": {"processing", "ready"},
    "skipped": set(),
    "ready": set(),
}
ONWARD: Arrows = {"processing": {"queued"}}  # to the next step, which no other arrow leads to
# Further ones where an earlier copy was put back: what the journal has is imported, and what is
# dated before it is held until a person approves it. What is imported may be of the next step.
AFTER_RESTORE: Arrows = {
    None: {"held"},
    "queued": {"processing", "unknown", "held"},
    "held": {"processing", "unknown", "queued"},
    "unknown": {"unknown"},  # by a later POST
}
ONWARD_AFTER_RESTORE: Arrows = {
    state: {"processing", "unknown"}
    for state in ("queued", "held", "submitting", "unknown", "processing")
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One episode as the database has it."""

    id: int
    guid: str
    url: str
    state: str
    step: str
    reason: str | None
    version: int
    media_id: str | None
    processed_url: str | None

    def is_after(self, step: str) -> bool:
        """Whether the episode has left that step behind."""
        return ORDER.index(Step(self.step)) > ORDER.index(Step(step))


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A database at one instant."""

    rows: dict[str, Row]  # by guid
    wrong: tuple[str, ...]  # what does not hold of the database by itself
    doubtful_posts: int = 0  # in a row, as the gate with the most of them counts them
    baselines: frozenset[str] = frozenset()  # feeds whose first run is recorded
    validators: frozenset[str] = frozenset()  # the ETags that the feeds' next requests will have
    born: bool = True  # whether there are tables
    tokens: frozenset[str] = frozenset()  # of all claims
    unchecked: frozenset[str] = frozenset()  # feeds in doubt, not checked since

    def in_state(self, *states: str) -> set[str]:
        """The guids of the episodes in these states."""
        return {guid for guid, row in self.rows.items() if row.state in states}

    def steps_in_state(self, state: str) -> set[tuple[str, str]]:
        """The same, each guid with the step that its episode is at."""
        return {(guid, self.rows[guid].step) for guid in self.in_state(state)}


UNBORN = Picture(rows={}, wrong=(), born=False)


def of_the_dead(database: Path, scratch: Path, *, restored: bool, clock_set: bool) -> Picture:
    """What a process that was killed has left."""
    if not database.exists():
        return UNBORN
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for suffix in ("", "-wal"):
        file = database.with_name(database.name + suffix)
        if file.exists():
            shutil.copy(file, scratch / file.name)
    return of_the_living(scratch / database.name, restored=restored, clock_set=clock_set)


def of_the_living(database: Path, *, restored: bool, clock_set: bool) -> Picture:
    """What stands in a database that may be in use.

    restored: whether an earlier copy has taken its place, ever; clock_set: the same of the clock.
    """
    with closing(sqlite3.connect(f"file:{quote(str(database))}", uri=True, timeout=PATIENCE)) as db:
        db.row_factory = sqlite3.Row
        db.execute("BEGIN")
        if not _has_tables(db):
            return UNBORN
        (doubts,) = db.execute("SELECT max(doubts) FROM gates").fetchone()
        feeds = db.execute("SELECT * FROM feeds").fetchall()
        return Picture(
            rows={row["guid"]: _row(row) for row in db.execute("SELECT * FROM episodes")},
            wrong=tuple(_wrong(db, restored=restored, clock_set=clock_set)),
            doubtful_posts=doubts or 0,
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
        step=row["step"],
        reason=row["reason"],
        version=row["version"],
        media_id=row["media_id"],
        processed_url=row["processed_url"],
    )


def _wrong(db: sqlite3.Connection, *, restored: bool, clock_set: bool) -> Iterator[str]:
    said = [row[0] for row in db.execute("PRAGMA integrity_check")]
    if said != ["ok"]:
        yield f"integrity_check: {'; '.join(map(str, said))}"
    if broken := db.execute("PRAGMA foreign_key_check").fetchall():
        yield f"foreign_key_check: {len(broken)} rows"
    episodes = db.execute("SELECT * FROM episodes").fetchall()
    if len({row["guid"] for row in episodes}) < len(episodes):
        yield "one guid has two episodes"
    # A copy may bring one back that was under way then; the journal is asked for its answer once
    # its lease has ended.
    if not restored and sum(row["state"] == "submitting" for row in episodes) > 1:
        yield "two submissions under way"
    known = {row[0] for row in db.execute("SELECT episode_id FROM identities")}
    moves = defaultdict(list)
    for row in db.execute("SELECT * FROM history ORDER BY id"):
        moves[row["episode_id"]].append(row)
    for row in episodes:
        if row["id"] not in known:
            yield f"{row['guid']} is known by no key"
        wrong = [*_wrong_history(row, moves[row["id"]], restored=restored, clock_set=clock_set)]
        wrong += _wrong_steps(db, row, moves[row["id"]])
        yield from (f"{row['guid']}: {what}" for what in wrong)


def _wrong_history(
    episode: sqlite3.Row, moves: list[sqlite3.Row], *, restored: bool, clock_set: bool
) -> Iterator[str]:
    if not moves:
        yield "no history"
        return
    before: str | None = None
    step = moves[0]["step"]
    for move in moves:
        if move["previous"] != before:
            yield f"history says it left {move['previous']}, but it was {before}"
        goes_on = move["step"] != step
        arrows = [ONWARD if goes_on else ARROWS]
        if restored:
            arrows.append(ONWARD_AFTER_RESTORE if goes_on else AFTER_RESTORE)
        if not any(move["state"] in some.get(before, ()) for some in arrows):
            at = f"{before} at {step} to {move['state']} at {move['step']}"
            yield f"no arrow leads from {at}: {move['reason']}"
        if goes_on and ORDER.index(Step(move["step"])) < ORDER.index(Step(step)):
            yield f"it went back from {step} to {move['step']}"
        before, step = move["state"], move["step"]
    if (before, step) != (episode["state"], episode["step"]):
        now = f"{episode['state']} at {episode['step']}"
        yield f"is {now}, but its history ends with {before} at {step}"
    # A person, and the command itself, have a clock that was not put forward. A thread reads the
    # clock before it waits for the database, and another's later move may come first.
    if not clock_set and any(
        datetime.fromisoformat(one["at"]) - datetime.fromisoformat(later["at"])
        > timedelta(seconds=BUSY_SECONDS)
        for one, later in pairwise(moves)
    ):
        yield "its history goes back in time"


def _wrong_steps(
    db: sqlite3.Connection, episode: sqlite3.Row, moves: list[sqlite3.Row]
) -> Iterator[str]:
    """What has ended is kept with its result, and that is what the next step is given."""
    kept = db.execute(
        "SELECT * FROM steps WHERE episode_id = ? ORDER BY id", (episode["id"],)
    ).fetchall()
    # Of a step whose end a restore has lost nobody knows what it has made: it was not queued then.
    ended = [one["step"] for one, later in pairwise(moves) if _goes_on(one, later)]
    ended += [episode["step"]] if episode["state"] == "ready" else []
    if [one["step"] for one in kept] != ended:
        yield f"has ended {ended}, but what is kept are {[one['step'] for one in kept]}"
    for one in kept:
        if one["outcome"] != "done" or None in (one["claim"], one["job_id"], one["url"]):
            yield f"{one['step']} is kept as {dict(one)}"
    given = [one["url"] for one in kept if one["step"] != episode["step"]]
    expected = given[-1] if given else episode["enclosure_url"]
    if (episode["source_url"] or episode["enclosure_url"]) != expected:
        yield f"{episode['step']} is given {episode['source_url']}, but before it came {given}"


def _goes_on(move: sqlite3.Row, later: sqlite3.Row) -> bool:
    return bool(move["step"] != later["step"] and later["state"] == "queued")
