"""Heartbeats: a sign of progress of each loop."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Engine, delete, insert, select

from feedwatch.core.health import START, by_clock_of_reader
from feedwatch.store.boot import machine_boot
from feedwatch.store.database import reading
from feedwatch.store.schema import heartbeats


class HeartbeatStore:
    """Heartbeats: the latest moments, by name, at which the daemon got something done.

    `core/health.py` has the names: a loop, a loop's single piece of work, the daemon's start.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def write(self, moments: Mapping[str, datetime], now: datetime) -> None:
        """Replace all heartbeats by these, of the clock that says `now`."""
        all_moments = {**moments, **machine_boot(now)}
        rows = [{"loop": name, "at": at} for name, at in all_moments.items()]
        with self._engine.begin() as db:
            db.execute(delete(heartbeats))
            db.execute(insert(heartbeats), rows)

    def end(self) -> None:
        """The daemon has ended in order: it has no start any more, but a last progress."""
        with self._engine.begin() as db:
            db.execute(delete(heartbeats).where(heartbeats.c.loop == START))

    def read(self, now: datetime) -> dict[str, datetime]:
        """All heartbeats, by the clock that says `now`.

        Without a start if no daemon has begun since one ended in order.
        """
        with reading(self._engine) as db:
            found = dict(db.execute(select(heartbeats.c.loop, heartbeats.c.at)).all())
        return by_clock_of_reader(found, machine_boot(now))
