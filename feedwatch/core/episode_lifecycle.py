"""What a feed, an episode or the gate becomes once this has happened to it. Pure.

Each function is named for what has happened. Of an episode, each is an arrow, or a fork, of the
diagram in docs/states.md.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from feedwatch.core.episode import Episode, State
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
from feedwatch.core.schedule import (
    HOUR,
    backoff,
    next_poll,
)
from feedwatch.core.settings import OnUnknown, Policy

LEASE = timedelta(minutes=3)  # longer than a POST can take, see processors.http.POST_SECONDS
RESUBMIT_AFTER = timedelta(hours=1)  # an accepted job's traces, if any, are seen by a person first
MOST_DOUBTFUL_POSTS = 3  # of one episode; then it waits for a person whatever the policy
ERROR_STANDS = 5  # polls; the server tries again by itself, so an error may pass
LOST_STANDS = 3  # polls; a job just accepted may not be readable at once


class IllegalMoveError(Exception):
    """Something was done to an episode that is in no state for it. `str()` is for people."""


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
