"""Facts of an item, by expat: what an item is known by and what decides about it.

All but its description, at a hundredth of feedparser's cost. An item is left to feedparser unless
it is plain RSS 2.0 in every detail that matters. Which details matter is what feedparser would make
of them; tests/test_scan.py compares the two.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from xml.parsers import expat

from feedwatch.core.feed import Item
from feedwatch.feeds.dates import is_plain, read_date, read_duration
from feedwatch.feeds.enclosures import Candidate, alternate_source, choose, enclosure, media_content
from feedwatch.feeds.html_to_text import one_line, trimmed
from feedwatch.feeds.namespaces import PREFIXES
from feedwatch.feeds.scan.split import RSS, Outline

ITEM_DEPTH = 3  # of an RSS item: of Atom, no facts are read


class _Role(StrEnum):  # its members hash faster than an Enum's
    """What an element within an item means here; those with a meaning by prefix and name."""

    NEUTRAL = "neutral"  # whatever it says changes none of the facts
    UNSURE = "unsure"  # it may change what feedparser makes of the item
    TITLE = ":title"
    ITUNES_TITLE = "itunes:title"
    GUID = ":guid"
    DATE = ":pubDate"
    OTHER_DATE = "dc:date"
    DURATION = "itunes:duration"
    EPISODE_TYPE = "itunes:episodeType"
    ENCLOSURE = ":enclosure"
    MEDIA_CONTENT = "media:content"
    MEDIA_TITLE = "media:title"
    ALTERNATE = "podcast:alternateEnclosure"
    ALTERNATE_SOURCE = "podcast:source"
    LINK = ":link"


_NEUTRAL = _Role.NEUTRAL
_ROLES = {role.value: role for role in _Role}
_TEXTS = {
    _Role.TITLE,
    _Role.ITUNES_TITLE,
    _Role.GUID,
    _Role.DATE,
    _Role.DURATION,
    _Role.EPISODE_TYPE,
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


@dataclass
class _Facts:
    """The facts of one item, as far as they are read."""

    texts: dict[_Role, str]
    candidates: list[Candidate]
    roles: set[_Role]
    unsure: bool = False


class _Reader:
    """Reads items one after another, all within the same start tags."""

    def __init__(self, outline: Outline) -> None:
        self.is_odd = False  # prefixes do not mean what they say
        self._prefixes: dict[str, str] = {}  # those that the document declares, by namespace
        self._roles: dict[str, _Role] = {}
        self._depth = self._base = 0
        self._ended = 0
        self._facts = _Facts({}, [], set())
        self._wanted: _Role | None = None  # the element whose text is being read
        self._text: list[str] = []
        self._alternate: dict[str, str] = {}
        parser = expat.ParserCreate("utf-8", namespace_separator=" ")
        parser.buffer_text = True
        parser.StartNamespaceDeclHandler = self._declare
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.Parse(outline.opening)
        self._parser = parser
        self._base = self._depth  # of what the items stand in

    def read(self, item: bytes) -> _Facts | None:
        """Read an item; None if it is not well-formed, and then this reader cannot go on."""
        self._facts, self._alternate, self._ended = _Facts({}, [], set()), {}, 0
        try:
            self._parser.Parse(item)
        except expat.ExpatError:
            return None
        self._facts.unsure |= self.is_odd
        return self._facts if self._depth == self._base and self._ended == 1 else None

    def _declare(self, prefix: str | None, uri: str) -> None:
        """Note a namespace's prefix: feedparser goes by it where it does not know the namespace.

        A known prefix of another namespace changes what feedparser makes of the whole document.
        """
        prefix = prefix or ""
        known = PREFIXES.get(uri.lower())
        first = self._prefixes.setdefault(uri, prefix)
        odd = first != prefix if known is None else known != prefix and prefix in _MEANINGFUL - {""}
        self.is_odd |= odd

    def _role(self, name: str) -> _Role:
        uri, _, local = name.rpartition(" ")
        prefix = PREFIXES.get(uri.lower(), self._prefixes.get(uri, ""))
        role = _ROLES.get(f"{prefix}:{local}")
        if role is None:
            risky = prefix in _MEANINGFUL and local.lower() in _RISKY
            risky |= prefix == "" and local.lower() == "link"
            role = _Role.UNSURE if risky else _Role.NEUTRAL
        self._roles[name] = role
        return role

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        # This is where the time goes: most elements are neutral.
        self._depth = depth = self._depth + 1
        role = self._roles.get(name) or self._role(name)
        if role is _NEUTRAL and not attributes and self._wanted is None and depth > ITEM_DEPTH:
            return
        if attributes and "base" in "".join(attributes).lower():
            self.is_odd |= depth < ITEM_DEPTH
            self._facts.unsure = True  # xml:base: relative URLs below it mean something else
        if depth <= ITEM_DEPTH:
            self._facts.unsure |= depth == ITEM_DEPTH and bool(attributes)  # rdf:about: an id
            return
        if self._wanted is not None:
            self._facts.unsure = True  # markup within a text
        if role is not _NEUTRAL:
            self._take(role, attributes)

    def _take(self, role: _Role, attributes: dict[str, str]) -> None:
        facts, is_child = self._facts, self._depth == ITEM_DEPTH + 1
        facts.roles.add(role)
        if role in _TEXTS:
            if role is _Role.TITLE and facts.texts.get(role, "").strip():
                return  # an image's, say: the first one that has words counts
            if not is_child:
                facts.unsure = True
                return
            facts.unsure |= role in facts.texts or bool(attributes and role is not _Role.GUID)
            facts.texts[role] = ""
            self._wanted, self._text = role, []
            self._parser.CharacterDataHandler = self._text.append
        elif role is _Role.ENCLOSURE and is_child:
            facts.candidates.append(enclosure(_named(attributes)))
        elif role is _Role.LINK:
            facts.unsure |= bool(attributes) and "enclosure" in _named(attributes).get("rel", "")
        elif role is _Role.MEDIA_CONTENT:
            facts.candidates.append(media_content(_named(attributes)))
        elif role is _Role.ALTERNATE:
            self._alternate = _named(attributes)
        elif role is _Role.ALTERNATE_SOURCE:
            facts.candidates.append(alternate_source(_named(attributes), self._alternate))
        elif role is _Role.UNSURE:
            facts.unsure = True

    def _end(self, _name: str) -> None:
        if self._wanted is not None:
            self._facts.texts[self._wanted] = "".join(self._text)
            self._parser.CharacterDataHandler = None
            self._wanted = None
        self._depth -= 1
        self._ended += self._depth == self._base


def _named(attributes: dict[str, str]) -> dict[str, str]:
    """The attributes as feedparser passes them on."""
    named = {key.lower(): value for key, value in attributes.items()}
    return named | {key: named[key].lower() for key in ("rel", "type") if key in named}


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
    """Read the items at `places`, but for descriptions; None if nothing is certain of any item."""
    if outline.closing != RSS.closing or not places:
        return Facts(items=(None,) * len(places), malformed=frozenset())
    found: list[Item | None] = []
    malformed = set()
    try:
        reader = _Reader(outline)
        for place in places:
            item = outline.items[place]
            read = reader.read(item)
            if read is None:
                # feedparser's lenient parser takes a stray "&" as it is. After anything else that
                # is wrong it may not even see where the item ends.
                reader = _Reader(outline)
                if reader.read(item.replace(b"&", b"&amp;")) is None:
                    return None
                malformed.add(place)
            found.append(_item(read, media_types, document_url) if read is not None else None)
    except expat.ExpatError:  # in the opening
        return None
    return Facts(items=tuple(found), malformed=frozenset(malformed))


def _item(read: _Facts, media_types: Sequence[str], document_url: str) -> Item | None:
    """The item that feedparser would read; None if that is not certain."""
    if read.unsure:
        return None
    if any(not text.isascii() and _is_mended(text.strip()) for text in read.texts.values()):
        return None
    texts = {role: text.strip() for role, text in read.texts.items()}
    title = texts.get(_Role.TITLE, "")
    if not title and _Role.MEDIA_TITLE in read.roles:
        return None
    stated = texts.get(_Role.DATE, "")
    published_at = read_date(stated)
    if published_at is None and (_Role.OTHER_DATE in read.roles or not is_plain(stated)):
        return None
    return Item(
        guid=trimmed(texts.get(_Role.GUID, "")) or None,
        title=one_line(title) or one_line(texts.get(_Role.ITUNES_TITLE, "")),
        description=None,
        enclosure_url=choose(read.candidates, media_types, document_url),
        published_at=published_at,
        duration=read_duration(texts.get(_Role.DURATION, "")),
        episode_type=trimmed(texts.get(_Role.EPISODE_TYPE, "")).lower() or "full",
    )


def _is_mended(text: str) -> bool:
    """Whether feedparser changes a text, as it does with what looks wrongly encoded."""
    if re.search("[\x80-\x9f]", text):
        return True
    try:
        text.encode("iso-8859-1").decode()
    except (UnicodeEncodeError, UnicodeDecodeError):
        return False
    return True
