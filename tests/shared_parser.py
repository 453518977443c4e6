"""The parser of feedwatch, one for all tests of a process: to start it takes longer than most."""

import atexit
from collections.abc import Sequence
from functools import cache
from typing import Self

from feedwatch.core.feed import Document, Failed, ParsedFeed
from feedwatch.feeds.parser_process import Parser


@cache
def _parser() -> Parser:
    parser = Parser()
    atexit.register(parser.close)
    return parser


class SharedParser:
    """It keeps nothing between two documents."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def parse(self, document: Document, media_types: Sequence[str]) -> ParsedFeed | Failed:
        return _parser().parse(document, media_types)

    def pack(self, document: Document) -> bytes | Failed:
        return _parser().pack(document)

    def close(self) -> None:
        """Nothing: a process that ends takes its parser with it, and this one is shared."""
