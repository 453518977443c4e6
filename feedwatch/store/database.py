"""Connecting: what each dialect needs, migrations, and a backup before them."""

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Select, create_engine, event, exc, inspect, text
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.pool import StaticPool

from feedwatch.store.errors import StoreError
from feedwatch.store.postgresql import READING, advice_for, await_migration, postgresql_engine

if TYPE_CHECKING:
    from alembic.config import Config

log = logging.getLogger(__name__)

VERSIONS = Path(__file__).parent / "migrations" / "versions"  # each file begins with its revision

BUSY_SECONDS = 10  # how long a write waits for another process's write
IN_MEMORY = (None, "", ":memory:")  # what an SQLite URL names instead of a file
LOCKED = "another program keeps it locked; end that program"
NO_PORT = "its port is no number; in a password @ : / are written as %40 %3A %2F"
ADVICE = {  # by SQLite's primary result code
    sqlite3.SQLITE_FULL: "make room; nothing is submitted until it can be written down",
    sqlite3.SQLITE_BUSY: LOCKED,
    sqlite3.SQLITE_LOCKED: LOCKED,
    sqlite3.SQLITE_READONLY: "give this user the right to write the file and its folder",
    sqlite3.SQLITE_NOTADB: "FEEDWATCH_DATABASE_URL names a file of something else",
    sqlite3.SQLITE_CANTOPEN: "see that the folder exists and that this user may write in it",
    sqlite3.SQLITE_IOERR: "the disk is full or broken; nothing is submitted until it works",
}


def connect(url: str) -> Engine:
    """An engine for `url`. Raises `StoreError` where the URL is wrong or its driver is missing."""
    try:
        try:
            parsed = make_url(url)
        except ValueError as error:  # it quotes what stands in the port's place: of a password
            raise exc.ArgumentError(NO_PORT) from error
        if parsed.get_backend_name() != "sqlite":
            engine = postgresql_engine(parsed)
        elif parsed.database in IN_MEMORY:
            # One connection, which all threads share: each would see a database of its own.
            engine = create_engine(
                parsed, poolclass=StaticPool, connect_args={"check_same_thread": False}
            )
        else:
            engine = create_engine(parsed, connect_args={"timeout": BUSY_SECONDS})
    except (exc.ArgumentError, exc.NoSuchModuleError, ValueError) as error:
        raise StoreError(f"FEEDWATCH_DATABASE_URL is not usable: {error}") from error
    except ImportError as error:  # psycopg is missing, or the libpq that it is to find
        raise StoreError(
            f"FEEDWATCH_DATABASE_URL is not usable: {' '.join(str(error).split())}; install it "
            "where feedwatch is: pip install 'feedwatch[postgres]', or in the checkout "
            "pip install --require-hashes -r requirements/postgres.txt"
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _tune_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    event.listen(engine, "handle_error", _raise_store_error)
    return engine


def guard_connections(engine: Engine, refuse: Callable[[], None]) -> None:
    """Call `refuse` before and after each new connection; what it raises ends the connection.

    Before, since SQLite makes a file that is missing; after, since only then it is open.
    """

    def guard(*_: Any) -> None:
        refuse()

    event.listen(engine, "do_connect", guard)
    event.listen(engine, "connect", guard, insert=True)


def _raise_store_error(context: ExceptionContext) -> None:
    """Raise a `StoreError` where the database fails; errors in our own code stay as they are."""
    error, cause = context.sqlalchemy_exception, context.original_exception
    if context.engine is None or not isinstance(error, exc.DBAPIError):
        return
    if context.engine.dialect.name == "postgresql":
        # Of whatever class it is: an answer must not be given up for it.
        is_ours, advice = isinstance(error, exc.IntegrityError), advice_for(error)
    else:
        # Other subclasses of DatabaseError are for broken constraints and wrong statements.
        is_ours = not (isinstance(error, exc.OperationalError) or type(error) is exc.DatabaseError)
        # The extended result code has the primary one in its lowest byte (sqlite.org/rescode.html).
        # Errors of the driver itself, such as text that is not UTF-8, have none.
        advice = ADVICE.get(getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF)
    if is_ours:
        return
    advice = advice or "see what it says"
    said = " ".join(str(cause).split())  # PostgreSQL's take several lines
    raise StoreError(
        f"the database {place_of(context.engine)} does not work: {said}; {advice}"
    ) from error


def exists(engine: Engine) -> bool:
    """Whether feedwatch has made its tables there; an SQLite file that is missing stays so."""
    path = sqlite_file(engine)
    if path is not None and not path.exists():
        return False
    with reading(engine) as db:
        return inspect(db).has_table("alembic_version")


def upgrade(engine: Engine) -> None:
    """Migrate the tables to this version; an SQLite file that has tables is backed up first.

    Raises `StoreError` if the database cannot be opened or was written by a newer feedwatch.
    """
    try:
        with engine.connect() as db:
            pending = _pending(db)
            has_tables = bool(inspect(db).get_table_names())
        if pending is None:
            return
        path = sqlite_file(engine)
        if has_tables and path is not None:
            now = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
            copy = path.with_name(f"{path.name}.before-upgrade-{now}.bak")
            # Made first, so that nobody else can read it at any time: feeds may be private.
            os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            with closing(engine.raw_connection()) as connection:
                connection.execute("VACUUM INTO ?", (str(copy),))
            log.info("database: copied to %s before the upgrade", copy)
        log.info("database: migrating to revision %s", pending)
        with engine.begin() as db:
            if engine.dialect.name == "postgresql":
                await_migration(db)
                if _pending(db) is None:
                    return  # another process was quicker
            from alembic import command

            config = alembic_config()
            config.attributes["connection"] = db
            command.upgrade(config, "head")
    except (exc.SQLAlchemyError, sqlite3.Error, OSError) as error:  # the copy goes past SQLAlchemy
        why = getattr(error, "orig", None) or error
        raise StoreError(f"the database {place_of(engine)} cannot be opened: {why}") from error


def require_current(engine: Engine, *, in_use: bool = False) -> None:
    """Raise `StoreError` unless the tables are those of this version.

    in_use: a daemon has the database, so one of another version if they are not.
    """
    with reading(engine) as db:
        pending = _pending(db)
    if pending is not None and in_use:
        raise StoreError(
            "a daemon of an older feedwatch has the database; end it and start this version's "
            "`feedwatch run`, which brings the database up to date, or call the older one's verb"
        )
    if pending is not None:
        raise StoreError(
            "the database was written by an older feedwatch; "
            "start `feedwatch run` once, which brings it up to date"
        )


def sqlite_file(engine: Engine) -> Path | None:
    """The database's file, if it is one."""
    return file_of(engine.url)


def file_of(url: str | URL) -> Path | None:
    """The file that a database's URL names, if it names one."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database in IN_MEMORY:
        return None
    return Path(str(parsed.database))


def place_of(engine: Engine) -> str:
    """The database's URL without its password."""
    return engine.url.render_as_string(hide_password=True)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads: it sees one moment, and makes no writer wait."""
    options = READING if engine.dialect.name == "postgresql" else {"reads_only": True}
    with engine.connect().execution_options(**options) as db, db.begin():
        yield db


def first_due(engine: Engine, query: Select[Any]) -> datetime | None:
    """When the first of something is due, or was, as `query` selects it; None if it never is."""
    with reading(engine) as db:
        due_at: datetime | None = db.scalars(query).one()
    return due_at


def _tune_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # or the driver sends a BEGIN of its own
    for pragma in (
        "journal_mode=WAL",  # readers and the writer do not wait for each other
        "synchronous=FULL",  # a commit survives a power cut: a claim must, before its POST
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(db: Connection) -> None:
    # A transaction that reads first and writes later can fail at its first write, without waiting
    # for the other writer. So one that may write takes the write lock at its beginning.
    reads_only = db.get_execution_options().get("reads_only", False)
    db.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")


def alembic_config() -> "Config":
    """Alembic's settings; a caller adds the connection to `attributes`."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "feedwatch.store:migrations")
    return config


def _pending(db: Connection) -> str | None:
    """The newest revision, if the database has an older one or none.

    Alembic itself is imported to migrate alone: at each start that would take longer than the rest.
    """
    revisions = [path.name.partition("_")[0] for path in sorted(VERSIONS.glob("[0-9]*.py"))]
    has_table = inspect(db).has_table("alembic_version")
    current = db.scalar(text("SELECT version_num FROM alembic_version")) if has_table else None
    if current is not None and current not in revisions:
        raise StoreError(
            f"the database was written by a newer feedwatch (revision {current}); "
            "upgrade feedwatch, or put back a copy from before the upgrade"
        )
    return revisions[-1] if revisions[-1] != current else None
