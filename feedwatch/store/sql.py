"""SQL that several files of the store share."""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Label, Table, or_

from feedwatch.core.schedule import DAY

HORIZON = 2 * DAY  # no due time lies further ahead, unless the clock was set back
CHUNK = 500  # values in one IN (…): databases limit their number


def is_due(
    column: ColumnElement[Any], now: datetime, horizon: timedelta = HORIZON
) -> ColumnElement[bool]:
    """Due by `now`, or further ahead than `horizon`: then the clock was set back."""
    return or_(column <= now, column > now + horizon)


def chunks(values: Collection[Any]) -> Iterator[list[Any]]:
    """Parts of `values` that fit into one IN (…)."""
    found = list(values)
    for start in range(0, len(found), CHUNK):
        yield found[start : start + CHUNK]


def columns_of(table: Table, *, but: str = "") -> list[Label[Any]]:
    """The table's columns to select, without the one named `but`, labelled by their keys.

    Rows name a column as it is stored; the label gives it the name that the code has for it.
    """
    return [column.label(column.key) for column in table.columns if column.key != but]
