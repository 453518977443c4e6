"""Claim plan: what a claim makes of the episode that is next, by what the config says now."""

from feedwatch.core import episode_lifecycle
from feedwatch.core.episode import Episode
from feedwatch.core.ledger import Target, targets_from
from feedwatch.core.submit_waits import wait_of
from feedwatch.processors import Processor
from feedwatch.processors.clocks import moment
from feedwatch.store.claims import Intent, PutOff
from feedwatch.watcher.context import Context
from feedwatch.watcher.podcast_lookups import PodcastLookups


class ClaimPlan:
    """What a claim makes of the episode that is next; called within the claim's transaction."""

    def __init__(self, context: Context, podcasts: PodcastLookups, processor: Processor) -> None:
        """`processor` is the one that the claim is for."""
        self.sources = context.plan.sources
        self.now = context.clock()
        self.at = moment()
        self.unasked: Target | None = None  # a podcast that has to be looked up first
        self.passed_over: set[str] = set()  # feeds that the config lacks
        self._podcasts = podcasts
        self._apis = context.apis | {processor.name: processor.api}

    def __call__(self, episode: Episode) -> Intent | PutOff | None:
        """The episode as claimed; None without its feed in the config, or if it is `unasked`."""
        self.at = moment()  # not later than the commit, whatever stops us then
        source = self.sources.get(episode.feed)
        if source is None:
            self.passed_over.add(episode.feed)
            return None
        placed = episode_lifecycle.placed(episode, source.pipeline, self.now)
        if placed is not episode:
            return PutOff(placed)
        wait = wait_of(episode.published_at, episode.first_seen_at, source, self.now)
        if wait is not None:
            return PutOff(episode_lifecycle.put_off(episode, wait, self.now))
        target, *later = targets_from(episode.step, source, self._apis)
        if not self._podcasts.is_usable(target):
            self.unasked = self.unasked or target
            return None
        return Intent(episode_lifecycle.claimed(episode, target.id, self.now), target, later)
