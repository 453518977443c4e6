"""Which addresses and names the feeds of the config have, and which are free."""

import os
import re
from collections.abc import Collection
from unicodedata import normalize
from urllib.parse import urlsplit

from feedwatch.cli.output import stop
from feedwatch.config.keys import Settings
from feedwatch.core.identity import comparable
from feedwatch.core.settings import FeedConfig, feed_key
from feedwatch.store.store import Store

LONGEST_NAME = 40


def refuse_known(settings: Settings, urls: Collection[str]) -> None:
    """End where a feed of the config has one of these addresses, however it is spelt."""
    wanted = {_without_login(url) for url in urls}
    for one in settings.sources:
        if _without_login(one.url) in wanted:
            stop(f"the feed {one.name!r} has this address already: {place_of(settings, one.name)}")


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    return comparable(bare.geturl(), whole_query=True)


def place_of(settings: Settings, name: str) -> str:
    """Where the config has a feed: a variable of the environment overrides the file."""
    key = feed_key(name, "URL")
    return f"{key} in {'the environment' if key in os.environ else settings.path}"


def names_of(settings: Settings, store: Store) -> set[str]:
    """The names that feeds have, or had."""
    return {one.name for one in (*settings.sources, *store.feeds.all())}


def unused(name: str, names: Collection[str]) -> str:
    """`name`, with a number where it is taken."""
    number, free = 1, name
    while free in names:
        number += 1
        free = f"{name}_{number}"
    return free


def free_name(settings: Settings, store: Store, source: FeedConfig, title: str) -> str:
    """The name that it had when it was in the config before, else one made of its title."""
    known = {_without_login(one.url): one.name for one in store.feeds.all()}
    before = known.get(_without_login(source.url))
    if before is not None and settings.source(before) is None:
        return before
    plain = normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "_", plain)[:LONGEST_NAME].strip("_") or "feed"
    return unused(name, names_of(settings, store))
