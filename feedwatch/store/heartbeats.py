"""Heartbeats: a sign of progress of each loop."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import (
    Engine,
    delete,
    insert,
    select,
)

from feedwatch.store.database import reading
from feedwatch.store.schema import (
    heartbeats,
)


class HeartbeatStore:
    """When each loop of the daemon last came to its end."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def write(self, beats: Mapping[str, datetime]) -> None:
        """Write down when each duty last came to its end, in place of what was written before."""
        rows = [{"duty": duty, "at": at} for duty, at in beats.items()]
        with self._engine.begin() as db:
            db.execute(delete(heartbeats))
            db.execute(insert(heartbeats), rows)

    def clear(self) -> None:
        """Write down that the duties have come to their end for good."""
        with self._engine.begin() as db:
            db.execute(delete(heartbeats))

    def read(self) -> dict[str, datetime]:
        """When each duty last came to its end."""
        with reading(self._engine) as db:
            return {row.duty: row.at for row in db.execute(select(heartbeats))}
