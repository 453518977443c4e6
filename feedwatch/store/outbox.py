"""Outbox: events that channels have not taken yet, one row for each event and channel.

A row is written in the transaction that makes the event true, and deleted once the channel has
taken it. So an event that did not happen is never sent, and one that did is not lost; after a crash
in between, it is sent again under the same id.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, delete, func, insert, select, update

from feedwatch.core.alert import Alert, AlertKey, Undelivered
from feedwatch.core.events import Change, Event, from_json, to_json
from feedwatch.store.database import first_due, reading
from feedwatch.store.schema import alerts, outbox
from feedwatch.store.sql import columns_of, is_due


@dataclass(frozen=True, kw_only=True)
class OutboxEntry:
    """One event for one channel, not delivered yet."""

    id: int
    channel: str
    event: Event
    attempts: int
    error: str | None  # why the last attempt failed


class Outbox:
    """Events to deliver, and the alerts that were sent. Each public method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._channels: Sequence[str] = ()

    def put_for(self, channels: Sequence[str]) -> None:
        """Keep each event for these channels from now on; without any, no event is kept.

        Each process does that before it writes anything: whoever makes an episode ready, be it a
        verb or a daemon that has just been elected, puts its event here.
        """
        self._channels = channels

    def open(self, channels: Sequence[str]) -> int:
        """Deliver by these channels from now on, as the one that leads.

        Events for other channels, which the config no longer has, are dropped; returns how many.
        """
        self.put_for(channels)
        stale = outbox.c.channel.not_in(channels)
        with reading(self._engine) as db:
            dropped = db.scalars(select(func.count()).select_from(outbox).where(stale)).one()
            forget = not channels and db.execute(select(alerts.c.key)).first() is not None
        if dropped or forget:
            with self._engine.begin() as db:
                db.execute(delete(outbox).where(stale))
                if forget:  # or they would keep a later trouble from being announced
                    db.execute(delete(alerts))
        return dropped

    def put(self, db: Connection, event: Event, now: datetime) -> None:
        """Have `event` delivered by every channel, if the caller's transaction commits."""
        rows = [
            {
                "channel": channel,
                "event_id": event.id,
                "body": to_json(event),
                "at": now,
                "due_at": now,
                "attempts": 0,
            }
            for channel in self._channels
        ]
        if rows:
            db.execute(insert(outbox), rows)

    def due(self, channel: str, now: datetime) -> OutboxEntry | None:
        """The event that a channel is to deliver next: the oldest that is due, or None."""
        query = (
            select(outbox)
            .where(outbox.c.channel == channel, is_due(outbox.c.due_at, now))
            .order_by(outbox.c.id)
            .limit(1)
        )
        with reading(self._engine) as db:
            row = db.execute(query).one_or_none()
        return _entry(row) if row is not None else None

    def next_due(self) -> datetime | None:
        """When the first event is due, or was; None if there is none."""
        return first_due(self._engine, select(func.min(outbox.c.due_at)))

    def oldest(self, channel: str) -> OutboxEntry | None:
        """The oldest event that a channel has not taken, due or not."""
        query = select(outbox).where(outbox.c.channel == channel).order_by(outbox.c.id).limit(1)
        with reading(self._engine) as db:
            row = db.execute(query).one_or_none()
        return _entry(row) if row is not None else None

    def make_due(self, channel: str, now: datetime) -> None:
        """All that a channel has not taken is due: it works again."""
        late = (outbox.c.channel == channel) & (outbox.c.due_at > now)
        with self._engine.begin() as db:
            db.execute(update(outbox).where(late).values(due_at=now))

    def delivered(self, entry: OutboxEntry) -> None:
        """Delete what the channel has taken."""
        with self._engine.begin() as db:
            db.execute(delete(outbox).where(_is(entry)))

    def put_off(self, entry: OutboxEntry, due_at: datetime, error: str) -> None:
        """Try again at `due_at`: the channel has not taken it, for the reason `error`."""
        values = {"due_at": due_at, "attempts": entry.attempts + 1, "error": error}
        with self._engine.begin() as db:
            db.execute(update(outbox).where(_is(entry)).values(values))

    def drop_before(self, moment: datetime) -> list[OutboxEntry]:
        """Delete what has waited since before `moment`, and return it."""
        is_old = outbox.c.at < moment
        with reading(self._engine) as db:
            rows = db.execute(select(outbox).where(is_old)).all()
        if rows:
            with self._engine.begin() as db:
                db.execute(delete(outbox).where(is_old))
        return [_entry(row) for row in rows]

    def stuck(self) -> list[Undelivered]:
        """Channels that have failed to deliver an event which still waits."""
        query = (
            select(outbox.c.channel, func.count().label("events"), func.max(outbox.c.error))
            .group_by(outbox.c.channel)
            .having(func.max(outbox.c.attempts) > 0)
            .order_by(outbox.c.channel)
        )
        with reading(self._engine) as db:
            return [
                Undelivered(channel=channel, events=number, error=error)
                for channel, number, error in db.execute(query)
            ]

    def alerts(self) -> Mapping[AlertKey, Alert]:
        """The alerts whose troubles are not over, by key."""
        with reading(self._engine) as db:
            rows = db.execute(select(*columns_of(alerts))).mappings()
            found = [Alert(**{**row, "key": AlertKey.parse(row["key"])}) for row in rows]
        return {alert.key: alert for alert in found}

    def record(self, changes: Collection[Change], now: datetime) -> None:
        """Write changes of alerts down and put their events into the outbox, in one transaction."""
        if not changes:
            return
        with self._engine.begin() as db:
            for change in changes:
                key = str(change.alert.key)
                db.execute(delete(alerts).where(alerts.c.key == key))
                if not change.over:
                    db.execute(insert(alerts).values(asdict(change.alert) | {"key": key}))
                if change.event is not None:
                    self.put(db, change.event, now)


def _is(entry: OutboxEntry) -> ColumnElement[bool]:
    """Its row; SQLite may give the id of one that was dropped meanwhile to another event."""
    return (outbox.c.id == entry.id) & (outbox.c.event_id == entry.event.id)


def _entry(row: Row[Any]) -> OutboxEntry:
    return OutboxEntry(
        id=row.id,
        channel=row.channel,
        event=from_json(row.body),
        attempts=row.attempts,
        error=row.error,
    )
