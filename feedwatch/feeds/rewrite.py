"""Rewrites a document: its enclosure URLs replaced by processed URLs. Pure: bytes in, bytes out.

The document is not parsed and written again, which would lose what we do not understand: URLs are
replaced where they stand, and every other byte stays as it is.
"""

import re
from collections.abc import Mapping
from html import escape, unescape

from feedwatch.core.identity import comparable
from feedwatch.feeds.enclosures import absolute

# The places where an enclosure URL may stand, and CDATA and comments, where none counts.
PLACES = re.compile(
    r"<!\[CDATA\[.*?\]\]>|<!--.*?-->"
    r"|<(?:[\w.-]+:)?(?P<tag>enclosure|content|link|source)\b(?P<attributes>[^<>]*)>",
    re.DOTALL | re.IGNORECASE,
)
ADDRESS = re.compile(
    r"(?P<name>\b(?:url|href|uri|(?:[\w.-]+:)?resource)\s*=\s*)(?P<quote>[\"'])(?P<url>.*?)(?P=quote)",
    re.DOTALL | re.IGNORECASE,
)
LENGTH = re.compile(r"(\b(?:length|fileSize)\s*=\s*)([\"']).*?\2", re.DOTALL | re.IGNORECASE)
DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.-]+)["']""")


def republished(document: bytes, document_url: str, processed: Mapping[str, str]) -> bytes:
    """The document with the enclosure URLs in `processed` replaced by what they map to.

    The URLs in `processed` are in the form of `identity.comparable`, so a tracking prefix that was
    added later hides none. The length of a processed file is not known, so it becomes 0.
    """
    # An encoding that gives every byte back as it was; what it makes of letters matters little.
    declared = DECLARED.match(document)
    name = declared[1].decode("ascii").lower() if declared else "utf-8"
    encoding = name if name in ("utf-8", "us-ascii") else "latin-1"
    if document.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"

    def in_place(place: re.Match[str]) -> str:
        if place["tag"] is None:
            return place[0]
        changed = ADDRESS.sub(in_address, place["attributes"])
        if changed == place["attributes"]:
            return place[0]
        return place[0].replace(place["attributes"], LENGTH.sub(r"\g<1>\g<2>0\g<2>", changed))

    def in_address(address: re.Match[str]) -> str:
        known = absolute(unescape(address["url"]), "", document_url)
        new = processed.get(comparable(known)) if known is not None else None
        if new is None:
            return address[0]
        return f"{address['name']}{address['quote']}{escape(new)}{address['quote']}"

    text = document.decode(encoding, "surrogateescape")
    return PLACES.sub(in_place, text).encode(encoding, "surrogateescape")
