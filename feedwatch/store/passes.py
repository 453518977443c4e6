"""Passes: when `run --once` was run, how long it took, and how it ended."""

from datetime import datetime

from sqlalchemy import Engine, delete, insert, select, update

from feedwatch.core.health import MOST_PASSES, Pass
from feedwatch.store.database import reading
from feedwatch.store.schema import passes


class PassStore:
    """The last passes. There are none while feedwatch runs as a daemon."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(self, now: datetime) -> int:
        """A pass begins; its id. The oldest ones are forgotten."""
        with self._engine.begin() as db:
            made = insert(passes).values(began_at=now).returning(passes.c.id)
            number: int = db.scalars(made).one()
            db.execute(delete(passes).where(passes.c.id <= number - MOST_PASSES))
        return number

    def end(self, number: int, seconds: float, status: int) -> None:
        """The pass has ended with this exit status."""
        ended = update(passes).where(passes.c.id == number)
        with self._engine.begin() as db:
            db.execute(ended.values(seconds=seconds, status=status))

    def clear(self) -> None:
        """Forget all of them: from now on this is a daemon."""
        with self._engine.begin() as db:
            db.execute(delete(passes))

    def last(self) -> list[Pass]:
        """The last passes, the newest first."""
        query = select(passes.c.began_at, passes.c.seconds, passes.c.status)
        with reading(self._engine) as db:
            return [Pass(*row) for row in db.execute(query.order_by(passes.c.id.desc()))]
