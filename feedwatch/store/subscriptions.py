"""Subscriptions to hubs, and the hubs that feeds name."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Engine, Select, delete, insert, select, update

from feedwatch.core.websub import Mode, Subscription, Topic
from feedwatch.store.database import reading
from feedwatch.store.schema import feeds, subscriptions


class SubscriptionStore:
    """Subscriptions of feeds. Each public method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def topics(self) -> dict[int, Topic]:
        """What the feeds of the config name, by their ids."""
        columns = (feeds.c.id, feeds.c.name, feeds.c.hub, feeds.c.hub_topic, feeds.c.hub_scope)
        query = select(*columns).where(feeds.c.hub.is_not(None), feeds.c.active)
        with reading(self._engine) as db:
            return {
                number: Topic(feed=name, hub=hub, url=topic, scope=scope)
                for number, name, hub, topic, scope in db.execute(query)
            }

    def all(self) -> list[Subscription]:
        """All of them, the oldest first."""
        return self._found(select(subscriptions).order_by(subscriptions.c.id))

    def by_feed(self) -> dict[int, Subscription]:
        """That of each feed, by its id; of two, the one that pushes or is the older."""
        found: dict[int, Subscription] = {}
        for one in self.all():
            before = found.get(one.feed_id)
            if before is None or (before.lease_until is None and one.lease_until is not None):
                found[one.feed_id] = one
        return found

    def find(self, token: str) -> Subscription | None:
        """The one with this part of its callback."""
        query = select(subscriptions).where(subscriptions.c.token == token)
        return next(iter(self._found(query)), None)

    def feed_of(self, one: Subscription) -> str | None:
        """The name of its feed."""
        with reading(self._engine) as db:
            return db.scalars(select(feeds.c.name).where(feeds.c.id == one.feed_id)).one_or_none()

    def add(self, one: Subscription) -> Subscription:
        """Add one; returns it with its id."""
        with self._engine.begin() as db:
            done = db.execute(insert(subscriptions).values(_row(one)))
        return replace(one, id=done.inserted_primary_key[0])  # type: ignore[index]

    def save(self, before: Subscription, after: Subscription) -> Subscription | None:
        """Write a change; None if it was changed by something else since `before` was read."""
        saved = replace(after, version=before.version + 1)
        row = (subscriptions.c.id == before.id) & (subscriptions.c.version == before.version)
        with self._engine.begin() as db:
            done = db.execute(update(subscriptions).where(row).values(_row(saved)))
        return saved if done.rowcount == 1 else None

    def drop(self, one: Subscription) -> None:
        """Forget one."""
        with self._engine.begin() as db:
            db.execute(delete(subscriptions).where(subscriptions.c.id == one.id))

    def _found(self, query: Select[Any]) -> list[Subscription]:
        with reading(self._engine) as db:
            return [_subscription(**row) for row in db.execute(query).mappings()]


def _row(one: Subscription) -> dict[str, Any]:
    return {key: value for key, value in vars(one).items() if key != "id"}


def _subscription(*, pending: str | None, **values: Any) -> Subscription:
    return Subscription(pending=Mode(pending) if pending is not None else None, **values)
