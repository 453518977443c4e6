"""URL changes: whether a feed is fetched from the config's URL or from where it has moved. Pure.

RFC 9110 asks to follow a permanent redirect in future. But such redirects are also set by mistake,
by hosts between two owners and by captive portals, and an episode of somebody else's feed costs
money. So one is believed only once it has stood for days, and only as long as it works.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from feedwatch.core.feed import Address, Feed, UrlChange

SEEN_AT_LEAST = 3  # checks in a row
SEEN_OVER = timedelta(days=3)
GIVEN_UP_AFTER = 3  # failures in a row at the new URL


def address_of(feed: Feed) -> Address | None:
    """Where the feed has moved; None: it is where the config says."""
    if feed.moved_url is None or feed.url_scope is None:
        return None
    return Address(url=feed.moved_url, scope=feed.url_scope)


def observed(feed: Feed, moved: Address | None, now: datetime) -> Feed:
    """The feed after a good answer; `moved` is where permanent redirects, and no others, led."""
    if moved is None or moved.url == (feed.moved_url or feed.url):
        return _unmoved(feed)
    if moved.url != feed.moved_to or feed.moved_since is None or feed.moved_since > now:
        return replace(feed, moved_to=moved.url, moved_since=now, moved_seen=1)
    seen = (feed.moved_seen or 0) + 1
    if seen < SEEN_AT_LEAST or now - feed.moved_since < SEEN_OVER:
        return replace(feed, moved_seen=seen)
    back = moved.url == feed.url
    return replace(
        _unmoved(feed),
        moved_url=None if back else moved.url,
        url_scope=None if back else moved.scope,
    )


def failed(feed: Feed) -> Feed:
    """The feed after a failure that has been counted; a new URL that keeps failing is given up.

    The validators were that URL's, so they are forgotten.
    """
    if feed.moved_url is None or feed.failures < GIVEN_UP_AFTER:
        return feed
    return replace(
        _unmoved(feed),
        moved_url=None,
        url_scope=None,
        etag=None,
        last_modified=None,
        last_full_fetch_at=None,
    )


def url_change(before: Feed, after: Feed, now: datetime) -> UrlChange | None:
    """The URL that the feed is no longer fetched from after a check, and why; None: no change."""
    if before.moved_url == after.moved_url:
        return None
    if after.moved_url is not None:
        reason = f"moved for good to {after.moved_url}"
    elif after.failures:
        reason = f"{after.failures} failures in a row, back to the address in the config"
    else:
        reason = "moved back to the address in the config"
    return UrlChange(at=now, url=before.moved_url or before.url, reason=reason)


def _unmoved(feed: Feed) -> Feed:
    return replace(feed, moved_to=None, moved_since=None, moved_seen=None)
