"""Well-formed: a document as UTF-8 that every XML parser takes, or nothing.

What is well-formed UTF-8 already stays as it is, to the byte. The common faults are mended: another
character set, words before and after the feed, a bare "&", entities of HTML, characters that XML
forbids, a prefix that nothing declares, a missing last line. Tags that do not nest are not.
"""

import re
import zlib
from html.entities import name2codepoint
from xml.parsers import expat

from feedwatch.core.feed import Document, Failed
from feedwatch.feeds.in_pieces import read_in_pieces
from feedwatch.feeds.layout import layout_of
from feedwatch.feeds.sniff import feed_document

DECLARATION = re.compile(rb"\A\s*<\?xml\b[^>]*\?>")
ENCODING = re.compile(rb"""<\?xml\b[^>]*?encoding\s*=\s*["']([\w.:-]+)["']""")
# Not to be read. What is not closed goes to the end: else each of many beginnings looks for it.
APART = re.compile(r"(<!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z)|<\?.*?(?:\?>|\Z))", re.DOTALL)
DOCTYPE_BEGIN = re.compile(r"<!DOCTYPE", re.IGNORECASE)
DOCTYPE = re.compile(r"<!DOCTYPE[^>\[]*(?:\[.*?\]\s*)?>", re.DOTALL | re.IGNORECASE)
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
AMPERSAND = re.compile(r"&(?!(?:amp|lt|gt|quot|apos);)(?:#(x?)([0-9A-Fa-f]{1,8});|(\w{2,9});)?")
DECLARED_PREFIX = re.compile(r"xmlns:([\w.-]+)\s*=")
USED_PREFIX = re.compile(r"(?:</?|\s)([A-Za-z_][\w.-]*):[\w.-]+(?=[\s=/>])")
ROOT = re.compile(r"<[A-Za-z_][\w.:-]*")
PACKING = 3  # zlib's level: a third of the time of the usual one, a tenth more bytes
USUAL = {
    "atom": "http://www.w3.org/2005/Atom",
    "content": "http://purl.org/rss/1.0/modules/content/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "googleplay": "http://www.google.com/schemas/play-podcasts/1.0",
    "itunes": "http://www.itunes.com/dtds/podcast-1.0.dtd",
    "media": "http://search.yahoo.com/mrss/",
    "podcast": "https://podcastindex.org/namespace/1.0",
    "psc": "http://podlove.org/simple-chapters",
    "sy": "http://purl.org/rss/1.0/modules/syndication/",
}


def well_formed(given: Document) -> bytes | None:
    """The document as well-formed UTF-8 without a document type; None if it can't be made so."""
    plain = given.body.removeprefix(b"\xef\xbb\xbf")
    declared = ENCODING.match(plain.lstrip())
    says = {(given.charset or "utf-8").lower(), declared[1].decode().lower() if declared else ""}
    if says <= {"utf-8", "utf8", ""} and b"\0" not in plain and is_well_formed(plain):
        return plain  # expat would read UTF-16, too
    decoded = feed_document(given)
    return made_well_formed(decoded.body) if not isinstance(decoded, Failed) else None


def made_well_formed(document: bytes) -> bytes | None:
    """The same of a document in UTF-8, whatever it is about."""
    text = DECLARATION.sub(b"", document, count=1).decode("utf-8", "replace")
    begin = DOCTYPE_BEGIN.search(text)  # only there: to look for its end from each is quadratic
    if begin is not None and (doctype := DOCTYPE.match(text, begin.start())) is not None:
        text = text[: begin.start()] + text[doctype.end() :]
    for attempt in (text, _mended(text)):
        encoded = b'<?xml version="1.0" encoding="UTF-8"?>\n' + attempt.encode("utf-8", "replace")
        if is_well_formed(encoded):
            return encoded
    return None


def packed(document: Document) -> bytes | Failed:
    """The document as it is kept to be served. For the parser's process: it may take long."""
    body = well_formed(document)
    if body is None:
        return Failed("the document is no well-formed XML, and could not be mended")
    try:
        layout_of(body)
    except ValueError as error:
        return Failed(f"the document cannot be served: {error}")
    return zlib.compress(body, PACKING)


def unpacked(body: bytes) -> bytes:
    """A kept document's bytes."""
    return zlib.decompress(body)


def is_well_formed(document: bytes) -> bool:
    """Whether every XML parser takes it, and there is no document type with entities of its own."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = _refuse
    try:
        read_in_pieces(parser, document)
    except (expat.ExpatError, ValueError):
        return False
    return True


def _refuse(*_: object) -> None:
    raise ValueError("a document type")


def _mended(text: str) -> str:
    """The text with the common faults of feeds mended."""
    parts = APART.split(FORBIDDEN.sub("", text))
    for place, part in enumerate(parts):
        if place % 2 == 0:
            part = AMPERSAND.sub(_reference, part)
            part = re.sub(r"<(?![A-Za-z_/!?])", "&lt;", part)
            parts[place] = part.replace("]]>", "]]&gt;")
        elif part.startswith("<!--"):
            inside = re.sub(r"-(?=-)", "- ", part[4:].removesuffix("-->"))
            parts[place] = f"<!--{inside}{' ' if inside.endswith('-') else ''}-->"
    mended = "".join(parts)
    if re.search(r"</channel\s*>\s*\Z", mended):
        mended += "</rss>"
    used = {one for part in parts[::2] for one in USED_PREFIX.findall(part)} - {"xml", "xmlns"}
    missing = sorted(used.difference(DECLARED_PREFIX.findall(mended)))
    declarations = "".join(
        f' xmlns:{one}="{USUAL.get(one.lower(), f"urn:undeclared:{one}")}"' for one in missing
    )
    return ROOT.sub(lambda root: root[0] + declarations, mended, count=1)


def _reference(found: re.Match[str]) -> str:
    """An entity of HTML as a number, a character that exists as it stands, "&" else."""
    base, digits, name = found.groups()
    if digits is not None:
        if not base and not digits.isdecimal():
            return f"&amp;{found[0][1:]}"
        number = int(digits, 16 if base else 10)
        fits = number <= 0x10FFFF and not FORBIDDEN.match(chr(number))
        return found[0] if fits else ""
    if name is None:
        return "&amp;"
    code = name2codepoint.get(name)
    return f"&#{code};" if code is not None else f"&amp;{name};"
