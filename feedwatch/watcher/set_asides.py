"""Set asides: queued episodes that the API's answers speak against wait for a person."""

import logging

from feedwatch.core import episode_lifecycle
from feedwatch.core.circuit_breaker import SEVERAL, CircuitBreaker
from feedwatch.core.episode import Episode, State
from feedwatch.core.job import Accepted, Answer, Refused
from feedwatch.core.pipeline import PROCESSOR_OF
from feedwatch.core.printable import counted
from feedwatch.watcher.context import Context

log = logging.getLogger(__name__)


def set_others_aside(
    context: Context, before: CircuitBreaker, claimed: Episode, answer: Answer
) -> None:
    """Hold what the answer to `claimed` speaks against; `before` is the breaker before it.

    An episode that got an odd answer is odd itself once another one got a clear answer. Refusals in
    a row are the feed's, not the episodes'.
    """
    if not isinstance(answer, Accepted | Refused):
        return
    if before.odd_episode not in (None, SEVERAL, claimed.id):
        odd = context.store.episodes.get(before.odd_episode or SEVERAL)
        if (
            odd is not None
            and odd.state is State.QUEUED
            and PROCESSOR_OF[odd.step] == PROCESSOR_OF[claimed.step]  # it may have gone on
        ):
            context.move(odd, episode_lifecycle.set_aside(odd, odd.reason or "an odd answer"))
    if not isinstance(answer, Refused):
        return
    refusals = context.store.claims.refusals_in_a_row(claimed.feed, claimed.step)
    if refusals >= episode_lifecycle.MOST_REFUSALS:
        reason = (
            f"the API refused the last {episode_lifecycle.MOST_REFUSALS} episodes of this feed "
            f"({answer.reason}); once that is mended, `feedwatch approve --feed {claimed.feed}` "
            "submits the rest and counts anew"
        )
        waiting = context.store.episodes.find(feed=claimed.feed, states=[State.QUEUED])
        queued = [one for one in waiting if one.step is claimed.step]
        for episode in queued:
            aside = episode_lifecycle.set_aside(episode, reason)
            context.store.episodes.save(episode, aside, context.clock())
        if queued:
            number = counted(len(queued), "queued episode")
            log.error("%s: held with it, %s: %s", context.named(claimed), number, reason)
