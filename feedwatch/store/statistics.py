"""Statistics: what is counted. Each figure is read by an index, however many episodes there are."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Select, and_, case, func, or_, select

from feedwatch.core.alert import LostPodcast, Waiting
from feedwatch.core.circuit_breaker import CircuitBreaker, as_one
from feedwatch.core.episode import LIVE, LOST, EpisodeCounts, State
from feedwatch.core.feed import FeedState
from feedwatch.core.feed_lifecycle import state_of
from feedwatch.core.health import HealthSnapshot
from feedwatch.core.job_lifecycle import LOST_STANDS
from feedwatch.core.pipeline import Step, steps_of
from feedwatch.core.schedule import DAY
from feedwatch.store import breakers
from feedwatch.store.database import reading
from feedwatch.store.limits import IS_OVERDUE, jobs_in_flight, overdue_jobs, submissions_since
from feedwatch.store.schema import episodes, feeds
from feedwatch.store.sql import HORIZON, is_due


@dataclass(frozen=True, kw_only=True)
class FeedFigures:
    """One feed's figures for the metrics."""

    name: str
    success_at: datetime | None
    failures: int


@dataclass(frozen=True, kw_only=True)
class ProcessorFigures:
    """One media API's figures for the metrics."""

    submitted: int  # within 24 hours
    live_jobs: int
    overdue_jobs: int
    submissions_open: bool


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures for the metrics."""

    by_state: Mapping[State, int]  # episodes
    oldest_queued_at: datetime | None  # when the longest known queued episode was first seen
    processors: Mapping[str, ProcessorFigures]  # by their names
    feeds_by_state: Mapping[FeedState, int]
    feeds: Sequence[FeedFigures]  # all, or those without success for longest


class Unsent(NamedTuple):
    """Queued episodes that wait for nothing but for submissions to be possible."""

    episodes: int
    due_at: datetime | None  # of the first of them, which may have passed; None: there is none


class Statistics:
    """Counts of episodes and feeds. Each public method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def by_feed(self) -> dict[str, EpisodeCounts]:
        """Each feed's episodes, counted; by the feed's name, without feeds that have none."""
        number = func.count()
        of_feed, state = episodes.c.feed_id, episodes.c.state
        counted = select(of_feed, state, number).group_by(of_feed, state)
        late = select(of_feed, number).where(IS_OVERDUE).group_by(of_feed)
        by_state: dict[int, dict[State, int]] = {}
        with reading(self._engine) as db:
            names = dict(db.execute(select(feeds.c.id, feeds.c.name)).all())
            for feed_id, word, count in db.execute(counted):
                by_state.setdefault(feed_id, {})[State(word)] = count
            overdue: dict[int, int] = dict(db.execute(late).all())
        return {
            names[feed_id]: EpisodeCounts(by_state=counts, overdue=overdue.get(feed_id, 0))
            for feed_id, counts in by_state.items()
        }

    def by_state(self) -> dict[State, int]:
        """How many episodes are in each state."""
        with reading(self._engine) as db:
            return dict.fromkeys(State, 0) | counts(db, list(State))

    def came_and_ended(self, since: datetime) -> tuple[int, int]:
        """How many episodes are new since then, and how many have become ready or failed."""
        is_final = episodes.c.state.in_((State.READY, State.FAILED))
        new = func.sum(case((episodes.c.first_seen_at >= since, 1), else_=0))
        ended = func.sum(case((is_final & (episodes.c.finished_at >= since), 1), else_=0))
        with reading(self._engine) as db:
            found = db.execute(select(new, ended)).one()
        return found[0] or 0, found[1] or 0

    def unsent(self, now: datetime, processor: str | None = None) -> Unsent:
        """What is to be submitted, to a processor or at all: due by now, or deferred by an answer.

        What waits for its date or for FEEDWATCH_SUBMIT_DELAY is not.
        """
        due_at = episodes.c.due_at
        query = select(func.count(), func.min(due_at)).where(
            episodes.c.state == State.QUEUED,
            or_(is_due(due_at, now), episodes.c.deferrals > 0),
        )
        if processor is not None:
            query = query.where(episodes.c.step.in_(steps_of(processor)))
        with reading(self._engine) as db:
            number, first = db.execute(query).one()
        # Further ahead than that is what is due since the clock was set back.
        is_ahead = first is not None and first <= now + HORIZON
        return Unsent(number, first if is_ahead or first is None else now)

    def waiting(self, failed_since: datetime) -> list[Waiting]:
        """Episodes that need a person, by feed and state; failed ones only since `failed_since`."""
        found = []
        with reading(self._engine) as db:
            for row in db.execute(_select_waiting(failed_since)):
                state = State(row.state)
                # Held episodes were held from the first, so the newest id rises when one joins.
                # The others have a time that does: of the failure, or of the submission.
                since = row.finished_at if state is State.FAILED else row.begun_at
                held = state is State.HELD
                version = f"{row.newest_id:012d}" if held else since.isoformat(" ", "microseconds")
                found.append(
                    Waiting(
                        feed=row.name,
                        state=state,
                        episodes=row.episodes,
                        version=version,
                        newest_id=row.newest_id,
                        newest_title=row.title,
                        newest_reason=row.reason,
                        newest_step=Step(row.step),
                    )
                )
        return found

    def lost_podcasts(self) -> list[LostPodcast]:
        """Podcasts with several jobs of which the API knows none, and that for some polls."""
        stand = episodes.c.remote_stood
        is_lost = case((episodes.c.remote_status == LOST, 1), else_=0)
        query = (
            select(func.min(feeds.c.name), episodes.c.podcast_id, func.count(), episodes.c.step)
            .join_from(episodes, feeds)
            .where(episodes.c.state == State.PROCESSING)
            .group_by(episodes.c.podcast_id, episodes.c.step)
            .having(func.count() > 1, func.min(is_lost) == 1, func.max(stand) >= LOST_STANDS)
            .order_by(episodes.c.podcast_id)
        )
        with reading(self._engine) as db:
            return [
                LostPodcast(feed=feed, podcast_id=podcast_id, jobs=jobs, step=Step(step))
                for feed, podcast_id, jobs, step in db.execute(query)
            ]

    def snapshot(self, now: datetime) -> HealthSnapshot:
        """The health snapshot: what shows whether the daemon gets its work done."""
        active = select(func.count()).select_from(feeds).where(feeds.c.active)
        feed_due = select(func.min(feeds.c.due_at)).where(feeds.c.active, feeds.c.due_at <= now)
        job_due = select(func.min(episodes.c.due_at)).where(
            episodes.c.state == State.PROCESSING, episodes.c.due_at <= now
        )
        with reading(self._engine) as db:
            by_state = counts(db, [*LIVE, State.HELD, State.UNKNOWN])
            return HealthSnapshot(
                at=now,
                feeds=db.scalars(active).one(),
                live_jobs=sum(by_state.get(state, 0) for state in LIVE),
                held=by_state.get(State.HELD, 0),
                unknown=by_state.get(State.UNKNOWN, 0),
                feed_due_at=db.scalars(feed_due).one(),
                job_due_at=db.scalars(job_due).one(),
            )

    def figures(
        self, processors: Collection[str], now: datetime, *, most_feeds: int, but_at_most: int
    ) -> Figures:
        """The figures for the metrics; of more feeds than `most_feeds`, only `but_at_most` each."""
        queued = select(func.min(episodes.c.first_seen_at)).where(episodes.c.state == State.QUEUED)
        each_feed = (
            select(feeds.c.name, feeds.c.success_at, feeds.c.failures)
            .where(feeds.c.active)
            .order_by(feeds.c.success_at.is_not(None), feeds.c.success_at)
        )
        with reading(self._engine) as db:
            by_name = {name: breakers.load(db, name) for name in processors}
            by_feed = feeds_by_state(db, as_one(by_name))
            limit = most_feeds if sum(by_feed.values()) <= most_feeds else but_at_most
            rows = db.execute(each_feed.limit(limit)).mappings()
            return Figures(
                by_state=counts(db, list(State)),
                oldest_queued_at=db.scalars(queued).one(),
                processors={
                    name: ProcessorFigures(
                        submitted=submissions_since(db, now - DAY, name),
                        live_jobs=jobs_in_flight(db, name),
                        overdue_jobs=overdue_jobs(db, name),
                        submissions_open=not breaker.paused and breaker.tripped_until is None,
                    )
                    for name, breaker in by_name.items()
                },
                feeds_by_state=by_feed,
                feeds=[FeedFigures(**row) for row in rows],
            )


def counts(db: Connection, states: Collection[State]) -> dict[State, int]:
    """How many episodes are in each of `states`, without the states that have none."""
    query = (
        select(episodes.c.state, func.count())
        .where(episodes.c.state.in_(states))
        .group_by(episodes.c.state)
    )
    return {State(state): number for state, number in db.execute(query)}


def feeds_by_state(db: Connection, breaker: CircuitBreaker) -> dict[FeedState, int]:
    """How many feeds of the config are in each state; `state_of` decides, SQL only counts."""
    facts = (feeds.c.paused, feeds.c.failures > 0, feeds.c.checked_at.is_not(None))
    found = dict.fromkeys(FeedState, 0)
    for *row, number in db.execute(
        select(*facts, func.count()).where(feeds.c.active).group_by(*facts)
    ):
        found[state_of(breaker, *row)] += number
    return found


def _select_waiting(failed_since: datetime) -> Select[Any]:
    """Reads no more rows than are in these states, however many episodes there are."""
    needs_a_person = or_(
        episodes.c.state.in_((State.HELD, State.UNKNOWN)),
        and_(episodes.c.state == State.FAILED, episodes.c.finished_at > failed_since),
        IS_OVERDUE,
    )
    states = (State.HELD, State.UNKNOWN, State.FAILED, State.PROCESSING)
    groups = (
        select(
            episodes.c.feed_id,
            episodes.c.state,
            func.count().label("episodes"),
            func.max(episodes.c.id).label("newest_id"),
            func.max(func.coalesce(episodes.c.submitted_at, episodes.c.first_seen_at)).label(
                "begun_at"
            ),
            func.max(episodes.c.finished_at).label("finished_at"),
        )
        .where(episodes.c.state.in_(states), needs_a_person)
        .group_by(episodes.c.feed_id, episodes.c.state)
        .subquery()
    )
    newest = episodes.alias("newest")
    return (
        select(groups, feeds.c.name, newest.c.title, newest.c.reason, newest.c.step)
        .join_from(groups, feeds, feeds.c.id == groups.c.feed_id)
        .join(newest, newest.c.id == groups.c.newest_id)
        .order_by(feeds.c.name, groups.c.state)
    )
