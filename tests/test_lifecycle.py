"""Every arrow of the diagram in docs/states.md, and no other."""

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedwatch.config.values import pipeline
from feedwatch.core import (
    circuit_breaker,
    episode_lifecycle,
    feed_lifecycle,
    job_lifecycle,
    ledger_lifecycle,
)
from feedwatch.core.circuit_breaker import CircuitBreaker
from feedwatch.core.episode import LIVE, Cause, Episode, State, is_lost, may_be_taken
from feedwatch.core.episode_lifecycle import IllegalMoveError
from feedwatch.core.feed import (
    Document,
    ErrorKind,
    Failed,
    Feed,
    Gone,
    Hints,
    Item,
    NotModified,
    ParsedFeed,
)
from feedwatch.core.job import (
    Accepted,
    Answer,
    Broken,
    Finished,
    Later,
    Lost,
    Progress,
    Refused,
    Running,
    Unknown,
    Unreachable,
)
from feedwatch.core.ledger import Claim, Outcome, Target
from feedwatch.core.pipeline import LAST, Course, Step
from feedwatch.core.post_deadline import POST_SECONDS
from feedwatch.core.schedule import horizon
from feedwatch.core.settings import OnUnknown, Policy
from feedwatch.core.submit_waits import Wait

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOLD = Policy()
RESUBMIT = replace(HOLD, on_unknown=OnUnknown.RESUBMIT)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
STATES_MD = Path(__file__).parent.parent / "docs" / "states.md"

ANSWERS: list[Answer] = [
    Accepted("m1", "AD_BREAK_QUEUED"),
    Refused("400 no"),
    Later("down"),
    Later("slow down", timedelta(minutes=9)),
    Later("401", blocked=True),
    Later("400 in another form", odd=True),
    Unknown("no answer"),
    Unknown("400 by a gateway", odd=True),
]
PROGRESS: list[Progress] = [
    Running(remote_status="PUBLISHING"),
    Running(remote_status="NEW_WORD", known=False),
    Finished(remote_status="READY", url="https://x/1.mp3"),
    Broken(remote_status="AI_ERROR", reason="r"),
    Lost("404"),
    Unreachable("down"),
    Unreachable("no file", done="READY"),
]


def episode(state: State, **values: object) -> Episode:
    base = Episode(
        id=7,
        feed="show",
        guid="g",
        title="Title",
        description="",
        enclosure_url="https://h/a.mp3",
        published_at=NOW - DAY,
        state=state,
        reason=None,
        first_seen_at=NOW - HOUR,
        due_at=NOW if state in (State.QUEUED, *LIVE) else None,
        attempts=1,
        podcast_id="p",
        media_id="m" if state in (State.PROCESSING, State.READY, State.FAILED) else None,
        submitted_at=NOW - MINUTE if state is not State.QUEUED else None,
    )
    return replace(base, **values)  # type: ignore[arg-type]


COURSES = [LAST, Course(Step.ADS), Course(Step.ADS, optional=True)]

CORRECTION = Item(
    guid="g",
    title="Corrected",
    description="New",
    enclosure_url="https://h/a.mp3",
    published_at=NOW - DAY,
)
HistoryEntry = Callable[[Episode], Episode | None]

CLAIM = Claim(
    number=9,
    token="t",
    at=NOW - HOUR,
    target=Target("inlet", "https://api.example:443", "p"),
    feed="other",
    title="Title",
    keys=(),
)
CLAIMS = [
    CLAIM,
    replace(CLAIM, outcome=Outcome.UNKNOWN),
    replace(CLAIM, outcome=Outcome.ACCEPTED, media_id="m8"),
    replace(CLAIM, outcome=Outcome.REFUSED),
]


def corrected(before: Episode) -> Episode | None:
    return episode_lifecycle.corrected(before, CORRECTION, NOW)


def moves_of_steps() -> Iterator[HistoryEntry]:
    """What can happen where there are several steps."""
    for step in Step:
        yield lambda e, s=step: episode_lifecycle.sent_again(e, NOW, start=s)  # type: ignore[misc]
    for steps in ("enhance", "enhance,ads", "ads"):
        yield lambda e, s=steps: episode_lifecycle.placed(e, pipeline(s), NOW)  # type: ignore[misc]
    for course in COURSES:
        yield lambda e, c=course: episode_lifecycle.passed_over(e, c, NOW)  # type: ignore[misc]
    for course in COURSES:
        yield lambda e, c=course: episode_lifecycle.answered(  # type: ignore[misc]
            e, Refused("400 no"), NOW, HOLD, course=c
        )


def moves() -> Iterator[HistoryEntry]:
    """Everything that can happen to an episode, in every way that makes a difference."""
    yield lambda e: episode_lifecycle.claimed(e, "p", NOW)
    yield lambda e: episode_lifecycle.put_off(e, Wait(NOW + 9 * DAY, "waits"), NOW)
    yield lambda e: episode_lifecycle.approved(e, NOW)
    yield episode_lifecycle.skipped
    yield episode_lifecycle.doubted
    yield lambda e: episode_lifecycle.retried(e, NOW)
    yield lambda e: episode_lifecycle.sent_again(e, NOW)
    yield from moves_of_steps()
    yield lambda e: episode_lifecycle.resubmitted(e, NOW)
    yield lambda e: episode_lifecycle.adopted(e, "m9", NOW)
    yield lambda e: episode_lifecycle.set_aside(e, "odd")
    yield corrected
    for state in (State.SKIPPED, State.HELD, State.QUEUED):
        yield lambda e, s=state: episode_lifecycle.decided_anew(e, episode(s, reason="anew"))  # type: ignore[misc]
    yield lambda e: episode_lifecycle.came_back(e, NOW)
    for older_stay in (False, True):
        yield lambda e, o=older_stay: episode_lifecycle.left_feed(e, NOW, older_stay=o)  # type: ignore[misc]
    for state in (State.HELD, State.SKIPPED):
        yield lambda e, s=state: ledger_lifecycle.paid_already(e, CLAIM, s, "")  # type: ignore[misc]
    for claim in CLAIMS:
        yield lambda e, c=claim: ledger_lifecycle.imported(e, c, NOW, HOLD)  # type: ignore[misc]
    for policy in (HOLD, RESUBMIT):
        yield lambda e, p=policy: episode_lifecycle.presumed_lost(e, NOW, p)  # type: ignore[misc]
        for answer in ANSWERS:
            for odd in (0, 1, 3):
                yield lambda e, a=answer, p=policy, n=odd: episode_lifecycle.answered(
                    e, a, NOW, p, n
                )  # type: ignore[misc]
        for progress, course in itertools.product(PROGRESS, COURSES):
            yield lambda e, g=progress, p=policy, c=course: job_lifecycle.polled(
                e, g, NOW, p, course=c
            )  # type: ignore[misc]


def episodes() -> Iterator[Episode]:
    for state, attempts, stood, age in itertools.product(State, (1, 3), (1, 4), (0, 48)):
        for status in ("AI_ERROR", "lost", None):
            yield episode(
                state,
                attempts=attempts,
                remote_status=status,
                remote_stood=stood,
                remote_since=NOW - HOUR,
                finished_at=NOW - age * HOUR,
                submitted_at=NOW - age * HOUR,
                reason="r",
                cause=Cause.LOST if status == "lost" else None,
            )
    for state, step in itertools.product(State, (Step.ENHANCE, Step.ADS)):
        yield episode(state, reason="r", step=step, source_url="https://h/a.mp3")
    for state in (State.PROCESSING, State.FAILED):
        doubted = episode(state, reason="r", step=Step.ENHANCE, cause=Cause.DOUBTED, overdue=True)
        yield replace(doubted, source_url="https://h/a.mp3")
    yield episode(State.HELD, reason="r", cause=Cause.TAKEN_OUT, missing_since=NOW)
    yield episode(State.SKIPPED, reason="r", cause=Cause.LENGTH, filter_fact="60")


def arrows() -> list[tuple[Episode, Episode]]:
    found = []
    for before, move in itertools.product(episodes(), moves()):
        try:
            after = move(before)
        except IllegalMoveError:
            continue
        if after is not None:
            found.append((before, after))
    return found


ARROWS = arrows()


def test_the_diagram_is_the_code() -> None:
    diagram = STATES_MD.read_text(encoding="utf-8")
    drawn = set(re.findall(r"^    (\w+) --> (\w+)", diagram, re.MULTILINE))
    assert {(before.state.value, after.state.value) for before, after in ARROWS} == drawn


def test_whoever_waits_for_time_is_due_and_nobody_else() -> None:
    for before, after in ARROWS:
        waits_for_time = after.state in (State.QUEUED, State.SUBMITTING, State.PROCESSING)
        if after.state not in (State.UNKNOWN, State.FAILED):
            assert (after.due_at is not None) == waits_for_time, (before, after)


def test_what_happened_is_not_forgotten() -> None:
    for before, after in ARROWS:
        same = (before.id, before.guid, before.enclosure_url, before.published_at)
        assert same == (after.id, after.guid, after.enclosure_url, after.published_at)
        if after.state in (State.HELD, State.SKIPPED, State.UNKNOWN, State.FAILED):
            assert after.reason


def test_a_job_is_polled_by_the_id_that_the_api_gave() -> None:
    for _, after in ARROWS:
        if after.state is State.PROCESSING:
            assert after.media_id
            assert after.podcast_id


def test_an_illegal_move_names_the_episode_its_state_and_what_would_be_right() -> None:
    with pytest.raises(
        IllegalMoveError, match="episode 7 is ready; only what is held can be approved"
    ):
        episode_lifecycle.approved(episode(State.READY), NOW)


def test_what_is_sent_again_keeps_its_result_and_nothing_of_its_job() -> None:
    ready = episode(State.READY, processed_url="https://p/1.mp3", duration=9.0, finished_at=NOW)
    after = episode_lifecycle.sent_again(ready, NOW, 5)
    assert (after.state, after.due_at, after.cleared_claim) == (State.QUEUED, NOW, 5)
    assert (after.processed_url, after.duration) == ("https://p/1.mp3", 9.0)
    assert (after.media_id, after.podcast_id, after.submitted_at, after.finished_at) == (None,) * 4
    assert after.attempts == 0


def test_a_plain_retry_of_what_is_ready_says_how_it_is_meant() -> None:
    with pytest.raises(IllegalMoveError, match="retry --again 7"):
        episode_lifecycle.retried(episode(State.READY), NOW)


# Submissions


def test_the_lease_is_longer_than_a_post_can_take() -> None:
    claimed = episode_lifecycle.claimed(episode(State.QUEUED), "p", NOW)
    assert claimed.due_at is not None
    assert claimed.due_at - NOW >= 2 * timedelta(seconds=POST_SECONDS)
    assert claimed.attempts == 2


def test_what_is_in_doubt_waits_for_a_person() -> None:
    doubtful = episode_lifecycle.answered(episode(State.SUBMITTING), Unknown("x"), NOW, HOLD)
    assert (doubtful.state, doubtful.due_at) == (State.UNKNOWN, None)


def test_what_is_in_doubt_is_sent_again_by_policy_but_not_for_ever() -> None:
    first = episode(State.SUBMITTING, attempts=1)
    again = episode_lifecycle.answered(first, Unknown("x"), NOW, RESUBMIT)
    assert again.due_at is not None
    assert again.due_at > NOW
    third = episode(State.SUBMITTING, attempts=episode_lifecycle.MOST_DOUBTFUL_POSTS)
    assert episode_lifecycle.answered(third, Unknown("x"), NOW, RESUBMIT).due_at is None


def test_posts_that_were_surely_not_taken_do_not_count_as_doubtful() -> None:
    deferred = episode(State.SUBMITTING, attempts=9, deferrals=8)
    assert episode_lifecycle.answered(deferred, Unknown("x"), NOW, RESUBMIT).due_at is not None


def test_what_was_surely_not_taken_waits_ever_longer() -> None:
    waits = []
    current = episode(State.SUBMITTING)
    for _ in range(12):
        queued = episode_lifecycle.answered(current, Later("down"), NOW, HOLD)
        assert queued.due_at is not None
        waits.append(queued.due_at - NOW)
        current = replace(queued, state=State.SUBMITTING)
    assert waits[0] >= HOLD.poll_interval
    assert waits[3] > 4 * waits[0]
    assert max(waits) <= 1.25 * HOUR


def test_retry_after_is_obeyed() -> None:
    later = episode_lifecycle.answered(episode(State.SUBMITTING), Later("429", 3 * HOUR), NOW, HOLD)
    assert later.due_at == NOW + 3 * HOUR


def test_what_blocks_everybody_does_not_put_one_episode_off() -> None:
    blocked = episode_lifecycle.answered(
        episode(State.SUBMITTING), Later("401", blocked=True), NOW, HOLD
    )
    assert (blocked.state, blocked.due_at) == (State.QUEUED, NOW)


# Jobs


def test_how_far_a_job_is_is_kept_until_it_ends() -> None:
    under_way = Running(remote_status="Running", progress=40.0)
    current = job_lifecycle.polled(episode(State.PROCESSING), under_way, NOW, HOLD)
    assert current.remote_progress == 40.0
    assert job_lifecycle.polled(current, PROGRESS[2], NOW, HOLD).remote_progress is None
    to_the_next = job_lifecycle.polled(current, PROGRESS[2], NOW, HOLD, course=Course(Step.ADS))
    assert to_the_next.remote_progress is None


FINAL_AFTER = [
    (Broken(remote_status="AI_ERROR", reason="r", remote_updated_at="t1"), 5, "AI_ERROR: r"),
    (Lost("404"), 3, "lost: 404"),
]


@pytest.mark.parametrize(("progress", "polls", "reason"), FINAL_AFTER)
def test_what_speaks_against_a_job_is_final_after_several_polls_and_an_hour(
    progress: Progress, polls: int, reason: str
) -> None:
    current = episode(State.PROCESSING)
    for _ in range(2 * polls):
        current = job_lifecycle.polled(current, progress, NOW, HOLD)
        assert current.state is State.PROCESSING, "polls alone are not enough"
    failed = job_lifecycle.polled(current, progress, NOW + HOUR, HOLD)
    assert (failed.state, failed.reason) == (State.FAILED, reason)
    current = episode(State.PROCESSING)
    for count in range(polls):
        assert current.state is State.PROCESSING, "an hour alone is not enough"
        current = job_lifecycle.polled(current, progress, NOW + count * HOUR, HOLD)
    assert current.state is State.FAILED


@pytest.mark.parametrize(("progress", "polls", "reason"), FINAL_AFTER)
def test_the_job_of_a_failed_episode_is_polled_on_for_a_day_ever_more_slowly(
    progress: Progress, polls: int, reason: str
) -> None:
    current, now, waits = episode(State.PROCESSING), NOW, []
    while current.due_at is not None:
        now = current.due_at
        current = job_lifecycle.polled(current, progress, now, HOLD)
        if current.state is State.FAILED and current.due_at is not None:
            waits.append(current.due_at - now)
    assert (current.state, current.reason) == (State.FAILED, reason)
    assert current.finished_at is not None
    assert DAY <= now - current.finished_at < DAY + 2 * HOUR
    assert waits[-1] > 10 * waits[0]
    assert 20 < len(waits) < 150
    assert polls


def test_a_failed_job_that_mends_itself_makes_its_episode_ready() -> None:
    failed = episode(State.FAILED, due_at=NOW, finished_at=NOW - HOUR, cause=Cause.LOST)
    ready = job_lifecycle.polled(failed, PROGRESS[2], NOW, HOLD)
    assert (ready.state, ready.cause, ready.due_at) == (State.READY, None, None)
    assert ready.processed_url


def test_a_failed_job_that_is_under_way_again_is_polled_on_without_end() -> None:
    failed = episode(State.FAILED, finished_at=NOW - 9 * DAY, reason="ERROR: r")
    after = job_lifecycle.polled(failed, Running(remote_status="PUBLISHING"), NOW, HOLD)
    assert (after.state, after.reason) == (State.FAILED, "ERROR: r")
    assert after.due_at is not None


def test_where_all_jobs_of_a_podcast_are_lost_none_fails() -> None:
    current = episode(State.PROCESSING)
    for hours in range(9):
        current = job_lifecycle.polled(
            current, Lost("404"), NOW + hours * HOUR, HOLD, all_lost=True
        )
        assert current.state is State.PROCESSING
    assert (current.reason or "").startswith("lost:")


def test_polls_that_say_nothing_come_ever_less_often_but_every_ten_minutes() -> None:
    current, waits = episode(State.PROCESSING), []
    for failures in range(1, 12):
        current = job_lifecycle.polled(current, Unreachable("down"), NOW, HOLD, failures=failures)
        assert current.due_at is not None
        waits.append(current.due_at - NOW)
    assert waits[0] < waits[2] < waits[4]
    assert waits[0] < 2 * HOLD.poll_interval
    assert 10 * MINUTE <= waits[-1] <= 12.5 * MINUTE


def test_a_processed_url_that_is_the_originals_is_said() -> None:
    done = Finished(remote_status="READY", url="https://h/a.mp3")
    ready = job_lifecycle.polled(episode(State.PROCESSING), done, NOW, HOLD)
    assert (ready.state, ready.reason) == (State.READY, "its URL is the original's")


@pytest.mark.parametrize(
    "between",
    [
        Running(remote_status="AD_BREAK_PROCESSING"),
        Broken(remote_status="AI_ERROR", reason="r", remote_updated_at="later"),
        Broken(remote_status="PUBLISHING_ERROR", reason="r", remote_updated_at="t1"),
    ],
)
def test_an_error_that_moves_is_counted_anew(between: Progress) -> None:
    current = episode(State.PROCESSING)
    broken = Broken(remote_status="AI_ERROR", reason="r", remote_updated_at="t1")
    for _ in range(job_lifecycle.ERROR_STANDS - 1):
        current = job_lifecycle.polled(current, broken, NOW, HOLD)
    current = job_lifecycle.polled(current, between, NOW + HOUR, HOLD)
    for _ in range(job_lifecycle.ERROR_STANDS):
        current = job_lifecycle.polled(current, broken, NOW + HOUR, HOLD)
        assert current.state is State.PROCESSING


def test_an_error_that_the_api_calls_final_fails_at_once() -> None:
    broken = Broken(remote_status="Cancelled", reason="stopped", final=True)
    current = job_lifecycle.polled(episode(State.PROCESSING), broken, NOW, HOLD)
    assert (current.state, current.reason) == (State.FAILED, "Cancelled: stopped")
    assert (current.due_at, current.finished_at) == (None, NOW)


def test_an_unreachable_api_is_no_verdict_on_a_job() -> None:
    current = episode(State.PROCESSING)
    for _ in range(50):
        current = job_lifecycle.polled(current, Unreachable("down"), NOW, HOLD)
    assert (current.state, current.reason) == (State.PROCESSING, "down")


def test_a_job_that_the_api_does_not_know_is_lost() -> None:
    current = episode(State.PROCESSING)
    for hours in range(job_lifecycle.LOST_STANDS):
        current = job_lifecycle.polled(current, Lost("404"), NOW + hours * HOUR, HOLD)
    assert (current.state, current.cause) == (State.FAILED, Cause.LOST)
    assert (current.reason or "").startswith("lost:")


def test_a_cause_goes_with_the_state_that_it_explains() -> None:
    for before, after in ARROWS:
        polled_to_its_end = (before.state, after.state) == (State.PROCESSING, State.FAILED)
        if before.cause is Cause.LENGTH:
            continue  # skipped by a filter, and decided anew
        if Cause.DOUBTED in (before.cause, after.cause):
            continue
        went_on = (before.step, before.source_url) != (after.step, after.source_url)
        if before.state is after.state is State.QUEUED and went_on:
            continue
        if before.state is after.state and before.state is not State.PROCESSING:
            assert after.cause is before.cause
            continue
        if before.state is after.state:  # what the API last said of the job
            assert after.cause in (None, Cause.ERROR, Cause.LOST, Cause.NO_FILE)
            assert after.cause is not Cause.LOST or after.remote_status == "lost"
            continue
        lost = polled_to_its_end and after.remote_status == "lost"
        assert (after.cause is Cause.LOST) == lost, (before, after)


def test_a_doubt_about_what_comes_next_stays_as_long_as_a_job_and_then_holds() -> None:
    for before, after in ARROWS:
        if before.cause is not Cause.DOUBTED or after.step is not before.step:
            continue
        if after.state in (State.PROCESSING, State.FAILED) and before.media_id == after.media_id:
            assert after.cause is Cause.DOUBTED, (before, after)
    doubted = episode(State.PROCESSING, step=Step.ENHANCE, cause=Cause.DOUBTED)
    done = Finished(remote_status="Success", url="https://x/1.mp3")
    after = job_lifecycle.polled(doubted, done, NOW, HOLD, course=Course(Step.ADS))
    assert (after.state, after.step, after.cause) == (State.HELD, Step.ADS, None)


def test_that_doubt_outlives_a_lost_job_an_adopted_one_and_another_try() -> None:
    lost = episode(State.PROCESSING, step=Step.ENHANCE, cause=Cause.DOUBTED, remote_status="lost")
    unknown = episode_lifecycle.doubted(episode(State.UNKNOWN, step=Step.ENHANCE))
    for hours in range(job_lifecycle.LOST_STANDS):
        lost = job_lifecycle.polled(lost, Lost("404"), NOW + hours * HOUR, HOLD)
    assert is_lost(lost)
    done = Finished(remote_status="Success", url="https://x/1.mp3")
    ways = [episode_lifecycle.adopted(one, "m9", NOW) for one in (lost, unknown)]
    for one in (lost, unknown):
        again = episode_lifecycle.claimed(episode_lifecycle.retried(one, NOW), "p", NOW)
        ways.append(episode_lifecycle.answered(again, Accepted("m9"), NOW, HOLD))
    for way in ways:
        after = job_lifecycle.polled(way, done, NOW, HOLD, course=Course(Step.ADS))
        assert (after.state, after.step) == (State.HELD, Step.ADS), way


def test_an_overdue_job_is_reported_and_polled_on() -> None:
    old = episode(State.PROCESSING, submitted_at=NOW - 25 * HOUR)
    overdue = job_lifecycle.polled(old, Running(remote_status="PUBLISHING"), NOW, HOLD)
    assert (overdue.state, overdue.overdue) == (State.PROCESSING, True)
    assert (overdue.reason or "").startswith("overdue")
    ready = job_lifecycle.polled(overdue, PROGRESS[2], NOW, HOLD)
    assert (ready.state, ready.overdue) == (State.READY, False)


@given(st.timedeltas(timedelta(), 90 * DAY))
def test_polls_are_never_closer_than_the_interval_and_never_stop(age: timedelta) -> None:
    job = episode(State.PROCESSING, submitted_at=NOW - age)
    after = job_lifecycle.polled(job, Running(remote_status="PUBLISHING"), NOW, HOLD)
    assert after.due_at is not None
    assert HOLD.poll_interval <= after.due_at - NOW <= 7.5 * HOUR


# Feeds

FEED = Feed(id=1, name="show", url="https://h/feed", due_at=NOW)
ITEM = Item(guid="g", title="T", description="", enclosure_url="https://h/a.mp3", published_at=None)
PARSED = ParsedFeed(title="Show", items=(ITEM,))
DOCUMENT = Document(body=b"", url=FEED.url, etag='"2"', last_modified="yesterday")
INTERVAL = 15 * MINUTE


def test_a_failed_check_keeps_the_validators_and_counts() -> None:
    known = replace(FEED, etag='"1"', last_full_fetch_at=NOW, success_at=NOW - DAY)
    failed = feed_lifecycle.checked(known, Failed("no feed"), None, NOW, INTERVAL)
    assert (failed.etag, failed.last_full_fetch_at, failed.success_at) == ('"1"', NOW, NOW - DAY)
    assert (failed.failures, failed.error) == (1, "no feed")


def test_after_a_failure_the_document_is_asked_for_unconditionally() -> None:
    known = feed_lifecycle.checked(FEED, PARSED, DOCUMENT, NOW, INTERVAL)
    assert feed_lifecycle.may_ask_conditionally(known, NOW + HOUR)
    failed = feed_lifecycle.checked(known, Failed("x"), None, NOW, INTERVAL)
    assert not feed_lifecycle.may_ask_conditionally(failed, NOW + HOUR)


def test_a_document_is_asked_for_unconditionally_once_a_day_however_often_it_is_unchanged() -> None:
    known = feed_lifecycle.checked(FEED, PARSED, DOCUMENT, NOW, INTERVAL)
    for hours in range(23):
        known = feed_lifecycle.checked(known, NotModified(), None, NOW + hours * HOUR, INTERVAL)
    assert not feed_lifecycle.may_ask_conditionally(known, NOW + 24 * HOUR)


def test_a_good_check_takes_the_new_validators_and_clears_the_error() -> None:
    broken = replace(FEED, failures=3, error="x", etag='"1"')
    good = feed_lifecycle.checked(broken, PARSED, DOCUMENT, NOW, INTERVAL)
    assert (good.etag, good.failures, good.error) == ('"2"', 0, None)
    assert good.baseline_at == NOW


def test_the_baseline_is_taken_once() -> None:
    first = feed_lifecycle.checked(FEED, PARSED, DOCUMENT, NOW, INTERVAL)
    second = feed_lifecycle.checked(first, PARSED, DOCUMENT, NOW + DAY, INTERVAL)
    assert second.baseline_at == NOW


def test_a_failing_feed_is_checked_ever_less_often_but_at_least_daily() -> None:
    feed, waits = FEED, []
    for _ in range(20):
        feed = feed_lifecycle.checked(feed, Failed("x"), None, NOW, INTERVAL)
        assert feed.due_at is not None
        waits.append(feed.due_at - NOW)
    assert waits[0] < waits[4] < waits[8]
    assert max(waits) <= 1.25 * DAY


def test_a_feed_that_is_gone_is_still_looked_at() -> None:
    gone = feed_lifecycle.checked(FEED, Gone(), None, NOW, INTERVAL)
    assert gone.due_at is not None
    assert NOW + DAY <= gone.due_at <= NOW + 1.25 * DAY
    assert "410" in (gone.error or "")
    assert gone.error_kind is ErrorKind.GONE
    for outcome in (Failed("x"), NotModified()):
        after = feed_lifecycle.checked(gone, outcome, None, NOW, INTERVAL)
        assert after.error_kind is None


def test_a_feed_without_items_is_a_failure_but_what_comes_next_is_new() -> None:
    empty = feed_lifecycle.checked(FEED, replace(PARSED, items=()), DOCUMENT, NOW, INTERVAL)
    assert (empty.failures, empty.error) == (1, "the feed has no items")
    assert empty.baseline_at == NOW
    assert empty.success_at is None


# The gate


def test_a_doubtful_answer_trips_the_breaker_ever_longer_even_if_reads_succeed() -> None:
    breaker, waits = CircuitBreaker(), []
    for _ in range(14):
        breaker = circuit_breaker.breaker_after_answer(breaker, 7, Unknown("x"), NOW, HOLD)
        assert breaker.tripped_until is not None
        waits.append(breaker.tripped_until - NOW)
        breaker = circuit_breaker.breaker_after_read(breaker, None, NOW, HOLD)
        assert breaker.tripped_until is None
    assert waits[0] < waits[3] < waits[6]
    assert 6 * HOUR <= max(waits) <= 7.5 * HOUR


def test_a_clear_answer_closes_the_breaker_for_good_and_leaves_a_persons_pause() -> None:
    shut = CircuitBreaker(
        paused=True, tripped_until=NOW, reason="x", failures=4, doubtful_posts=2, blocked=True
    )
    for answer in (Accepted("m"), Refused("400")):
        assert circuit_breaker.breaker_after_answer(shut, 7, answer, NOW, HOLD) == CircuitBreaker(
            paused=True
        )


def test_a_failed_read_keeps_the_breaker_tripped_and_looks_again_within_minutes() -> None:
    breaker = CircuitBreaker()
    for _ in range(20):
        breaker = circuit_breaker.breaker_after_read(breaker, Later("down"), NOW, HOLD)
        assert breaker.tripped_until is not None
        assert NOW < breaker.tripped_until <= NOW + 6.25 * MINUTE


def test_what_a_person_must_mend_is_told_from_what_passes() -> None:
    assert circuit_breaker.breaker_after_answer(
        CircuitBreaker(), 7, Later("401", blocked=True), NOW, HOLD
    ).blocked
    assert not circuit_breaker.breaker_after_answer(
        CircuitBreaker(), 7, Later("503"), NOW, HOLD
    ).blocked


# Odd answers

ODD_LATER, ODD_UNKNOWN = Later("400 {}", odd=True), Unknown("403 <html>", odd=True)
CLEAR: list[Answer] = [Accepted("m"), Refused("400")]


def test_status_tells_when_the_read_is_tried_that_resets_the_breaker() -> None:
    tripped = CircuitBreaker(tripped_until=NOW + MINUTE)
    in_a_minute = f"at {NOW + MINUTE:%Y-%m-%d %H:%M:%S}Z"
    assert circuit_breaker.next_read(tripped, NOW, NOW) == in_a_minute
    assert circuit_breaker.next_read(tripped, NOW, NOW + MINUTE) == "now"
    assert circuit_breaker.next_read(tripped, NOW + 2 * MINUTE, NOW) == (
        f"at {NOW + 2 * MINUTE:%Y-%m-%d %H:%M:%S}Z"
    ), "an episode that was deferred for longer"
    for now in (NOW, NOW + MINUTE):
        assert circuit_breaker.next_read(tripped, None, now) == "once an episode is due"
    blocked = replace(tripped, blocked=True)
    assert circuit_breaker.next_read(blocked, None, NOW) == in_a_minute
    assert circuit_breaker.next_read(blocked, None, NOW + MINUTE) == "now"
    assert circuit_breaker.next_read(replace(tripped, paused=True), NOW, NOW) is None
    assert circuit_breaker.next_read(CircuitBreaker(), NOW, NOW) is None


def breaker_after(*answers: tuple[int, Answer]) -> CircuitBreaker:
    """The breaker after these answers, each to the POST of an episode; reads succeed in between."""
    breaker = CircuitBreaker()
    for number, answer in answers:
        breaker = circuit_breaker.breaker_after_read(breaker, None, NOW, HOLD)
        breaker = circuit_breaker.breaker_after_answer(breaker, number, answer, NOW, HOLD)
    return breaker


def test_an_odd_answer_in_the_apis_voice_leaves_the_breaker_as_it_was() -> None:
    for times in range(1, 5):
        breaker = breaker_after(*[(1, ODD_LATER)] * times)
        assert breaker.tripped_until is None
        assert breaker.odd_answers == times


def test_an_odd_answer_in_another_voice_trips_the_breaker_for_one_poll_interval() -> None:
    for times in range(1, 5):
        breaker = breaker_after(*[(1, ODD_UNKNOWN)] * times)
        assert breaker.tripped_until == NOW + HOLD.poll_interval
        assert breaker.doubtful_posts == 0


@pytest.mark.parametrize("first", [ODD_LATER, ODD_UNKNOWN])
@pytest.mark.parametrize("second", [ODD_LATER, ODD_UNKNOWN])
def test_odd_answers_about_two_episodes_are_the_apis(first: Answer, second: Answer) -> None:
    answers, waits = [(1, first)], []
    for number in (2, 1, 1, 2, 3, 3, 3, 1):
        answers.append((number, second))
        breaker = breaker_after(*answers)
        assert breaker.tripped_until is not None
        waits.append(breaker.tripped_until - NOW)
        assert breaker.odd_answers == 0, "it counts towards nobody's three"
    assert waits[0] < waits[3] < waits[6]


@pytest.mark.parametrize("clear", CLEAR)
def test_a_clear_answer_in_between_makes_them_the_episodes_own(clear: Answer) -> None:
    breaker = breaker_after((1, ODD_LATER), (3, clear), (2, ODD_LATER))
    assert (breaker.tripped_until, breaker.odd_answers) == (None, 1)
    stopped = breaker_after((1, ODD_LATER), (2, ODD_LATER), (3, clear), (2, ODD_LATER))
    assert (stopped.tripped_until, stopped.odd_answers) == (None, 1)


@pytest.mark.parametrize("other", [Later("503"), Unknown("no answer"), Later("401", blocked=True)])
def test_what_is_not_clear_in_between_changes_nothing(other: Answer) -> None:
    breaker = breaker_after((1, ODD_LATER), (3, other), (2, ODD_LATER))
    assert breaker.odd_answers == 0
    assert breaker.tripped_until is not None


def test_an_episode_that_gets_odd_answers_backs_off_alone_and_is_held_at_its_third() -> None:
    sent = episode(State.SUBMITTING)
    for odd_answers, state in ((1, State.QUEUED), (2, State.QUEUED), (3, State.HELD)):
        after = episode_lifecycle.answered(sent, ODD_LATER, NOW, HOLD, odd_answers)
        assert (after.state, after.reason) == (state, ODD_LATER.reason)
        assert after.due_at is None or after.due_at >= NOW + HOLD.poll_interval
    everybodys = episode_lifecycle.answered(sent, ODD_LATER, NOW, HOLD, 0)
    assert (everybodys.state, everybodys.due_at) == (State.QUEUED, NOW), "the breaker waits for it"
    other = episode_lifecycle.answered(sent, Later("429"), NOW, HOLD, 3)
    assert other.state is State.QUEUED


def test_refused_polls_trip_the_breaker_once_however_many_there_are() -> None:
    first = circuit_breaker.breaker_after_refused_poll(CircuitBreaker(), "401", NOW, HOLD)
    assert first.blocked
    assert first.tripped_until is not None
    again = circuit_breaker.breaker_after_refused_poll(first, "401", NOW, HOLD)
    assert again == first


# Hints


@given(
    st.timedeltas(timedelta(), timedelta(days=9999)).map(NOW.__add__),
    st.timedeltas(timedelta(seconds=1), timedelta(days=30)),
    st.timedeltas(timedelta(), timedelta(days=400)),
    st.integers(0, 2**24 - 1),
    st.integers(0, 127),
    st.text(),
)
def test_no_hints_make_a_feed_due_so_late_that_it_counts_as_due_now(
    now: datetime, interval: timedelta, every: timedelta, hours: int, days: int, name: str
) -> None:
    hints = Hints(every=every, skip_hours=hours, skip_days=days)
    document = replace(DOCUMENT, hints=hints, http_max_age=every)
    after = feed_lifecycle.checked(replace(FEED, name=name), PARSED, document, now, interval)
    assert after.due_at is not None
    assert interval <= after.due_at - now < horizon(interval)


def test_the_longest_waits_by_hints_stay_below_the_horizon() -> None:
    # Saturday noon, a day's interval, and nothing to be done before Tuesday.
    hints = Hints(every=9 * DAY, skip_days=0b1100001)
    for interval in (6 * HOUR, DAY):
        document = replace(DOCUMENT, hints=hints)
        after = feed_lifecycle.checked(FEED, PARSED, document, NOW, interval)
        assert after.due_at is not None
        assert after.due_at - NOW < horizon(interval)


def test_what_was_skipped_while_it_was_in_doubt_may_still_be_taken() -> None:
    sent = episode(State.SUBMITTING, submitted_at=NOW, attempts=1)
    doubt = episode_lifecycle.presumed_lost(sent, NOW, HOLD)
    assert may_be_taken(doubt)
    assert may_be_taken(episode_lifecycle.skipped(doubt))
    assert not may_be_taken(episode(State.SKIPPED, submitted_at=None))
