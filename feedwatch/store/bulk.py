"""Many rows into a table at once, at the driver's own speed.

SQLAlchemy makes a dictionary and calls a function for each value of each row. A first check may
bring thousands of rows, so here its statement and its types are taken, and nothing else.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Dialect, Table, insert


def insert_many(
    db: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert rows whose values are in the order of `columns`."""
    if not rows:
        return
    if not db.dialect.positional:  # a driver that wants names
        db.execute(insert(table), [dict(zip(columns, row, strict=True)) for row in rows])
        return
    statement, processors = _prepared(table, tuple(columns), db.dialect)
    if processors:
        rows = [_processed(row, processors) for row in rows]
    db.exec_driver_sql(statement, rows)


def _processed(row: tuple[Any, ...], processors: Sequence[tuple[int, Any]]) -> tuple[Any, ...]:
    values = list(row)
    for place, process in processors:
        value = values[place]
        if value is not None:
            values[place] = process(value)
    return tuple(values)


@lru_cache(16)
def _prepared(
    table: Table, columns: tuple[str, ...], dialect: Dialect
) -> tuple[str, list[tuple[int, Any]]]:
    """The statement, and for the places whose values the driver does not take, what makes them."""
    compiled = insert(table).compile(dialect=dialect, column_keys=list(columns))
    order = compiled.positiontup or []
    if list(order) != list(columns):
        raise ValueError(f"{table.name}: {columns} are not in the table's order")
    found = (
        (place, table.c[name].type.dialect_impl(dialect).bind_processor(dialect))
        for place, name in enumerate(columns)
    )
    return str(compiled), [(place, process) for place, process in found if process is not None]
