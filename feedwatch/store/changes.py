"""Changes: whether anybody has written to the database since, this process or another one."""

import sqlite3
from threading import Lock

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import PoolProxiedConnection

from feedwatch.store.database import sqlite_file
from feedwatch.store.errors import StoreError


class Changes:
    """The version of an SQLite file, read by one connection that is kept for it alone.

    SQLite tells a connection of the commits of all others (sqlite.org/pragma.html, data_version),
    which takes microseconds and no transaction of ours.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._is_file = sqlite_file(engine) is not None
        self._kept: PoolProxiedConnection | None = None
        self._lock = Lock()  # several loops ask

    def version(self) -> int | None:
        """Another number after each commit; None where that cannot be told, as with PostgreSQL."""
        if not self._is_file:
            return None
        with self._lock:
            try:
                if self._kept is None:
                    self._kept = self._engine.raw_connection()
                    self._kept.detach()  # the pool is for those who come and go
                    # Who gets no answer looks for himself, and waits for a lock then.
                    self._kept.execute("PRAGMA busy_timeout=0")
                version: int = self._kept.execute("PRAGMA data_version").fetchall()[0][0]
            except (sqlite3.Error, SQLAlchemyError, StoreError):
                return None
            return version

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._is_file = False
            if self._kept is not None:
                self._kept.close()
                self._kept = None
