"""`refresh`: feeds are due now, and a running daemon checks them."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from feedwatch.watcher.check_requests import request_checks
from tests.support import FeedServer, Feedwatch, Workspace
from tests.world import world


@pytest.fixture
def at_once() -> Iterator[None]:
    """A feed may be checked as often as it is said to have changed."""
    with pytest.MonkeyPatch.context() as patch:
        place = "feedwatch.watcher.check_requests.CHECK_AT_MOST_EVERY"
        patch.setattr(place, timedelta())
        yield


def next_checks(feedwatch: Feedwatch) -> dict[str, str]:
    return {one["name"]: one["next_check_at"] for one in feedwatch.json("feeds")}


@pytest.fixture
def two_feeds(feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace) -> Feedwatch:
    """Feeds `show` and `other`, checked just now and due in an hour or later."""
    feed_server.publish(11, path="/other.xml")
    workspace.set(CHECK_INTERVAL="1h")
    workspace.add_feed("other", feed_server.url_of("/other.xml"))
    assert feedwatch.once().status == 0
    return feedwatch


@pytest.mark.usefixtures("at_once")
def test_the_named_feed_is_due_now_and_no_other(two_feeds: Feedwatch) -> None:
    before = next_checks(two_feeds)
    ended = two_feeds.here("refresh", "SHOW", "show")
    assert ended.status == 0
    assert [line.split() for line in ended.stdout.splitlines()[1:]] == [["show", "now"]]
    after = next_checks(two_feeds)
    assert after["show"] < before["show"]
    assert after["other"] == before["other"]


@pytest.mark.usefixtures("at_once")
def test_without_a_name_every_feed_is_due(two_feeds: Feedwatch) -> None:
    before = next_checks(two_feeds)
    ended = two_feeds.here("refresh")
    assert [line.split() for line in ended.stdout.splitlines()[1:]] == [
        ["other", "now"],
        ["show", "now"],
    ]
    assert all(at < before[name] for name, at in next_checks(two_feeds).items())


def test_a_feed_that_was_checked_just_now_is_due_a_minute_later(two_feeds: Feedwatch) -> None:
    before = next_checks(two_feeds)
    ended = two_feeds.here("refresh", "show")
    words = ended.stdout.splitlines()[1].split()
    assert words[:2] == ["show", "in"]
    assert 0 < int(words[2]) <= 60
    assert next_checks(two_feeds)["show"] < before["show"]


def test_where_no_daemon_runs_that_is_said(two_feeds: Feedwatch) -> None:
    ended = two_feeds.here("refresh")
    assert (ended.status, ended.stderr.count("the next `feedwatch run`")) == (0, 1)


def test_a_pause_is_said_since_nothing_is_submitted_then(two_feeds: Feedwatch) -> None:
    two_feeds.here("pause", "--feed", "show")
    assert "feed show: nothing is submitted" in two_feeds.here("refresh", "show").stderr
    assert "nothing is submitted" not in two_feeds.here("refresh", "other").stderr


def test_an_unknown_feed_is_wrong_usage_and_nothing_is_made_due(two_feeds: Feedwatch) -> None:
    before = next_checks(two_feeds)
    ended = two_feeds.here("refresh", "show", "nosuch")
    assert ended.status == 2
    assert "nosuch" in ended.stderr
    assert next_checks(two_feeds) == before


def test_a_feed_that_no_daemon_has_read_is_told_and_the_others_are_due(
    two_feeds: Feedwatch, feed_server: FeedServer, workspace: Workspace
) -> None:
    workspace.add_feed("third", feed_server.url_of("/third.xml"))
    ended = two_feeds.here("refresh")
    assert ended.status == 3
    assert "third  never: no daemon has read it" in ended.stdout
    assert "reload" in ended.stderr
    assert two_feeds.here("refresh", "third").status == 1


def test_a_feed_that_the_config_lacks_is_told(two_feeds: Feedwatch, workspace: Workspace) -> None:
    for key in ("URL", "PODCAST_ID"):
        workspace.set(**{f"FEEDS__OTHER__{key}": None})
    ended = two_feeds.here("refresh", "other", "show")
    assert ended.status == 3
    assert "other  never: the config does not have it any more" in ended.stdout
    assert "reload" not in ended.stderr


def test_without_a_feed_in_the_config_there_is_nothing_to_do(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    for key in ("URL", "PODCAST_ID", "FIRST_RUN"):
        workspace.set(**{f"FEEDS__SHOW__{key}": None})
    ended = feedwatch.here("refresh")
    assert (ended.status, ended.stdout) == (1, "")
    assert "no feed is configured" in ended.stderr


def test_before_the_first_run_there_is_no_daemon_and_no_database(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    ended = feedwatch.here("refresh")
    assert ended.status == 1
    assert "not running" in ended.stderr
    assert not workspace.database.exists()


@pytest.mark.usefixtures("at_once")
def test_a_running_daemon_checks_the_feed_at_once(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace
) -> None:
    workspace.set(CHECK_INTERVAL="6h")
    daemon = feedwatch.start("run")
    daemon.until(lambda: feed_server.count() == 1, "the first check")
    daemon.until(lambda: feedwatch.json("feeds")[0]["last_success_at"], "its end")
    ended = feedwatch.here("refresh")
    assert (ended.status, ended.stderr) == (0, "")
    daemon.until(lambda: feed_server.count() == 2, "the second check")
    assert daemon.stop().status == 0


def test_what_is_published_is_found_by_the_check_that_was_asked_for(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with world(tmp_path_factory.mktemp("world") / "feedwatch.db") as one:
        one.feeds.publish(1)
        one.check()
        one.feeds.publish(1, 2)
        one.later(minutes=2)
        one.check()
        assert list(one.states()) == ["guid-1"]
        assert request_checks(one.store, ["show", "none"], one.now) == {"show": one.now}
        one.check()
        assert set(one.states()) == {"guid-1", "guid-2"}
