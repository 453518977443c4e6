"""The loop `alerts`: notice troubles, and deliver the events in the outbox by every channel."""

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from feedwatch.core.alert import Alert, AlertKey, Trouble
from feedwatch.core.schedule import backoff
from feedwatch.net.client import Cancellation
from feedwatch.notify import Channel
from feedwatch.notify.alert_rules import (
    ANNOUNCED_AFTER,
    FAILED_FOR,
    current_troubles,
    transitions,
)
from feedwatch.store.outbox import OutboxEntry
from feedwatch.watcher.context import Context
from feedwatch.watcher.idle import Idleness
from feedwatch.watcher.worker_pool import WorkerPool

log = logging.getLogger(__name__)

TROUBLES_EVERY = timedelta(seconds=2)  # a refused key is told within five, as users are promised
FIRST_RETRY = timedelta(seconds=10)
RETRY_AT_LEAST_EVERY = timedelta(hours=1)  # of one event
TRY_AT_LEAST_EVERY = timedelta(minutes=5)  # of a channel that fails, whichever event is due
GIVEN_UP_AFTER = timedelta(days=3)
STOP_SECONDS = 1.0  # what a delivery under way may still take when the daemon ends


@dataclass
class _ChannelHealth:
    """A channel, and whether it works at present."""

    channel: Channel
    failures: int = 0  # in a row, of whichever event
    failure: str | None = None  # the last one
    retry_at: datetime | None = None
    failed: set[int] = field(default_factory=set)  # the events that failed in this row

    @property
    def is_down(self) -> bool:
        """Whether the channel itself fails: more than one event has, since it last took one."""
        return len(self.failed) > 1

    def is_backing_off(self, now: datetime) -> bool:
        """Whether it is too early to retry. A time too far ahead is a clock's error."""
        return self.retry_at is not None and now < self.retry_at <= now + 2 * TRY_AT_LEAST_EVERY


class Alerts:
    """Delivers the events in the outbox, one event a channel at a time."""

    def __init__(
        self, context: Context, channels: Sequence[Channel], cancellation: Cancellation
    ) -> None:
        """`cancellation` is what breaks off the channels' requests once the daemon stops."""
        self._context = context
        self._cancellation = cancellation
        self._channels = [_ChannelHealth(channel) for channel in channels]
        self._deliveries: WorkerPool[OutboxEntry, str | None] = WorkerPool(
            max(len(channels), 1), "notify"
        )
        self._idle = Idleness(context)
        self._troubles_at: datetime | None = None  # when they were last looked for
        self._first_seen: dict[AlertKey, float] = {}  # of the troubles that there were then

    def tick(self) -> bool:
        """Record the deliveries that have ended, look for troubles, and start what is due."""
        for entry, delivery in self._deliveries.finished():
            self._record(entry, delivery)
        if self._context.stopping.is_set() or not self._channels or self._context.term() is None:
            return True
        if self._idle.lasts():
            return True
        now, store, is_calm = self._context.clock(), self._context.store, False
        if self._troubles_at is None or not timedelta() <= now - self._troubles_at < TROUBLES_EVERY:
            current = current_troubles(
                store.feeds.in_trouble(),
                store.breakers.of(self._context.plan.processors),
                store.statistics.waiting(now - FAILED_FOR),
                store.statistics.lost_podcasts(),
                store.heartbeats.daemons(),
            )
            alerts = store.outbox.alerts()
            lasting = self._lasting(current, alerts)
            store.outbox.record(list(transitions(lasting, alerts, now)), now)
            for entry in store.outbox.drop_before(now - GIVEN_UP_AFTER):
                log.error(
                    "given up after %d days: %s could not be delivered via %s: %s",
                    *(GIVEN_UP_AFTER.days, entry.event.text, entry.channel, entry.error),
                )
            self._troubles_at = now
            is_calm = len(lasting) == len(current)
        due = self._due(now)
        fails = any(health.failures for health in self._channels)
        if is_calm and not due and not fails and not self._deliveries.ids:
            self._idle.begin(store.outbox.next_due)
        for number, entry in due.items():
            self._deliveries.start(
                number, entry, lambda one: self._health_of(one).channel.deliver(one.event)
            )
        return True

    def _lasting(
        self, current: Sequence[Trouble], alerts: Mapping[AlertKey, Alert]
    ) -> list[Trouble]:
        """The troubles that are announced already, or have lasted as long as their kind must."""
        now = time.monotonic()
        self._first_seen = {one.key: self._first_seen.get(one.key, now) for one in current}
        return [
            one
            for one in current
            if one.key in alerts
            or now - self._first_seen[one.key] >= ANNOUNCED_AFTER.get(one.kind, 0.0)
        ]

    def is_idle(self) -> bool:
        """Whether nothing is under way and nothing is due."""
        return not self._deliveries.ids and not self._due(self._context.clock())

    def close(self) -> None:
        """End the deliveries under way: the next process repeats those that are broken off."""
        self._cancellation.stop_in(STOP_SECONDS)
        self._deliveries.close()

    def _due(self, now: datetime) -> dict[int, OutboxEntry]:
        """The next event of each channel that is free, by the channel's place."""
        due = {}
        for number, health in enumerate(self._channels):
            if number not in self._deliveries.ids and not health.is_backing_off(now):
                outbox, name = self._context.store.outbox, health.channel.name
                # A channel that was down gets its events in their order.
                entry = outbox.oldest(name) if health.is_down else outbox.due(name, now)
                if entry is not None:
                    due[number] = entry
        return due

    def _health_of(self, entry: OutboxEntry) -> _ChannelHealth:
        return next(one for one in self._channels if one.channel.name == entry.channel)

    def _record(self, entry: OutboxEntry, delivery: Future[str | None]) -> None:
        """Record a delivery; one that has failed is due again after a backoff."""
        try:
            failure = delivery.result()
        except Exception as error:  # a bug in one channel must not stop the others, nor spin
            log.exception("notifications: a bug has ended a delivery via %s", entry.channel)
            failure = f"a bug in feedwatch: {type(error).__name__}"
        outbox, now = self._context.store.outbox, self._context.clock()
        health = self._health_of(entry)
        if failure is None:
            if health.failures:
                log.info("notifications via %s work again", entry.channel)
            was_down = health.is_down
            health.failures, health.failure, health.retry_at = 0, None, None
            health.failed.clear()
            outbox.delivered(entry)
            if was_down:
                outbox.make_due(entry.channel, now)
            return
        if self._context.stopping.is_set():
            return  # broken off by us
        if failure not in (health.failure, entry.error):  # once an outage, and once an event
            log.warning(
                "%s was not delivered via %s, which is retried for %d days: %s",
                *(entry.event.type, entry.channel, GIVEN_UP_AFTER.days, failure),
            )
        health.failures, health.failure = health.failures + 1, failure
        health.failed.add(entry.id)
        health.retry_at = now + backoff(
            health.failures, first=FIRST_RETRY, most=TRY_AT_LEAST_EVERY, key=entry.channel
        )
        wait = backoff(
            entry.attempts + 1,
            first=FIRST_RETRY,
            most=RETRY_AT_LEAST_EVERY,
            key=f"{entry.channel} {entry.id}",
        )
        outbox.put_off(entry, now + wait, failure)
