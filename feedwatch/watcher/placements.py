"""Placements: which episode each item of a document is, for feeds with processed files in them."""

from collections.abc import Sequence

from feedwatch.core.feed import Feed, Item
from feedwatch.core.identity import keys_of
from feedwatch.core.match_items import MatchKind, UnchangedItems
from feedwatch.core.settings import FeedConfig
from feedwatch.feeds.layout import Layout, item_of
from feedwatch.store.store import Store
from feedwatch.watcher.evaluate import matched


def episodes_of(
    store: Store, feed: Feed, source: FeedConfig, layout: Layout, url: str
) -> list[int | None]:
    """The id of the episode that each item of a document is, by all of its keys.

    As a check tells it, so an item whose guid, address or title has changed keeps its episode.
    """
    media_types = source.rules.media_types
    items = [item_of(element, media_types, url) for element in layout.items]
    return matched_episodes(store, feed, items)


def matched_episodes(store: Store, feed: Feed, items: Sequence[Item]) -> list[int | None]:
    """The id of the episode that each item is; None: of none that is known for certain."""
    keys = keys_of(items)
    every = {key for own in keys for key in own}
    known = store.checks.known(feed.id, every) if every else {}
    found: list[int | None] = []
    for match in matched(store, feed, items, keys, known, UnchangedItems()):
        if match.duplicate_of is not None:
            found.append(found[match.duplicate_of])
        elif match.kind is MatchKind.KNOWN and match.known is not None:
            found.append(match.known.id)
        else:
            found.append(None)
    return found
