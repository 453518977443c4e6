"""Episodes: their rows, moved by compare-and-set, and their history."""

from collections.abc import Collection
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    RowMapping,
    Select,
    and_,
    func,
    insert,
    select,
    update,
)

from feedwatch.core import events
from feedwatch.core.episode import Cause, Episode, HistoryEntry, State
from feedwatch.core.identity import Key
from feedwatch.store.database import reading
from feedwatch.store.outbox import Outbox
from feedwatch.store.schema import (
    episodes,
    feeds,
    history,
    identities,
)
from feedwatch.store.sql import HORIZON, is_due

EPISODE_COLUMNS = tuple(field.name for field in fields(Episode) if field.name not in ("id", "feed"))


class EpisodeStore:
    """Episodes, and how they came to be where they are."""

    def __init__(self, engine: Engine, outbox: Outbox) -> None:
        """An episode that becomes ready is announced through `outbox`."""
        self._engine = engine
        self.outbox = outbox

    def get(self, episode_id: int) -> Episode | None:
        """One episode."""
        with reading(self._engine) as db:
            row = (
                db.execute(select_episodes().where(episodes.c.id == episode_id))
                .mappings()
                .one_or_none()
            )
        return episode_from_row(row) if row is not None else None

    def find(
        self,
        *,
        feed: str | None = None,
        states: Collection[State] = (),
        limit: int | None = None,
    ) -> list[Episode]:
        """The episodes, newest first."""
        newest = func.coalesce(episodes.c.published_at, episodes.c.first_seen_at).desc()
        query = select_episodes().order_by(newest, episodes.c.id.desc()).limit(limit)
        if feed is not None:
            query = query.where(feeds.c.name == feed)
        if states:
            query = query.where(episodes.c.state.in_(states))
        with reading(self._engine) as db:
            return [episode_from_row(row) for row in db.execute(query).mappings()]

    def by_media_id(self, media_id: str) -> Episode | None:
        """The episode whose job has this id at the API."""
        query = select_episodes().where(episodes.c.media_id == media_id).limit(1)
        with reading(self._engine) as db:
            row = db.execute(query).mappings().one_or_none()
        return episode_from_row(row) if row is not None else None

    def history(self, episode_id: int) -> list[HistoryEntry]:
        """How an episode came to be where it is, oldest first."""
        query = (
            select(history.c.at, history.c.state, history.c.reason)
            .where(history.c.episode_id == episode_id)
            .order_by(history.c.id)
        )
        with reading(self._engine) as db:
            return [
                HistoryEntry(at=row.at, state=State(row.state), reason=row.reason)
                for row in db.execute(query)
            ]

    def due(
        self, state: State, now: datetime, limit: int, but: Collection[int] = ()
    ) -> list[Episode]:
        """Episodes in `state` that are due, the longest due first, without the ids in `but`."""
        query = (
            select_episodes()
            .where(
                episodes.c.state == state,
                is_due(episodes.c.due_at, now, HORIZON),
                episodes.c.id.not_in(but),
            )
            .order_by(episodes.c.due_at)
            .limit(limit)
        )
        with reading(self._engine) as db:
            return [episode_from_row(row) for row in db.execute(query).mappings()]

    def keys(self, episode_id: int) -> list[Key]:
        """By which keys an episode is known."""
        query = select(identities.c.key).where(identities.c.episode_id == episode_id)
        with reading(self._engine) as db:
            return sorted(Key.parse(text) for text in db.scalars(query))

    def save(self, before: Episode, after: Episode, now: datetime) -> Episode | None:
        """Move an episode on; None, and nothing written, if someone else has moved it first.

        One that becomes ready is announced.
        """
        with self._engine.begin() as db:
            moved = move_episode(db, before, after, now)
            if moved is not None and moved.state is State.READY:
                self.outbox.put(db, events.ready(moved, now), now)
        return moved


def select_episodes() -> Select[Any]:
    """Whole episodes, each with its feed's name."""
    return select(episodes, feeds.c.name.label("feed")).join_from(episodes, feeds)


def move_episode(db: Connection, before: Episode, after: Episode, now: datetime) -> Episode | None:
    """Write an episode and its line of history; None if `before` is not what stands there."""
    after = replace(after, version=before.version + 1)
    unmoved = and_(episodes.c.id == before.id, episodes.c.version == before.version)
    if db.execute(update(episodes).where(unmoved).values(_values(after))).rowcount != 1:
        return None
    if after.state is State.QUEUED and after.description is None:
        _ask_for_description(db, before.id, now)
    if (after.state, after.reason) != (before.state, before.reason):
        db.execute(insert(history).values(_line(before.state, after, now)))
    return after


def _ask_for_description(db: Connection, episode_id: int, now: datetime) -> None:
    """Have the episode's feed read from its first to its last item, soon."""
    its = (
        feeds.c.id
        == select(episodes.c.feed_id).where(episodes.c.id == episode_id).scalar_subquery()
    )
    db.execute(
        update(feeds)
        .where(its)
        .values(full_reads_requested=feeds.c.full_reads_requested + 1, due_at=now)
    )


def _line(previous: State | None, episode: Episode, now: datetime) -> dict[str, Any]:
    """A row of the history."""
    return {
        "episode_id": episode.id,
        "at": now,
        "previous": previous,
        "state": episode.state,
        "reason": episode.reason,
    }


def _values(episode: Episode) -> dict[str, Any]:
    return {name: getattr(episode, name) for name in EPISODE_COLUMNS}


def episode_from_row(row: RowMapping) -> Episode:
    """The episode of a row of `select_episodes`."""
    values = {name: row[name] for name in ("id", "feed", *EPISODE_COLUMNS)}
    cause = Cause(row["cause"]) if row["cause"] is not None else None
    return Episode(**values | {"state": State(row["state"]), "cause": cause})
