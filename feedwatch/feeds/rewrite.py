"""Rewrites a document: its episodes' audio replaced by the processed files. Pure.

The document is not parsed and written again, which would lose what we do not understand: what
changes is replaced where it stands, and every other byte stays as it is.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import UUID, uuid5
from xml.sax.saxutils import escape

from feedwatch.core.served import ProcessedFile
from feedwatch.feeds.enclosures import AUDIO_UNKNOWN, Candidate, FoundIn, media_type
from feedwatch.feeds.layout import TIMED, Element, Layout, candidate_of

# https://podcasting2.org/docs/podcast-namespace/tags/guid
PODCAST_NAMESPACE = UUID("ead4c236-bf58-58c6-a2c6-a6b28d128cb6")
# Of the origin: it would lead apps away from the served feed, or to pages that are not replaced.
ORIGINS_LINKS = {"self", "hub", "next", "prev", "previous", "first", "last"}
# Possessive, and not from within spaces: else it takes the square of their number.
ATTRIBUTE = re.compile(rb"""(?<!\s)\s++([^\s=<>/"']++)\s*+=\s*+("[^"]*+"|'[^']*+')""")
ADDRESSES = ("url", "uri", "href", "resource")  # in the order of `enclosures.address`
ATOM = "http://www.w3.org/2005/Atom"
PODCAST = "https://podcastindex.org/namespace/1.0"
ITUNES = "http://www.itunes.com/dtds/podcast-1.0.dtd"

Edit = tuple[int, int, bytes]  # the bytes from here to there, and what stands there instead


@dataclass(frozen=True, kw_only=True)
class Edition:
    """What makes a document a feed of our own, besides the processed files in it."""

    url: str  # where it is served
    keeps_guid: bool = True  # the podcast:guid of the origin, if it states one
    keeps_timed: bool = False  # chapters and the like of replaced items


def podcast_guid(url: str) -> str:
    """The podcast:guid of a feed by its URL, as the podcast namespace has it."""
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query else ""
    return str(uuid5(PODCAST_NAMESPACE, f"{parts.netloc}{parts.path}{query}".rstrip("/")))


def rewritten(
    layout: Layout,
    processed: Mapping[int, ProcessedFile],
    edition: Edition | None = None,
    omitted: Collection[int] = (),
) -> bytes:
    """The document with processed files, by the places of their items, for what was published.

    Without an `edition` nothing else changes. `omitted` has the places of items to leave out.
    """
    edits: list[Edit] = []
    guids = _missing_guids(layout.items) if edition is not None else {}
    for place, item in enumerate(layout.items):
        if place in omitted:
            edits.append((item.begin, item.end, b""))
            continue
        if place in processed:
            edits += _item_edits(layout.document, item, processed[place], edition)
        end = item.content_end
        if place in guids and end is not None:
            guid = b'<guid isPermaLink="false">' + _quoted(guids[place]) + b"</guid>"
            edits.append((end, end, guid))
    if edition is not None:
        edits += [(begin, end, b"") for begin, end in layout.stylesheets]
        edits += _channel_edits(layout, edition)
    return _applied(layout.document, edits)


def _applied(document: bytes, edits: list[Edit]) -> bytes:
    """The document with the edits; one within what another one takes out counts for nothing."""
    pieces, at = [], 0
    # What is put in at a place comes before what is taken out from there on.
    for begin, end, new in sorted(edits, key=lambda edit: (edit[0], edit[0] < edit[1], -edit[1])):
        if begin >= at:
            pieces += [document[at:begin], new]
            at = end
    return b"".join([*pieces, document[at:]])


def _item_edits(
    document: bytes, item: Element, file: ProcessedFile, edition: Edition | None
) -> Iterator[Edit]:
    """Put the processed file wherever an item names its recording."""
    found = [
        (part, kind)
        for part in item.parts
        if (one := candidate_of(part)) is not None and (kind := media_type(one)) is not None
    ]
    families = {kind.partition("/")[0] for _, kind in found}
    # As `enclosures.choose` prefers: a video or a picture beside the audio is another thing.
    family = next((one for one in ("audio", "video") if one in families), None)
    alternates: dict[int, Element] = {}
    for part, kind in found:
        if family in (None, kind.partition("/")[0]):
            yield _media_edit(document, part, file, kind)
            if part.name == "podcast:source" and part.parent is not None:
                alternates[part.parent.begin] = part.parent
    for element in alternates.values():
        yield _media_edit(document, element, file, element.attributes.get("type", ""))
    for part in item.parts:
        within = part.parent.begin if part.parent is not None else None
        if part.name == "podcast:integrity" and within in alternates:
            yield part.begin, part.end, b""
    if edition is None:
        return
    for part in item.parts:
        if part.name in TIMED and not edition.keeps_timed:
            yield part.begin, part.end, b""
    yield from _duration_edits(item, file)


def _missing_guids(items: Sequence[Element]) -> dict[int, str]:
    """The published addresses of RSS items without a guid, by their places; none that is shared.

    Apps take the address for the guid then, and would take the processed file for a new episode.
    """
    stated: list[str] = []
    missing: dict[int, str] = {}
    for place, item in enumerate(items):
        guids = (part.text.strip() for part in item.parts if part.name in ("guid", "id"))
        guid = next(filter(None, guids), None)
        found = (candidate_of(part) for part in item.parts if part.name == "enclosure")
        url = next((one.url.strip() for one in found if one is not None and one.url), None)
        is_rss = item.name == "item" and "about" not in item.attributes
        if guid is not None:
            stated.append(guid)
        elif url is not None and is_rss and item.content_end is not None:
            missing[place] = url
    counts = Counter([*stated, *missing.values()])
    return {place: url for place, url in missing.items() if counts[url] == 1}


def _media_edit(document: bytes, element: Element, file: ProcessedFile, kind: str) -> Edit:
    """The start tag of an element that names a recording, for the processed file."""
    given, name = element.attributes, element.name
    changes: dict[str, str | None] = dict.fromkeys(("bitrate", "codecs") & given.keys())
    address = next((one for one in ADDRESSES if given.get(one)), None)
    if address is not None:
        changes[address] = file.url
    changes["contenttype" if name == "podcast:source" else "type"] = _type_of(file, kind)
    length = str(file.length) if file.length is not None else None
    match name:
        case "enclosure":
            changes["length"] = length or "0"
        case "media:content" if "filesize" in given or length:
            changes["fileSize"] = length
        case "link" | "enc:enclosure" | "podcast:alternateenclosure" if "length" in given:
            changes["length"] = length
    if name == "media:content" and "duration" in given:
        changes["duration"] = str(round(file.duration)) if file.duration else None
    tag = document[element.begin : element.tag_end]
    return element.begin, element.tag_end, _with_attributes(tag, changes)


def _type_of(file: ProcessedFile, kind: str) -> str:
    """The media type of the processed file: as its server says, by its name, else as before."""
    if file.type is not None:
        return file.type
    guessed = media_type(Candidate(source=FoundIn.ENCLOSURE, url=file.url))
    if guessed is not None and guessed != AUDIO_UNKNOWN:
        return guessed
    return kind if kind != AUDIO_UNKNOWN else "audio/mpeg"


def _with_attributes(tag: bytes, changes: Mapping[str, str | None]) -> bytes:
    """A start tag with other values, without the attributes whose new value is None."""
    left = {name.lower(): (name, value) for name, value in changes.items()}

    def change(found: re.Match[bytes]) -> bytes:
        name = found[1].decode().rpartition(":")[2].lower()
        if name not in left:
            return found[0]
        _, value = left.pop(name)
        if value is None:
            return b""
        before = found[0][: -len(found[2])]
        return before + b'"' + _quoted(value) + b'"'

    changed = ATTRIBUTE.sub(change, tag)
    end = b"/>" if changed.endswith(b"/>") else b">"
    added = b"".join(
        b" " + name.encode() + b'="' + _quoted(value) + b'"'
        for name, value in left.values()
        if value is not None
    )
    return changed.removesuffix(end) + added + end


def _quoted(value: str) -> bytes:
    return escape(value, {'"': "&quot;"}).encode()


def _duration_edits(item: Element, file: ProcessedFile) -> Iterator[Edit]:
    if file.duration is None:
        return
    seconds = str(round(file.duration)).encode()
    stated = [part for part in item.parts if part.name == "itunes:duration"]
    for part in stated:
        if part.content_end is not None:
            yield part.tag_end, part.content_end, seconds
    if not stated and item.content_end is not None:
        element = f'<itunes:duration xmlns:itunes="{ITUNES}">'.encode()
        new = element + seconds + b"</itunes:duration>"
        yield item.content_end, item.content_end, new


def _channel_edits(layout: Layout, edition: Edition) -> Iterator[Edit]:
    """Make the feed name itself, and nothing of its origin's that leads away from it."""
    channel = layout.channel
    if channel is None or channel.content_end is None:
        return
    new = f'<atom:link xmlns:atom="{ATOM}" rel="self" href="'.encode()
    new += _quoted(edition.url) + b'" type="application/rss+xml"/>'
    guids = [part for part in channel.parts if part.name == "podcast:guid"]
    if not edition.keeps_guid or not any(part.text.strip() for part in guids):
        yield from ((part.begin, part.end, b"") for part in guids)
        guid = podcast_guid(edition.url)
        new += f'<podcast:guid xmlns:podcast="{PODCAST}">{guid}</podcast:guid>'.encode()
    for part in channel.parts:
        relations = set(part.attributes.get("rel", "").lower().split())
        if part.name == "itunes:new-feed-url" or relations & ORIGINS_LINKS:
            yield part.begin, part.end, b""
    yield channel.tag_end, channel.tag_end, new
