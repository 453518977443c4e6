"""Counts what a damaged document has and was not read. Pure.

A broken end tag makes a text of all that follows it, further items included, and none of it is
missed: what was read looks like a whole feed.
"""

import re
from collections import Counter

_MARKS = re.compile(
    rb"<!\[CDATA\[|\]\]>|<!--|-->|<(?:(?:rss|atom):)?(item|entry|enclosure)(?=[\s>/])",
    re.IGNORECASE,
)
_CLOSING = {b"<![CDATA[": b"]]>", b"<!--": b"-->"}


def unread(document: bytes, *, items: int, enclosures: int) -> int:
    """How many items, or enclosures of items, a document has beyond those that were read.

    What stands in CDATA or in a comment is none, unless that was never closed.
    """
    stated: Counter[bytes] = Counter()
    quoted: Counter[bytes] = Counter()  # since `opening`
    opening = b""
    for found in _MARKS.finditer(document):
        mark, name = found[0].upper(), found[1]
        if name:
            is_item = name.lower() != b"enclosure"
            if is_item or stated or quoted:  # a channel's enclosure is no item's
                (quoted if opening else stated)[b"item" if is_item else b"enclosure"] += 1
        elif mark == opening or (not opening and mark in _CLOSING):
            stated += quoted  # an opening within its like: the first one was never closed
            quoted.clear()
            opening = mark
        elif opening and mark == _CLOSING[opening]:
            quoted.clear()
            opening = b""
    stated += quoted
    return max(0, stated[b"item"] - items, stated[b"enclosure"] - enclosures)
