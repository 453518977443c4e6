"""The loops: what they ask, in which order, and what they write down."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from feedwatch.core import episode_lifecycle
from feedwatch.core.episode import Episode, State
from feedwatch.core.feed import Feed
from feedwatch.core.job import Accepted, Answer
from feedwatch.core.settings import OnUnknown, Rules
from feedwatch.net.client import client
from feedwatch.processors.clocks import moment
from feedwatch.processors.inlet import Inlet
from feedwatch.sandbox.faults import Fault
from feedwatch.store.errors import StoreError
from feedwatch.store.journal import Journal
from feedwatch.store.lock import REPLACED
from feedwatch.watcher.restore import compare
from tests.support import KEY, LONG, PATIENCE, PODCAST, item, one_in, wait_for
from tests.test_journal import claim
from tests.world import World
from tests.world import world as a_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path / "feedwatch.db") as world:
        yield world


@contextmanager
def another_processor(world: World) -> Iterator[Inlet]:
    """As a reload makes one for another key."""
    access = {"authorization": f"Token {KEY}"}
    with client(world.cancellation, base_url=world.sandbox.url, headers=access) as api:
        yield Inlet(api)


def posts(world: World) -> int:
    return len(world.sandbox.submissions)


def reads(world: World) -> int:
    return world.sandbox.requests["GET", "/api/v1/podcasts"]


def test_an_episode_goes_from_the_feed_to_its_processed_url(world: World) -> None:
    world.feeds.publish(1)
    world.check()
    world.submit()
    assert world.episode().state is State.PROCESSING
    world.poll()
    assert world.episode().state is State.PROCESSING, "not due yet"
    world.later(minutes=1)
    world.poll()
    ready = world.episode()
    assert ready.state is State.READY
    assert ready.processed_url == world.sandbox.jobs[ready.media_id or ""]["url"]
    assert [move.state for move in world.store.episodes.history(ready.id)] == [
        State.QUEUED,
        State.SUBMITTING,
        State.PROCESSING,
        State.READY,
    ]


def test_a_job_accepted_before_a_restart_is_polled_after_it(world: World) -> None:
    world.feeds.publish(1)
    world.check()
    world.submit()
    world.restart()
    world.later(minutes=1)
    world.poll()
    assert world.episode().state is State.READY
    assert posts(world) == 1


# Doubt


def test_an_outage_puts_one_episode_in_doubt_and_not_the_queue(world: World) -> None:
    world.feeds.publish(4, 3, 2, 1)
    world.check()
    world.sandbox.faults.add(Fault("any", "drop_before", times=None, after=2))
    for _ in range(60):
        world.submit()
        world.later(minutes=1)
    states = list(world.states().values())
    assert (states.count(State.UNKNOWN), states.count(State.QUEUED)) == (1, 3)
    assert posts(world) == 1
    world.sandbox.faults.clear()
    world.later(hours=1)
    world.submit()
    states = list(world.states().values())
    assert (states.count(State.UNKNOWN), states.count(State.PROCESSING)) == (1, 3)


def test_after_a_doubtful_answer_a_read_succeeds_before_the_next_post(world: World) -> None:
    world.feeds.publish(2, 1)
    world.check()
    world.sandbox.faults.add(Fault("submit", "drop_after"))
    world.submit()
    assert (posts(world), reads(world)) == (1, 1)
    world.submit()
    assert (posts(world), reads(world)) == (1, 1), "it waits"
    world.later(minutes=1)
    world.sandbox.faults.add(Fault("podcasts", "status", status=503))
    world.submit()
    assert (posts(world), reads(world)) == (1, 2), "the read failed"
    world.later(minutes=10)
    world.submit()
    assert (posts(world), reads(world)) == (2, 3)
    assert sorted(world.states().values()) == [State.PROCESSING, State.UNKNOWN]


@pytest.mark.parametrize("minutes", one_in(2, [5, 1]))
def test_an_api_that_reads_well_and_takes_nothing_is_asked_ever_less_often(
    world: World, minutes: int
) -> None:
    world.feeds.publish(*range(40, 0, -1))
    world.check()
    world.sandbox.faults.add(Fault("submit", "status", status=502, times=None))
    run_on(world, rounds=24 * 60 // minutes, minutes=minutes)
    assert list(world.states().values()).count(State.UNKNOWN) <= 13


def test_by_policy_what_is_in_doubt_is_sent_again_after_a_while(tmp_path: Path) -> None:
    with a_world(tmp_path / "feedwatch.db", on_unknown=OnUnknown.RESUBMIT) as world:
        world.feeds.publish(1)
        world.check()
        world.sandbox.faults.add(Fault("submit", "drop_before"))
        world.submit()
        world.later(minutes=59)
        world.submit()
        assert posts(world) == 1
        world.later(minutes=2)
        world.submit()
        assert world.episode().state is State.PROCESSING
        assert len(world.sandbox.taken) == 1


def test_a_submission_whose_process_died_is_in_doubt_once_its_lease_has_run_out(
    world: World,
) -> None:
    world.feeds.publish(2, 1)
    world.check()
    claimed = world.submissions._claim(
        world.context.processors["inlet"]
    )  # and then the process dies
    assert claimed is not None
    world.restart()
    world.later(minutes=1)
    world.submit()
    assert world.episode().state is State.SUBMITTING, "the POST may still be under way elsewhere"
    world.later(minutes=10)
    world.submit()
    assert world.episode().state is State.UNKNOWN
    assert all(body["name"] != "Episode 1" for body in world.sandbox.taken)


def test_an_answer_that_comes_after_its_lease_is_not_lost(world: World) -> None:
    world.feeds.publish(1)
    world.check()
    claimed = world.submissions._claim(world.context.processors["inlet"])
    assert claimed is not None
    world.later(minutes=10)
    world.submit()
    assert world.episode().state is State.UNKNOWN
    world.submissions._submit(*claimed)  # the POST that was only slow
    adopted = world.episode()
    assert adopted.state is State.PROCESSING
    assert adopted.media_id in world.sandbox.jobs


def test_a_post_that_comes_too_late_after_its_claim_does_not_leave(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.feeds.publish(1)
    world.check()
    monkeypatch.setattr("feedwatch.core.post_deadline.FIRST_BYTE_SECONDS", -1.0)
    world.submit()
    assert (world.episode().state, posts(world)) == (State.QUEUED, 0)
    monkeypatch.undo()
    world.later(minutes=1)
    world.submit()
    assert (world.episode().state, posts(world)) == (State.PROCESSING, 1)


def test_the_deadline_of_a_post_is_counted_from_before_its_claim_is_committed(
    world: World,
) -> None:
    world.feeds.publish(1)
    world.check()
    begun = moment()
    claimed = world.submissions._claim(world.context.processors["inlet"])
    assert claimed is not None
    assert begun.boot < claimed.at.boot < moment().boot


# Refusals


def test_a_refused_key_stops_submissions_with_one_line_and_they_resume_by_themselves(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.feeds.publish(3, 2, 1)
    world.check()
    # The key is withdrawn while the daemon runs.
    world.submissions._proven = dict(world.context.processors)
    world.sandbox.faults.add(Fault("any", "status", status=401, times=None))
    with caplog.at_level(logging.INFO):
        for _ in range(30):
            world.submit()
            world.later(minutes=1)
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1, [record.message for record in errors]
    assert "the API refuses the key" in errors[0].getMessage()
    assert set(world.states().values()) == {State.QUEUED}
    assert posts(world) == 0, "the look-up of the podcast found it out"
    world.sandbox.faults.clear()
    world.later(minutes=10)
    with caplog.at_level(logging.INFO):
        world.submit()
    assert "submissions go on" in caplog.text
    assert set(world.states().values()) == {State.PROCESSING}


def test_a_process_reads_before_its_first_post_so_that_a_wrong_key_costs_nothing(
    world: World,
) -> None:
    world.feeds.publish(1)
    world.check()
    world.sandbox.faults.add(Fault("any", "status", status=401, times=None))
    world.submit()
    assert (posts(world), reads(world)) == (0, 1)


def test_another_key_is_tried_at_once_though_a_request_by_the_old_one_tripped_the_breaker_later(
    world: World,
) -> None:
    world.policy = replace(world.policy, poll_interval=timedelta(hours=1))
    world.restart()
    world.feeds.publish(1)
    world.check()
    world.sandbox.faults.add(Fault("any", "status", status=401))
    for _ in range(3):
        world.submit()
        world.later(minutes=1)
    assert (posts(world), reads(world)) == (0, 1), "it waits"
    with another_processor(world) as processor:
        world.context.processors = {"inlet": processor}  # and nothing else of a reload
        world.submit()
    assert (posts(world), reads(world)) == (1, 2)


def test_a_poll_that_was_refused_the_old_key_says_nothing_about_the_new_one(world: World) -> None:
    world.feeds.publish(1)
    world.check()
    world.submit()
    world.later(minutes=1)
    world.sandbox.faults.add(Fault("any", "status", status=401))
    world.polls.tick()
    world.polls.close()  # the answer is there, and not recorded yet
    with another_processor(world) as processor:
        world.context.processors = {"inlet": processor}
        world.polls.tick()
    assert len(world.sandbox.polls) == 1
    assert world.store.breakers.get("inlet").tripped_until is None


def test_journal_and_ledger_are_compared_again_where_the_database_failed_meanwhile(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = world.context.journal = Journal([tmp_path / "claims"])
    assert journal.append_claim(claim(1))
    compare(world.context)
    assert not journal.was_changed()

    def fail(*_: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(world.store.imports, "take_over", fail)
        with pytest.raises(StoreError):
            compare(world.context)
    assert journal.was_changed()
    compare(world.context)
    assert not journal.was_changed()


def test_a_refused_episode_fails_alone(world: World) -> None:
    world.feeds.publish(2, 1)
    world.check()
    body = '{"error": "Bad Request", "message": "no such audio"}'
    world.sandbox.faults.add(Fault("submit", "status", status=400, body=body))
    world.submit()
    assert world.states() == {"guid-1": State.FAILED, "guid-2": State.PROCESSING}
    assert "no such audio" in (world.episode().reason or "")


def test_too_many_requests_waits_as_long_as_asked(world: World) -> None:
    world.feeds.publish(1)
    world.check()
    world.sandbox.faults.add(Fault("submit", "status", status=429, retry_after=1800))
    world.submit()
    world.later(minutes=29)
    world.submit()
    assert world.episode().state is State.QUEUED
    world.later(minutes=2)
    world.submit()
    assert world.episode().state is State.PROCESSING


# Odd answers

ODD = '{"message": ["description is too long"]}'
PAGE = "<html>blocked</html>"


def odd(world: World, name: str, body: str = ODD, status: int = 400) -> None:
    """Have every POST for this episode answered so."""
    fault = Fault("submit", "status", status=status, body=body, match={"name": name}, times=None)
    world.sandbox.faults.add(fault)


def run_on(world: World, rounds: int = 12, minutes: float = 10) -> None:
    for _ in range(rounds):
        world.submit()
        world.later(minutes=minutes)


def sent(world: World) -> list[str]:
    return [one.body["name"] for one in world.sandbox.submissions if isinstance(one.body, dict)]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_odd_answer_for_one_episode_holds_that_one_and_lets_the_others_pass(
    world: World, number: int
) -> None:
    world.feeds.publish(3, 2, 1)
    world.check()
    odd(world, f"Episode {number}")
    run_on(world)
    states = world.states()
    assert states.pop(f"guid-{number}") is State.HELD
    assert set(states.values()) == {State.PROCESSING}
    assert 1 <= sent(world).count(f"Episode {number}") <= 3
    reason = world.episode(f"guid-{number}").reason or ""
    assert "400" in reason
    assert "description is too long" in reason


def test_an_odd_answer_for_the_only_episode_is_tried_three_times(world: World) -> None:
    world.feeds.publish(1)
    world.check()
    odd(world, "Episode 1")
    run_on(world)
    assert (world.episode().state, posts(world)) == (State.HELD, 3)
    assert world.store.breakers.get("inlet").tripped_until is None


def test_a_gateways_page_for_one_episode_is_one_post_and_the_others_go_on(world: World) -> None:
    world.feeds.publish(3, 2, 1)
    world.check()
    odd(world, "Episode 1", PAGE, 403)
    world.submit()
    world.later(minutes=1)
    world.submit()
    assert world.states() == {
        "guid-1": State.UNKNOWN,
        "guid-2": State.PROCESSING,
        "guid-3": State.PROCESSING,
    }
    assert posts(world) == 3
    assert "403: <html>blocked" in (world.episode().reason or "")


@pytest.mark.parametrize("minutes", one_in(2, [5, 1]))
@pytest.mark.parametrize(("body", "unknown"), [(ODD, 0), (PAGE, 14)])
def test_odd_answers_for_everybody_stop_the_queue_and_hold_nobody(
    world: World, body: str, unknown: int, minutes: int
) -> None:
    world.feeds.publish(*range(40, 0, -1))
    world.check()
    world.sandbox.faults.add(Fault("submit", "status", status=400, body=body, times=None))
    run_on(world, rounds=24 * 60 // minutes, minutes=minutes)
    states = list(world.states().values())
    assert states.count(State.HELD) == 0
    assert states.count(State.UNKNOWN) <= unknown
    assert posts(world) <= 14
    world.sandbox.faults.clear()
    run_on(world, rounds=8, minutes=60)
    assert State.PROCESSING in world.states().values(), "and it goes on by itself"


# A podcast that is missing, and refusals in a row


def test_a_podcast_that_the_api_does_not_have_costs_nothing_and_stops_its_feed_alone(
    world: World,
) -> None:
    wrong = replace(world.source("wrong", "/wrong.xml"), podcast_id="nobody")
    world.sources = [wrong, world.source("show")]
    world.restart()
    world.feeds.publish(*range(9, 1, -1), path="/wrong.xml")
    world.feeds.publish(1)
    world.check()
    run_on(world, rounds=24 * 6)
    assert sent(world) == ["Episode 1"]
    (feed,) = world.store.feeds.in_trouble()
    assert (feed.name, feed.missing_podcast) == ("wrong", "nobody")
    assert not world.store.claims.may_claim_later("inlet", world.now, world.policy)
    asked = world.sandbox.requests["GET", "/api/v1/podcasts/{podcastId}"]
    assert 10 < asked < 40, "asked again, ever less often"
    world.sources = [replace(wrong, podcast_id=PODCAST), world.source("show")]
    world.restart()
    world.submit()
    assert posts(world) > 1
    assert [one.missing_podcast for one in world.store.feeds.all()] == [None, None]


def test_a_podcast_is_looked_up_once_in_a_process(world: World) -> None:
    world.feeds.publish(3, 2, 1)
    world.check()
    run_on(world, rounds=3)
    assert world.sandbox.requests["GET", "/api/v1/podcasts/{podcastId}"] == 1
    world.feeds.publish(4, 3, 2, 1)
    world.check()
    world.restart()
    world.submit()
    assert posts(world) == 4
    assert world.sandbox.requests["GET", "/api/v1/podcasts/{podcastId}"] == 2


@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.parametrize("body", ["<html>Cannot GET", "", ODD])
def test_where_podcasts_cannot_be_looked_up_submissions_go_on(
    world: World, status: int, body: str
) -> None:
    world.feeds.publish(1)
    world.check()
    world.sandbox.faults.add(Fault("podcasts", "status", status=status, body=body, times=None))
    world.submit()
    assert world.episode().state is State.PROCESSING


def test_a_look_up_that_fails_for_ever_keeps_nobody_waiting_for_ever(world: World) -> None:
    world.feeds.publish(1)
    world.check()
    world.sandbox.faults.add(Fault("podcasts", "status", status=500, after=1, times=1))
    world.submit()
    assert world.episode().state is State.QUEUED
    for _ in range(2):
        world.sandbox.faults.add(Fault("podcasts", "status", status=500, after=1, times=1))
        world.later(minutes=10)
        world.submit()
    assert world.episode().state is State.PROCESSING


def test_a_podcast_that_is_refused_alone_stops_its_own_feed_alone(world: World) -> None:
    locked = replace(world.source("locked", "/locked.xml"), podcast_id="podcast-2")
    world.sources = [locked, world.source("show")]
    world.restart()
    world.feeds.publish(2, path="/locked.xml")
    world.feeds.publish(1)
    world.check()
    fault = Fault("podcasts", "api_disabled", podcast_id="podcast-2", times=None)
    world.sandbox.faults.add(fault)
    run_on(world)
    assert sent(world) == ["Episode 1"]
    (feed,) = world.store.feeds.in_trouble()
    assert (feed.name, feed.missing_podcast) == ("locked", "podcast-2")


@pytest.mark.parametrize("after", [0, 1])
def test_a_read_that_a_stop_broke_off_says_nothing_of_the_api(world: World, after: int) -> None:
    """The safe read, or the look-up of the podcast that follows it."""
    world.feeds.publish(1)
    world.check()
    world.sandbox.faults.add(Fault("podcasts", "hang_after", seconds=LONG, after=after))
    submits = threading.Thread(target=world.submit)
    submits.start()
    wait_for(lambda: sum(world.sandbox.requests.values()) > after, what="the request")
    world.context.stopping.set()
    world.cancellation.stop_in(0.0)
    submits.join(PATIENCE)
    assert not submits.is_alive()
    breaker = world.store.breakers.get("inlet")
    assert (breaker.failures, breaker.reason) == (0, None)


WORDS = '{"error": "Bad Request", "message": "adOptions are not allowed here"}'


def test_three_refusals_in_a_row_hold_the_rest_of_the_feeds_queue(world: World) -> None:
    world.sources = [world.source("show"), world.source("other", "/other.xml")]
    world.restart()
    world.feeds.publish(*range(30, 10, -1))
    world.feeds.publish(9, 8, path="/other.xml")
    world.check()
    for number in range(11, 31):
        odd(world, f"Episode {number}", WORDS)
    run_on(world)
    states = list(world.states().values())
    assert (states.count(State.FAILED), states.count(State.HELD)) == (3, 17)
    assert states.count(State.PROCESSING) == 2, "the other feed goes on"
    assert posts(world) == 5
    held = next(one for one in world.store.episodes.find() if one.state is State.HELD)
    assert "feedwatch approve --feed show" in (held.reason or "")
    assert "adOptions are not allowed" in (held.reason or "")


def test_approve_counts_refusals_anew_and_an_accepted_episode_does_as_well(world: World) -> None:
    world.feeds.publish(*range(20, 0, -1))
    world.check()
    for number in (1, 2, 4, 5, 6, 7, 8):
        odd(world, f"Episode {number}", WORDS)
    run_on(world)
    assert sent(world) == [f"Episode {number}" for number in range(1, 7)]
    held = [one for one in world.store.episodes.find() if one.state is State.HELD]
    assert len(held) == 14
    for one in held:
        world.store.episodes.save(one, episode_lifecycle.approved(one, world.now), world.now)
    run_on(world)
    assert posts(world) >= 10, "two refusals after the approval are not three"


# Polls


def test_polls_that_are_refused_trip_the_breaker_and_reads_reset_it_without_a_queue(
    world: World,
) -> None:
    world.feeds.publish(2, 1)
    world.check()
    world.submit()
    world.later(minutes=1)
    world.sandbox.faults.add(Fault("any", "status", status=401, times=None))
    world.poll()
    breaker = world.store.breakers.get("inlet")
    assert breaker.blocked
    assert "401" in (breaker.reason or "")
    assert breaker.failures == 1, "once, for two jobs"
    world.later(minutes=10)
    world.submit()
    assert world.store.breakers.get("inlet").blocked, "the read was refused as well"
    world.sandbox.faults.clear()
    world.later(minutes=10)
    world.submit()
    breaker = world.store.breakers.get("inlet")
    assert (breaker.blocked, breaker.tripped_until) == (False, None)
    assert posts(world) == 2


def test_a_failed_job_that_mends_itself_becomes_ready(world: World) -> None:
    world.feeds.publish(1)
    world.check()
    statuses = ["ERROR"] * 12 + ["READY"]
    world.sandbox.faults.add(Fault("submit", "job_status", statuses=statuses))
    world.submit()
    seen = set()
    for _ in range(20):
        world.later(minutes=20)
        world.poll()
        seen.add(world.episode().state)
    assert seen == {State.PROCESSING, State.FAILED, State.READY}
    assert world.episode().state is State.READY


def test_jobs_that_are_all_lost_are_told_as_the_podcasts_trouble(world: World) -> None:
    world.feeds.publish(2, 1)
    world.check()
    world.submit()
    world.sandbox.faults.add(Fault("poll", "lost", times=None))
    for _ in range(12):
        world.later(minutes=20)
        world.poll()
    assert set(world.states().values()) == {State.PROCESSING}
    (lost,) = world.store.statistics.lost_podcasts()
    assert (lost.feed, lost.podcast_id, lost.jobs) == ("show", PODCAST, 2)
    world.sandbox.faults.clear()
    world.later(minutes=20)
    world.poll()
    assert set(world.states().values()) == {State.READY}
    assert world.store.statistics.lost_podcasts() == []


def test_a_processed_url_that_is_the_originals_is_warned_of(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.feeds.publish(1)
    world.check()
    world.submit()
    url = world.episode().enclosure_url
    world.sandbox.faults.add(Fault("poll", "wrong_url", url=url))
    world.later(minutes=1)
    world.poll()
    assert (world.episode().state, world.episode().processed_url) == (State.READY, url)
    assert any("original" in one.getMessage() for one in caplog.records if one.levelno > 20)


def test_of_two_episodes_with_one_media_id_the_second_is_unknown(world: World) -> None:
    world.feeds.publish(3, 2, 1)
    world.check()
    world.sandbox.faults.add(Fault("submit", "wrong_id", id="0123456789abcdef", times=None))
    run_on(world)
    assert sorted(world.states().values()) == [State.PROCESSING, State.UNKNOWN, State.UNKNOWN]
    assert world.episode("guid-1").media_id == "0123456789abcdef"
    assert world.episode("guid-2").media_id is None
    assert "0123456789abcdef" in (world.episode("guid-2").reason or "")


# Isolation


def test_a_bad_feed_does_not_stop_the_others(world: World) -> None:
    world.sources = [world.source("bad", "/bad.xml"), world.source("show")]
    world.restart()
    world.feeds.serve(b"<html><title>Sorry</title></html>", path="/bad.xml")
    world.feeds.publish(1)
    world.check()
    bad, show = world.store.feeds.all()
    assert "HTML page" in (bad.error or "")
    assert (show.failures, world.states()) == (0, {"guid-1": State.QUEUED})


def test_a_fault_of_our_own_puts_a_feed_off_and_does_not_spin(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("feedwatch.watcher.evaluate.decide", broken)
    world.feeds.publish(1)
    world.check()
    (feed,) = world.store.feeds.all()
    assert feed.failures == 1
    assert "ZeroDivisionError" in (feed.error or "")
    assert feed.due_at is not None
    assert feed.due_at > world.now


def test_a_row_that_cannot_be_read_puts_its_own_feed_off_and_no_other(world: World) -> None:
    names = ["f1", "f2", "f3"]
    world.sources = [world.source(name, f"/{name}.xml") for name in names]
    for number, name in enumerate(names):
        world.feeds.publish(item(number), path=f"/{name}.xml")
    world.restart()
    with world.store._engine.begin() as db:
        db.exec_driver_sql("update feeds set error_kind = 'of a newer version' where name = 'f2'")
    world.check()
    feeds = {one.name: one for one in world.store.feeds.all()}  # put off, it can be read
    assert [feeds[name].failures for name in names] == [0, 1, 0]
    assert "ValueError" in (feeds["f2"].error or "")
    assert len(world.states()) == 2


def test_a_failed_check_leaves_the_validators_and_the_next_one_asks_without_them(
    world: World,
) -> None:
    world.feeds.publish(1)
    world.check()
    etag = world.store.feeds.all()[0].etag
    assert etag
    world.feeds.answer(500)
    world.later(minutes=30)
    world.check()
    assert world.store.feeds.all()[0].etag == etag
    world.feeds.publish(2, 1)
    world.later(hours=1)
    world.check()
    _, headers = world.feeds.seen[-1]
    assert "if-none-match" not in headers
    assert len(world.states()) == 2


def test_an_unchanged_feed_costs_a_304(world: World) -> None:
    world.feeds.publish(1)
    world.check()
    world.later(minutes=30)
    world.check()
    _, headers = world.feeds.seen[-1]
    assert headers["if-none-match"] == world.store.feeds.all()[0].etag


# What is sent


def test_an_item_without_a_title_is_named_after_its_file(world: World) -> None:
    untitled = item(1, url="https://m.example/The%20first.mp3").replace(
        "<title>Episode 1</title>", ""
    )
    world.feeds.publish(untitled)
    world.check()
    world.submit()
    assert world.sandbox.taken[0]["name"] == "The first"


def test_polls_go_to_the_podcast_that_took_the_job_whatever_the_config_says_now(
    world: World,
) -> None:
    world.feeds.publish(1)
    world.check()
    world.submit()
    world.sources = [
        type(world.sources[0])(**{**vars(world.sources[0]), "podcast_id": "podcast-9"})
    ]
    world.restart()
    world.later(minutes=1)
    world.poll()
    assert world.episode().podcast_id == PODCAST
    assert world.episode().state is State.READY


def test_a_queued_episode_whose_feed_this_config_lacks_is_passed_over_and_stops_nobody_else(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.sources = [world.source("show"), world.source("other", "/other.xml")]
    world.feeds.publish(1)
    world.feeds.publish(12, path="/other.xml")
    world.restart()
    world.check()
    plan = world.context.plan  # of a daemon that does not know of what another one added
    world.context.plan = replace(plan, sources={"other": plan.sources["other"]})
    world.submit()
    states = {one.feed: one.state for one in world.store.episodes.find()}
    assert states == {"show": State.QUEUED, "other": State.PROCESSING}
    world.submit()
    assert caplog.text.count("feed show: its queued episodes wait") == 1
    world.context.plan = plan
    world.later(minutes=6)
    world.submit()
    assert posts(world) == 2


# What the config does to a feed's memory


def test_a_feed_that_gets_another_name_is_not_paid_for_again(world: World) -> None:
    world.feeds.publish(2, 1)
    world.check()
    world.submit()
    world.sources = [world.source("renamed")]
    world.restart()
    world.later(minutes=30)
    world.check()
    world.submit()
    assert posts(world) == 2
    renamed = world.store.episodes.find(feed="renamed")
    assert [episode.state for episode in renamed] == [State.HELD] * 2


def test_media_types_that_count_now_do_not_bring_old_items(world: World) -> None:
    video = item(1, media_type="video/mp4")
    only_audio = replace(world.sources[0].rules, media_types=("audio/*",))
    world.sources = [replace(world.sources[0], rules=only_audio)]
    world.restart()
    world.feeds.publish(2, video)
    world.check()
    assert world.states() == {"guid-2": State.QUEUED}
    world.sources = [world.source("show")]
    world.restart()
    world.later(minutes=30)
    world.check()
    assert world.states() == {"guid-2": State.QUEUED, "guid-1": State.HELD}


def test_a_first_document_without_items_is_no_baseline_for_old_ones(world: World) -> None:
    world.feeds.publish()
    world.check()
    world.feeds.publish(2, 1)
    world.later(hours=1)
    world.check()
    assert set(world.states().values()) == {State.HELD}
    world.store.episodes.decide([], world.now, actor="cli:me", settled_feed="show")
    world.feeds.publish(3, 2, 1)
    world.later(hours=1)
    world.check()
    assert world.states()["guid-3"] is State.QUEUED


# Stuck and broken things


def test_overdue_jobs_do_not_keep_the_others_waiting(tmp_path: Path) -> None:
    with a_world(tmp_path / "feedwatch.db", max_concurrent_jobs=1) as world:
        world.feeds.publish(2, 1)
        world.check()
        world.sandbox.faults.add(Fault("submit", "job_status", statuses=["PUBLISHING"]))
        for _ in range(13):
            world.submit()
            world.later(hours=2)
            world.poll()
        assert world.episode("guid-1").overdue
        assert world.states()["guid-2"] in (State.PROCESSING, State.READY)


def test_an_answer_that_cannot_be_recorded_stops_nobody_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.feeds.publish(2, 1)
    world.check()
    answered = episode_lifecycle.answered

    def broken(episode: Episode, answer: Answer, *rest: Any) -> Episode:
        if episode.guid == "guid-1" and isinstance(answer, Accepted):
            raise ZeroDivisionError
        return answered(episode, answer, *rest)

    monkeypatch.setattr("feedwatch.core.episode_lifecycle.answered", broken)
    world.submit()
    world.later(minutes=5)
    world.submit()
    assert world.states() == {"guid-1": State.UNKNOWN, "guid-2": State.PROCESSING}


def test_a_look_that_a_stop_broke_off_is_no_failure_of_the_feed(world: World) -> None:
    world.sources = [world.source(f"f{n}", f"/{n}.xml") for n in range(12)]
    for number in range(12):
        world.feeds.publish(item(number), path=f"/{number}.xml")
    for _ in range(10):
        world.restart()
        world.store.feeds.make_due(world.now)
        world.checks.tick()
        world.context.stopping.set()
        world.checks.close()
        world.checks.tick()
    assert [feed.error for feed in world.store.feeds.all() if feed.failures] == []


def test_a_check_that_begins_while_it_is_looked_for_is_not_overlooked(world: World) -> None:
    world.feeds.answer(500, delay=LONG)
    looking = threading.Event()

    def clock() -> datetime:
        if threading.current_thread() is threading.main_thread():
            looking.set()
            wait_for(lambda: world.checks._under_way)
        else:
            looking.wait(PATIENCE)
        return world.now

    world.context.clock = clock
    world.checks.tick()
    assert not world.checks.is_idle()
    world.feeds.over.set()


def test_a_check_that_would_begin_while_it_is_closing_is_nobodys_fault(world: World) -> None:
    world.feeds.publish(1)
    begun, closing = threading.Event(), threading.Thread(target=world.checks.close)
    take = world.store.feeds.take

    def taken(*which: Any) -> list[Feed]:
        begun.set()
        wait_for(lambda: world.checks._fetches._shutdown)
        return take(*which)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.store.feeds, "take", taken)
        world.checks.tick()
        assert begun.wait(PATIENCE)
        closing.start()
        closing.join()
    (feed,) = world.store.feeds.all()
    assert (feed.failures, feed.error) == (0, None)
    assert world.feeds.count() == 0


# Several feeds, several hosts


def test_a_host_that_takes_its_time_keeps_no_other_host_waiting(world: World) -> None:
    port = urlsplit(world.feeds.url).port
    good = replace(world.source("good"), url=f"http://localhost:{port}/good.xml")
    slow = [world.source(f"slow{number}", f"/slow{number}.xml") for number in range(80)]
    for number in range(80):
        world.feeds.answer(500, path=f"/slow{number}.xml", delay=LONG)
    world.feeds.publish(1, path="/good.xml")
    world.sources = [*slow, good]
    world.restart()
    world.checks.tick()
    wait_for(lambda: world.states() == {"guid-1": State.QUEUED})
    assert sum(world.feeds.count(f"/slow{number}.xml") for number in range(80)) < 10
    world.feeds.over.set()


def test_no_feed_is_told_the_cookies_of_another(world: World) -> None:
    body = world.feeds.publish(1)
    world.feeds.answer(200, body, {"Set-Cookie": "session=of-the-first; Path=/"})
    world.feeds.publish(2, path="/second.xml")
    world.check()
    world.sources.append(world.source("second", "/second.xml"))
    world.restart()
    world.later(hours=1)
    world.check()
    world.later(hours=1)
    world.check()
    assert world.feeds.count("/second.xml") >= 1
    assert not any("cookie" in headers for _, headers in world.feeds.seen)


def test_a_description_that_is_asked_for_during_a_check_is_read_by_the_next_one_at_once(
    world: World,
) -> None:
    world.sources = [replace(world.source("show"), rules=Rules())]
    world.restart()
    world.feeds.publish(1, 2)
    world.check()
    (before,) = world.store.feeds.all()
    one = world.episode()
    assert (
        world.store.episodes.save(one, episode_lifecycle.retried(one, world.now), world.now)
        is not None
    )
    late = replace(
        before, due_at=world.now + timedelta(hours=6), full_reads_done=before.full_reads_requested
    )
    world.store.checks.record(late, [], {}, world.now, all_read=True)  # one that began before
    (after,) = world.store.feeds.all()
    assert after.due_at == world.now
    assert world.episode().description is None, "not taken for one that the feed no longer has"


# Bugs of ours, and a journal that is gone


def test_a_bug_in_a_submission_leaves_it_unknown_and_is_not_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.feeds.publish(1)
    world.check()

    def fail(*_: object) -> Answer:
        raise ZeroDivisionError("one by none")

    monkeypatch.setattr(world.context.processors["inlet"], "submit", fail)
    world.submit()
    episode = world.episode()
    assert episode.state is State.UNKNOWN
    assert episode.reason is not None
    assert "a bug in feedwatch: ZeroDivisionError: one by none" in episode.reason
    assert "a bug has ended the submission" in caplog.text
    monkeypatch.undo()
    world.later(hours=2)
    world.submit()
    assert world.episode().state is State.UNKNOWN
    assert posts(world) == 0


def test_a_bug_in_a_poll_stops_no_other_and_the_job_is_polled_later(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.feeds.publish(1)
    world.check()
    world.submit()

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    world.later(minutes=1)
    with monkeypatch.context() as patch:
        patch.setattr(world.context.processors["inlet"], "poll", fail)
        world.poll()
    assert "a bug has ended the poll" in caplog.text
    assert world.episode().state is State.PROCESSING
    due = world.episode().due_at
    assert due is not None
    assert due > world.now, "not at once: it would fail again"
    world.now = due
    world.poll()
    assert world.episode().state is State.READY


def test_what_the_journal_does_not_take_is_not_sent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.feeds.publish(1)
    world.check()
    monkeypatch.setattr(world.context.journal, "append_claim", lambda _claim: False)
    world.submit()
    assert posts(world) == 0
    assert world.episode().state is State.QUEUED
    assert "the journal cannot be written any more" in (world.episode().reason or "")
    monkeypatch.undo()
    world.later(hours=2)
    world.submit()
    assert posts(world) == 1


def test_nothing_is_submitted_once_the_database_s_file_is_another_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.feeds.publish(1)
    world.check()
    monkeypatch.setattr(world.store, "is_replaced", lambda: True)
    world.store.breakers.change(
        "inlet",
        lambda breaker: replace(breaker, reason=REPLACED),  # of the time before
    )
    for _ in range(3):
        with pytest.raises(StoreError, match="deleted or replaced"):
            world.submit()
        world.later(hours=2)
    assert posts(world) == reads(world) == 0
    assert world.store.breakers.get("inlet").blocked
