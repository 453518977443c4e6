"""Circuit breakers: one row for each media API."""

from collections.abc import Callable
from dataclasses import asdict

from sqlalchemy import (
    Connection,
    Engine,
    select,
    update,
)

from feedwatch.core.circuit_breaker import CircuitBreaker
from feedwatch.store.database import reading
from feedwatch.store.schema import (
    gates,
)
from feedwatch.store.sql import values_of, without


class BreakerStore:
    """Whether submissions to a media API may leave."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, processor: str) -> CircuitBreaker:
        """Whether submissions may leave."""
        with reading(self._engine) as db:
            return load(db, processor)

    def change(
        self, processor: str, change: Callable[[CircuitBreaker], CircuitBreaker]
    ) -> CircuitBreaker:
        """Apply `change` to the gate and return it as it is then."""
        with self._engine.begin() as db:
            breaker = change(load(db, processor, lock=True))
            ours = gates.c.processor == processor
            db.execute(update(gates).where(ours).values(asdict(breaker)))
        return breaker


def load(db: Connection, processor: str, *, lock: bool = False) -> CircuitBreaker:
    """The breaker of `processor`; with `lock`, no other transaction changes it meanwhile."""
    query = select(gates).where(gates.c.processor == processor)
    query = query.with_for_update() if lock else query
    row = db.execute(query).mappings().one_or_none()
    return (
        CircuitBreaker(**without(values_of(gates, row), "processor"))
        if row is not None
        else CircuitBreaker()
    )
