"""Which addresses and names the feeds of the config have, and which are free."""

import os
from collections.abc import Collection

from feedwatch.cli.output import stop
from feedwatch.config.keys import Settings
from feedwatch.core.import_plan import address_key, free_name
from feedwatch.core.settings import FeedConfig, feed_key
from feedwatch.store.store import Store


def refuse_known(settings: Settings, urls: Collection[str]) -> None:
    """End where a feed of the config has one of these addresses, however it is spelt."""
    wanted = {address_key(url) for url in urls}
    for one in settings.sources:
        if address_key(one.url) in wanted:
            stop(f"the feed {one.name!r} has this address already: {place_of(settings, one.name)}")


def place_of(settings: Settings, name: str) -> str:
    """Where the config has a feed: a variable of the environment overrides the file."""
    key = feed_key(name, "URL")
    return f"{key} in {'the environment' if key in os.environ else settings.path}"


def names_of(settings: Settings, store: Store) -> set[str]:
    """The names that feeds have, or had."""
    return {one.name for one in settings.sources} | {one.name for one in store.feeds.all()}


def name_for(settings: Settings, store: Store, source: FeedConfig, title: str) -> str:
    """The name that it had when it was in the config before, else one made of its title."""
    known = {address_key(one.url): one.name for one in store.feeds.all()}
    before = known.get(address_key(source.url))
    if before is not None and settings.source(before) is None:
        return before
    return free_name(title, source.url, names_of(settings, store))
