"""Imports: claims that the journal has and the ledger lacks, taken over with what they prove."""

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, Engine, select, update

from feedwatch.core import events, ledger_lifecycle
from feedwatch.core.episode import Episode, State
from feedwatch.core.identity import Key
from feedwatch.core.ledger import (
    PERHAPS_PAID,
    Claim,
    Finding,
    Outcome,
    Restoration,
    Target,
    decisive_of,
    doubted_until,
    finding,
    is_at_ours,
    is_for_here,
    is_met_by,
    key_hash,
)
from feedwatch.core.printable import counted
from feedwatch.core.settings import Policy
from feedwatch.store.checks import Admitted
from feedwatch.store.claim_rows import (
    by_token,
    fetch_claims,
    insert_claims,
    latest_claims,
    next_number,
    select_claims,
)
from feedwatch.store.database import reading
from feedwatch.store.episodes import fetch_episodes, move_episode, select_episodes
from feedwatch.store.feeds import set_doubt
from feedwatch.store.outbox import Outbox
from feedwatch.store.schema import claims, episodes, feeds, identities, imprint
from feedwatch.store.sql import NEW_MEETS_CLAIMS, chunks, lock_value

log = logging.getLogger(__name__)

FILLED_UP = 1000  # of the ledger's latest claims: a new or emptied place has them from then on


class KnownBy(NamedTuple):
    """An episode of a feed, and one of the keys by which it is known."""

    feed: str
    episode_id: int
    key: Key


class Comparison(NamedTuple):
    """What the ledger had of the journal's claims, what it took over, and what it has then."""

    known: Mapping[str, Claim]  # by token, as they were
    done: Restoration
    latest: Sequence[Claim]


class Imports:
    """Takes over claims of the journal."""

    def __init__(self, engine: Engine, outbox: Outbox) -> None:
        """`outbox` gets one event for each import."""
        self._engine = engine
        self._outbox = outbox

    def take_over(
        self,
        recorded: Sequence[Claim],
        feeds_of: Mapping[str, Collection[str]],
        now: datetime,
        policy: Policy,
        apis: Mapping[str, str],
    ) -> Comparison:
        """Import what the ledger lacks of `recorded`, claims by their numbers, in one transaction.

        feeds_of: the names of the feeds that the config has for each target.
        api: where jobs are polled now. What was submitted elsewhere is kept as paid for, since this
            may be the same API at a new address, and moves no episode, since it may be another one.

        All that is told of the ledger is read in it, too: a copy may be restored at any instant.
        """
        with self._engine.begin() as db:
            lock_value(db, NEW_MEETS_CLAIMS)
            known = by_token(db, [one.token for one in recorded])
            missing = [one for one in recorded if finding(one, known) is Finding.MISSING]
            done = Restoration()
            if missing:
                log.info("taking over %s of the journal", counted(len(missing), "claim"))
                done = _take_over(db, missing, feeds_of, now, policy, apis)
                self._outbox.put(db, events.restored(now, done), now)
            for one in recorded:
                if finding(one, known) is Finding.CONTRADICTED:
                    self._outbox.put(db, events.contradicted(one, known[one.token]), now)
            return Comparison(known, done, latest_claims(db, FILLED_UP))

    def waiting(
        self,
        targets: Collection[Target],
        missing: Sequence[Claim],
        feeds_of: Mapping[str, Collection[str]],
    ) -> list[Claim]:
        """The claims for `targets` that will wait for their items once `missing` is imported."""
        ours = [one for one in missing if is_for_here(one, targets)]
        with reading(self._engine) as db:
            episode_of = _episodes_of(db, ours, feeds_of)
            unmet = [claim for claim in ours if episode_of[claim.token] is None]
            return _waiting(db, targets) + unmet


def _take_over(
    db: Connection,
    missing: Sequence[Claim],
    feeds_of: Mapping[str, Collection[str]],
    now: datetime,
    policy: Policy,
    apis: Mapping[str, str],
) -> Restoration:
    """Import `missing`; the episode of each claim becomes `processing` or `unknown`.

    What turns up later in the claims' feeds and is dated before them is held: a person may have
    skipped it meanwhile.
    """
    episode_of = _episodes_of(db, [one for one in missing if is_at_ours(one, apis)], feeds_of)
    taken = {
        number
        for chunk in chunks([claim.number for claim in missing])
        for number in db.scalars(select(claims.c.number).where(claims.c.number.in_(chunk)))
    }
    kept = [claim.number for claim in missing if claim.number not in taken]
    last = db.scalars(select(imprint.c.claims).with_for_update()).one()
    db.execute(update(imprint).values(claims=max([last, *kept])))
    decisive: dict[int, Claim] = {}
    imported: list[Claim] = []
    unmet = 0
    for claim in missing:
        episode_id = episode_of.get(claim.token)
        number = claim.number if claim.number not in taken else next_number(db)
        taken.add(number)
        inserted = replace(claim, number=number, episode_id=episode_id)
        imported.append(inserted)
        if claim.outcome not in PERHAPS_PAID or not is_at_ours(claim, apis):
            continue
        if episode_id is None:
            unmet += 1
        else:
            others = [decisive[episode_id]] if episode_id in decisive else []
            decisive[episode_id] = decisive_of([*others, inserted])
    insert_claims(db, imported)
    moved = [
        (after.state, decisive[episode.id].target.processor)
        for episode in _episodes(db, decisive)
        if (after := _import(db, episode, decisive[episode.id], now, policy)) is not None
    ]
    states = [state for state, _ in moved]
    return Restoration(
        imported=len(missing),
        processing=states.count(State.PROCESSING),
        unknown=states.count(State.UNKNOWN),
        unknown_at=tuple(sorted({name for state, name in moved if state is State.UNKNOWN})),
        unmet=unmet,
        feeds=_doubt(db, missing, feeds_of, now),
    )


def meet_claims(
    db: Connection,
    new: Sequence[Admitted],
    targets: Collection[Target],
    now: datetime,
    policy: Policy,
) -> list[tuple[Episode, Episode]]:
    """Give new episodes the imported claims that were waiting for them.

    Returns the episodes that have moved by it, before and after.
    """
    waiting = _waiting(db, targets)
    moved = []
    for episode_id, admission in new if waiting else ():
        feed = admission.episode.feed
        met = [one for one in waiting if is_met_by(one, admission.keys, feed)]
        if not met:
            continue
        episode = replace(admission.episode, id=episode_id)
        waiting = [one for one in waiting if one not in met]  # one claim pays for one episode
        numbers = [one.number for one in met]
        row = claims.c.number.in_(numbers)
        db.execute(update(claims).where(row).values(episode_id=episode.id))
        paid = [one for one in met if one.outcome in PERHAPS_PAID]
        after = _import(db, episode, decisive_of(paid), now, policy) if paid else None
        if after is not None:
            moved.append((episode, after))
    return moved


def _import(
    db: Connection, episode: Episode, claim: Claim, now: datetime, policy: Policy
) -> Episode | None:
    after = ledger_lifecycle.imported(episode, claim, now, policy)
    saved = move_episode(db, episode, after, now) if after is not None else None
    if after is None or saved is not None:
        return saved
    # Another episode has this job: the API gave one id twice, and the second is in doubt.
    without_job = replace(claim, outcome=Outcome.UNKNOWN, media_id=None)
    doubtful = ledger_lifecycle.imported(episode, without_job, now, policy)
    return move_episode(db, episode, doubtful, now) if doubtful is not None else None


def _waiting(db: Connection, targets: Collection[Target]) -> list[Claim]:
    """The imported claims for `targets` that wait for their items."""
    ids = [target.id for target in targets]
    query = select_claims().where(claims.c.episode_id.is_(None), claims.c.target.in_(ids))
    return [claim for claim in fetch_claims(db, query) if is_for_here(claim, targets)]


def _episodes_of(
    db: Connection, missing: Sequence[Claim], feeds_of: Mapping[str, Collection[str]]
) -> dict[str, int | None]:
    """The episode that each claim is for, by the claims' tokens; None: the database has none."""
    # The claim's own feed, too: its podcast may have been a mistake, which is mended now.
    names = {one.token: {*feeds_of.get(one.target.id, ()), one.feed} for one in missing}
    known_by: dict[str, list[KnownBy]] = defaultdict(list)  # by the hashes of their keys
    for chunk in chunks({name for some in names.values() for name in some}):
        query = (
            select(feeds.c.name, identities.c.episode_id, identities.c.key)
            .join_from(identities, feeds)
            .where(feeds.c.name.in_(chunk))
        )
        for name, episode_id, text in db.execute(query):
            key = Key.parse(text)
            known_by[key_hash(key)].append(KnownBy(name, episode_id, key))
    return {one.token: _episode_of(one, names[one.token], known_by) for one in missing}


def _episode_of(
    claim: Claim, names: Collection[str], known_by: Mapping[str, Sequence[KnownBy]]
) -> int | None:
    """The episode that a claim is for: the one with which it shares the most keys."""
    shared: dict[tuple[str, int], list[Key]] = defaultdict(list)
    for hashed in claim.keys:
        for one in known_by.get(hashed, ()):
            if one.feed in names:
                shared[one.feed, one.episode_id].append(one.key)
    votes = {
        (len(keys), feed == claim.feed, episode_id)
        for (feed, episode_id), keys in shared.items()
        if is_met_by(claim, keys, feed)
    }
    return max(votes)[-1] if votes else None


def _episodes(db: Connection, ids: Collection[int]) -> list[Episode]:
    return [
        episode
        for chunk in chunks(ids)
        # Locked, so that nobody decides about them before they have moved.
        for episode in fetch_episodes(
            db,
            select_episodes()
            .where(episodes.c.id.in_(chunk))
            .order_by(episodes.c.id)
            .with_for_update(of=episodes),
        )
    ]


def _doubt(
    db: Connection, missing: Sequence[Claim], feeds_of: Mapping[str, Collection[str]], now: datetime
) -> tuple[str, ...]:
    """Hold what turns up in the claims' feeds and is dated before them. Returns the feeds."""
    held_before = dict(db.execute(select(feeds.c.name, feeds.c.hold_if_published_before)).all())
    until = doubted_until(missing, feeds_of, held_before)
    for name, moment in until.items():
        set_doubt(db, moment, now, feeds.c.name == name)
    return tuple(sorted(until))
