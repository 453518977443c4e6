"""Seen-item cache: what each item of a feed's last good document was, by a hash of its bytes. Pure.

An item whose bytes were seen before, in the same surroundings and under the same rules, can't be a
new episode: it is what it was then.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self

from feedwatch.core.feed import Document
from feedwatch.core.match_items import UnchangedItems
from feedwatch.core.settings import Rules
from feedwatch.feeds.hashes import KEY_BYTES

HASH_BYTES = 8  # enough to tell the items of one feed apart
NO_MARK = bytes(KEY_BYTES)

_HEAD_BYTES = KEY_BYTES + 1 + KEY_BYTES
_ENTRY = struct.Struct(f"<{HASH_BYTES}sq")


@dataclass(frozen=True)
class SeenItem:
    """Entry of the seen-item cache: what an item was."""

    episode: int  # its id; 0: it is no episode
    has_guid: bool  # one that tells it apart
    malformed: bool  # no well-formed XML: feedparser reads the whole document in its lenient way


@dataclass(frozen=True, kw_only=True)
class SeenItems:
    """Seen-item cache of a feed: the items of its last good document by the hashes of their bytes.

    With its rules alone it is empty. It holds only for a document with the same cache key.
    """

    rules: Rules
    cache_key: bytes = b""
    seen: Mapping[bytes, SeenItem] = field(default_factory=dict)
    is_plain: bool = True  # each item tells by itself what it is, see `identity.is_plain`
    mark: bytes = NO_MARK  # of a document that has just these items, see `mark_of`

    @property
    def has_malformed(self) -> bool:
        """Whether any of the seen items is no well-formed XML."""
        return any(one.malformed for one in self.seen.values())

    def packed(self) -> bytes:
        """The seen-item cache as bytes, for the database."""
        entries = (
            _ENTRY.pack(item_hash, one.episode << 2 | one.has_guid << 1 | one.malformed)
            for item_hash, one in self.seen.items()
        )
        plain = b"p" if self.is_plain else b"-"
        return self.cache_key + plain + self.mark + b"".join(entries)

    @classmethod
    def unpacked(cls, rules: Rules, packed: bytes) -> Self:
        """The seen-item cache that `packed` was made of, for a feed that has `rules` now."""
        return cls(
            rules=rules,
            cache_key=packed[:KEY_BYTES],
            is_plain=packed[KEY_BYTES : KEY_BYTES + 1] == b"p",
            # Of an older format this is another thing, and its cache key is none of today's.
            mark=packed[KEY_BYTES + 1 : _HEAD_BYTES],
            seen={
                item_hash: SeenItem(value >> 2, bool(value & 2), bool(value & 1))
                for item_hash, value in _ENTRY.iter_unpack(packed[_HEAD_BYTES:])
            },
        )


def mark_of(document: Document, cache_key: bytes, codec: str) -> bytes:
    """Mark of a document: its items, and all that says how they are read. Its head may change."""
    rest = document.rest_hash
    if rest is None:
        return NO_MARK
    return sha256(b"\0".join((cache_key, codec.encode(), rest))).digest()[:KEY_BYTES]


def item_hash(item: bytes) -> bytes:
    """Hash of an item's bytes."""
    return sha256(item).digest()[:HASH_BYTES]


def summary(seen: Iterable[SeenItem]) -> UnchangedItems:
    """The unchanged items of a document, counted."""
    episodes = [one for one in seen if one.episode]
    return UnchangedItems(
        episode_ids=frozenset(one.episode for one in episodes),
        episodes=len(episodes),
        with_guid=sum(one.has_guid for one in episodes),
    )
