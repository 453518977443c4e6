"""Facts of an item, by expat: all that is kept of an item but its description.

At a hundredth of feedparser's cost. An item is left to feedparser unless it is plain RSS 2.0 in
every detail that matters. Which details matter is what feedparser would make of them;
tests/test_scan.py compares the two.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from xml.parsers import expat

from feedwatch.core.feed import Item
from feedwatch.feeds.charset import legal
from feedwatch.feeds.dates import read_date, read_duration
from feedwatch.feeds.enclosures import Candidate, alternate_source, choose, enclosure, media_content
from feedwatch.feeds.html_to_text import one_line, trimmed
from feedwatch.feeds.namespaces import PREFIXES
from feedwatch.feeds.scan.split import RSS, Outline

MOST_MALFORMED = 100  # items; each takes a new reader. Where there are more, the whole is broken
ITEM_DEPTH = 3  # of an RSS item: of Atom, no facts are read


# What an element within an item means here; those with a meaning by prefix and name. No enum: what
# is asked for with each element of a document takes Python 3.11 too long to look up there.
_NEUTRAL = "neutral"  # whatever it says changes none of the facts
_UNSURE = "unsure"  # it may change what feedparser makes of the item
_TITLE = ":title"
_ITUNES_TITLE = "itunes:title"
_GUID = ":guid"
_DATE = ":pubDate"
_OTHER_DATE = "dc:date"
_DURATION = "itunes:duration"
_EPISODE_TYPE = "itunes:episodeType"
_ENCLOSURE = ":enclosure"
_MEDIA_CONTENT = "media:content"
_MEDIA_TITLE = "media:title"
_ALTERNATE = "podcast:alternateEnclosure"
_ALTERNATE_SOURCE = "podcast:source"
_LINK = ":link"

_TEXTS = {_TITLE, _ITUNES_TITLE, _GUID, _DATE, _DURATION, _EPISODE_TYPE}
_ROLES = _TEXTS | {
    *(_OTHER_DATE, _ENCLOSURE, _MEDIA_CONTENT, _MEDIA_TITLE, _ALTERNATE, _ALTERNATE_SOURCE, _LINK)
}
# Of other elements those that feedparser, with our patches, takes for something that is a fact.
_MEANINGFUL = frozenset(("", "dc", "dcterms", "enc", "itunes", "media", "podcast"))
_RISKY = frozenset(
    re.findall(
        r"\w+",
        """title guid id pubdate published issued created updated modified date enclosure source
        item entry liveitem alternateenclosure duration episodetype svg""",
    )
)


class _ItemParser:
    """Parses a document's items one after another, all within the same start tags."""

    def __init__(self, outline: Outline) -> None:
        self._is_odd = False  # prefixes do not mean what they say
        self._prefixes: dict[str, str] = {}  # those that the document declares, by namespace
        self._roles_by_name: dict[str, str] = {}
        self._depth = self._base = 0
        self._reset()
        parser = expat.ParserCreate("utf-8", namespace_separator=" ")
        parser.buffer_text = True
        parser.StartNamespaceDeclHandler = self._declare
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.Parse(outline.opening)
        self._parser = parser
        self._base = self._depth  # of what the items stand in

    def _reset(self) -> None:
        self._unsure = False
        self._texts: dict[str, str] = {}
        self._candidates: list[Candidate] = []
        self._roles: set[str] = set()
        self._alternate: dict[str, str] = {}
        self._wanted: str | None = None  # the element whose text is being read
        self._text: list[str] = []
        self._ended = 0

    def parse(self, item: bytes) -> bool:
        """Whether an item is well-formed; if not, this parser cannot go on."""
        self._reset()
        try:
            self._parser.Parse(item)
        except expat.ExpatError:
            return False
        return self._depth == self._base and self._ended == 1

    def item(self, media_types: Sequence[str], document_url: str) -> Item | None:
        """The parsed item, as feedparser would read it; None if that is not certain."""
        if self._unsure or self._is_odd or any(map(_is_mended, self._texts.values())):
            return None
        texts = {role: text.strip() for role, text in self._texts.items()}
        title, stated = texts.get(_TITLE, ""), texts.get(_DATE, "")
        if not title and _MEDIA_TITLE in self._roles:
            return None
        published_at = read_date(stated)
        if published_at is None and _OTHER_DATE in self._roles:
            return None
        return Item(
            guid=trimmed(texts.get(_GUID, "")) or None,
            title=one_line(title) or one_line(texts.get(_ITUNES_TITLE, "")),
            description=None,
            enclosure_url=choose(self._candidates, media_types, document_url),
            published_at=published_at,
            duration=read_duration(texts.get(_DURATION, "")),
            episode_type=trimmed(texts.get(_EPISODE_TYPE, "")).lower() or "full",
        )

    def _declare(self, prefix: str | None, uri: str) -> None:
        """Note a namespace's prefix: feedparser goes by it where it does not know the namespace.

        A known prefix of another namespace changes what feedparser makes of the whole document.
        """
        prefix = prefix or ""
        known = PREFIXES.get(uri.lower())
        first = self._prefixes.setdefault(uri, prefix)
        odd = first != prefix if known is None else known != prefix and prefix in _MEANINGFUL - {""}
        self._is_odd |= odd

    def _role(self, name: str) -> str:
        uri, _, local = name.rpartition(" ")
        prefix = PREFIXES.get(uri.lower(), self._prefixes.get(uri, ""))
        role = f"{prefix}:{local}"
        if role not in _ROLES:
            risky = prefix in _MEANINGFUL and local.lower() in _RISKY
            risky |= prefix == "" and local.lower() == "link"
            role = _UNSURE if risky else _NEUTRAL
        self._roles_by_name[name] = role
        return role

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        # This is where the time goes: most elements are neutral.
        self._depth = depth = self._depth + 1
        role = self._roles_by_name.get(name) or self._role(name)
        if role == _NEUTRAL and not attributes and self._wanted is None and depth > ITEM_DEPTH:
            return
        if attributes and "base" in "".join(attributes).lower():
            self._is_odd |= depth < ITEM_DEPTH
            self._unsure = True  # xml:base: relative URLs below it mean something else
        if depth <= ITEM_DEPTH:
            self._unsure |= depth == ITEM_DEPTH and bool(attributes)  # rdf:about: an id
            return
        if self._wanted is not None:
            self._unsure = True  # markup within a text
        if role != _NEUTRAL:
            self._take(role, attributes)

    def _take(self, role: str, attributes: dict[str, str]) -> None:
        is_child = self._depth == ITEM_DEPTH + 1
        self._roles.add(role)
        if role in _TEXTS:
            if role == _TITLE and self._texts.get(role, "").strip():
                return  # an image's, say: the first one that has words counts
            if not is_child:
                self._unsure = True
                return
            self._unsure |= role in self._texts or bool(attributes and role != _GUID)
            self._texts[role] = ""
            self._wanted, self._text = role, []
            self._parser.CharacterDataHandler = self._text.append
        elif role == _ENCLOSURE and is_child:
            self._candidates.append(enclosure(_named(attributes)))
        elif role == _LINK:
            self._unsure |= bool(attributes) and "enclosure" in _named(attributes).get("rel", "")
        elif role == _MEDIA_CONTENT:
            self._candidates.append(media_content(_named(attributes)))
        elif role == _ALTERNATE:
            self._alternate = _named(attributes)
        elif role == _ALTERNATE_SOURCE:
            self._candidates.append(alternate_source(_named(attributes), self._alternate))
        elif role == _UNSURE:
            self._unsure = True

    def _end(self, _name: str) -> None:
        if self._wanted is not None:
            self._texts[self._wanted] = "".join(self._text)
            self._parser.CharacterDataHandler = None
            self._wanted = None
        self._depth -= 1
        self._ended += self._depth == self._base


def _named(attributes: dict[str, str]) -> dict[str, str]:
    """An element's attributes within an item, as feedparser passes them on."""
    named = {key.lower(): value for key, value in attributes.items()}
    return named | {key: named[key].lower() for key in ("rel", "type") if key in named}


def _is_mended(text: str) -> bool:
    """Whether feedparser changes an item's text, as it does with what looks wrongly encoded."""
    if text.isascii():
        return False
    text = text.strip()
    with suppress(UnicodeError):
        text.encode("iso-8859-1").decode()
        return True
    return bool(re.search("[\x80-\x9f]", text))


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The facts of some items of a document, in their order.

    An item is None if feedparser must read it. `malformed` has the places of those that are no
    well-formed XML, but have no greater fault than a stray "&".
    """

    items: tuple[Item | None, ...]
    malformed: frozenset[int]


def facts(
    outline: Outline, places: Sequence[int], media_types: Sequence[str], document_url: str
) -> Facts | None:
    """Facts of the items at `places`; None if nothing is certain of any item."""
    if outline.closing != RSS.closing or not places:
        return Facts(items=(None,) * len(places), malformed=frozenset())
    items: list[Item | None] = []
    malformed = set()
    try:
        parser = _ItemParser(outline)
        for place in places:
            item = outline.items[place]
            if parser.parse(item):
                items.append(parser.item(media_types, document_url))
                continue
            # feedparser's lenient parser takes a stray "&" as it is. After anything else that is
            # wrong it may not even see where the item ends, or what is wrong is mended before.
            parser = _ItemParser(outline)
            if legal(item) != item or not parser.parse(item.replace(b"&", b"&amp;")):
                return None
            items.append(None)
            malformed.add(place)
            if len(malformed) > MOST_MALFORMED:
                return None
    except expat.ExpatError:  # in the opening
        return None
    return Facts(items=tuple(items), malformed=frozenset(malformed))
