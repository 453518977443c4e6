"""What the last good document of a feed was, item by item, and by what that is recognised. Pure.

An item whose bytes were seen before, in the same surroundings and under the same rules, can't be a
new episode: it is what it was then. Kept is a mark of each item's bytes and what it was.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from re import Pattern
from typing import Self

from feedwatch.core.match_items import UnchangedItems
from feedwatch.core.settings import Rules

FORMAT = b"1"  # a change of what is kept, or of how items are read, makes all that is kept void
BASIS_BYTES = 16
MARK_BYTES = 8  # enough to tell the items of one feed apart

_ENTRY = struct.Struct(f"<{MARK_BYTES}sq")


@dataclass(frozen=True)
class SeenItem:
    """What an item was."""

    episode: int  # its id; 0: it is no episode
    has_guid: bool  # one that tells it apart
    malformed: bool  # no well-formed XML: feedparser reads the whole document in its lenient way


@dataclass(frozen=True, kw_only=True)
class SeenItems:
    """The items of a document by the marks of their bytes."""

    cache_key: bytes
    seen: Mapping[bytes, SeenItem] = field(default_factory=dict)
    is_plain: bool = True  # each item tells by itself what it is, see `identity.is_plain`
    is_same: bool = False  # as what is kept

    def only(self, seen: Mapping[bytes, SeenItem]) -> Self:
        """With these of its items."""
        return replace(self, seen=seen, is_same=len(seen) == len(self.seen) > 0)

    def packed(self) -> bytes:
        """As bytes, to be kept."""
        return (
            self.cache_key
            + (b"p" if self.is_plain else b"-")
            + b"".join(
                _ENTRY.pack(item_hash, seen.episode << 2 | seen.has_guid << 1 | seen.malformed)
                for item_hash, seen in self.seen.items()
            )
        )

    @classmethod
    def unpacked(cls, packed: bytes) -> Self:
        """What `packed` made."""
        entries = _ENTRY.iter_unpack(packed[BASIS_BYTES + 1 :])
        return cls(
            cache_key=packed[:BASIS_BYTES],
            is_plain=packed[BASIS_BYTES : BASIS_BYTES + 1] == b"p",
            seen={
                item_hash: SeenItem(value >> 2, bool(value & 2), bool(value & 1))
                for item_hash, value in entries
            },
        )


def cache_key_of(rules: Rules, opening: bytes = b"") -> bytes:
    """What an item's meaning depends on besides its bytes."""
    return sha256(b"\0".join((FORMAT, repr(_stated(rules)).encode(), opening))).digest()[
        :BASIS_BYTES
    ]


def _stated(rules: Rules) -> list[tuple[str, object]]:
    """The rules in words that are whole, and the same in every process."""
    return [(name, _plain(value)) for name, value in vars(rules).items()]


def _plain(value: object) -> object:
    if isinstance(value, frozenset):
        return sorted(value)
    return value.pattern if isinstance(value, Pattern) else value


def body_hash(body: bytes, rules: Rules) -> bytes:
    """What a whole document is recognised by, as long as it would be read in the same way."""
    digest = sha256(cache_key_of(rules))
    digest.update(body)
    return digest.digest()[:BASIS_BYTES]


def item_hash(item: bytes) -> bytes:
    """What an item's bytes are recognised by."""
    return sha256(item).digest()[:MARK_BYTES]


def summary(seen: Iterable[SeenItem]) -> UnchangedItems:
    """What a document shows by the items that were seen before."""
    episodes = [one for one in seen if one.episode]
    return UnchangedItems(
        episode_ids=frozenset(one.episode for one in episodes),
        episodes=len(episodes),
        with_guid=sum(one.has_guid for one in episodes),
    )
