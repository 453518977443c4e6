"""Listings: what the page and the API show of many episodes at once, a part at a time."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Select, and_, func, or_, select

from feedwatch.core.episode import Episode, Event, State
from feedwatch.core.rhythm import Published
from feedwatch.store.database import reading
from feedwatch.store.episodes import fetch_episodes, history_entry, select_episodes
from feedwatch.store.schema import episodes, feeds, history
from feedwatch.store.statistics import counts

WINDOW = 10_000  # entries at the history's end, any of which may be missing at the first look
_NEWEST = func.coalesce(episodes.c.published_at, episodes.c.first_seen_at)


@dataclass(frozen=True, kw_only=True)
class HistoryEnd:
    """The ids of the entries above `floor`, and the last one with its time."""

    floor: int
    ids: frozenset[int]
    last: int = 0
    last_at: datetime | None = None
    is_other: bool = False  # than that of which an earlier one was taken


class Listings:
    """Parts of long lists. Each public method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def episodes(
        self,
        limit: int,
        *,
        feed: str | None = None,
        states: Collection[State] = (),
        words: str = "",
        after: int | None = None,
        ready_since: datetime | None = None,
    ) -> list[Episode]:
        """Episodes, newest first.

        words: what the title has, in whatever case.
        after: only what stands behind the episode with this id.
        ready_since: only what became ready at this time or later.
        """
        query = _of(select(episodes.c.id).join_from(episodes, feeds), feed, states)
        if words:
            query = query.where(episodes.c.title.icontains(words, autoescape=True))
        if ready_since is not None:
            query = query.where(episodes.c.finished_at >= ready_since)
        if after is not None:
            last = select(_NEWEST).where(episodes.c.id == after).scalar_subquery()
            same_time = and_(last == _NEWEST, episodes.c.id < after)
            query = query.where(or_(last > _NEWEST, same_time))
        ids = query.order_by(_NEWEST.desc(), episodes.c.id.desc()).limit(limit)
        with reading(self._engine) as db:
            # The sort has the ids alone: descriptions are long.
            found = list(db.scalars(ids))
            whole = fetch_episodes(db, select_episodes().where(episodes.c.id.in_(found)))
        by_id = {one.id: one for one in whole}
        return [by_id[number] for number in found]

    def recently_ready(self, limit: int) -> list[Episode]:
        """The episodes that became ready last, the latest first."""
        ready = select_episodes().where(episodes.c.state == State.READY)
        with reading(self._engine) as db:
            latest = ready.order_by(episodes.c.finished_at.desc()).limit(limit)
            return fetch_episodes(db, latest)

    def counts(self, feed: str | None = None, words: str = "") -> dict[State, int]:
        """How many episodes are in each state, of all or of one feed."""
        with reading(self._engine) as db:
            if feed is None and not words:
                return counts(db, list(State))
            query = select(episodes.c.state, func.count()).join_from(episodes, feeds)
            query = _of(query, feed, ())
            if words:
                query = query.where(episodes.c.title.icontains(words, autoescape=True))
            rows = db.execute(query.group_by(episodes.c.state))
            return {State(state): number for state, number in rows}

    def published(self, names: Collection[str], since: datetime) -> dict[str, list[Published]]:
        """When each feed's episodes were published since then, oldest first, by the feed's name."""
        query = (
            select(feeds.c.name, episodes.c.published_at, episodes.c.state)
            .join_from(episodes, feeds)
            .where(feeds.c.name.in_(names), episodes.c.published_at >= since)
            .order_by(episodes.c.published_at)
        )
        found: dict[str, list[Published]] = {}
        with reading(self._engine) as db:
            for name, at, state in db.execute(query):
                found.setdefault(name, []).append(Published(at=at, state=State(state)))
        return found

    def events(
        self,
        limit: int | None = None,
        *,
        after: int | None = None,
        above: int | None = None,
        feed: str | None = None,
    ) -> list[Event]:
        """The history of all episodes, newest first.

        after: only what is older than the event with this id.
        above: only what is newer than the event with this id.
        """
        query = (
            select(
                history.c.id,
                history.c.episode_id,
                feeds.c.name,
                episodes.c.title,
                history.c.at,
                history.c.previous,
                history.c.state,
                history.c.reason,
                history.c.actor,
                history.c.step,
            )
            .join_from(history, episodes, episodes.c.id == history.c.episode_id)
            .join(feeds, feeds.c.id == episodes.c.feed_id)
            .order_by(history.c.id.desc())
            .limit(limit)
        )
        if after is not None:
            query = query.where(history.c.id < after)
        if above is not None:
            query = query.where(history.c.id > above)
        if feed is not None:
            query = query.where(feeds.c.name == feed)
        with reading(self._engine) as db:
            return [
                Event(
                    id=row.id,
                    episode_id=row.episode_id,
                    feed=row.name,
                    title=row.title,
                    previous=State(row.previous) if row.previous is not None else None,
                    entry=history_entry(row.at, row.state, row.reason, row.actor, row.step),
                )
                for row in db.execute(query)
            ]

    def history_end(self, before: HistoryEnd | None = None) -> HistoryEnd:
        """The end of the history: its last entries, or those above the floor that it had `before`.

        `before` itself if nothing has changed.
        """
        number = history.c.id
        with reading(self._engine) as db:
            is_other = before is not None and _written_at(db, before.last) != before.last_at
            if before is None or is_other:
                below = select(number).order_by(number.desc()).offset(WINDOW).limit(1)
                known, floor = HistoryEnd(floor=0, ids=frozenset()), db.scalar(below) or 0
            else:
                known, floor = before, before.floor
                summary = select(func.count(), func.coalesce(func.sum(number), 0))
                if db.execute(summary.where(number > floor)).one() == (
                    len(known.ids),
                    sum(known.ids),
                ):
                    return known
            ids = frozenset(db.scalars(select(number).where(number > floor)))
            last = max(ids, default=known.last)
            return HistoryEnd(
                floor=floor, ids=ids, last=last, last_at=_written_at(db, last), is_other=is_other
            )


def _written_at(db: Connection, entry: int) -> datetime | None:
    """The time of an entry of the history, if it is there."""
    return db.scalar(select(history.c.at).where(history.c.id == entry))


def _of(query: Select[Any], feed: str | None, states: Collection[State]) -> Select[Any]:
    """The part of a query that is about one feed, and about some states."""
    if feed is not None:
        query = query.where(feeds.c.name == feed)
    if states:
        query = query.where(episodes.c.state.in_(states))
    return query
