"""Cuts a document into its items, as bytes, without parsing them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from xml.parsers import expat

from feedwatch.core.feed import Document
from feedwatch.feeds.charset import codec_in_parts, in_utf8
from feedwatch.feeds.hashes import first_item
from feedwatch.feeds.namespaces import PREFIXES

# What is longer is left to the parser's process. While expat reads a piece, or a character set is
# converted, no other thread runs.
LONGEST_DOCUMENT = 20_000_000  # bytes
LONGEST_PIECE = 250_000  # bytes: of an item, and of what stands before the first or after the last

_DECLARATION = re.compile(rb"<\?xml\s[^<>]*\?>")
_START_TAG = re.compile(rb"<\w+(?:\s[^<>]*)?>")


@dataclass(frozen=True, kw_only=True)
class Outline:
    """A document cut into its items, which are in the document's order."""

    opening: bytes  # the start tags that the items stand in
    closing: bytes
    items: tuple[bytes, ...]
    repaired: bool = False  # some bytes had to be replaced

    def document_of(self, places: Iterable[int], *, malformed: bool) -> bytes:
        """A document of these items alone, for feedparser to read as it would read the whole one.

        It has two parsers and takes the second for all of a document that is `malformed` anywhere.
        """
        items = b"".join(self.items[place] for place in places)
        return self.opening + items + (b"&" if malformed else b"") + self.closing


@dataclass(frozen=True, kw_only=True)
class _Dialect:
    path: tuple[str, ...]  # the elements that an item stands in, without their namespaces
    item: bytes
    start: re.Pattern[bytes]  # of an item
    closing: bytes  # of the document


RSS = _Dialect(
    path=("rss", "channel"),
    item=b"item",
    start=re.compile(rb"<item[\s>/]"),
    closing=b"</channel></rss>",
)
_ATOM = _Dialect(
    path=("feed",), item=b"entry", start=re.compile(rb"<entry[\s>/]"), closing=b"</feed>"
)


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a document's items are read in, besides their own bytes."""

    opening: bytes  # as in `Outline`
    codec: str


def surroundings(document: Document) -> Surroundings | None:
    """What `split` finds around a document's items, without a look at these; None if not certain.

    It is certain for a document whose bytes from the first item on have been split before.
    """
    body, start = document.body, first_item(document.body)
    codec = codec_in_parts(body[:start], document.charset) if start < len(body) else None
    if len(body) > LONGEST_DOCUMENT or codec is None:
        return None
    dialect = RSS if body[-LONGEST_PIECE:].rstrip().endswith(b"</rss>") else _ATOM
    closing = b"</" + dialect.item + b">"
    end = body.rfind(closing, max(start, len(body) - LONGEST_PIECE))
    decoded = in_utf8(body[:start], document.charset)
    if end < 0 or decoded.repaired:
        return None
    opening = _opening(_undeclared(decoded.body), body[end + len(closing) :].rstrip(), dialect)
    return Surroundings(opening=opening, codec=codec) if opening is not None else None


def _undeclared(body: bytes) -> bytes:
    body = body.strip()
    declaration = _DECLARATION.match(body)
    return body[declaration.end() :] if declaration else body


def split(document: Document) -> Outline | None:
    """The parts of an RSS or Atom document; None if it is not certain that they are its parts."""
    if len(document.body) > LONGEST_DOCUMENT:
        return None
    decoded = in_utf8(document.body, document.charset)
    body = _undeclared(decoded.body)
    dialect = RSS if body.endswith(b"</rss>") else _ATOM
    first = dialect.start.search(body) if body.endswith(dialect.closing[-6:]) else None
    if first is None or first.start() > LONGEST_PIECE:
        return None
    items, end = _items(body, first.start(), dialect)
    if not items or len(body) - end > LONGEST_PIECE:
        return None
    opening = _opening(body[: first.start()], body[end:], dialect)
    if opening is None:
        return None
    return Outline(opening=opening, closing=dialect.closing, items=items, repaired=decoded.repaired)


def _items(body: bytes, place: int, dialect: _Dialect) -> tuple[tuple[bytes, ...], int]:
    """A document's items from `place` on, one right after another, and where the last one ends.

    No items if that is not certain.
    """
    items = []
    start, closing = b"<" + dialect.item, b"</" + dialect.item + b">"
    while True:
        end = body.find(closing, place)
        if end < 0 or end - place > LONGEST_PIECE:
            return (), 0
        end += len(closing)
        items.append(body[place:end])
        place = body.find(b"<", end)
        if place < 0 or body[end:place].strip():
            return (), 0
        if not dialect.start.match(body, place):
            break
    # None may begin within another. Bytes are counted faster than patterns are found.
    if any(item.count(start) > 1 and dialect.start.search(item, 1) for item in items):
        return (), 0
    return tuple(items), end


def _opening(head: bytes, tail: bytes, dialect: _Dialect) -> bytes | None:
    """The start tags of a document that its items stand in, and inherit from.

    None if what stands around the items is not well-formed, if they stand elsewhere than items do,
    in a comment, say, or if there are other items.
    """
    if b"<!DOCTYPE" in head:  # its entities may be items, or a hundred times as long as they look
        return None
    document = b"".join((head, b"<", dialect.item, b"/>", tail))
    path: list[str] = []
    starts: list[int] = []
    items: list[tuple[tuple[str, ...], int]] = []  # in what each stands, and where

    def start(name: str, _attributes: dict[str, str]) -> None:
        uri, _, local = name.rpartition(" ")
        own, place = PREFIXES.get(uri.lower()) == "", parser.CurrentByteIndex
        has_no_prefix = document.startswith(local.encode(), place + 1)  # which feedparser goes by
        if local.lower() in ("item", "entry") and (own or has_no_prefix):
            items.append((tuple(path), place))
        path.append(local if own else name)
        if tuple(path) == dialect.path[: len(path)]:
            starts.append(place)

    parser = expat.ParserCreate("utf-8", namespace_separator=" ")
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _name: path.pop()
    try:
        parser.Parse(document, True)  # noqa: FBT003 - expat takes it no other way
    except expat.ExpatError:
        return None
    tags = [_START_TAG.match(head, start) for start in starts]
    if items != [(dialect.path, len(head))] or len(tags) != len(dialect.path):
        return None
    return b"".join(tag[0] for tag in tags if tag) if None not in tags else None
