"""Store: opens the database and holds one object for each concern."""

import os
import socket
from datetime import UTC, datetime
from secrets import token_hex

from feedwatch.core.health import Use
from feedwatch.store.breakers import BreakerStore, ensure_breaker
from feedwatch.store.changes import Changes
from feedwatch.store.checks import CheckStore
from feedwatch.store.claims import ClaimStore, ensure_database_id
from feedwatch.store.database import (
    connect,
    exists,
    guard_connections,
    place_of,
    reading,
    require_current,
    sqlite_file,
    upgrade,
)
from feedwatch.store.database_server import DatabaseServer
from feedwatch.store.documents import DocumentStore
from feedwatch.store.episodes import EpisodeStore
from feedwatch.store.feeds import FeedStore
from feedwatch.store.heartbeats import HeartbeatStore
from feedwatch.store.imports import Imports
from feedwatch.store.lease import Lease, has_leases, holder_of
from feedwatch.store.listings import Listings
from feedwatch.store.lock import DatabaseFile, FileLock, lock_path, use_of
from feedwatch.store.outbox import Outbox
from feedwatch.store.passes import PassStore
from feedwatch.store.schema import metadata
from feedwatch.store.sessions import SessionStore
from feedwatch.store.statistics import Statistics
from feedwatch.store.subscriptions import SubscriptionStore
from feedwatch.store.upkeep import Upkeep


class Store:
    """The database. No transaction of it is open while the network is in use.

    `path` is the database's file, if it is one; `place` its URL without the password. `is_made` is
    whether it is there; else this reads an empty one. `daemon_id` is that of this process, if it
    becomes one of the database's daemons.
    """

    def __init__(
        self,
        url: str,
        *,
        processor: str,
        may_create: bool = False,
        alone: bool = False,
        must_lead: bool = True,
    ) -> None:
        """Open the database at `url`.

        With `may_create`, tables are made or migrated as needed, and `processor` gets its circuit
        breaker. Without, a database that does not exist reads as an empty one and is not made: to
        look must leave nothing behind. With `alone`, no other process may be open with `alone` at
        the same time; several daemons of one PostgreSQL database may, without `must_lead`: then one
        of them leads. Raises `StoreError`.
        """
        self._engine = engine = connect(url)
        self.changes = Changes(engine)
        self.is_made = True
        self.place = place_of(engine)
        self.host = socket.gethostname()[:40]
        self.daemon_id = f"{self.host}/{os.getpid()}/{token_hex(4)}"
        path = sqlite_file(engine)
        self.path = path.resolve() if path is not None else None
        self._lock: FileLock | None = None
        self._file: DatabaseFile | None = None
        self._lease: Lease | None = None
        self._has_begun = False
        self.server: DatabaseServer | None = None  # of PostgreSQL, for a daemon
        try:
            if alone and self.path is not None:
                self._lock = FileLock(lock_path(self.path))
            if may_create:
                self._make_ready(processor, alone=alone, must_lead=must_lead)
            elif exists(engine):
                require_current(engine)
            else:
                engine.dispose()
                self._engine = engine = connect("sqlite://")
                self.changes = Changes(engine)
                metadata.create_all(engine)
                self.is_made = False
        except BaseException:
            self.close()
            raise
        self.outbox = Outbox(engine)
        self.feeds = FeedStore(engine, self.daemon_id)
        self.checks = CheckStore(engine, self.daemon_id)
        self.episodes = EpisodeStore(engine, self.outbox)
        self.claims = ClaimStore(engine, self.outbox, self._lease)
        self.imports = Imports(engine, self.outbox)
        self.breakers = BreakerStore(engine)
        self.statistics = Statistics(engine)
        self.heartbeats = HeartbeatStore(engine, self.daemon_id, self.server)
        self.passes = PassStore(engine)
        self.upkeep = Upkeep(engine)
        self.listings = Listings(engine)
        self.documents = DocumentStore(engine)
        self.sessions = SessionStore(engine)
        self.subscriptions = SubscriptionStore(engine)

    def _make_ready(self, processor: str, *, alone: bool, must_lead: bool) -> None:
        """Make or migrate the tables, and their first rows, and become a daemon if `alone`."""
        engine, path = self._engine, sqlite_file(self._engine)
        if path is not None and path.parent.is_dir() and not path.exists():
            path.touch(0o600)  # SQLite's other files follow it; feeds may be private
        if not alone and exists(engine) and self._has_daemon():
            require_current(engine, in_use=True)  # its tables are not changed under it
        if self._lock is not None and self.path is not None:
            self._file = DatabaseFile(self.path)
            self._lock.note(self.path)
            guard_connections(engine, self._file.refuse_if_replaced)
        needs_lease = alone and engine.dialect.name == "postgresql"
        if needs_lease and must_lead and has_leases(engine):
            self._lease = Lease(engine, self.daemon_id)  # first: nobody is migrated under the feet
            self._lease.take()
        upgrade(engine)
        with engine.begin() as db:
            ensure_breaker(db, processor)  # first: of two that do this, one waits here
            ensure_database_id(db)
            self.server = DatabaseServer(db) if needs_lease else None
        if needs_lease and self._lease is None:
            self._lease = Lease(engine, self.daemon_id)
            if must_lead:
                self._lease.take()
            else:
                self._lease.seek()

    def _has_daemon(self) -> bool:
        """Whether a daemon has the database, whichever version its tables are of."""
        if self.path is not None:
            return use_of(lock_path(self.path), self.path) in (Use.OPEN, Use.REPLACED)
        if self._engine.dialect.name != "postgresql" or not has_leases(self._engine):
            return False
        with reading(self._engine) as db:
            return holder_of(db) is not None

    def close(self) -> None:
        """Release lease and lock, and close all connections."""
        if self._lease is not None:
            self._lease.release()
        self.changes.close()
        self._engine.dispose()
        for lock in (self._file, self._lock):
            if lock is not None:
                lock.release()
        self._file = self._lock = self._lease = None

    def is_replaced(self) -> bool:
        """Whether the database's file was deleted or replaced since it was opened `alone`."""
        return self._file is not None and self._file.is_replaced()

    def require_writable(self) -> None:
        """Raise `StoreError` where no transaction that writes can begin."""
        with self._engine.connect() as db:
            db.begin().rollback()

    def term(self) -> int | None:
        """The term in which this process leads; None while another one does, 0 with SQLite."""
        return self._lease.term if self._lease is not None else 0

    def feed_lease(self) -> None:
        """The daemon's loops make progress; see `Lease.feed`."""
        if self._lease is not None:
            self._lease.feed()

    def has_begun(self) -> bool:
        """Whether the term in which this process leads has begun, on the server that there is."""
        if self._lease is None or self.server is None:
            return self._has_begun
        return self._lease.has_begun(self.server.started_at)

    def begin_term(self) -> bool:
        """Begin our term; whether it is on another server than was confirmed: after a failover."""
        self._has_begun = True
        if self._lease is None:
            return False
        is_elsewhere = self._lease.begin()
        self.ask_server()
        return is_elsewhere

    def confirm_server(self) -> None:
        """All daemons have compared their journals with this server's database, or had time to."""
        if self._lease is not None:
            self._lease.confirm()

    def ask_server(self) -> None:
        """Read which server there is, and its clock, of which the heartbeats ask now and then."""
        if self.server is not None:
            with reading(self._engine) as db:
                self.server.ask(db)

    def now(self) -> datetime:
        """The time of day: PostgreSQL's for a daemon, so that all of them have the same."""
        return self.server.now() if self.server is not None else datetime.now(UTC)

    def use(self) -> Use:
        """Whether a daemon has the database open, as far as that can be told from here."""
        if self.path is not None:
            return use_of(lock_path(self.path), self.path)
        if self._engine.dialect.name != "postgresql":
            return Use.UNKNOWN
        return Use.OPEN if self.heartbeats.is_any_alive() else Use.NONE
