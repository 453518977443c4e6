"""When to act next. Pure: the present comes in as an argument, and so does what to spread by."""

from datetime import datetime, timedelta
from zlib import crc32

CHECK_AT_LEAST_EVERY = timedelta(days=1)  # a failing feed is never "off"
POLL_AT_LEAST_EVERY = timedelta(hours=6)


def horizon(longest_interval: timedelta) -> timedelta:
    """Nothing is ever due later than this from now, unless the clock has been set back since."""
    return 2 * max(longest_interval, CHECK_AT_LEAST_EVERY)


def backoff(attempt: int, *, first: timedelta, most: timedelta, key: str) -> timedelta:
    """Double from `first` (attempt 1) up to `most`, then add up to a quarter, spread by `key`."""
    doublings = min(max(attempt - 1, 0), 30)
    return jittered(first * min(2**doublings, max(most / first, 1)), f"{key} {attempt}")


def next_check(
    now: datetime,
    interval: timedelta,
    *,
    key: str,
    failures: int = 0,
    asked: timedelta | None = None,
) -> datetime:
    """When to check a feed after a check: sooner never than the server asked, within a day."""
    most = max(interval, CHECK_AT_LEAST_EVERY)
    wait = backoff(failures, first=interval, most=most, key=key)
    return now + max(wait, min(asked or timedelta(), most))


def next_poll(
    now: datetime,
    submitted_at: datetime,
    interval: timedelta,
    *,
    key: str,
    asked: timedelta | None = None,
) -> datetime:
    """When to poll a job again: every twentieth of its age, and never sooner than `interval`."""
    most = max(interval, POLL_AT_LEAST_EVERY)
    wait = min(max(interval, (now - submitted_at) / 20), most)
    return now + max(jittered(wait, f"{key} {now}"), min(asked or timedelta(), most))


def jittered(wait: timedelta, key: str) -> timedelta:
    """Lengthen `wait` by up to a quarter."""
    return wait * (1 + fraction(key) / 4)


def fraction(key: str) -> float:
    """From 0 to 1, evenly over keys. A hash instead of dice: the same key, the same place."""
    return crc32(key.encode("utf-8", "replace")) / 2**32
