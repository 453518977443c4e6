"""Podcast look-ups: whether the media API has a podcast, asked before its first POST.

A podcast id that the API does not know costs nothing that way, and stops its own feed alone.
"""

import logging
from collections import Counter
from datetime import datetime, timedelta

from feedwatch.core.job import Later
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
        self._processor: Processor | None = None  # this one was asked,
        self._plan: Plan | None = None  # under this config
        self._usable: set[str] = set()  # podcasts that are there, or of which it cannot be told
        self._missing: dict[str, tuple[datetime, timedelta]] = {}  # when it was said, the next wait
        self._noes: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()

    def is_usable(self, podcast_id: str) -> bool:
        """Whether episodes may be submitted to this podcast, as far as it was asked for."""
        return podcast_id in self._usable

    def begin_round(self) -> None:
        """Forget what was said of another plan or key, and let missing podcasts be asked for again.

        A feed whose podcast is recorded as missing submits nothing, so nobody would ask for it.
        """
        context = self._context
        processor, plan, now = context.processor, context.plan, context.clock()
        if self._processor is not processor or self._plan is not plan:
            self._processor, self._plan = processor, plan
            for memory in (self._usable, self._missing, self._noes, self._failures):
                memory.clear()
            resting = [one.name for one in context.store.feeds.in_trouble() if one.missing_podcast]
            context.store.feeds.set_missing_podcasts(resting, None)
        for podcast_id, (since, wait) in list(self._missing.items()):
            if not timedelta() <= now - since < wait:
                del self._missing[podcast_id]
                context.store.feeds.set_missing_podcasts(self._feeds_of(podcast_id), None)

    def look_up(self, podcast_id: str) -> Later | None:
        """Ask for a podcast. Why nothing should be submitted to any podcast now; None if not so."""
        context, now = self._context, self._context.clock()
        said = context.processor.has_target(podcast_id)
        if isinstance(said, Later):
            self._failures[podcast_id] += 1
            if self._failures[podcast_id] < MOST_FAILURES:
                return said
            # A safe read has succeeded after each failure: they are about this podcast alone.
            said = False if said.blocked else None
        match said:
            case False:
                self._noes[podcast_id] += 1
                first = context.plan.policy.poll_interval
                noes = self._noes[podcast_id]
                wait = backoff(noes, first=first, most=max(HOUR, first), key=podcast_id)
                self._missing[podcast_id] = (now, wait)
                feeds = self._feeds_of(podcast_id)
                context.store.feeds.set_missing_podcasts(feeds, podcast_id)
                for feed in feeds if noes == 1 else ():
                    text = missing_podcast_in_words(feed, podcast_id)
                    log.error("feed %s: %s", feed, text, extra={"feed": feed})
            case _:
                self._usable.add(podcast_id)
        return None

    def _feeds_of(self, podcast_id: str) -> list[str]:
        sources = self._context.plan.sources.values()
        return [source.name for source in sources if source.podcast_id == podcast_id]
