"""Dates and durations of items, as feeds write them. Pure."""

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from functools import lru_cache
from unicodedata import normalize
from zoneinfo import ZoneInfo

_LONGEST = 10_000_000  # seconds: no episode lasts for months
_DURATION = re.compile(r"(?:(?:([0-9]{1,4}):)?([0-9]{1,5}):)?([0-9]{1,9})(?:\.[0-9]*)?")


def read_duration(text: str) -> int | None:
    """An item's duration in seconds, of "3723", "62:03", "1:02:03" or "3723.5"; else None.

    Nothing lasts 0 seconds: that is a length which is not known yet.
    """
    parts = _DURATION.fullmatch(text.strip())
    if parts is None:
        return None
    hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    duration = hours * 3600 + minutes * 60 + seconds
    return duration if 0 < duration <= _LONGEST else None


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK = r"""(?:,?[\s,T]\s*(?P<early>[ap]m\s*)?(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})
    (?::(?P<second>[0-9]{2})(?:[.,][0-9]+)?)?\s*(?P<half>[ap]\.?m\b\.?)?\s*(?P<zone>\S.*)?)?"""
_WEEKDAY = r"(?:(?P<weekday>[a-z]+)\.?(?:,\s*|\s+))?"
_MONTH = r"(?P<month>(?!marras)[a-z]{3})[a-z]*\.?,?"  # marraskuu is November
# Whatever names its year with four digits and cannot be taken for two dates; of day and month as
# numbers see `_proven`. RFC 822 may name its year with two.
_DAY = r"(?P<day>[0-9]{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>[0-9]{4})"
_FORMS = tuple(
    re.compile(f"{_WEEKDAY}{form}{_CLOCK}", re.VERBOSE | re.IGNORECASE | re.ASCII)
    for form in (
        rf"{_DAY}[\s-]+{_MONTH}[\s-]+(?P<year>[0-9]{{4}}|[0-9]{{2}})",
        rf"{_YEAR}(?P<mark>[-/.])\s?(?P<month>[0-9]{{1,2}})(?P=mark)\s?(?P<day>[0-9]{{1,2}})\.?",
        rf"{_YEAR}[\s,-]+{_MONTH}[\s-]+{_DAY}",
        rf"{_MONTH}\s+{_DAY}(?:,\s*|\s+){_YEAR}",
        rf"(?P<one>[0-9]{{1,2}})(?P<mark>[-/.])(?P<other>[0-9]{{1,2}})(?P=mark){_YEAR}",
    )
)
_USUAL = (
    re.compile(  # the first of these, as nearly all feeds write it: read in a fifth of the time
        r"(?:[A-Z][a-z]{2}, )?([0-9]{1,2}) ([A-Z][a-z]{2}) ([0-9]{4})"
        r" ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-][0-9]{4}|[A-Z]{3})"
    )
)
_ASCTIME = re.compile(  # as `date` prints it: the year comes last
    r"([a-z]{3},? [a-z]{3} \d{1,2}) (\d{1,2}:\d{2}(?::\d{2})?)( [a-z]{1,5})? (\d{4})",
    re.IGNORECASE | re.ASCII,
)
# Each with what stands for it in the forms above.
_EAST_ASIAN: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (
        re.compile(r"([0-9]{4})\s*[年년]\s*([0-9]{1,2})\s*[月월]\s*([0-9]{1,2})\s*[日号號일]"),
        r"\1-\2-\3 ",
    ),
    (
        re.compile(
            r"([0-9]{1,2})\s*[時时点點시]\s*(?:([0-9]{1,2})\s*[分분]\s*)?(?:([0-9]{1,2})\s*[秒초])?"
        ),
        lambda clock: f"{clock[1]}:{int(clock[2] or 0):02}:{int(clock[3] or 0):02}",
    ),
    (re.compile("午前|上午|오전"), " am "),
    (re.compile("午後|下午|오후"), " pm "),
    (
        re.compile(
            r"\(?(?:(?:星期|周|週)[一二三四五六日天]|[月火水木金土日](?:曜日?)|[월화수목금토일]요일)\)?"
        ),
        " ",
    ),
    (re.compile(r"\([月火水木金土日월화수목금토일]\)"), " "),
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


def read_date(text: str) -> datetime | None:
    """An item's date in UTC; None if it can't be read for certain, or its year is absurd.

    Nothing is filled in: feedparser, and most libraries, take what they do not understand from
    today, and read the fifth month where the fifth day is meant. Without a time zone it is UTC.
    """
    text = " ".join(text.split())[:100]
    moment: datetime | None = None
    with suppress(ValueError, OverflowError):
        if (usual := _USUAL.fullmatch(text)) is not None:
            day, name, year, hour, minute, second, zone = usual.groups()
            month, clock = _MONTHS.index(name.lower()) + 1, (int(hour), int(minute), int(second))
            moment = _in_utc(int(year), month, int(day), *clock, zone)
        elif _ISO.match(text):
            iso = text.replace(" ", "T", 1).replace(" ", "").upper()
            with suppress(ValueError):
                moment = datetime.fromisoformat(iso)
                moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
        moment = moment or _by_forms(text if text.isascii() else _western(text))
    return moment if moment and 1990 <= moment.year <= 2100 else None


def _by_forms(text: str) -> datetime | None:
    text = _ASCTIME.sub(r"\1 \4 \2\3", text)
    found = next((found for form in _FORMS if (found := form.fullmatch(text))), None)
    if found is None:
        return None
    parts = found.groupdict()
    year = int(parts["year"])
    if len(parts["year"]) == 2:
        year += 2000 if year < 70 else 1900
    if "one" in parts:
        proven = _proven(year, int(parts["one"]), int(parts["other"]), parts["weekday"])
        if proven is None:
            return None
        month, day = proven
    else:
        day, word = int(parts["day"]), parts["month"].lower()
        month = int(word) if word.isdigit() else _MONTHS.index(word) + 1
    hour, half = int(parts["hour"] or 0), parts["half"] or parts["early"]
    if half:
        hour = hour % 12 + (12 if half.lower().startswith("p") else 0)
    minute, second = int(parts["minute"] or 0), int(parts["second"] or 0)
    return _in_utc(year, month, day, hour, minute, second, parts["zone"] or "")


def _in_utc(
    year: int, month: int, day: int, hour: int, minute: int, second: int, zone_name: str
) -> datetime | None:
    zone = _zone(zone_name)
    if zone is None:
        return None
    return datetime(year, month, day, hour, minute, min(59, second), tzinfo=zone).astimezone(UTC)


def _proven(year: int, one: int, other: int, weekday: str | None) -> tuple[int, int] | None:
    """Month and day of two numbers, where only one order is a date, or is that day of the week."""
    possible = set()
    for month, day in ((one, other), (other, one)):
        with suppress(ValueError):
            possible.add((date(year, month, day).weekday(), month, day))
    if len(possible) > 1 and weekday is not None and weekday[:3].lower() in _DAYS:
        possible = {one for one in possible if _DAYS[one[0]] == weekday[:3].lower()}
    return possible.pop()[1:] if len(possible) == 1 else None


def _western(text: str) -> str:
    """A Chinese, Japanese or Korean date, with signs that the forms know."""
    text = normalize("NFKC", text)
    for pattern, instead in _EAST_ASIAN:
        text = pattern.sub(instead, text)
    return " ".join(text.split())


@lru_cache(1000)
def _zone(name: str) -> timezone | ZoneInfo | None:
    name = re.sub(r"\s*\(.*\)$", "", name)  # "+0200 (CEST)"
    offset = re.fullmatch(r"(?i)(?:gmt|utc)?([+-])([0-9]{1,2})(?::?([0-9]{2}))?", name)
    if offset:
        east = timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0))
        return timezone(east if offset[1] == "+" else -east)
    if not name or name.lower() in _ZONES:
        return timezone(timedelta(hours=_ZONES.get(name.lower(), 0)))
    with suppress(ValueError, OSError, KeyError):  # `KeyError`: of a name that is none
        return ZoneInfo(name) if re.fullmatch(r"[A-Z][A-Za-z_]+/[A-Za-z_]+", name) else None
    return None
