"""Job lifecycle: what a poll makes of an episode, and when the next one is. Pure.

The same arrows as in `episode_lifecycle`, those that the API's word about the job leads to.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from feedwatch.core import job
from feedwatch.core.episode import LOST, Cause, Episode, State
from feedwatch.core.episode_lifecycle import doubt_of, moved, must_be, went_on
from feedwatch.core.health import spoken
from feedwatch.core.pipeline import LAST, PROCESSOR_OF, Course, EndedStep, StepOutcome
from feedwatch.core.schedule import DAY, HOUR, MINUTE, backoff, next_poll
from feedwatch.core.settings import Policy

# How long the API must say the same of a job until that is final: polls in a row, and a time. It
# tries again by itself, so an error may pass, and a job that is new may not be readable at once.
ERROR_STANDS = 5
LOST_STANDS = 3
STANDS_FOR = HOUR
STUCK_AFTER = 20  # poll intervals of an error or a missing file, for which a pass waits no longer
POLLED_ON_FOR = DAY  # after a failure: the job may mend itself all the same
FAILED_POLL_AT_LEAST_EVERY = 10 * MINUTE


def polled(
    episode: Episode,
    progress: job.Progress,
    now: datetime,
    policy: Policy,
    *,
    failures: int = 1,
    all_lost: bool = False,
    course: Course = LAST,
) -> Episode:
    """The media API was asked about the job; that of a failed episode may have mended itself.

    `failures` is how many polls in a row have now said nothing, `all_lost` whether the API knows
    none of this podcast's jobs: then the key or the podcast is what is wrong, and no job fails.
    """
    must_be(episode, "polled", State.PROCESSING, State.FAILED)
    if isinstance(progress, job.Finished) and course.following is not None:
        return went_on(episode, course, "done", now, progress.url)
    after = _of_last_step(episode, progress, now, policy, failures=failures, all_lost=all_lost)
    is_over = after.state is State.FAILED or after.overdue
    if course.optional and episode.state is State.PROCESSING and is_over:
        return went_on(episode, course, f"passed over: {after.reason}", now)
    return after


def _of_last_step(
    episode: Episode,
    progress: job.Progress,
    now: datetime,
    policy: Policy,
    *,
    failures: int,
    all_lost: bool,
) -> Episode:
    match progress:
        case job.Finished():
            is_original = progress.url == episode.enclosure_url
            return replace(
                moved(episode, State.READY, "its URL is the original's" if is_original else None),
                processed_url=progress.url,
                remote_status=progress.remote_status,
                remote_progress=None,
                remote_updated_at=progress.remote_updated_at,
                remote_created_at=progress.remote_created_at,
                duration=progress.duration,
                ad_removal_markers=progress.ad_removal_markers,
                failed_attempts=progress.failed_attempts,
                remote_stood=1,
                overdue=False,
                finished_at=now,
            )
        case job.Broken(remote_status=status, remote_updated_at=stamp, failed_attempts=attempts):
            seen = replace(_standing(episode, status, stamp, now), failed_attempts=attempts)
            reason = f"{status}: {progress.reason}"
            if progress.final and episode.state is State.PROCESSING:
                failed = moved(seen, State.FAILED, reason, doubt_of(seen))
                return replace(failed, finished_at=now)
            return _failing(seen, reason, ERROR_STANDS, now, policy, Cause.ERROR)
        case job.Lost(reason):
            seen = _standing(episode, LOST, None, now)
            if all_lost:
                return _polled_on(seen, f"lost: {reason}", now, policy, Cause.LOST)
            return _failing(seen, f"lost: {reason}", LOST_STANDS, now, policy, Cause.LOST)
        case job.Running(remote_status=status, remote_updated_at=stamp):
            seen = replace(
                _standing(episode, status, stamp, now), remote_progress=progress.progress
            )
            return _polled_on(seen, None, now, policy)
        case job.Unreachable(reason, retry_after, done=done):
            most = max(FAILED_POLL_AT_LEAST_EVERY, policy.poll_interval)
            wait = backoff(failures, first=policy.poll_interval, most=most, key=str(episode.id))
            at_least = max(wait, retry_after or timedelta())
            if done is None:
                return _polled_on(episode, reason, now, policy, episode.cause, at_least)
            seen = _standing(episode, done, None, now)
            return _polled_on(seen, reason, now, policy, Cause.NO_FILE, at_least)


def ended_step(
    before: Episode, after: Episode, now: datetime, progress: job.Progress | None = None
) -> EndedStep | None:
    """The step that a move has ended, as it is kept; None where the step has not ended by it.

    `progress` is the poll's that has led to the move, if one has.
    """
    finished = progress if isinstance(progress, job.Finished) else None
    if finished is not None:
        outcome = StepOutcome.DONE
    elif after.state in (State.QUEUED, State.HELD) and after.step is not before.step:
        outcome = StepOutcome.PASSED_OVER
    elif after.state is State.FAILED and before.state is not State.FAILED:
        outcome = StepOutcome.FAILED
    else:
        return None
    said = progress if isinstance(progress, job.Finished | job.Broken | job.Running) else None
    return EndedStep(
        step=before.step,
        processor=PROCESSOR_OF[before.step],
        target=before.podcast_id,
        claim=before.claim,
        job_id=before.media_id,
        outcome=outcome,
        remote_status=said.remote_status if said is not None else before.remote_status,
        url=finished.url if finished is not None else None,
        result=finished.result if finished is not None else None,
        submitted_at=before.submitted_at,
        finished_at=now,
    )


def seems_lost(episode: Episode) -> bool:
    """Whether the last poll that said anything said that the API does not know the job."""
    return episode.state is State.PROCESSING and episode.remote_status == LOST


def is_stuck(stands_for: timedelta, policy: Policy) -> bool:
    """Whether what is wrong with a job has stood for so long that a pass does not wait for its end.

    It is final only after an hour, and an old job is polled rarely: the time counts, not the polls.
    """
    return stands_for >= STUCK_AFTER * policy.poll_interval


def _standing(episode: Episode, status: str, stamp: str | None, now: datetime) -> Episode:
    """Count for how many polls in a row the API has given the same status and time stamp."""
    same = episode.remote_status == status and episode.remote_updated_at == stamp
    return replace(
        episode,
        remote_status=status,
        remote_updated_at=stamp,
        remote_stood=episode.remote_stood + 1 if same else 1,
        remote_since=(same and episode.remote_since) or now,
    )


def _failing(
    episode: Episode, reason: str, polls: int, now: datetime, policy: Policy, cause: Cause
) -> Episode:
    """The episode fails once the API has said the same for so many polls, and for an hour."""
    stands = episode.remote_stood >= polls and now - (episode.remote_since or now) >= STANDS_FOR
    if episode.state is State.FAILED or not stands:
        return _polled_on(episode, reason, now, policy, cause)
    due_at = _next_poll(episode, now, policy)
    failed = moved(episode, State.FAILED, reason, doubt_of(episode) or cause, due_at=due_at)
    return replace(failed, finished_at=now)


def _polled_on(
    episode: Episode,
    reason: str | None,
    now: datetime,
    policy: Policy,
    cause: Cause | None = None,
    at_least: timedelta | None = None,
) -> Episode:
    """The job is not done. Without `reason` it is under way, so it is never given up."""
    due_at = _next_poll(episode, now, policy, at_least)
    if episode.state is State.FAILED:
        is_over = reason is not None and now - (episode.finished_at or now) >= POLLED_ON_FOR
        return replace(episode, due_at=None if is_over else due_at)
    overdue = now - (episode.submitted_at or episode.first_seen_at) >= policy.job_deadline
    if overdue and reason is None:
        reason = f"overdue: not final {spoken(policy.job_deadline)} after it was submitted"
    cause = doubt_of(episode) or cause  # a doubt about money outweighs what the API says
    return replace(moved(episode, State.PROCESSING, reason, cause, due_at=due_at), overdue=overdue)


def _next_poll(
    episode: Episode, now: datetime, policy: Policy, at_least: timedelta | None = None
) -> datetime:
    since, key = episode.submitted_at or episode.first_seen_at, str(episode.id)
    return next_poll(now, since, policy.poll_interval, key=key, retry_after=at_least)
