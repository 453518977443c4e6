"""Remarks: what of a feed looks well and brings nothing, or not all. Pure."""

from collections.abc import Mapping, Sequence

from feedwatch.core.episode import KnownEpisode
from feedwatch.core.feed import Document, Feed, Item, ParsedFeed, Remark, RemarkKind
from feedwatch.core.identity import Key, KeyKind, comparable, title_key
from feedwatch.core.settings import feed_key


def remarks_on(
    feed: Feed,
    parsed: ParsedFeed,
    document: Document,
    *,
    item_count: int,
    fixed_address: str | None,
    is_new: bool,
) -> tuple[Remark, ...] | None:
    """What is to be said of a good document; None if nothing.

    `item_count`: how many of its items are episodes.
    `fixed_address`: what `fixed_address` gives for its changed items.
    `is_new`: whether it has an episode at an address that was not known.
    """
    before = {remark.kind: remark for remark in feed.remarks or ()}
    found = []
    if not item_count:
        found.append(Remark(RemarkKind.NO_ENCLOSURES, str(len(parsed.items) + parsed.unchanged)))
    # Only its changed items show it, so it holds until an episode has an address of its own.
    if fixed_address is not None:
        found.append(Remark(RemarkKind.FIXED_ADDRESS, fixed_address))
    elif RemarkKind.FIXED_ADDRESS in before and not is_new:
        found.append(before[RemarkKind.FIXED_ADDRESS])
    # Further pages are read at the first good check alone.
    if feed.baseline_at is None and parsed.unread_page is not None:
        found.append(Remark(RemarkKind.PAGES, parsed.unread_page))
    elif RemarkKind.PAGES in before and document.links.next_page is not None:
        found.append(before[RemarkKind.PAGES])
    new_url = document.links.new_feed_url
    known = (feed.url, feed.moved_url, document.url)
    if new_url and _place(new_url) not in {_place(url) for url in known if url is not None}:
        found.append(Remark(RemarkKind.NEW_FEED_URL, new_url))
    if parsed.unread:
        found.append(Remark(RemarkKind.UNREAD, str(parsed.unread)))
    return tuple(found) or None


def fixed_address(
    items: Sequence[Item], all_keys: Sequence[Sequence[Key]], known: Mapping[Key, KnownEpisode]
) -> str | None:
    """The address at which one episode after another is published, without guids; or None.

    Shown by a known address that has another title and a later date, or by two titles of one
    document at one address.
    """
    titles: dict[Key, str] = {}
    for item, keys in zip(items, all_keys, strict=True):
        file = next((key for key in keys if key.kind is KeyKind.FILE), None)
        if file is None or item.guid is not None or not item.title:
            continue
        title, one = title_key(item.title), known.get(file)
        dates = (item.published_at, one.published_at if one is not None else None)
        later = dates[0] is not None and dates[1] is not None and dates[0] > dates[1]
        if titles.setdefault(file, title) != title or (
            one is not None and one.title_key != title and later
        ):
            return item.enclosure_url
    return None


def remark_in_words(remark: Remark, feed: str) -> str:
    """A remark on a feed, for people."""
    detail = remark.detail
    match remark.kind:
        case RemarkKind.NO_ENCLOSURES:
            return (
                f"none of its items, {detail} in all, has an enclosure of a wanted type "
                f"({feed_key(feed, 'MEDIA_TYPES')}), so nothing of it is ever submitted; is it the "
                "podcast's feed?"
            )
        case RemarkKind.FIXED_ADDRESS:
            return (
                f"its items have no guid, and several had the same address, {detail}: such "
                "episodes cannot be told apart; ask the publisher for guids"
            )
        case RemarkKind.PAGES:
            return (
                f"it has further pages, and {detail} could not be read, so older items that the "
                "first run wants are missing"
            )
        case RemarkKind.NEW_FEED_URL:
            key = feed_key(feed, "URL")
            return f"its publisher says that the feed has moved to {detail}: set {key} to it"
        case RemarkKind.UNREAD:
            return (
                "its document is damaged: of the items or enclosures that stand in it, "
                f"{detail} could not be read"
            )


def in_words(feed: Feed) -> list[str]:
    """The remarks on a feed, for people."""
    return [remark_in_words(remark, feed.name) for remark in feed.remarks or ()]


def missing_podcast_in_words(feed: str, podcast_id: str) -> str:
    """Why nothing of a feed is submitted, and what to do."""
    return (
        f"nothing is submitted: the API key reaches no podcast {podcast_id}; see `feedwatch "
        f"podcasts`, then set {feed_key(feed, 'PODCAST_ID')}"
    )


def _place(url: str) -> str:
    return comparable(url, whole_query=True).rstrip("/")
