"""PostgreSQL's server: its clock, by which all daemons of a database go, and which server it is."""

import time
from datetime import UTC, datetime

from sqlalchemy import Connection, func, select

from feedwatch.core.post_deadline import Moment
from feedwatch.store.boot import boot_seconds
from feedwatch.store.sql import database_clock

SLOW = 1.0  # seconds; half of it is how wrong the clock may be then


class DatabaseServer:
    """The server, asked now and then; in between a clock that nobody sets carries its time on."""

    def __init__(self, db: Connection) -> None:
        self._offset: float | None = None  # from this machine's boot to the database's time of day
        self.ahead = 0.0  # how many seconds this machine's wall clock is ahead of it
        self.started_at: datetime  # a standby that was promoted has a time of its own
        self.ask(db)

    def ask(self, db: Connection) -> None:
        """Read its clock, and when it was started.

        What the statement took is shared out evenly; where that was long, the clock stays as it is:
        else a slow answer would pass for a clock that was set.
        """
        before = boot_seconds()
        at, self.started_at = db.execute(
            select(database_clock(), func.pg_postmaster_start_time())
        ).one()
        after, wall = boot_seconds(), time.time()
        if self._offset is not None and after - before > SLOW:
            return
        middle = (before + after) / 2
        self._offset = at.timestamp() - middle
        self.ahead = wall - after + middle - at.timestamp()

    def moment(self) -> Moment:
        """The present moment."""
        boot = boot_seconds()
        return Moment(boot=boot, wall=boot + (self._offset or 0.0))

    def now(self) -> datetime:
        """The time of day."""
        return datetime.fromtimestamp(self.moment().wall, UTC)
