"""Ledger lifecycle: what ledger and journal make of an episode. Pure.

The same arrows as in `episode_lifecycle`, those that a claim leads to which others have made, or
which this database did not know.
"""

from dataclasses import replace
from datetime import datetime

from feedwatch.core.episode import Episode, State, input_of
from feedwatch.core.episode_lifecycle import accepted, afresh, moved, must_be
from feedwatch.core.ledger import PERHAPS_PAID, Claim, paid_reason
from feedwatch.core.pipeline import ORDER, address_key
from feedwatch.core.schedule import fraction
from feedwatch.core.settings import Policy


def paid_already(episode: Episode, claim: Claim, state: State, api: str) -> Episode:
    """Another episode's claim has paid for this one, by another feed or under another name.

    It may have paid for a later step: then what this one makes would be of no use.

    api: which it was to be submitted to.
    """
    must_be(episode, "taken for paid", State.QUEUED)
    of_step = f"{claim.step}: " if claim.step is not episode.step else ""
    return moved(episode, state, of_step + paid_reason(claim, api))


def imported(episode: Episode, claim: Claim, now: datetime, policy: Policy) -> Episode | None:
    """The journal has a claim for the episode, or an answer, that the database did not know.

    None where the episode stays: nothing was paid, or its row tells as much already.
    """
    if claim.outcome not in PERHAPS_PAID or episode.state is State.READY:
        return None
    steps_ahead = ORDER.index(claim.step) - ORDER.index(episode.step)
    if steps_ahead < 0 and episode.source_url is not None:
        return None
    if steps_ahead <= 0 and _tells_as_much(episode, claim):
        return None
    reason = (
        f"submitted on {claim.at:%Y-%m-%d %H:%M}Z, which this database did not know (restored or "
        "replaced)"
    )
    if steps_ahead > 0:
        # What the steps between had made is not known: their jobs' results are in no journal.
        episode = replace(afresh(episode, None), source_url=input_of(episode), cleared_claim=None)
    submitted = replace(
        episode,
        step=claim.step,
        claim=claim.number,
        podcast_id=claim.target.id,
        attempts=max(episode.attempts, 1),
        submitted_at=claim.at,
        finished_at=None,
    )
    if claim.media_id is None:
        return moved(submitted, State.UNKNOWN, reason)
    # Many may be imported at once: their first polls are spread.
    first_poll = now + policy.poll_interval * fraction(claim.token)
    taken = accepted(submitted, claim.media_id, first_poll, None)
    return replace(taken, reason=reason)


def _tells_as_much(episode: Episode, claim: Claim) -> bool:
    """Whether the row of an episode at the claim's step tells of that POST, or of a later one.

    One in doubt is about the latest POST: the result of the job that a person finds may have its
    claim's token in its name.
    """
    if episode.state is State.PROCESSING:
        return True
    is_later = episode.claim is not None and claim.number > episode.claim
    return episode.state is State.UNKNOWN and claim.media_id is None and not is_later


def accepted_elsewhere(episode: Episode, claim: Claim) -> Episode:
    """The journal has the job of the last POST, which is at another address than the API now.

    That may be the same API or another one, so the job is not polled, and nothing is sent again.
    """
    must_be(episode, "accepted", State.SUBMITTING, State.UNKNOWN)
    key = address_key(claim.target.processor)
    reason = (
        f"submitted to {claim.target.api} as job {claim.media_id}, and {key} is now another "
        "address: if the job is there, too, "
        f"`feedwatch adopt {episode.id} {claim.media_id}`"
    )
    return moved(episode, State.UNKNOWN, reason)
