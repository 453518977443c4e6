"""Opening the database: what each dialect needs, migrations, and a backup before them."""

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, inspect
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.pool import StaticPool

from feedwatch.store.errors import StoreError

log = logging.getLogger(__name__)

BUSY_SECONDS = 10  # how long a write waits for another process's write
MEND = {
    "disk is full": "make room; nothing is submitted until it can be written down",
    "locked": "another program keeps it locked; end that program",
    "readonly": "give this user the right to write the file and its folder",
    "not a database": "FEEDWATCH_DATABASE_URL names a file of something else",
    "unable to open": "see that the folder exists and that this user may write in it",
    "disk I/O error": "the disk is full or broken; nothing is submitted until it works",
}


def connect(url: str) -> Engine:
    """An engine for `url`. Raises `StoreError` where the URL is wrong or its driver is missing."""
    try:
        engine = _tuned(make_url(url))
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise StoreError(f"FEEDWATCH_DATABASE_URL is not usable: {error}") from error
    except ModuleNotFoundError as error:
        raise StoreError(
            f"FEEDWATCH_DATABASE_URL needs the package {error.name!r}; install it beside feedwatch"
        ) from error
    event.listen(engine, "handle_error", _in_words)
    return engine


def _in_words(context: ExceptionContext) -> None:
    """Make a `StoreError` of what the database complains of; our own mistakes stay as they are."""
    trouble = context.sqlalchemy_exception
    # Its other subclasses are broken rules of ours, such as a key that is there already.
    if not (isinstance(trouble, OperationalError) or type(trouble) is DatabaseError):
        return
    if context.engine is None:
        return
    place = context.engine.url.render_as_string(hide_password=True)
    said = str(context.original_exception)
    mend = next((mend for sign, mend in MEND.items() if sign in said), "see what it says")
    raise StoreError(f"the database {place} does not work: {said}; {mend}") from trouble


def exists(engine: Engine) -> bool:
    """Whether there is a database of ours: a look must not make one."""
    path = sqlite_file(engine)
    if path is not None and not path.exists():
        return False
    with reading(engine) as db:
        return inspect(db).has_table("alembic_version")


def upgrade(engine: Engine) -> None:
    """Bring the tables up to date; an SQLite file that has any is copied first.

    Raises `StoreError` if the file cannot be opened or was written by a newer feedwatch.
    """
    try:
        with engine.connect() as db:
            pending = _pending(db)
            has_tables = bool(inspect(db).get_table_names())
        if pending is None:
            return
        if has_tables:
            _back_up(engine)
        log.info("database: migrating to revision %s", pending)
        with engine.begin() as db:
            config = _migrations()
            config.attributes["connection"] = db
            command.upgrade(config, "head")
    except SQLAlchemyError as error:
        place = engine.url.render_as_string(hide_password=True)
        why = getattr(error, "orig", None) or error
        raise StoreError(f"the database {place} cannot be opened: {why}") from error


def require_current(engine: Engine) -> None:
    """Raise `StoreError` unless the tables are just those of this version."""
    with reading(engine) as db:
        pending = _pending(db)
    if pending is not None:
        raise StoreError(
            "the database was written by an older feedwatch; "
            "start `feedwatch run` once, which brings it up to date"
        )


def sqlite_file(engine: Engine) -> Path | None:
    """The database's file, if it is one."""
    if engine.dialect.name != "sqlite" or engine.url.database in (None, "", ":memory:"):
        return None
    return Path(str(engine.url.database))


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads: it sees one moment, and keeps no writer waiting."""
    with engine.connect().execution_options(reads_only=True) as db, db.begin():
        yield db


def _tuned(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    if url.database in (None, "", ":memory:"):
        engine = create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False})
    else:
        engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _tune_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _tune_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see below
    for pragma in (
        "journal_mode=WAL",  # readers and the writer do not wait for each other
        "synchronous=FULL",  # a commit survives a power cut: "submitting" must, before the POST
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(db: Connection) -> None:
    # A transaction that reads first and writes later can fail at its first write, past any waiting.
    # So what may write says so at its beginning.
    reads_only = db.get_execution_options().get("reads_only", False)
    db.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")


def _migrations() -> Config:
    config = Config()
    config.set_main_option("script_location", "feedwatch.store:migrations")
    return config


def _pending(db: Connection) -> str | None:
    """The newest revision, if the database is not there yet."""
    scripts = ScriptDirectory.from_config(_migrations())
    current = MigrationContext.configure(db).get_current_revision()
    if current is not None and current not in {
        known.revision for known in scripts.walk_revisions()
    }:
        raise StoreError(
            f"the database was written by a newer feedwatch (revision {current}); "
            "upgrade feedwatch, or put back the copy that was made before the upgrade"
        )
    head = scripts.get_current_head()
    return head if head != current else None


def _back_up(engine: Engine) -> None:
    path = sqlite_file(engine)
    if path is None:
        return
    copy = path.with_name(f"{path.name}.before-upgrade-{datetime.now(UTC):%Y%m%dT%H%M%S}.bak")
    with closing(engine.raw_connection()) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
    log.info("database: copied to %s before the upgrade", copy)
