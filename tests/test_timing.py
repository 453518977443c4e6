"""When to act next."""

import itertools
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from feedwatch.timing import backoff, fraction, horizon, jittered, next_check, next_poll

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (
    timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days")
)
INTERVALS = st.timedeltas(SECOND, 30 * DAY)
ASKED = st.none() | st.timedeltas(timedelta(), 400 * DAY)


@given(st.integers(0, 10**9), st.text())
def test_a_backoff_lies_between_its_bounds_and_a_quarter_more(attempt: int, key: str) -> None:
    wait = backoff(attempt, first=SECOND, most=HOUR, key=key)
    assert SECOND <= wait <= 1.25 * HOUR


def test_a_backoff_doubles() -> None:
    waits = [backoff(attempt, first=SECOND, most=DAY, key="k") for attempt in range(1, 12)]
    for one, other in itertools.pairwise(waits):
        assert 1.6 <= other / one <= 2.5


@given(INTERVALS, st.integers(0, 99), ASKED, st.text())
def test_a_check_is_never_sooner_than_the_interval_nor_past_the_horizon(
    interval: timedelta, failures: int, asked: timedelta | None, key: str
) -> None:
    wait = next_check(NOW, interval, key=key, failures=failures, asked=asked) - NOW
    assert interval <= wait <= horizon(interval)
    assert asked is None or wait >= min(asked, DAY)


@given(INTERVALS, st.timedeltas(-DAY, 400 * DAY), ASKED)
def test_a_poll_is_never_sooner_than_the_interval_and_comes_in_the_end(
    interval: timedelta, age: timedelta, asked: timedelta | None
) -> None:
    wait = next_poll(NOW, NOW - age, interval, key="1", asked=asked) - NOW
    assert interval <= wait <= max(1.25 * interval, 7.5 * HOUR)


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
