"""Evaluation: what a document means for a feed; and the record of it, in one transaction.

    fast scan, else the whole document → keys → known episodes → item matches → verdicts → described

Whatever costs money has been read by feedparser, and where it reads another item than the fast scan
did, the whole document is parsed.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from feedwatch.core import feed_lifecycle, redirects
from feedwatch.core.admission import Decision, Verdict, admitted, decide
from feedwatch.core.episode import KnownEpisode, State
from feedwatch.core.feed import Document, Failed, Feed, Item, ParsedFeed, Remark
from feedwatch.core.identity import Key, KeyKind, guid_key, keys_of, title_key
from feedwatch.core.ledger import (
    PERHAPS_PAID,
    Target,
    import_reason,
    is_for,
    is_met_by,
    paid_by,
    paid_reason,
)
from feedwatch.core.match_items import MatchKind, edited, match_items
from feedwatch.core.remarks import fixed_address, remarks_on
from feedwatch.core.served import KeptDocument
from feedwatch.core.settings import FeedConfig
from feedwatch.core.submit_waits import wait_of
from feedwatch.feeds.document_parser import DocumentParser
from feedwatch.feeds.scan import ChangedItems, all_items, changed_items
from feedwatch.feeds.scan.cache import SeenItems
from feedwatch.store.checks import NewEpisode
from feedwatch.store.imports import meet_claims
from feedwatch.store.store import Store
from feedwatch.watcher.check_log import log_check
from feedwatch.watcher.context import RETRY_AFTER_BUG, Check, Context, log_move
from feedwatch.watcher.restore import NextImport

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a document says, and what becomes of each of its items that was not seen before."""

    outcome: ParsedFeed | Failed
    decisions: Sequence[Decision] = ()  # one for each item of `outcome`
    changed: ChangedItems | None = None  # these items; None: nothing is remembered of the document
    fixed_address: str | None = None  # at which one episode after another is published
    kept: KeptDocument | None = None  # what listeners are served; None: the feed is not served

    @property
    def item_count(self) -> int:
        """How many items of the document are episodes; of its first page, which is asked for."""
        unchanged = self.changed.unchanged.episodes if self.changed is not None else 0
        paged = self.outcome.paged if isinstance(self.outcome, ParsedFeed) else 0
        first_page = self.decisions[: len(self.decisions) - paged]
        return unchanged + sum(decision.is_episode for decision in first_page)

    @property
    def is_nothing_new(self) -> bool:
        """Whether the document has the items that it had, and all of them are remembered."""
        return self.changed is not None and self.changed.is_same

    @property
    def edited(self) -> list[KnownEpisode]:
        """The known episodes that the feed describes in other words than before."""
        found: dict[int, KnownEpisode | None] = {}
        for decision in self.decisions:  # of several items that are one episode the first counts
            if decision.match.known is not None:
                found.setdefault(decision.match.known.id, edited(decision.match))
        return [one for one in found.values() if one is not None]

    @property
    def items(self) -> dict[int, Item]:
        """What the document says of known episodes that wait, by the episodes' ids.

        Of several items that are one episode the one with its guid counts, else the first.
        """
        found: dict[int, tuple[bool, Item]] = {}
        for decision in self.decisions:
            if (known := _follower(decision)) is not None:
                item, guid = decision.item, decision.item.guid
                is_own = guid is not None and known.guid in (guid, guid_key(guid))
                if decision.match.borrowed:
                    item = replace(item, enclosure_url=None)
                if known.id not in found or (is_own and not found[known.id][0]):
                    found[known.id] = is_own, item
        return {number: item for number, (_, item) in found.items()}

    @property
    def shown(self) -> set[int] | None:
        """The known episodes that the document has; None if it is not a good one."""
        if isinstance(self.outcome, Failed) or not self.item_count:
            return None
        unchanged = self.changed.unchanged.episode_ids if self.changed is not None else ()
        matches = [decision.match for decision in self.decisions]
        known = {match.known.id for match in matches if match.known is not None}
        return known.union(unchanged, *(match.leads_to for match in matches))

    def admissions(self, feed: str, now: datetime) -> tuple[list[NewEpisode], dict[Key, int]]:
        """The new episodes, the oldest first, and the new keys of known ones.

        An item that repeats one further up gives that one its keys.
        """
        keys: dict[int, list[Key]] = defaultdict(list)
        for place, decision in enumerate(self.decisions):
            keys[_first_place(place, decision)] += decision.match.keys
        new: list[NewEpisode] = []
        learned: dict[Key, int] = {}
        for place, decision in enumerate(self.decisions):
            episode = admitted(decision, feed, now)
            known = decision.match.known
            if episode is not None:
                title = title_key(episode.title)
                new.append(
                    NewEpisode(episode=episode, keys=keys[place], title_key=title, place=place)
                )
            elif decision.verdict is Verdict.KNOWN and known is not None:
                learned |= dict.fromkeys(keys[place], known.id)
        new.sort(key=lambda one: one.episode.published_at or now)
        return new, learned

    def seen_items(self, new: Mapping[int, int]) -> bytes | None:
        """The seen-item cache of the document; `new` has the new episodes' ids by their places.

        An item that may yet become another episode is left out, and so is looked at again.
        """
        if self.changed is None:
            return None
        ids: list[int | None] = []
        for place, decision in enumerate(self.decisions):
            first = _first_place(place, decision)
            match = self.decisions[first].match
            settled = match.known if match.kind is MatchKind.KNOWN else None
            if decision.match.kind is MatchKind.NOTHING:
                ids.append(0)
            else:
                ids.append(new.get(first, settled.id if settled is not None else None))
        return self.changed.cache_with(ids)


def _first_place(place: int, decision: Decision) -> int:
    """The place of the item that this one repeats, else its own."""
    duplicate_of = decision.match.duplicate_of
    return place if duplicate_of is None else duplicate_of


def _follower(decision: Decision) -> KnownEpisode | None:
    """The known episode that waits and takes what this item says, if there is one."""
    known = decision.match.known
    is_it = decision.match.kind in (MatchKind.KNOWN, MatchKind.WAITING)
    return known if is_it and known is not None and known.waits else None


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
        if not changed.unchanged.episode_ids.isdisjoint(one.id for one in known.values()):
            # One episode, both unchanged and changed: only all items together tell what each is.
            changed = changed_items(document, SeenItems(rules=source.rules), self._parser)
            return self.evaluate_items(feed, source, document, changed)
        decisions = _decisions(self._store, feed, source, changed, known, self._clock())
        undescribed = [
            place
            for place, one in enumerate(decisions)
            if one.item.description is None
            and (one.verdict in (Verdict.SUBMIT, Verdict.HOLD) or _follower(one))
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
    target: Target,
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
    waiting = store.imports.waiting(target, coming.missing, coming.feeds_of)
    others = [
        claim
        for claim in reversed(coming.missing)
        if is_for(claim, target) and claim.outcome in PERHAPS_PAID
    ]
    for one in new:
        met = [claim for claim in waiting if is_met_by(claim, one.keys, feed.name)]
        waiting = [claim for claim in waiting if claim not in met]
        paid = [claim for claim in met if claim.outcome in PERHAPS_PAID]
        decision = decisions[one.place]
        if paid:
            decisions[one.place] = replace(
                decision, verdict=Verdict.KNOWN, reason=import_reason(paid[-1])
            )
        elif decision.verdict is Verdict.SUBMIT:
            conflict = store.claims.conflict_of(one.keys, target)
            if (conflict := conflict or paid_by(one.keys, others, target)) is not None:
                claim, state = conflict
                verdict = Verdict.SKIP if state is State.SKIPPED else Verdict.HOLD
                reason = paid_reason(claim)
                decisions[one.place] = replace(decision, verdict=verdict, reason=reason)
            elif (wait := wait_of(decision.item.published_at, now, source, now)) is not None:
                decisions[one.place] = replace(decision, reason=f"{decision.reason}; {wait.reason}")
    return decisions


def _known(store: Store, feed: Feed, changed: ChangedItems) -> dict[Key, KnownEpisode]:
    """The feed's episodes by the items' keys; of a feed never seen before there are none."""
    keys = [key for own in changed.keys for key in own]
    return store.checks.known(feed.id, keys) if feed.baseline_at is not None and keys else {}


def _decisions(
    store: Store,
    feed: Feed,
    source: FeedConfig,
    changed: ChangedItems,
    known: Mapping[Key, KnownEpisode],
    now: datetime,
) -> list[Decision]:
    """What becomes of each changed item; where its audio is new, its title may say what it is."""
    items, keys, unchanged = changed.parsed.items, changed.keys, changed.unchanged
    titles = {
        title_key(item.title)
        for item, own in zip(items, keys, strict=True)
        if any(key.kind is KeyKind.FILE and key not in known for key in own)
    }
    has_past = feed.baseline_at is not None and titles
    same_title = store.checks.by_title(feed.id, titles) if has_past else {}
    matches = match_items(
        items, keys, known, same_title, shown_before=feed.item_count, unchanged=unchanged
    )
    return decide(matches, feed, source.rules, now, unchanged=unchanged.episodes)


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
    new, learned = evaluation.admissions(feed.name, now)
    after = feed_after(context, check, document, evaluation, new)
    recorded = store.checks.record(
        after,
        new,
        learned,
        now,
        evaluation.edited,
        paid=partial(
            meet_claims,
            target=context.target(check.source.podcast_id),
            now=now,
            policy=context.plan.policy,
        ),
        before=feed,
        url_change=redirects.url_change(feed, after, now),
        items=evaluation.items,
        shown=evaluation.shown,
        all_read=after.full_reads_done != feed.full_reads_done,
        seen_items=evaluation.seen_items,
        kept=evaluation.kept,
    )
    if recorded is not None:
        log_check(feed, after, evaluation.decisions)
        for before, paid in recorded:
            log_move(before, paid)
        return
    log.warning(
        "feed %s: another process has changed it meanwhile; it is checked again",
        feed.name,
        extra={"feed": feed.name},
    )
    current = store.feeds.get(feed.id)
    # With another URL, after a person's decision or in a restored copy it is due as that says; a
    # check at once could else meet the other process again.
    if current is not None and _read_of(current) == _read_of(feed):
        reason = "another process recorded its episodes at the same time"
        store.feeds.put_off(feed.id, now + RETRY_AFTER_BUG, reason)


def _read_of(feed: Feed) -> tuple[object, ...]:
    """What shows that a feed is still the one that a check began with."""
    return feed.url, feed.version, feed.checked_at
