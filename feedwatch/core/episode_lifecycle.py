"""Episode lifecycle: each function is an arrow, or a fork, of the diagram in docs/states.md. Pure.

It is named for what has happened, takes the episode before and returns the episode after.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from feedwatch.core import job
from feedwatch.core.episode import FILTERS, WAITING, Cause, Episode, State, is_lost
from feedwatch.core.feed import Item
from feedwatch.core.ledger import PERHAPS_PAID, Claim, paid_reason
from feedwatch.core.schedule import DAY, HOUR, backoff, fraction
from feedwatch.core.settings import OnUnknown, Policy
from feedwatch.core.submit_waits import Wait

LEASE = timedelta(minutes=3)  # longer than a POST can take, see post_deadline.POST_SECONDS
RESUBMIT_AFTER = timedelta(hours=1)  # time for a person to see a job that was accepted after all
MOST_DOUBTFUL_POSTS = 3  # of one episode; then it waits for a person whatever the policy
MOST_ODD_ANSWERS = 3  # to the POSTs of one episode; then it waits for a person
MOST_REFUSALS = 3  # in a row to one feed's POSTs; then the rest of its queue waits for a person
TAKEN_OUT = "taken out of the feed"


class IllegalMoveError(Exception):
    """The episode is in no state for what was to be done to it. `str()` is for people."""


# Submissions


def put_off(episode: Episode, wait: Wait, now: datetime) -> Episode:
    """It is not time to submit the episode; it is looked at again then, or in a day."""
    must_be(episode, "put off", State.QUEUED)
    return replace(episode, reason=wait.reason, due_at=min(wait.until, now + DAY))


def claimed(episode: Episode, podcast_id: str, now: datetime) -> Episode:
    """Claim: commit this before the POST leaves, so that a crash cannot hide that one may have."""
    must_be(episode, "submitted", State.QUEUED)
    return replace(
        moved(episode, State.SUBMITTING, due_at=now + LEASE),
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
    must_be(episode, "answered", State.SUBMITTING)
    match answer:
        case job.Accepted(media_id, remote_status):
            # No POST takes longer than its lease: then the clock was set, which makes no job old.
            submitted_at = min(max(episode.submitted_at or now, now - LEASE), now)
            accepted = _accepted(episode, media_id, now + policy.poll_interval, remote_status)
            return replace(accepted, submitted_at=submitted_at)
        case job.Refused(reason):
            refused = moved(episode, State.FAILED, f"refused: {reason}")
            return replace(refused, finished_at=now)
        case job.Later(reason, retry_after, blocked, odd=odd):
            deferrals = episode.deferrals + 1
            waiting = replace(episode, deferrals=deferrals, submitted_at=None)
            if odd and odd_answers >= MOST_ODD_ANSWERS:
                return moved(waiting, State.HELD, reason)
            wait = backoff(deferrals, first=policy.poll_interval, most=HOUR, key=str(episode.id))
            # What blocks all submissions trips the circuit breaker; no episode backs off for it.
            is_everybodys = blocked or (odd and odd_answers == 0)
            wait = max(wait, min(retry_after or timedelta(), DAY))
            due_at = now if is_everybodys else now + wait
            return moved(waiting, State.QUEUED, reason, due_at=due_at)
        case job.Unknown(reason):
            return _doubtful(episode, reason, now, policy)


def presumed_lost(episode: Episode, now: datetime, policy: Policy) -> Episode:
    """The lease has ended and no answer was recorded: the process died between POST and answer."""
    must_be(episode, "presumed lost", State.SUBMITTING)
    return _doubtful(episode, "feedwatch stopped between sending and the answer", now, policy)


def resubmitted(episode: Episode, now: datetime) -> Episode:
    """The policy for doubtful submissions says to send the episode again."""
    must_be(episode, "submitted again", State.UNKNOWN)
    reason = "sent again by FEEDWATCH_ON_UNKNOWN=resubmit"
    return moved(episode, State.QUEUED, reason, due_at=now)


def _accepted(
    episode: Episode, media_id: str, due_at: datetime, remote_status: str | None
) -> Episode:
    return replace(
        moved(episode, State.PROCESSING, due_at=due_at),
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
    return moved(episode, State.UNKNOWN, reason, due_at=due_at)


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
    return moved(after, anew.state, anew.reason, anew.cause, due_at=anew.due_at)


def left_feed(episode: Episode, now: datetime, *, older_stay: bool) -> Episode:
    """A good document no longer has it: taken out if older ones stay, else pushed off the end."""
    must_be(episode, "missing in its feed", State.HELD, State.QUEUED)
    missing = replace(episode, missing_since=now)
    if episode.state is State.HELD or not older_stay:
        return missing
    return moved(missing, State.HELD, f"{TAKEN_OUT}; goes on when it is back", Cause.TAKEN_OUT)


def came_back(episode: Episode, now: datetime) -> Episode:
    """The feed has the episode again; if it was held for that alone, it goes on."""
    must_be(episode, "back in its feed", State.HELD, State.QUEUED)
    back = replace(episode, missing_since=None)
    if episode.cause is not Cause.TAKEN_OUT:
        return back
    return moved(back, State.QUEUED, "back in the feed", due_at=now)


# What the ledger knows


def paid_already(episode: Episode, claim: Claim, state: State, api: str) -> Episode:
    """Another episode's claim has paid for this one, by another feed or under another name.

    api: which it was to be submitted to.
    """
    must_be(episode, "taken for paid", State.QUEUED)
    return moved(episode, state, paid_reason(claim, api))


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
        return moved(submitted, State.UNKNOWN, reason)
    # Many may be imported at once: their first polls are spread.
    first_poll = now + policy.poll_interval * fraction(claim.token)
    taken = _accepted(submitted, claim.media_id, first_poll, None)
    return replace(taken, reason=reason)


def accepted_elsewhere(episode: Episode, claim: Claim) -> Episode:
    """The journal has the job of the last POST, which is at another address than the API now.

    That may be the same API or another one, so the job is not polled, and nothing is sent again.
    """
    must_be(episode, "accepted", State.SUBMITTING, State.UNKNOWN)
    reason = (
        f"submitted to {claim.target.api} as job {claim.media_id}, and FEEDWATCH_API_URL is now "
        "another address: if the job is there, too, "
        f"`feedwatch adopt {episode.id} {claim.media_id}`"
    )
    return moved(episode, State.UNKNOWN, reason)


# What a person decides


def approved(episode: Episode, now: datetime, cleared_claim: int | None = None) -> Episode:
    """A person has approved a held episode, claims of others up to `cleared_claim` included."""
    must_be(episode, "approved", State.HELD)
    cleared = replace(episode, cleared_claim=cleared_claim or episode.cleared_claim)
    return moved(cleared, State.QUEUED, "approved", due_at=now)


def skipped(episode: Episode) -> Episode:
    """A person has decided that the episode is never to be submitted."""
    must_be(episode, "skipped", State.HELD, State.QUEUED, State.UNKNOWN)
    return moved(episode, State.SKIPPED, "skipped by a person")


def set_aside(episode: Episode, reason: str) -> Episode:
    """The media API's answers make it unlikely that this episode, of all, would be taken."""
    must_be(episode, "set aside", State.QUEUED)
    return moved(episode, State.HELD, reason)


def doubted(episode: Episode) -> Episode:
    """The database turned out to lack claims, so a queued episode may have been submitted."""
    must_be(episode, "held", State.QUEUED)
    reason = "the database was restored: this may have been submitted meanwhile"
    return moved(episode, State.HELD, reason)


def retried(episode: Episode, now: datetime, cleared_claim: int | None = None) -> Episode:
    """A person has decided to submit a failed, unknown or skipped episode again.

    It is queued as if it were new: nothing of the earlier submission is left but the history.
    Claims of other episodes up to `cleared_claim`, which have its keys, no longer forbid it.
    """
    if episode.state is State.READY:
        raise IllegalMoveError(
            f"episode {episode.id} is ready; `feedwatch retry --again {episode.id}` pays for it "
            "and publishes it once more"
        )
    must_be(episode, "retried", State.FAILED, State.UNKNOWN, State.SKIPPED)
    undescribed = ", once its description has been read from the feed"
    reason = "submitted again by a person" + undescribed * (episode.description is None)
    return _anew(moved(episode, State.QUEUED, reason, due_at=now), cleared_claim)


def sent_again(
    episode: Episode, now: datetime, cleared_claim: int | None = None, url: str | None = None
) -> Episode:
    """A person has decided to submit a ready episode again; `url` is its address in the feed now.

    The processed URL stays until the new job has another one, and the history keeps it. The job's
    id goes: it is not that of the new submission.
    """
    must_be(episode, "sent again", State.READY)
    reason = f"sent again by a person; job {episode.media_id} had made {episode.processed_url}"
    queued = moved(episode, State.QUEUED, reason, due_at=now)
    return _anew(replace(queued, enclosure_url=url or episode.enclosure_url), cleared_claim)


def _anew(episode: Episode, cleared_claim: int | None) -> Episode:
    return replace(
        episode,
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
        must_be(episode, "adopted", State.UNKNOWN)
    return replace(_accepted(episode, media_id, now, None), finished_at=None)


def moved(
    episode: Episode,
    state: State,
    reason: str | None = None,
    cause: Cause | None = None,
    *,
    due_at: datetime | None = None,
) -> Episode:
    """The episode in `state`, with what belongs to a state; nothing of it stays from the last."""
    return replace(episode, state=state, reason=reason, cause=cause, due_at=due_at)


def must_be(episode: Episode, what: str, *states: State) -> None:
    """Raise `IllegalMoveError` unless the episode is in one of `states`."""
    if episode.state not in states:
        wanted = " or ".join(states)
        raise IllegalMoveError(
            f"episode {episode.id} is {episode.state}; only what is {wanted} can be {what}"
        )
