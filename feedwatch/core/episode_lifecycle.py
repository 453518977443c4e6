"""Episode lifecycle: each function is an arrow, or a fork, of the diagram in docs/states.md. Pure.

It is named for what has happened, takes the episode before and returns the episode after.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from feedwatch.core import job
from feedwatch.core.episode import FILTERS, WAITING, Cause, Episode, State, is_lost
from feedwatch.core.feed import Item
from feedwatch.core.ledger import PERHAPS_PAID, Claim, paid_reason
from feedwatch.core.schedule import DAY, HOUR, MINUTE, backoff, fraction, next_poll
from feedwatch.core.settings import OnUnknown, Policy
from feedwatch.core.submit_waits import Wait

LEASE = timedelta(minutes=3)  # longer than a POST can take, see post_deadline.POST_SECONDS
RESUBMIT_AFTER = timedelta(hours=1)  # time for a person to see a job that was accepted after all
MOST_DOUBTFUL_POSTS = 3  # of one episode; then it waits for a person whatever the policy
MOST_ODD_ANSWERS = 3  # to the POSTs of one episode; then it waits for a person
MOST_REFUSALS = 3  # in a row to one feed's POSTs; then the rest of its queue waits for a person
# How long the API must say the same of a job until that is final: polls in a row, and a time. It
# tries again by itself, so an error may pass, and a job that is new may not be readable at once.
ERROR_STANDS = 5
LOST_STANDS = 3
STANDS_FOR = HOUR
TAKEN_OUT = "taken out of the feed"
LOST = "lost"  # in place of the API's word for a job that it does not know
POLLED_ON_FOR = DAY  # after a failure: the job may mend itself all the same
FAILED_POLL_AT_LEAST_EVERY = 10 * MINUTE


class IllegalMoveError(Exception):
    """The episode is in no state for what was to be done to it. `str()` is for people."""


# Submissions


def put_off(episode: Episode, wait: Wait, now: datetime) -> Episode:
    """It is not time to submit the episode; it is looked at again then, or in a day."""
    _must_be(episode, "put off", State.QUEUED)
    return replace(episode, reason=wait.reason, due_at=min(wait.until, now + DAY))


def claimed(episode: Episode, podcast_id: str, now: datetime) -> Episode:
    """Claim: commit this before the POST leaves, so that a crash cannot hide that one may have."""
    _must_be(episode, "submitted", State.QUEUED)
    return replace(
        _moved(episode, State.SUBMITTING, due_at=now + LEASE),
        podcast_id=podcast_id,
        attempts=episode.attempts + 1,
        submitted_at=now,
    )


def answered(
    episode: Episode, answer: job.Answer, now: datetime, policy: Policy, odd_answers: int = 0
) -> Episode:
    """The media API has answered the POST, or has failed to.

    `odd_answers` is what the circuit breaker has counted after an odd one.
    """
    _must_be(episode, "answered", State.SUBMITTING)
    match answer:
        case job.Accepted(media_id, remote_status):
            return _accepted(episode, media_id, now + policy.poll_interval, remote_status)
        case job.Refused(reason):
            refused = _moved(episode, State.FAILED, f"refused: {reason}")
            return replace(refused, finished_at=now)
        case job.Later(reason, retry_after, blocked, odd=odd):
            deferrals = episode.deferrals + 1
            waiting = replace(episode, deferrals=deferrals, submitted_at=None)
            if odd and odd_answers >= MOST_ODD_ANSWERS:
                return _moved(waiting, State.HELD, reason)
            wait = backoff(deferrals, first=policy.poll_interval, most=HOUR, key=str(episode.id))
            # What blocks all submissions trips the circuit breaker; no episode backs off for it.
            is_everybodys = blocked or (odd and odd_answers == 0)
            due_at = now if is_everybodys else now + max(wait, retry_after or timedelta())
            return _moved(waiting, State.QUEUED, reason, due_at=due_at)
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
        remote_since=None,
        deferrals=0,
    )


def _doubtful(episode: Episode, reason: str, now: datetime, policy: Policy) -> Episode:
    doubtful_posts = episode.attempts - episode.deferrals
    again = policy.on_unknown is OnUnknown.RESUBMIT and doubtful_posts < MOST_DOUBTFUL_POSTS
    due_at = now + RESUBMIT_AFTER if again else None
    reason = f"may or may not have been taken: {reason}"
    return _moved(episode, State.UNKNOWN, reason, due_at=due_at)


# Jobs


def polled(
    episode: Episode,
    progress: job.Progress,
    now: datetime,
    policy: Policy,
    *,
    failures: int = 1,
    all_lost: bool = False,
) -> Episode:
    """The media API was asked about the job; that of a failed episode may have mended itself.

    `failures` is how many polls in a row have now said nothing, `all_lost` whether the API knows
    none of this podcast's jobs: then the key or the podcast is what is wrong, and no job fails.
    """
    _must_be(episode, "polled", State.PROCESSING, State.FAILED)
    match progress:
        case job.Finished():
            is_original = progress.processed_url == episode.enclosure_url
            return replace(
                _moved(episode, State.READY, "its URL is the original's" if is_original else None),
                **vars(progress),  # a job's result has the episode's names
                remote_stood=1,
                overdue=False,
                finished_at=now,
            )
        case job.Broken(remote_status=status, remote_updated_at=stamp, failed_attempts=attempts):
            seen = replace(_standing(episode, status, stamp, now), failed_attempts=attempts)
            return _failing(seen, f"{status}: {progress.reason}", ERROR_STANDS, now, policy, None)
        case job.Lost(reason):
            seen = _standing(episode, LOST, None, now)
            if all_lost:
                return _polled_on(seen, f"lost: {reason}", now, policy)
            return _failing(seen, f"lost: {reason}", LOST_STANDS, now, policy, Cause.LOST)
        case job.Running(remote_status=status, remote_updated_at=stamp):
            return _polled_on(_standing(episode, status, stamp, now), None, now, policy)
        case job.Unreachable(reason, retry_after):
            most = max(FAILED_POLL_AT_LEAST_EVERY, policy.poll_interval)
            wait = backoff(failures, first=policy.poll_interval, most=most, key=str(episode.id))
            at_least = max(wait, retry_after or timedelta())
            return _polled_on(episode, reason, now, policy, at_least)


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
    episode: Episode, reason: str, polls: int, now: datetime, policy: Policy, cause: Cause | None
) -> Episode:
    """The episode fails once the API has said the same for so many polls, and for an hour."""
    stands = episode.remote_stood >= polls and now - (episode.remote_since or now) >= STANDS_FOR
    if episode.state is State.FAILED or not stands:
        return _polled_on(episode, reason, now, policy)
    due_at = _next_poll(episode, now, policy)
    failed = _moved(episode, State.FAILED, reason, cause, due_at=due_at)
    return replace(failed, finished_at=now)


def _polled_on(
    episode: Episode,
    reason: str | None,
    now: datetime,
    policy: Policy,
    at_least: timedelta | None = None,
) -> Episode:
    """The job is not done. Without `reason` it is under way, so it is never given up."""
    due_at = _next_poll(episode, now, policy, at_least)
    if episode.state is State.FAILED:
        is_over = reason is not None and now - (episode.finished_at or now) >= POLLED_ON_FOR
        return replace(episode, due_at=None if is_over else due_at)
    overdue = now - (episode.submitted_at or episode.first_seen_at) >= policy.job_deadline
    if overdue and reason is None:
        reason = f"overdue: not final {policy.job_deadline} after it was submitted"
    return replace(_moved(episode, State.PROCESSING, reason, due_at=due_at), overdue=overdue)


def _next_poll(
    episode: Episode, now: datetime, policy: Policy, at_least: timedelta | None = None
) -> datetime:
    since, key = episode.submitted_at or episode.first_seen_at, str(episode.id)
    return next_poll(now, since, policy.poll_interval, key=key, retry_after=at_least)


# What its feed says meanwhile


def corrected(episode: Episode, item: Item, now: datetime) -> Episode | None:
    """What waits follows its item, but for what that leaves out; None if nothing is to change.

    Where it waits for its date, another date is looked at now.
    """
    if episode.state not in WAITING:
        return None
    after = replace(
        episode,
        title=item.title or episode.title,
        description=episode.description if item.description is None else item.description,
        enclosure_url=item.enclosure_url or episode.enclosure_url,
        published_at=item.published_at or episode.published_at,
        feed_duration=item.duration if item.duration is not None else episode.feed_duration,
    )
    is_redated = after.published_at != episode.published_at
    if is_redated and episode.state is State.QUEUED and not episode.deferrals:
        after = replace(after, due_at=now)
    return after if after != episode else None


def decided_anew(episode: Episode, anew: Episode) -> Episode | None:
    """The fact has changed for which a filter had skipped it; `anew` is what a new one would be."""
    if episode.state is not State.SKIPPED or episode.cause not in FILTERS:
        return None
    facts = ("title", "enclosure_url", "published_at", "feed_duration", "filter_fact")
    after = replace(episode, **{name: getattr(anew, name) for name in facts})
    if anew.description is not None:
        after = replace(after, description=anew.description)
    return _moved(after, anew.state, anew.reason, anew.cause, due_at=anew.due_at)


def left_feed(episode: Episode, now: datetime, *, older_stay: bool) -> Episode:
    """A good document no longer has it: taken out if older ones stay, else pushed off the end."""
    _must_be(episode, "missing in its feed", State.HELD, State.QUEUED)
    missing = replace(episode, missing_since=now)
    if episode.state is State.HELD or not older_stay:
        return missing
    return _moved(missing, State.HELD, f"{TAKEN_OUT}; goes on when it is back", Cause.TAKEN_OUT)


def came_back(episode: Episode, now: datetime) -> Episode:
    """The feed has the episode again; if it was held for that alone, it goes on."""
    _must_be(episode, "back in its feed", State.HELD, State.QUEUED)
    back = replace(episode, missing_since=None)
    if episode.cause is not Cause.TAKEN_OUT:
        return back
    return _moved(back, State.QUEUED, "back in the feed", due_at=now)


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
    if claim.media_id is None and episode.state is State.UNKNOWN:
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


def set_aside(episode: Episode, reason: str) -> Episode:
    """The media API's answers make it unlikely that this episode, of all, would be taken."""
    _must_be(episode, "set aside", State.QUEUED)
    return _moved(episode, State.HELD, reason)


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
        remote_since=None,
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


def seems_lost(episode: Episode) -> bool:
    """Whether the last poll that said anything said that the API does not know the job."""
    return episode.state is State.PROCESSING and episode.remote_status == LOST


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
