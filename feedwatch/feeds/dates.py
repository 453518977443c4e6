"""Dates and durations of items, as feeds write them. Pure."""

import calendar
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

_LONGEST = 10_000_000  # seconds: no episode lasts for months
_DURATION = re.compile(r"(?:(?:([0-9]{1,4}):)?([0-9]{1,5}):)?([0-9]{1,9})(?:\.[0-9]*)?")


def read_duration(text: str) -> int | None:
    """An item's duration in seconds, of "3723", "62:03", "1:02:03" or "3723.5"; else None."""
    parts = _DURATION.fullmatch(text.strip())
    if parts is None:
        return None
    hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    duration = hours * 3600 + minutes * 60 + seconds
    return duration if duration <= _LONGEST else None


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_RFC822 = re.compile(
    r"""(?:[a-z]+\.?,?\s*)?                     # the day of the week: often wrong, never needed
    (?P<day>[0-9]{1,2})[\s-]+(?P<month>[a-z]{3})[a-z]*\.?,?[\s-]+(?P<year>[0-9]{4}|[0-9]{2})
    (?:,?\s+(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:\.[0-9]+)?)?
    \s*(?P<half>[ap]m\b)?\s*(?P<zone>\S.*)?)?""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
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
    """An item's date in UTC; None if it can't be read for certain, or its year is absurd.

    `parsed` is what feedparser made of it. That is the last resort: feedparser takes a time zone
    that it does not know for UTC, and some numbers for dates.
    """
    text = " ".join(text.split())[:100]
    moment: datetime | None = None
    with suppress(ValueError, OverflowError, TypeError, IndexError):
        if known := _RFC822.fullmatch(text):
            moment = _from_rfc822(known)
        elif _ISO.match(text):
            moment = datetime.fromisoformat(text.replace(" ", "T", 1).replace(" ", "").upper())
            moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
        else:
            moment = _from_others(text, parsed)
    return moment if moment and 1990 <= moment.year <= 2100 else None


def is_plain(text: str) -> bool:
    """Whether `read_date` reads an item's date without what feedparser made of it."""
    text = " ".join(text.split())[:100]
    return not text or bool(_RFC822.fullmatch(text) or _ISO.match(text))


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


@lru_cache(1000)
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


def _from_others(text: str, parsed: Any) -> datetime | None:
    moments = [datetime.fromtimestamp(calendar.timegm(parsed), UTC)] if parsed else []
    with suppress(ValueError, OverflowError, TypeError, IndexError):
        moment = parsedate_to_datetime(text)
        moments += [moment.astimezone(UTC)] if moment.tzinfo else []
    # A date is believed if it names its year: numbers alone can be taken for anything.
    return next((m for m in moments if re.search(rf"\b{m.year}(?!\d)", text)), None)
