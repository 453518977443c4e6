"""Check requests: a publisher or a person says that feeds have changed, and they are due.

Whichever daemon watches them checks them, with its usual regard for their hosts.
"""

from collections.abc import Collection, Mapping
from datetime import datetime

from feedwatch.core.feed import Feed
from feedwatch.core.health import Use
from feedwatch.core.schedule import MINUTE
from feedwatch.core.settings import FeedConfig
from feedwatch.store.store import Store
from feedwatch.watcher.errors import NotFoundError
from feedwatch.watcher.overview import daemon_problems

CHECK_AT_MOST_EVERY = MINUTE  # of one feed, however often it is said to have changed


def request_check(
    store: Store, sources: Mapping[str, FeedConfig], name: str, now: datetime
) -> datetime:
    """Make a feed due. Returns when it is: at once, or a minute after its last check."""
    feed = store.feeds.named(name)
    if name not in sources or feed is None:
        raise NotFoundError(f"the config has no feed {name!r}, or it was not read yet")
    due_at = _due_at(feed, now)
    store.feeds.make_due(due_at, [name])
    return due_at


def request_checks(store: Store, names: Collection[str], now: datetime) -> dict[str, datetime]:
    """Make these feeds due, as `request_check` does. Returns when each is, by its name.

    A feed that no daemon has read from the config yet, or that is in it no longer, is left out.
    """
    known = (feed for feed in store.feeds.all() if feed.active and feed.name in names)
    due = {feed.name: _due_at(feed, now) for feed in known}
    for due_at in sorted(set(due.values())):
        store.feeds.make_due(due_at, [name for name, at in due.items() if at == due_at])
    return due


def why_nobody_checks(store: Store, now: datetime) -> str | None:
    """Why no daemon checks what is due, as the database shows; None if one does."""
    problems = "; ".join(daemon_problems(store, now))
    if store.use() is Use.NONE:
        problems = problems or "not running, but `run --once` by a timer"
        return f"daemon: {problems}; the next `feedwatch run`, or `run --once`, checks them"
    return f"daemon: {problems}; see `feedwatch status`" if problems else None


def _due_at(feed: Feed, now: datetime) -> datetime:
    earliest = now
    if feed.checked_at is not None and feed.checked_at <= now:
        earliest = max(now, feed.checked_at + CHECK_AT_MOST_EVERY)
    # A check that is under way may have missed the change: one that is due already is due anew.
    if feed.due_at is not None and feed.due_at > now:
        return min(earliest, feed.due_at)
    return earliest
