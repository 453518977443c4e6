"""Hashes by which a document is recognised, each with all that says how it is read. Pure."""

import re
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256

from feedwatch.core.feed import Document
from feedwatch.core.settings import Rules

FORMAT = b"5"  # to be raised with what is kept or how items are read: all that is kept is void then
KEY_BYTES = 16
LONGEST_HEAD = 250_000  # bytes in which the first item is looked for: no other thread runs

_FIRST_ITEM = re.compile(rb"<(?:item|entry)[\s>/]")


def cache_key_of(rules: Rules, opening: bytes = b"") -> bytes:
    """Cache key: what an item's meaning depends on besides its bytes.

    The rules are written out, so that the key is the same in every process.
    """
    stated = [
        (name, sorted(value) if isinstance(value, frozenset) else value)
        for name, value in vars(rules).items()
    ]
    return sha256(b"\0".join((FORMAT, repr(stated).encode(), opening))).digest()[:KEY_BYTES]


def first_item(body: bytes) -> int:
    """Where the first item of a document begins, in its bytes as they came; its end without one."""
    found = _FIRST_ITEM.search(body, 0, LONGEST_HEAD)
    return found.start() if found else len(body)


def hashed(document: Document, rules: Rules) -> Document:
    """The document with its hashes, each byte of it hashed once.

    `body_hash` begins with that of the body, which holds as long as it would be read in one way;
    behind it stands the `packed_hash`, where there is one.
    """
    body, start = memoryview(document.body), first_item(document.body)
    rest = sha256(body[start:]).digest()
    whole = sha256(cache_key_of(rules, repr(document.charset).encode()))
    whole.update(body[:start])
    whole.update(rest)
    found = whole.digest()[:KEY_BYTES] + (document.packed_hash or b"")
    return replace(document, body_hash=found, rest_hash=rest)


def is_same_body(one: bytes | None, other: bytes | None) -> bool:
    """Whether two documents are the same to the byte, by what `hashed` says of them."""
    return one is not None and other is not None and one[:KEY_BYTES] == other[:KEY_BYTES]


def packed_hash(pieces: Iterable[bytes], rules: Rules, read_as: tuple[object, ...]) -> bytes:
    """Hash of a body as it came, and of all that says how it is read."""
    found = sha256(cache_key_of(rules, repr(read_as).encode()))
    for piece in pieces:
        found.update(piece)
    return found.digest()[:KEY_BYTES]


def packed_hash_in(body_hash: bytes | None) -> bytes | None:
    """The `packed_hash` of the document that has this `body_hash`; None if it has none."""
    return (body_hash or b"")[KEY_BYTES:] or None
