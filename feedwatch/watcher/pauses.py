"""Pauses: a person stops and restarts new submissions, and is told what is stopped."""

from collections.abc import Collection
from datetime import datetime
from functools import partial

from feedwatch.core import circuit_breaker
from feedwatch.core.json_forms import pause_in_words
from feedwatch.core.pipeline import processors_of
from feedwatch.core.settings import FeedConfig
from feedwatch.store.store import Store
from feedwatch.watcher.overview import configured_feeds


def set_paused(
    store: Store,
    processors: Collection[str],
    sources: Collection[FeedConfig],
    feed: str | None,
    now: datetime,
    actor: str,
    *,
    paused: bool,
) -> None:
    """Stop or restart new submissions: of a feed or, without one, to these processors.

    A feed that is configured here and not known to the database yet is added to it, for whoever
    reads this config next; what a running daemon watches stays as it is.
    """
    if feed is None:
        begin = partial(circuit_breaker.paused, by=actor, now=now)
        for name in processors:
            store.breakers.change(name, begin if paused else circuit_breaker.resumed)
    elif not store.feeds.set_paused(feed, now, actor, paused=paused) and paused:
        store.feeds.add_paused(next(one for one in sources if one.name == feed), now, actor)


def resting(store: Store) -> list[str]:
    """The names of the feeds that are paused on their own: `resume` of everything leaves them."""
    return sorted(one.name for one in store.feeds.all() if one.paused and one.active)


def pauses(
    store: Store, sources: Collection[FeedConfig], concerned: Collection[str] | None = None
) -> list[str]:
    """What a person has paused, of everything or of these feeds, a sentence each.

    concerned: only these processors, to which the next POSTs go; None: all that the feeds need.
    """
    breakers = store.breakers.of(processors_of(sources))
    found = [
        f"nothing is submitted{f' to {name}' if len(breakers) > 1 else ''}: {pause_in_words(one)}"
        for name, one in breakers.items()
        if one.paused and (concerned is None or name in concerned)
    ]
    return found + [
        f"feed {feed.name}: nothing is submitted: {pause_in_words(feed)}"
        for feed in configured_feeds(store, sources).values()
        if feed.paused
    ]
