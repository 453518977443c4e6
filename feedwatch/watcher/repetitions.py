"""What a person decides about steps: to pay for one again, or to go on without it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from feedwatch.core import episode_lifecycle
from feedwatch.core.episode import Episode
from feedwatch.core.job_lifecycle import ended_step
from feedwatch.core.ledger import PERHAPS_PAID
from feedwatch.core.pipeline import Step, StepOutcome, in_words, steps_from
from feedwatch.store.store import Store
from feedwatch.watcher.context import Plan
from feedwatch.watcher.decisions import (
    Action,
    Proposal,
    TargetsOf,
    by_id,
    proposal_of,
    require_configured,
    submitting,
)
from feedwatch.watcher.errors import RequestError


def repetition(
    store: Store,
    plan: Plan,
    ids: Sequence[int],
    now: datetime,
    targets_of: TargetsOf,
    start: Step | None = None,
) -> Proposal:
    """Submit episodes once more, which pays for them again.

    start: from this step on, whose results are not kept; None: the last step of ready ones.
    """
    episodes = by_id(store, ids)
    require_configured(plan.sources.values(), episodes)
    for one in episodes:
        pipeline = plan.sources[one.feed].pipeline
        if start is not None and start not in [step.step for step in pipeline]:
            words = in_words(pipeline)
            raise RequestError(f"the pipeline of feed {one.feed} is {words}: no {start} in it")
    urls = {one.id: store.episodes.address_in_feed(one.id) for one in episodes}

    def is_first(episode: Episode) -> bool:
        return (start or episode.step) is plan.sources[episode.feed].pipeline[0].step

    def move(episode: Episode, now: datetime, cleared: int | None) -> Episode:
        url, first = urls[episode.id], is_first(episode)
        return episode_lifecycle.sent_again(episode, now, cleared, url, start=start, is_first=first)

    proposal = submitting(
        Action.RETRY,
        store,
        plan.sources.values(),
        episodes,
        move,
        now,
        lambda one: targets_of(
            replace(
                one,
                step=start or one.step,
                source_url=one.enclosure_url,
            )
        ),
    )
    remarks = [
        f"episode {one.id} was sent again on {claim.at:%Y-%m-%d %H:%M}Z already"
        + (f" as job {claim.media_id}" if claim.media_id is not None else "")
        + ", which its row does not have (this database was restored): look at the media API first."
        for one in episodes
        if (claim := store.claims.latest_of(one.id)) is not None
        and claim.outcome in PERHAPS_PAID
        and one.submitted_at is not None
        and claim.number > (one.claim or 0)
    ]
    if start is not None:
        remarks += [_cost(store, plan, one, start) for one in episodes]
    return replace(proposal, remarks=[*remarks, *proposal.remarks])


def _cost(store: Store, plan: Plan, episode: Episode, start: Step) -> str:
    """What is paid for if an episode is repeated from a step on."""
    steps = steps_from(plan.sources[episode.feed].pipeline, start)
    ended = store.episodes.ended_steps(episode.id)
    paid = {one.step for one in ended if one.outcome is StepOutcome.DONE}
    again = [step for step in steps if step in paid]
    return (
        f"episode {episode.id}: {', '.join(steps)} will be paid for; paid for already: "
        f"{', '.join(again) or 'none of them'}"
    )


def passing_over(store: Store, plan: Plan, ids: Sequence[int], now: datetime) -> Proposal:
    """Go on without the helper step that episodes are at; the next step is paid for."""
    episodes = by_id(store, ids)
    require_configured(plan.sources.values(), episodes)
    proposal = proposal_of(
        Action.GO_ON,
        episodes,
        lambda one: episode_lifecycle.passed_over(one, plan.course(one), now),
    )
    ended = {
        before.id: step
        for before, after in proposal.moves
        if (step := ended_step(before, after, now)) is not None
    }
    return replace(proposal, ended=ended)
