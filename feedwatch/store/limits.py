"""Limits: how many jobs and submissions there are, and what is paid for, by others as well.

They are asked for within the transaction of a claim.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, and_, func, or_, select

from feedwatch.core.episode import LIVE, Episode, State
from feedwatch.core.identity import Key
from feedwatch.core.ledger import PERHAPS_PAID, Claim, Target, key_hash, paid_by
from feedwatch.core.pipeline import Step, steps_of
from feedwatch.core.schedule import DAY
from feedwatch.store.claim_rows import fetch_claims, select_claims
from feedwatch.store.episodes import keys_of
from feedwatch.store.schema import claim_keys, claims, episodes, feeds, history
from feedwatch.store.sql import chunks

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
    return _paid_by_others(episode, keys, _claims_by_key(db, keys, target), target)


def conflicts(
    db: Connection, wanted: Sequence[tuple[Episode, Sequence[Target]]]
) -> dict[int, list[tuple[Claim, str]]]:
    """For many episodes at once, by id: of each target that is paid for the claim and the API."""
    keys = keys_of(db, [episode.id for episode, _ in wanted])
    of_target: defaultdict[Target, set[Key]] = defaultdict(set)
    for episode, targets in wanted:
        for target in targets:
            of_target[target].update(keys[episode.id])
    claimed = {target: _claims_by_key(db, all_, target) for target, all_ in of_target.items()}
    return {
        episode.id: [
            (paid[0], target.api)
            for target in targets
            if (paid := _paid_by_others(episode, keys[episode.id], claimed[target], target))
        ]
        for episode, targets in wanted
    }


def _claims_by_key(
    db: Connection, keys: Collection[Key], target: Target
) -> Mapping[str, list[Claim]]:
    """By hash of a key: the claims for a target that have perhaps paid for what has this key."""
    found: defaultdict[str, list[Claim]] = defaultdict(list)
    for hashes in chunks({key_hash(key) for key in keys}):
        numbers = select(claim_keys.c.number).where(
            claim_keys.c.processor == target.processor,
            claim_keys.c.target == target.id,
            claim_keys.c.key.in_(hashes),
        )
        paid = claims.c.number.in_(numbers), claims.c.outcome.in_(PERHAPS_PAID)
        for claim in fetch_claims(db, select_claims().where(*paid)):
            for key in set(hashes).intersection(claim.keys):
                found[key].append(claim)
    return found


def _paid_by_others(
    episode: Episode | None,
    keys: Collection[Key],
    claimed: Mapping[str, Sequence[Claim]],
    target: Target,
) -> tuple[Claim, State] | None:
    rivals = {claim.number: claim for key in keys for claim in claimed.get(key_hash(key), ())}
    if episode is not None:
        cleared = episode.cleared_claim or 0
        rivals = {
            number: claim
            for number, claim in rivals.items()
            if claim.episode_id != episode.id and number > cleared
        }
    return paid_by(keys, [rivals[number] for number in sorted(rivals, reverse=True)], target)
