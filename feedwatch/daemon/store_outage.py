"""A database that fails, as one loop meets it."""

import logging
import time
from datetime import timedelta

from feedwatch.core.schedule import backoff
from feedwatch.store.errors import StoreError

log = logging.getLogger(__name__)


class StoreOutage:
    """A database that fails: logged when it begins, changes and ends, and retried with backoff."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.error = ""
        self._failures = 0  # in a row
        self._retry_at = 0.0  # by the monotonic clock

    def backs_off(self) -> bool:
        """Whether it is too early for another attempt."""
        return time.monotonic() < self._retry_at

    def failed(self, error: StoreError, first: timedelta, most: timedelta) -> None:
        """An attempt has failed; the wait for the next one grows from `first` to `most`."""
        if self.error != str(error):
            log.error("%s stand still: %s", self._name, error)
        self.error = str(error)
        self._failures += 1
        wait = backoff(self._failures, first=first, most=most, key=self._name)
        self._retry_at = time.monotonic() + wait.total_seconds()

    def retry(self) -> None:
        """Make the next attempt at once."""
        self._retry_at = 0.0

    def end(self) -> None:
        """An attempt has succeeded."""
        if self.error:
            log.info("%s go on: the database works again", self._name)
        self.error, self._failures = "", 0
