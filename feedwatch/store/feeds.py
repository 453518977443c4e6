"""Feeds: what is remembered of each feed, and when it is due."""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Engine,
    RowMapping,
    bindparam,
    func,
    insert,
    or_,
    select,
    update,
)

from feedwatch.core.feed import ErrorKind, Feed, UrlChange
from feedwatch.core.settings import FeedConfig
from feedwatch.store.database import reading
from feedwatch.store.schema import (
    departures,
    feeds,
)
from feedwatch.store.sql import chunks, is_due, values_of, without

# What was learned at a feed's address, and is forgotten when the config has another one.
OF_ADDRESS = (
    "etag",
    "last_modified",
    "last_full_fetch_at",
    "body_hash",
    "feed_ttl",
    "http_max_age",
    "skip_hours",
    "skip_days",
    "moved_to",
    "moved_since",
    "moved_seen",
    "moved_url",
    "url_scope",
)
_FEED = select(feeds).where(feeds.c.id == bindparam("of_id"))


class Due(NamedTuple):
    """A feed that is to be checked."""

    id: int
    name: str
    url: str  # where it is asked for


_SYNCED = select(
    feeds.c.id,
    feeds.c.name,
    feeds.c.url,
    feeds.c.moved_url.label("moved_url"),
    feeds.c.active,
    feeds.c.due_at,
)


class FeedStore:
    """Feeds, by name and id. Each public method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def sync(self, sources: Collection[FeedConfig], due_at: Mapping[str, datetime]) -> None:
        """Take over the config's feeds. What is no longer in it keeps its memory and rests.

        A feed is its name: one whose URL has changed is the same feed, and its validators, which
        were another server's, are forgotten.
        """
        with self._engine.begin() as db:
            rows = {row.name: row for row in db.execute(_SYNCED)}
            urls = {row.url for row in rows.values()}
            new, changed = [], []
            for source in sources:
                row = rows.get(source.name)
                if row is None:
                    # A feed with another name now: what it held may have been paid for already.
                    doubted = due_at[source.name] if source.url in urls else None
                    feed = Feed(
                        name=source.name,
                        url=source.url,
                        due_at=due_at[source.name],
                        hold_if_published_before=doubted,
                    )
                    new.append(without(asdict(feed), "id"))
                elif (change := _synced(row, source, due_at[source.name])) is not None:
                    changed.append((row, change))
            if new:
                db.execute(insert(feeds), new)
            for row, change in changed:
                db.execute(update(feeds).where(feeds.c.id == row.id).values(change))
                if "url" in change:
                    reason = "the config has another address"
                    at, url = due_at[row.name], row.moved_url or row.url
                    add_url_change(db, row.id, UrlChange(at=at, url=url, reason=reason))
            kept = {source.name for source in sources}
            for row in rows.values():
                if row.name not in kept and (row.active or row.due_at is not None):
                    rests = {"active": False, "due_at": None}
                    db.execute(update(feeds).where(feeds.c.id == row.id).values(rests))

    def all(self) -> list[Feed]:
        """All feeds that we remember, by name."""
        with reading(self._engine) as db:
            return [
                _feed(row) for row in db.execute(select(feeds).order_by(feeds.c.name)).mappings()
            ]

    def failing_or_silent(self) -> list[Feed]:
        """Feeds whose last check failed, or that have been silent for too long."""
        ails = or_(feeds.c.error.is_not(None), feeds.c.silent_since.is_not(None))
        query = select(feeds).where(feeds.c.active, ails)
        with reading(self._engine) as db:
            return [_feed(row) for row in db.execute(query.order_by(feeds.c.name)).mappings()]

    def due(
        self, now: datetime, horizon: timedelta, limit: int, but: Collection[int] = ()
    ) -> list[Due]:
        """Feeds to check, the longest due first, without those whose ids are in `but`.

        What is due later than `horizon` from now is due at once: the clock was set back.
        """
        asked_at = func.coalesce(feeds.c.moved_url, feeds.c.url).label("url")
        query = (
            select(feeds.c.id, feeds.c.name, asked_at)
            .where(is_due(feeds.c.due_at, now, horizon), feeds.c.active)
            .order_by(feeds.c.due_at)
            .limit(limit + len(but))
        )
        with reading(self._engine) as db:
            rows = db.execute(query)
            return [Due(row.id, row.name, row.url) for row in rows if row.id not in but][:limit]

    def get(self, feed_id: int) -> Feed | None:
        """One feed, as it is now."""
        with reading(self._engine) as db:
            row = db.execute(_FEED, {"of_id": feed_id}).mappings().one_or_none()
        return _feed(row) if row is not None else None

    def put_off(self, feed_id: int, due_at: datetime, reason: str) -> None:
        """Write down that a check failed, without a look at the feed: it may be what is wrong."""
        failed = {"error": reason, "error_kind": None, "failures": feeds.c.failures + 1}
        with self._engine.begin() as db:
            db.execute(update(feeds).where(feeds.c.id == feed_id).values(due_at=due_at, **failed))

    def make_due(self, now: datetime, names: Collection[str] | None = None) -> None:
        """Have every active feed checked at once, or only those of these names."""
        due = update(feeds).where(feeds.c.active).values(due_at=now)
        with self._engine.begin() as db:
            if names is None:
                db.execute(due)
                return
            for chunk in chunks(list(names)):
                db.execute(due.where(feeds.c.name.in_(chunk)))

    def set_paused(self, name: str, *, paused: bool) -> bool:
        """Stop or restart new submissions from a feed. False if there is no such feed."""
        with self._engine.begin() as db:
            done = db.execute(update(feeds).where(feeds.c.name == name).values(paused=paused))
        return done.rowcount == 1

    def clear_doubt(self, name: str) -> None:
        """A person has settled what was held of a feed: from here on, what is new is new."""
        with self._engine.begin() as db:
            db.execute(
                update(feeds).where(feeds.c.name == name).values(hold_if_published_before=None)
            )

    def url_changes(self) -> dict[str, list[UrlChange]]:
        """The addresses that each feed was fetched from before, the first one first."""
        query = (
            select(feeds.c.name, departures.c.at, departures.c.url, departures.c.reason)
            .join_from(departures, feeds)
            .order_by(departures.c.id)
        )
        found: dict[str, list[UrlChange]] = {}
        with reading(self._engine) as db:
            for row in db.execute(query):
                left = UrlChange(at=row.at, url=row.url, reason=row.reason)
                found.setdefault(row.name, []).append(left)
        return found


def _synced(row: Any, source: FeedConfig, due_at: datetime) -> dict[str, Any] | None:
    """What the config changes of a feed that we remember; None if nothing."""
    change: dict[str, Any] = {}
    if row.url != source.url:
        change |= dict.fromkeys(OF_ADDRESS) | {"url": source.url, "due_at": due_at}
    if not row.active or row.due_at is None:
        change |= {"active": True, "due_at": due_at}
    return change or None


def add_url_change(db: Connection, feed_id: int, url_change: UrlChange) -> None:
    """Keep the address that a feed was fetched from until now."""
    db.execute(insert(departures).values(feed_id=feed_id, **asdict(url_change)))


def _feed(row: RowMapping) -> Feed:
    values = values_of(feeds, row)
    kind = values["error_kind"]
    return Feed(**values | {"error_kind": ErrorKind(kind) if kind is not None else None})
