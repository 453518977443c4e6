"""The character set of a document: decided once, by the first sign of it that can be true. Pure.

The order is that of RFC 7303: a byte order mark, the charset of the HTTP header, the declaration of
the document, UTF-8. What is not in that character set is replaced where it stands, and nothing else
changes: bytes that are wrong in one item must not turn the others into other texts.
"""

import re
from codecs import getincrementaldecoder, utf_8_decode
from dataclasses import dataclass

_MAX_PART_BYTES = 1_000_000  # that are converted before other threads may run
_PIECE = 65_536  # bytes: of 3 MB at once, three quarters of the time were for the text's memory
_HEAD = 65_536  # bytes within which a document declares its character set

# A document can't say in ASCII that it is in UTF-16 or UTF-32, and needs not if it is.
_WIDE = {
    "utf-32-le": re.compile(rb"\xff\xfe\0\0|(?:[\t\r\n ]\0\0\0)*<\0\0\0"),
    "utf-32-be": re.compile(rb"\0\0\xfe\xff|(?:\0\0\0[\t\r\n ])*\0\0\0<"),
    "utf-16-le": re.compile(rb"\xff\xfe|(?:[\t\r\n ]\0)*<\0"),
    "utf-16-be": re.compile(rb"\xfe\xff|(?:\0[\t\r\n ])*\0<"),
}
_UTF8_BOM = b"\xef\xbb\xbf"
_UTF8 = "utf-8"
_LATIN = "latin-1"

# The labels of the Encoding Standard, without "x-" and punctuation, by Python's codec for what
# browsers take them for, which is mostly a superset of what they say.
_LABELS = {
    _UTF8: "utf8 unicode11utf8 unicode20utf8",
    _LATIN: """ansix341968 ascii cp1252 cp819 csisolatin1 ibm819 iso88591 iso885911987 isoir100 l1
    latin1 usascii windows1252""",
    "iso8859-2": "csisolatin2 iso88592 iso885921987 isoir101 l2 latin2",
    "iso8859-3": "csisolatin3 iso88593 iso885931988 isoir109 l3 latin3",
    "iso8859-4": "csisolatin4 iso88594 iso885941988 isoir110 l4 latin4",
    "iso8859-5": "csisolatincyrillic cyrillic iso88595 iso885951988 isoir144",
    "iso8859-6": """arabic asmo708 csiso88596e csiso88596i csisolatinarabic ecma114 iso88596
    iso88596e iso88596i iso885961987 isoir127""",
    "iso8859-7": """csisolatingreek ecma118 elot928 greek greek8 iso88597 iso885971987 isoir126
    suneugreek""",
    "iso8859-8": """csiso88598e csiso88598i csisolatinhebrew hebrew iso88598 iso88598e iso88598i
    iso885981988 isoir138 logical visual""",
    "iso8859-10": "csisolatin6 iso885910 isoir157 l6 latin6",
    "iso8859-13": "iso885913",
    "iso8859-14": "iso885914",
    "iso8859-15": "csisolatin9 iso885915 l9 latin9",
    "iso8859-16": "iso885916",
    "cp866": "866 cp866 csibm866 ibm866",
    "cp874": "cp874 dos874 iso885911 tis620 windows874",
    "cp1250": "cp1250 windows1250",
    "cp1251": "cp1251 windows1251",
    "cp1253": "cp1253 windows1253",
    "cp1254": "cp1254 csisolatin5 iso88599 iso885991989 isoir148 l5 latin5 windows1254",
    "cp1255": "cp1255 windows1255",
    "cp1256": "cp1256 windows1256",
    "cp1257": "cp1257 windows1257",
    "cp1258": "cp1258 windows1258",
    "koi8-r": "cskoi8r koi koi8 koi8r",
    "koi8-u": "koi8ru koi8u",
    "mac-roman": "csmacintosh mac macintosh macroman",
    "mac-cyrillic": "maccyrillic macukrainian",
    "gb18030": "chinese cp936 csgb2312 csiso58gb231280 gb18030 gb2312 gb231280 gbk isoir58",
    "cp950": "big5 cnbig5 cp950 csbig5",
    "big5hkscs": "big5hkscs",
    "euc_jis_2004": "cseucpkdfmtjapanese eucjp",
    "iso2022_jp_2004": "csiso2022jp iso2022jp",
    "cp932": "cp932 csshiftjis ms932 mskanji shiftjis sjis windows31j",
    "cp949": """cp949 cseuckr csksc56011987 euckr isoir149 korean ksc56011987 ksc56011989 ksc5601
    windows949""",
}
_CODECS = {label: codec for codec, labels in _LABELS.items() for label in labels.split()}

_DECLARATION = re.compile(
    rb"<\?xml\s(?:[^<>]*?\sencoding\s*=\s*[\"']?([^\"'\s?<>]+))?|<(?:rss|feed|[\w-]+:rdf)[\s>]",
    re.IGNORECASE,
)
# A pair of surrogates that were encoded one by one (CESU-8), or one of them alone.
_SURROGATES = re.compile(
    rb"(\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf])|\xed[\xa0-\xbf][\x80-\xbf]"
)
_WINDOWS = {  # windows-1252 has characters where iso-8859-1 has controls, but for five
    number: bytes([number]).decode("cp1252")
    for number in {*range(0x80, 0xA0)} - {0x81, 0x8D, 0x8F, 0x90, 0x9D}
}
_NO_ASCII = re.compile(rb"[\x80-\xff]")
_BRACKET = re.compile(rb"[<>]")  # between them is a text, or the attributes of a tag

# What XML does not have, however it is encoded. Patterns that ignore case are found more slowly.
_CONTROLS = bytes({*range(0x20)} - {0x09, 0x0A, 0x0D})
_TO_BREAKS = bytes.maketrans(b"\x0b\x0c", b"\n\n")
_NONCHARACTER = re.compile(rb"\xef\xbf[\xbe\xbf]")
_REFERENCE = re.compile(rb"&#(?:[xX]([0-9a-fA-F]{1,8})|([0-9]{1,8}));")
_PAIR = re.compile(rb"&#(?:[xX]0*[dD]|0*5)[0-9a-fA-F]+;&#(?:[xX]0*[dD]|0*5)[0-9a-fA-F]+;")


@dataclass(frozen=True)
class Decoded:
    """A document in UTF-8, without a byte order mark. It may still declare something else."""

    body: bytes
    repaired: bool = False  # some of its bytes had no meaning in its character set


def in_utf8(body: bytes, http_charset: str | None) -> Decoded:
    """A document in UTF-8. `http_charset` is what the HTTP header says, if anything."""
    for codec, start in _WIDE.items():
        if start.match(body):
            return _from_wide(body, codec)
    body = body.lstrip()
    if body.startswith(_UTF8_BOM):
        return _from_utf8(body.removeprefix(_UTF8_BOM))
    codec = _codec_of(body, http_charset)
    if codec == _UTF8:
        return _from_utf8(body)
    if codec == _LATIN:
        return Decoded(_from_latin(body))
    return _from_other(body, codec)


def codec_in_parts(head: bytes, http_charset: str | None) -> str | None:
    """The codec of a document whose head, up to a "<", says all of it; None if it is decoded whole.

    Else both parts are decoded as they are in one: these character sets have no "<" in another
    character, nor a state that lasts.
    """
    if any(start.match(head) for start in _WIDE.values()):
        return None
    head = head.lstrip()
    codec = _UTF8 if head.startswith(_UTF8_BOM) else _codec_of(head, http_charset)
    return codec if codec in (_UTF8, _LATIN) else None


def _codec_of(body: bytes, http_charset: str | None) -> str:
    """The codec of a document without byte order mark, by what is said of it."""
    declaration = _DECLARATION.search(body, 0, _HEAD)
    declared = declaration[1].decode("ascii", "replace") if declaration and declaration[1] else ""
    labels = (one.strip().lower() for one in (http_charset or "", declared))
    names = (re.sub(r"^x-|[^a-z0-9]", "", label) for label in labels)
    # A label that is unknown, or can't be true, counts as none.
    return next(filter(None, map(_CODECS.get, names)), _UTF8)


def _from_wide(body: bytes, codec: str) -> Decoded:
    try:
        text, repaired = body.decode(codec, "surrogatepass"), False
    except UnicodeDecodeError:
        text, repaired = body.decode(codec, "replace"), True
    decoded = _from_utf8(text.removeprefix("\ufeff").encode(errors="surrogatepass"))
    return Decoded(decoded.body, repaired or decoded.repaired)


def _from_utf8(body: bytes) -> Decoded:
    if body.isascii():
        return Decoded(body)
    if _is_utf8(body):
        return Decoded(body)
    body = _SURROGATES.sub(_paired, body)
    return Decoded(body.decode(errors="replace").encode(), repaired=True)


def _is_utf8(body: bytes) -> bool:
    """Whether bytes are UTF-8; a piece at a time, for a text is up to four times as large."""
    view, at = memoryview(body), 0
    try:
        while at < len(view):
            end = at + _PIECE
            at += utf_8_decode(view[at:end], "strict", end >= len(view))[1]
    except UnicodeDecodeError:
        return False
    return True


def _paired(found: re.Match[bytes]) -> bytes:
    """The character that a pair of encoded surrogates stands for; nothing for a single one."""
    if found[1] is None:
        return b""
    pair = found[1].decode(errors="surrogatepass")
    return pair.encode("utf-16", "surrogatepass").decode("utf-16").encode()


def _from_latin(body: bytes) -> bytes:
    """A document that claims to be in a Latin character set, which many say untruly, in UTF-8.

    Each of its texts is taken for UTF-8 if it can be: hardly any text in Latin letters happens to
    be that.
    """
    parts, done = [], 0
    while odd := _first(_NO_ASCII, body, done):
        begin = 1 + max(body.rfind(b"<", done, odd.start()), body.rfind(b">", done, odd.start()))
        begin = max(begin, done)
        bracket = _first(_BRACKET, body, odd.end())
        end = bracket.start() if bracket else len(body)
        text = body[begin:end]
        if not _is_utf8(text):
            text = text.decode(_LATIN).translate(_WINDOWS).encode()
        parts += [body[done:begin], text]
        done = end
    return b"".join([*parts, body[done:]])


def _first(one_byte: re.Pattern[bytes], body: bytes, start: int) -> re.Match[bytes] | None:
    """The first match of a pattern of one byte, a piece at a time: a search holds all threads."""
    pieces = range(start, len(body), _PIECE)
    return next(filter(None, (one_byte.search(body, at, at + _PIECE) for at in pieces)), None)


def _from_other(body: bytes, codec: str) -> Decoded:
    for errors in ("strict", "replace"):
        decoder = getincrementaldecoder(codec)(errors)
        parts = (body[at : at + _MAX_PART_BYTES] for at in range(0, len(body), _MAX_PART_BYTES))
        try:
            pieces = [decoder.decode(part).encode(errors="replace") for part in parts]
            pieces.append(decoder.decode(b"", final=True).encode(errors="replace"))
        except UnicodeDecodeError:
            continue
        return Decoded(b"".join(pieces), repaired=errors != "strict")
    raise AssertionError("a decoder that replaces does not raise")


def legal(document: bytes) -> bytes:
    """A document in UTF-8 without the characters that XML does not have, or references to them.

    A pair of references to surrogates is one to the character that it stands for; vertical tabs and
    form feeds are line breaks.
    """
    if any(not _is_legal(found) for found in _REFERENCE.finditer(document)):
        document = _PAIR.sub(_referred, document)
        document = _REFERENCE.sub(_legal_reference, document)
    if len(document.translate(None, _CONTROLS)) < len(document):
        document = document.translate(_TO_BREAKS).translate(None, _CONTROLS)
    return _NONCHARACTER.sub(b"", document)


def _number(found: re.Match[bytes]) -> int:
    return int(found[1], 16) if found[1] else int(found[2])


def _is_legal(found: re.Match[bytes]) -> bool:
    number = _number(found)
    return (
        number in (9, 10, 13)
        or 0x20 <= number < 0xD800
        or 0xE000 <= number < 0xFFFE
        or 0x10000 <= number < 0x110000
    )


def _legal_reference(found: re.Match[bytes]) -> bytes:
    if _is_legal(found):
        return found[0]
    return b"\n" if _number(found) in (0x0B, 0x0C) else b""


def _referred(pair: re.Match[bytes]) -> bytes:
    numbers = [_number(found) for found in _REFERENCE.finditer(pair[0])]
    if len(numbers) != 2:
        return pair[0]
    high, low = numbers
    is_pair = 0xD800 <= high < 0xDC00 <= low < 0xE000
    return b"&#%d;" % (0x10000 + (high - 0xD800 << 10) + low - 0xDC00) if is_pair else pair[0]
