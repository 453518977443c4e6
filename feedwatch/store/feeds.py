"""Feeds: what is remembered of each feed, and when it is due."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    bindparam,
    func,
    insert,
    or_,
    select,
    update,
)

from feedwatch.core.feed import ErrorKind, Feed, UrlChange
from feedwatch.core.schedule import DAY, lengthened
from feedwatch.core.settings import FeedConfig
from feedwatch.store.database import first_due, reading
from feedwatch.store.feed_leases import end_leases, is_not_anothers, leasing
from feedwatch.store.schema import departures, feeds
from feedwatch.store.sql import chunks, columns_of, is_due

# What was learned at a feed's URL. It is forgotten when the config has another one.
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
    "remarks",
    "hub",
    "hub_topic",
    "hub_scope",
)
# Built once: to build a statement of so many columns costs more than to execute it.
_SELECT_FEEDS = select(*columns_of(feeds))
_SELECT_FEED = _SELECT_FEEDS.where(feeds.c.id == bindparam("feed_id"))
_DUE_FEEDS = _SELECT_FEEDS.where(
    feeds.c.active,
    or_(feeds.c.due_at <= bindparam("now"), feeds.c.due_at > bindparam("latest")),
)
_SELECT_DUE = _DUE_FEEDS.where(feeds.c.id.in_(bindparam("ids", expanding=True)))
_LEASE_DUE = leasing(_DUE_FEEDS)
_FIRST_DUE = select(func.min(feeds.c.due_at)).where(feeds.c.active)

LATE = timedelta(minutes=1)  # since it was due: the daemon that should have checked it has not


class DueFeed(NamedTuple):
    """A feed that is to be checked."""

    id: int
    name: str
    url: str  # as in the config
    moved_url: str | None
    is_late: bool

    @property
    def host(self) -> str:
        """The host, with its port, that the feed is fetched from."""
        return urlsplit(self.moved_url or self.url).netloc


class FeedStore:
    """Feeds, by name and id. Each public method is one transaction."""

    def __init__(self, engine: Engine, daemon_id: str) -> None:
        self._engine = engine
        self._daemon_id = daemon_id

    def sync(self, configs: Collection[FeedConfig], due_at: Mapping[str, datetime]) -> None:
        """Take over the config's feeds; `due_at` has the next check of each, by name.

        A feed is its name: with another URL it is the same feed, without its validators, which were
        another server's. A feed that the config no longer has is kept, and not checked.
        """
        with self._engine.begin() as db:
            columns = ("id", "name", "url", "moved_url", "active", "due_at", "failures")
            query = select(*(feeds.c[key].label(key) for key in columns))
            rows = {row.name: row for row in db.execute(query)}
            known_urls = {row.url for row in rows.values()}
            new = []
            for config in configs:
                row, at = rows.pop(config.name, None), due_at[config.name]
                if row is None:
                    new.append(_row_of(_new(config, known_urls, at, due_at=at)))
                    continue
                change: dict[str, Any] = {}
                if row.url != config.url:
                    change |= dict.fromkeys(OF_ADDRESS) | {"url": config.url, "due_at": at}
                    url, reason = row.moved_url or row.url, "the config has another URL"
                    add_url_change(db, row.id, UrlChange(at=at, url=url, reason=reason))
                if not row.active or row.due_at is None:
                    change |= {"active": True, "due_at": at}
                elif not row.failures and row.due_at > at + lengthened(config.check_interval, DAY):
                    change |= {"due_at": at}  # by an interval that was longer then
                if change:
                    db.execute(update(feeds).where(feeds.c.id == row.id).values(change))
            if new:
                db.execute(insert(feeds), new)
            for row in rows.values():  # the config has these no longer
                if row.active or row.due_at is not None:
                    values = {"active": False, "due_at": None}
                    db.execute(update(feeds).where(feeds.c.id == row.id).values(values))

    def add_paused(self, config: FeedConfig, now: datetime, actor: str) -> None:
        """Add a feed that `sync` will find paused. Nobody checks it before.

        It may be in the config of the caller and not, or not yet, in that of the daemon.
        """
        with self._engine.begin() as db:
            known_urls = set(db.scalars(select(feeds.c.url)))
            new = _new(config, known_urls, now)
            feed = replace(new, active=False, paused=True, paused_at=now, paused_by=actor)
            db.execute(insert(feeds), _row_of(feed))

    def all(self) -> list[Feed]:
        """All feeds, by name, with those that are no longer in the config."""
        return self._ordered(_SELECT_FEEDS)

    def in_trouble(self) -> list[Feed]:
        """Feeds of the config that fail, are silent, have remarks or whose podcast is missing."""
        signs = (feeds.c.error, feeds.c.silent_since, feeds.c.missing_podcast, feeds.c.remarks)
        needs_a_look = or_(*(sign.is_not(None) for sign in signs))
        return self._ordered(_SELECT_FEEDS.where(feeds.c.active, needs_a_look))

    def due(
        self, now: datetime, horizon: timedelta, limit: int, but: Collection[int] = ()
    ) -> list[DueFeed]:
        """Feeds to check, the longest due first, without those whose ids are in `but`.

        What is due later than `horizon` from now is due at once: the clock was set back. What
        another daemon checks just now is left out.
        """
        is_late = (feeds.c.due_at <= now - LATE).label("is_late")
        query = (
            select(feeds.c.id, feeds.c.name, feeds.c.url, feeds.c.moved_url.label("to"), is_late)
            .where(is_due(feeds.c.due_at, now, horizon), feeds.c.active)
            .order_by(feeds.c.due_at)
            .limit(limit + len(but))
        )
        with reading(self._engine) as db:
            rows = db.execute(query.where(is_not_anothers(db, self._daemon_id)))
            return [DueFeed(*row) for row in rows if row.id not in but][:limit]

    def take(self, ids: Collection[int], now: datetime, horizon: timedelta) -> list[Feed]:
        """Those of these feeds that are to be checked now, for this daemon alone.

        Until its check is recorded or it is given back, or for five minutes, no other daemon gets
        it. What is not due any more, or another daemon checks, is left out.
        """
        given = {"ids": list(ids), "now": now, "latest": now + horizon}
        if self._engine.dialect.name == "postgresql":
            with self._engine.begin() as db:
                rows = db.execute(_LEASE_DUE, given | {"me": self._daemon_id}).mappings().all()
        else:
            with reading(self._engine) as db:
                rows = db.execute(_SELECT_DUE, given).mappings().all()
        return [_feed(**row) for row in rows]

    def give_back(self, ids: Collection[int]) -> None:
        """Let other daemons check these feeds, of which this one has recorded no check."""
        if self._engine.dialect.name == "postgresql":
            with self._engine.begin() as db:
                end_leases(db, ids, self._daemon_id)

    def get(self, feed_id: int) -> Feed | None:
        """One feed, as it is now."""
        with reading(self._engine) as db:
            row = db.execute(_SELECT_FEED, {"feed_id": feed_id}).mappings().one_or_none()
        return _feed(**row) if row is not None else None

    def named(self, name: str) -> Feed | None:
        """The feed of this name, also one that the config no longer has."""
        return next(iter(self._ordered(_SELECT_FEEDS.where(feeds.c.name == name))), None)

    def put_off(self, feed_id: int, due_at: datetime, reason: str) -> None:
        """Record a failed check without reading the feed's row: that row may be what is wrong."""
        failed = {"error": reason, "error_kind": None, "failures": feeds.c.failures + 1}
        with self._engine.begin() as db:
            db.execute(update(feeds).where(feeds.c.id == feed_id).values(due_at=due_at, **failed))
            end_leases(db, [feed_id], self._daemon_id)

    def next_due(self) -> datetime | None:
        """When the first feed of the config is due, or was; None if none ever is."""
        return first_due(self._engine, _FIRST_DUE)

    def make_due(self, now: datetime, names: Collection[str] | None = None) -> None:
        """Make every feed of the config due, or only those with these names."""
        make_due = update(feeds).where(feeds.c.active).values(due_at=now)
        with self._engine.begin() as db:
            if names is None:
                db.execute(make_due)
                return
            for chunk in chunks(names):
                db.execute(make_due.where(feeds.c.name.in_(chunk)))

    def set_paused(self, name: str, now: datetime, actor: str, *, paused: bool) -> bool:
        """Pause or resume submissions from a feed. False if there is no such feed.

        A feed that is paused already stays paused since then, and by whom it was.
        """
        row = feeds.c.name == name
        change = {"paused_at": now, "paused_by": actor} if paused else {}
        change = {"paused": paused, "paused_at": None, "paused_by": None} | change
        with self._engine.begin() as db:
            before = db.scalars(select(feeds.c.paused).where(row)).one_or_none()
            if before is not None and before != paused:
                db.execute(update(feeds).where(row).values(change))
        return before is not None

    def set_missing_podcasts(self, names: Collection[str], podcast_id: str | None) -> None:
        """Record that these feeds' podcast is missing; None: that it is there, or may be."""
        change = update(feeds).values(missing_podcast=podcast_id)
        with self._engine.begin() as db:
            for chunk in chunks(names):
                db.execute(change.where(feeds.c.name.in_(chunk)))

    def url_changes(self) -> dict[str, list[UrlChange]]:
        """The URLs that each feed was fetched from before, by the feed's name, oldest first."""
        query = (
            select(feeds.c.name, departures.c.at, departures.c.url, departures.c.reason)
            .join_from(departures, feeds)
            .order_by(departures.c.id)
        )
        found: dict[str, list[UrlChange]] = {}
        with reading(self._engine) as db:
            for name, at, url, reason in db.execute(query):
                found.setdefault(name, []).append(UrlChange(at=at, url=url, reason=reason))
        return found

    def _ordered(self, query: Select[Any]) -> list[Feed]:
        with reading(self._engine) as db:
            return [_feed(**row) for row in db.execute(query.order_by(feeds.c.name)).mappings()]


def clear_doubt(db: Connection, name: str) -> None:
    """Hold a feed's new episodes no longer for their date: a person has decided about them.

    Nothing is cleared before a good check has shown what there is to decide about.
    """
    was_checked = feeds.c.doubted_at.is_(None) | (feeds.c.success_at > feeds.c.doubted_at)
    set_doubt(db, None, None, feeds.c.name == name, was_checked)


def set_doubt(
    db: Connection, until: datetime | None, at: datetime | None, *which: ColumnElement[bool]
) -> None:
    """Doubt, since `at`, what is new in feeds and dated before `until`; None: doubt it no longer.

    A check that is under way writes over no such decision: the feed's version counts it.
    """
    doubt = {"hold_if_published_before": until, "doubted_at": at}
    change = update(feeds).values(doubt | {"version": feeds.c.version + 1})
    db.execute(change.where(*which))


def add_url_change(db: Connection, feed_id: int, url_change: UrlChange) -> None:
    """Keep the URL that a feed was fetched from until now."""
    db.execute(insert(departures).values(feed_id=feed_id, **asdict(url_change)))


def _new(
    config: FeedConfig, known_urls: Collection[str], now: datetime, due_at: datetime | None = None
) -> Feed:
    """A feed that was never seen. Its episodes may have been paid for under another name."""
    doubted = now if config.url in known_urls else None
    return Feed(
        name=config.name,
        url=config.url,
        due_at=due_at,
        hold_if_published_before=doubted,
        doubted_at=doubted,
    )


def _row_of(feed: Feed) -> dict[str, Any]:
    return {key: value for key, value in vars(feed).items() if key != "id"}


def _feed(*, error_kind: str | None, **values: Any) -> Feed:
    """The feed of a row of `_SELECT_FEEDS`."""
    return Feed(error_kind=ErrorKind(error_kind) if error_kind is not None else None, **values)
