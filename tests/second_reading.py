"""A second reading of a document, which shares nothing with feedwatch's own.

libxml2 instead of expat and feedparser, names by their namespaces, HTML by libxml2's own parser,
dates by the standard library. It knows one way of each thing, the plain one, and says nothing where
that does not apply: `tests/test_second_reading.py` compares what it says.
"""

import gzip
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html.entities import html5
from mimetypes import MimeTypes

import httpx
from lxml import etree, html

# Namespaces in lower case and without a slash at the end: publishers write them in both ways.
RSS = (
    "",
    "http://backend.userland.com/rss2",
    "http://purl.org/rss/1.0",
    "http://my.netscape.com/rdf/simple/0.9",
)
ATOM = ("", "http://www.w3.org/2005/atom", "http://purl.org/atom/ns#")
CONTENT = ("http://purl.org/rss/1.0/modules/content",)
DC = ("http://purl.org/dc/elements/1.1",)
ITUNES = ("http://www.itunes.com/dtds/podcast-1.0.dtd",)
MEDIA = ("http://search.yahoo.com/mrss",)
PODCAST = (
    "https://podcastindex.org/namespace/1.0",
    "https://github.com/podcastindex-org/podcast-namespace/blob/main/docs/1.0.md",
)
UNDECLARED = {"content": CONTENT, "dc": DC, "itunes": ITUNES, "media": MEDIA, "podcast": PODCAST}
ABOUT = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}about"
XHTML = "{http://www.w3.org/1999/xhtml}div"
INLINE = {
    "a",
    "abbr",
    "b",
    "big",
    "cite",
    "code",
    "em",
    "font",
    "i",
    "mark",
    "s",
    "small",
    "span",
    "strike",
    "strong",
    "sub",
    "sup",
    "u",
}
PATH = r"(?:[^\s()<>]|\([^\s()<>]*\))*"
ADDRESS = re.compile(rf"(?i)https?://{PATH}|[\w.+-]+@[\w.-]+|\b[\w-]+(?:\.[\w-]+)+(?:/{PATH})?")
HREF = re.compile(r"(?i)\s*(?:mailto:)?(https?://[^/].*?|[^:?/]+@[^?]+)(?:\?.*)?\s*$")
REFERENCE = re.compile(rb"&(#\d+;|#x[\da-fA-F]+;|\w+;)?")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What an item says. Of an enclosure and a description there may be several to choose from."""

    guids: tuple[str, ...]
    title: str  # as it stands there
    enclosures: tuple[str, ...]  # of audio and video, in the document's order
    published_at: datetime | None
    dates: tuple[str, ...]  # as they stand there; `published_at` is the first
    duration: int | None
    descriptions: tuple[str, ...]  # HTML


@dataclass(frozen=True, kw_only=True)
class Second:
    """A document's second reading."""

    items: tuple[Reading, ...]
    well_formed: bool


def second_reading(body: bytes, url: str) -> Second | None:
    """Read a document; None if libxml2 finds no root in it. It must be one that feedwatch takes."""
    while body.startswith(b"\x1f\x8b"):
        body = gzip.decompress(body)
    try:
        tree, well_formed = etree.fromstring(body, _parser(recover=False), base_url=url), True
    except etree.XMLSyntaxError:
        body = REFERENCE.sub(_reference, body.strip())
        tree, well_formed = etree.fromstring(body, _parser(recover=True), base_url=url), False
    if tree is None:
        return None
    return Second(items=tuple(map(_reading, _items(tree))), well_formed=well_formed)


def _reference(found: re.Match[bytes]) -> bytes:
    """What a reference of a broken document means: a stray "&" itself, and HTML's names."""
    name = (found[1] or b"").decode()
    if not name:
        return b"&amp;"
    return "".join(f"&#{ord(one)};" for one in html5.get(name, "")).encode() or found[0]


def letters(text: str) -> str:
    """The letters and digits of a text, without addresses, which are written in several ways."""
    return "".join(filter(str.isalnum, ADDRESS.sub(" ", text)))


def _parser(*, recover: bool) -> etree.XMLParser:
    return etree.XMLParser(recover=recover, no_network=True, resolve_entities="internal")


def _name(element: etree._Element) -> tuple[str, str]:
    """An element's namespace, of one undeclared that of its prefix, and its local name."""
    if not isinstance(element.tag, str):
        return "", ""  # a comment
    space, _, local = element.tag.rpartition("}")
    prefix, _, local = local.rpartition(":")
    if prefix:
        return UNDECLARED.get(prefix, ("?",))[0], local
    return space.removeprefix("{").lower().rstrip("/"), local


def _named(
    elements: Iterable[etree._Element], spaces: Iterable[str], name: str
) -> list[etree._Element]:
    return [one for one in elements if _name(one) in {(space, name) for space in spaces}]


def _items(tree: etree._Element) -> list[etree._Element]:
    everything = list(tree.iter())
    return _named(everything, RSS, "item") or _named(everything, ATOM, "entry")


def _text(item: etree._Element, spaces: Iterable[str], name: str) -> str:
    """The text of an item's first child of this name."""
    return next((_content(one) for one in _named(item, spaces, name)), "")


def _content(element: etree._Element) -> str:
    return "".join(element.itertext()).strip()


def _reading(item: etree._Element) -> Reading:
    dated = (
        *_named(item, RSS, "pubDate"),
        *_named(item, ATOM, "published"),
        *_named(item, ATOM, "issued"),
        *_named(item, DC, "date"),
    )
    dates = tuple(filter(None, map(_content, dated or _named(item, ATOM, "updated")))) or ("",)
    named = (*_named(item, RSS, "guid"), *_named(item, ATOM, "id"))
    guids = [*map(_content, named), item.get(ABOUT, "").strip()]
    contents = [
        *_named(item, CONTENT, "encoded"),
        *_named(item, RSS, "description"),
        *_named(item, ITUNES, "summary"),
        *_named(item, ATOM, "content"),
        *_named(item, ATOM, "summary"),
        *_named(item, DC, "description"),
        *_named(item.iter(), MEDIA, "description"),
    ]
    return Reading(
        guids=tuple(filter(None, guids)),
        title=_text(item, (*RSS, *ATOM), "title")
        or _text(item, ITUNES, "title")
        or next(map(_content, _named(item.iter(), MEDIA, "title")), ""),
        enclosures=tuple(_enclosures(item)),
        published_at=_date(dates[0]),
        dates=dates,
        duration=_seconds(_text(item, ITUNES, "duration")),
        descriptions=tuple(map(_markup, contents)),
    )


def _enclosures(item: etree._Element) -> list[str]:
    """Addresses of audio, then of video; of either those of enclosures come first."""
    media = _named(item.iter(), MEDIA, "content")
    sources = _named(item.iter(), PODCAST, "source")
    named = [
        *((one, "url", one.get("type")) for one in _named(item, RSS, "enclosure")),
        *(
            (one, "href", one.get("type"))
            for one in _named(item, ATOM, "link")
            if one.get("rel") == "enclosure"
        ),
        *((one, "url", one.get("type") or one.get("medium")) for one in media),
        *((one, "uri", one.getparent().get("type")) for one in sources),
    ]
    found: dict[str, list[str]] = {"audio": [], "video": []}
    for element, attribute, kind in named:
        address = (element.get(attribute) or "").strip()
        family = (kind or "").partition("/")[0].strip().lower()
        if family not in ("audio", "video", "image", "text"):
            guessed = MimeTypes().guess_type(address.partition("?")[0])[0] or ""
            family = guessed.partition("/")[0]
        if address and family in found:
            with suppress(httpx.InvalidURL):
                found[family].append(str(httpx.URL(element.base).join(address)))
    return found["audio"] + found["video"]


def _date(text: str) -> datetime | None:
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        with suppress(ValueError, TypeError):
            moment = read(text)
            return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    return None


def _seconds(text: str) -> int | None:
    seconds = 0
    for part in text.partition(".")[0].split(":"):
        if not part.isdecimal():
            return None
        seconds = 60 * seconds + int(part)
    return seconds or None


def _markup(element: etree._Element) -> str:
    """The HTML that an element holds, as text or, in Atom, as elements."""
    inner = element.find(XHTML)
    if inner is not None and element.get("type") == "xhtml":
        return str(etree.tostring(inner, encoding="unicode", with_tail=False))
    return "".join(element.itertext())


def plain(markup: str) -> str:
    """The text of HTML, a space at each tag."""
    if not markup.strip():
        return ""
    with suppress(etree.ParserError):
        tree = html.fromstring(f"<div>{markup}</div>")
        for one in tree.iter("script", "style"):
            one.text = None
        return "".join(_pieces(tree))
    return ""


def _pieces(element: etree._Element) -> Iterator[str]:
    space = "" if element.tag in INLINE else " "
    if isinstance(element.tag, str):
        yield space + (element.text or "")
        for child in element:
            yield from _pieces(child)
        if found := HREF.match(element.get("href") or "" if element.tag == "a" else ""):
            yield f" ({found[1]})"
    yield space + (element.tail or "")
