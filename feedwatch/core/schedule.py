"""When to act next. Pure: the time is an argument, and so is the key that jitter is made of."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil
from zlib import crc32

from feedwatch.core.settings import FeedConfig

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
CHECK_AT_LEAST_EVERY = DAY  # a failing feed is never given up
HINTS_LENGTHEN_AT_MOST = 4  # times: hints are the server's habit, the interval is the owner's wish
RHYTHM_DAYS = 20  # the last days with an episode, from which a feed's rhythm is learned
RHYTHM_DAYS_LEAST = 5  # with fewer there is none
SILENT_AT_LEAST = 3 * DAY
SILENT_AT_MOST = 366 * DAY
POLL_AT_LEAST_EVERY = 6 * HOUR
FIRST_CHECKS_A_SECOND = 10  # on the average


def horizon(longest_interval: timedelta) -> timedelta:
    """The horizon: nothing is due later than this from now, unless the clock was set back since."""
    return 2 * max(longest_interval, CHECK_AT_LEAST_EVERY)


def backoff(attempt: int, *, first: timedelta, most: timedelta, key: str) -> timedelta:
    """Backoff: doubles from `first` (attempt 1); jitter adds up to a quarter, up to `most` in all.

    Where `first` is longer than that, it is what is waited.
    """
    most = max(first, most)
    wait = first * min(2 ** min(max(attempt - 1, 0), 30), most / first)
    return min(jittered(wait, f"{key} {attempt}"), most)


def next_try(
    now: datetime,
    interval: timedelta,
    *,
    key: str,
    failures: int,
    retry_after: timedelta | None = None,
) -> datetime:
    """When to check a feed again that has failed, so many times in a row.

    Not before its Retry-After, and once a day at least; once an interval, where that is longer.
    """
    most = max(interval, CHECK_AT_LEAST_EVERY)
    wait = backoff(failures, first=interval, most=most, key=key)
    return now + min(max(wait, retry_after or timedelta()), most)


def first_checks(sources: Collection[FeedConfig], now: datetime) -> dict[str, datetime]:
    """When to check feeds that are new to us first, by name: soon, but not all at once."""
    span = timedelta(seconds=len(sources) / FIRST_CHECKS_A_SECOND)
    return {
        source.name: now + min(span, source.check_interval) * fraction(source.name)
        for source in sources
    }


def lengthened(interval: timedelta, *hints: timedelta | None) -> timedelta:
    """The check interval by the polling hints, which lengthen it and never shorten it.

    A host's max-age is often set once for all that it serves, and a ttl by a template. So hints
    lengthen an interval to four times at most, and not beyond a day.
    """
    longest = max((hint for hint in hints if hint is not None), default=interval)
    most = min(HINTS_LENGTHEN_AT_MOST * interval, max(interval, CHECK_AT_LEAST_EVERY))
    return max(interval, min(longest, most))


def past_skips(
    due_at: datetime, hours: int, days: int, *, at_most: timedelta, key: str
) -> datetime:
    """`due_at`, or the end of the hours and days to be skipped that it falls into.

    One bit an hour (GMT) and a day (Monday is bit 0), as in `feed.Hints`. Jitter spreads what is
    moved to one end over a quarter of an hour; nothing is moved by more than `at_most`.
    """
    hours = 0 if hours == 2**24 - 1 else hours
    days = 0 if days == 2**7 - 1 else days
    end = due_at
    while end - due_at < at_most:
        if days >> end.weekday() & 1:
            end = end.replace(hour=0, minute=0, second=0, microsecond=0) + DAY
        elif hours >> end.hour & 1:
            end = end.replace(minute=0, second=0, microsecond=0) + HOUR
        else:
            break
    if end == due_at:
        return due_at
    return min(end + HOUR / 4 * fraction(key), due_at + at_most)


def expected_by(published: Iterable[datetime], since: datetime) -> datetime | None:
    """Until when, after `since`, a feed publishes another episode by its own rhythm.

    The rhythm is the gaps between the last days that had an episode: several on one day are a
    burst, or a daily habit, and say nothing more. Nine gaps in ten may be three times as long
    before anybody is alerted, and the longest, which may be the break between two seasons, half as
    long again. None: too few days to tell.
    """
    days = sorted({moment.date() for moment in published if moment <= since})[-RHYTHM_DAYS:]
    if len(days) < RHYTHM_DAYS_LEAST:
        return None
    gaps = sorted(later - earlier for earlier, later in pairwise(days))
    usual = gaps[ceil(len(gaps) * 0.9) - 1]
    longest_silence = max(SILENT_AT_LEAST, 3 * usual, 1.5 * gaps[-1])
    return since + min(longest_silence, SILENT_AT_MOST)


def next_poll(
    now: datetime,
    submitted_at: datetime,
    interval: timedelta,
    *,
    key: str,
    retry_after: timedelta | None = None,
) -> datetime:
    """When to poll a job again: every twentieth of its age, and never sooner than `interval`."""
    most = max(interval, POLL_AT_LEAST_EVERY)
    wait = jittered(max(interval, (now - submitted_at) / 20), f"{key} {now}")
    return now + min(max(wait, retry_after or timedelta()), most)


def jittered(wait: timedelta, key: str) -> timedelta:
    """`wait` with jitter, which lengthens it by up to a quarter."""
    return wait * (1 + fraction(key) / 4)


def fraction(key: str) -> float:
    """From 0 to 1, evenly over keys. A hash instead of dice: the same key gives the same jitter."""
    return crc32(key.encode("utf-8", "replace")) / 2**32
