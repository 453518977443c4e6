"""HTML to plain text: a tokenizer for HTML, or what publishers take for it, and a renderer.

Our own: parsers that build a tree take quadratic time on what is nested deeply, the standard
library's on what is broken, and none keeps words that only look like a tag (docs/decisions.md).
Both go over the text once; they are repeated only for markup that was escaped several times over.
"""

import html
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from html.entities import html5
from typing import NamedTuple
from urllib.parse import unquote

MAX_TITLE = 1_000
MAX_DESCRIPTION = 50_000
MAX_MARKUP = 200_000  # no publisher writes so much; the rest is not looked at
_MAX_ROUNDS = 3  # as often is markup decoded that was escaped several times


def _elements(names: str) -> frozenset[str]:
    return frozenset(names.split())


_PARAGRAPHS = _elements(
    "p h1 h2 h3 h4 h5 h6 blockquote pre table hr article section figure header footer dl form "
    "address aside main nav details fieldset"
)
_LINES = _elements("div br tr dt dd figcaption caption summary option center body html")
_LISTS = _elements("ul ol menu")
_BLOCKS = _PARAGRAPHS | _LINES | _LISTS | {"li"}
_CELLS = _elements("td th")
_DROPPED = _elements("script style template head svg math noframes")  # with their content
_INLINE = _elements(
    "a abbr acronym audio b bdi bdo big button canvas cite code col colgroup data datalist del dfn "
    "em embed font i iframe img input ins kbd label legend link map mark meta meter nobr noscript "
    "object output param picture progress q rp rt ruby s samp select small source span strike "
    "strong sub sup tbody textarea tfoot thead time title track tt u var video wbr"
)
_KNOWN = _BLOCKS | _CELLS | _DROPPED | _INLINE
_UNCLOSED = _elements("br p li hr img dt dd tr td th option wbr")  # whose end tag is left out
_FORMATTING = _elements("a abbr b big cite code del em font i ins s small span strong sub sup u")

_TAG_NAME = re.compile(r"</?([A-Za-z][A-Za-z0-9:._-]*)")
_ATTRIBUTES = re.compile(r"""(?:[^<>"']|"[^"]*"|'[^']*')*+>""")
_UNKNOWN_ATTRIBUTES = re.compile(
    r"""(?:\s+[\w:.-]+\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'<>]+))*+\s*/?>"""
)
_STATED = re.compile(r"\s[\w:.-]+\s*=")
_WORDS = re.compile(r"</?[\w:.-]+[\w\s/-]*(?:>|\.{3}|…)?")
_PREFIXED = re.compile(r"/?[\w.-]+:[\w.-]+")  # as Word writes "<o:p>"; not "<std::string>"
_CUT_TAG = re.compile(
    r"</|<[A-Za-z][\w:.-]*(?:\s+[\w:.-]+\s*=|(?:\s+(?:hr?e?f?|sr?c?|cl?a?s?s?))?\s*(?:\.{3}|…)?\Z)"
)
_AUTOLINK = re.compile(r"(?i)<(?:mailto:)?(https?://[^\s<>]+|[^\s<>@/]+@[^\s<>@/]+)>")
_HREF = re.compile(r"""(?i)\shref\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'<>]+))""")
_SURROGATES = re.compile(
    r"(?i)&#(?:x0*d[89ab][0-9a-f]{2}|0*5[56]\d{3});&#(?:x0*d[c-f][0-9a-f]{2}|0*5[67]\d{3});"
)
_REFERENCE = re.compile(r"&(#[xX]?[0-9a-fA-F]+);")
_ENTITY = re.compile(r"&(#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
_BREAKS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_INVISIBLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufeff\ufffe\uffff\ud800-\udfff]")
# Without any of these a text is plain text already.
_MARKUP = re.compile(
    "[<&\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]|]]>"
)


def readable(markup: str, *, limit: int = MAX_DESCRIPTION) -> str:
    """Return HTML or plain text as plain text: paragraphs, lists and links kept, no tags."""
    return _truncated(_plain(markup, is_title=False), limit)


def one_line(markup: str, *, limit: int = MAX_TITLE) -> str:
    """Return HTML or plain text as one line of plain text, without links.

    Of a title only line breaks and closed elements are markup: "Why <script> matters" is about it.
    """
    # Most titles are plain text: a hundredth of the cost.
    plain = _plain(markup, is_title=True) if _MARKUP.search(markup) else markup[:MAX_MARKUP]
    return _truncated(" ".join(plain.split()), limit)


def trimmed(text: str) -> str:
    """Return an item's text without white space and byte order marks at its ends."""
    text = text.strip()
    return text if text.isascii() else re.sub(r"^[\s\ufeff]+|[\s\ufeff]+$", "", text)


def _plain(markup: str, *, is_title: bool) -> str:
    text = markup[:MAX_MARKUP]
    strict = is_title  # where markup was seen, what was escaped within it is text
    html_seen = False  # then line breaks are of our making, and are kept
    for _ in range(_MAX_ROUNDS):
        tokens: Sequence[_Token] = list(_Tokenizer(text, strict=strict).tokens())
        if len(tokens) > 1:
            tokens = _only_markup(tokens, strict=strict)
        has_blocks = any(token.tag in _BLOCKS for token in tokens)
        renderer = _Renderer(links=not is_title, keep_lines=html_seen or not has_blocks)
        plain = renderer.render(tokens)
        if plain == text or not re.search("[<&]", plain):
            return plain
        strict |= any(token.tag for token in tokens)
        text, html_seen = plain, html_seen or has_blocks
    # Whatever is still markup after so many rounds was made to be.
    return re.sub(r"<(?=[A-Za-z/!?])", "", text)


def _truncated(text: str, limit: int) -> str:
    """Cut plain text at a word, unless the last one is longer than any word is."""
    if len(text) <= limit:
        return text
    room = limit - 1
    end = max(text.rfind(" ", 0, room + 1), text.rfind("\n", 0, room + 1))
    return text[: end if end > max(0, room - 100) else room].rstrip() + "…"


class _Token(NamedTuple):
    """A token of HTML: a tag, or the text between two tags."""

    source: str
    tag: str = ""  # its name in lower case, with "/" before it in an end tag


def _only_markup(tokens: Sequence[_Token], *, strict: bool) -> list[_Token]:
    """The tokens of HTML; what looks like a tag and is none becomes text.

    Markup is what is closed, has attributes, or is a line break. `strict`: and nothing else; else
    also what else is known, unless it is alone in the middle of a text: then the text is about it.
    """
    tags = [place for place, token in enumerate(tokens) if token.tag]
    closed = _closed(tokens, tags)
    markup = {
        place
        for place in tags
        if tokens[place].tag == "br"
        or _PREFIXED.fullmatch(tokens[place].tag)
        or _STATED.search(tokens[place].source)
    }
    is_html = bool(closed or markup) or any(tokens[place].tag in _UNCLOSED for place in tags)
    begins = tags and not any(token.source.strip() for token in tokens[: tags[0]])
    at_start = tags[0] if begins else None
    for place in tags:
        source, tag = tokens[place]
        name = tag.removeprefix("/")
        if place in closed and (name in _KNOWN or not strict):
            markup.add(place)
        elif not strict and name in _KNOWN and _WORDS.fullmatch(source):
            is_alone = not is_html and name not in _FORMATTING and source.endswith(">")
            if not is_alone or place == at_start:
                markup.add(place)
    return [
        token if place in markup or not token.tag else _Token(token.source)
        for place, token in enumerate(tokens)
    ]


def _closed(tokens: Sequence[_Token], tags: Iterable[int]) -> set[int]:
    """The places of those tags of HTML that are a pair."""
    opened: defaultdict[str, list[int]] = defaultdict(list)
    closed: set[int] = set()
    for place in tags:
        tag = tokens[place].tag
        if tag[0] != "/":
            opened[tag].append(place)
        elif starts := opened[tag[1:]]:
            closed |= {place, starts.pop()}
    return closed


class _Tokenizer:
    """Tokenizer: splits HTML into tags and text, without comments, scripts and the like."""

    def __init__(self, text: str, *, strict: bool) -> None:
        self.strict = strict  # nothing is left out but comments
        self.text = text.replace("<![CDATA[", "").replace("]]>", "")
        self.missing: set[str] = set()  # what was looked for, and does not come any more

    def tokens(self) -> Iterator[_Token]:
        """The tokens of the HTML in their order. A "<" that opens no tag is text."""
        position = text_start = 0
        while (position := self.text.find("<", position)) >= 0:
            end, token = self.markup_at(position)
            if end == position:
                position += 1
                continue
            yield _Token(self.text[text_start:position])
            if token:
                yield token
            position = text_start = end
        yield _Token(self.text[text_start:])

    def end_of(self, pattern: str, position: int) -> int | None:
        """Return where `pattern` ends next in the HTML, in either case; None if nowhere."""
        if pattern in self.missing:  # not looked for again: that keeps the time linear
            return None
        # Not by str.lower, which may change the length of a text that is not ASCII.
        found = re.compile(f"(?ai){pattern}").search(self.text, position)
        if found is None:
            self.missing.add(pattern)
            return None
        return found.end()

    def markup_at(self, start: int) -> tuple[int, _Token | None]:
        """Return where the markup at `start` ends, and its token; `start` itself if it is text."""
        text = self.text
        if text.startswith("<!--", start):
            return self.end_of("-->", start + 4) or start + 4, None
        if link := _AUTOLINK.match(text, start):
            return link.end(), _Token(link[1])
        next_open = text.find("<", start + 1)
        next_open = len(text) if next_open < 0 else next_open
        if text.startswith(("<!", "<?"), start):
            return start if self.strict else text.find(">", start, next_open) + 1 or start, None
        name = _TAG_NAME.match(text, start)
        if name is None:
            return start, None
        end = self.tag_end(name, next_open)
        token = _Token(text[start:end], name[0][1:].lower())
        if end > start and token.tag in _DROPPED and not token.source.endswith("/>"):
            close = None if self.strict else self.end_of(f"</{token.tag}", end)
            if close is not None:
                return self.end_of(">", close) or close, None
            if not _STATED.search(token.source):
                return start, None
        return end, token

    def tag_end(self, name: re.Match[str], next_open: int) -> int:
        """Return where the tag of this name ends; its start if it is no tag."""
        known = name[1].lower() in _KNOWN
        # A quoted value may hold a few "<". To look on without end would take quadratic time.
        horizon = next_open
        for _ in range(3):
            further = self.text.find("<", horizon + 1)
            horizon = further if further > 0 else len(self.text)
        attributes = _ATTRIBUTES if known else _UNKNOWN_ATTRIBUTES
        if whole := attributes.match(self.text, name.end(), horizon):
            return whole.end()
        if not known:
            return name.start()
        if (close := self.text.find(">", name.end(), next_open)) >= 0:  # a quote is never closed
            return close + 1
        return next_open if _CUT_TAG.match(self.text, name.start()) else name.start()


class _Renderer:
    """Renderer: writes the tokens of HTML as plain text, with its white space tidied up."""

    def __init__(self, *, links: bool, keep_lines: bool) -> None:
        self.links = links
        self.keep_lines = keep_lines  # line breaks of the source mean something
        self.pieces: list[str] = []
        self.breaks = 0  # due before the next word
        self.list_depth = 0
        self.bullet_due = False  # a list item has begun, and nothing was written in it
        self.href = ""  # of the open link
        self.link_start = 0

    def render(self, tokens: Iterable[_Token]) -> str:
        for token in tokens:
            if token.tag:
                self.apply(token)
            else:
                text = _BREAKS.sub("\n", token.source)
                self.write(_decoded(text if self.keep_lines else text.replace("\n", " ")))
        self.close_link()
        text = _INVISIBLE.sub("", _BREAKS.sub("\n", "".join(self.pieces)))
        lines = "\n".join(" ".join(line.split()) for line in text.split("\n"))
        return re.sub("\n{3,}", "\n\n", lines).strip()

    def write(self, text: str) -> None:
        if self.breaks or self.bullet_due:
            text = text.lstrip()
            if not text:
                return
            self.pieces.append("\n" * self.breaks + "- " * self.bullet_due)
            self.breaks, self.bullet_due = 0, False
        self.pieces.append(text)

    def apply(self, token: _Token) -> None:
        """Apply a tag's token: the line breaks, bullets and links that its element stands for."""
        name, is_end = token.tag.removeprefix("/"), token.tag[0] == "/"
        if name == "a":
            self.close_link()
            if not is_end and self.links:
                self.href, self.link_start = _href(token.source), len(self.pieces)
        elif name in _LISTS:
            self.list_depth = max(0, self.list_depth + (-1 if is_end else 1))
            self.breaks = max(self.breaks, 1 if self.list_depth else 2)
        elif name == "br":
            self.breaks = min(2, self.breaks + 1)
        elif name in _PARAGRAPHS and not self.list_depth:
            self.breaks = 2
        elif name in _BLOCKS:
            self.breaks = max(self.breaks, 1)
            self.bullet_due = token.tag == "li" or (self.bullet_due and token.tag != "/li")
        elif name in _CELLS:
            self.write(" ")

    def close_link(self) -> None:
        """Write the open link's URL after its words, unless they are the URL."""
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


def _decoded(text: str) -> str:
    """A text of HTML with its character references decoded."""

    def character(entity: re.Match[str]) -> str:
        if entity[1].startswith("#") and 0xD800 <= _number(entity[1]) < 0xE000:
            return ""
        known = entity[1].startswith("#") or f"{entity[1]};" in html5
        return html.unescape(entity[0]) if known else entity[0]

    def of_surrogates(pair: re.Match[str]) -> str:  # they are one character
        halves = (_number(one).to_bytes(2) for one in _REFERENCE.findall(pair[0]))
        return b"".join(halves).decode("utf-16-be", "ignore")

    return _ENTITY.sub(character, _SURROGATES.sub(of_surrogates, text))


def _number(reference: str) -> int:
    return int(f"0{reference[1:]}", 0) if reference[1] in "xX" else int(reference[1:])


def _href(tag: str) -> str:
    """Return the URL or mail address that a link's tag names, if people can use it anywhere."""
    found = _HREF.search(tag)
    address = _decoded(found[1] or found[2] or found[3] or "") if found else ""
    address = re.sub(r"[\t\r\n]", "", address.strip()).replace(" ", "%20")
    if re.match(r"(?i)mailto:[^?]+@", address):
        return unquote(address[len("mailto:") :].partition("?")[0])
    return address if re.match(r"(?i)https?://[^/]", address) else ""


def _bare_url(url: str) -> str:
    return re.sub(r"^(?:https?://)?(?:www\.)?", "", url.lower()).rstrip("/")
