"""The lease: the one daemon of a PostgreSQL database that leads, by the database's own clock.

All daemons check feeds; the leader alone spends. For an SQLite file, which has but one daemon, the
lock of a file does this (`lock.py`). The lease has a term, which only grows. Each claim's
transaction asks for the lease of its term: who was deposed can commit no claim.
"""

import logging
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Event, Lock, Thread
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

from feedwatch.core.daemons import spoken
from feedwatch.store.boot import boot_seconds
from feedwatch.store.database import place_of, reading
from feedwatch.store.errors import NotLeadingError, StoreError
from feedwatch.store.schema import leaders
from feedwatch.store.sql import database_clock, insert_unless_there

log = logging.getLogger(__name__)

LEADER = "leader"  # the one role, and the key of its row
TTL = timedelta(seconds=30)
SURE_FOR = 5 / 6  # of it by our own clock, after which it counts as lost
RENEWED_EVERY = 5.0  # seconds
TRIED_EVERY = 0.5  # seconds, while another one leads
FED_FOR = 15.0  # seconds; half of systemd's watchdog, which ends the same daemon
NOT_OURS = (
    "the lease of this database has run out, or another feedwatch has taken it over; nothing is "
    "submitted without it"
)


STARTED_AT = func.pg_postmaster_start_time(type_=DateTime(timezone=True))  # of the server


class _Row(NamedTuple):
    """The lease as it is stored."""

    holder: str | None
    term: int
    until: datetime


class Lease:
    """The right to spend, for one daemon of a database.

    Once it is taken or sought, a thread renews it, or tries to get it, until it is released.
    """

    def __init__(self, engine: Engine, me: str) -> None:
        """The lease as the daemon `me` has it: not yet."""
        self._engine = engine
        self._me = me
        self._ended = Event()
        self._lock = Lock()  # around the next two
        self._begun: tuple[int, datetime] | None = None  # our latest term, and on which server
        self._term: int | None = None
        self._sure_until = 0.0  # by the clock that nobody sets
        self._fed_until: float | None = None  # by the same; None: the loops do not run yet
        self._keeper: Thread | None = None
        with engine.begin() as db:  # a restore of the data alone may lack the row
            nobodys = {"role": LEADER, "term": 0, "until": datetime(2000, 1, 1, tzinfo=UTC)}
            insert_unless_there(db, leaders, nobodys)

    @property
    def term(self) -> int | None:
        """The term in which we lead; None while another one does, or may by now."""
        with self._lock:
            return self._term if boot_seconds() < self._sure_until else None

    def require(self, db: Connection) -> int:
        """The term that was begun, if it lasts on this server until the transaction ends.

        Raises `NotLeadingError` where it does not: another term, or another server, begins first.
        """
        if self._begun is None:
            raise NotLeadingError(NOT_OURS)
        term, server = self._begun
        lasts = (leaders.c.until > database_clock()) & (server == STARTED_AT)
        ours = select(leaders.c.role).where(self._is_ours(term), lasts)
        if db.execute(ours.with_for_update(read=True)).first() is None:
            raise NotLeadingError(NOT_OURS)
        return term

    def has_begun(self, server: datetime) -> bool:
        """Whether what we lead by now is the term that was begun, on this server."""
        return self._begun == (self.term, server)

    def take(self) -> None:
        """Take the lease. One that nobody renews any more is waited for.

        Raises `StoreError` if another process renews it.
        """
        first: _Row | None = None
        while not self._elect():
            with reading(self._engine) as db:
                row = _Row(*db.execute(select(*_FIELDS)).one())
            if first is None:
                first = row
                log.info("database: waiting until the lease of %s runs out", spoken(row.holder))
            elif row != first:
                raise StoreError(
                    f"another feedwatch ({spoken(row.holder)}) runs on the database "
                    f"{place_of(self._engine)}; stop it first, or let it do the work"
                )
            time.sleep(TRIED_EVERY)
        self._keep()

    def seek(self) -> None:
        """Take the lease if nobody has it, or else once it is free. Raises `StoreError`."""
        if self._elect():
            log.info("this daemon leads, in term %d", self._term)
        self._keep()

    def begin(self) -> bool:
        """Begin our term; whether that is on another server than was confirmed last.

        Raises `NotLeadingError` where we do not lead, and `StoreError`.
        """
        term = self._term
        query = select(leaders.c.server, STARTED_AT).where(self._is_ours(term))
        with reading(self._engine) as db:
            row = db.execute(query).first()
        if term is None or row is None:
            raise NotLeadingError(NOT_OURS)
        confirmed, server = row
        self._begun = (term, server)
        if confirmed is None:
            self.confirm()
        return confirmed not in (None, server)

    def confirm(self) -> None:
        """All daemons have had time to compare their journals with this server's database.

        Until then whoever leads next waits for them as well. Raises `StoreError`.
        """
        if self._begun is not None:
            term, server = self._begun
            change = update(leaders).where(self._is_ours(term)).values(server=server)
            with self._engine.begin() as db:
                db.execute(change)

    def _elect(self) -> bool:
        """Take the lease if nobody has it; whether it is ours now."""
        began = boot_seconds()
        is_free = or_(leaders.c.holder.is_(None), ~_is_held())
        # Who holds the row's lock leads, is elected just now, or was stopped in its transaction: a
        # start would wait for that, and give up. It is tried again soon.
        free = select(leaders.c.role).where(leaders.c.role == LEADER, is_free)
        election = (
            update(leaders)
            .where(leaders.c.role.in_(free.with_for_update(skip_locked=True)))
            .values(holder=self._me, term=leaders.c.term + 1, until=database_clock() + TTL)
            .returning(leaders.c.term)
        )
        with self._engine.begin() as db:
            term: int | None = db.scalars(election).one_or_none()
        if term is not None:
            self._note(term, began)
        return term is not None

    def renew(self) -> None:
        """Have the lease for its whole length from now on. Raises `StoreError`."""
        began, term = boot_seconds(), self._term
        renewal = update(leaders).where(self._is_ours(term))
        with self._engine.begin() as db:
            is_ours = db.execute(renewal.values(until=database_clock() + TTL)).rowcount == 1
        if is_ours:
            self._note(term, began)
        elif not self._ended.is_set():
            self._note(None, began)
            log.warning("another feedwatch has taken over: it leads, this one checks feeds")

    def feed(self) -> None:
        """The loops make progress. From the first time on, the lease is not kept without it.

        So another daemon leads where all of this one hangs but the thread that keeps the lease.
        """
        self._fed_until = boot_seconds() + FED_FOR

    def _keep(self) -> None:
        """Renew the lease from now on, or try to get it."""
        self._keeper = Thread(target=self._keep_until_ended, name="lease", daemon=True)
        self._keeper.start()

    def release(self) -> None:
        """Give the lease back, so that the next one need not wait for its end."""
        self._ended.set()
        if self._keeper is not None:
            self._keeper.join()
        resignation = update(leaders).where(self._is_ours(self._term))
        values = {"holder": None, "until": database_clock()}
        if self._term is not None:
            with suppress(StoreError, SQLAlchemyError), self._engine.begin() as db:
                db.execute(resignation.values(values))
        self._note(None, 0.0)

    def _is_ours(self, term: int | None) -> ColumnElement[bool]:
        of = leaders.c
        return and_(of.role == LEADER, of.holder == self._me, of.term == term)

    def _note(self, term: int | None, began: float) -> None:
        """What a statement has found that was sent at `began`, by the clock that nobody sets."""
        with self._lock:
            self._term = term
            self._sure_until = began + SURE_FOR * TTL.total_seconds()

    def _keep_until_ended(self) -> None:
        was_fed = True
        while not self._ended.wait(RENEWED_EVERY if self._term is not None else TRIED_EVERY):
            is_fed = self._fed_until is None or boot_seconds() < self._fed_until
            if was_fed and not is_fed:
                log.warning("the loops hang, or were stopped: another daemon may lead by now")
            was_fed = is_fed
            if not is_fed:
                continue
            try:
                if self._term is not None:
                    self.renew()
                elif self._elect():
                    log.info("this daemon leads from now on, in term %d", self._term)
            except (StoreError, SQLAlchemyError):
                continue  # the loops say so
            except Exception:
                log.exception("a bug has kept the lease from being renewed; it is tried again")


_FIELDS = (leaders.c.holder, leaders.c.term, leaders.c.until)


def _is_held() -> ColumnElement[bool]:
    """Not run out, nor too long to be true: the clock was set back, or is another server's."""
    now = database_clock()
    return and_(leaders.c.until > now, leaders.c.until < now + 2 * TTL)


def has_leases(engine: Engine) -> bool:
    """Whether the database has the table of leases."""
    with reading(engine) as db:
        return inspect(db).has_table(leaders.name)


def holder_of(db: Connection) -> str | None:
    """Which daemon leads; None if none does."""
    return db.scalars(select(leaders.c.holder).where(_is_held())).one_or_none()
