"""Evaluation: what a document means for a feed; and the record of it, in one transaction.

    fast scan, else the whole document → keys → known episodes → item matches → verdicts → described

Whatever costs money has been read by feedparser, and where it reads another item than the fast scan
did, the whole document is parsed.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from feedwatch.core import feed_lifecycle, redirects
from feedwatch.core.admission import Decision, Verdict, decide
from feedwatch.core.episode import KnownEpisode, State
from feedwatch.core.feed import Document, Failed, Feed, Item, ParsedFeed, Remark
from feedwatch.core.identity import Key, KeyKind, keys_of, title_key
from feedwatch.core.ledger import (
    PERHAPS_PAID,
    decisive_of,
    first_paid_by,
    import_reason,
    is_for,
    is_met_by,
    paid_reason,
    targets_from,
    targets_of,
)
from feedwatch.core.match_items import ItemMatch, MatchKind, UnchangedItems, match_items
from feedwatch.core.remarks import fixed_address, remarks_on
from feedwatch.core.settings import FeedConfig
from feedwatch.core.submit_waits import wait_of
from feedwatch.feeds.document_parser import DocumentParser
from feedwatch.feeds.scan import ChangedItems, all_items, changed_items
from feedwatch.feeds.scan.cache import SeenItems
from feedwatch.store.checks import NewEpisode
from feedwatch.store.imports import meet_claims
from feedwatch.store.store import Store
from feedwatch.watcher.check_log import log_check
from feedwatch.watcher.context import RETRY_AFTER_BUG, Check, Context
from feedwatch.watcher.evaluation import Evaluation, follower
from feedwatch.watcher.restore import NextImport

log = logging.getLogger(__name__)


class Evaluator:
    """Evaluates documents; any number of threads may."""

    def __init__(self, store: Store, parser: DocumentParser, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._parser = parser
        self._clock = clock

    def evaluate(self, feed: Feed, source: FeedConfig, document: Document) -> Evaluation:
        """What the document says, and what becomes of each item that was not seen before."""
        if document.pages or document.unread_page is not None:
            return self.evaluate_items(feed, source, document, None)
        cache = SeenItems(rules=source.rules)
        if feed.full_reads_requested == feed.full_reads_done:
            packed = self._store.checks.seen_items(feed.id)
            cache = SeenItems.unpacked(source.rules, packed) if packed is not None else cache
        changed = changed_items(document, cache, self._parser)
        return self.evaluate_items(feed, source, document, changed)

    def evaluate_items(
        self,
        feed: Feed,
        source: FeedConfig,
        document: Document,
        changed: ChangedItems | Failed | None,
    ) -> Evaluation:
        """Evaluate the document by its changed items; None: by all items, parsed as a whole."""
        if changed is None:
            changed = all_items(document, source.rules, self._parser)
        if isinstance(changed, Failed):
            return Evaluation(outcome=changed)
        known = _known(self._store, feed, changed)
        episodes = changed.unchanged.episode_ids
        if not episodes.isdisjoint(one.id for one in known.values()) or (
            episodes and any(_has_other_audio(own, known) for own in changed.keys)
        ):
            # One episode both unchanged and changed, or a file that may share its name with others:
            # only all items together tell what each is.
            changed = changed_items(document, SeenItems(rules=source.rules), self._parser)
            return self.evaluate_items(feed, source, document, changed)
        decisions = _decisions(self._store, feed, source, changed, known, self._clock())
        undescribed = [
            place
            for place, one in enumerate(decisions)
            if one.item.description is None
            and (one.verdict in (Verdict.SUBMIT, Verdict.HOLD) or follower(one))
        ]
        described = changed.describe(undescribed)
        if described is None:
            return self.evaluate_items(feed, source, document, None)
        for place, item in zip(undescribed, described, strict=True):
            decisions[place] = decisions[place].with_item(item)
        fixed = fixed_address(changed.parsed.items, changed.keys, known)
        return Evaluation(
            outcome=changed.parsed, decisions=decisions, changed=changed, fixed_address=fixed
        )

    def close(self) -> None:
        """Break off what is being parsed."""
        self._parser.close()


def decisions_for(
    store: Store,
    feed: Feed,
    source: FeedConfig,
    parsed: ParsedFeed,
    apis: Mapping[str, str],
    now: datetime,
    coming: NextImport,
) -> list[Decision]:
    """What becomes of each item of a whole document, by what database and journal know now.

    With the answer that the ledger would give to a claim: paid for by another feed, perhaps. And
    with what `coming` says: what only the journal knows to be paid for is taken over, not paid
    again, and what is older is held.
    """
    whole = ChangedItems(parsed=parsed, keys=keys_of(parsed.items))
    if feed.name in coming.doubted_until:
        feed = replace(feed, hold_if_published_before=coming.doubted_until[feed.name])
    decisions = _decisions(store, feed, source, whole, _known(store, feed, whole), now)
    new, _ = Evaluation(outcome=parsed, decisions=decisions).admissions(feed.name, now)
    coming_for, targets = (
        targets_from(source.pipeline[0].step, source, apis),
        targets_of(source, apis),
    )
    waiting = store.imports.waiting(targets, coming.missing, coming.feeds_of)
    others = [
        claim
        for claim in reversed(coming.missing)
        if is_for(claim, coming_for) and claim.outcome in PERHAPS_PAID
    ]
    for one in new:
        met = [claim for claim in waiting if is_met_by(claim, one.keys, feed.name)]
        waiting = [claim for claim in waiting if claim not in met]
        paid = [claim for claim in met if claim.outcome in PERHAPS_PAID]
        decision = decisions[one.place]
        if paid:
            decisions[one.place] = replace(
                decision, verdict=Verdict.KNOWN, reason=import_reason(decisive_of(paid))
            )
        elif decision.verdict is Verdict.SUBMIT:
            conflict = store.claims.conflict_of(one.keys, coming_for)
            if (conflict := conflict or first_paid_by(one.keys, others, coming_for)) is not None:
                claim, state, api = conflict
                verdict = Verdict.SKIP if state is State.SKIPPED else Verdict.HOLD
                reason = paid_reason(claim, api)
                decisions[one.place] = replace(decision, verdict=verdict, reason=reason)
            elif (wait := wait_of(decision.item.published_at, now, source, now)) is not None:
                decisions[one.place] = replace(decision, reason=f"{decision.reason}; {wait.reason}")
    return decisions


def _known(store: Store, feed: Feed, changed: ChangedItems) -> dict[Key, KnownEpisode]:
    """The feed's episodes by the items' keys; of a feed never seen before there are none."""
    keys = [key for own in changed.keys for key in own]
    return store.checks.known(feed.id, keys) if feed.baseline_at is not None and keys else {}


def _has_other_audio(keys: Sequence[Key], known: Mapping[Key, KnownEpisode]) -> bool:
    """Whether an item has a known guid, and an address that is not known."""
    has = {key.kind: key in known for key in keys}
    return has.get(KeyKind.GUID, False) and not has.get(KeyKind.FILE, True)


def _decisions(
    store: Store,
    feed: Feed,
    source: FeedConfig,
    changed: ChangedItems,
    known: Mapping[Key, KnownEpisode],
    now: datetime,
) -> list[Decision]:
    """What becomes of each changed item."""
    unchanged = changed.unchanged
    matches = matched(store, feed, changed.parsed.items, changed.keys, known, unchanged)
    return decide(
        matches,
        feed,
        source.rules,
        now,
        unchanged=unchanged.episodes,
        repaired=changed.parsed.repaired,
    )


def matched(
    store: Store,
    feed: Feed,
    items: Sequence[Item],
    all_keys: Sequence[tuple[Key, ...]],
    known: Mapping[Key, KnownEpisode],
    unchanged: UnchangedItems,
) -> list[ItemMatch]:
    """What each item is to the known episodes; where its audio is new, its title or date may say.

    The parameters are those of `match_items`.
    """
    unheard = [
        item
        for item, own in zip(items, all_keys, strict=True)
        if any(key.kind is KeyKind.FILE and key not in known for key in own)
    ]
    titles = {title_key(item.title) for item in unheard}
    dates = {item.published_at for item in unheard if item.published_at is not None}
    has_past = feed.baseline_at is not None and unheard
    by_title, by_date = store.checks.alike(feed.id, titles, dates) if has_past else ({}, {})
    return match_items(
        items,
        all_keys,
        known,
        by_title,
        by_date,
        shown_before=feed.item_count,
        unchanged=unchanged,
    )


def feed_after(
    context: Context,
    check: Check,
    document: Document,
    evaluation: Evaluation,
    new: Sequence[NewEpisode] = (),
) -> Feed:
    """The feed after a check that brought `document`, and `new` episodes with it."""
    feed, published = check.feed, None
    # A feed from before there were rhythms learns its own now, others with each new episode.
    if new or (feed.expected_by is None and isinstance(evaluation.outcome, ParsedFeed)):
        seen_at = context.clock() if feed.baseline_at is not None else None
        dates = (one.episode.published_at or seen_at for one in new)
        published = [date for date in dates if date is not None]
        if feed.baseline_at is not None:
            published += context.store.checks.publication_dates(feed.id)
    return feed_lifecycle.checked(
        feed,
        evaluation.outcome,
        document,
        context.clock(),
        check.source.check_interval,
        found_new=any(one.episode.state is not State.SKIPPED for one in new),
        item_count=evaluation.item_count,
        published=published,
        remarks=_remarks(feed, document, evaluation),
        is_pushed=feed.name in context.pushed,
    )


def _remarks(feed: Feed, document: Document, evaluation: Evaluation) -> tuple[Remark, ...] | None:
    if isinstance(evaluation.outcome, Failed):
        return feed.remarks
    return remarks_on(
        feed,
        evaluation.outcome,
        document,
        item_count=evaluation.item_count,
        fixed_address=evaluation.fixed_address,
        is_new=any(one.match.kind is MatchKind.NEW for one in evaluation.decisions),
    )


def record(context: Context, check: Check, document: Document, evaluation: Evaluation) -> None:
    """Write down a check that brought a document: all that it changes, or nothing."""
    feed, now, store = check.feed, context.clock(), context.store
    new, learned = evaluation.admissions(feed.name, now, check.source.pipeline[0].step)
    after = feed_after(context, check, document, evaluation, new)
    recorded = store.checks.record(
        after,
        new,
        learned,
        now,
        evaluation.edited,
        paid=partial(
            meet_claims,
            targets=targets_of(check.source, context.apis),
            now=now,
            policy=context.plan.policy,
        ),
        before=feed,
        url_change=redirects.url_change(feed, after, now),
        items=evaluation.items,
        anew=evaluation.anew(feed.name, now),
        shown=evaluation.shown,
        all_read=after.full_reads_done != feed.full_reads_done,
        seen_items=evaluation.seen_items,
        kept=evaluation.kept,
    )
    if recorded is not None:
        moved = {(before.guid, before.enclosure_url) for before, _ in recorded}
        paid = {one.place for one in new if (one.episode.guid, one.episode.enclosure_url) in moved}
        decided = [one for place, one in enumerate(evaluation.decisions) if place not in paid]
        log_check(feed, after, decided)
        for before, moved_on in recorded:
            context.log_move(before, moved_on)
        return
    current = store.feeds.get(feed.id)
    # Once another daemon has checked it, with another URL, after a person's decision or in a
    # restored copy it is due as that says.
    if current is None or _read_of(current) != _read_of(feed):
        said = "feed %s: it was changed during its check, which counts for nothing"
        log.info(said, feed.name, extra={"feed": feed.name})
        store.feeds.give_back([feed.id])
        return
    reason = "another process recorded its episodes at the same time"
    log.warning("feed %s: %s", feed.name, reason, extra={"feed": feed.name})
    store.feeds.put_off(feed.id, now + RETRY_AFTER_BUG, reason)  # checks at once could spin


def _read_of(feed: Feed) -> tuple[object, ...]:
    """What shows that a feed is still the one that a check began with."""
    return feed.url, feed.version, feed.checked_at
