"""What servers and publishers get to see of us over days, and what we say of them: a whole process.

Real HTTP, a real database, a clock that the test moves.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feedwatch.core.feed import Feed
from tests.support import item, rss
from tests.world import World, world

MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("minutes", "hours", "days"))


@pytest.fixture
def one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[World]:
    caplog.set_level(logging.INFO)
    with world(tmp_path / "feedwatch.db") as one:
        yield one


def show(one: World) -> Feed:
    (feed,) = one.store.feeds.all()
    return feed


def wait(one: World) -> timedelta:
    """Between now and the next check."""
    due_at = show(one).due_at
    assert due_at is not None
    return due_at - one.now


def until_due(one: World) -> None:
    one.now += wait(one)


def conditions(one: World) -> set[str]:
    """The conditions of the last request."""
    return set(one.feeds.seen[-1][1]) & {"if-none-match", "if-modified-since"}


def with_head(head: str, *items: str | int) -> bytes:
    return rss(*(items or (1,))).replace(b"<title>A show</title>", head.encode(), 1)


# When


def test_without_hints_the_configs_interval_holds(one: World) -> None:
    one.feeds.publish(1)
    one.check()
    assert 15 * MINUTE <= wait(one) < 19 * MINUTE


@pytest.mark.parametrize(
    ("headers", "head", "at_least"),
    [
        ({"Cache-Control": "max-age=1800"}, "<ttl>20</ttl>", 30 * MINUTE),
        (
            {},
            "<skipHours><hour>12</hour></skipHours><skipDays><day>Saturday</day></skipDays>",
            DAY / 2,
        ),
    ],
)
def test_hints_lengthen_the_interval(
    one: World, headers: dict[str, str], head: str, at_least: timedelta
) -> None:
    one.feeds.answer(body=with_head(head), headers=headers)
    one.check()
    assert at_least <= wait(one) <= at_least * 1.25


def test_an_unchanged_feed_keeps_its_documents_hints(one: World) -> None:
    one.feeds.serve(with_head("<ttl>40</ttl>"))
    one.check()
    for _ in range(3):
        until_due(one)
        one.check()
        assert conditions(one) == {"if-none-match"}
        assert wait(one) >= 40 * MINUTE
    one.feeds.publish(1, 2)
    until_due(one)
    one.check()
    assert wait(one) < 19 * MINUTE


def test_an_answer_of_unchanged_may_say_anew_how_long_it_holds(one: World) -> None:
    one.feeds.publish(1)
    one.check()
    one.feeds.answer(304, headers={"Cache-Control": "max-age=3000"})
    until_due(one)
    one.check()
    assert show(one).error is None
    assert wait(one) >= 50 * MINUTE


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_for_a_wait_is_given_it(one: World, status: int) -> None:
    one.feeds.answer(status, headers={"Retry-After": "7200"})
    one.check()
    assert wait(one) == 2 * HOUR
    one.feeds.answer(status, headers={"Retry-After": "99999999"})
    until_due(one)
    one.check()
    assert wait(one) == DAY


def test_an_answer_of_unchanged_that_says_nothing_leaves_it_at_what_was_said(one: World) -> None:
    one.feeds.answer(body=rss(1), headers={"Cache-Control": "max-age=3000"})
    for _ in range(2):
        one.check()
        assert wait(one) >= 50 * MINUTE
        until_due(one)
    assert conditions(one) == {"if-none-match"}


# Only what has changed


def test_a_weak_validator_is_sent_back_as_it_came(one: World) -> None:
    one.feeds.answer(body=rss(1), headers={"ETag": 'W/"1"'})
    one.check()
    until_due(one)
    one.check()
    assert one.feeds.seen[-1][1]["if-none-match"] == 'W/"1"'


def test_a_date_alone_is_a_validator_and_is_sent_back_as_it_came(one: World) -> None:
    one.feeds.etags = False
    one.feeds.answer(body=rss(1), headers={"Last-Modified": "Sat Nov 21 2026, noon"})
    one.check()
    until_due(one)
    one.check()
    assert one.feeds.seen[-1][1]["if-modified-since"] == "Sat Nov 21 2026, noon"


def test_without_validators_the_request_has_no_conditions(one: World) -> None:
    one.feeds.etags = False
    one.feeds.publish(1)
    for _ in range(2):
        one.check()
        until_due(one)
        assert conditions(one) == set()
    assert show(one).error is None


def test_validators_that_have_gone_are_forgotten(one: World) -> None:
    one.feeds.publish(1)
    one.check()
    one.feeds.etags = False
    one.feeds.publish(1, 2)
    for _ in range(2):
        until_due(one)
        one.check()
    assert conditions(one) == set()


def test_a_server_that_says_unchanged_though_it_is_not_is_found_out_within_a_day(
    one: World,
) -> None:
    one.sources = [replace(one.sources[0], check_interval=4 * HOUR)]
    one.restart()
    one.feeds.publish(1)
    one.check()
    one.feeds.answer(304)
    begun = one.now
    while show(one).error is None:
        until_due(one)
        one.check()
        assert one.now - begun < DAY + 5 * HOUR
    assert conditions(one) == set()
    one.feeds.publish(1, 2)
    until_due(one)
    one.check()
    assert len(one.store.episodes.find()) == 2


# Trouble


@pytest.mark.parametrize(
    "answer",
    [
        (410, b""),
        (500, b""),
        (200, b"<html><head><title>Parked</title></head><body>Buy this domain</body></html>"),
        (200, rss()),
    ],
)
def test_trouble_is_told_once_slows_down_to_a_day_and_its_end_is_told(
    one: World, caplog: pytest.LogCaptureFixture, answer: tuple[int, bytes]
) -> None:
    one.feeds.publish(1)
    one.check()
    caplog.clear()
    status, body = answer
    one.feeds.answer(status, body)
    waits = []
    for _ in range(8):
        until_due(one)
        one.check()
        waits.append(wait(one))
        assert conditions(one) == set() or len(waits) == 1
    assert [
        re.split("; (?:tried|looked at) again at ", text)[0]
        for text in caplog.messages
        if "feed show" in text
    ] == [f"feed show: {show(one).error}"]
    assert waits[-1] >= DAY
    assert max(waits) <= DAY
    if status == 410:
        assert waits[0] >= DAY
    else:
        assert waits[0] < HOUR
        assert waits[3] > 2 * waits[1]
    one.feeds.publish(1, 2)
    until_due(one)
    one.check()
    assert show(one).error is None
    assert wait(one) < 19 * MINUTE
    assert sum("works again" in text for text in caplog.messages) == 1
    assert len(one.store.episodes.find()) == 2


# Silence


def weekly(one: World, *weeks_ago: int) -> list[str]:
    return [item(50 - week, when=one.now - week * 7 * DAY) for week in weeks_ago]


def test_a_feed_that_falls_silent_is_told_once_and_so_is_the_end_of_it(
    one: World, caplog: pytest.LogCaptureFixture
) -> None:
    one.now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    weeks = weekly(one, *range(8))
    one.feeds.publish(*weeks)
    one.check()
    assert show(one).expected_by == one.now + 21 * DAY

    def silences() -> int:
        return sum("nothing new has come" in text for text in caplog.messages)

    for _ in range(4):
        one.later(days=5)
        one.check()
    assert (silences(), show(one).silent_since) == (0, None)
    for _ in range(4):
        one.later(days=2)
        one.check()
    assert silences() == 1
    assert show(one).silent_since == datetime(2026, 12, 13, 12, tzinfo=UTC)
    assert show(one).error is None

    one.feeds.publish(item(60, when=one.now), *weeks)
    one.later(days=1)
    one.check()
    assert sum("brings episodes again" in text for text in caplog.messages) == 1
    feed = show(one)
    assert feed.silent_since is None
    assert feed.expected_by is not None
    assert feed.expected_by > one.now + 21 * DAY


def test_a_feed_that_was_silent_before_we_knew_it_is_told_at_once(
    one: World, caplog: pytest.LogCaptureFixture
) -> None:
    one.feeds.publish(*weekly(one, *range(52, 60)))
    one.check()
    assert show(one).silent_since == one.now
    assert sum("nothing new has come" in text for text in caplog.messages) == 1


def test_a_feed_with_few_episodes_has_no_rhythm_to_fall_out_of(one: World) -> None:
    one.feeds.publish(*weekly(one, 1, 2, 3, 4))
    one.check()
    one.later(days=400)
    one.check()
    assert (show(one).expected_by, show(one).silent_since) == (None, None)


def test_a_feed_that_is_known_from_a_version_without_rhythms_gets_one(one: World) -> None:
    one.feeds.publish(*weekly(one, *range(52, 60)))
    one.check()
    rhythm = show(one).expected_by
    forgotten = replace(show(one), expected_by=None, silent_since=None, last_full_fetch_at=None)
    one.store.checks.record(replace(forgotten, body_hash=None), [], {}, one.now)
    one.later(hours=1)
    one.check()
    assert (show(one).expected_by, show(one).silent_since) == (rhythm, one.now)
