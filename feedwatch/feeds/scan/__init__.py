"""Fast scan: finds the items of a document that were not seen before, without parsing the rest.

    all bytes from the first item on ─→ the same: so is every item
    every item's bytes ── in the seen-item cache ─────→ it is what it was
          └── changed ── a few facts of it, by expat ── enough for all but its description
                             └── not sure ────────────→ feedparser, on these items or on all

feedparser costs a hundred times as much. Nothing is guessed: whatever is not plain RSS 2.0 in every
detail that matters is left to feedparser, which also reads each item that is to be submitted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from feedwatch.core.feed import Document, Failed, Item, ParsedFeed
from feedwatch.core.identity import Key, KeyKind, is_plain, keys_of
from feedwatch.core.match_items import UnchangedItems
from feedwatch.core.settings import Rules
from feedwatch.feeds.document_parser import MAX_ITEMS, TOO_MANY_ITEMS, DocumentParser
from feedwatch.feeds.hashes import cache_key_of
from feedwatch.feeds.pages import parse_pages
from feedwatch.feeds.scan import facts, split
from feedwatch.feeds.scan.cache import (
    NO_MARK,
    SeenItem,
    SeenItems,
    item_hash,
    mark_of,
    summary,
)


@dataclass(frozen=True, kw_only=True)
class _Scan:
    """A document that was split into its items, and what it takes to read some of them."""

    document: Document
    outline: split.Outline
    hashes: Sequence[bytes]  # of the items
    rules: Rules
    parser: DocumentParser
    mark: bytes  # see `_mark`

    def parsed(self, places: Sequence[int], *, malformed: bool) -> tuple[Item, ...] | None:
        """The items at `places`, as feedparser reads them; None if it finds more or fewer."""
        if not places:
            return ()
        body = self.outline.document_of(places, malformed=malformed)
        document = replace(self.document, body=body, charset=None)
        parsed = self.parser.parse(document, self.rules.media_types)
        if isinstance(parsed, Failed) or len(parsed.items) != len(places) or parsed.unread:
            return None
        return parsed.items


@dataclass(frozen=True, kw_only=True)
class ChangedItems:
    """The items of a document that were not seen before, and a summary of the others."""

    parsed: ParsedFeed  # the changed items; its `unchanged` counts the others
    keys: Sequence[tuple[Key, ...]]  # of the changed items
    unchanged: UnchangedItems = field(default_factory=UnchangedItems)
    is_same: bool = False  # the document has the cached items, all of them and no others
    _cache: SeenItems | None = None  # of the unchanged items; None: this document can have none
    _hashes: Sequence[bytes] = ()  # of the changed items
    _malformed: frozenset[int] = frozenset()  # which of the changed items are no well-formed XML
    _scan: _Scan | None = None  # None: feedparser has read the whole document
    _places: Sequence[int] = ()  # of the changed items in the document
    _mark: bytes = NO_MARK  # of the document, which holds where all its items are remembered
    _items: int = 0  # in the document

    def describe(self, places: Sequence[int]) -> Sequence[Item] | None:
        """The changed items at `places` as feedparser reads them, with their descriptions.

        None if it reads another item than the fast scan: then the whole document must be parsed.
        """
        read = [self.parsed.items[place] for place in places]
        if self._scan is None:
            return read
        malformed = bool(self._malformed or (self._cache and self._cache.has_malformed))
        described = self._scan.parsed(
            [self._places[place] for place in places], malformed=malformed
        )
        if described is None or [replace(item, description=None) for item in described] != read:
            return None
        return described

    def cache_with(self, episode_ids: Sequence[int | None]) -> bytes | None:
        """The seen-item cache of the document, packed; None if it can have none.

        `episode_ids` has the id of each changed item's episode, 0 for an item that is no episode,
        and None where that may change: such an item is looked at again.
        """
        if self._cache is None:
            return None
        seen = dict(self._cache.seen)
        for place, (episode_id, keys) in enumerate(zip(episode_ids, self.keys, strict=True)):
            if episode_id is not None:
                has_guid = any(key.kind is KeyKind.GUID for key in keys)
                malformed = place in self._malformed
                seen[self._hashes[place]] = SeenItem(episode_id, has_guid, malformed)
        mark = self._mark if len(seen) == self._items else NO_MARK
        return replace(self._cache, seen=seen, mark=mark).packed()


def changed_items(
    document: Document, cache: SeenItems, parser: DocumentParser
) -> ChangedItems | Failed | None:
    """Find the items of `document` that `cache` does not have, and read them but for descriptions.

    None: not sure, so the whole document must be parsed. Where a changed item turns out to be an
    episode of the unchanged items too, ask again with an empty cache.
    """
    mark = _mark(document, cache.rules)
    if mark == cache.mark != NO_MARK:
        count = len(cache.seen)
        return ChangedItems(
            parsed=ParsedFeed(title="", items=(), unchanged=count, repaired=cache.has_malformed),
            keys=(),
            unchanged=summary(cache.seen.values()),
            is_same=True,
            _cache=cache,
            _mark=mark,
            _items=count,
        )
    outline = split.split(document)
    if outline is None:
        return None
    if len(outline.items) > MAX_ITEMS:
        return TOO_MANY_ITEMS
    hashes = [item_hash(item) for item in outline.items]
    scan = _Scan(
        document=document,
        outline=outline,
        hashes=hashes,
        rules=cache.rules,
        parser=parser,
        mark=mark if not outline.repaired else NO_MARK,
    )
    empty = SeenItems(rules=cache.rules, cache_key=cache_key_of(cache.rules, outline.opening))
    if cache.cache_key != empty.cache_key or not (cache.is_plain or cache.seen.keys() == {*hashes}):
        cache = empty  # an item that came or went may change what the others are
    changed = _changed(scan, cache)
    if changed is None or not cache.seen or is_plain(changed.parsed.items, changed.keys):
        return changed
    return _changed(scan, empty)


def _mark(document: Document, rules: Rules) -> bytes:
    """The mark by which a document with the same items is known without being split."""
    around = split.surroundings(document)
    if around is None:
        return NO_MARK
    return mark_of(document, cache_key_of(rules, around.opening), around.codec)


def all_items(document: Document, rules: Rules, parser: DocumentParser) -> ChangedItems | Failed:
    """Parse the whole document: each of its items counts as changed, and is described."""
    parsed = parse_pages(document, rules.media_types, parser)
    if isinstance(parsed, Failed):
        return parsed
    changed = ChangedItems(parsed=parsed, keys=keys_of(parsed.items))
    outline = split.split(document)
    if outline is None or len(outline.items) != len(parsed.items):
        return changed
    looked = facts.facts(outline, range(len(outline.items)), rules.media_types, document.url)
    if looked is None:
        return changed
    cache = SeenItems(
        rules=rules,
        cache_key=cache_key_of(rules, outline.opening),
        is_plain=is_plain(parsed.items, changed.keys),
    )
    hashes = [item_hash(item) for item in outline.items]
    return replace(
        changed,
        _cache=cache,
        _hashes=hashes,
        _malformed=looked.malformed,
        _mark=_mark(document, rules) if not outline.repaired else NO_MARK,
        _items=len(hashes),
    )


def _changed(scan: _Scan, cache: SeenItems) -> ChangedItems | None:
    """The items of a document that are not in the seen-item cache; None if not sure."""
    seen = {one: cache.seen[one] for one in scan.hashes if one in cache.seen}
    places = [place for place, one in enumerate(scan.hashes) if one not in seen]
    looked = facts.facts(scan.outline, places, scan.rules.media_types, scan.document.url)
    if looked is None:
        return None
    unread = [place for place, item in zip(places, looked.items, strict=True) if item is None]
    if len(unread) == len(scan.hashes):
        return None  # feedparser may as well read the whole document
    kept = replace(cache, seen=seen)
    malformed = bool(looked.malformed) or kept.has_malformed
    parsed = scan.parsed(unread, malformed=malformed)
    if parsed is None:
        return None
    by_feedparser = iter(parsed)
    items = tuple(next(by_feedparser) if item is None else item for item in looked.items)
    keys = keys_of(items)
    return ChangedItems(
        parsed=ParsedFeed(
            title="",
            items=items,
            unchanged=len(scan.hashes) - len(places),
            repaired=malformed or scan.outline.repaired,
        ),
        keys=keys,
        unchanged=summary(seen[one] for one in scan.hashes if one in seen),
        is_same=not places and len(seen) == len(cache.seen),
        _cache=replace(kept, is_plain=cache.is_plain and is_plain(items, keys)),
        _hashes=[scan.hashes[place] for place in places],
        _malformed=frozenset(n for n, place in enumerate(places) if place in looked.malformed),
        _scan=scan,
        _places=places,
        _mark=scan.mark,
        _items=len(scan.hashes),
    )
