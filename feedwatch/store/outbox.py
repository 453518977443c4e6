"""What is to be announced, until it has been: one row for each event and channel.

A row is written in the transaction of what it tells of, and deleted once the channel has taken it.
So nothing is told that did not happen, and nothing that happened goes untold; a crash in between
tells it again, under the same id.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from feedwatch.core.alert import Alert, Undelivered
from feedwatch.core.events import Change, Event, from_json, to_json
from feedwatch.store.database import reading
from feedwatch.store.schema import alerts, outbox
from feedwatch.store.sql import values_of

HORIZON = timedelta(days=2)  # no row is ever due later than this, unless the clock was set back


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """An event on its way through one channel."""

    id: int
    channel: str
    event: Event
    attempts: int
    error: str | None  # why the last attempt failed


class Outbox:
    """The events that are under way, and the troubles that were told."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._channels: Sequence[str] = ()

    def open(self, channels: Sequence[str]) -> int:
        """Announce by these channels from now on; without any, nothing is kept.

        What was meant for another one, which the config no longer has, is dropped: returns how much
        that was.
        """
        self._channels = channels
        stale = outbox.c.channel.not_in(channels)
        with reading(self._engine) as db:
            dropped = db.scalars(select(func.count()).select_from(outbox).where(stale)).one()
            told = not channels and db.execute(select(alerts.c.key)).first() is not None
        if dropped or told:
            with self._engine.begin() as db:
                db.execute(delete(outbox).where(stale))
                if told:  # or they would keep a later outage from being announced
                    db.execute(delete(alerts))
        return dropped

    def put(self, db: Connection, event: Event, now: datetime) -> None:
        """Have `event` announced, if the caller's transaction succeeds."""
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

    def due(self, channel: str, now: datetime) -> Parcel | None:
        """What is to go through a channel next: of what is due, the longest due."""
        query = (
            select(outbox)
            .where(
                outbox.c.channel == channel,
                or_(outbox.c.due_at <= now, outbox.c.due_at > now + HORIZON),
            )
            .order_by(outbox.c.due_at, outbox.c.id)
            .limit(1)
        )
        with reading(self._engine) as db:
            row = db.execute(query).one_or_none()
        return _parcel(row) if row is not None else None

    def delivered(self, parcel: Parcel) -> None:
        """The channel has taken it."""
        with self._engine.begin() as db:
            db.execute(delete(outbox).where(_is(parcel)))

    def put_off(self, parcel: Parcel, due_at: datetime, error: str) -> None:
        """The channel has not taken it."""
        values = {"due_at": due_at, "attempts": parcel.attempts + 1, "error": error}
        with self._engine.begin() as db:
            db.execute(update(outbox).where(_is(parcel)).values(values))

    def drop_before(self, moment: datetime) -> list[Parcel]:
        """Give up what has been under way since before `moment`, and return it."""
        query = select(outbox).where(outbox.c.at < moment)
        with reading(self._engine) as db:
            rows = db.execute(query).all()
        if rows:
            with self._engine.begin() as db:
                db.execute(delete(outbox).where(outbox.c.at < moment))
        return [_parcel(row) for row in rows]

    def stuck(self) -> list[Undelivered]:
        """What waits for a channel that has failed at least once."""
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

    def alerts(self) -> Mapping[str, Alert]:
        """The troubles that were told and are not over, by key."""
        with reading(self._engine) as db:
            return {
                row["key"]: Alert(**values_of(alerts, row))
                for row in db.execute(select(alerts)).mappings()
            }

    def record(self, changes: Collection[Change], now: datetime) -> None:
        """Write down what becomes of alerts, and have it announced, in one transaction."""
        if not changes:
            return
        with self._engine.begin() as db:
            for change in changes:
                db.execute(delete(alerts).where(alerts.c.key == change.alert.key))
                if not change.over:
                    db.execute(insert(alerts).values(asdict(change.alert)))
                if change.event is not None:
                    self.put(db, change.event, now)


def _is(parcel: Parcel) -> ColumnElement[bool]:
    """Its row; SQLite may give the id of one that was dropped meanwhile to another event."""
    return and_(outbox.c.id == parcel.id, outbox.c.event_id == parcel.event.id)


def _parcel(row: Row[Any]) -> Parcel:
    return Parcel(
        id=row.id,
        channel=row.channel,
        event=from_json(row.body),
        attempts=row.attempts,
        error=row.error,
    )
