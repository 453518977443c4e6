"""What others say of a document: rules of the formats, podcastparser, and the W3C's validator.

The rules are written down here from the specifications, and read nothing of feedwatch's:
RSS 2.0 (https://www.rssboard.org/rss-specification), Atom (RFC 4287), the iTunes tags
(https://podcasters.apple.com/support/823-podcast-requirements) and the podcast namespace
(https://podcasting2.org/docs/podcast-namespace).
"""

import io
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import podcastparser  # type: ignore[import-untyped]

ATOM = "{http://www.w3.org/2005/Atom}"
ITUNES = "{http://www.itunes.com/dtds/podcast-1.0.dtd}"
PODCAST = "{https://podcastindex.org/namespace/1.0}"
DURATION = re.compile(r"\d+|(\d+:)?\d{1,2}:\d{1,2}")
HTTP = re.compile(r"https?://[^\s/]+\S*")

# What a served feed may have otherwise than its origin. Attributes may have any order and quotes.
TAG = rb"""(?:"[^"]*"|'[^']*'|[^<>"'])*"""
STATED = re.compile(
    rb"(?s)<(?:[\w.-]+:)?(?:enclosure|content|source|alternateEnclosure|link)\b" + TAG + rb">"
    rb"|</(?:[\w.-]+:)?link\s*>"
    rb"|<((?:itunes:)?duration|[\w.-]+:(?:guid|new-feed-url|chapters|transcript|soundbite|integrity))"
    rb"(?:\s" + TAG + rb")?>(?:(?<=/>)|.*?</\1\s*>)"
    rb"|<\?xml-stylesheet\b.*?\?>"
)
# Nobody else writes a guid at the very end of an item, right behind its last tag.
ADDED_GUID = re.compile(rb'<guid isPermaLink="false">https?://[^<]*</guid>(</item>)')


def without_the_stated_changes(document: bytes) -> bytes:
    """The rest of a document, every byte of it."""
    return STATED.sub(b"", ADDED_GUID.sub(rb"\1", document))


def broken_rules(document: bytes) -> Counter[str]:
    """The rules of the formats that a document breaks, and how often."""
    return Counter(_broken(ElementTree.fromstring(document)))


def _broken(root: Element) -> Iterator[str]:
    channel = root.find("channel") if root.tag == "rss" else root
    if channel is None:
        yield "an rss element has a channel"
        return
    if sum(one.get("rel") == "self" for one in channel.findall(f"{ATOM}link")) > 1:
        yield "a feed has one self link"
    guids = channel.findall(f"{PODCAST}guid")
    if len(guids) > 1:
        yield "a channel has one podcast:guid"
    for guid in guids:
        try:
            UUID((guid.text or "").strip())
        except ValueError:
            yield "podcast:guid is a UUID"
    for item in root.iter("item"):
        if len(item.findall(f"{ITUNES}duration")) > 1:
            yield "an item has one itunes:duration"
        for enclosure in item.findall("enclosure"):
            yield from _broken_of_enclosure(enclosure)
    yield from _broken_of_tags(root)


def _broken_of_tags(root: Element) -> Iterator[str]:
    for duration in root.iter(f"{ITUNES}duration"):
        if not DURATION.fullmatch((duration.text or "").strip()):
            yield "itunes:duration is seconds, or hours, minutes and seconds"
    for alternate in root.iter(f"{PODCAST}alternateEnclosure"):
        if not alternate.get("type"):
            yield "podcast:alternateEnclosure has a type"
        if alternate.find(f"{PODCAST}source") is None:
            yield "podcast:alternateEnclosure has a source"
    for source in root.iter(f"{PODCAST}source"):
        if not HTTP.fullmatch(source.get("uri", "")):
            yield "podcast:source has a uri"


def _broken_of_enclosure(enclosure: Element) -> Iterator[str]:
    if not HTTP.fullmatch(enclosure.get("url", "").strip()):
        yield "an enclosure has an http address"
    if not enclosure.get("length", "").isdecimal():
        yield "an enclosure has a length in bytes"
    if not re.fullmatch(r"[\w.+-]+/[\w.+-]+", enclosure.get("type", "")):
        yield "an enclosure has a media type"


def podcastparser_reads(document: bytes) -> list[tuple[str, list[str]]] | None:
    """Guid and enclosures of each episode by podcastparser; None: it does not read such a feed."""
    try:
        feed = podcastparser.parse("https://feeds.example.org/x.xml", io.BytesIO(document))
    except podcastparser.FeedParseError:
        return None
    return [
        (one["guid"], [enclosure["url"] for enclosure in one["enclosures"]])
        for one in feed["episodes"]
    ]


def w3c_errors(checkout: Path, document: bytes, url: str) -> tuple[Counter[str], Counter[str]]:
    """Errors and warnings of the validator of https://validator.w3.org/feed/, by their names.

    `checkout` is a clone of https://github.com/w3c/feedvalidator; it needs html5lib, lxml, rdflib.
    """
    if str(checkout / "src") not in sys.path:
        sys.path.insert(0, str(checkout / "src"))
    import feedvalidator  # type: ignore[import-not-found]
    from feedvalidator import logging as kinds

    said: list[Any] = feedvalidator.validateString(document, base=url)["loggedEvents"]
    errors, warnings = (
        Counter(type(one).__name__ for one in said if isinstance(one, kind))
        for kind in (kinds.Error, kinds.Warning)
    )
    return errors, warnings
