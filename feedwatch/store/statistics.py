"""What is counted. Each figure by an index, so that none costs more the more episodes there are."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Row,
    Select,
    and_,
    func,
    or_,
    select,
)

from feedwatch.core.alert import Waiting
from feedwatch.core.circuit_breaker import CircuitBreaker
from feedwatch.core.episode import LIVE, EpisodeCounts, State
from feedwatch.core.feed import FeedState
from feedwatch.core.feed_lifecycle import state_of
from feedwatch.core.health import HealthSnapshot
from feedwatch.core.schedule import DAY
from feedwatch.store import breakers
from feedwatch.store.claims import jobs_in_flight, submissions_since
from feedwatch.store.database import reading
from feedwatch.store.schema import (
    episodes,
    feeds,
)


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
    feeds_by_state: Mapping[FeedState, int]
    feeds: Sequence[FeedFigures]  # all, or those without success for longest


class Statistics:
    """Counts, each by an index."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def by_feed(self) -> dict[str, EpisodeCounts]:
        """The episodes of each feed, counted."""
        number = func.count().label("number")
        by_feed = select(episodes.c.feed_id, episodes.c.state, number)
        late = select(episodes.c.feed_id, number).where(
            episodes.c.state == State.PROCESSING, episodes.c.overdue
        )
        with reading(self._engine) as db:
            names = {row.id: row.name for row in db.execute(select(feeds.c.id, feeds.c.name))}
            rows = db.execute(by_feed.group_by(episodes.c.feed_id, episodes.c.state)).all()
            overdue = {
                row.feed_id: row.number for row in db.execute(late.group_by(episodes.c.feed_id))
            }
        by_state: dict[int, dict[State, int]] = {}
        for row in rows:
            by_state.setdefault(row.feed_id, {})[State(row.state)] = row.number
        return {
            names[feed_id]: EpisodeCounts(by_state=counted, overdue=overdue.get(feed_id, 0))
            for feed_id, counted in by_state.items()
        }

    def by_state(self) -> dict[State, int]:
        """How many episodes are in each state."""
        with reading(self._engine) as db:
            found = counts(db, list(State))
        return {state: found.get(state, 0) for state in State}

    def waiting(self, failed_since: datetime) -> list[Waiting]:
        """What needs a person, by feed and state; of the failed those that did so lately."""
        with reading(self._engine) as db:
            return [_waiting(row) for row in db.execute(_needing(failed_since))]

    def snapshot(self, now: datetime) -> HealthSnapshot:
        """What shows whether the daemon gets on with its work."""
        with reading(self._engine) as db:
            return vitals(db, now, LIVE)

    def figures(
        self, processor: str, now: datetime, *, most_feeds: int, but_at_most: int
    ) -> Figures:
        """The whole, for graphs; of more feeds than `most_feeds`, only `but_at_most` each."""
        with reading(self._engine) as db:
            breaker = breakers.load(db, processor)
            by_feed = feeds_by_state(db, breaker)
            few = sum(by_feed.values()) <= most_feeds
            return Figures(
                by_state=counts(db, list(State)),
                oldest_queued_at=oldest_queued(db),
                submitted=submissions_since(db, now - DAY),
                live_jobs=jobs_in_flight(db),
                overdue_jobs=overdue(db),
                submissions_open=not breaker.paused and breaker.tripped_until is None,
                feeds_by_state=by_feed,
                feeds=each_feed(db, most_feeds if few else but_at_most),
            )


def vitals(db: Connection, now: datetime, live: Collection[State]) -> HealthSnapshot:
    """As it is now."""
    by_state = counts(db, [*live, State.HELD, State.UNKNOWN])
    feed_due = select(func.min(feeds.c.due_at)).where(feeds.c.active, feeds.c.due_at <= now)
    job_due = select(func.min(episodes.c.due_at)).where(
        episodes.c.state == State.PROCESSING, episodes.c.due_at <= now
    )
    return HealthSnapshot(
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


def feeds_by_state(db: Connection, breaker: CircuitBreaker) -> dict[FeedState, int]:
    """How many feeds of the config are in each state; `state_of` decides, SQL only counts."""
    facts = (feeds.c.paused, feeds.c.failures > 0, feeds.c.checked_at.is_not(None))
    found = dict.fromkeys(FeedState, 0)
    for *row, number in db.execute(
        select(*facts, func.count()).where(feeds.c.active).group_by(*facts)
    ):
        found[state_of(breaker, *row)] += number
    return found


def each_feed(db: Connection, most: int) -> list[FeedFigures]:
    """At most so many feeds, first those that have been without success for longest."""
    query = (
        select(feeds.c.name, feeds.c.success_at, feeds.c.failures)
        .where(feeds.c.active)
        .order_by(feeds.c.success_at.is_not(None), feeds.c.success_at)
        .limit(most)
    )
    return [FeedFigures(**row) for row in db.execute(query).mappings()]


def _needing(failed_since: datetime) -> Select[Any]:
    """Reads no more rows than are in these states, however many episodes there are."""
    of_interest = or_(
        episodes.c.state.in_((State.HELD, State.UNKNOWN)),
        and_(episodes.c.state == State.FAILED, episodes.c.finished_at > failed_since),
        and_(episodes.c.state == State.PROCESSING, episodes.c.overdue),
    )
    states = (State.HELD, State.UNKNOWN, State.FAILED, State.PROCESSING)
    begun_at = func.coalesce(episodes.c.submitted_at, episodes.c.first_seen_at)
    groups = (
        select(
            episodes.c.feed_id,
            episodes.c.state,
            func.count().label("episodes"),
            func.max(episodes.c.id).label("newest_id"),
            func.max(begun_at).label("begun_at"),
            func.max(episodes.c.finished_at).label("finished_at"),
        )
        .where(episodes.c.state.in_(states), of_interest)
        .group_by(episodes.c.feed_id, episodes.c.state)
        .subquery()
    )
    newest = episodes.alias("newest")
    return (
        select(groups, feeds.c.name, newest.c.title, newest.c.reason)
        .join_from(groups, feeds, feeds.c.id == groups.c.feed_id)
        .join(newest, newest.c.id == groups.c.newest_id)
        .order_by(feeds.c.name, groups.c.state)
    )


def _waiting(row: Row[Any]) -> Waiting:
    state = State(row.state)
    # What is held was so from the first, so the newest id tells whether one has joined. A failure
    # has its time, and so has each submission that is in doubt or overdue.
    since = row.finished_at if state is State.FAILED else row.begun_at
    version = (
        f"{row.newest_id:012d}" if state is State.HELD else since.isoformat(" ", "microseconds")
    )
    return Waiting(
        feed=row.name,
        state=state,
        episodes=row.episodes,
        version=version,
        newest_id=row.newest_id,
        newest_title=row.title,
        newest_reason=row.reason,
    )
