"""Idleness: a loop that found nothing to do looks again once that may have changed."""

from collections.abc import Callable
from datetime import datetime, timedelta

from feedwatch.watcher.context import Context, Plan

AT_MOST = timedelta(seconds=30)  # and so often it looks, whoever has written or not


class Idleness:
    """The idleness of one loop, which goes round every second all the same.

    It lasts while nobody has written to the database, the plan is the same and nothing is due. With
    PostgreSQL, which tells nobody of that by so little, it never begins.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._version: int | None = None  # of the database, before the last round read it
        self._plan: Plan | None = None
        self._began_at = self._until = datetime.min.replace(tzinfo=context.clock().tzinfo)

    def lasts(self) -> bool:
        """Whether another round would find what the last one did; if not, that round begins."""
        version, plan, now = (
            self._context.store.changes.version(),
            self._context.plan,
            self._context.clock(),
        )
        is_same = version is not None and version == self._version and plan is self._plan
        if is_same and self._began_at <= now < self._until:
            return True
        self._version, self._plan, self._until = version, plan, self._began_at
        return False

    def begin(self, next_due: Callable[[], datetime | None]) -> None:
        """The round that began by `lasts` has found nothing to do before that time, if ever."""
        if self._version is None:
            return
        due_at, self._began_at = next_due(), self._context.clock()
        latest = self._began_at + AT_MOST
        self._until = min(due_at, latest) if due_at is not None else latest
