"""Replication: what a PostgreSQL server tells of its standbys, and of its clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import text

from feedwatch.store.database import connect, reading

SERVER = text(
    "SELECT pg_is_in_recovery(), current_setting('synchronous_standby_names'),"
    # Ours have their own by then (`postgresql.BEGIN`).
    " (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit')"
)
# Names and kinds are null to a role that is no member of pg_read_all_stats.
STANDBYS = text(
    "SELECT application_name, sync_state FROM pg_stat_replication"
    " WHERE state IS DISTINCT FROM 'backup' ORDER BY application_name, pid"
)


class Standby(NamedTuple):
    """One standby that is connected."""

    name: str | None  # None: this role may not see it
    kind: str | None  # PostgreSQL's sync_state: async, potential, sync, quorum; None likewise

    @property
    def is_synchronous(self) -> bool:
        """Whether commits wait for it."""
        return self.kind in ("sync", "quorum")


@dataclass(frozen=True, kw_only=True)
class Replication:
    """What a server tells of its replication."""

    in_recovery: bool  # it is a standby itself
    synchronous_commit: str  # as this role has it elsewhere than in feedwatch's transactions
    synchronous_standby_names: str
    standbys: Sequence[Standby]
    clock_offset: float  # seconds that our clock is ahead of the server's


def replication(url: str) -> Replication | None:
    """What the server tells; None for SQLite, which has none. Raises `StoreError`."""
    engine = connect(url)
    if engine.dialect.name != "postgresql":
        return None
    try:
        with reading(engine) as db:
            in_recovery, names, commit = db.execute(SERVER).one()
            standbys = [Standby(*row) for row in db.execute(STANDBYS)]
            before = datetime.now(UTC)
            theirs: datetime = db.execute(text("SELECT clock_timestamp()")).scalar_one()
            after = datetime.now(UTC)
    finally:
        engine.dispose()
    return Replication(
        in_recovery=in_recovery,
        synchronous_commit=commit,
        synchronous_standby_names=names,
        standbys=standbys,
        clock_offset=((before - theirs) + (after - theirs)).total_seconds() / 2,
    )
