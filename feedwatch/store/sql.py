"""SQL that several of the store's files share."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    Table,
    or_,
)

from feedwatch.core.schedule import DAY

HORIZON = 2 * DAY  # no episode is ever due later than this, unless the clock has been set back
CHUNK = 500  # values in one IN (…): databases bound them


def is_due(column: ColumnElement[Any], now: datetime, horizon: timedelta) -> ColumnElement[bool]:
    """Due by `now`, or further ahead than `horizon`: then the clock was set back."""
    return or_(column <= now, column > now + horizon)


def chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Parts that fit into one IN (…)."""
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]


@cache
def _names(table: Table) -> tuple[tuple[str, str], ...]:
    return tuple((column.key, column.name) for column in table.columns)


def values_of(table: Table, row: RowMapping) -> dict[str, Any]:
    """The values of a whole row by the names that statements use.

    The names of columns never change; the code's names are their keys (`schema.py`), but rows come
    back by the columns' names.
    """
    return {key: row[name] for key, name in _names(table)}


def without(values: Mapping[Any, Any], *names: str) -> dict[str, Any]:
    """The mapping without these keys."""
    return {key: value for key, value in values.items() if key not in names}
