"""Circuit breakers: one row for each media API."""

from collections.abc import Callable, Iterable
from dataclasses import asdict

from sqlalchemy import Connection, Engine, select, update

from feedwatch.core.circuit_breaker import CircuitBreaker
from feedwatch.store.database import reading
from feedwatch.store.schema import gates
from feedwatch.store.sql import columns_of, insert_unless_there


class BreakerStore:
    """Circuit breakers, each by its processor's name."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, processor: str) -> CircuitBreaker:
        """The circuit breaker of `processor`; a new one if it has none yet."""
        with reading(self._engine) as db:
            return load(db, processor)

    def of(self, processors: Iterable[str]) -> dict[str, CircuitBreaker]:
        """The circuit breakers of several processors, by their names."""
        with reading(self._engine) as db:
            return {name: load(db, name) for name in processors}

    def change(
        self, processor: str, change: Callable[[CircuitBreaker], CircuitBreaker]
    ) -> CircuitBreaker:
        """Replace the circuit breaker of `processor` by what `change` makes of it; return that."""
        with self._engine.begin() as db:
            breaker = change(load(db, processor, lock=True))
            row = gates.c.processor == processor
            db.execute(update(gates).where(row).values(asdict(breaker)))
        return breaker


def ensure_breaker(db: Connection, processor: str) -> None:
    """Give `processor` a circuit breaker, if it has none: a lock needs a row."""
    if db.execute(select(gates).where(gates.c.processor == processor)).first() is None:
        insert_unless_there(db, gates, {"processor": processor, **asdict(CircuitBreaker())})


def load(db: Connection, processor: str, *, lock: bool = False) -> CircuitBreaker:
    """The circuit breaker of `processor`; a new one if it has none yet.

    With `lock`, no other transaction gets the lock before this one ends. So claims, which all take
    that of their processor, come one after another. A lock needs a row, so one is made.
    """
    query = select(*columns_of(gates, but="processor")).where(gates.c.processor == processor)
    query = query.with_for_update() if lock else query
    row = db.execute(query).mappings().one_or_none()
    if row is None and lock:
        ensure_breaker(db, processor)
        row = db.execute(query).mappings().one()
    return CircuitBreaker(**row) if row is not None else CircuitBreaker()
