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

from feedwatch.core import circuit_breaker, episode_lifecycle, feed_lifecycle
from feedwatch.core.circuit_breaker import CircuitBreaker
from feedwatch.core.episode import Cause, Episode, State
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
from feedwatch.core.schedule import horizon
from feedwatch.core.settings import OnUnknown, Policy
from feedwatch.processors.http import POST_SECONDS

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
    Unknown("no answer"),
]
PROGRESS: list[Progress] = [
    Running(remote_status="PUBLISHING"),
    Running(remote_status="NEW_WORD", known=False),
    Finished(remote_status="READY", processed_url="https://x/1.mp3"),
    Broken(remote_status="AI_ERROR", reason="r"),
    Lost("404"),
    Unreachable("down"),
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
        due_at=NOW,
        attempts=1,
        podcast_id="p",
        media_id="m" if state in (State.PROCESSING, State.READY) else None,
        submitted_at=NOW - MINUTE if state is not State.QUEUED else None,
    )
    return replace(base, **values)  # type: ignore[arg-type]


HistoryEntry = Callable[[Episode], Episode]


def moves() -> Iterator[HistoryEntry]:
    """Everything that can happen to an episode, in every way that makes a difference."""
    yield lambda e: episode_lifecycle.claimed(e, "p", NOW)
    yield lambda e: episode_lifecycle.approved(e, NOW)
    yield episode_lifecycle.skipped
    yield episode_lifecycle.doubted
    yield lambda e: episode_lifecycle.retried(e, NOW)
    yield lambda e: episode_lifecycle.resubmitted(e, NOW)
    yield lambda e: episode_lifecycle.adopted(e, "m9", NOW)
    for policy in (HOLD, RESUBMIT):
        yield lambda e, p=policy: episode_lifecycle.presumed_lost(e, NOW, p)  # type: ignore[misc]
        for answer in ANSWERS:
            yield lambda e, a=answer, p=policy: episode_lifecycle.answered(e, a, NOW, p)  # type: ignore[misc]
        for progress in PROGRESS:
            yield lambda e, g=progress, p=policy: episode_lifecycle.polled(e, g, NOW, p)  # type: ignore[misc]


def episodes() -> Iterator[Episode]:
    for state, attempts, stood, age in itertools.product(State, (1, 3), (1, 4), (0, 48)):
        for status in ("AI_ERROR", "lost", None):
            yield episode(
                state,
                attempts=attempts,
                remote_status=status,
                remote_stood=stood,
                submitted_at=NOW - age * HOUR,
                reason="r",
                cause=Cause.LOST if status == "lost" else None,
            )


def arrows() -> list[tuple[Episode, Episode]]:
    found = []
    for before, move in itertools.product(episodes(), moves()):
        try:
            found.append((before, move(before)))
        except IllegalMoveError:
            continue
    return found


ARROWS = arrows()


def test_the_diagram_is_the_code() -> None:
    diagram = STATES_MD.read_text(encoding="utf-8")
    drawn = set(re.findall(r"^    (\w+) --> (\w+)", diagram, re.MULTILINE))
    assert {(before.state.value, after.state.value) for before, after in ARROWS} == drawn


def test_whoever_waits_for_time_is_due_and_nobody_else() -> None:
    for before, after in ARROWS:
        waits_for_time = after.state in (State.QUEUED, State.SUBMITTING, State.PROCESSING)
        if after.state is not State.UNKNOWN:
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


def test_an_error_is_final_only_after_it_has_stood_for_several_polls() -> None:
    current = episode(State.PROCESSING)
    broken = Broken(remote_status="AI_ERROR", reason="r", remote_updated_at="t1")
    for _ in range(episode_lifecycle.ERROR_STANDS - 1):
        current = episode_lifecycle.polled(current, broken, NOW, HOLD)
        assert current.state is State.PROCESSING
    failed = episode_lifecycle.polled(current, broken, NOW, HOLD)
    assert (failed.state, failed.reason) == (State.FAILED, "AI_ERROR: r")


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
    for _ in range(episode_lifecycle.ERROR_STANDS - 1):
        current = episode_lifecycle.polled(current, broken, NOW, HOLD)
    current = episode_lifecycle.polled(current, between, NOW, HOLD)
    assert episode_lifecycle.polled(current, broken, NOW, HOLD).state is State.PROCESSING


def test_an_unreachable_api_is_no_verdict_on_a_job() -> None:
    current = episode(State.PROCESSING)
    for _ in range(50):
        current = episode_lifecycle.polled(current, Unreachable("down"), NOW, HOLD)
    assert (current.state, current.reason) == (State.PROCESSING, "down")


def test_a_job_that_the_api_does_not_know_is_lost() -> None:
    current = episode(State.PROCESSING)
    for _ in range(episode_lifecycle.LOST_STANDS):
        current = episode_lifecycle.polled(current, Lost("404"), NOW, HOLD)
    assert (current.state, current.cause) == (State.FAILED, Cause.LOST)
    assert (current.reason or "").startswith("lost:")


def test_a_cause_goes_with_the_state_that_it_explains() -> None:
    for before, after in ARROWS:
        polled_to_its_end = (before.state, after.state) == (State.PROCESSING, State.FAILED)
        lost = polled_to_its_end and after.remote_status == "lost"
        assert (after.cause is Cause.LOST) == lost, (before, after)


def test_an_overdue_job_is_reported_and_polled_on() -> None:
    old = episode(State.PROCESSING, submitted_at=NOW - 25 * HOUR)
    overdue = episode_lifecycle.polled(old, Running(remote_status="PUBLISHING"), NOW, HOLD)
    assert (overdue.state, overdue.overdue) == (State.PROCESSING, True)
    assert (overdue.reason or "").startswith("overdue")
    ready = episode_lifecycle.polled(overdue, PROGRESS[2], NOW, HOLD)
    assert (ready.state, ready.overdue) == (State.READY, False)


@given(st.timedeltas(timedelta(), 90 * DAY))
def test_polls_are_never_closer_than_the_interval_and_never_stop(age: timedelta) -> None:
    job = episode(State.PROCESSING, submitted_at=NOW - age)
    after = episode_lifecycle.polled(job, Running(remote_status="PUBLISHING"), NOW, HOLD)
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


def test_a_doubtful_answer_shuts_the_gate_ever_longer_even_if_reads_succeed() -> None:
    breaker, waits = CircuitBreaker(), []
    for _ in range(14):
        breaker = circuit_breaker.breaker_after_answer(breaker, Unknown("x"), NOW, HOLD)
        assert breaker.tripped_until is not None
        waits.append(breaker.tripped_until - NOW)
        breaker = circuit_breaker.breaker_after_read(breaker, None, NOW, HOLD)
        assert breaker.tripped_until is None
    assert waits[0] < waits[3] < waits[6]
    assert 6 * HOUR <= max(waits) <= 7.5 * HOUR


def test_a_clear_answer_opens_the_gate_for_good_and_leaves_a_persons_pause() -> None:
    shut = CircuitBreaker(
        paused=True, tripped_until=NOW, reason="x", failures=4, doubtful_posts=2, blocked=True
    )
    for answer in (Accepted("m"), Refused("400")):
        assert circuit_breaker.breaker_after_answer(shut, answer, NOW, HOLD) == CircuitBreaker(
            paused=True
        )


def test_a_failed_read_keeps_the_gate_shut_and_looks_again_within_minutes() -> None:
    breaker = CircuitBreaker()
    for _ in range(20):
        breaker = circuit_breaker.breaker_after_read(breaker, Later("down"), NOW, HOLD)
        assert breaker.tripped_until is not None
        assert NOW < breaker.tripped_until <= NOW + 6.25 * MINUTE


def test_what_a_person_must_mend_is_told_from_what_passes() -> None:
    assert circuit_breaker.breaker_after_answer(
        CircuitBreaker(), Later("401", blocked=True), NOW, HOLD
    ).blocked
    assert not circuit_breaker.breaker_after_answer(
        CircuitBreaker(), Later("503"), NOW, HOLD
    ).blocked


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
    assert episode_lifecycle.may_be_taken(doubt)
    assert episode_lifecycle.may_be_taken(episode_lifecycle.skipped(doubt))
    assert not episode_lifecycle.may_be_taken(episode(State.SKIPPED, submitted_at=None))
