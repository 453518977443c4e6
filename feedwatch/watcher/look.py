"""A look at a feed as a person asks for it: nothing is remembered, and nothing is written."""

from dataclasses import dataclass

import httpx

from feedwatch.core.feed import Address, Document, Failed, Gone, NotModified, ParsedFeed
from feedwatch.core.settings import FeedConfig
from feedwatch.feeds.document_parser import DocumentParser
from feedwatch.feeds.fetch import fetch
from feedwatch.feeds.pages import parse_pages, with_pages


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one look at a feed gave: the document, if one came, and what it means."""

    document: Document | None
    outcome: ParsedFeed | NotModified | Gone | Failed


def look(
    client: httpx.Client,
    parser: DocumentParser,
    source: FeedConfig,
    moved: Address | None = None,
    *,
    is_first: bool = False,
) -> Look:
    """Fetch and parse a whole feed, whatever is known of it; `moved` as for `fetch`.

    `is_first`: as its first check would, with the further pages that the first run wants.
    """
    fetched = fetch(client, source, None, moved)
    if isinstance(fetched, Document) and is_first:
        fetched = with_pages(client, source, fetched, 0)
    if not isinstance(fetched, Document):
        return Look(document=None, outcome=fetched)
    return Look(document=fetched, outcome=parse_pages(fetched, source.rules.media_types, parser))
