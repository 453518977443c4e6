"""SQL that several files of the store share."""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, DateTime, Label, Table, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from feedwatch.core.schedule import DAY

HORIZON = 2 * DAY  # no due time lies further ahead, unless the clock was set back
# An import looks for the episodes of its claims, and a check for the claims of its new episodes: at
# the same time, neither would find the other's.
NEW_MEETS_CLAIMS = "new episodes meet claims"
CHUNK = 500  # values in one IN (…): databases limit their number


def is_due(
    column: ColumnElement[Any], now: datetime, horizon: timedelta = HORIZON
) -> ColumnElement[bool]:
    """Due by `now`, or further ahead than `horizon`: then the clock was set back."""
    return or_(column <= now, column > now + horizon)


def database_clock() -> ColumnElement[datetime]:
    """The clock of PostgreSQL itself, and not the beginning of the transaction."""
    return func.clock_timestamp(type_=DateTime(timezone=True))


def chunks(values: Collection[Any]) -> Iterator[list[Any]]:
    """Parts of `values` that fit into one IN (…)."""
    found = list(values)
    for start in range(0, len(found), CHUNK):
        yield found[start : start + CHUNK]


def insert_unless_there(db: Connection, table: Table, values: Mapping[str, Any]) -> None:
    """Insert a row, but where there is one with its key, which another process may just insert.

    It is looked for first: PostgreSQL's ON CONFLICT waits for whoever changes that row just then.
    """
    key = (column == values[column.name] for column in table.primary_key)
    if db.execute(select(*table.primary_key).where(*key)).first() is not None:
        return
    insert = postgresql.insert if db.dialect.name == "postgresql" else sqlite.insert
    db.execute(insert(table).values(values).on_conflict_do_nothing())


def upsert(db: Connection, table: Table, values: Mapping[str, Any]) -> None:
    """Insert a row, or give the one with its key these values."""
    insert = postgresql.insert if db.dialect.name == "postgresql" else sqlite.insert
    key = [column.name for column in table.primary_key.columns]
    db.execute(insert(table).values(values).on_conflict_do_update(index_elements=key, set_=values))


def lock_value(db: Connection, value: str, *, shared: bool = False) -> None:
    """Until this transaction ends, keep others waiting that lock this value.

    shared: but for those that share it, too. SQLite has but one transaction at a time that writes.
    """
    if db.dialect.name == "postgresql":
        lock = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
        db.execute(select(lock(func.hashtext(value))))


def columns_of(table: Table, *, but: str = "") -> list[Label[Any]]:
    """The table's columns to select, without the one named `but`, labelled by their keys.

    Rows name a column as it is stored; the label gives it the name that the code has for it.
    """
    return [column.label(column.key) for column in table.columns if column.key != but]
