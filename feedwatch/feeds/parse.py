"""Parses a feed's document: its bytes → its items, in every dialect of feed.

Whatever hostile bytes can slow down happens here, so `parser_process` runs it in a process that can
be killed.
"""

import io
import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

import feedparser

from feedwatch.core.feed import Document, Failed, Item, ParsedFeed
from feedwatch.feeds import feedparser_patches
from feedwatch.feeds.dates import read_date, read_duration
from feedwatch.feeds.document_parser import MAX_ITEMS, TOO_MANY_ITEMS
from feedwatch.feeds.enclosures import FoundIn, choose
from feedwatch.feeds.html_to_text import one_line, readable, trimmed
from feedwatch.feeds.sniff import feed_document
from feedwatch.feeds.unread import unread


def parse(document: Document, media_types: Sequence[str]) -> ParsedFeed | Failed:
    """Parse a document: its items, or why it is no whole feed.

    `media_types` are shell-style patterns of the enclosures that count, like "audio/*".
    """
    decoded = feed_document(document)
    if isinstance(decoded, Failed):
        return decoded
    body = decoded.body
    try:
        # Bytes in a file object: a string or URL would make feedparser open it. It isn't told the
        # document's URL either, it would resolve guids against it.
        feed = feedparser.parse(io.BytesIO(body), resolve_relative_uris=False, sanitize_html=False)
        if len(feed.entries) > MAX_ITEMS:
            return TOO_MANY_ITEMS
        items = tuple(_item(entry, media_types, document.url) for entry in feed.entries)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  # of any class: it comes from the document
        detail = one_line(f"{type(error).__name__}: {error}", limit=200)
        return Failed(f"the document could not be read as a feed ({detail})")
    if not items and re.search(rb"(?i)<(?:[\w-]+:)?(?:item|entry)[\s>]", body):
        return Failed("the document has items, but none of them could be read")
    # The elements that were read: with their items, or put aside on purpose.
    candidates = chain(*(dict.get(e, feedparser_patches.CANDIDATES, ()) for e in feed.entries))
    enclosures = sum(candidate.source is FoundIn.ENCLOSURE for candidate in candidates)
    enclosures += int(feed.feed.get(feedparser_patches.PUT_ASIDE, 0))
    return ParsedFeed(
        title=one_line(_text(feed.feed, "title")),
        items=items,
        repaired=decoded.repaired or bool(feed.bozo),
        unread=unread(body, items=len(items), enclosures=enclosures),
    )


def _item(entry: Any, media_types: Sequence[str], document_url: str) -> Item:
    dates = (  # dc:date comes as updated
        read_date(_text(entry, key)) for key in ("published", "created", "updated")
    )
    return Item(
        guid=trimmed(_text(entry, "id")) or None,
        title=one_line(_text(entry, "title")) or one_line(_text(entry, "itunes_title")),
        description=_description(entry),
        enclosure_url=choose(
            entry.get(feedparser_patches.CANDIDATES, ()), media_types, document_url
        ),
        published_at=next(filter(None, dates), None),
        duration=read_duration(_text(entry, "itunes_duration")),
        episode_type=trimmed(_text(entry, "itunes_episodetype")).lower() or "full",
    )


def _description(entry: Any) -> str:
    """The description that says the most; of several that say about as much, the longest.

    Addresses, which are words with a slash, say nothing: a list of links gives way to a sentence.
    """
    contents = (_text(content, "value") for content in dict.get(entry, "content", ()))
    texts = {*contents, _text(entry, "summary")}  # itunes:summary is among these
    read = sorted({*map(readable, texts)}, key=len, reverse=True)
    if len(read) > 1:
        sizes = [sum(len(word) for word in text.split() if "/" not in word) for text in read]
        read = [text for text, size in zip(read, sizes, strict=True) if size >= 0.9 * max(sizes)]
    return read[0] or readable(_text(entry, "subtitle"))


def _text(values: Any, key: str) -> str:
    """A text of an item by feedparser; "" for a value that it gives in another form.

    By `dict.get`, since feedparser's own `get` answers with one key's value for another key.
    """
    value = dict.get(values, key)
    return value if isinstance(value, str) else ""
