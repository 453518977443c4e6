"""The fourth duty: tell people and programs what has happened, through every channel."""

import logging
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta

from feedwatch.core.schedule import backoff
from feedwatch.net.client import Cancellation
from feedwatch.notify import Channel
from feedwatch.notify.alert_rules import FAILED_FOR, current_troubles, transitions
from feedwatch.store.outbox import Parcel
from feedwatch.watcher.context import Context
from feedwatch.watcher.worker_pool import WorkerPool

log = logging.getLogger(__name__)

LOOK_EVERY = timedelta(seconds=5)  # for troubles
FIRST_RETRY = timedelta(seconds=10)
RETRY_AT_LEAST_EVERY = timedelta(hours=1)  # of one event
TRY_AT_LEAST_EVERY = timedelta(minutes=5)  # of a channel that fails, whatever is under way
GIVEN_UP_AFTER = timedelta(days=3)
STOP_SECONDS = 1.0  # what a delivery under way may still take when the daemon ends


@dataclass
class _Line:
    """A channel, and whether it works at present."""

    channel: Channel
    failures: int = 0  # in a row, of whatever event
    failure: str | None = None  # the last one
    rests_until: datetime | None = None

    def rests(self, now: datetime) -> bool:
        """Whether it is too early to try. A time too far ahead is a clock's error."""
        return self.rests_until is not None and (
            now < self.rests_until <= now + 2 * TRY_AT_LEAST_EVERY
        )


class Alerts:
    """Notices troubles, and delivers what is in the outbox: one event a channel at a time."""

    def __init__(
        self, context: Context, channels: Sequence[Channel], cancellation: Cancellation
    ) -> None:
        """`brake` is what bounds the channels once the daemon is to stop."""
        self._context = context
        self._brake = cancellation
        self._lines = [_Line(channel) for channel in channels]
        self._deliveries: WorkerPool[Parcel, str | None] = WorkerPool(
            max(len(channels), 1), "notify"
        )
        self._looked_at: datetime | None = None

    def tick(self) -> bool:
        """Write down what the deliveries gave that have ended, and begin those that are due."""
        for parcel, future in self._deliveries.finished():
            self._conclude(parcel, future)
        if self._context.stopping.is_set() or not self._lines:
            return True
        now = self._context.clock()
        if self._looked_at is None or not timedelta() <= now - self._looked_at < LOOK_EVERY:
            self._look(now)
            self._looked_at = now
        for number, parcel in self._due(now).items():
            self._deliveries.start(number, parcel, self._deliver)
        return True

    def is_idle(self) -> bool:
        """Whether nothing is under way and nothing is due."""
        return not self._deliveries.ids and not self._due(self._context.clock())

    def close(self) -> None:
        """End the deliveries that are under way: what is broken off now is told by the next one."""
        self._brake.stop_in(STOP_SECONDS)
        self._deliveries.close()

    def _look(self, now: datetime) -> None:
        """Put into the outbox what is news, and give up what is too old."""
        store = self._context.store
        current = current_troubles(
            store.feeds.failing_or_silent(),
            store.breakers.get(self._context.processor.name),
            store.statistics.waiting(now - FAILED_FOR),
        )
        store.outbox.record(list(transitions(current, store.outbox.alerts(), now)), now)
        for parcel in store.outbox.drop_before(now - GIVEN_UP_AFTER):
            log.error(
                "given up after %d days: %s could not be told by %s: %s",
                *(GIVEN_UP_AFTER.days, parcel.event.text, parcel.channel, parcel.error),
            )

    def _due(self, now: datetime) -> dict[int, Parcel]:
        """What each channel that is free can be given, by the channel's place."""
        due = {}
        for number, line in enumerate(self._lines):
            if number not in self._deliveries.ids and not line.rests(now):
                parcel = self._context.store.outbox.due(line.channel.name, now)
                if parcel is not None:
                    due[number] = parcel
        return due

    def _line_of(self, parcel: Parcel) -> _Line:
        return next(line for line in self._lines if line.channel.name == parcel.channel)

    def _deliver(self, parcel: Parcel) -> str | None:
        return self._line_of(parcel).channel.deliver(parcel.event)

    def _conclude(self, parcel: Parcel, future: Future[str | None]) -> None:
        """The one broad `except` of this duty: a bad channel must not stop the others, nor spin."""
        try:
            failure = future.result()
        except Exception as error:
            log.exception("%s failed in a way that was not foreseen", parcel.channel)
            failure = f"a fault of feedwatch's own: {type(error).__name__}"
        if failure is None:
            self._delivered(parcel)
        elif not self._context.stopping.is_set():  # else it was broken off by us
            self._put_off(parcel, failure)

    def _delivered(self, parcel: Parcel) -> None:
        line = self._line_of(parcel)
        if line.failures:
            log.info("notifications by %s work again", parcel.channel)
        line.failures, line.failure, line.rests_until = 0, None, None
        self._context.store.outbox.delivered(parcel)

    def _put_off(self, parcel: Parcel, failure: str) -> None:
        line, now = self._line_of(parcel), self._context.clock()
        if failure not in (line.failure, parcel.error):  # once an outage, and once an event
            log.warning(
                "%s was not told by %s, it is tried again for %d days: %s",
                *(parcel.event.type, parcel.channel, GIVEN_UP_AFTER.days, failure),
            )
        line.failures, line.failure = line.failures + 1, failure
        line.rests_until = now + backoff(
            line.failures, first=FIRST_RETRY, most=TRY_AT_LEAST_EVERY, key=parcel.channel
        )
        wait = backoff(
            parcel.attempts + 1,
            first=FIRST_RETRY,
            most=RETRY_AT_LEAST_EVERY,
            key=f"{parcel.channel} {parcel.id}",
        )
        self._context.store.outbox.put_off(parcel, now + wait, failure)
