"""The rhythm of a feed in words: when its episodes came, and when one is expected. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

from feedwatch.core.episode import State
from feedwatch.core.feed import Feed
from feedwatch.core.health import spoken
from feedwatch.core.json_forms import short
from feedwatch.core.schedule import DAY

WEEKS = 26
SPAN = timedelta(weeks=WEEKS)
AHEAD = timedelta(weeks=4)  # of the time to come, at most
LEAST_FOR_WORDS = 5  # episodes
WEEKDAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")


@dataclass(frozen=True, kw_only=True)
class Published:
    """When an episode was published, and what has become of it."""

    at: datetime
    state: State


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A time without episodes that was longer than the rhythm."""

    begin: datetime
    end: datetime


def rhythm_in_words(published: Sequence[Published], feed: Feed, now: datetime) -> str:
    """The rhythm in one sentence."""
    times = [one.at for one in came(published, now)]
    parts = [_habit(times) or "no rhythm known yet"]
    if times:
        parts.append(f"last episode {spoken(now - times[-1])} ago")
    expected_by = expectation(published, feed, now)
    if expected_by is not None:
        verb = "next expected by" if expected_by > now else "was expected by"
        parts.append(f"{verb} {short(expected_by)} UTC")
    return "; ".join(parts)


def expectation(published: Sequence[Published], feed: Feed, now: datetime) -> datetime | None:
    """By when the next episode is expected; None where these few show no rhythm.

    Of a show that is back after years, `expected_by` tells only when its silence is told again.
    """
    return feed.expected_by if _habit([one.at for one in came(published, now)]) else None


def came(published: Sequence[Published], now: datetime) -> Sequence[Published]:
    """Those that are out: what is dated ahead of now is still to come."""
    return [one for one in published if one.at <= now]


def _habit(times: Sequence[datetime]) -> str | None:
    days = sorted({moment.date() for moment in times})
    if len(days) < LEAST_FOR_WORDS:
        return None
    gap = median((later - earlier).days for earlier, later in pairwise(days))
    habit = {1: "daily", 7: "weekly", 14: "every two weeks"}.get(round(gap))
    habit = habit or f"about every {round(gap)} days"
    day, number = Counter(moment.weekday() for moment in times).most_common(1)[0]
    if number > 0.6 * len(times):
        habit += f", {WEEKDAYS[day]}"
    return f"{habit} about {round(median(moment.hour for moment in times)):02d}:00 UTC"


def gaps(published: Sequence[Published]) -> list[Gap]:
    """The times without episodes that were more than twice as long as usual."""
    times = [one.at for one in published]
    lengths = [(later - earlier) / DAY for earlier, later in pairwise(times)]
    lengths = [length for length in lengths if length > 0.5]  # several on one day are a burst
    if len(lengths) < LEAST_FOR_WORDS:
        return []
    longest = 2.5 * median(lengths) * DAY
    return [Gap(begin=one, end=other) for one, other in pairwise(times) if other - one > longest]
