"""Unchanged feeds: many checks that found nothing new, written in one transaction."""

import time

from feedwatch.core import redirects
from feedwatch.core.feed import Feed
from feedwatch.core.served import KeptDocument
from feedwatch.watcher.check_log import log_check
from feedwatch.watcher.context import Context

MAX_CHECKS = 100  # in one transaction
MAX_WAIT = 1.0  # seconds that the first of them waits for others


class UnchangedBatch:
    """Checks that found nothing new and are not written yet. For one thread alone."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._checks: list[tuple[Feed, Feed]] = []  # the feed before and after
        self._kept: dict[int, KeptDocument] = {}  # to be served, by the feeds' ids
        self._write_by = 0.0  # by the monotonic clock

    def __len__(self) -> int:
        return len(self._checks)

    def add(self, before: Feed, after: Feed, kept: KeptDocument | None = None) -> None:
        """Have a check written with the others."""
        if not self._checks:
            self._write_by = time.monotonic() + MAX_WAIT
        self._checks.append((before, after))
        if kept is not None:
            self._kept[after.id] = kept

    def wait(self, now: float) -> float | None:
        """Seconds until the batch is to be written at the latest; None if it is empty."""
        return max(self._write_by - now, 0.0) if self._checks else None

    def is_due(self, checks_under_way: int) -> bool:
        """Whether to write the batch now: it is old or large, or no other check can join it.

        `checks_under_way` counts the batch's own checks too.
        """
        late = time.monotonic() >= self._write_by
        return late or len(self) >= MAX_CHECKS or len(self) == checks_under_way

    def write(self) -> list[int]:
        """Write the batch, and log what has changed; returns the ids of its feeds."""
        now = self._context.clock()
        changes = {
            after.id: change
            for before, after in self._checks
            if (change := redirects.url_change(before, after, now)) is not None
        }
        self._context.store.checks.record_unchanged(self._checks, changes, self._kept)
        for before, after in self._checks:
            log_check(before, after, [])
        return self.clear()

    def clear(self) -> list[int]:
        """Forget the batch; returns the ids of its feeds, which are still due if not written."""
        ids = [after.id for _, after in self._checks]
        self._checks, self._kept = [], {}
        return ids
