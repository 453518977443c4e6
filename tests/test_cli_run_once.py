"""`run --once`: what is submitted, how often, what is waited for, and how it ends."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from feedwatch import __version__
from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.server import Sandbox
from tests.support import (
    MORE_PODCASTS,
    Beside,
    FeedServer,
    Feedwatch,
    Workspace,
    audio,
    item,
    wait_for,
)


def urls(sandbox: Sandbox) -> list[Any]:
    return [body["url"] for body in sandbox.taken]


# What a new feed's items become


def test_first_run_says_which_old_items_are_submitted_and_the_rest_is_skipped_with_a_reason(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace, sandbox: Sandbox
) -> None:
    policies = {
        "none": [],
        "latest:1": [4],
        "latest:2": [3, 4],
        "since:2026-01-04": [3, 4],  # episode 3 was published on 4 January
        "all": [1, 2, 3, 4],
    }
    for place, policy in enumerate(policies):
        path = f"/{place}.xml"
        feed_server.publish(2, 4, 1, 3, path=path)
        podcast = MORE_PODCASTS[place]  # what one of them pays for, the others need not
        workspace.add_feed(f"feed{place}", feed_server.url_of(path), podcast, FIRST_RUN=policy)
    assert feedwatch.once().status == 0
    for place, wanted in enumerate(policies.values()):
        for episode in feedwatch.json("episodes", "--feed", f"feed{place}"):
            number = int(episode["guid"].removeprefix("guid-"))
            assert episode["state"] == ("ready" if number in wanted else "skipped")
            assert number in wanted or "first run" in episode["reason"]
    expected = [audio(number) for wanted in policies.values() for number in wanted]
    assert sorted(urls(sandbox)) == sorted([*expected, audio(1)])  # the latter of the feed `show`


def test_first_run_is_none_if_nothing_is_said(
    feedwatch: Feedwatch, workspace: Workspace, sandbox: Sandbox
) -> None:
    workspace.set(FEEDS__SHOW__FIRST_RUN=None)
    assert feedwatch.once().status == 0
    assert sandbox.submissions == []
    assert feedwatch.states() == {"guid-1": "skipped"}


def test_first_run_may_be_said_for_all_feeds_and_otherwise_for_one(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace, sandbox: Sandbox
) -> None:
    feed_server.publish(11, 12, path="/other.xml")
    workspace.set(FIRST_RUN="latest:1", FEEDS__SHOW__FIRST_RUN="none")
    workspace.add_feed("other", feed_server.url_of("/other.xml"))
    assert feedwatch.once().status == 0
    assert urls(sandbox) == [audio(12)]


# What is sent


def test_a_new_episode_is_submitted_once_as_the_contract_wants_it_and_is_ready_in_the_end(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace, sandbox: Sandbox
) -> None:
    feed_server.publish(
        item(
            7,
            title="Salt & Pepper",
            url="https://media.example.org/7.mp3?a=1&b=2",
            when=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
            description='<p>See <a href="https://example.org/n">the notes</a>.</p><p>Bye &amp; '
            "hello</p>",
        )
    )
    workspace.set(
        FEEDS__SHOW__AD_OPTIONS='{"preRoll": {"adCount": 1}}',
        FEEDS__SHOW__AD_OPTIONS__AUTOMATED_MID_ROLLS__AD_COUNT=2,
        FEEDS__SHOW__AD_OPTIONS__AUTOMATED_MID_ROLLS__ADS_PER_HOUR=3,
    )
    assert feedwatch.once().status == 0
    (body,) = sandbox.taken
    description = body.pop("description")
    assert body == {
        "url": "https://media.example.org/7.mp3?a=1&b=2",
        "name": "Salt & Pepper",
        "publishedDate": "2026-03-04T05:06:07.000Z",
        "adOptions": {
            "preRoll": {"adCount": 1},
            "automatedMidRolls": {"adCount": 2, "adsPerHour": 3},
        },
    }
    assert "<" not in description
    assert "https://example.org/n" in description
    assert "Bye & hello" in description
    (media_id,) = sandbox.jobs
    episode = feedwatch.episode("guid-7")
    assert (episode["state"], episode["media_id"]) == ("ready", media_id)
    assert episode["processed_url"] == sandbox.jobs[media_id]["url"]


def test_what_the_feed_does_not_say_is_not_sent(
    feedwatch: Feedwatch, feed_server: FeedServer, sandbox: Sandbox
) -> None:
    enclosure = f'<enclosure url="{audio(1)}" length="1" type="audio/mpeg"/>'
    feed_server.publish(f"<item><title>Bare</title>{enclosure}</item>")
    assert feedwatch.once().status == 0
    assert sandbox.taken == [{"url": audio(1), "name": "Bare"}]


def test_each_feed_submits_to_its_own_podcast(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace, sandbox: Sandbox
) -> None:
    feed_server.publish(2, path="/other.xml")
    workspace.add_feed("other", feed_server.url_of("/other.xml"), "podcast-2", FIRST_RUN="all")
    assert feedwatch.once().status == 0
    sent = {receipt.podcast_id: receipt.body for receipt in sandbox.submissions}
    assert {podcast: body["url"] for podcast, body in sent.items() if isinstance(body, dict)} == {
        "podcast-1": audio(1),
        "podcast-2": audio(2),
    }


# Again


def test_a_second_run_submits_nothing_even_if_the_server_ignores_conditions(
    feedwatch: Feedwatch, feed_server: FeedServer, sandbox: Sandbox
) -> None:
    assert feedwatch.once().status == 0
    assert feedwatch.once().status == 0
    feed_server.etags = False
    assert feedwatch.once().status == 0
    assert feed_server.count() == 3
    assert len(sandbox.submissions) == 1


def test_an_unchanged_feed_is_asked_for_with_its_etag(
    feedwatch: Feedwatch, feed_server: FeedServer
) -> None:
    assert feedwatch.once().status == 0
    assert feedwatch.once().status == 0
    (_, first), (_, second) = feed_server.seen
    assert "if-none-match" not in first
    assert "if-none-match" in second


def test_a_known_episode_in_new_clothes_is_not_submitted(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace, sandbox: Sandbox
) -> None:
    clothes = {
        "guid": item(1, guid="another"),
        "text": item(1, title="A better title", description="And more about it."),
        "scheme": item(1, url=audio(1).replace("https:", "http:")),
        "audio": item(1, url="https://media.example.org/another.mp3"),
        "twin": item(1) + item(1, guid="twin"),
    }
    for podcast, name in zip(MORE_PODCASTS, clothes, strict=False):
        feed_server.publish(1, path=f"/{name}.xml")
        workspace.add_feed(name, feed_server.url_of(f"/{name}.xml"), podcast, FIRST_RUN="all")
    assert feedwatch.once().status == 0
    assert len(sandbox.submissions) == 6
    for name, again in clothes.items():
        feed_server.publish(again, path=f"/{name}.xml")
    feedwatch.once()
    assert len(sandbox.submissions) == 6


def test_only_what_is_new_is_submitted_the_next_time(
    feedwatch: Feedwatch, feed_server: FeedServer, sandbox: Sandbox
) -> None:
    assert feedwatch.once().status == 0
    feed_server.publish(3, 2, 1)
    assert feedwatch.once().status == 0
    assert urls(sandbox) == [audio(1), audio(2), audio(3)]


def test_the_log_begins_with_the_version_as_that_of_the_daemon_does(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    ended = feedwatch.once("--timeout", "0")
    place = f"config {workspace.config}, database sqlite:///{workspace.database}"
    assert f"feedwatch {__version__} is watching 1 feed once; {place}" in ended.stderr

    def ready(daemon: Beside) -> None:
        daemon.until(lambda: "ready after" in daemon.stderr, "it is ready")

    ended = feedwatch.while_it_runs(["run"], ready)
    assert f"feedwatch {__version__} is watching 1 feed; {place}" in ended.stderr


# Waiting


def test_timeout_0_does_not_wait_and_the_next_run_polls_what_was_accepted(
    feedwatch: Feedwatch, sandbox: Sandbox
) -> None:
    assert feedwatch.once("--timeout", 0).status == 0
    episode = feedwatch.episode()
    assert episode["state"] == "processing"
    assert list(sandbox.jobs) == [episode["media_id"]]
    assert sandbox.polls == {}
    assert feedwatch.once().status == 0
    assert feedwatch.episode()["state"] == "ready"
    assert len(sandbox.submissions) == 1


def test_timeout_ends_the_wait_for_a_job_that_takes_too_long(
    feedwatch: Feedwatch, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(on="submit", kind="job_status", statuses=["PUBLISHING"]))

    def status() -> Any:  # a poll may not come into one pass on a busy machine
        assert feedwatch.once("--timeout", 0.5).status == 0
        assert feedwatch.episode()["state"] == "processing"
        return feedwatch.episode()["remote_status"]

    assert wait_for(status) == "PUBLISHING"


# Limits


def test_more_new_items_than_the_flood_limit_are_all_held(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace, sandbox: Sandbox
) -> None:
    workspace.set(FLOOD_LIMIT=2)
    assert feedwatch.once().status == 0
    feed_server.publish(1, 2, 3, 4)
    assert feedwatch.once().status == 4
    assert feedwatch.states() == {
        "guid-1": "ready",
        "guid-2": "held",
        "guid-3": "held",
        "guid-4": "held",
    }
    assert "3" in feedwatch.episode("guid-2")["reason"]
    assert len(sandbox.submissions) == 1


def test_as_many_new_items_as_the_flood_limit_are_submitted(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace, sandbox: Sandbox
) -> None:
    workspace.set(FLOOD_LIMIT=2)
    assert feedwatch.once().status == 0
    feed_server.publish(1, 2, 3)
    assert feedwatch.once().status == 0
    assert len(sandbox.submissions) == 3


def test_the_daily_limit_lets_the_oldest_go_and_the_surplus_wait(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace, sandbox: Sandbox
) -> None:
    feed_server.publish(3, 2, 1)
    workspace.set(MAX_SUBMISSIONS_PER_DAY=2)
    for _ in range(2):  # it is of a day, not of a run
        assert feedwatch.once().status == 0
        assert urls(sandbox) == [audio(1), audio(2)]
        assert feedwatch.states() == {"guid-1": "ready", "guid-2": "ready", "guid-3": "queued"}


def test_no_more_jobs_are_under_way_at_once_than_allowed(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace, sandbox: Sandbox
) -> None:
    feed_server.publish(1, 2, 3)
    workspace.set(MAX_CONCURRENT_JOBS=1)
    assert feedwatch.once("--timeout", 0).status == 0
    assert sorted(feedwatch.states().values()) == ["processing", "queued", "queued"]
    assert feedwatch.once().status == 0
    assert set(feedwatch.states().values()) == {"ready"}
    times = [receipt.time for receipt in sandbox.submissions]
    assert all(later - earlier >= 0.05 for earlier, later in pairwise(times))  # a job's length


# How it ends


def test_status_1_if_every_feed_fails(feedwatch: Feedwatch, feed_server: FeedServer) -> None:
    feed_server.answer(500)
    ended = feedwatch("run", "--once")
    assert ended.status == 1
    assert "show" in ended.stderr
    assert "500" in ended.stderr
    assert ended.stdout == ""


def test_status_3_if_one_feed_of_two_fails_and_the_other_is_served(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace, sandbox: Sandbox
) -> None:
    workspace.add_feed("broken", feed_server.url_of("/nothing.xml"))
    ended = feedwatch.once()
    assert ended.status == 3
    assert "broken" in ended.stderr
    assert "404" in ended.stderr
    assert urls(sandbox) == [audio(1)]


def test_status_4_if_something_is_held_and_3_comes_before_it(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace
) -> None:
    workspace.set(FLOOD_LIMIT=0)
    assert feedwatch.once().status == 0
    feed_server.publish(1, 2)
    assert feedwatch.once().status == 4
    assert feedwatch.once().status == 4  # it still waits
    workspace.add_feed("broken", feed_server.url_of("/nothing.xml"))
    assert feedwatch.once().status == 3


def test_status_1_if_the_api_refuses_the_key_and_nothing_is_lost(
    feedwatch: Feedwatch, workspace: Workspace, sandbox: Sandbox
) -> None:
    workspace.set(API_KEY="wrong")
    ended = feedwatch.once()
    assert ended.status == 1
    assert "FEEDWATCH_API_KEY" in ended.stderr
    assert feedwatch.states() == {"guid-1": "queued"}
    assert sandbox.submissions == []


def test_a_refused_key_keeps_none_waiting_that_waits_for_its_date(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace, sandbox: Sandbox
) -> None:
    workspace.set(API_KEY="wrong", FUTURE_DATED="wait")
    dated = item(2, when=datetime.now(UTC) + timedelta(days=2))
    feed_server.publish(dated)
    ended = feedwatch.once()
    assert (ended.status, "could not be submitted" in ended.stderr) == (0, False)
    assert not sandbox.requests
    feed_server.publish(1, dated)
    ended = feedwatch.once()
    assert ended.status == 1
    assert "1 episode could not be submitted: " in ended.stderr


def test_what_is_no_feed_is_a_failed_check_with_a_reason_and_the_next_run_goes_on(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace, sandbox: Sandbox
) -> None:
    documents = {
        "empty": b"",
        "page": b"<!DOCTYPE html><html><body>Sign in</body></html>",
        "cut": b"<rss version='2.0'><channel><title>Cut",
        "json": b"{}",
    }
    workspace.set(FEEDS__SHOW__URL=None, FEEDS__SHOW__PODCAST_ID=None, FEEDS__SHOW__FIRST_RUN=None)
    for podcast, (name, document) in zip(MORE_PODCASTS, documents.items(), strict=False):
        feed_server.serve(document, path=f"/{name}.xml")
        workspace.add_feed(name, feed_server.url_of(f"/{name}.xml"), podcast, FIRST_RUN="all")
    assert feedwatch.once().status == 1
    for feed in feedwatch.json("feeds"):
        assert (feed["state"], feed["failures"]) == ("failing", 1)
        assert feed["error"]
        feed_server.publish(1, path=f"/{feed['name']}.xml")
    assert feedwatch.once().status == 0
    assert urls(sandbox) == [audio(1)] * len(documents)


def test_the_log_goes_to_standard_error_as_one_object_a_line_where_json_is_asked_for(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    workspace.set(LOG_FORMAT="json")
    ended = feedwatch.once()
    assert ended.stdout == ""
    lines = [line for line in ended.stderr.splitlines() if line.startswith("{")]
    assert any('"level": "info"' in line and "ready" in line for line in lines)


def test_the_summary_tells_what_this_pass_did_apart_from_all_that_there_is(
    feedwatch: Feedwatch, feed_server: FeedServer
) -> None:
    feed_server.publish(1, 2)
    first = feedwatch.once().stderr
    assert (
        "1 of 1 feed checked; this pass: 2 new, 2 submitted, 2 finished; in all: 2 ready" in first
    )
    feed_server.publish(1, 2, 3)
    second = feedwatch.once("--timeout", 0).stderr
    assert "this pass: 1 new, 1 submitted, 0 finished; in all: 1 processing, 2 ready" in second
    third = feedwatch.once().stderr
    assert "this pass: 0 new, 0 submitted, 1 finished; in all: 3 ready" in third
