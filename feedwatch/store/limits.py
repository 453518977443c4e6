"""Limits: how many jobs and submissions there are, and what is paid for, by others as well.

They are asked for within the transaction of a claim.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection, and_, func, or_, select

from feedwatch.core.episode import LIVE, Episode, State
from feedwatch.core.identity import Key
from feedwatch.core.ledger import PERHAPS_PAID, Claim, Target, key_hash, paid_by
from feedwatch.core.pipeline import Step, steps_of
from feedwatch.core.schedule import DAY
from feedwatch.store.claim_rows import fetch_claims, select_claims
from feedwatch.store.schema import claim_keys, claims, episodes, feeds, history

IS_OVERDUE = and_(episodes.c.state == State.PROCESSING, episodes.c.overdue)


def jobs_in_flight(
    db: Connection,
    processor: str | None = None,
    *,
    but_overdue: bool = False,
) -> int:
    """How many jobs are not final. An overdue one may never be: it must not make others wait.

    processor: None counts those of all.
    """
    query = select(func.count()).select_from(episodes).where(episodes.c.state.in_(LIVE))
    if processor is not None:
        query = query.where(episodes.c.step.in_(steps_of(processor)))
    if but_overdue:
        query = query.where(~episodes.c.overdue)
    return db.scalars(query).one()


def overdue_jobs(db: Connection, processor: str) -> int:
    """How many jobs were not final by their deadline."""
    is_its_own = episodes.c.step.in_(steps_of(processor))
    query = select(func.count()).select_from(episodes).where(IS_OVERDUE, is_its_own)
    return db.scalars(query).one()


def refusals_in_a_row(db: Connection, feed: str, step: Step) -> int:
    """How many of a feed's POSTs for a step were refused since one was taken or some approved.

    What was surely not taken, or is in doubt, says nothing.
    """
    entry = history.c
    approved = and_(entry.previous == State.HELD, entry.state == State.QUEUED)
    refused = and_(entry.previous == State.SUBMITTING, entry.state == State.FAILED)
    accepted = and_(entry.previous == State.SUBMITTING, entry.state == State.PROCESSING)
    of_feed = (
        select(entry.id, refused.label("refused"))
        .select_from(history.join(episodes, episodes.c.id == entry.episode_id).join(feeds))
        .where(
            feeds.c.name == feed,
            func.coalesce(entry.step, Step.ADS) == step,
            or_(approved, refused, accepted),
        )
    ).subquery()
    last_other = (
        select(func.coalesce(func.max(of_feed.c.id), 0)).where(~of_feed.c.refused).scalar_subquery()
    )
    count = select(func.count()).select_from(of_feed)
    return db.scalars(count.where(of_feed.c.refused, of_feed.c.id > last_other)).one()


def submissions_since(db: Connection, moment: datetime, processor: str | None = None) -> int:
    """How many POSTs have left, or may have: refused ones count, since they reach the API, too.

    processor: None counts those of all.
    """
    query = (
        select(func.count())
        .select_from(claims)
        .where(
            claims.c.at > moment,
            claims.c.at < moment + 3 * DAY,  # what lies further ahead is a clock's error
            claims.c.sent,
        )
    )
    if processor is not None:
        query = query.where(claims.c.processor == processor)
    return db.scalars(query).one()


def first_paid(
    db: Connection, episode: Episode | None, keys: Collection[Key], targets: Sequence[Target]
) -> tuple[Claim, State, str] | None:
    """Of the first of these targets that is paid for: as `paid_already`, and with its API."""
    for target in targets:
        if (paid := paid_already(db, episode, keys, target)) is not None:
            return *paid, target.api
    return None


def paid_already(
    db: Connection, episode: Episode | None, keys: Collection[Key], target: Target
) -> tuple[Claim, State] | None:
    """The claim of another episode that has paid for one with `keys`; see `paid_by`."""
    hashes = {key_hash(key) for key in keys}
    numbers = select(claim_keys.c.number).where(
        claim_keys.c.processor == target.processor,
        claim_keys.c.target == target.id,
        claim_keys.c.key.in_(hashes),
    )
    query = select_claims().where(claims.c.number.in_(numbers), claims.c.outcome.in_(PERHAPS_PAID))
    if episode is not None:
        query = query.where(
            claims.c.episode_id.is_distinct_from(episode.id),
            claims.c.number > (episode.cleared_claim or 0),
        )
    return paid_by(keys, reversed(fetch_claims(db, query)), target)
