"""Claims: the committed intention to send one POST, and every limit that may forbid it."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Engine, Select, and_, func, insert, or_, select, update

from feedwatch.core import events
from feedwatch.core.episode import LIVE, Episode, State
from feedwatch.core.ledger import DatabaseId
from feedwatch.core.schedule import DAY
from feedwatch.core.settings import Policy
from feedwatch.store import breakers
from feedwatch.store.database import reading
from feedwatch.store.episodes import fetch_episodes, move_episode, select_episodes
from feedwatch.store.outbox import Outbox
from feedwatch.store.schema import episodes, feeds, history, imprint
from feedwatch.store.sql import is_due


class ClaimStore:
    """Claims, and how many there were. Each public method is one transaction."""

    def __init__(self, engine: Engine, outbox: Outbox) -> None:
        """`outbox` gets an event when the database turns out to lack claims."""
        self._engine = engine
        self._outbox = outbox

    def claim(
        self,
        processor: str,
        now: datetime,
        policy: Policy,
        claimed: Callable[[Episode], Episode | None],
    ) -> Episode | None:
        """Claim the oldest episode that may be submitted now: save what `claimed` makes of it.

        The same transaction checks everything that can forbid a submission: pauses, the circuit
        breaker, the limits of concurrent jobs and of submissions in any 24 hours. None if one does,
        if no episode is due, or if `claimed` makes none of it.
        """
        with self._engine.begin() as db:
            breaker = breakers.load(db, processor, lock=True)
            if breaker.paused or breaker.tripped_until is not None:
                return None
            if jobs_in_flight(db, but_overdue=True) >= policy.max_concurrent_jobs:
                return None
            if submissions_since(db, now - DAY) >= policy.max_submissions_per_day:
                return None
            queued = fetch_episodes(db, _next_queued().where(is_due(episodes.c.due_at, now)))
            if not queued:
                return None
            (before,) = queued
            if (after := claimed(before)) is None:
                return None
            db.execute(update(imprint).values(claims=imprint.c.claims + 1))
            return move_episode(db, before, after, now)

    def may_claim_later(self, processor: str, now: datetime, policy: Policy) -> bool:
        """Whether a queued episode will be submitted once time passes, with no person's help."""
        with reading(self._engine) as db:
            breaker = breakers.load(db, processor)
            if breaker.paused or breaker.blocked:
                return False
            if submissions_since(db, now - DAY) >= policy.max_submissions_per_day:
                return False
            return db.execute(_next_queued()).first() is not None

    def in_flight(self) -> int:
        """How many jobs are accepted and not final, with the submissions under way."""
        with reading(self._engine) as db:
            return jobs_in_flight(db)

    def submitted_since(self, moment: datetime) -> int:
        """How many submissions since `moment` were taken, or may have been."""
        with reading(self._engine) as db:
            return submissions_since(db, moment)

    def refusals_in_a_row(self, feed: str) -> int:
        """How many of a feed's POSTs were refused since one was taken or its queue approved."""
        with reading(self._engine) as db:
            return refusals_in_a_row(db, feed)

    def database_id(self) -> DatabaseId:
        """Which database this is, and how many submissions were ever claimed from it."""
        with reading(self._engine) as db:
            return DatabaseId(**db.execute(select(imprint)).mappings().one())

    def hold_everything(self, now: datetime, held: Callable[[Episode], Episode]) -> int:
        """Hold all that may have been paid for already: the database lacks claims that were made.

        Queued episodes become what `held` makes of them, and what the next check of each feed finds
        new will be held too. Returns how many episodes were queued.
        """
        with self._engine.begin() as db:
            db.execute(update(feeds).values(hold_if_published_before=now))
            query = select_episodes().where(episodes.c.state == State.QUEUED)
            queued = fetch_episodes(db, query)
            for episode in queued:
                move_episode(db, episode, held(episode), now)
            self._outbox.put(db, events.restored(now, len(queued)), now)
        return len(queued)


def _next_queued() -> Select[Any]:
    """The oldest episode that may be submitted, due or not."""
    oldest = func.coalesce(episodes.c.published_at, episodes.c.first_seen_at)
    return (
        select_episodes()
        .where(
            episodes.c.state == State.QUEUED,
            episodes.c.description.is_not(None),
            feeds.c.active,
            ~feeds.c.paused,
            feeds.c.missing_podcast.is_(None),
        )
        .order_by(oldest, episodes.c.id)
        .limit(1)
    )


def ensure_database_id(db: Connection) -> None:
    """Give the database an id of its own, if it has none."""
    if db.execute(select(imprint)).first() is None:
        db.execute(insert(imprint).values(id=str(uuid4()), claims=0))


def jobs_in_flight(db: Connection, *, but_overdue: bool = False) -> int:
    """How many jobs are not final. An overdue one may never be: it must not make others wait."""
    query = select(func.count()).select_from(episodes).where(episodes.c.state.in_(LIVE))
    return db.scalars(query.where(~episodes.c.overdue) if but_overdue else query).one()


def refusals_in_a_row(db: Connection, feed: str) -> int:
    """The same, within a transaction. What was surely not taken, or is in doubt, says nothing."""
    entry = history.c
    approved = and_(entry.previous == State.HELD, entry.state == State.QUEUED)
    refused = and_(entry.previous == State.SUBMITTING, entry.state == State.FAILED)
    accepted = and_(entry.previous == State.SUBMITTING, entry.state == State.PROCESSING)
    of_feed = (
        select(entry.id, refused.label("refused"))
        .select_from(history.join(episodes, episodes.c.id == entry.episode_id).join(feeds))
        .where(feeds.c.name == feed, or_(approved, refused, accepted))
    ).subquery()
    last_other = (
        select(func.coalesce(func.max(of_feed.c.id), 0)).where(~of_feed.c.refused).scalar_subquery()
    )
    count = select(func.count()).select_from(of_feed)
    return db.scalars(count.where(of_feed.c.refused, of_feed.c.id > last_other)).one()


def submissions_since(db: Connection, moment: datetime) -> int:
    """How many POSTs were taken, refused or in doubt, or have no answer yet."""
    answered = (
        select(func.count())
        .select_from(history)
        .where(
            history.c.previous == State.SUBMITTING,
            history.c.at > moment,
            history.c.at < moment + 3 * DAY,  # what lies further ahead is a clock's error
            history.c.state.in_((State.PROCESSING, State.UNKNOWN, State.FAILED, State.HELD)),
        )
    )
    waiting = select(func.count()).select_from(episodes).where(episodes.c.state == State.SUBMITTING)
    return db.scalars(answered).one() + db.scalars(waiting).one()
