"""Episode lifecycle: each function is an arrow, or a fork, of the diagram in docs/states.md. Pure.

It is named for what has happened, takes the episode before and returns the episode after.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from feedwatch.core import job
from feedwatch.core.episode import Cause, Episode, State
from feedwatch.core.ledger import PERHAPS_PAID, Claim, paid_reason
from feedwatch.core.schedule import HOUR, backoff, fraction, next_poll
from feedwatch.core.settings import OnUnknown, Policy

LEASE = timedelta(minutes=3)  # longer than a POST can take, see processors.http.POST_SECONDS
RESUBMIT_AFTER = timedelta(hours=1)  # time for a person to see a job that was accepted after all
MOST_DOUBTFUL_POSTS = 3  # of one episode; then it waits for a person whatever the policy
ERROR_STANDS = 5  # polls in a row; the server retries by itself, so an error may pass
LOST_STANDS = 3  # polls in a row; a job that was just accepted may not be readable at once


class IllegalMoveError(Exception):
    """The episode is in no state for what was to be done to it. `str()` is for people."""


# Submissions


def claimed(episode: Episode, podcast_id: str, now: datetime) -> Episode:
    """Claim: commit this before the POST leaves, so that a crash cannot hide that one may have."""
    _must_be(episode, "submitted", State.QUEUED)
    return replace(
        _moved(episode, State.SUBMITTING, due_at=now + LEASE),
        podcast_id=podcast_id,
        attempts=episode.attempts + 1,
        submitted_at=now,
    )


def answered(episode: Episode, answer: job.Answer, now: datetime, policy: Policy) -> Episode:
    """The media API has answered the POST, or has failed to."""
    _must_be(episode, "answered", State.SUBMITTING)
    match answer:
        case job.Accepted(media_id, remote_status):
            return _accepted(episode, media_id, now + policy.poll_interval, remote_status)
        case job.Refused(reason):
            return _failed(episode, f"refused: {reason}", now)
        case job.Later(reason, retry_after, blocked):
            deferrals = episode.deferrals + 1
            wait = backoff(deferrals, first=policy.poll_interval, most=HOUR, key=str(episode.id))
            # What blocks all submissions trips the circuit breaker; no episode backs off for it.
            due_at = now if blocked else now + max(wait, retry_after or timedelta())
            queued = _moved(episode, State.QUEUED, reason, due_at=due_at)
            return replace(queued, deferrals=deferrals, submitted_at=None)
        case job.Unknown(reason):
            return _doubtful(episode, reason, now, policy)


def presumed_lost(episode: Episode, now: datetime, policy: Policy) -> Episode:
    """The lease has ended and no answer was recorded: the process died between POST and answer."""
    _must_be(episode, "presumed lost", State.SUBMITTING)
    return _doubtful(episode, "feedwatch stopped between sending and the answer", now, policy)


def resubmitted(episode: Episode, now: datetime) -> Episode:
    """The policy for doubtful submissions says to send the episode again."""
    _must_be(episode, "submitted again", State.UNKNOWN)
    reason = "sent again by FEEDWATCH_ON_UNKNOWN=resubmit"
    return _moved(episode, State.QUEUED, reason, due_at=now)


def _accepted(
    episode: Episode, media_id: str, due_at: datetime, remote_status: str | None
) -> Episode:
    return replace(
        _moved(episode, State.PROCESSING, due_at=due_at),
        media_id=media_id,
        remote_status=remote_status,
        remote_stood=0,
        deferrals=0,
    )


def _doubtful(episode: Episode, reason: str, now: datetime, policy: Policy) -> Episode:
    doubtful_posts = episode.attempts - episode.deferrals
    again = policy.on_unknown is OnUnknown.RESUBMIT and doubtful_posts < MOST_DOUBTFUL_POSTS
    due_at = now + RESUBMIT_AFTER if again else None
    return _moved(
        episode, State.UNKNOWN, f"may or may not have been taken: {reason}", due_at=due_at
    )


# Jobs


def polled(episode: Episode, progress: job.Progress, now: datetime, policy: Policy) -> Episode:
    """The media API was asked about the job."""
    _must_be(episode, "polled", State.PROCESSING)
    match progress:
        case job.Finished():
            return replace(
                _moved(episode, State.READY),
                **vars(progress),  # a job's result has the episode's names
                remote_stood=1,
                overdue=False,
                finished_at=now,
            )
        case job.Broken(remote_status=status, remote_updated_at=stamp):
            reason = f"{status}: {progress.reason}"
            seen = _standing(episode, status, stamp)
            if seen.remote_stood >= ERROR_STANDS:
                seen = replace(seen, failed_attempts=progress.failed_attempts)
                return _failed(seen, reason, now)
            return _still_processing(seen, reason, now, policy)
        case job.Lost():
            reason = f"lost: {progress.reason}"
            seen = _standing(episode, "lost", None)
            if seen.remote_stood >= LOST_STANDS:
                return _failed(seen, reason, now, Cause.LOST)
            return _still_processing(seen, reason, now, policy)
        case job.Running(remote_status=status, remote_updated_at=stamp):
            return _still_processing(_standing(episode, status, stamp), None, now, policy)
        case job.Unreachable(reason, retry_after):
            return _still_processing(episode, reason, now, policy, retry_after)


def _standing(episode: Episode, status: str, stamp: str | None) -> Episode:
    """Count for how many polls in a row the API has given the same status and time stamp."""
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
    retry_after: timedelta | None = None,
) -> Episode:
    since = episode.submitted_at or episode.first_seen_at
    overdue = now - since >= policy.job_deadline
    if overdue and reason is None:
        reason = f"overdue: not final {policy.job_deadline} after it was submitted"
    interval, key = policy.poll_interval, str(episode.id)
    due_at = next_poll(now, since, interval, key=key, retry_after=retry_after)
    return replace(_moved(episode, State.PROCESSING, reason, due_at=due_at), overdue=overdue)


def _failed(episode: Episode, reason: str, now: datetime, cause: Cause | None = None) -> Episode:
    return replace(_moved(episode, State.FAILED, reason, cause), finished_at=now)


# What the ledger knows


def paid_already(episode: Episode, claim: Claim, state: State) -> Episode:
    """Another episode's claim has paid for this one, by another feed or under another name."""
    _must_be(episode, "taken for paid", State.QUEUED)
    return _moved(episode, state, paid_reason(claim))


def imported(episode: Episode, claim: Claim, now: datetime, policy: Policy) -> Episode | None:
    """The journal has a claim for the episode, or an answer, that the database did not know.

    None where the episode stays: nothing was paid, or it has a job already.
    """
    if claim.outcome not in PERHAPS_PAID or episode.state in (State.PROCESSING, State.READY):
        return None
    reason = (
        f"submitted on {claim.at:%Y-%m-%d %H:%M}Z, which this database did not know (restored or "
        "replaced)"
    )
    submitted = replace(
        episode,
        podcast_id=claim.target.id,
        attempts=max(episode.attempts, 1),
        submitted_at=claim.at,
        finished_at=None,
    )
    if claim.media_id is None:
        return _moved(submitted, State.UNKNOWN, reason)
    # Many may be imported at once: their first polls are spread.
    first_poll = now + policy.poll_interval * fraction(claim.token)
    taken = _accepted(submitted, claim.media_id, first_poll, None)
    return replace(taken, reason=reason)


# What a person decides


def approved(episode: Episode, now: datetime, cleared_claim: int | None = None) -> Episode:
    """A person has approved a held episode, claims of others up to `cleared_claim` included."""
    _must_be(episode, "approved", State.HELD)
    cleared = replace(episode, cleared_claim=cleared_claim or episode.cleared_claim)
    return _moved(cleared, State.QUEUED, "approved", due_at=now)


def skipped(episode: Episode) -> Episode:
    """A person has decided that the episode is never to be submitted."""
    _must_be(episode, "skipped", State.HELD, State.QUEUED, State.UNKNOWN)
    return _moved(episode, State.SKIPPED, "skipped by a person")


def doubted(episode: Episode) -> Episode:
    """The database turned out to lack claims, so a queued episode may have been submitted."""
    _must_be(episode, "held", State.QUEUED)
    reason = "the database was restored: this may have been submitted meanwhile"
    return _moved(episode, State.HELD, reason)


def retried(episode: Episode, now: datetime, cleared_claim: int | None = None) -> Episode:
    """A person has decided to submit a failed, unknown or skipped episode again.

    It is queued as if it were new: nothing of the earlier submission is left but the history.
    Claims of other episodes up to `cleared_claim`, which have its keys, no longer forbid it.
    """
    _must_be(episode, "retried", State.FAILED, State.UNKNOWN, State.SKIPPED)
    undescribed = ", once its description has been read from the feed"
    reason = "submitted again by a person" + undescribed * (episode.description is None)
    return replace(
        _moved(episode, State.QUEUED, reason, due_at=now),
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
        cleared_claim=cleared_claim or episode.cleared_claim,
    )


def adopted(episode: Episode, media_id: str, now: datetime) -> Episode:
    """A person has found the job of a doubtful submission at the media API.

    The job of a lost episode may be adopted too: perhaps the media id was wrong.
    """
    if not is_lost(episode):
        _must_be(episode, "adopted", State.UNKNOWN)
    return replace(_accepted(episode, media_id, now, None), finished_at=None)


def may_be_taken(episode: Episode) -> bool:
    """Whether a job may exist for an episode that is about to be submitted again.

    This also holds for one that was skipped while its submission was in doubt.
    """
    skipped_in_doubt = episode.state is State.SKIPPED and episode.submitted_at is not None
    return episode.state is State.UNKNOWN or skipped_in_doubt or is_lost(episode)


def is_lost(episode: Episode) -> bool:
    """Whether the episode was submitted, and the API says that it does not know the job."""
    return episode.state is State.FAILED and episode.cause is Cause.LOST


def _moved(
    episode: Episode,
    state: State,
    reason: str | None = None,
    cause: Cause | None = None,
    *,
    due_at: datetime | None = None,
) -> Episode:
    """The episode in `state`, with what belongs to a state; nothing of it stays from the last."""
    return replace(episode, state=state, reason=reason, cause=cause, due_at=due_at)


def _must_be(episode: Episode, what: str, *states: State) -> None:
    if episode.state not in states:
        wanted = " or ".join(states)
        raise IllegalMoveError(
            f"episode {episode.id} is {episode.state}; only what is {wanted} can be {what}"
        )
