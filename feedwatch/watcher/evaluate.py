"""What a document means for a feed: the cheap way where it is sure, else the full one.

    every item's bytes ── seen before ───────────────────────────→ it is what it was
          └── not seen ── the quick look ── known, or not wanted → no more is read of it
                             ├── to be submitted or held ────────→ feedparser, on these alone
                             └── not sure ───────────────────────→ feedparser, on these or on all

Whatever costs money has been read by feedparser, and where it reads another item than the quick
look did, the whole document goes the full way. The database is only read here; `checks` writes.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from feedwatch.core.admission import Decision, Verdict, admitted, decide
from feedwatch.core.episode import KnownEpisode
from feedwatch.core.feed import Document, Failed, Feed, Item, ParsedFeed
from feedwatch.core.identity import Key, KeyKind, is_plain, keys_of, title_key
from feedwatch.core.match_items import MatchKind, UnchangedItems, edited, match_items
from feedwatch.core.settings import FeedConfig
from feedwatch.feeds.parse import DocumentParser
from feedwatch.feeds.scan import facts, split
from feedwatch.feeds.scan.cache import SeenItem, SeenItems, cache_key_of, item_hash, summary
from feedwatch.store.checks import NewEpisode
from feedwatch.store.store import Store

MAX_ITEMS = 20_000  # the largest real feed seen has 1,500


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a document says, and what becomes of it."""

    outcome: ParsedFeed | Failed
    decisions: Sequence[Decision] = ()  # one for each item of `outcome`
    keys: Sequence[tuple[Key, ...]] = ()  # of these items
    summary: UnchangedItems = field(default_factory=UnchangedItems)
    memory: SeenItems | None = None  # what is remembered of the document, without its new episodes
    marks: Sequence[bytes] = ()  # of the items
    malformed: frozenset[int] = frozenset()  # which of them are

    @property
    def item_count(self) -> int:
        """How many items of the document are episodes."""
        return self.summary.episodes + sum(decision.is_episode for decision in self.decisions)

    @property
    def is_nothing_new(self) -> bool:
        """Whether the document has the items that it had, and all is remembered of them."""
        same = self.memory is not None and self.memory.is_same
        return same and not self.decisions and isinstance(self.outcome, ParsedFeed)

    @property
    def edited(self) -> list[KnownEpisode]:
        """The known episodes that the feed describes in other words than before."""
        found: dict[int, KnownEpisode | None] = {}
        for decision in self.decisions:  # of several items that are one episode the first counts
            if decision.match.known is not None:
                found.setdefault(decision.match.known.id, edited(decision.match))
        return [one for one in found.values() if one is not None]

    @property
    def descriptions(self) -> dict[int, str]:
        """Those that known episodes were waiting for."""
        return {
            decision.match.known.id: decision.item.description
            for decision in self.decisions
            if _is_waited_for(decision)
            and decision.match.known is not None
            and decision.item.description is not None
        }

    def admissions(self, feed: str, now: datetime) -> tuple[list[NewEpisode], dict[Key, int]]:
        """The new episodes, the oldest first, and the new keys of known ones.

        An item that repeats one further up gives that one its keys.
        """
        keys: dict[int, list[Key]] = defaultdict(list)
        for place, decision in enumerate(self.decisions):
            keys[_owner(place, decision)] += decision.match.keys
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
        new.sort(key=lambda admission: admission.episode.published_at or now)
        return new, learned

    def digest(self, new: Mapping[int, int]) -> bytes | None:
        """What to remember of the document; `new` has the new episodes' ids by their places.

        What is not settled is not remembered, and so is looked at again.
        """
        if self.memory is None:
            return None
        seen = dict(self.memory.seen)
        for place, keys in enumerate(self.keys):
            episode = self._episode(place, new)
            if episode is not None:
                has_guid = any(key.kind is KeyKind.GUID for key in keys)
                seen[self.marks[place]] = SeenItem(episode, has_guid, place in self.malformed)
        return replace(self.memory, seen=seen).packed()

    def _episode(self, place: int, new: Mapping[int, int]) -> int | None:
        """Which episode an item is, 0 if none, None if that may change."""
        decision = self.decisions[place]
        owner = _owner(place, decision)
        known = self.decisions[owner].match.known
        if decision.match.kind is MatchKind.NOTHING:
            return 0
        if owner in new:
            return new[owner]
        settled = self.decisions[owner].match.kind is MatchKind.KNOWN
        return known.id if settled and known is not None else None


def _owner(place: int, decision: Decision) -> int:
    """The place of the item that this one repeats, else its own."""
    duplicate_of = decision.match.duplicate_of
    return place if duplicate_of is None else duplicate_of


def _is_waited_for(decision: Decision) -> bool:
    known = decision.match.known
    return decision.match.kind is MatchKind.KNOWN and known is not None and known.undescribed


class _UnsureError(Exception):
    """The quick look is not sure."""


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A document that came apart into its items, and what it is read for."""

    feed: Feed
    source: FeedConfig
    document: Document
    outline: split.Outline
    marks: Sequence[bytes]  # of the items

    @cached_property
    def empty(self) -> SeenItems:
        """The memory of a document of which nothing was seen before."""
        return SeenItems(cache_key=cache_key_of(self.source.rules, self.outline.opening))


class Evaluator:
    """Reads documents; any number of threads may."""

    def __init__(self, store: Store, parser: DocumentParser) -> None:
        self._store = store
        self._parser = parser

    def read(self, feed: Feed, source: FeedConfig, document: Document) -> Evaluation:
        """What the document says and what becomes of each item that was not seen before."""
        outline = split.split(document.body)
        if outline is None:
            return self._full_way(feed, source, document)
        if len(outline.items) > MAX_ITEMS:
            return _too_many()
        case = _Case(
            feed=feed,
            source=source,
            document=document,
            outline=outline,
            marks=[item_hash(item) for item in outline.items],
        )
        try:
            return self._cheap_way(case)
        except _UnsureError:
            return _remembering(self._full_way(feed, source, document), case)

    def close(self) -> None:
        """Break off what is being parsed."""
        self._parser.close()

    def _full_way(self, feed: Feed, source: FeedConfig, document: Document) -> Evaluation:
        parsed = self._parser.parse(document, source.rules.media_types)
        if isinstance(parsed, Failed):
            return Evaluation(outcome=parsed)
        if len(parsed.items) > MAX_ITEMS:
            return _too_many()
        keys = keys_of(parsed.items)
        known = _known(self._store, feed, keys)
        decisions = _decisions(
            self._store, feed, source, parsed.items, keys, known, UnchangedItems()
        )
        return Evaluation(outcome=parsed, decisions=decisions, keys=keys)

    def _cheap_way(self, case: _Case) -> Evaluation:
        """By the items not seen before; by all, if one of them touches on one that was."""
        before = self._memory(case)
        reading = self._look(case, before)
        if reading is None and before.seen:
            reading = self._look(case, case.empty)
        if reading is None:
            raise _UnsureError
        return reading

    def _memory(self, case: _Case) -> SeenItems:
        """What is remembered of the last good document, if it still holds."""
        feed, empty = case.feed, case.empty
        packed = (
            self._store.checks.seen_items(feed.id)
            if feed.full_reads_requested == feed.full_reads_done
            else None
        )
        before = SeenItems.unpacked(packed) if packed is not None else empty
        return before if before.cache_key == empty.cache_key else empty

    def _look(self, case: _Case, before: SeenItems) -> Evaluation | None:
        fresh = [
            place for place, item_hash in enumerate(case.marks) if item_hash not in before.seen
        ]
        seen = {
            item_hash: before.seen[item_hash]
            for item_hash in case.marks
            if item_hash in before.seen
        }
        unchanged = summary(seen[item_hash] for item_hash in case.marks if item_hash in seen)
        malformed = any(one.malformed for one in seen.values())
        if not before.is_plain and len(seen) < max(len(set(case.marks)), len(before.seen)):
            return None  # an item that came or went may change what the others are
        items, broken = self._items(case, fresh, malformed=malformed)
        keys = keys_of(items)
        known = _known(self._store, case.feed, keys)
        plain = is_plain(items, keys)
        if not plain and before.seen:
            return None
        if not unchanged.episode_ids.isdisjoint(one.id for one in known.values()):
            return None
        decisions = _decisions(self._store, case.feed, case.source, items, keys, known, unchanged)
        malformed |= bool(broken)
        return Evaluation(
            outcome=ParsedFeed(
                title="", items=tuple(items), unchanged=len(case.marks) - len(fresh)
            ),
            decisions=self._described(case, decisions, fresh, malformed=malformed),
            keys=keys,
            summary=unchanged,
            memory=replace(before.only(seen), is_plain=plain and before.is_plain),
            marks=[case.marks[place] for place in fresh],
            malformed=frozenset(index for index, place in enumerate(fresh) if place in broken),
        )

    def _items(
        self, case: _Case, places: Sequence[int], *, malformed: bool
    ) -> tuple[list[Item], frozenset[int]]:
        """The items at `places`, and the places of those that are malformed."""
        media_types = case.source.rules.media_types
        looked = facts.facts(case.outline, places, media_types, case.document.url)
        if looked is None:
            raise _UnsureError
        unread = [place for place, item in zip(places, looked.items, strict=True) if item is None]
        if len(unread) == len(case.marks):
            raise _UnsureError  # feedparser may as well have the whole of it
        malformed |= bool(looked.malformed)
        parsed = dict(zip(unread, self._parsed(case, unread, malformed=malformed), strict=True))
        items = zip(places, looked.items, strict=True)
        return [parsed[place] if item is None else item for place, item in items], looked.malformed

    def _described(
        self, case: _Case, decisions: Sequence[Decision], places: Sequence[int], *, malformed: bool
    ) -> list[Decision]:
        """The decisions, with the descriptions that are needed now."""
        needed = {
            places[index]: decision
            for index, decision in enumerate(decisions)
            if decision.item.description is None
            and (decision.verdict in (Verdict.SUBMIT, Verdict.HOLD) or _is_waited_for(decision))
        }
        parsed = self._parsed(case, list(needed), malformed=malformed)
        for decision, item in zip(needed.values(), parsed, strict=True):
            if replace(item, description=None) != decision.item:
                raise _UnsureError
        described = dict(zip(needed, parsed, strict=True))
        return [
            decision.with_item(described[place]) if place in described else decision
            for place, decision in zip(places, decisions, strict=True)
        ]

    def _parsed(self, case: _Case, places: Sequence[int], *, malformed: bool) -> tuple[Item, ...]:
        """What feedparser reads in the items at `places`."""
        if not places:
            return ()
        body = case.outline.document_of(places, malformed=malformed)
        parsed = self._parser.parse(
            replace(case.document, body=body), case.source.rules.media_types
        )
        if isinstance(parsed, Failed) or len(parsed.items) != len(places):
            raise _UnsureError
        return parsed.items


def decisions_for(
    store: Store, feed: Feed, source: FeedConfig, parsed: ParsedFeed
) -> list[Decision]:
    """What becomes of each item of a whole document, by what the database knows now."""
    keys = keys_of(parsed.items)
    return _decisions(
        store, feed, source, parsed.items, keys, _known(store, feed, keys), UnchangedItems()
    )


def _known(store: Store, feed: Feed, keys: Sequence[tuple[Key, ...]]) -> dict[Key, KnownEpisode]:
    """The feed's episodes by these keys; of a feed never seen before there are none."""
    wanted = [key for own in keys for key in own]
    if feed.baseline_at is None or not wanted:
        return {}
    return store.checks.known(feed.id, wanted)


def _decisions(
    store: Store,
    feed: Feed,
    source: FeedConfig,
    items: Sequence[Item],
    keys: Sequence[tuple[Key, ...]],
    known: Mapping[Key, KnownEpisode],
    unchanged: UnchangedItems,
) -> list[Decision]:
    titles = {
        title_key(item.title)
        for item, own in zip(items, keys, strict=True)
        if any(key.kind is KeyKind.FILE and key not in known for key in own)
    }
    has_past = feed.baseline_at is not None and titles
    same_title = store.checks.by_title(feed.id, titles) if has_past else {}
    found = match_items(
        items, keys, known, same_title, shown_before=feed.item_count, unchanged=unchanged
    )
    return decide(found, feed, source.rules, unchanged=unchanged.episodes)


def _remembering(reading: Evaluation, case: _Case) -> Evaluation:
    """With what a later quick look needs, if the document came apart into just these items."""
    if len(reading.decisions) != len(case.marks):
        return reading
    places = range(len(case.marks))
    media_types = case.source.rules.media_types
    looked = facts.facts(case.outline, places, media_types, case.document.url)
    if looked is None:
        return reading
    plain = is_plain([decision.item for decision in reading.decisions], reading.keys)
    memory = replace(case.empty, is_plain=plain)
    return replace(reading, memory=memory, marks=case.marks, malformed=looked.malformed)


def _too_many() -> Evaluation:
    return Evaluation(outcome=Failed(f"more than {MAX_ITEMS} items"))
