"""Claims: the committed intention to send one POST, and every limit that may forbid it."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Select,
    and_,
    func,
    select,
    update,
)

from feedwatch.core import events
from feedwatch.core.episode import LIVE, Episode, State
from feedwatch.core.ledger import DatabaseId
from feedwatch.core.schedule import DAY
from feedwatch.core.settings import Policy
from feedwatch.store import breakers
from feedwatch.store.database import reading
from feedwatch.store.episodes import episode_from_row, move_episode, select_episodes
from feedwatch.store.outbox import Outbox
from feedwatch.store.schema import (
    episodes,
    feeds,
    history,
    imprint,
)
from feedwatch.store.sql import HORIZON, is_due


class ClaimStore:
    """Claims, and how many there were."""

    def __init__(self, engine: Engine, outbox: Outbox) -> None:
        """That a database was restored is announced through `outbox`."""
        self._engine = engine
        self.outbox = outbox

    def claim(
        self, processor: str, now: datetime, policy: Policy, claimed: Callable[[Episode], Episode]
    ) -> Episode | None:
        """Take the oldest episode that may be submitted now, and commit `claimed` of it.

        Everything that can forbid a submission is asked in the same transaction: pauses, the gate,
        the limit of concurrent jobs and that of submissions in any 24 hours.
        """
        with self._engine.begin() as db:
            breaker = breakers.load(db, processor, lock=True)
            if breaker.paused or breaker.tripped_until is not None:
                return None
            if jobs_in_flight(db, but_overdue=True) >= policy.max_concurrent_jobs:
                return None
            if submissions_since(db, now - DAY) >= policy.max_submissions_per_day:
                return None
            row = db.execute(_next_queued(now)).mappings().one_or_none()
            if row is None:
                return None
            before = episode_from_row(row)
            db.execute(update(imprint).values(claims=imprint.c.claims + 1))
            return move_episode(db, before, claimed(before), now)

    def may_claim_later(self, processor: str, now: datetime, policy: Policy) -> bool:
        """Whether a queued episode will be submitted once time passes, with no person's help."""
        with reading(self._engine) as db:
            breaker = breakers.load(db, processor)
            if breaker.paused or breaker.blocked:
                return False
            if submissions_since(db, now - DAY) >= policy.max_submissions_per_day:
                return False
            return db.execute(_next_queued(None)).first() is not None

    def in_flight(self) -> int:
        """Jobs that are accepted and not final, and submissions under way."""
        with reading(self._engine) as db:
            return jobs_in_flight(db)

    def submitted_since(self, moment: datetime) -> int:
        """Submissions since `moment` that were taken, or may have been."""
        with reading(self._engine) as db:
            return submissions_since(db, moment)

    def database_id(self) -> DatabaseId:
        """Which database this is, and how many submissions were ever claimed from it."""
        with reading(self._engine) as db:
            return DatabaseId(**db.execute(select(imprint)).mappings().one())

    def hold_everything(self, now: datetime, held: Callable[[Episode], Episode]) -> int:
        """Take in that more has happened than this database knows of.

        What is queued becomes `held` of it, and what the next check of each feed finds new will be
        held too. Returns how many episodes were queued.
        """
        with self._engine.begin() as db:
            db.execute(update(feeds).values(hold_if_published_before=now))
            query = select_episodes().where(episodes.c.state == State.QUEUED)
            queued = [episode_from_row(row) for row in db.execute(query).mappings()]
            for episode in queued:
                move_episode(db, episode, held(episode), now)
            self.outbox.put(db, events.restored(now, len(queued)), now)
        return len(queued)


def _next_queued(due_by: datetime | None) -> Select[Any]:
    """The oldest episode that may be submitted; with `due_by`, of those due by then."""
    oldest = func.coalesce(episodes.c.published_at, episodes.c.first_seen_at)
    query = (
        select_episodes()
        .where(
            episodes.c.state == State.QUEUED,
            episodes.c.description.is_not(None),
            feeds.c.active,
            ~feeds.c.paused,
        )
        .order_by(oldest, episodes.c.id)
        .limit(1)
    )
    return query if due_by is None else query.where(is_due(episodes.c.due_at, due_by, HORIZON))


def jobs_in_flight(db: Connection, *, but_overdue: bool = False) -> int:
    """Jobs not final. One that is overdue may never be: it must not keep the others waiting."""
    query = select(func.count()).select_from(episodes).where(episodes.c.state.in_(LIVE))
    if but_overdue:
        query = query.where(~episodes.c.overdue)
    return db.scalars(query).one()


def submissions_since(db: Connection, moment: datetime) -> int:
    """Answers that were not "surely not taken", and POSTs that have none yet."""
    answered = and_(
        history.c.previous == State.SUBMITTING,
        history.c.at > moment,
        history.c.at < moment + 3 * DAY,  # what lies further ahead is a clock's error
        history.c.state.in_((State.PROCESSING, State.UNKNOWN)),
    )
    query = select(func.count()).select_from(history).where(answered)
    waiting = select(func.count()).select_from(episodes).where(episodes.c.state == State.SUBMITTING)
    return db.scalars(query).one() + db.scalars(waiting).one()
