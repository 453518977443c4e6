"""Keys: what an episode is known by. Pure.

An item has several keys at once: its guid, its enclosure, and its title with its date. A key is
kept for ever and leads to one episode of its feed. docs/identity.md has the rules as one table;
each rule has a test of its own.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple, Self
from urllib.parse import unquote

from feedwatch.core.feed import Item
from feedwatch.core.tracking_prefixes import PREFIXES, VOLATILE_PARAMETERS

LONGEST_KEY = 500  # characters; a longer value is kept as its hash: databases bound what they index

CACHED = 8192  # titles and URLs; the largest feeds have fewer, each needed several times in a check

_SCHEME = re.compile(r"^(?:https?:)?//", re.IGNORECASE)
_QUOTED_SCHEME = re.compile(r"https?%3a", re.IGNORECASE)
_PREFIX = re.compile("|".join(PREFIXES), re.IGNORECASE)


class KeyKind(StrEnum):
    """What of an item a key is made of, from the strongest sign to the weakest."""

    GUID = "guid"
    FILE = "file"  # the enclosure's URL, as `comparable` gives it
    DATE = "date"  # the title with the date


class Key(NamedTuple):
    """A key by which an episode is known. Stored, and shown to people, as "kind:value"."""

    kind: KeyKind
    value: str

    def __str__(self) -> str:
        return ":".join(self)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key that `str` has written as `text`."""
        kind, _, value = text.partition(":")
        return cls(KeyKind(kind), value)


def keys_of(items: Sequence[Item]) -> list[tuple[Key, ...]]:
    """The keys of each item of one document, in the items' order, the strongest first.

    A guid that stands on items with different audio in one document identifies none of them, so it
    is no key. An item without an enclosure has no keys.
    """
    files = _files(items)
    files_of: dict[str, set[str]] = defaultdict(set)
    for item, file in zip(items, files, strict=True):
        if item.guid is not None and file is not None:
            files_of[item.guid].add(file)
    # Python 3.11 takes longer to look up a member of an enum than to make the key.
    by_guid, by_file, by_date = KeyKind.GUID, KeyKind.FILE, KeyKind.DATE
    found = []
    for item, file in zip(items, files, strict=True):
        keys = []
        if file is not None:
            if item.guid is not None and len(files_of[item.guid]) == 1:
                keys.append(Key(by_guid, _bounded(item.guid)))
            keys.append(Key(by_file, _bounded(file)))
            if item.title and item.published_at is not None:
                # Faster than strftime: a date is in UTC here, and has no fraction of a second.
                when = item.published_at.isoformat()[:19]
                keys.append(Key(by_date, f"{when} {title_key(item.title)}"))
        found.append(tuple(keys))
    return found


def is_plain(items: Sequence[Item], all_keys: Sequence[tuple[Key, ...]]) -> bool:
    """Whether each item's keys follow from the item alone, not from the items beside it."""
    return all(
        keys[0].kind is (KeyKind.GUID if item.guid is not None else KeyKind.FILE)
        and (KeyKind.FILE, _bounded(comparable(item.enclosure_url))) in keys
        for item, keys in zip(items, all_keys, strict=True)
        if item.enclosure_url is not None
    )


@lru_cache(CACHED)
def title_key(title: str) -> str:
    """A title as titles are compared: without regard to case and spacing, and bounded."""
    return _bounded(" ".join(title.casefold().split()))


@lru_cache(CACHED)
def comparable(url: str, *, whole_query: bool = False) -> str:
    """An enclosure's URL as URLs are compared; it is never requested in this form.

    It has no scheme, no tracking prefixes, no fragment, a host in lower case and, unless
    `whole_query`, none of the parameters that are known to change.
    """
    rest = _without_scheme(url)
    while prefix := _PREFIX.match(rest):
        rest = _without_scheme(rest[prefix.end() :])
    place, _, query = rest.partition("#")[0].partition("?")
    host, slash, path = place.partition("/")
    if not query:
        return f"{host.lower()}{slash}{path}"
    kept = "&".join(
        part
        for part in query.split("&")
        if part and (whole_query or part.partition("=")[0].lower() not in VOLATILE_PARAMETERS)
    )
    return f"{host.lower()}{slash}{path}{'?' if kept else ''}{kept}"


def _without_scheme(url: str) -> str:
    if _QUOTED_SCHEME.match(url):  # a URL quoted inside the path of a tracking prefix
        url = unquote(url)
    return _SCHEME.sub("", url)


def _files(items: Sequence[Item]) -> list[str | None]:
    """The comparable enclosure URL of each item; None without an enclosure.

    Where items of one document with guids of their own differ only in a parameter that counts as
    volatile, this parameter tells files apart there, and the whole query is kept.
    """
    guids: dict[str, set[str | None]] = defaultdict(set)
    wholes: dict[str, set[str]] = defaultdict(set)
    files: list[tuple[str, str] | None] = []
    for item in items:
        if item.enclosure_url is None:
            files.append(None)
            continue
        file = comparable(item.enclosure_url)
        plain = "?" not in file and "?" not in item.enclosure_url
        whole = file if plain else comparable(item.enclosure_url, whole_query=True)
        guids[file].add(item.guid)
        wholes[file].add(whole)
        files.append((file, whole))
    merged = {file for file in wholes if len(wholes[file]) > 1 and len(guids[file]) > 1}
    return [pair and (pair[1] if pair[0] in merged else pair[0]) for pair in files]


def _bounded(value: str) -> str:
    if len(value) <= LONGEST_KEY:
        return value
    return "sha256-" + sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
