"""Enclosures: which of an item's media files is the episode, and its URL, absolute and clean."""

import mimetypes
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from fnmatch import fnmatchcase
from functools import lru_cache
from unicodedata import normalize
from urllib.parse import quote, unquote, urljoin

import idna

MAX_URL = 8_000

AUDIO_UNKNOWN = "audio/unknown"

# By the file name, for the many enclosures whose type is missing or says nothing.
_SUFFIXES = {
    "audio/mpeg": "mp3",
    "audio/mp4": "m4a m4b",
    "audio/aac": "aac",
    "audio/ogg": "ogg oga spx",
    "audio/opus": "opus",
    "audio/flac": "flac",
    "audio/wav": "wav",
    "audio/x-ms-wma": "wma",
    "audio/aiff": "aif aiff",
    "audio/x-matroska": "mka",
    "audio/webm": "weba",
    "video/mp4": "mp4 m4v",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-matroska": "mkv",
    "video/mpeg": "mpg mpeg",
    "video/x-msvideo": "avi",
    "video/x-ms-wmv": "wmv",
    "video/ogg": "ogv",
    "video/3gpp": "3gp",
}
_TYPES = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
_OTHER_TYPES = mimetypes.MimeTypes()  # the library's own table: not what this machine has installed

_FAMILIES = {"audio", "video", "image", "text", "application", "font", "model", "message"}

# Types that say nothing about the content, as "mp3" or "x-audio/mp3" do neither.
_GENERIC = {
    "application/octet-stream",
    "binary/octet-stream",
    "application/binary",
    "application/download",
    "application/force-download",
    "application/x-download",
    "application/unknown",
    "unknown/unknown",
    "application/mp4",
    "application/ogg",
}

# A playlist of a stream has no end and is no file.
_PLAYLISTS = {
    "application/x-mpegurl",
    "application/vnd.apple.mpegurl",
    "audio/mpegurl",
    "audio/x-mpegurl",
}
_PLAYLIST_SUFFIXES = {"m3u8", "m3u"}

_PATH = re.compile(r"(?:[a-zA-Z]+://[^/?#]*)?([^?#]*)")  # no host's ".com"


class FoundIn(IntEnum):
    """Where an item's candidate for the enclosure was found; the lower counts first."""

    ENCLOSURE = 0
    ATOM_LINK = 1
    MEDIA_CONTENT = 2
    RDF_ENCLOSURE = 3
    ALTERNATE_ENCLOSURE = 4


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A media file as an item names it: it may be the item's enclosure."""

    source: FoundIn
    url: str
    type: str = ""
    base: str = ""  # xml:base in force where it stands; may be relative itself
    default: bool = False  # the publisher marked it as the one to take


# Attributes are as feedparser has them: names, and a type, in lower case.


def address(attributes: Mapping[str, str]) -> str:
    """The URL of an enclosure or the like, by whichever attribute has it."""
    return attributes.get("url") or attributes.get("uri") or attributes.get("href") or ""


def enclosure(attributes: Mapping[str, str]) -> Candidate:
    """A candidate for the enclosure, by `<enclosure>`."""
    kind = attributes.get("type", "")
    return Candidate(source=FoundIn.ENCLOSURE, url=address(attributes), type=kind)


def media_content(attributes: Mapping[str, str]) -> Candidate:
    """A candidate for the enclosure, by `<media:content>`."""
    return Candidate(
        source=FoundIn.MEDIA_CONTENT,
        url=address(attributes),
        type=attributes.get("type") or attributes.get("medium", ""),
        default=_says_true(attributes, "isdefault"),
    )


def alternate_source(attributes: Mapping[str, str], of: Mapping[str, str]) -> Candidate:
    """A candidate for the enclosure, by `<podcast:source>`.

    `of` has the attributes of its `<podcast:alternateEnclosure>`.
    """
    return Candidate(
        source=FoundIn.ALTERNATE_ENCLOSURE,
        url=address(attributes),
        type=attributes.get("contenttype") or of.get("type", ""),
        default=_says_true(of, "default"),
    )


def _says_true(attributes: Mapping[str, str], name: str) -> bool:
    return attributes.get(name, "").strip().lower() == "true"


def choose(
    candidates: Iterable[Candidate], media_types: Sequence[str], document_url: str
) -> str | None:
    """The URL of an item's enclosure among the candidates; None if none is of a wanted media type.

    Audio comes before video, and video before other wanted types; then the source decides, then
    what the publisher marked as default, then the document's order.
    """
    best: tuple[tuple[int, int, bool], str] | None = None
    for candidate in candidates:
        kind = media_type(candidate)
        if kind is None or not _matches(kind, tuple(media_types)):
            continue
        precedence = {"audio": 0, "video": 1}.get(kind.partition("/")[0], 2)
        rank = (precedence, candidate.source, not candidate.default)
        if best is not None and best[0] <= rank:
            continue
        url = absolute(candidate.url, candidate.base, document_url)
        if url is not None:
            best = rank, url
    return best[1] if best else None


def media_type(candidate: Candidate) -> str | None:
    """Media type of an enclosure, by its file name if need be; None if nothing tells."""
    stated = candidate.type.partition(";")[0].strip().lower()
    path = _PATH.match(candidate.url.strip())
    name = unquote(path[1] if path else "").rstrip("/").rpartition("/")[2]
    stem, _, suffix = name.rpartition(".")
    suffix = suffix.strip().lower() if stem else ""
    if stated in _PLAYLISTS or suffix in _PLAYLIST_SUFFIXES:
        return None
    family, _, subtype = stated.rpartition("/")
    if family in _FAMILIES and stated not in _GENERIC:
        return stated
    guessed = _TYPES.get(suffix) or _OTHER_TYPES.guess_type(f"x.{suffix}")[0] or _TYPES.get(subtype)
    if guessed and guessed not in _GENERIC:
        return guessed
    if stated in ("audio", "video"):
        return f"{stated}/unknown"
    # An enclosure of a podcast that says nothing of itself is a redirect to its audio.
    return AUDIO_UNKNOWN if candidate.source is FoundIn.ENCLOSURE else None


@lru_cache(1000)  # there are few types, and fnmatch is slow
def _matches(kind: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(kind, pattern.strip().lower()) for pattern in patterns)


def absolute(url: str, base: str, document_url: str) -> str | None:
    """An enclosure's `url` as an absolute http(s) URI in ASCII; None if it can't be made one.

    Whatever is valid stays as it stands: a URL may be signed, and it tells episodes apart.
    """
    url = _trim(url)
    if not url or len(url) > MAX_URL:
        return None
    try:
        if not url.startswith(("https://", "http://")) and not re.match(r"(?i)https?://", url):
            url = urljoin(urljoin(document_url, _trim(base)), url)
        return url if _PLAIN.fullmatch(url) else _clean(url)
    except ValueError:  # by urllib, and for a lone surrogate
        return None


def _trim(url: str) -> str:
    """An enclosure's URL without white space at its ends and line breaks, as browsers take it."""
    url = url.strip().strip("\ufeff\u200b").strip()
    return url if url.isprintable() else re.sub(r"[\t\r\n]", "", url)


_PLAIN = re.compile(  # most URLs: lower case, nothing to escape, no user, port or fragment
    r"https?://(?=[^/]{1,253}/)(?:[a-z0-9_-]{1,63}\.)+[a-z0-9_-]{1,63}/(?:[A-Za-z0-9/?:@!$&'()*+,;=~._-]++|%[0-9A-Fa-f]{2})*+"
)


def _clean(url: str) -> str | None:
    parts = re.match(r"(?i)(https?)://([^/?#]*)([^#]*)", url)
    if parts is None:
        return None
    scheme, authority, rest = parts.groups()
    userinfo, at, host = authority.rpartition("@")
    address = re.fullmatch(r"(.*?)(:([0-9]{0,5}))?", host)
    if address is None or int(address[3] or 0) > 65_535:
        return None
    name, port = address[1], address[2] or ""
    if name.startswith("["):
        usable = re.fullmatch(r"\[[0-9A-Fa-f:.]{2,45}\]", name) is not None
    else:
        name = name if name.isascii() else ascii_host(name)
        labels = name.removesuffix(".").split(".")
        usable = len(name) <= 253 and all(re.fullmatch(r"[\w-]{1,63}", label) for label in labels)
    clean = f"{scheme.lower()}://{_escape(userinfo, ':')}{at}{name}{port}{_escape(rest, '/?:@')}"
    return clean if usable and len(clean) <= MAX_URL else None


def ascii_host(host: str) -> str:
    """A host by UTS 46, without its transitional part, as browsers write it.

    By the standard's mapping alone: IDNA 2008 also forbids labels, as those of emoji, that resolve.
    """
    try:
        mapped = idna.uts46_remap(host, std3_rules=False)
    except idna.IDNAError:  # a code point that has no meaning yet, or none in a host
        mapped = normalize("NFKC", host.lower())
    labels = mapped.encode().decode().split(".")  # `encode` refuses a lone surrogate
    return ".".join(
        label if label.isascii() else f"xn--{label.encode('punycode').decode('ascii')}"
        for label in labels
    )


def _escape(part: str, also: str) -> str:
    """Percent-encode what RFC 3986 does not allow in a URL; what is encoded already stays."""
    part = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", part)
    return quote(part, safe="%!$&'()*+,;=~" + also)
