"""Polling hints: how often a document or its server asks to be fetched. Pure.

`core/schedule.py` decides what they may do. The head of a document is searched, not parsed: a check
that finds nothing new must cost next to nothing, and where a hint is missed the config's interval
holds.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime

from feedwatch.core.feed import Hints

HEAD = 65536  # bytes of a document
LONGEST = 10_000_000  # seconds; longer would be "never"
DAYS = (b"monday", b"tuesday", b"wednesday", b"thursday", b"friday", b"saturday", b"sunday")

COMMENT = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
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
    """Polling hint of a server: how long its response is fresh (RFC 9111, section 4.2), or None.

    By max-age, else by Expires since Date, less its Age. `headers` finds names in lower case.
    """
    control = headers.get("cache-control", "")
    if NEVER_FRESH.search(control):
        return None
    if stated := MAX_AGE.search(control):
        seconds = int(stated[1])
    elif "expires" in headers:
        try:
            date, expires = headers.get("date", ""), headers["expires"]
            between = parsedate_to_datetime(expires) - parsedate_to_datetime(date)
        except (ValueError, TypeError, OverflowError):  # no dates, such as "Expires: -1"
            return None
        seconds = int(between.total_seconds())
    else:
        return None
    age = headers.get("age", "").strip()
    seconds -= int(age) if age.isascii() and age.isdecimal() and len(age) < 12 else 0
    return timedelta(seconds=min(seconds, LONGEST)) if seconds > 0 else None


def hints_of(body: bytes) -> Hints:
    """Polling hints of a document's channel, outside of its items.

    RSS 2.0 has `ttl` in minutes, skipHours (0 to 23 GMT; older versions write 24 for 0) and
    skipDays; RSS 1.0's module Syndication has updateFrequency, which is times in an updatePeriod.
    Of two intervals the longer one counts.
    """
    head = COMMENT.sub(b"", body[:HEAD])
    first = ITEM.search(head)
    head = head[: first.start() if first else HEAD]
    ttl, period, frequency = TTL.search(head), PERIOD.search(head), FREQUENCY.search(head)
    seconds = int(ttl[1]) * 60 if ttl else 0
    if period or frequency:
        hours = PERIODS.get(period[1] if period else b"daily", 0)  # the module's own default
        times = int(frequency[1]) if frequency else 1
        seconds = max(seconds, hours * 3600 // times if times else 0)
    days = (day.lower() for day in DAY.findall(_content(head, b"skipDays")))
    return Hints(
        every=timedelta(seconds=min(seconds, LONGEST)) if seconds else None,
        skip_hours=_bits(int(hour) % 24 for hour in HOUR.findall(_content(head, b"skipHours"))),
        skip_days=_bits(DAYS.index(day) for day in days if day in DAYS),
    )


def _content(head: bytes, name: bytes) -> bytes:
    """The content of a document's first element of this name."""
    start = head.find(b"<" + name + b">")
    end = head.find(b"</" + name + b">", start)
    return head[start:end] if 0 <= start < end else b""


def _bits(numbers: Iterable[int]) -> int:
    return sum(1 << number for number in set(numbers))
