"""Types of columns that the databases do not have by themselves."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, TypeDecorator

from feedwatch.core.feed import Remark, RemarkKind
from feedwatch.core.printable import is_flat


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes in and out, whatever the database does with offsets."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002, D102
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002, D102
        if not isinstance(value, datetime):
            return None
        return value.astimezone(UTC) if value.tzinfo is not None else value.replace(tzinfo=UTC)


class FlatJson(TypeDecorator[Any]):
    """JSON of an API; null where it is nested so deeply that neither we nor others can write it."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:  # noqa: D102
        read = self.impl_instance.result_processor(dialect, coltype)

        def flat(stored: Any) -> Any:
            try:
                value = read(stored) if read is not None else stored
            except RecursionError:
                return None
            return value if is_flat(value) else None

        return flat


class Remarks(TypeDecorator[tuple[Remark, ...]]):
    """Remarks, as a JSON list of kinds and details."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002, D102
        return [[one.kind.value, one.detail] for one in value] if value else None

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002, D102
        return tuple(Remark(RemarkKind(kind), detail) for kind, detail in value) if value else None
