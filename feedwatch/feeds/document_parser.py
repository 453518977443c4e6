"""What a parser of documents is to those who use one; none of it needs feedparser."""

from collections.abc import Sequence
from typing import Protocol

from feedwatch.core.feed import Document, Failed, ParsedFeed

MAX_ITEMS = 20_000  # of a document; the largest real feed seen has 1,500
TOO_MANY_ITEMS = Failed(f"more than {MAX_ITEMS} items")


class DocumentParser(Protocol):
    """Turns a document into items; see `parser_process.Parser`."""

    def parse(self, document: Document, media_types: Sequence[str]) -> ParsedFeed | Failed:
        """The items, or why there are none."""

    def close(self) -> None:
        """Break off what is being parsed."""


class PackingParser(DocumentParser, Protocol):
    """A parser that also makes documents fit to be served."""

    def pack(self, document: Document) -> bytes | Failed:
        """The document as it is kept to be served, or why it can't be."""
