"""Due feeds: which of them this daemon checks, where several share a database."""

from collections.abc import Collection
from datetime import datetime
from functools import lru_cache, partial

from feedwatch.core.daemons import checker_of
from feedwatch.core.schedule import horizon
from feedwatch.store.feeds import DueFeed
from feedwatch.watcher.context import Context

MAX_DUE_FEEDS = 50_000  # each is but a name and a host until its turn has come


def due_feeds(
    context: Context,
    due_by: datetime | None = None,
    limit: int = MAX_DUE_FEEDS,
    *,
    but: Collection[int] = (),
) -> list[DueFeed]:
    """Feeds of this daemon's config that are due, the longest due first, without those in `but`.

    Those of other daemons' hosts are left to them, unless they are late. `due_by` stands for now.
    """
    now, sources = due_by or context.clock(), context.plan.sources
    me, peers = context.store.daemon_id, context.peers
    is_alone = set(peers) <= {me}
    # However many of others' come first, about as many are ours as if there were no others.
    most = limit if is_alone else MAX_DUE_FEEDS * len(peers)
    longest = horizon(context.plan.longest_interval)
    checker = lru_cache(maxsize=None)(partial(checker_of, daemons=peers))
    return [
        one
        for one in context.store.feeds.due(now, longest, most, but=but)
        if one.name in sources
        and sources[one.name].url == one.url
        and (is_alone or one.is_late or checker(one.host) == me)
    ][:limit]
