"""Restore: compares the ledger with the journal, and mends a database that lacks claims.

That database was lost, restored from a copy, or replaced under the daemon. Claims are compared by
their tokens: at the start, when another process has written to the journal, and when the database
turns out not to have our last claim.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from feedwatch.core import circuit_breaker, episode_lifecycle, ledger_lifecycle
from feedwatch.core.episode import State
from feedwatch.core.job import Later, Refused
from feedwatch.core.job_lifecycle import ended_step
from feedwatch.core.ledger import (
    Claim,
    Finding,
    Outcome,
    doubted_until,
    finding,
    is_alike,
    is_at_ours,
    is_older,
)
from feedwatch.core.pipeline import address_key, feeds_by_target
from feedwatch.core.printable import counted
from feedwatch.core.settings import FeedConfig
from feedwatch.store.errors import StoreError
from feedwatch.store.journal import KEPT_CLAIMS, Journal, read_markers
from feedwatch.store.store import Store
from feedwatch.watcher.context import Context

log = logging.getLogger(__name__)

DOUBTFUL = (State.SUBMITTING, State.UNKNOWN)  # whose last POST has no answer in the database


def compare(context: Context, expected: str | None = None) -> str | None:
    """Compare journal and ledger, take over what the ledger lacks, and fill the journal up.

    expected: the token of a claim that the ledger must have after this. If it does not, no journal
        has kept the claims that are missing, and all that may be paid already is held.

    Returns the token of the ledger's latest claim.
    """
    store, journal, now = context.store, context.journal, context.clock()
    policy = context.plan.policy
    recorded = journal.read()
    ours = [one for one in recorded if is_alike(one, context.apis)]
    if len(ours) < len(recorded):
        log.info(
            "journal: passed over, as they are for another API, a sandbox or a test: %s",
            counted(len(recorded) - len(ours), "claim"),
        )
    feeds_of = feeds_by_target(context.plan.sources.values())
    try:
        known, done, latest = store.imports.take_over(ours, feeds_of, now, policy, context.apis)
    except StoreError:
        journal.forget()  # what was read is compared with nothing: it is read again in time
        raise
    if done.imported:
        log.error(
            "this database is new, another one or restored from a copy: the journal has %s "
            "that it did not know. Of these, whose episodes are polled: %d, are in doubt: %d, were "
            "met by no check yet: %d; that change nothing here, such as refused ones: %d. Older "
            "items that turn up are held, in: %s",
            counted(done.imported, "claim"),
            *(done.processing, done.unknown, done.unmet, done.idle),
            ", ".join(done.feeds) or "no feed of the config",
        )
        elsewhere = [one for one in ours if not is_at_ours(one, context.apis)]
        if number := sum(finding(one, known) is Finding.MISSING for one in elsewhere):
            log.warning(
                "of these, submitted to another address than %s: %s, which cannot be polled here; "
                "what they have paid for is held",
                " or ".join(sorted({address_key(one.target.processor) for one in elsewhere})),
                counted(number, "claim"),
            )
        if done.unknown:
            reason = f"of the submissions that this database did not know, in doubt: {done.unknown}"
            for name in done.unknown_at:
                doubt = partial(
                    circuit_breaker.breaker_after_doubt,
                    reason=reason,
                    now=now,
                    policy=context.plan.policy_of(name),
                )
                store.breakers.change(name, doubt)
    for claim in ours:
        match finding(claim, known):
            case Finding.SETTLED:
                _settle(context, known[claim.token], claim)
            case Finding.CONTRADICTED:
                log.critical(
                    "journal and database disagree about the job of %r of feed %s: %s and %s",
                    *(claim.title, claim.feed, claim.media_id, known[claim.token].media_id),
                )
    if expected is not None and not store.claims.by_token([expected]):
        _hold_everything(context)
    union = {one.token: one for one in ours} | {one.token: one for one in latest}
    journal.bring_up_to_date(list(union.values()))
    return latest[-1].token if latest else None


@dataclass(frozen=True, kw_only=True)
class NextImport:
    """What the next start will import: claims that the journal has and this database lacks."""

    missing: Sequence[Claim] = ()
    feeds_of: Mapping[str, Collection[str]] = field(default_factory=dict)  # by their targets
    doubted_until: Mapping[str, datetime] = field(default_factory=dict)  # by the feeds' names


def next_import(
    store: Store, journal: Journal, sources: Collection[FeedConfig], apis: Mapping[str, str]
) -> NextImport:
    """Compare the journal with the ledger as `compare` does, and write nothing."""
    ours = [one for one in journal.read() if is_alike(one, apis)]
    ledger = store.claims.by_token([one.token for one in ours])
    missing = [one for one in ours if finding(one, ledger) is Finding.MISSING]
    feeds_of = feeds_by_target(sources)
    held_before = {source.name: None for source in sources} | {
        feed.name: feed.hold_if_published_before for feed in store.feeds.all()
    }
    return NextImport(
        missing=missing,
        feeds_of=feeds_of,
        doubted_until=doubted_until(missing, feeds_of, held_before),
    )


def replace_marker(context: Context, markers: Sequence[Path]) -> None:
    """Compare the marker of feedwatch 0.1 once; then the journal takes its place.

    It only counted claims: where it has more of them than the database, all that may have been paid
    for is held.
    """
    store, journal = context.store, context.journal
    marker = read_markers(markers)
    if marker is None:
        return
    if is_older(store.claims.database_id(), marker):
        _hold_everything(context)
    journal.bring_up_to_date(store.claims.latest(KEPT_CLAIMS))
    if not journal.problems:
        for path in markers:
            with suppress(OSError):
                path.unlink()


def _hold_everything(context: Context) -> None:
    """Hold all that may be paid already: claims are missing, and no journal tells which."""
    now = context.clock()
    queued = context.store.claims.hold_everything(now, episode_lifecycle.doubted)
    log.error(
        "more was submitted than this database knows of, and no journal has it: it is new, another "
        "one or restored from a copy. %s and all that the next check of each feed "
        "finds new are held. `feedwatch approve --feed NAME` or `skip --feed NAME` settles it",
        counted(queued, "queued episode"),
    )


def _settle(context: Context, known: Claim, recorded: Claim) -> None:
    """Write an answer that the journal has and the ledger lacks."""
    store, now = context.store, context.clock()
    policy = context.plan.policy_of(recorded.target.processor)
    before = store.episodes.get(known.episode_id) if known.episode_id is not None else None
    if before is None:  # its item was not met yet, and will find the answer
        store.claims.settle_unmet(recorded)
        return
    reason = "the answer was read, and feedwatch stopped before it was recorded"
    ours = replace(recorded, number=known.number)
    is_its_last = before.state in DOUBTFUL and before.claim == known.number
    if not is_at_ours(recorded, context.apis):
        if recorded.outcome is Outcome.ACCEPTED and is_its_last:
            elsewhere = ledger_lifecycle.accepted_elsewhere(before, recorded)
            outcome, job = recorded.outcome, recorded.media_id
            saved = store.claims.settle(known.token, outcome, before, elsewhere, now, media_id=job)
            if saved is not None:
                context.log_move(before, saved)
        return
    after = ledger_lifecycle.imported(before, ours, now, policy)
    is_under_way = is_its_last and before.state is State.SUBMITTING
    if is_under_way and recorded.outcome is Outcome.REFUSED:
        course = context.plan.course(before)
        after = episode_lifecycle.answered(before, Refused(reason), now, policy, course=course)
    elif is_under_way and recorded.outcome is Outcome.NOT_TAKEN:
        after = episode_lifecycle.answered(before, Later(reason), now, policy)
    saved = store.claims.settle(
        known.token,
        recorded.outcome,
        before,
        after or before,
        now,
        sent=recorded.sent,
        media_id=recorded.media_id,  # the episode may have come to another job, of a later claim
        ended=ended_step(before, after, now) if after is not None else None,
    )
    if saved is not None:
        context.log_move(before, saved)
