"""What a feed's document says: its bytes → its items, in every dialect of feed.

Everything that hostile bytes can slow down happens here, so `isolation` runs it in a process of
its own.
"""

import calendar
import io
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any
from zoneinfo import ZoneInfo

import feedparser

from feedwatch import dialects
from feedwatch.bodies import feed_bytes
from feedwatch.enclosures import choose
from feedwatch.model import Document, Failed, Item, ParsedFeed
from feedwatch.text import one_line, readable

_LONGEST = 10_000_000  # seconds: no episode lasts for months


def parse(document: Document, media_types: Sequence[str]) -> ParsedFeed | Failed:
    """Return the items of a feed, or why the document is no whole feed.

    `media_types` are shell-style patterns of the enclosures that count, like "audio/*".
    """
    body = feed_bytes(document.body)
    if isinstance(body, Failed):
        return body
    try:
        # Bytes in a file object: a string or URL would make feedparser open it. It isn't told the
        # document's URL either, it would resolve guids against it.
        feed = feedparser.parse(io.BytesIO(body), resolve_relative_uris=False, sanitize_html=False)
        items = tuple(_item(entry, media_types, document.url) for entry in feed.entries)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  # of any class: it comes from the document
        detail = one_line(f"{type(error).__name__}: {error}", limit=200)
        return Failed(f"the document could not be read as a feed ({detail})")
    if not items and re.search(rb"(?i)<(?:[\w-]+:)?(?:item|entry)[\s>]", body):
        return Failed("the document has items, but none of them could be read")
    return ParsedFeed(title=one_line(_text(feed.feed, "title")), items=items)


def _item(entry: Any, media_types: Sequence[str], document_url: str) -> Item:
    return Item(
        guid=_trimmed(_text(entry, "id")) or None,
        title=one_line(_text(entry, "title")) or one_line(_text(entry, "itunes_title")),
        description=_description(entry),
        enclosure_url=choose(entry.get(dialects.CANDIDATES, ()), media_types, document_url),
        published_at=_published_at(entry),
        duration=read_duration(_text(entry, "itunes_duration")),
        episode_type=_trimmed(_text(entry, "itunes_episodetype")).lower() or "full",
    )


def _text(values: Any, key: str) -> str:
    """Return a text of an entry. What has attributes comes as something else, and is passed over.

    Not by `values.get`, which takes one value for another.
    """
    value = dict.get(values, key)
    return value if isinstance(value, str) else ""


def _trimmed(text: str) -> str:
    return re.sub(r"^[\s\ufeff]+|[\s\ufeff]+$", "", text)


def _description(entry: Any) -> str:
    contents = [_text(content, "value") for content in dict.get(entry, "content", ())]
    texts = {*contents, _text(entry, "summary")}  # the one for Apple is among these
    return max(map(readable, sorted(texts)), key=len, default="")


def read_duration(text: str) -> int | None:
    """Return the seconds of "3723", "62:03", "1:02:03" or "3723.5"; None for anything else."""
    number = r"(?:(?:([0-9]{1,4}):)?([0-9]{1,5}):)?([0-9]{1,9})(?:\.[0-9]*)?"
    parts = re.fullmatch(number, text.strip())
    if parts is None:
        return None
    hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    duration = hours * 3600 + minutes * 60 + seconds
    return duration if duration <= _LONGEST else None


# Dates


def _published_at(entry: Any) -> datetime | None:
    for key in ("published", "created", "updated"):  # dc:date comes as updated
        moment = read_date(_text(entry, key), dict.get(entry, f"{key}_parsed"))
        if moment is not None:
            return moment
    return None


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_RFC822 = re.compile(
    r"""(?:[a-z]+\.?,?\s*)?                     # the day of the week: often wrong, never needed
    (?P<day>[0-9]{1,2})[\s-]+(?P<month>[a-z]{3})[a-z]*\.?,?[\s-]+(?P<year>[0-9]{4}|[0-9]{2})
    (?:,?\s+(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:\.[0-9]+)?)?
    \s*(?P<half>[ap]m\b)?\s*(?P<zone>\S.*)?)?""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_EAST = {  # hours east of UTC: the names of zones that mean one thing nearly everywhere
    0: "z ut utc gmt wet",
    1: "bst west cet met",
    2: "cest mest eet",
    3: "eest msk",
    9: "jst kst",
    10: "aest",
    11: "aedt",
    12: "nzst",
    13: "nzdt",
    -3: "adt",
    -4: "edt ast",
    -5: "est cdt",
    -6: "cst mdt",
    -7: "mst pdt",
    -8: "pst akdt",
    -9: "akst",
    -10: "hst",
}
_ZONES = {name: hours for hours, names in _EAST.items() for name in names.split()}


def read_date(text: str, parsed: Any = None) -> datetime | None:
    """Return a feed's date in UTC; None if it can't be read for certain, or is out of this world.

    `parsed` is what feedparser made of it. That is the last resort: it takes a time zone that it
    does not know for UTC, and some numbers for dates.
    """
    text = " ".join(text.split())[:100]
    moment: datetime | None = None
    with suppress(ValueError, OverflowError, TypeError, IndexError):
        known = _RFC822.fullmatch(text)
        moment = _from_rfc822(known) if known else _from_iso(text) or _from_others(text, parsed)
    return moment if moment and 1990 <= moment.year <= 2100 else None


def _from_rfc822(parts: re.Match[str]) -> datetime | None:
    year = int(parts["year"])
    if len(parts["year"]) == 2:
        year += 2000 if year < 70 else 1900
    hour = int(parts["hour"] or 0)
    if parts["half"]:
        hour = hour % 12 + (12 if parts["half"].lower() == "pm" else 0)
    month = _MONTHS.index(parts["month"].lower()) + 1
    clock = int(parts["minute"] or 0), min(59, int(parts["second"] or 0))
    local = datetime(year, month, int(parts["day"]), hour, *clock)  # noqa: DTZ001  # zone follows
    zone = _zone(parts["zone"] or "")
    return local.replace(tzinfo=zone).astimezone(UTC) if zone else None


def _zone(name: str) -> timezone | ZoneInfo | None:
    name = re.sub(r"\s*\(.*\)$", "", name)  # "+0200 (CEST)"
    offset = re.fullmatch(r"(?i)(?:gmt|utc)?([+-])([0-9]{1,2})(?::?([0-9]{2}))?", name)
    if offset:
        east = timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0))
        return timezone(east if offset[1] == "+" else -east)
    if not name or name.lower() in _ZONES:
        return timezone(timedelta(hours=_ZONES.get(name.lower(), 0)))
    with suppress(ValueError, OSError):  # also of a name that is none
        return ZoneInfo(name) if re.fullmatch(r"[A-Z][A-Za-z_]+/[A-Za-z_]+", name) else None
    return None


def _from_iso(text: str) -> datetime | None:
    if not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return None
    moment = datetime.fromisoformat(text.replace(" ", "T", 1).replace(" ", "").upper())
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)


def _from_others(text: str, parsed: Any) -> datetime | None:
    moments = [datetime.fromtimestamp(calendar.timegm(parsed), UTC)] if parsed else []
    with suppress(ValueError, OverflowError, TypeError, IndexError):
        moment = parsedate_to_datetime(text)
        moments += [moment.astimezone(UTC)] if moment.tzinfo else []
    # A date is believed if it names its year: numbers alone can be taken for anything.
    return next((m for m in moments if re.search(rf"\b{m.year}(?!\d)", text)), None)
