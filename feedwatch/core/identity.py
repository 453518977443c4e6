"""Keys: what an episode is known by. Pure.

An item has several keys at once: its guid, its enclosure, and its title with its date. A key leads
to one episode of its feed. docs/identity.md has the rules as one table; each rule has a test of its
own.

`str(Key)` of what `keys_of` gives is in the normal form, version 1, which is frozen. What was paid
for is remembered by SHA-256 of these texts, and a hash cannot be migrated: were a single text to
change, its payment would be forgotten and made again. tests/test_normal_form.py holds the form by
literals; across releases of Python, Unicode's stability policies hold it for what is assigned.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple, Self
from unicodedata import normalize
from urllib.parse import unquote_to_bytes

from feedwatch.core.feed import Item
from feedwatch.core.tracking_prefixes import PREFIXES, VOLATILE_PARAMETERS

LONGEST_KEY = 500  # characters; a longer value is kept as its hash: databases bound what they index

CACHED = 8192  # titles and URLs; the largest feeds have fewer, each needed several times in a check

_SCHEME = re.compile("(?:https?:)?//|(https?:%2F)", re.IGNORECASE)
_DEFAULT_PORT = re.compile(r":(?:0*(?:80|443))?\Z")
_ESCAPES = re.compile("(?:%[0-9A-Fa-f]{2})+|%")
# What stays escaped: delimiters, which would mean something else, control characters, and octets
# that are no UTF-8, which Python decodes to these surrogates.
_KEPT_ESCAPED = re.compile("[/?#%&=+;\x00-\x1f\x7f\udc80-\udcff]")
_DELIMITER = re.compile("%(2F|3F|23|25|26|3D|2B|3B)")
_PREFIX = re.compile("|".join(PREFIXES), re.IGNORECASE)


class KeyKind(StrEnum):
    """What of an item a key is made of, from the strongest sign to the weakest."""

    GUID = "guid"  # as `guid_key` gives it
    FILE = "file"  # the enclosure's URL, as `comparable` gives it
    DATE = "date"  # the title, as `title_key` gives it, with the date


# An episode's keys of one kind, at most. An item may have another address, or date, at every check.
# Several items of a document may be one episode, each with a guid of its own, all of them needed.
MOST_KEYS = {KeyKind.GUID: 100, KeyKind.FILE: 12, KeyKind.DATE: 12}


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
    guids = [
        # Most guids are in the normal form; to ask for it costs more than to see that.
        guid
        if guid is None or ("%" not in guid and len(guid) <= LONGEST_KEY and guid.isascii())
        else guid_key(guid)
        for guid in (item.guid for item in items)
    ]
    files_of: dict[str, set[str]] = defaultdict(set)
    for guid, file in zip(guids, files, strict=True):
        if guid is not None and file is not None:
            files_of[guid].add(file)
    # Python 3.11 takes longer to look up a member of an enum than to make the key.
    by_guid, by_file, by_date = KeyKind.GUID, KeyKind.FILE, KeyKind.DATE
    found = []
    for item, guid, file in zip(items, guids, files, strict=True):
        keys = []
        if file is not None:
            if guid is not None and len(files_of[guid]) == 1:
                keys.append(Key(by_guid, guid))
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


def surplus(keys: Iterable[Key]) -> list[Key]:
    """Which of an episode's keys to forget: per kind all but the first and the latest ones.

    `keys` are in the order in which they were learned.
    """
    by_kind: dict[KeyKind, list[Key]] = defaultdict(list)
    for key in keys:
        by_kind[key.kind].append(key)
    return [key for kind, own in by_kind.items() for key in own[1 : 1 - MOST_KEYS[kind]]]


def guid_key(guid: str) -> str:
    """A guid as guids are compared: in NFC, percent-decoded as a URL is, and bounded."""
    return _bounded(guid if "%" not in guid and guid.isascii() else _decoded(guid))


@lru_cache(CACHED)
def title_key(title: str) -> str:
    """A title as titles are compared: without regard to form, case and spacing, and bounded.

    In NFKC and casefolded, and again in NFKC, which casefold can undo.
    """
    if title.isascii():
        folded = title.lower()
    else:
        folded = normalize("NFKC", normalize("NFKC", title).casefold())
    return _bounded(" ".join(folded.split()))


def comparable(url: str, *, whole_query: bool = False) -> str:
    """An enclosure's URL as URLs are compared; it is never requested in this form.

    It is percent-decoded and in NFC. It has no scheme, no tracking prefixes, no fragment, a host in
    lower case without default port and, unless `whole_query`, none of the parameters that are known
    to change. `url` has its host by UTS 46 already, see `feeds.enclosures`.
    """
    return _without_and_with_volatile(url)[whole_query]


@lru_cache(CACHED)
def _without_and_with_volatile(url: str) -> tuple[str, str]:
    """`comparable` without the parameters that are known to change, and with them."""
    rest = _without_scheme(url if "%" not in url and url.isascii() else _decoded(url))
    while prefix := _PREFIX.match(rest):
        rest = _without_scheme(rest[prefix.end() :])
    place, _, query = rest.partition("#")[0].partition("?")
    host, slash, path = place.partition("/")
    host = host.lower()
    if ":" in host or host[-1:] == ".":
        host = _DEFAULT_PORT.sub("", host).removesuffix(".")
    file = whole = f"{host}{slash}{path}"
    if query and (parts := [part for part in query.split("&") if part]):
        whole = f"{file}?{'&'.join(parts)}"
        kept = [part for part in parts if part.partition("=")[0].lower() not in VOLATILE_PARAMETERS]
        file = f"{file}?{'&'.join(kept)}" if kept else file
    return file, whole


def _without_scheme(url: str) -> str:
    scheme = _SCHEME.match(url)
    if scheme is None:
        return url
    if scheme[1] is None:
        return url[scheme.end() :]
    # A URL quoted inside the path of a tracking prefix.
    return _without_scheme(_decoded(_DELIMITER.sub(lambda one: chr(int(one[1], 16)), url)))


def _decoded(text: str) -> str:
    """A text percent-decoded once, in NFC; what stays escaped is so in one spelling."""
    decoded = _ESCAPES.sub(
        lambda escapes: _KEPT_ESCAPED.sub(
            lambda kept: f"%{ord(kept[0]) & 0xFF:02X}",
            unquote_to_bytes(escapes[0]).decode("utf-8", "surrogateescape"),
        ),
        text,
    )
    # Piece by piece: a letter that ends an escape must not be composed with what follows.
    return "".join(normalize("NFC", piece) for piece in re.split("(%..)", decoded))


def _files(items: Sequence[Item]) -> list[str | None]:
    """The comparable enclosure URL of each item; None without an enclosure.

    Where items of one document with guids, else titles and dates, of their own differ only in a
    parameter that counts as volatile, it tells files apart there, and the whole query is kept.
    """
    files = [
        (None, None)
        if item.enclosure_url is None
        else _without_and_with_volatile(item.enclosure_url)
        for item in items
    ]
    varied = {file for file, whole in files if file != whole}
    wholes: dict[str | None, set[str | None]] = defaultdict(set)
    signs: dict[str | None, set[object]] = defaultdict(set)
    for item, (file, whole) in zip(items, files, strict=True):
        if file in varied:
            wholes[file].add(whole)
            signs[file].add(item.guid or (item.title, item.published_at))
    apart = {file for file in varied if len(wholes[file]) > 1 and len(signs[file]) > 1}
    return [whole if file in apart else file for file, whole in files]


def _bounded(value: str) -> str:
    if len(value) <= LONGEST_KEY:
        return value
    return "sha256-" + sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
