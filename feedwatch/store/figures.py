"""What is counted. Each figure by an index, so that none costs more the more episodes there are."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from feedwatch.model import State
from feedwatch.store.schema import episodes, feeds


@dataclass(frozen=True, kw_only=True)
class Vitals:
    """What shows whether the daemon gets on with its work."""

    at: datetime  # when this was so
    feeds: int  # in the config
    live_jobs: int
    held: int
    unknown: int
    feed_due_at: datetime | None  # of the feed that has been due for longest
    job_due_at: datetime | None  # of the job that has been due for longest


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
