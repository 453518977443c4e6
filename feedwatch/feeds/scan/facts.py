"""The quick look: a document's items as bytes, and what tells them apart, without feedparser.

An item whose bytes were seen before can't be a new episode, and for all but the new ones a few
facts are enough: what an item is known by, and what decides about it. Both are read here, at a
hundredth of feedparser's cost. Nothing is guessed: `split` and `facts` say None to whatever is not
plain RSS 2.0 in every detail that matters, and that goes the full way, through `rss`. Which details
matter is what feedparser would make of them; tests/test_quick.py compares the two.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from xml.parsers import expat

from feedwatch.core.feed import Item
from feedwatch.feeds.dates import is_plain, read_date, read_duration
from feedwatch.feeds.enclosures import Candidate, alternate_source, choose, enclosure, media_content
from feedwatch.feeds.html_to_text import one_line, trimmed
from feedwatch.feeds.namespaces import PREFIXES
from feedwatch.feeds.scan.split import RSS, Outline

ITEM_DEPTH = 3  # of an RSS item: of Atom, no facts are read


# Facts


class _Role(StrEnum):  # its members hash faster than an Enum's
    """What an element inside of an item is to us."""

    NEUTRAL = auto()  # whatever it says changes nothing of what we read
    UNSURE = auto()  # it may change what feedparser makes of the item
    TITLE = auto()
    ITUNES_TITLE = auto()
    GUID = auto()
    DATE = auto()
    OTHER_DATE = auto()
    DURATION = auto()
    EPISODE_TYPE = auto()
    ENCLOSURE = auto()
    MEDIA_CONTENT = auto()
    MEDIA_TITLE = auto()
    ALTERNATE = auto()
    ALTERNATE_SOURCE = auto()
    LINK = auto()


_NEUTRAL = _Role.NEUTRAL
_TEXTS = frozenset(
    (
        _Role.TITLE,
        _Role.ITUNES_TITLE,
        _Role.GUID,
        _Role.DATE,
        _Role.DURATION,
        _Role.EPISODE_TYPE,
    )
)


_ROLES = {
    ("", "title"): _Role.TITLE,
    ("", "guid"): _Role.GUID,
    ("", "pubDate"): _Role.DATE,
    ("", "enclosure"): _Role.ENCLOSURE,
    ("", "link"): _Role.LINK,
    ("dc", "date"): _Role.OTHER_DATE,
    ("itunes", "title"): _Role.ITUNES_TITLE,
    ("itunes", "duration"): _Role.DURATION,
    ("itunes", "episodeType"): _Role.EPISODE_TYPE,
    ("media", "content"): _Role.MEDIA_CONTENT,
    ("media", "title"): _Role.MEDIA_TITLE,
    ("podcast", "alternateEnclosure"): _Role.ALTERNATE,
    ("podcast", "source"): _Role.ALTERNATE_SOURCE,
}
# Of other elements those to which feedparser, or `dialects`, gives a meaning that reaches a fact.
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
    """What has been read of one item so far."""

    texts: dict[_Role, str]
    candidates: list[Candidate]
    roles: set[_Role]
    unsure: bool = False


class _Reader:
    """Reads items one after another, all inside of the same start tags."""

    def __init__(self, outline: Outline) -> None:
        self.is_odd = False  # its names don't mean what they say
        self._prefixes: dict[str, str] = {}  # those that the document declares, by namespace
        self._roles: dict[str, _Role] = {}
        self._depth = self._base = 0
        self._ended = 0
        self._facts = _Facts({}, [], set())
        self._wanted: _Role | None = None  # whose text is being read
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
        """What stands in an item; None if it is not well-formed, and then this reader is spent."""
        self._facts, self._alternate, self._ended = _Facts({}, [], set()), {}, 0
        try:
            self._parser.Parse(item)
        except expat.ExpatError:
            return None
        self._facts.unsure |= self.is_odd
        return self._facts if self._depth == self._base and self._ended == 1 else None

    def _declare(self, prefix: str | None, uri: str) -> None:
        """Note a prefix: feedparser goes by it where it does not know the namespace.

        One that means another thing than its name says changes what feedparser makes of the rest.
        """
        prefix = prefix or ""
        known = PREFIXES.get(uri.lower())
        first = self._prefixes.setdefault(uri, prefix)
        odd = first != prefix if known is None else known != prefix and prefix in _MEANINGFUL - {""}
        self.is_odd |= odd

    def _role(self, name: str) -> _Role:
        uri, _, local = name.rpartition(" ")
        prefix = PREFIXES.get(uri.lower(), self._prefixes.get(uri, ""))
        role = _ROLES.get((prefix, local))
        if role is None:
            risky = prefix in _MEANINGFUL and local.lower() in _RISKY
            risky |= prefix == "" and local.lower() == "link"
            role = _Role.UNSURE if risky else _Role.NEUTRAL
        self._roles[name] = role
        return role

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        # Most elements are none of our business: this is where the time goes.
        self._depth = depth = self._depth + 1
        role = self._roles.get(name) or self._role(name)
        if role is _NEUTRAL and not attributes and self._wanted is None and depth > ITEM_DEPTH:
            return
        if attributes and "base" in "".join(attributes).lower():
            self.is_odd |= depth < ITEM_DEPTH
            self._facts.unsure = True  # relative addresses below it mean something else
        if depth <= ITEM_DEPTH:
            self._facts.unsure |= depth == ITEM_DEPTH and bool(attributes)  # rdf:about: an id
            return
        if self._wanted is not None:
            self._facts.unsure = True  # an element where we want text
        if role is not _NEUTRAL:
            self._take(role, attributes)

    def _take(self, role: _Role, attributes: dict[str, str]) -> None:
        facts, is_child = self._facts, self._depth == ITEM_DEPTH + 1
        facts.roles.add(role)
        if role in _TEXTS:
            if role is _Role.TITLE and facts.texts.get(role, "").strip():
                pass  # an image's, say: the first one that has words counts
            elif is_child:
                self._begin_text(role, attributes)
            else:
                facts.unsure = True
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

    def _begin_text(self, role: _Role, attributes: dict[str, str]) -> None:
        facts = self._facts
        facts.unsure |= role in facts.texts or bool(attributes and role is not _Role.GUID)
        facts.texts[role] = ""
        self._wanted, self._text = role, []
        self._parser.CharacterDataHandler = self._text.append

    def _end(self, _name: str) -> None:
        if self._wanted is not None:
            self._facts.texts[self._wanted] = "".join(self._text)
            self._parser.CharacterDataHandler = None
            self._wanted = None
        self._depth -= 1
        self._ended += self._depth == self._base


def _named(attributes: dict[str, str]) -> dict[str, str]:
    """Attributes as feedparser has them."""
    named = {key.lower(): value for key, value in attributes.items()}
    return named | {key: named[key].lower() for key in ("rel", "type") if key in named}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the quick look makes of some items of a document, in their order.

    An item is None if feedparser must read it. `malformed` are the places of those that are not
    well-formed XML, and have no greater fault than a stray "&".
    """

    items: tuple[Item | None, ...]
    malformed: frozenset[int]


def facts(
    outline: Outline, places: Sequence[int], media_types: Sequence[str], document_url: str
) -> Facts | None:
    """What is known and decided by, of the items at `places`; None if nothing is certain.

    Of the items' descriptions nothing is read.
    """
    if outline.closing != RSS.closing:
        return Facts(items=(None,) * len(places), malformed=frozenset())
    reader: _Reader | None = None
    found: list[Item | None] = []
    malformed = set()
    for place in places:
        item = outline.items[place]
        if reader is None:
            reader = _reader(outline)
        if reader is None:
            return None
        read = reader.read(item)
        if read is None:
            # feedparser's lenient parser takes a stray "&" as it is. After anything else that is
            # wrong it may not even see where the item ends.
            reader = _reader(outline)
            if reader is None or reader.read(item.replace(b"&", b"&amp;")) is None:
                return None
            malformed.add(place)
        found.append(_item(read, media_types, document_url) if read is not None else None)
    return Facts(items=tuple(found), malformed=frozenset(malformed))


def _reader(outline: Outline) -> _Reader | None:
    try:
        return _Reader(outline)
    except expat.ExpatError:
        return None


def _item(read: _Facts, media_types: Sequence[str], document_url: str) -> Item | None:
    if read.unsure:
        return None
    texts = read.texts
    for role, text in texts.items():
        if not text.isascii() and not _stays(text):
            return None
        texts[role] = text.strip()
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


_CONTROLS = re.compile("[\x80-\x9f]")


def _stays(text: str) -> bool:
    """Whether feedparser leaves a text as it is: it mends what looks wrongly encoded."""
    if _CONTROLS.search(text.strip()):
        return False
    try:
        text.strip().encode("iso-8859-1").decode()
    except (UnicodeEncodeError, UnicodeDecodeError):
        return True
    return False
