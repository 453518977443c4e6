"""What a feed, an episode or the gate becomes once this has happened to it. Pure.

Each function is named for what has happened. Of an episode, each is an arrow, or a fork, of the
diagram in docs/states.md.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from feedwatch.core import redirects
from feedwatch.core.feed import (
    Accepted,
    Answer,
    Broken,
    Document,
    Episode,
    Failed,
    Feed,
    Finished,
    Gate,
    Gone,
    Later,
    Lost,
    NotModified,
    OnUnknown,
    ParsedFeed,
    Policy,
    Progress,
    Refused,
    Running,
    Same,
    State,
    Unknown,
    Unreachable,
)
from feedwatch.core.schedule import (
    backoff,
    expected_by,
    horizon,
    lengthened,
    next_check,
    next_poll,
    past_skips,
)

LEASE = timedelta(minutes=3)  # longer than a POST can take, see processors.http.POST_SECONDS
RESUBMIT_AFTER = timedelta(hours=1)  # an accepted job's traces, if any, are seen by a person first
MOST_DOUBTFUL_POSTS = 3  # of one episode; then it waits for a person whatever the policy
ERROR_STANDS = 5  # polls; the server tries again by itself, so an error may pass
LOST_STANDS = 3  # polls; a job just accepted may not be readable at once

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class IllegalMoveError(Exception):
    """Something was done to an episode that is in no state for it. `str()` is for people."""


# Feeds


def checked(
    feed: Feed,
    outcome: ParsedFeed | NotModified | Same | Gone | Failed,
    document: Document | None,
    now: datetime,
    interval: timedelta,
    *,
    found_new: bool = False,
    shown: int = 0,
    published: Sequence[datetime] | None = None,
) -> Feed:
    """The feed after a check.

    `document` is what a `ParsedFeed` was read from, `shown` how many episodes it has. If any of
    them is new, or its rhythm is unknown, `published` has when the latest ones were published.
    """
    match outcome:
        case Failed(reason, retry_after):
            return _check_failed(feed, reason, now, interval, retry_after)
        case Gone():
            return _check_failed(feed, "gone: the server answered 410", now, interval, DAY)
        case ParsedFeed(items=(), unchanged=0):
            # A show that has not begun is no error of ours, but a show that lost all its episodes
            # looks the same. Either way a person should know; what is published next is new.
            failed = _check_failed(feed, "the feed has no items", now, interval, None)
            if feed.baseline_at is not None:
                return failed
            return replace(failed, baseline_at=now, doubted_before=now)
    answer = outcome.document if isinstance(outcome, Same) else document or outcome
    after = replace(
        _heard(feed, published, now, found_new=found_new),
        checked_at=now,
        success_at=now,
        failures=0,
        error=None,
    )
    if isinstance(answer, Document | NotModified):
        after = redirects.led(after, answer.moved, now)
        after = replace(after, fresh=_seconds(answer.fresh) or after.fresh)
    if isinstance(outcome, Same):
        same = outcome.document
        after = replace(after, etag=same.etag, last_modified=same.last_modified, full_at=now)
    if isinstance(outcome, NotModified | Same) or document is None:
        return replace(after, due_at=_next_check(after, now, interval))
    after = replace(
        after,
        etag=document.etag,
        last_modified=document.last_modified,
        full_at=now,
        body_mark=document.mark,
        answered=feed.answered if outcome.unchanged else feed.asked,
        baseline_at=feed.baseline_at or now,
        new_at=now if found_new else feed.new_at,
        shown=shown,
        fresh=_seconds(document.fresh),
        hinted=_seconds(document.hints.every),
        skip_hours=document.hints.skip_hours,
        skip_days=document.hints.skip_days,
    )
    return replace(after, due_at=_next_check(after, now, interval))


def _heard(
    feed: Feed, published: Sequence[datetime] | None, now: datetime, *, found_new: bool
) -> Feed:
    """The feed after a good answer, which may end a silence, or show that there is one."""
    if published is not None:
        # Of a feed that we have not followed so far, the silence began with its latest episode.
        latest = min(max(published, default=now), now)
        followed = feed.expected_by is not None or (found_new and feed.baseline_at is not None)
        since = now if followed else latest
        feed = replace(feed, expected_by=expected_by(published, since), silent_since=None)
    if feed.silent_since is None and feed.expected_by is not None and now > feed.expected_by:
        return replace(feed, silent_since=now)
    return feed


def _next_check(feed: Feed, now: datetime, interval: timedelta) -> datetime:
    """After a good answer: when the config says, or later if the publisher asks for that."""
    asked = (timedelta(seconds=one) for one in (feed.hinted, feed.fresh) if one is not None)
    due_at = next_check(now, lengthened(interval, *asked), key=feed.name)
    hours, days = feed.skip_hours or 0, feed.skip_days or 0
    room = now + horizon(interval) - due_at - HOUR  # what is due beyond it counts as due now
    at_most = min(max(interval, DAY), room)
    return past_skips(due_at, hours, days, at_most=at_most, key=feed.name)


def _seconds(length: timedelta | None) -> int | None:
    return int(length.total_seconds()) if length is not None else None


def read_by(feed: Feed, media_types: Sequence[str], now: datetime) -> Feed:
    """The feed, about to be read with `media_types` counting as episodes.

    Where these have changed, old items may turn up that were no episodes before.
    """
    stated = ",".join(media_types)
    if feed.media_types in (None, stated):
        return replace(feed, media_types=stated)
    return replace(feed, media_types=stated, doubted_before=now, full_at=None)


def may_ask_conditionally(feed: Feed, now: datetime) -> bool:
    """Whether to send the validators: never after an error nor for longer than a day on end."""
    if feed.failures or feed.full_at is None or feed.asked != feed.answered:
        return False
    return timedelta() <= now - feed.full_at < DAY  # a time to come is a clock's error


def _check_failed(
    feed: Feed, reason: str, now: datetime, interval: timedelta, asked: timedelta | None
) -> Feed:
    failures = feed.failures + 1
    after = redirects.failed(replace(feed, checked_at=now, failures=failures, error=reason))
    if after.address != feed.address:  # another address, which has not failed yet
        return replace(after, due_at=next_check(now, interval, key=feed.name))
    due_at = next_check(now, interval, key=feed.name, failures=failures, asked=asked)
    return replace(after, due_at=due_at)


# Submissions


def claimed(episode: Episode, podcast_id: str, now: datetime) -> Episode:
    """Commit this before the POST leaves: it tells a later process that one may have."""
    _must_be(episode, "submitted", State.QUEUED)
    return replace(
        episode,
        state=State.SUBMITTING,
        reason=None,
        due_at=now + LEASE,
        podcast_id=podcast_id,
        attempts=episode.attempts + 1,
        submitted_at=now,
    )


def answered(episode: Episode, answer: Answer, now: datetime, policy: Policy) -> Episode:
    """What the API said to our POST."""
    _must_be(episode, "answered", State.SUBMITTING)
    match answer:
        case Accepted(media_id, remote_status):
            return _accepted(episode, media_id, now + policy.poll_interval, remote_status)
        case Refused(reason):
            return _failed(episode, f"refused: {reason}", now)
        case Later(reason, retry_after, blocked):
            deferrals = episode.deferrals + 1
            wait = backoff(deferrals, first=policy.poll_interval, most=HOUR, key=str(episode.id))
            # What blocks every submission is waited for at the gate, by none of them alone.
            due_at = now if blocked else now + max(wait, retry_after or timedelta())
            return replace(
                episode,
                state=State.QUEUED,
                reason=reason,
                due_at=due_at,
                deferrals=deferrals,
                submitted_at=None,
            )
        case Unknown(reason):
            return _doubtful(episode, reason, now, policy)


def presumed_lost(episode: Episode, now: datetime, policy: Policy) -> Episode:
    """The lease ran out with no answer written down: the process died in between."""
    _must_be(episode, "presumed lost", State.SUBMITTING)
    return _doubtful(episode, "feedwatch stopped between sending and the answer", now, policy)


def resubmitted(episode: Episode, now: datetime) -> Episode:
    """The policy for doubtful submissions says to send it again."""
    _must_be(episode, "submitted again", State.UNKNOWN)
    reason = "sent again by FEEDWATCH_ON_UNKNOWN=resubmit"
    return replace(episode, state=State.QUEUED, reason=reason, due_at=now)


def _accepted(
    episode: Episode, media_id: str, due_at: datetime, remote_status: str | None
) -> Episode:
    return replace(
        episode,
        state=State.PROCESSING,
        reason=None,
        due_at=due_at,
        media_id=media_id,
        remote_status=remote_status,
        remote_stood=0,
        deferrals=0,
    )


def _doubtful(episode: Episode, reason: str, now: datetime, policy: Policy) -> Episode:
    doubtful_posts = episode.attempts - episode.deferrals
    again = policy.on_unknown is OnUnknown.RESUBMIT and doubtful_posts < MOST_DOUBTFUL_POSTS
    return replace(
        episode,
        state=State.UNKNOWN,
        reason=f"may or may not have been taken: {reason}",
        due_at=now + RESUBMIT_AFTER if again else None,
    )


# Jobs


def polled(episode: Episode, progress: Progress, now: datetime, policy: Policy) -> Episode:
    """What the API said of a job."""
    _must_be(episode, "polled", State.PROCESSING)
    match progress:
        case Finished():
            return _ready(episode, progress, now)
        case Broken(remote_status=status, reason=reason, remote_updated_at=stamp):
            seen = _standing(episode, status, stamp)
            if seen.remote_stood >= ERROR_STANDS:
                seen = replace(seen, failed_attempts=progress.failed_attempts)
                return _failed(seen, f"{status}: {reason}", now)
            return _still_processing(seen, f"{status}: {reason}", now, policy)
        case Lost(reason):
            seen = _standing(episode, "lost", None)
            if seen.remote_stood >= LOST_STANDS:
                return _failed(seen, f"lost: {reason}", now)
            return _still_processing(seen, f"lost: {reason}", now, policy)
        case Running(remote_status=status, remote_updated_at=stamp):
            return _still_processing(_standing(episode, status, stamp), None, now, policy)
        case Unreachable(reason, retry_after):
            return _still_processing(episode, reason, now, policy, retry_after)


def _ready(episode: Episode, result: Finished, now: datetime) -> Episode:
    return replace(
        episode,
        state=State.READY,
        reason=None,
        due_at=None,
        remote_status=result.remote_status,
        remote_updated_at=result.remote_updated_at,
        remote_created_at=result.remote_created_at,
        remote_stood=1,
        processed_url=result.processed_url,
        duration=result.duration,
        ad_removal_markers=result.ad_removal_markers,
        failed_attempts=result.failed_attempts,
        overdue=False,
        finished_at=now,
    )


def _standing(episode: Episode, status: str, stamp: str | None) -> Episode:
    """Count for how many polls in a row the same word has stood."""
    same = episode.remote_status == status and episode.remote_updated_at == stamp
    return replace(
        episode,
        remote_status=status,
        remote_updated_at=stamp,
        remote_stood=episode.remote_stood + 1 if same else 1,
    )


def _still_processing(
    episode: Episode,
    reason: str | None,
    now: datetime,
    policy: Policy,
    asked: timedelta | None = None,
) -> Episode:
    since = episode.submitted_at or episode.first_seen_at
    overdue = now - since >= policy.job_deadline
    if overdue and reason is None:
        reason = f"overdue: not final {policy.job_deadline} after it was submitted"
    due_at = next_poll(now, since, policy.poll_interval, key=str(episode.id), asked=asked)
    return replace(episode, reason=reason, due_at=due_at, overdue=overdue)


def _failed(episode: Episode, reason: str, now: datetime) -> Episode:
    return replace(episode, state=State.FAILED, reason=reason, due_at=None, finished_at=now)


# What a person decides


def approved(episode: Episode, now: datetime) -> Episode:
    """A held episode may go."""
    _must_be(episode, "approved", State.HELD)
    return replace(episode, state=State.QUEUED, reason="approved", due_at=now)


def skipped(episode: Episode) -> Episode:
    """An episode is never to be submitted."""
    _must_be(episode, "skipped", State.HELD, State.QUEUED, State.UNKNOWN)
    return replace(episode, state=State.SKIPPED, reason="skipped by a person", due_at=None)


def doubted(episode: Episode) -> Episode:
    """The database turned out to be older than what was submitted from it."""
    _must_be(episode, "held", State.QUEUED)
    reason = "the database was restored: this may have been submitted meanwhile"
    return replace(episode, state=State.HELD, reason=reason, due_at=None)


def retried(episode: Episode, now: datetime) -> Episode:
    """An episode is to be submitted again, whatever came of it before."""
    _must_be(episode, "retried", State.FAILED, State.UNKNOWN, State.SKIPPED)
    return replace(
        episode,
        state=State.QUEUED,
        reason="submitted again by a person"
        + (", once its description has been read from the feed" * (episode.description is None)),
        due_at=now,
        attempts=0,
        deferrals=0,
        podcast_id=None,
        media_id=None,
        remote_status=None,
        remote_updated_at=None,
        remote_created_at=None,
        remote_stood=0,
        failed_attempts=None,
        overdue=False,
        submitted_at=None,
        finished_at=None,
    )


def adopted(episode: Episode, media_id: str, now: datetime) -> Episode:
    """The doubtful submission was taken, and this is the name of its job.

    A lost job may be adopted again: perhaps the name was wrong.
    """
    if not is_lost(episode):
        _must_be(episode, "adopted", State.UNKNOWN)
    return replace(_accepted(episode, media_id, now, None), finished_at=None)


def may_be_taken(episode: Episode) -> bool:
    """Whether a job may exist for an episode that is about to be submitted again.

    Also of one that was skipped while this was in doubt.
    """
    skipped_in_doubt = episode.state is State.SKIPPED and episode.submitted_at is not None
    return episode.state is State.UNKNOWN or skipped_in_doubt or is_lost(episode)


def is_lost(episode: Episode) -> bool:
    """Whether the episode was submitted, and the API says that it knows nothing of the job."""
    return episode.state is State.FAILED and (episode.reason or "").startswith("lost:")


def _must_be(episode: Episode, what: str, *states: State) -> None:
    if episode.state not in states:
        wanted = " or ".join(states)
        raise IllegalMoveError(
            f"episode {episode.id} is {episode.state}; only what is {wanted} can be {what}"
        )


# The gate


def is_shut(gate: Gate, now: datetime) -> bool:
    """Whether it is too early to try a read. A time too far ahead is a clock's error."""
    return gate.closed_until is not None and now < gate.closed_until <= now + 2 * DAY


def gate_after_answer(gate: Gate, answer: Answer, now: datetime, policy: Policy) -> Gate:
    """A clear answer opens it for good; anything else closes it for a while."""
    match answer:
        case Accepted() | Refused():
            return Gate(paused=gate.paused)
        case Later():
            return _closed(gate, answer, now, policy)
        case Unknown(reason):
            return gate_after_doubt(gate, reason, now, policy)


def gate_after_doubt(gate: Gate, reason: str, now: datetime, policy: Policy) -> Gate:
    """Each doubtful submission needs a person, so the next one waits ever longer."""
    doubts = gate.doubts + 1
    wait = backoff(doubts, first=policy.poll_interval, most=6 * HOUR, key="doubt")
    return replace(gate, closed_until=now + wait, reason=reason, doubts=doubts)


def gate_after_read(gate: Gate, failure: Later | None, now: datetime, policy: Policy) -> Gate:
    """A safe read was tried. One that succeeds opens the gate; the rest stays until a POST does.

    Reads may succeed while POSTs do not: the next doubt or failure must not start from scratch.
    """
    if failure is None:
        return replace(gate, closed_until=None, blocked=False)
    return _closed(gate, failure, now, policy)


def gate_after_new_access(gate: Gate, now: datetime) -> Gate:
    """The API's key or address has changed: a person may have mended it, so a read is tried."""
    return replace(gate, closed_until=now) if gate.blocked else gate


def _closed(gate: Gate, cause: Later, now: datetime, policy: Policy) -> Gate:
    failures = gate.failures + 1
    most = max(policy.poll_interval, 5 * MINUTE)  # a read costs nothing, so look often
    wait = backoff(failures, first=policy.poll_interval, most=most, key="gate")
    wait = max(wait, min(cause.retry_after or timedelta(), DAY))
    return replace(
        gate,
        closed_until=now + wait,
        reason=cause.reason,
        failures=failures,
        blocked=cause.blocked,
    )
