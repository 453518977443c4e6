"""Claims: the committed intention to send one POST, and every limit that may forbid it.

The table `claims` is the ledger. A claim is made in one transaction with the move of its episode,
and its outcome is written in one with the move that the answer leads to.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple
from uuid import uuid4

from sqlalchemy import Connection, Engine, func, insert, or_, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from feedwatch.core import events, ledger_lifecycle
from feedwatch.core.episode import LIVE, Cause, Episode, LiveJob, State
from feedwatch.core.identity import Key, KeyKind
from feedwatch.core.ledger import (
    PERHAPS_PAID,
    TITLE_LENGTH,
    Claim,
    DatabaseId,
    Outcome,
    Target,
    key_hash,
)
from feedwatch.core.pipeline import ORDER, EndedStep, Step, steps_of
from feedwatch.core.schedule import DAY
from feedwatch.core.settings import Policy
from feedwatch.store import breakers
from feedwatch.store.claim_rows import (
    by_token,
    fetch_claims,
    insert_claims,
    latest_claims,
    next_number,
    select_claims,
)
from feedwatch.store.database import reading
from feedwatch.store.episodes import (
    fetch_episodes,
    fetch_keys,
    move_episode,
    select_episodes,
)
from feedwatch.store.errors import StoreError
from feedwatch.store.feeds import set_doubt
from feedwatch.store.lease import Lease
from feedwatch.store.limits import (
    conflicts,
    first_paid,
    jobs_in_flight,
    refusals_in_a_row,
    submissions_since,
)
from feedwatch.store.outbox import Outbox
from feedwatch.store.schema import claims, episodes, feeds, imprint
from feedwatch.store.sql import is_due

_STRONGEST_FIRST = {kind: place for place, kind in enumerate(KeyKind)}


class Intent(NamedTuple):
    """What a claim would make of an episode, and what its POST would be for."""

    claimed: Episode
    target: Target
    later: Sequence[Target] = ()  # what the POSTs for its later steps would be for


class PutOff(NamedTuple):
    """What an episode is that is not to be submitted now: as it waits, or is concluded."""

    after: Episode


@dataclass(frozen=True, kw_only=True)
class ClaimResult:
    """What came of the attempt to claim."""

    episode: Episode | None = None  # claimed; None: nothing may be submitted now
    claim: Claim | None = None
    ledger_differs: bool = False  # the last claim is missing: this is another or an older database
    others: Sequence[tuple[Episode, Episode]] = ()  # paid already, or put off: before, and as moved


class ClaimStore:
    """The ledger. Each public method is one transaction."""

    def __init__(self, engine: Engine, outbox: Outbox, lease: Lease | None = None) -> None:
        """`outbox` gets an event when the database turns out to lack claims.

        lease: what a claim needs, where the database has leases.
        """
        self._engine = engine
        self._outbox = outbox
        self._lease = lease

    def claim(
        self,
        processor: str,
        now: datetime,
        policy: Policy,
        intent: Callable[[Episode], Intent | PutOff | None],
        last: str | None = None,
    ) -> ClaimResult:
        """Claim the oldest episode that may be submitted now, as `intent` says.

        intent: None passes over the feed of the episode.
        last: the token of the claim that was made before this one.

        The same transaction checks everything that can forbid a submission: pauses, the circuit
        breaker, the limits of concurrent jobs and of submissions in any 24 hours, and whether a
        claim for another episode has paid for this one already, at this step or at a later one,
        for which this step would be made in vain: then it becomes held or skipped.
        What is to wait is put off, and asked for again when that is over, or in a day.
        Raises `StoreError`, also where the lease is another process's.
        """
        with self._engine.begin() as db:
            term = self._lease.require(db) if self._lease is not None else 0
            breaker = breakers.load(db, processor, lock=True)
            if breaker.paused or breaker.tripped_until is not None:
                return ClaimResult()
            if last is not None and not by_token(db, [last]):
                return ClaimResult(ledger_differs=True)
            if jobs_in_flight(db, processor, but_overdue=True) >= policy.max_concurrent_jobs:
                return ClaimResult()
            if submissions_since(db, now - DAY, processor) >= policy.max_submissions_per_day:
                return ClaimResult()
            passed_over: set[str] = set()
            others: list[tuple[Episode, Episode]] = []
            while (before := _next_queued(db, processor, passed_over, now)) is not None:
                order = intent(before)
                if order is None:
                    passed_over.add(before.feed)
                    continue
                if isinstance(order, PutOff):
                    saved = move_episode(db, before, order.after, now)
                    others += [(before, saved)] if saved is not None else []
                    if saved is not None and saved.state is State.READY:
                        self._outbox.put(db, events.ready(saved, now), now)
                    continue
                keys = fetch_keys(db, before.id)
                paid = first_paid(db, before, keys, (order.target, *order.later))
                if paid is not None:
                    after = ledger_lifecycle.paid_already(before, *paid)
                    saved = move_episode(db, before, after, now)
                    others.append((before, saved or after))
                    continue
                claim = _claim_for(order, next_number(db), keys, now, term)
                claimed = replace(order.claimed, claim=claim.number)
                saved = move_episode(db, before, claimed, now)
                if saved is None:  # another process has changed it since it was read
                    continue
                insert_claims(db, [claim])
                return ClaimResult(episode=saved, claim=claim, others=others)
        return ClaimResult(others=others)

    def settle(
        self,
        token: str,
        outcome: Outcome,
        before: Episode,
        after: Episode,
        now: datetime,
        *,
        sent: bool = True,
        media_id: str | None = None,
        actor: str | None = None,
        ended: EndedStep | None = None,
    ) -> Episode | None:
        """Write what came of a claim, and the move of its episode that follows: both or neither.

        `media_id` is the claim's job, if the episode may have another one by then, `actor` the
        person who found out, if it was one, and `ended` the step that has ended by it.

        Returns the episode as saved. None if somebody else has changed it since `before` was read:
        then nothing is written, or the claim would be settled and its episode in doubt for ever.
        Raises `StoreError`, also where the database refuses the statement for a cause of its own:
        an answer must not be given up for that.
        """
        values = {"outcome": outcome, "sent": sent, "settled_at": now}
        if outcome is Outcome.ACCEPTED:
            values["media_id"] = media_id or after.media_id
        open_ended = claims.c.outcome.in_((Outcome.OPEN, Outcome.UNKNOWN))
        change = update(claims).where(claims.c.token == token, open_ended).values(values)
        try:
            with self._engine.begin() as db:
                if not by_token(db, [token]):
                    return None  # another database: the next claim will notice
                saved = move_episode(db, before, after, now, actor, ended=ended)
                if saved is not None:
                    db.execute(change)
                return saved
        except IntegrityError:
            raise
        except DBAPIError as error:
            raise StoreError(f"the database has refused an answer: {error.orig}") from error

    def settle_unmet(self, recorded: Claim) -> None:
        """Write what came of a claim whose episode was not met yet, as the journal has it."""
        values = {
            name: getattr(recorded, name) for name in ("outcome", "sent", "media_id", "settled_at")
        }
        with self._engine.begin() as db:
            db.execute(update(claims).where(claims.c.token == recorded.token).values(values))

    def conflicts(
        self, wanted: Sequence[tuple[Episode, Sequence[Target]]]
    ) -> dict[int, list[tuple[Claim, str]]]:
        """For each episode, by its id, what others have paid for: the newest claim and its API.

        One for each of its targets that is paid for.
        """
        with reading(self._engine) as db:
            return conflicts(db, wanted)

    def conflict_of(
        self, keys: Collection[Key], targets: Sequence[Target]
    ) -> tuple[Claim, State, str] | None:
        """The same for an item that is no episode yet, of the first of `targets` that is paid for.

        Beside the claim, the state that it would get, and the API that it would be submitted to.
        """
        with reading(self._engine) as db:
            return first_paid(db, None, keys, targets)

    def may_claim_later(self, processor: str, now: datetime, policy: Policy) -> bool:
        """Whether a queued episode will be submitted soon, with no person's help.

        What waits for its date or for FEEDWATCH_SUBMIT_DELAY may wait for long.
        """
        with reading(self._engine) as db:
            breaker = breakers.load(db, processor)
            if breaker.paused or breaker.blocked:
                return False
            if submissions_since(db, now - DAY, processor) >= policy.max_submissions_per_day:
                return False
            return _next_queued(db, processor, (), now, or_deferred=True) is not None

    def in_flight(self, processor: str | None = None) -> int:
        """How many jobs are accepted and not final, with the submissions under way."""
        with reading(self._engine) as db:
            return jobs_in_flight(db, processor)

    def live_jobs(self) -> list[LiveJob]:
        """The same, each with what the API last said."""
        live, one = episodes.c.state.in_(LIVE), episodes.c
        query = select(one.id, one.step, one.cause, one.remote_since).where(live)
        with reading(self._engine) as db:
            rows = db.execute(query).all()
        return [
            LiveJob(number, Step(step), Cause(cause) if cause is not None else None, since)
            for number, step, cause, since in rows
        ]

    def submitted_since(self, moment: datetime, processor: str | None = None) -> int:
        """How many POSTs have left since `moment`, or may have."""
        with reading(self._engine) as db:
            return submissions_since(db, moment, processor)

    def refusals_in_a_row(self, feed: str, step: Step) -> int:
        """How many of a feed's POSTs for a step were refused since one was taken or approved."""
        with reading(self._engine) as db:
            return refusals_in_a_row(db, feed, step)

    def database_id(self) -> DatabaseId:
        """Which database this is, and the number of its last claim."""
        with reading(self._engine) as db:
            return DatabaseId(**db.execute(select(imprint)).mappings().one())

    def by_token(self, tokens: Collection[str]) -> dict[str, Claim]:
        """The claims that have these tokens, without their keys."""
        with reading(self._engine) as db:
            return by_token(db, tokens)

    def latest(self, most: int) -> list[Claim]:
        """The latest claims, with their keys, the oldest of them first."""
        with reading(self._engine) as db:
            return latest_claims(db, most)

    def latest_of(self, episode_id: int) -> Claim | None:
        """The latest claim of an episode."""
        with reading(self._engine) as db:
            found = fetch_claims(db, select_claims().where(claims.c.episode_id == episode_id))
        return found[-1] if found else None

    def of(self, episode: Episode) -> Claim | None:
        """The claim of the POST that an episode's row is about."""
        if episode.claim is None:
            return None
        with reading(self._engine) as db:
            found = fetch_claims(db, select_claims().where(claims.c.number == episode.claim))
        return found[0] if found else None

    def latest_job(self, processor: str) -> tuple[str, str] | None:
        """The target and the id of the newest job of a processor."""
        query = (
            select(claims.c.target, claims.c.media_id)
            .where(claims.c.processor == processor, claims.c.media_id.is_not(None))
            .order_by(claims.c.number.desc())
            .limit(1)
        )
        with reading(self._engine) as db:
            row = db.execute(query).first()
        return (row.target, row.media_id) if row is not None else None

    def apis_of_episodes(self) -> dict[int, set[str]]:
        """At which APIs each episode may have been paid for, by the episodes' ids."""
        query = select(claims.c.episode_id, claims.c.api).where(
            claims.c.episode_id.is_not(None), claims.c.outcome.in_(PERHAPS_PAID)
        )
        found: dict[int, set[str]] = {}
        with reading(self._engine) as db:
            for episode_id, api in db.execute(query.distinct()):
                found.setdefault(episode_id, set()).add(api)
        return found

    def hold_everything(self, now: datetime, held: Callable[[Episode], Episode]) -> int:
        """Hold all that may have been paid for already: claims are missing that nothing has kept.

        Queued episodes, and those after whose job another step may come, become what `held` makes
        of them, and what the next check of each feed finds new will be held too. Returns how
        many episodes were queued.
        """
        state, step = episodes.c.state, episodes.c.step
        may_go_on = state.in_((State.PROCESSING, State.FAILED, State.UNKNOWN)) & (step != ORDER[-1])
        with self._engine.begin() as db:
            set_doubt(db, now, now)
            concerned = or_(state == State.QUEUED, may_go_on)
            query = select_episodes().where(concerned).order_by(episodes.c.id)
            found = fetch_episodes(db, query.with_for_update(of=episodes))
            for episode in found:
                move_episode(db, episode, held(episode), now)
            queued = sum(episode.state is State.QUEUED for episode in found)
            self._outbox.put(db, events.everything_held(now, queued), now)
        return queued


def ensure_database_id(db: Connection) -> None:
    """Give the database an id of its own, if it has none."""
    if db.execute(select(imprint)).first() is None:
        db.execute(insert(imprint).values(id=str(uuid4()), claims=0))


def _claim_for(
    order: Intent, number: int, keys: Collection[Key], now: datetime, term: int
) -> Claim:
    episode = order.claimed
    return Claim(
        number=number,
        token=str(uuid4()),
        at=now,
        term=term,
        target=order.target,
        step=episode.step,
        feed=episode.feed,
        title=episode.title[:TITLE_LENGTH],
        keys=tuple(map(key_hash, sorted(keys, key=lambda key: _STRONGEST_FIRST[key.kind]))),
        episode_id=episode.id,
        posted_for=episode.id,
    )


def _next_queued(
    db: Connection,
    processor: str,
    but_feeds: Collection[str],
    due_by: datetime,
    *,
    or_deferred: bool = False,
) -> Episode | None:
    """The oldest episode that may be submitted and is due, or was deferred once."""
    due = is_due(episodes.c.due_at, due_by)
    oldest = func.coalesce(episodes.c.published_at, episodes.c.first_seen_at)
    query = (
        select_episodes()
        .where(
            episodes.c.state == State.QUEUED,
            episodes.c.step.in_(steps_of(processor)),
            episodes.c.description.is_not(None),
            feeds.c.active,
            ~feeds.c.paused,
            feeds.c.missing_podcast.is_(None),
            or_(due, episodes.c.deferrals > 0) if or_deferred else due,
        )
        .order_by(oldest, episodes.c.id)
        .limit(1)
    )
    if but_feeds:
        query = query.where(feeds.c.name.not_in(but_feeds))
    return next(iter(fetch_episodes(db, query)), None)
