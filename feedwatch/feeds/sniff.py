"""Sniffs a document: is it a whole feed, by its packing, root element and end."""

import re
import zlib

from feedwatch.core.feed import Document, Failed
from feedwatch.feeds.charset import Decoded, in_utf8, legal
from feedwatch.feeds.html_to_text import one_line

MAX_UNPACKED = 50_000_000
_PROLOG = 65_536  # bytes within which the root element starts
_QUOTED = 1_000  # characters of a document; the parent process, which knows our secrets, cuts them

_DECLARATION = b'<?xml version="1.0" encoding="utf-8"?>'
_GZIP = b"\x1f\x8b"
_ROOTS = {"rss", "feed", "rdf"}
_HTML_ROOTS = {"html", "head", "body", "meta", "title", "script", "div", "p", "h1", "center", "br"}


def feed_document(given: Document) -> Decoded | Failed:
    """A feed's document from its first to its last tag, fit for a parser, or why it is no feed.

    The result is in UTF-8, declares nothing else, and has nothing before or after the document.
    """
    body = given.body
    for _ in range(2):  # some servers send gzip twice, and announce neither
        if body.startswith(_GZIP):
            unpacked = _gunzip(body)
            if isinstance(unpacked, Failed):
                return unpacked
            body = unpacked
    if body.startswith(_GZIP):
        return Failed("the document is packed with gzip more than twice")
    decoded = in_utf8(body, given.charset)
    document = decoded.body.strip()
    if not document:
        return Failed("the server answered with an empty document")
    if document[:1] in (b"{", b"[") and document[-1:] in (b"}", b"]"):
        return Failed("the server answered with JSON, not a feed")
    begin = _beginning(document)
    root = re.compile(rb"<([A-Za-z_][\w.:-]*)").match(document, begin) if begin >= 0 else None
    if root is None:
        if b"\0" in document[:1000]:
            return Failed("the server answered with binary data, not a feed")
        words = one_line(document[:2000].decode(errors="replace"), limit=_QUOTED)
        if not words:
            return Failed("the server answered with a document that has no content")
        return Failed(f'the server answered with plain text, not a feed: "{words}"')
    name = root[1].decode()
    if name.rpartition(":")[2].lower() not in _ROOTS:
        return _not_a_feed(document, name)
    end = _end(document, root)
    if end is None:
        return Failed(f"the document is cut short: its end, </{name}>, is missing")
    openings = (document.find(b"<?xml ", 0, begin), document.find(b"<!DOCTYPE", 0, begin), begin)
    document = document[next(place for place in openings if place >= 0) : end]
    document = re.sub(rb"\A<\?xml [^>]*>", _DECLARATION, document)
    mended = legal(document)
    return Decoded(mended, repaired=decoded.repaired or mended != document)


def _gunzip(body: bytes) -> bytes | Failed:
    unpacked = bytearray()
    while body.startswith(_GZIP):  # a stream may have several members
        member = zlib.decompressobj(wbits=31)
        try:
            unpacked += member.decompress(body, MAX_UNPACKED + 1 - len(unpacked))
        except zlib.error:
            return Failed("the document is packed with gzip and damaged")
        if len(unpacked) > MAX_UNPACKED:
            megabytes = MAX_UNPACKED // 1_000_000
            return Failed(f"the document is packed with gzip and holds more than {megabytes} MB")
        if not member.eof:
            return Failed("the document is packed with gzip and cut short")
        body = member.unused_data
    return bytes(unpacked)


def _beginning(document: bytes) -> int:
    """Where a document's root element starts; -1 if there is none.

    What a broken server put before the feed, often a warning of its own, is passed over.
    """
    place = 0
    while place < min(len(document), _PROLOG):
        place = document.find(b"<", place)
        if place < 0:
            return -1
        for opening, closing in ((b"<!--", b"-->"), (b"<?", b">"), (b"<!", b">")):
            if document.startswith(opening, place):
                if opening == b"<!" and b"[" in document[place : document.find(b">", place)]:
                    closing = b"]>"
                end = document.find(closing, place + len(opening))
                place = len(document) if end < 0 else end + len(closing)
                break
        else:
            break
    feed = re.compile(rb"(?i)<(?:rss|feed|[\w-]+:rdf)[\s>]").search(document, 0, _PROLOG)
    html = re.search(rb"(?i)<(?:!doctype\s+)?html\b", document[: place + 6])
    return feed.start() if feed and not html else place


def _end(document: bytes, root: re.Match[bytes]) -> int | None:
    """Where a document's root element ends; None if it does not."""
    empty = re.compile(rb"""(?:[^<>"']|"[^"]*"|'[^']*')*?/>""").match(document, root.end())
    if empty:
        return empty.end()
    end, quoted = None, False  # a description may quote a whole feed, in CDATA
    marks = rb"(?i)<!\[CDATA\[|\]\]>|</" + re.escape(root[1]) + rb"\s*>"
    for mark in re.compile(marks).finditer(document, root.end()):
        if mark[0].startswith(b"</"):
            end = end if quoted else mark.end()
        else:
            quoted = mark[0] != b"]]>"
    if end is None and not quoted and re.search(rb"(?i)</channel\s*>\s*\Z", document[-200:]):
        return len(document)  # all items are there; some generators forget the last line
    return end


def _not_a_feed(document: bytes, root: str) -> Failed:
    """A document with another root element: an HTML page, an error message, or other."""
    start = document[:100_000].decode(errors="replace")
    if root.lower() in _HTML_ROOTS or re.match(r"(?i)\s*<!doctype html", start):
        title = _content(start, "title")
        words = f': "{title}"' if title else ""
        return Failed(f"the server answered with an HTML page, not a feed{words}")
    told = [_content(start, name) for name in ("code", "message", "faultstring")]
    words = ": ".join(filter(None, told))
    said = f' ("{words}")' if words else ""
    reason = f"the server answered with XML, but not a feed: its root element is <{root}>{said}"
    return Failed(reason)


def _content(document: str, element: str) -> str:
    found = re.search(rf"(?i)<(?:\w+:)?{element}\b[^<>]*>([^<]{{1,1000}})<", document)
    return one_line(found[1], limit=_QUOTED) if found else ""
