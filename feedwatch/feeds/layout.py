"""Layout: where the elements of a well-formed document stand, to the byte, and what they say.

One pass of expat. The rest of the document is not looked at, so it can be put back as it was.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urljoin
from xml.parsers import expat

from feedwatch.core.feed import Item
from feedwatch.feeds import enclosures
from feedwatch.feeds.dates import read_date, read_duration
from feedwatch.feeds.enclosures import Candidate, FoundIn
from feedwatch.feeds.html_to_text import one_line, trimmed
from feedwatch.feeds.in_pieces import read_in_pieces
from feedwatch.feeds.namespaces import PREFIXES

START_TAG = re.compile(rb"""<(?:[^<>"']++|"[^"]*+"|'[^']*+')*+>""")
MOST_ELEMENTS = 1_000_000  # style sheets count, too; the largest real feed seen has 20,519
LONGEST_TEXT = 65_536  # characters: of a title, say; what is longer is cut off
LONGEST_BASE = 4_000  # characters, of xml:base; those of nested elements add up
ITEMS = ("item", "entry")
CHANNELS = ("channel", "feed")
MEDIA = ("enclosure", "link", "media:content", "enc:enclosure", "podcast:source")
TIMED = ("podcast:chapters", "podcast:transcript", "podcast:soundbite", "psc:chapters")
DATES = ("pubdate", "published", "issued", "created", "dc:date", "updated", "modified")
TEXTS = ("guid", "id", "title", "itunes:title", *DATES)
READ = {*TEXTS, "itunes:duration", "podcast:guid"}
OF_ITEMS = {*MEDIA, *TIMED, *TEXTS, "itunes:duration"}
OF_ITEMS |= {"podcast:alternateenclosure", "podcast:integrity"}
OF_CHANNELS = {"link", "itunes:new-feed-url", "podcast:guid"}


@dataclass(kw_only=True)
class Element:
    """An element: its bytes are from `begin` to `end`, those of its start tag to `tag_end`."""

    name: str  # with the usual prefix, in lower case
    attributes: Mapping[str, str]  # names in lower case
    begin: int
    tag_end: int
    content_end: int | None = None  # where its end tag begins; None: an empty-element tag
    end: int = 0
    base: str = ""  # xml:base in force
    parent: "Element | None" = None
    texts: list[str] = field(default_factory=list)
    room: int = LONGEST_TEXT  # for more text
    parts: list["Element"] = field(default_factory=list)  # of an item or channel: what we may need

    @property
    def text(self) -> str:
        """The text directly in it."""
        return "".join(self.texts)


@dataclass(kw_only=True)
class Layout:
    """A document, and the elements of it that matter."""

    document: bytes
    channel: Element | None = None
    items: list[Element] = field(default_factory=list)
    stylesheets: list[tuple[int, int]] = field(default_factory=list)  # begin and end of each


def layout_of(document: bytes) -> Layout:
    """Read a document that `well_formed` has given. Raises `ExpatError` or `ValueError` else."""
    return _Reader(document).read()


class _Reader:
    def __init__(self, document: bytes) -> None:
        self._layout = Layout(document=document)
        self._open: list[Element] = []
        self._item: Element | None = None
        self._count = 0  # of elements
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data
        parser.ProcessingInstructionHandler = self._instruction
        self._parser = parser

    def read(self) -> Layout:
        read_in_pieces(self._parser, self._layout.document)
        return self._layout

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count_one()
        begin = self._parser.CurrentByteIndex
        tag = START_TAG.match(self._layout.document, begin)
        parent = self._open[-1] if self._open else None
        plain = {key.rpartition(" ")[2].lower(): value for key, value in attributes.items()}
        base = parent.base if parent is not None else ""
        if "base" in plain and "http://www.w3.org/XML/1998/namespace base" in attributes:
            with suppress(ValueError):
                base = urljoin(base, plain["base"][:LONGEST_BASE])[:LONGEST_BASE]
        element = Element(
            name=_usual(name, tag[0] if tag is not None else b""),
            attributes=plain,
            begin=begin,
            tag_end=tag.end() if tag is not None else begin,
            base=base,
            parent=parent,
        )
        self._open.append(element)
        if self._item is not None:
            direct = parent is self._item
            if element.name in OF_ITEMS and (direct or element.name not in TEXTS):
                self._item.parts.append(element)
        elif element.name in ITEMS:
            self._item = element
            self._layout.items.append(element)
        elif element.name in CHANNELS and self._layout.channel is None:
            self._layout.channel = element
        elif parent is not None and parent is self._layout.channel and element.name in OF_CHANNELS:
            parent.parts.append(element)

    def _count_one(self) -> None:
        self._count += 1
        if self._count > MOST_ELEMENTS:
            raise ValueError(f"more than {MOST_ELEMENTS} elements")

    def _end(self, _name: str) -> None:
        element = self._open.pop()
        at = self._parser.CurrentByteIndex
        if self._layout.document[element.tag_end - 2 : element.tag_end] == b"/>":
            element.end = element.tag_end
        else:
            element.content_end = at
            element.end = self._layout.document.index(b">", at) + 1
        if element is self._item:
            self._item = None

    def _data(self, text: str) -> None:
        element = self._open[-1] if self._open else None
        if element is not None and element.name in READ and element.room > 0:
            element.texts.append(text[: element.room])
            element.room -= len(text)

    def _instruction(self, target: str, _data: str) -> None:
        self._count_one()
        if target == "xml-stylesheet":
            begin = self._parser.CurrentByteIndex
            end = self._layout.document.index(b"?>", begin) + 2
            self._layout.stylesheets.append((begin, end))


def _usual(name: str, tag: bytes) -> str:
    """An element's name with the prefix that its namespace usually has, else as it is written."""
    namespace, _, local = name.rpartition(" ")
    prefix = PREFIXES.get(namespace.lower())
    if prefix is None:
        return re.split(rb"[\s/>]", tag[1:], maxsplit=1)[0].decode().lower()
    return f"{prefix}:{local}".lower() if prefix else local.lower()


def candidate_of(element: Element) -> Candidate | None:
    """An element of an item as a candidate for its enclosure, as feedparser would note it."""
    attributes = element.attributes
    match element.name:
        case "enclosure":
            found = enclosures.enclosure(attributes)
        case "link" if attributes.get("rel", "").strip() == "enclosure":
            found = enclosures.enclosure(attributes)
        case "media:content":
            found = enclosures.media_content(attributes)
        case "enc:enclosure":
            url = attributes.get("resource") or enclosures.address(attributes)
            found = Candidate(
                source=FoundIn.RDF_ENCLOSURE, url=url, type=attributes.get("type", "")
            )
        case "podcast:source":
            of = element.parent.attributes if element.parent is not None else {}
            found = enclosures.alternate_source(attributes, of)
        case _:
            return None
    kind = FoundIn.ATOM_LINK if element.name == "link" else found.source
    return Candidate(
        source=kind, url=found.url, type=found.type, base=element.base, default=found.default
    )


def item_of(element: Element, media_types: Sequence[str], document_url: str) -> Item:
    """What an item is known by."""
    candidates = [one for part in element.parts if (one := candidate_of(part)) is not None]
    texts: dict[str, str] = {}
    for part in element.parts:
        if part.name in ("guid", "id"):
            texts[part.name] = part.text  # of several, feedparser takes the last
        elif part.name in READ:
            texts.setdefault(part.name, part.text)
    guid = texts.get("guid") or texts.get("id") or element.attributes.get("about", "")
    dates = (read_date(texts.get(name, "")) for name in DATES)
    return Item(
        guid=trimmed(guid) or None,
        title=one_line(texts.get("title", "")) or one_line(texts.get("itunes:title", "")),
        description=None,
        enclosure_url=enclosures.choose(candidates, media_types, document_url),
        published_at=next(filter(None, dates), None),
        duration=read_duration(texts.get("itunes:duration", "")),
    )
