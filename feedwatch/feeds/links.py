"""Links of a document: its next page, and where its publisher says that it has moved. Pure.

The head of a document is searched, not parsed, and its end after the last item.
"""

import html
import re
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urljoin, urlsplit

from feedwatch.core.feed import Links
from feedwatch.feeds.polling_hints import COMMENT, HEAD, ITEM

LONGEST_ADDRESS = 2000  # characters, of a hub
LAST_ITEM = (b"</item>", b"</entry>")
LINK = re.compile(rb"<(?:\w{1,20}:)?link\s([^<>]{1,4000})>")
ATTRIBUTE = re.compile(rb"""([\w:]{1,20})\s*=\s*(?:"([^"]*)"|'([^']*)')""")
NEW_FEED_URL = re.compile(
    rb"<\w{1,20}:new-feed-url>\s*(?:<!\[CDATA\[\s*)?([^\s<>\]]{1,2000})", re.IGNORECASE
)


def links_of(body: bytes, url: str, header: Mapping[str, str] | None = None) -> Links:
    """The links of the document `body` that was fetched from `url`.

    header: those of the HTTP header `Link`, by their relations, which WebSub puts first.
    """
    first = ITEM.search(body, 0, HEAD)
    end = max(body.rfind(mark, -HEAD) for mark in LAST_ITEM)
    around = body[: first.start() if first else HEAD] + (body[end:] if end >= 0 else b"")
    around = COMMENT.sub(b"", around)
    new_feed_url = NEW_FEED_URL.search(around)
    pages = []
    named = {name.encode(): address.encode() for name, address in (header or {}).items()}
    for link in LINK.finditer(around):
        attributes = {name.lower(): one or other for name, one, other in ATTRIBUTE.findall(link[1])}
        relations = attributes.get(b"rel", b"").lower().split()
        if b"next" in relations and b"href" in attributes:
            pages.append(_absolute(attributes[b"href"], url))
        for name in {b"hub", b"self"}.intersection(relations) if b"href" in attributes else ():
            named.setdefault(name, attributes[b"href"])
    return Links(
        next_page=next(filter(None, pages), None),
        new_feed_url=_absolute(new_feed_url[1], "") if new_feed_url else None,
        hub=_plain(_absolute(named.get(b"hub", b""), url)) if b"hub" in named else None,
        itself=_plain(_absolute(named[b"self"], url)) if b"self" in named else None,
    )


def _plain(url: str | None) -> str | None:
    """An address that is fit to be sent somewhere: short, and without credentials."""
    if url is None or len(url) > LONGEST_ADDRESS or not (url.isascii() and url.isprintable()):
        return None
    return url if "@" not in urlsplit(url).netloc else None


def _absolute(text: bytes, base: str) -> str | None:
    """An address of the web; None if it is none."""
    with suppress(ValueError):
        url = urljoin(base, html.unescape(text.decode(errors="replace")).strip())
        parts = urlsplit(url)
        return url if parts.scheme in ("http", "https") and parts.hostname else None
    return None
