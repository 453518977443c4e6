"""How often a publisher asks to be visited, by its answer's header and its document's head. Pure.

They are hints: `timing` decides what they may do. The head is searched, not parsed: this must cost
next to nothing, and what it misses only means that the config's interval holds.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime

from feedwatch.core.feed import Hints

HEAD = 65536  # bytes that are searched
LONGEST = 10_000_000  # seconds; what is longer means "never", which is for no one to say
DAYS = (b"monday", b"tuesday", b"wednesday", b"thursday", b"friday", b"saturday", b"sunday")

ITEM = re.compile(rb"<(?:item|entry)[\s>]")
TTL = re.compile(rb"<ttl>\s{0,20}(\d{1,7})\s{0,20}</ttl>")
PERIOD = re.compile(rb":updatePeriod>\s{0,20}([a-z]{5,8})\s{0,20}</")
FREQUENCY = re.compile(rb":updateFrequency>\s{0,20}(\d{1,4})\s{0,20}</")
HOUR = re.compile(rb"<hour>\s{0,20}(\d{1,2})\s{0,20}</")
DAY = re.compile(rb"<day>\s{0,20}([A-Za-z]{6,9})\s{0,20}</")
PERIODS = {b"hourly": 1, b"daily": 24, b"weekly": 168, b"monthly": 730, b"yearly": 8766}  # hours

MAX_AGE = re.compile(r"(?:^|[,\s])max-age\s*=\s*\"?(\d{1,12})", re.IGNORECASE)
NEVER_FRESH = re.compile(r"(?:^|[,\s])no-(?:store|cache)(?:$|[,\s])", re.IGNORECASE)


def fresh_for(headers: Mapping[str, str]) -> timedelta | None:
    """How long an answer holds (RFC 9111, section 4.2); None if it does not say.

    Max-age, or else Expires since Date, less the time that it has spent in caches. `headers` finds
    names in lower case.
    """
    control = headers.get("cache-control", "")
    if NEVER_FRESH.search(control):
        return None
    if stated := MAX_AGE.search(control):
        seconds = int(stated[1])
    elif "expires" in headers:
        seconds = _seconds_between(headers.get("date", ""), headers["expires"])
    else:
        return None
    age = headers.get("age", "").strip()
    seconds -= int(age) if age.isascii() and age.isdecimal() and len(age) < 12 else 0
    return timedelta(seconds=min(seconds, LONGEST)) if seconds > 0 else None


def _seconds_between(earlier: str, later: str) -> int:
    """0 for what are no dates, such as "Expires: -1"."""
    try:
        between = parsedate_to_datetime(later) - parsedate_to_datetime(earlier)
    except (ValueError, TypeError, OverflowError):
        return 0
    return int(between.total_seconds())


def hints_of(body: bytes) -> Hints:
    """What the channel says of itself, outside of its items.

    `ttl` in minutes, skipHours (0 to 23 GMT; 24 is how older versions wrote 0) and skipDays: RSS
    2.0. updatePeriod and updateFrequency, times in a period: RSS 1.0's module Syndication. Of two
    intervals the longer one counts.
    """
    first = ITEM.search(body, 0, HEAD)
    head = body[: first.start() if first else HEAD]
    hours = (int(hour) % 24 for hour in HOUR.findall(_within(head, b"skipHours")))
    days = (day.lower() for day in DAY.findall(_within(head, b"skipDays")))
    return Hints(
        every=max(filter(None, (_ttl(head), _period(head))), default=None),
        skip_hours=_bits(hours),
        skip_days=_bits(DAYS.index(day) for day in days if day in DAYS),
    )


def _ttl(head: bytes) -> timedelta | None:
    stated = TTL.search(head)
    return _bounded(int(stated[1]) * 60) if stated else None


def _period(head: bytes) -> timedelta | None:
    period, frequency = PERIOD.search(head), FREQUENCY.search(head)
    if period is None and frequency is None:
        return None
    hours = PERIODS.get(period[1] if period else b"daily")  # the module's own default
    times = int(frequency[1]) if frequency else 1
    return _bounded(hours * 3600 // times) if hours and times else None


def _bounded(seconds: int) -> timedelta | None:
    return timedelta(seconds=min(seconds, LONGEST)) if seconds else None


def _within(head: bytes, name: bytes) -> bytes:
    """What stands in the first element of this name."""
    start = head.find(b"<" + name + b">")
    end = head.find(b"</" + name + b">", start)
    return head[start:end] if 0 <= start < end else b""


def _bits(numbers: Iterable[int]) -> int:
    bits = 0
    for number in numbers:
        bits |= 1 << number
    return bits
