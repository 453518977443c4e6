"""The feeds that a web page names by `<link rel="alternate">` (HTML standard, 4.6.7.1)."""

from html.parser import HTMLParser
from typing import NamedTuple
from urllib.parse import urljoin

from feedwatch.core.feed import Document
from feedwatch.feeds.charset import in_utf8
from feedwatch.feeds.html_to_text import one_line

TYPES = ("application/rss+xml", "application/atom+xml", "application/rdf+xml")
MAX_BYTES = 2_000_000  # of a page; its head is at its beginning
LONGEST_TITLE = 200


class FeedLink(NamedTuple):
    """A feed that a page names."""

    url: str  # absolute
    title: str  # "" if the page says none


def feed_links(page: Document) -> list[FeedLink]:
    """The feeds that a page names, each once, in its order."""
    links = _Links(page.url)
    links.feed(in_utf8(page.body[:MAX_BYTES], page.charset).body.decode(errors="replace"))
    return list({link.url: link for link in reversed(links.found)}.values())[::-1]


class _Links(HTMLParser):
    def __init__(self, base: str) -> None:
        super().__init__()
        self.found: list[FeedLink] = []
        self._base = base

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value.strip() for name, value in reversed(attrs) if value}
        href, relations = given.get("href", ""), given.get("rel", "").lower().split()
        try:
            url = urljoin(self._base, href)
        except ValueError:  # a broken IPv6 address
            return
        if tag == "base" and href:
            self._base = url
        is_feed = given.get("type", "").partition(";")[0].strip().lower() in TYPES
        is_of_the_web = url.startswith(("http://", "https://"))
        if tag == "link" and "alternate" in relations and is_feed and is_of_the_web:
            self.found.append(FeedLink(url, one_line(given.get("title", ""), limit=LONGEST_TITLE)))
