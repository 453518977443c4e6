"""Ledger lifecycle: what ledger and journal make of an episode. Pure.

The same arrows as in `episode_lifecycle`, those that a claim leads to which others have made, or
which this database did not know.
"""

from dataclasses import replace
from datetime import datetime

from feedwatch.core.episode import Episode, State, input_of
from feedwatch.core.episode_lifecycle import accepted, moved, must_be
from feedwatch.core.ledger import PERHAPS_PAID, Claim, paid_reason
from feedwatch.core.pipeline import ORDER, address_key
from feedwatch.core.schedule import fraction
from feedwatch.core.settings import Policy


def paid_already(episode: Episode, claim: Claim, state: State, api: str) -> Episode:
    """Another episode's claim has paid for this one, by another feed or under another name.

    api: which it was to be submitted to.
    """
    must_be(episode, "taken for paid", State.QUEUED)
    return moved(episode, state, paid_reason(claim, api))


def imported(episode: Episode, claim: Claim, now: datetime, policy: Policy) -> Episode | None:
    """The journal has a claim for the episode, or an answer, that the database did not know.

    None where the episode stays: nothing was paid, it has a job already, or it has gone on since.
    """
    if claim.outcome not in PERHAPS_PAID or episode.state in (State.PROCESSING, State.READY):
        return None
    steps_ahead = ORDER.index(claim.step) - ORDER.index(episode.step)
    if steps_ahead < 0 and episode.source_url is not None:
        return None
    if claim.media_id is None and episode.state is State.UNKNOWN:
        return None
    reason = (
        f"submitted on {claim.at:%Y-%m-%d %H:%M}Z, which this database did not know (restored or "
        "replaced)"
    )
    # Where steps were lost, what they had made is not known: their jobs' results are in no journal.
    source_url = input_of(episode) if steps_ahead > 0 else episode.source_url
    submitted = replace(
        episode,
        step=claim.step,
        source_url=source_url,
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
