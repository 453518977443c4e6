"""PostgreSQL: how it is connected to, and what its errors advise.

No setting outlives a transaction, and no statement is prepared: a pooler in transaction mode, such
as pgbouncer, gives each transaction another connection.
"""

import logging
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError

from feedwatch.store.errors import StoreError

log = logging.getLogger(__name__)

DRIVER = "postgresql+psycopg"
CONNECTING: Mapping[str, Any] = {
    "connect_timeout": 5,  # seconds, for each host of the URL
    # A partition without a reset is noticed within 20 s, else after the kernel's 15 minutes.
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,  # milliseconds
}
POOL_SIZE = 8  # connections that are kept: one for each loop, and some for the page
# A process that is stopped in the middle of a transaction keeps its locks: the server ends it.
BEGIN = text(
    "SELECT set_config('lock_timeout', '10s', true), set_config('statement_timeout', '60s', true),"
    " set_config('idle_in_transaction_session_timeout', '30s', true),"
    # A commit survives a power cut and the loss of the primary: a claim must, before its POST.
    " set_config('synchronous_commit', CASE current_setting('synchronous_commit')"
    " WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true)"
)
MIGRATION_LOCK = 0xFEED_0A7C  # any number that nobody else locks
# A migration may rewrite a table, and waits for that of another process.
BEGIN_MIGRATION = text(
    "SELECT set_config('lock_timeout', '60s', true), set_config('statement_timeout', '0', true)"
)
READING = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}

NOT_ENCODED = "there is an @ too many; in a password @ : / are written as %40 %3A %2F"
NO_NAME = "it names no database: …@HOST/NAME"
ACCESS = "see that FEEDWATCH_DATABASE_URL has the right user, password and name of the database"
LOCKED = "another program keeps it locked; end that program"
SHUT_DOWN = "it is tried again; see that the server runs"
AGAIN = "it is tried again"
ADVICE: Mapping[str, str] = {  # by SQLSTATE, or by its class, the first two characters
    "01": "see that a standby of synchronous_standby_names is connected; what was written is on "
    "this server alone, and nothing is submitted by it",
    "08": "see that the server runs and can be reached",
    "25006": "it is a standby or set to read only; with several hosts in FEEDWATCH_DATABASE_URL, "
    "add target_session_attrs=read-write",
    "28": ACCESS,
    "3D": "create it: createdb NAME",
    "40": AGAIN,
    "42501": "give this user the right to do that, or make it the database's owner",
    "53": "make room: the server lacks disk, memory or connections",
    "55P03": LOCKED,
    "57014": "it took longer than a minute; see what the server is busy with",
    "57P": SHUT_DOWN,
    "58": "the server's disk is full or broken; nothing is submitted until it works",
}


def postgresql_engine(url: URL) -> Engine:
    """An engine for PostgreSQL. Raises `StoreError` where the URL is wrong or of another one."""
    if url.drivername not in ("postgresql", DRIVER):
        raise StoreError(
            f"FEEDWATCH_DATABASE_URL is not usable: it begins with {url.drivername}://, and "
            f"besides SQLite there is only {DRIVER}://"
        )
    if "@" in f"{url.host}{url.database}":  # and what follows it is a part of the password
        raise StoreError(f"FEEDWATCH_DATABASE_URL is not usable: {NOT_ENCODED}")
    if not (url.database or url.query.keys() & {"dbname", "service"}):
        raise StoreError(f"FEEDWATCH_DATABASE_URL is not usable: {NO_NAME}")
    engine = create_engine(
        url.set(drivername=DRIVER),
        # Pinned: a role's default may be another one, under which a claim that waited would fail.
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        pool_size=POOL_SIZE,
        connect_args={name: value for name, value in CONNECTING.items() if name not in url.query}
        | {"prepare_threshold": None},
    )
    event.listen(engine, "do_connect", _connect)
    event.listen(engine, "checkout", _unset_read_only)
    event.listen(engine, "begin", _begin)
    event.listen(engine, "before_cursor_execute", _replace_nul, retval=True)
    event.listen(engine, "after_cursor_execute", _end_pipeline)
    return engine


def await_migration(db: Connection) -> None:
    """Wait until no other process migrates, and keep others waiting until this transaction ends."""
    db.execute(BEGIN_MIGRATION)
    key = {"key": MIGRATION_LOCK}
    if not db.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), key):
        log.info("database: waiting until another feedwatch has migrated it")
        db.execute(text("SELECT pg_advisory_xact_lock(:key)"), key)


def advice_for(error: DBAPIError) -> str | None:
    """What to do about an error of the server or the driver, if that can be told by its code."""
    code = getattr(error.orig, "sqlstate", None)
    if code is not None:
        known = (ADVICE.get(code[:length]) for length in (5, 3, 2))
        return next(filter(None, known), None)
    # Where a connection fails there is none, but libpq tells whether it was asked for a password:
    # then the server was reached.
    connection = getattr(error.orig, "pgconn", None)
    if connection is not None and (connection.needs_password or connection.used_password):
        return ACCESS
    return ADVICE["08"] if isinstance(error, OperationalError) else None


def _connect(
    _dialect: Dialect, _record: Any, arguments: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    from feedwatch.store.synchronous import SynchronousConnection  # without psycopg no engine is

    return SynchronousConnection.connect(*arguments, **options)


def _unset_read_only(connection: Any, _record: Any, _proxy: Any) -> None:
    """After one that only reads, SQLAlchemy begins with READ WRITE whatever the server has."""
    connection.read_only = None


def _end_pipeline(
    db: Connection, _cursor: Any, _statement: str, _rows: Any, _context: Any, executemany: bool
) -> None:
    """Several rows go by psycopg's pipeline, after which PostgreSQL 15 ends no idle transaction.

    Any other statement mends that; else a leader that is stopped in a claim stays the leader.
    """
    if executemany:
        with closing(db.connection.cursor()) as another:
            another.execute("SELECT 1")


def _begin(db: Connection) -> None:
    db.execute(BEGIN)


def _replace_nul(
    _db: Connection,
    _cursor: Any,
    statement: str,
    parameters: Any,
    _context: Any,
    _executemany: bool,
) -> tuple[str, Any]:
    """No text of PostgreSQL's has a NUL, which an API may send: it becomes U+FFFD."""
    return statement, _without_nul(parameters)


def _without_nul(value: Any) -> Any:
    match value:
        case str():
            return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
        case dict():
            return {name: _without_nul(one) for name, one in value.items()}
        case list():
            return [_without_nul(one) for one in value]
        case tuple():
            return tuple(_without_nul(one) for one in value)
    return value
