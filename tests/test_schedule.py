"""When to act next."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedwatch.config import keys, values
from feedwatch.core.feed import Feed, NotModified
from feedwatch.core.feed_lifecycle import checked
from feedwatch.core.schedule import (
    backoff,
    expected_by,
    fraction,
    horizon,
    jittered,
    lengthened,
    next_poll,
    next_try,
    past_skips,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (
    timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days")
)
INTERVALS = st.timedeltas(timedelta(microseconds=1), values.LONGEST)  # all that a config may have
POLL_INTERVALS = st.timedeltas(timedelta(microseconds=1), keys.LONGEST_POLL_INTERVAL)
ASKED = st.none() | st.timedeltas(timedelta(), 400 * DAY)


@given(st.integers(0, 10**9), st.text())
def test_a_backoff_lies_between_its_bounds_and_a_quarter_more(attempt: int, key: str) -> None:
    wait = backoff(attempt, first=SECOND, most=HOUR, key=key)
    assert SECOND <= wait <= HOUR


def test_a_backoff_doubles() -> None:
    waits = [backoff(attempt, first=SECOND, most=DAY, key="k") for attempt in range(1, 12)]
    for one, other in itertools.pairwise(waits):
        assert 1.6 <= other / one <= 2.5


@given(INTERVALS, st.integers(1, 99), ASKED, st.text())
def test_a_failing_feed_is_checked_no_sooner_than_asked_and_once_a_day_at_least(
    interval: timedelta, failures: int, asked: timedelta | None, key: str
) -> None:
    wait = next_try(NOW, interval, key=key, failures=failures, retry_after=asked) - NOW
    assert interval <= wait <= max(interval, DAY)
    assert asked is None or wait >= min(asked, DAY)


@given(POLL_INTERVALS, st.timedeltas(-DAY, 4000 * DAY), ASKED, st.text())
def test_a_poll_is_never_sooner_than_the_interval_and_every_six_hours_at_least(
    interval: timedelta, age: timedelta, asked: timedelta | None, key: str
) -> None:
    wait = next_poll(NOW, NOW - age, interval, key=key, retry_after=asked) - NOW
    assert interval <= wait <= max(interval, 6 * HOUR)


@given(INTERVALS, ASKED, ASKED, st.integers(0, 2**24 - 1), st.integers(0, 127), st.text(min_size=1))
def test_hints_lengthen_no_interval_beyond_a_day_and_skips_add_another_at_most(
    interval: timedelta,
    ttl: timedelta | None,
    max_age: timedelta | None,
    hours: int,
    days: int,
    name: str,
) -> None:
    def due(**hints: Any) -> timedelta:
        feed = Feed(name=name, url="https://h.example/", **hints)
        after = checked(feed, NotModified(http_max_age=max_age), None, NOW, interval)
        assert after.due_at is not None
        return after.due_at - NOW

    plain = jittered(interval, name)
    assert interval <= plain <= 1.25 * interval
    wait = due(feed_ttl=int(ttl.total_seconds()) if ttl else None)
    assert plain <= wait <= max(plain, DAY)
    assert wait == plain or wait <= 1.25 * 4 * interval
    put_off = due(feed_ttl=None, skip_hours=hours, skip_days=days)
    assert put_off <= min(max(plain, DAY) + DAY, horizon(interval))


def test_polls_become_rarer_with_age() -> None:
    waits = [next_poll(NOW, NOW - hours * HOUR, MINUTE, key="1") - NOW for hours in (0, 5, 50, 500)]
    assert waits == sorted(waits)
    assert waits[1] >= 15 * MINUTE


def test_keys_are_spread_evenly() -> None:
    places = sorted(fraction(f"feed-{number}") for number in range(10_000))
    for tenth in range(10):
        share = sum(tenth / 10 <= place < (tenth + 1) / 10 for place in places)
        assert 900 < share < 1100


@given(st.text())
def test_no_dice_are_thrown(key: str) -> None:
    assert jittered(HOUR, key) == jittered(HOUR, key)
    assert 0 <= fraction(key) < 1


# Hints


@given(INTERVALS, ASKED, ASKED)
def test_hints_lengthen_an_interval_within_bounds(
    interval: timedelta, one: timedelta | None, other: timedelta | None
) -> None:
    wait = lengthened(interval, one, other)
    assert interval <= wait <= max(interval, min(4 * interval, DAY))


@pytest.mark.parametrize(
    ("interval", "hints", "wait"),
    [
        (15 * MINUTE, (), 15 * MINUTE),
        (15 * MINUTE, (None, None), 15 * MINUTE),
        (15 * MINUTE, (5 * MINUTE,), 15 * MINUTE),
        (15 * MINUTE, (30 * MINUTE, 40 * MINUTE), 40 * MINUTE),
        (15 * MINUTE, (7 * DAY,), HOUR),
        (12 * HOUR, (7 * DAY,), DAY),
        (2 * DAY, (7 * DAY,), 2 * DAY),
    ],
)
def test_the_longest_hint_counts_up_to_four_intervals_and_a_day(
    interval: timedelta, hints: tuple[timedelta | None, ...], wait: timedelta
) -> None:
    assert lengthened(interval, *hints) == wait


def skipped(
    due_at: datetime, hours: Sequence[int] = (), days: Sequence[int] = (), most: timedelta = DAY
) -> datetime:
    hour_bits, day_bits = (sum(1 << one for one in set(some)) for some in (hours, days))
    return past_skips(due_at, hour_bits, day_bits, at_most=most, key="k")


SATURDAY, SUNDAY = 5, 6
SPREAD = HOUR / 4


@pytest.mark.parametrize(
    ("hours", "days", "end"),
    [
        ([11, 13], [SUNDAY], None),
        (range(24), range(7), None),
        ([12], [], NOW + HOUR),
        ([12, 13, 14, 16], [], NOW + 3 * HOUR),
        ([*range(12, 24), 0, 1], [], NOW + 14 * HOUR),
        ([], [SATURDAY], NOW + 12 * HOUR),
        ([0, 1], [SATURDAY], NOW + 14 * HOUR),
        (range(24), [SATURDAY], NOW + 12 * HOUR),
    ],
)
def test_what_falls_into_a_skipped_time_comes_at_its_end(
    hours: Sequence[int], days: Sequence[int], end: datetime | None
) -> None:
    due_at = skipped(NOW + 20 * MINUTE, hours, days)
    if end is None:
        assert due_at == NOW + 20 * MINUTE
    else:
        assert end <= due_at < end + SPREAD


def test_a_whole_weekend_is_skipped_by_a_day_at_most() -> None:
    assert skipped(NOW, [], [SATURDAY, SUNDAY]) == NOW + DAY
    assert skipped(NOW, [], [SATURDAY, SUNDAY], 2 * DAY) >= NOW + 1.5 * DAY


@given(st.datetimes(timezones=st.just(UTC)), st.integers(0, 2**24 - 1), st.integers(0, 127))
def test_a_skip_never_hastens_and_is_bounded(due_at: datetime, hours: int, days: int) -> None:
    if due_at.year < 9999:
        assert due_at <= past_skips(due_at, hours, days, at_most=DAY, key="k") <= due_at + DAY


# Rhythm


def every(*gaps: float) -> list[datetime]:
    """Dates up to now, this many days apart."""
    return [NOW - days * DAY for days in itertools.accumulate([0, *reversed(gaps)])]


@pytest.mark.parametrize(
    ("gaps", "patience"),
    [
        ([], None),
        ([7, 7, 7], None),
        ([7] * 4, 21),
        ([7] * 30, 21),
        ([1] * 30, 3),
        ([0.25] * 70, 3),
        ([1, 1, 1, 1, 3] * 4, 9),  # weekdays
        ([7] * 9 + [180] + [7] * 9, 270),  # two seasons
        ([0.01] * 50, None),  # all at once
        ([0.01, 0.01, 30] * 20, 90),  # three at once, monthly
        ([200] * 10, 366),
    ],
)
def test_silence_is_measured_by_a_feeds_own_rhythm(
    gaps: list[float], patience: float | None
) -> None:
    until = expected_by(every(*gaps), NOW)
    assert until == (None if patience is None else NOW + patience * DAY)


def test_the_order_of_dates_and_those_to_come_do_not_matter() -> None:
    dates = every(*[7] * 9)
    assert expected_by([NOW + 900 * DAY, *reversed(dates)], NOW) == expected_by(dates, NOW)
