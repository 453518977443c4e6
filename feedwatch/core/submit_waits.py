"""Waits: from when an episode may be submitted, by its date and by what the config asks. Pure.

What waits stays `queued`. Each attempt to claim it asks anew, so nothing is kept of a wait but its
reason and when to ask again.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from feedwatch.core.schedule import DAY
from feedwatch.core.settings import FeedConfig, FutureDated, either_key

WAIT_AT_MOST = 30 * DAY  # for a date; one that lies further ahead is a mistake


class Wait(NamedTuple):
    """Until when an episode is not to be submitted."""

    until: datetime
    reason: str  # for people


def believed(published_at: datetime | None, now: datetime) -> datetime | None:
    """The date that a publisher states; None, as if none were, if that is too far ahead."""
    if published_at is None or published_at > now + WAIT_AT_MOST:
        return None
    return published_at


def disbelief(published_at: datetime | None, now: datetime) -> str | None:
    """Why the date that a publisher states counts as not stated; None if it does not."""
    if published_at is None or believed(published_at, now) is not None:
        return None
    return (
        f"its date, {published_at:%Y-%m-%d}, is more than {WAIT_AT_MOST.days} days ahead and "
        "counts as not stated"
    )


def wait_of(
    published_at: datetime | None, first_seen_at: datetime, config: FeedConfig, now: datetime
) -> Wait | None:
    """What an episode of the feed still waits for; None if it may be submitted now."""
    date = believed(published_at, now)
    waits = []
    if date is not None and config.future_dated is FutureDated.WAIT:
        # A date that is put ahead again and again is waited for no longer than any other.
        latest = min(first_seen_at, now) + WAIT_AT_MOST
        waits.append((min(date, latest), "the date that its publisher states"))
    # Seen in the future: the clock was set back since, and would have it wait for so long again.
    if config.submit_delay > timedelta() and first_seen_at <= now:
        waits.append(
            (
                first_seen_at + config.submit_delay,
                f"as {either_key(config.name, 'SUBMIT_DELAY')} asks",
            )
        )
    until, why = max(waits, default=(now, ""))
    if until <= now:
        return None
    return Wait(until, f"waits until {until:%Y-%m-%d %H:%M:%S}Z, {why}")
