"""Store: opens the database and holds one object for each concern."""

from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

from sqlalchemy import (
    insert,
    select,
)

from feedwatch.core.circuit_breaker import CircuitBreaker
from feedwatch.store.breakers import BreakerStore
from feedwatch.store.checks import CheckStore
from feedwatch.store.claims import ClaimStore
from feedwatch.store.database import connect, exists, require_current, sqlite_file, upgrade
from feedwatch.store.episodes import EpisodeStore
from feedwatch.store.feeds import FeedStore
from feedwatch.store.heartbeats import HeartbeatStore
from feedwatch.store.lock import FileLock, is_locked
from feedwatch.store.outbox import Outbox
from feedwatch.store.schema import (
    gates,
    imprint,
    metadata,
)
from feedwatch.store.statistics import Statistics
from feedwatch.store.upkeep import Upkeep


class Store:
    """The database. No transaction of it is open while the network is in use."""

    def __init__(
        self, url: str, *, processor: str, may_create: bool = False, alone: bool = False
    ) -> None:
        """Open `url`; `processor` names the media API whose gate this is.

        With `may_create`, tables are made or migrated as needed. Without, a database that is not
        there reads as an empty one and is not made: to look must not leave anything behind. With
        `alone`, no other process may be open with `alone` at the same time. Raises `StoreError`.
        `place` says where it is, without its password.
        """
        self._processor = processor
        self._engine = connect(url)
        self.place = self._engine.url.render_as_string(hide_password=True)
        path = sqlite_file(self._engine)
        self._path = path = path.resolve() if path is not None else None
        self._lock = FileLock(_lock_path(self._path)) if alone and self._path else None
        if may_create:
            if path is not None and path.parent.is_dir() and not path.exists():
                path.touch(0o600)  # SQLite's other files follow it; feeds may be private
            upgrade(self._engine)
            self._ensure_rows()
        elif exists(self._engine):
            require_current(self._engine)
        else:
            self._engine = connect("sqlite://")
            metadata.create_all(self._engine)
        engine = self._engine
        self.outbox = Outbox(engine)
        self.feeds = FeedStore(engine)
        self.checks = CheckStore(engine)
        self.episodes = EpisodeStore(engine, self.outbox)
        self.claims = ClaimStore(engine, self.outbox)
        self.breakers = BreakerStore(engine)
        self.statistics = Statistics(engine)
        self.heartbeats = HeartbeatStore(engine)
        self.upkeep = Upkeep(engine)

    @property
    def path(self) -> Path | None:
        """The database's file, if it is one."""
        return self._path

    def close(self) -> None:
        """Give back all connections, and the lock."""
        self._engine.dispose()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def is_in_use(self) -> bool | None:
        """Whether a daemon has the database; None if that can't be told from here."""
        return is_locked(_lock_path(self._path)) if self._path is not None else None

    def _ensure_rows(self) -> None:
        with self._engine.begin() as db:
            ours = gates.c.processor == self._processor
            if db.execute(select(gates).where(ours)).first() is None:
                db.execute(
                    insert(gates).values(processor=self._processor, **asdict(CircuitBreaker()))
                )
            if db.execute(select(imprint)).first() is None:
                db.execute(insert(imprint).values(id=str(uuid4()), claims=0))


def _lock_path(database: Path) -> Path:
    return database.with_name(f"{database.name}.lock")
