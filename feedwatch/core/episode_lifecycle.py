"""Episode lifecycle: each function is an arrow, or a fork, of the diagram in docs/states.md. Pure.

It is named for what has happened, takes the episode before and returns the episode after.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from feedwatch.core import job
from feedwatch.core.episode import FILTERS, WAITING, Cause, Episode, State, input_of, is_lost
from feedwatch.core.feed import Item
from feedwatch.core.pipeline import LAST, ORDER, Course, Pipeline, Step, step_to_claim
from feedwatch.core.schedule import DAY, HOUR, backoff
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


def placed(episode: Episode, pipeline: Pipeline, now: datetime) -> Episode:
    """A queued episode at the step that the config has for it now; itself if it is there.

    Where the pipeline has nothing left for one that has gone through a step, it is ready, with what
    its last step has made.
    """
    must_be(episode, "placed", State.QUEUED)
    step = step_to_claim(pipeline, episode.step, episode.source_url)
    if step is None:
        ready = moved(episode, State.READY, "the pipeline has no further step any more")
        return replace(ready, processed_url=input_of(episode), finished_at=now)
    return replace(episode, step=step) if step is not episode.step else episode


def claimed(episode: Episode, podcast_id: str, now: datetime) -> Episode:
    """Claim: commit this before the POST leaves, so that a crash cannot hide that one may have."""
    must_be(episode, "submitted", State.QUEUED)
    return replace(
        moved(episode, State.SUBMITTING, cause=doubt_of(episode), due_at=now + LEASE),
        podcast_id=podcast_id,
        attempts=episode.attempts + 1,
        submitted_at=now,
    )


def answered(
    episode: Episode,
    answer: job.Answer,
    now: datetime,
    policy: Policy,
    odd_answers: int = 0,
    course: Course = LAST,
) -> Episode:
    """The media API has answered the POST, or has failed to.

    `odd_answers` is what the circuit breaker has counted after an odd one.
    """
    must_be(episode, "answered", State.SUBMITTING)
    match answer:
        case job.Accepted(media_id, remote_status):
            # No POST takes longer than its lease: then the clock was set, which makes no job old.
            submitted_at = min(max(episode.submitted_at or now, now - LEASE), now)
            taken = accepted(episode, media_id, now + policy.poll_interval, remote_status)
            return replace(taken, submitted_at=submitted_at)
        case job.Refused(reason) if course.optional:
            return went_on(episode, course, f"passed over, as it was refused: {reason}", now)
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


def went_on(
    episode: Episode, course: Course, what: str, now: datetime, url: str | None = None
) -> Episode:
    """The step has ended, as `what` says; the next one is given `url` or, without, its input."""
    following = course.following or episode.step
    reason = f"{episode.step} {what}; {following} is next"
    queued = afresh(moved(episode, State.QUEUED, reason, due_at=now), None)
    passed_on = url or input_of(episode)
    # What a person let pass was about the step that has ended.
    on = replace(queued, step=following, source_url=passed_on, cleared_claim=None)
    return doubted(on) if episode.cause is Cause.DOUBTED else on


def accepted(
    episode: Episode, media_id: str, due_at: datetime, remote_status: str | None
) -> Episode:
    """The episode's job exists and is polled from now on."""
    return replace(
        moved(episode, State.PROCESSING, cause=doubt_of(episode), due_at=due_at),
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
    return moved(episode, State.UNKNOWN, reason, doubt_of(episode), due_at=due_at)


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
        # Once a step has ended, what is paid for was made of the address that there was.
        enclosure_url=(item.enclosure_url if episode.source_url is None else None)
        or episode.enclosure_url,
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
    """The database turned out to lack claims, so a queued episode may have been submitted.

    One that has a job, or may have one, is held before its next step.
    """
    if episode.state in (State.PROCESSING, State.FAILED, State.UNKNOWN):
        return replace(episode, cause=Cause.DOUBTED)
    must_be(episode, "held", State.QUEUED)
    reason = "the database was restored: this may have been submitted meanwhile"
    return moved(episode, State.HELD, reason)


def doubt_of(episode: Episode) -> Cause | None:
    """Whether the next step may be paid for already, which must be known until it is queued."""
    return Cause.DOUBTED if episode.cause is Cause.DOUBTED else None


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
    queued = moved(episode, State.QUEUED, reason, doubt_of(episode), due_at=now)
    return afresh(queued, cleared_claim)


def sent_again(
    episode: Episode,
    now: datetime,
    cleared_claim: int | None = None,
    url: str | None = None,
    *,
    start: Step | None = None,
    is_first: bool = True,
) -> Episode:
    """A person has decided to repeat a step, and what comes after it; `url` is the audio's address.

    start: None is the last step of a ready episode.
    is_first: the step is given the enclosure, as the feed has it now, not what one before has made.

    The processed URL stays until the new job has another one, and the history keeps it. The job's
    id goes: it is not that of the new submission.
    """
    others = (State.HELD, State.FAILED, State.UNKNOWN, State.SKIPPED) if start is not None else ()
    must_be(episode, "sent again", State.READY, *others)
    step = start or episode.step
    if ORDER.index(step) > ORDER.index(episode.step):
        raise IllegalMoveError(f"episode {episode.id} has not come to the step {step} yet")
    reason = f"sent again{f' from {start}' if start is not None else ''} by a person"
    if episode.state is State.READY:
        reason += f"; job {episode.media_id} had made {episode.processed_url}"
    queued = moved(replace(episode, step=step), State.QUEUED, reason, due_at=now)
    if is_first:
        address = url or episode.enclosure_url
        # By name: a step that a later config puts before this one was not asked for.
        queued = replace(queued, enclosure_url=address, source_url=address)
    else:
        source_url = input_of(episode) if step is episode.step else episode.enclosure_url
        queued = replace(queued, source_url=source_url)
    return afresh(queued, cleared_claim)


def passed_over(episode: Episode, course: Course, now: datetime) -> Episode:
    """A person has decided to go on without the helper step that the episode is at.

    Also while its job is overdue: it may never end, or its file never be there to be read.
    """
    if episode.state is not State.PROCESSING or not episode.overdue:
        must_be(episode, "passed over", State.QUEUED, State.HELD, State.UNKNOWN, State.FAILED)
    if course.following is None:
        raise IllegalMoveError(f"episode {episode.id} is at {episode.step}, its last step")
    return went_on(episode, course, "passed over by a person", now)


def afresh(episode: Episode, cleared_claim: int | None) -> Episode:
    """The episode without anything of the POSTs and jobs that it had."""
    return replace(
        episode,
        claim=None,
        attempts=0,
        deferrals=0,
        podcast_id=None,
        media_id=None,
        remote_status=None,
        remote_progress=None,
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
    return replace(accepted(episode, media_id, now, None), finished_at=None)


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
