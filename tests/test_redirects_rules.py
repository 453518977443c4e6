"""Where a feed is asked for: pure rules, then a whole process with a clock that the test moves."""

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feedwatch.core import redirects
from feedwatch.core.feed import Address, Feed, UrlChange
from feedwatch.net.address_scope import Scope
from tests.support import FeedServer
from tests.world import World, world

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HOME, NEW = "https://old.example/feed", "https://new.example/feed"
FEED = Feed(name="show", url=HOME)
MOVED = Address(url=NEW, scope=Scope.PUBLIC)


def observed(feed: Feed, *days: float, to: Address | None = MOVED) -> Feed:
    for day in days:
        feed = redirects.observed(feed, to, NOW + day * DAY)
    return feed


@pytest.mark.parametrize("days", [(0,), (0, 3), (0, 1, 2), (0, 0.1, 0.2, 0.3, 2.9)])
def test_a_move_is_not_believed_too_early(days: tuple[float, ...]) -> None:
    assert redirects.address_of(observed(FEED, *days)) is None


@pytest.mark.parametrize("days", [(0, 1, 3), (0, 2.9, 3), (0, 1, 2, 3), (0, 9, 10)])
def test_a_move_is_believed_after_three_checks_and_three_days(days: tuple[float, ...]) -> None:
    feed = observed(FEED, *days)
    assert redirects.address_of(feed) == MOVED
    assert (feed.url, feed.moved_to) == (HOME, None)
    assert redirects.url_change(FEED, feed, NOW) == UrlChange(
        at=NOW, url=HOME, reason=f"moved for good to {NEW}"
    )


@pytest.mark.parametrize("other", [None, Address(url="https://third.example/", scope=0)])
def test_an_answer_from_elsewhere_begins_the_count_anew(other: Address | None) -> None:
    between = observed(observed(FEED, 0, 1), 2, to=other)
    assert redirects.address_of(observed(between, 3, 4)) is None
    assert redirects.address_of(observed(between, 3, 4, 6)) == MOVED


def test_a_clock_that_was_set_back_begins_the_count_anew() -> None:
    assert observed(FEED, 9, 0).moved_seen == 1


def test_failures_in_between_do_not_begin_it_anew() -> None:
    seen = observed(FEED, 0, 1)
    failed = redirects.failed(replace(seen, failures=1))
    assert redirects.address_of(observed(failed, 3)) == MOVED


def test_a_new_address_is_given_up_after_three_failures_in_a_row() -> None:
    at_new = replace(observed(FEED, 0, 1, 3), etag='"e"', last_full_fetch_at=NOW)
    assert redirects.failed(replace(at_new, failures=2)).moved_url == NEW
    given_up = redirects.failed(replace(at_new, failures=3))
    assert (given_up.moved_url, given_up.etag, given_up.last_full_fetch_at) == (None, None, None)
    left = redirects.url_change(at_new, given_up, NOW)
    assert left is not None
    assert (left.url, "3 failures" in left.reason) == (NEW, True)


def test_the_configs_address_is_never_given_up() -> None:
    feed = replace(FEED, failures=99)
    assert redirects.failed(feed) == feed


def test_a_feed_may_move_on_and_back() -> None:
    third = Address(url="https://third.example/", scope=0)
    at_new = observed(FEED, 0, 1, 3)
    assert redirects.address_of(observed(at_new, 4, 5, 7, to=third)) == third
    back = observed(at_new, 4, 5, 7, to=Address(url=HOME, scope=0))
    assert redirects.address_of(back) is None
    assert redirects.url_change(at_new, back, NOW) is not None


# A whole process


def redirect(feeds: FeedServer, status: int = 301) -> None:
    feeds.answer(status=status, headers={"Location": "/new.xml"})


def check_daily(one: World, days: int) -> None:
    for _ in range(days):
        one.check()
        one.later(days=1, hours=8)


def test_a_feed_that_has_moved_is_asked_for_at_its_new_address(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with world(tmp_path / "f.db") as one:
        new = one.feeds.url_of("/new.xml")
        redirect(one.feeds)
        one.feeds.publish(1, path="/new.xml")
        check_daily(one, 6)
        assert one.feeds.count() == 4
        assert one.feeds.count("/new.xml") == 6
        (feed,) = one.store.feeds.all()
        assert (feed.url, feed.moved_url) == (one.feeds.url, new)
        ((left,),) = one.store.feeds.url_changes().values()
        assert left.url == one.feeds.url
        (line,) = [text for text in caplog.messages if "moved for good" in text]
        assert f"{new} from now on; set FEEDWATCH_FEEDS__SHOW__URL" in line
        assert len(one.store.episodes.find()) == 1

        one.feeds.answer(404, path="/new.xml")
        one.feeds.publish(1, 2)
        check_daily(one, 5)
        (feed,) = one.store.feeds.all()
        assert (feed.moved_url, feed.failures) == (None, 0)
        assert len(one.store.feeds.url_changes()["show"]) == 2
        assert sum("no more at the URL" in text for text in caplog.messages) == 1
        assert len(one.store.episodes.find()) == 2


def test_a_temporary_redirect_changes_nothing(tmp_path: Path) -> None:
    with world(tmp_path / "f.db") as one:
        redirect(one.feeds, 302)
        one.feeds.publish(1, path="/new.xml")
        check_daily(one, 5)
        assert one.feeds.count() == 5
        assert one.store.feeds.all()[0].moved_to is None


def test_what_is_no_feed_is_no_new_address(tmp_path: Path) -> None:
    with world(tmp_path / "f.db") as one:
        redirect(one.feeds)
        one.feeds.serve(b"<html><body>sold</body></html>", path="/new.xml")
        check_daily(one, 5)
        assert one.store.feeds.all()[0].moved_to is None


def test_another_address_in_the_config_ends_what_was_learned_of_the_old_one(
    tmp_path: Path,
) -> None:
    with world(tmp_path / "f.db") as one:
        redirect(one.feeds)
        one.feeds.publish(1, path="/new.xml")
        one.feeds.publish(1, path="/third.xml")
        check_daily(one, 5)
        new = one.feeds.url_of("/new.xml")
        assert one.store.feeds.all()[0].moved_url == new
        one.sources = [one.source("show", "/third.xml")]
        one.restart()
        one.check()
        assert one.feeds.count("/third.xml") == 1
        assert one.store.feeds.all()[0].moved_url is None
        assert [left.url for left in one.store.feeds.url_changes()["show"]] == [one.feeds.url, new]
