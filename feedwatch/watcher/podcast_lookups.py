"""Podcast look-ups: whether the media API has a podcast, asked before its first POST.

A podcast id that the API does not know costs nothing that way, and stops its own feed alone.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

from feedwatch.core.job import Later
from feedwatch.core.ledger import Target
from feedwatch.core.pipeline import step_of, target_id
from feedwatch.core.remarks import missing_podcast_in_words
from feedwatch.core.schedule import HOUR, backoff
from feedwatch.processors import Processor
from feedwatch.watcher.context import Context, Plan

log = logging.getLogger(__name__)

# Look-ups of one podcast that fail although safe reads succeed; then it cannot be told.
MOST_FAILURES = 3


class PodcastLookups:
    """What the API has said of each podcast under this config and key, in this process."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._processors: Mapping[str, Processor] | None = None  # these were asked,
        self._plan: Plan | None = None  # under this config
        self._usable: set[Target] = set()  # podcasts that are there, or of which it cannot be told
        self._missing: dict[
            Target, tuple[datetime, timedelta]
        ] = {}  # when it was said, the next wait
        self._noes: Counter[Target] = Counter()
        self._failures: Counter[Target] = Counter()

    def is_usable(self, target: Target) -> bool:
        """Whether episodes may be submitted to this podcast, as far as it was asked for."""
        return target in self._usable

    def begin_round(self) -> None:
        """Forget what was said of another plan or key, and let missing podcasts be asked for again.

        A feed whose podcast is recorded as missing submits nothing, so nobody would ask for it.
        """
        context = self._context
        processors, plan, now = context.processors, context.plan, context.clock()
        if self._processors is not processors or self._plan is not plan:
            self._processors, self._plan = processors, plan
            for memory in (self._usable, self._missing, self._noes, self._failures):
                memory.clear()
            resting = [one.name for one in context.store.feeds.in_trouble() if one.missing_podcast]
            context.store.feeds.set_missing_podcasts(resting, None)
        for target, (since, wait) in list(self._missing.items()):
            if not timedelta() <= now - since < wait:
                del self._missing[target]
                context.store.feeds.set_missing_podcasts(self._feeds_of(target), None)

    def look_up(self, target: Target, processor: Processor) -> Later | None:
        """Ask for a podcast. Why nothing should be submitted to any podcast now; None if not so."""
        context, now = self._context, self._context.clock()
        said = processor.has_target(target.id)
        if isinstance(said, Later):
            self._failures[target] += 1
            if self._failures[target] < MOST_FAILURES:
                return said
            # A safe read has succeeded after each failure: they are about this podcast alone.
            said = False if said.blocked else None
        match said:
            case False:
                self._noes[target] += 1
                first = context.plan.policy_of(target.processor).poll_interval
                noes = self._noes[target]
                wait = backoff(noes, first=first, most=max(HOUR, first), key=target.id)
                self._missing[target] = (now, wait)
                feeds = self._feeds_of(target)
                context.store.feeds.set_missing_podcasts(feeds, target.id)
                for feed in feeds if noes == 1 else ():
                    text = missing_podcast_in_words(feed, target.id)
                    log.error("feed %s: %s", feed, text, extra={"feed": feed})
            case _:
                self._usable.add(target)
        return None

    def _feeds_of(self, target: Target) -> list[str]:
        step = step_of(target.id, target.processor)
        sources = self._context.plan.sources.values()
        return [source.name for source in sources if target_id(step, source) == target.id]
