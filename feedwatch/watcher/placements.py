"""Placements: which episode each item of a document is, for feeds with processed files in them."""

from collections.abc import Sequence

from feedwatch.core.feed import Feed, Item
from feedwatch.core.identity import KeyKind, keys_of, title_key
from feedwatch.core.match_items import MatchKind, match_items
from feedwatch.core.served import ServedEpisode
from feedwatch.core.settings import FeedConfig
from feedwatch.feeds.layout import Layout, item_of
from feedwatch.feeds.rewrite import ProcessedFile
from feedwatch.store.store import Store


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
    unheard = [
        item
        for item, own in zip(items, keys, strict=True)
        if any(key.kind is KeyKind.FILE and key not in known for key in own)
    ]
    same_title = store.checks.by_title(feed.id, {title_key(item.title) for item in unheard})
    dates = {item.published_at for item in unheard if item.published_at is not None}
    same_date = store.checks.by_date(feed.id, dates)
    found: list[int | None] = []
    for match in match_items(
        items, keys, known, same_title, same_date, shown_before=feed.item_count
    ):
        if match.duplicate_of is not None:
            found.append(found[match.duplicate_of])
        elif match.kind is MatchKind.KNOWN and match.known is not None:
            found.append(match.known.id)
        else:
            found.append(None)
    return found


def file_of(episode: ServedEpisode) -> ProcessedFile:
    """The processed file of a ready episode, as far as it is known."""
    file = episode.file if not episode.is_unasked else None
    return ProcessedFile(
        url=episode.processed_url or "",
        length=file.length if file is not None else None,
        type=file.type if file is not None else None,
        duration=episode.duration,
    )
