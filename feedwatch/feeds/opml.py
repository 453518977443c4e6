"""OPML: lists of feeds, as other programs write them and take them."""

import re
from collections.abc import Iterable
from datetime import datetime
from email.utils import format_datetime
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

from feedwatch.core.feed import Failed
from feedwatch.core.import_plan import Outline
from feedwatch.feeds.charset import in_utf8, legal
from feedwatch.feeds.html_to_text import one_line
from feedwatch.feeds.in_pieces import read_in_pieces
from feedwatch.feeds.well_formed import made_well_formed

MAX_OPML_BYTES = 10_000_000  # a feed is some 200 bytes of it
MAX_OUTLINES = 10_000  # feeds of one file
OUR_PREFIX = "feedwatch"
OUR_NAMESPACE = "urn:feedwatch:opml"
PODCAST = f"{OUR_PREFIX}:podcast"  # our own attribute: the podcast that a feed goes to
FEED_TYPES = ("rss", "atom", "feed", "podcast")  # with these, "url" is a feed's address
# What apps put before an address so that they are opened with it.
APP_SCHEME = re.compile(r"(?:feed|itpc|pcast|podcast|podcasts):(?://)?(?=https?:)", re.IGNORECASE)
APP_SCHEME_ALONE = re.compile(r"(?:feed|itpc|pcast|podcast|podcasts)://", re.IGNORECASE)


def read_opml(body: bytes) -> list[Outline] | Failed:
    """The feeds of an OPML file, in its order, however deep they are nested; or why it is none.

    Common faults are mended, as those of feeds are. A document type counts for nothing, so there
    are no entities but XML's own.
    """
    if len(body) > MAX_OPML_BYTES:
        return Failed(f"it has more than {MAX_OPML_BYTES // 1_000_000} MB")
    decoded = in_utf8(body, None)
    if decoded.repaired:  # by Windows in its own character set, whatever it says
        decoded = in_utf8(body, "windows-1252")
    document = made_well_formed(legal(decoded.body.strip()))
    if document is None:
        return Failed("it is no well-formed XML, and could not be mended")
    roots: list[str] = []
    outlines: list[Outline] = []

    def begin(name: str, given: dict[str, str]) -> None:
        if not roots:
            roots.append(name.rpartition(":")[2])
        if (found := outline_of(name, given)) is not None:
            outlines.append(found)

    parser = expat.ParserCreate()
    parser.StartElementHandler = begin
    read_in_pieces(parser, document)
    if roots[0].lower() != "opml":
        return Failed(f"it is no OPML: its root element is <{roots[0]}>")
    return outlines if len(outlines) <= MAX_OUTLINES else Failed(f"more than {MAX_OUTLINES} feeds")


def outline_of(name: str, given: dict[str, str]) -> Outline | None:
    """The feed that an element is; None if it is none."""
    if name.rpartition(":")[2].lower() != "outline":
        return None
    attributes: dict[str, str] = {}
    for key, value in given.items():
        if value.strip():
            attributes.setdefault(key.lower(), value.strip())
    url = attributes.get("xmlurl")
    if url is None and attributes.get("type", "").lower() in FEED_TYPES:
        url = attributes.get("url")
    if url is None:
        return None
    url = APP_SCHEME_ALONE.sub("http://", APP_SCHEME.sub("", url, count=1), count=1)
    titles = (one_line(attributes.get(key, "")) for key in ("title", "text"))
    named = tuple(dict.fromkeys(filter(None, titles)))
    return Outline(url=url, titles=named, podcast_id=attributes.get(PODCAST))


def opml_of(outlines: Iterable[Outline], made_at: datetime) -> bytes:
    """An OPML 2.0 file of these feeds."""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<opml version="2.0" xmlns:{OUR_PREFIX}="{OUR_NAMESPACE}">',
        "<head>",
        "<title>feedwatch</title>",
        f"<dateCreated>{format_datetime(made_at)}</dateCreated>",
        "</head>",
        "<body>",
    ]
    for one in outlines:
        attributes = {"text": one.title, "title": one.title, "type": "rss", "xmlUrl": one.url}
        attributes |= {PODCAST: one.podcast_id} if one.podcast_id is not None else {}
        written = " ".join(f"{key}={quoteattr(value)}" for key, value in attributes.items())
        lines.append(f"<outline {written}/>")
    return "\n".join([*lines, "</body>", "</opml>", ""]).encode()
