"""Further pages of a feed (RFC 5005, section 3), read once: for a first run that wants them."""

import re
import time
from collections.abc import Sequence
from dataclasses import replace

import httpx

from feedwatch.core.feed import Address, Document, Failed, ParsedFeed
from feedwatch.core.settings import FeedConfig, FirstRun
from feedwatch.feeds.document_parser import MAX_ITEMS, DocumentParser
from feedwatch.feeds.fetch import MAX_BYTES, fetch

MAX_PAGES = 50
MAX_SECONDS = 300.0  # for all of them
PATIENT_CHECKS = 3  # that fail with a page; then the feed is read without it


def with_pages(
    client: httpx.Client, source: FeedConfig, document: Document, failures: int
) -> Document | Failed:
    """The first page of a feed, with the further pages that its first run may want.

    A page that cannot be read fails the check, but not for ever: `failures` counts those in a row.
    """
    pages: list[Document] = []
    began, last, scope = time.monotonic(), document, document.scope or 0
    while (url := last.links.next_page) and _wants_more(source.rules.first_run, document, pages):
        known = {document.url, *(page.url for page in pages)}
        size = sum(len(page.body) for page in (document, *pages))
        is_late = time.monotonic() - began > MAX_SECONDS
        if url in known or len(pages) == MAX_PAGES or size > MAX_BYTES or is_late:
            return replace(document, pages=tuple(pages), unread_page=url)
        fetched = fetch(client, source, None, Address(url=url, scope=scope))
        if not isinstance(fetched, Document):
            reason = fetched.reason if isinstance(fetched, Failed) else "there is none"
            if failures < PATIENT_CHECKS:
                return Failed(f"its further page {url}: {reason}")
            return replace(document, pages=tuple(pages), unread_page=url)
        pages.append(fetched)
        last = fetched
    return replace(document, pages=tuple(pages))


def parse_pages(
    document: Document, media_types: Sequence[str], parser: DocumentParser
) -> ParsedFeed | Failed:
    """Parse a document and its further pages, whose items are the last ones."""
    parsed = parser.parse(document, media_types)
    if isinstance(parsed, Failed):
        return parsed
    items, unread_page = list(parsed.items), document.unread_page
    for page in document.pages:
        further = parser.parse(page, media_types)
        if isinstance(further, Failed) or len(items) + len(further.items) > MAX_ITEMS:
            unread_page = page.url
            break
        items += further.items
    paged = len(items) - len(parsed.items)
    return replace(parsed, items=tuple(items), paged=paged, unread_page=unread_page)


def _wants_more(first_run: FirstRun, document: Document, pages: Sequence[Document]) -> bool:
    """Whether the first run may want older items; it is not known here how old these are."""
    if first_run.everything or first_run.since is not None:
        return True
    items = (len(re.findall(rb"<(?:item|entry)[\s>]", one.body)) for one in (document, *pages))
    return sum(items) < first_run.latest
