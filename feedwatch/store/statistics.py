"""What is counted. Each figure by an index, so that none costs more the more episodes there are."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, case, func, select

from feedwatch.core.episode import State
from feedwatch.core.health import Vitals
from feedwatch.store.schema import episodes, feeds


@dataclass(frozen=True, kw_only=True)
class FeedFigures:
    """One feed, for a graph."""

    name: str
    success_at: datetime | None
    failures: int


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The whole, for graphs."""

    by_state: Mapping[State, int]
    oldest_queued_at: datetime | None
    submitted: int  # within 24 hours
    live_jobs: int
    overdue_jobs: int
    submissions_open: bool
    feeds_by_state: Mapping[str, int]
    feeds: Sequence[FeedFigures]  # all, or those without success for longest


def vitals(db: Connection, now: datetime, live: Collection[State]) -> Vitals:
    """As it is now."""
    by_state = counts(db, [*live, State.HELD, State.UNKNOWN])
    feed_due = select(func.min(feeds.c.due_at)).where(feeds.c.active, feeds.c.due_at <= now)
    job_due = select(func.min(episodes.c.due_at)).where(
        episodes.c.state == State.PROCESSING, episodes.c.due_at <= now
    )
    return Vitals(
        at=now,
        feeds=db.scalars(select(func.count()).select_from(feeds).where(feeds.c.active)).one(),
        live_jobs=sum(by_state.get(state, 0) for state in live),
        held=by_state.get(State.HELD, 0),
        unknown=by_state.get(State.UNKNOWN, 0),
        feed_due_at=db.scalars(feed_due).one(),
        job_due_at=db.scalars(job_due).one(),
    )


def counts(db: Connection, states: Collection[State]) -> dict[State, int]:
    """How many episodes are in each of `states`; what has none is left out."""
    query = (
        select(episodes.c.state, func.count().label("number"))
        .where(episodes.c.state.in_(states))
        .group_by(episodes.c.state)
    )
    return {State(row.state): row.number for row in db.execute(query)}


def oldest_queued(db: Connection) -> datetime | None:
    """When the queued episode that has been known for longest was first seen."""
    query = select(func.min(episodes.c.first_seen_at)).where(episodes.c.state == State.QUEUED)
    oldest: datetime | None = db.scalars(query).one()
    return oldest


def overdue(db: Connection) -> int:
    """Jobs that are not final though they should be."""
    late = (episodes.c.state == State.PROCESSING, episodes.c.overdue)
    return db.scalars(select(func.count()).select_from(episodes).where(*late)).one()


def feeds_by_state(db: Connection) -> dict[str, int]:
    """How many feeds of the config are in each state, by the words of `feedwatch feeds`."""
    state = case(
        (feeds.c.paused, "paused"),
        (feeds.c.failures > 0, "failing"),
        (feeds.c.checked_at.is_(None), "new"),
        else_="ok",
    )
    query = select(state.label("state"), func.count().label("number")).where(feeds.c.active)
    return {row.state: row.number for row in db.execute(query.group_by(state))}


def each_feed(db: Connection, most: int) -> list[FeedFigures]:
    """At most so many feeds, first those that have been without success for longest."""
    query = (
        select(feeds.c.name, feeds.c.success_at, feeds.c.failures)
        .where(feeds.c.active)
        .order_by(feeds.c.success_at.is_not(None), feeds.c.success_at)
        .limit(most)
    )
    return [FeedFigures(**row) for row in db.execute(query).mappings()]
