"""The lease: one daemon for one PostgreSQL database, by the database's own clock.

For an SQLite file the lock of a file does this (`lock.py`). The lease has a term, which only grows.
Each claim's transaction asks for the lease of its term: who was deposed can commit no claim.
"""

import logging
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    DateTime,
    Engine,
    and_,
    func,
    inspect,
    or_,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from feedwatch.store.database import place_of, reading
from feedwatch.store.errors import StoreError
from feedwatch.store.schema import leaders
from feedwatch.store.sql import insert_unless_there

log = logging.getLogger(__name__)

LEADER = "leader"  # the one role, and the key of its row
TTL = timedelta(seconds=30)
RENEWED_EVERY = 5.0  # seconds
TRIED_EVERY = 0.25  # seconds, while another's lease is waited for
NOT_OURS = (
    "the lease of this database has run out, or another feedwatch has taken it over; nothing is "
    "submitted without it"
)


class _Row(NamedTuple):
    """The lease as it is stored."""

    holder: str | None
    term: int
    until: datetime


def _clock() -> ColumnElement[datetime]:
    """The database's clock, and not the beginning of the transaction."""
    return func.clock_timestamp(type_=DateTime(timezone=True))


class Lease:
    """The right to be the one daemon of a database. A thread renews it until it is released."""

    def __init__(self, engine: Engine, me: str) -> None:
        """Take the lease for the daemon `me`. One that nobody renews any more is waited for.

        Raises `StoreError` if another process renews it.
        """
        self._engine = engine
        self._me = me
        self._ended = Event()
        self.is_lost = False  # another process has it
        self.term = self._taken()
        self._own = and_(leaders.c.holder == self._me, leaders.c.term == self.term)
        self._renewing = Thread(target=self._renew_until_ended, name="lease", daemon=True)
        self._renewing.start()

    def require(self, db: Connection) -> None:
        """Raise `StoreError` unless the lease is ours, and stays so until the transaction ends."""
        ours = select(leaders.c.role).where(self._own, leaders.c.until > _clock())
        if db.execute(ours.with_for_update(read=True)).first() is None:
            raise StoreError(NOT_OURS)

    def renew(self) -> None:
        """Have the lease for its whole length from now on. Raises `StoreError`."""
        renewal = update(leaders).where(self._own).values(until=_clock() + TTL)
        with self._engine.begin() as db:
            is_renewed = db.execute(renewal).rowcount == 1
        if not is_renewed and not self._ended.is_set():
            self.is_lost = True
            log.critical("another feedwatch has taken over the database: this one ends")

    def release(self) -> None:
        """Give the lease back, so that the next process need not wait for its end."""
        self._ended.set()
        self._renewing.join()
        resignation = update(leaders).where(self._own).values(holder=None, until=_clock())
        with suppress(StoreError, SQLAlchemyError), self._engine.begin() as db:
            db.execute(resignation)

    def _taken(self) -> int:
        """The term of the lease, once it is ours."""
        is_free = or_(leaders.c.holder.is_(None), leaders.c.until < _clock())
        election = (
            update(leaders)
            .where(is_free)
            .values(holder=self._me, term=leaders.c.term + 1, until=_clock() + TTL)
            .returning(leaders.c.term)
        )
        with self._engine.begin() as db:  # a restore of the data alone may lack the row
            nobodys = {"role": LEADER, "term": 0, "until": datetime(2000, 1, 1, tzinfo=UTC)}
            insert_unless_there(db, leaders, nobodys)
        first: _Row | None = None
        while True:
            with self._engine.begin() as db:
                term: int | None = db.scalars(election).one_or_none()
                row = _Row(*db.execute(select(*_FIELDS)).one())
            if term is not None:
                return term
            if first is None:
                first = row
                log.info("database: waiting until the lease of %s runs out", _spoken(row.holder))
            elif row != first:
                raise StoreError(
                    f"another feedwatch ({_spoken(row.holder)}) runs on the database "
                    f"{place_of(self._engine)}; stop it first, or let it do the work"
                )
            time.sleep(TRIED_EVERY)

    def _renew_until_ended(self) -> None:
        while not self.is_lost and not self._ended.wait(RENEWED_EVERY):
            try:
                self.renew()
            except (StoreError, SQLAlchemyError):
                continue  # the loops say so
            except Exception:
                log.exception("a bug has kept the lease from being renewed; it is tried again")


_FIELDS = (leaders.c.holder, leaders.c.term, leaders.c.until)


def has_leases(engine: Engine) -> bool:
    """Whether the database has the table of leases."""
    with reading(engine) as db:
        return inspect(db).has_table(leaders.name)


def is_held(engine: Engine) -> bool:
    """Whether a process has the lease; for half a minute after its sudden end, too."""
    held = select(leaders.c.role).where(leaders.c.holder.is_not(None), leaders.c.until > _clock())
    with reading(engine) as db:
        return db.execute(held).first() is not None


def _spoken(holder: str | None) -> str:
    host, _, rest = (holder or "nobody").partition("/")
    return f"process {rest.partition('/')[0]} on {host}"
