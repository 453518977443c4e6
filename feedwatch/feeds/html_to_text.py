"""HTML, or what publishers take for it, as plain text for people.

A scanner of our own: parsers that build a tree take quadratic time on what is nested deeply, the
standard library's on what is broken, and none keeps words that only look like a tag
(docs/decisions.md). Every step here goes over the text once; the steps are repeated only for markup
that was escaped several times over.
"""

import html
import re
from collections.abc import Iterable, Iterator
from html.entities import html5
from typing import NamedTuple
from urllib.parse import unquote

MAX_TITLE = 1_000
MAX_DESCRIPTION = 50_000
MAX_MARKUP = 200_000  # no publisher writes so much; the rest is not looked at
_MAX_ROUNDS = 3  # as often is markup decoded that was escaped several times


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


_PARAGRAPHS = _names(
    "p h1 h2 h3 h4 h5 h6 blockquote pre table hr article section figure header footer dl form "
    "address aside main nav details fieldset"
)
_LINES = _names("div br tr dt dd figcaption caption summary option center body html")
_LISTS = _names("ul ol menu")
_BLOCKS = _PARAGRAPHS | _LINES | _LISTS | {"li"}
_CELLS = frozenset(("td", "th"))
_DROPPED = _names("script style template head svg math noframes")
_INLINE = _names(
    "a abbr acronym audio b bdi bdo big button canvas cite code col colgroup data datalist del dfn "
    "em embed font i iframe img input ins kbd label legend link map mark meta meter nobr noscript "
    "object output param picture progress q rp rt ruby s samp select small source span strike "
    "strong sub sup tbody textarea tfoot thead time title track tt u var video wbr"
)
_KNOWN = _BLOCKS | _CELLS | _DROPPED | _INLINE

_NAME = re.compile(r"</?([A-Za-z][A-Za-z0-9:._-]*)")
_REST = re.compile(r"""(?:[^<>"']|"[^"]*"|'[^']*')*+>""")
_REST_OF_UNKNOWN = re.compile(r"""(?:\s+[\w:.-]+\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'<>]+))*+\s*/?>""")
_CUT_TAG = re.compile(r"</|<[A-Za-z][\w:.-]*(?:\s+[\w:.-]+\s*=|\s*\Z)")
_AUTOLINK = re.compile(r"(?i)<(?:mailto:)?(https?://[^\s<>]+|[^\s<>@/]+@[^\s<>@/]+)>")
_HREF = re.compile(r"""(?i)\shref\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'<>]+))""")
_ENTITY = re.compile(r"&(#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
_BREAKS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_INVISIBLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufeff\ufffe\uffff\ud800-\udfff]")
# Without any of these a text is plain text already.
_MARKUP = re.compile(
    "[<&\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]|]]>"
)


def readable(markup: str, *, limit: int = MAX_DESCRIPTION) -> str:
    """Return HTML or plain text as plain text: paragraphs, lists and links kept, no tags."""
    return _shortened(_plain(markup, links=True), limit)


def one_line(markup: str, *, limit: int = MAX_TITLE) -> str:
    """Return HTML or plain text as one line of plain text, without links."""
    if not _MARKUP.search(markup):  # as most titles: a hundredth of the cost
        return _shortened(" ".join(markup[:MAX_MARKUP].split()), limit)
    return _shortened(" ".join(_plain(markup, links=False).split()), limit)


def trimmed(text: str) -> str:
    """Return a text without white space and byte order marks at its ends."""
    text = text.strip()
    return text if text.isascii() else re.sub(r"^[\s\ufeff]+|[\s\ufeff]+$", "", text)


def _plain(markup: str, *, links: bool) -> str:
    text = markup[:MAX_MARKUP]
    html_seen = False  # then line breaks are of our making, and are kept
    for _ in range(_MAX_ROUNDS):
        tokens = list(_tokens(text))
        has_blocks = any(token.name in _BLOCKS for token in tokens)
        plain = _written(tokens, links=links, keep_lines=html_seen or not has_blocks)
        if plain == text or not re.search("[<&]", plain):
            return plain
        text, html_seen = plain, html_seen or has_blocks
    # Whatever is still markup after so many rounds was made to be.
    return re.sub(r"<(?=[A-Za-z/!?])", "", text)


def _shortened(text: str, limit: int) -> str:
    """Cut at a word, unless the last one is longer than any word is."""
    if len(text) <= limit:
        return text
    room = limit - 1
    end = max(text.rfind(" ", 0, room + 1), text.rfind("\n", 0, room + 1))
    return text[: end if end > max(0, room - 100) else room].rstrip() + "…"


# Reading: from characters to tags and the text between them


class _Token(NamedTuple):
    text: str  # of a tag: its source
    name: str = ""  # of a tag only: in lower case, with "/" before it at the end of an element


def _tokens(text: str) -> Iterator[_Token]:
    """Split into text and tags. Comments, scripts and the like are left out.

    A "<" that opens no tag is text.
    """
    text = text.replace("<![CDATA[", "").replace("]]>", "")
    place = done = 0
    finder = _Finder(text)
    while (place := text.find("<", place)) >= 0:
        end, token = _markup_at(text, place, finder)
        if end == place:
            place += 1
            continue
        yield _Token(text[done:place])
        if token:
            yield token
        place = done = end
    yield _Token(text[done:])


class _Finder:
    """Finds strings, and does not look again for what is not there: that keeps the time linear."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.missing: set[str] = set()

    def after(self, wanted: str, place: int) -> int | None:
        """Return where `wanted` ends next, in either case; None if it does not come."""
        if wanted in self.missing:
            return None
        # Not by str.lower, which may change the length of a text that is not ASCII.
        found = re.compile(f"(?ai){wanted}").search(self.text, place)
        if found is None:
            self.missing.add(wanted)
            return None
        return found.end()


def _markup_at(text: str, place: int, finder: _Finder) -> tuple[int, _Token | None]:
    """Return the end of the markup at `place` and what it is; `place` itself if it is text."""
    if text.startswith("<!--", place):
        return finder.after("-->", place + 4) or place + 4, None
    if link := _AUTOLINK.match(text, place):
        return link.end(), _Token(link[1])
    next_open = text.find("<", place + 1)
    next_open = len(text) if next_open < 0 else next_open
    if text.startswith(("<!", "<?"), place):
        return text.find(">", place, next_open) + 1 or place, None
    name = _NAME.match(text, place)
    if name is None:
        return place, None
    end = _tag_end(text, name, next_open)
    tag = _Token(text[place:end], name[0][1:].lower())
    if end > place and tag.name in _DROPPED and not tag.text.endswith("/>"):
        close = finder.after(f"</{tag.name}", end)
        if close is None:
            return (len(text) if tag.name in ("script", "style") else end), None
        return finder.after(">", close) or len(text), None
    return end, tag


def _tag_end(text: str, name: re.Match[str], next_open: int) -> int:
    """Return where the tag ends whose name was found; its start if it is no tag."""
    known = name[1].lower() in _KNOWN
    rest = _REST if known else _REST_OF_UNKNOWN
    # A quoted value may hold a few "<". To look on without end would take quadratic time.
    horizon = next_open
    for _ in range(3):
        further = text.find("<", horizon + 1)
        horizon = further if further > 0 else len(text)
    if whole := rest.match(text, name.end(), horizon):
        return whole.end()
    if not known:
        return name.start()
    if (close := text.find(">", name.end(), next_open)) >= 0:  # a quote is never closed
        return close + 1
    return next_open if _CUT_TAG.match(text, name.start()) else name.start()


# Writing: from tags and text to lines


def _written(tokens: Iterable[_Token], *, links: bool, keep_lines: bool) -> str:
    writer = _Writer(links=links)
    for token in tokens:
        if token.name:
            writer.tag(token)
        else:
            text = _BREAKS.sub("\n", token.text)
            writer.write(_decoded(text if keep_lines else text.replace("\n", " ")))
    return writer.text()


def _decoded(text: str) -> str:
    return _ENTITY.sub(_character, text)


def _character(entity: re.Match[str]) -> str:
    if entity[1].startswith("#"):
        return html.unescape(entity[0])
    return html5.get(entity[1] + ";", entity[0])


class _Writer:
    """Puts the pieces one after another; the white space is tidied up at the end."""

    def __init__(self, *, links: bool) -> None:
        self.links = links
        self.pieces: list[str] = []
        self.breaks = 0  # due before the next word
        self.list_depth = 0
        self.bullet_due = False  # a list item has begun, and nothing was written in it
        self.href = ""  # of the open link
        self.link_start = 0

    def write(self, text: str) -> None:
        if self.breaks or self.bullet_due:
            text = text.lstrip()
            if not text:
                return
            self.pieces.append("\n" * self.breaks + "- " * self.bullet_due)
            self.breaks, self.bullet_due = 0, False
        self.pieces.append(text)

    def break_lines(self, least: int) -> None:
        self.breaks = max(self.breaks, least)

    def tag(self, tag: _Token) -> None:
        name = tag.name.removeprefix("/")
        if name == "a":
            self.close_link()
            if tag.name == "a" and self.links:
                self.href, self.link_start = _href(tag.text), len(self.pieces)
        elif name in _LISTS:
            self.list_depth = max(0, self.list_depth + (-1 if tag.name[0] == "/" else 1))
            self.break_lines(1 if self.list_depth else 2)
        elif name == "br":
            self.breaks = min(2, self.breaks + 1)
        elif name in _PARAGRAPHS and not self.list_depth:
            self.break_lines(2)
        elif name in _BLOCKS:
            self.break_lines(1)
            self.bullet_due = tag.name == "li" or (self.bullet_due and tag.name != "/li")
        elif name in _CELLS:
            self.write(" ")

    def close_link(self) -> None:
        """Write the open link's address after its words, unless they are the address."""
        if not self.href:
            return
        words = "".join(self.pieces[self.link_start :])
        bare = words.strip()
        before, after = words[: len(words) - len(words.lstrip())], words[len(words.rstrip()) :]
        if not bare:  # an image, mostly
            self.write(f" {self.href} ")
        elif _bare_url(bare) == _bare_url(self.href):
            self.pieces[self.link_start :] = [before, self.href, after]
        else:
            self.pieces[self.link_start :] = [before, f"{bare} ({self.href})", after]
        self.href = ""

    def text(self) -> str:
        self.close_link()
        text = _INVISIBLE.sub("", _BREAKS.sub("\n", "".join(self.pieces)))
        lines = "\n".join(" ".join(line.split()) for line in text.split("\n"))
        return re.sub("\n{3,}", "\n\n", lines).strip()


def _href(tag: str) -> str:
    """Return the address that a link's tag names, if people can use it anywhere."""
    found = _HREF.search(tag)
    address = _decoded(found[1] or found[2] or found[3] or "") if found else ""
    address = re.sub(r"[\t\r\n]", "", address.strip()).replace(" ", "%20")
    if re.match(r"(?i)mailto:[^?]+@", address):
        return unquote(address[len("mailto:") :].partition("?")[0])
    return address if re.match(r"(?i)https?://[^/]", address) else ""


def _bare_url(url: str) -> str:
    return re.sub(r"^(?:https?://)?(?:www\.)?", "", url.lower()).rstrip("/")
