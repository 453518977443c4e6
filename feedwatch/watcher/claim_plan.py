"""Claim plan: what a claim makes of the episode that is next."""

from feedwatch.core import episode_lifecycle
from feedwatch.core.episode import Episode
from feedwatch.core.submit_waits import wait_of
from feedwatch.processors.clocks import moment
from feedwatch.store.claims import Intent, PutOff
from feedwatch.watcher.context import Context
from feedwatch.watcher.podcast_lookups import PodcastLookups


class ClaimPlan:
    """What a claim makes of the episode that is next; called within the claim's transaction."""

    def __init__(self, context: Context, podcasts: PodcastLookups) -> None:
        self.sources = context.plan.sources
        self.now = context.clock()
        self.at = moment()
        self.unasked: str | None = None  # a podcast that has to be looked up first
        self.passed_over: set[str] = set()  # feeds that the config lacks
        self._context = context
        self._podcasts = podcasts

    def __call__(self, episode: Episode) -> Intent | PutOff | None:
        """The episode as claimed; None without its feed in the config, or if it is `unasked`."""
        self.at = moment()  # not later than the commit, whatever stops us then
        source = self.sources.get(episode.feed)
        if source is None:
            self.passed_over.add(episode.feed)
            return None
        wait = wait_of(episode.published_at, episode.first_seen_at, source, self.now)
        if wait is not None:
            return PutOff(episode_lifecycle.put_off(episode, wait, self.now))
        if not self._podcasts.is_usable(source.podcast_id):
            self.unasked = self.unasked or source.podcast_id
            return None
        claimed = episode_lifecycle.claimed(episode, source.podcast_id, self.now)
        return Intent(claimed, self._context.target(source.podcast_id))
