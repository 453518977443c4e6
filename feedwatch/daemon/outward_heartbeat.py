"""Outward heartbeat: tells a service outside, now and then, that this daemon is healthy.

In a thread of its own, which nothing waits for: a service that does not answer delays no loop.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from feedwatch.core.health import HealthRecord, problems

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # between two looks at the health, a change of which is told at once


class OutwardHeartbeat:
    """Tells the health every `interval`, and when it changes; its own failures, once an outage."""

    def __init__(
        self, tell: Callable[[Sequence[str]], str | None], interval: Callable[[], timedelta]
    ) -> None:
        """`tell` is given what is wrong, nothing if all is well; it returns why it has failed.

        `interval` is asked for each time, since a reload may change it.
        """
        self._tell = tell
        self._interval = interval
        self._over = threading.Event()
        self._failure: str | None = None

    def start(self, health: Callable[[], HealthRecord]) -> None:
        """Tell the health from now on, once each loop has finished a round or one is ill."""
        threading.Thread(target=self._work, args=(health,), name="heartbeat", daemon=True).start()

    def stop(self) -> None:
        """Tell nothing any more: a daemon that ends in order is not ill."""
        self._over.set()

    def _work(self, health: Callable[[], HealthRecord]) -> None:
        told: bool | None = None  # whether it was healthy when we last told
        told_at = 0.0  # by the monotonic clock
        while not self._over.wait(LOOK_SECONDS if told is not None else 0.1):
            try:
                record = health()
                wrong = problems(record)
                if not wrong and any(loop.finished is None for loop in record.loops):
                    continue  # still starting
                is_due = time.monotonic() >= told_at + self._interval().total_seconds()
                if told == (not wrong) and not is_due:
                    continue
                told, told_at = not wrong, time.monotonic()
                failure = self._tell(wrong)
            except Exception as error:  # a bug here must not end the heartbeat
                log.exception("heartbeat: a bug has ended a request")
                failure = f"a bug in feedwatch: {type(error).__name__}"
            self._note(failure)

    def _note(self, failure: str | None) -> None:
        if self._over.is_set():
            return  # broken off by us
        if failure is not None and self._failure is None:
            log.warning("FEEDWATCH_HEARTBEAT_URL does not work, and is tried again: %s", failure)
        elif failure is None and self._failure is not None:
            log.info("FEEDWATCH_HEARTBEAT_URL works again")
        self._failure = failure
