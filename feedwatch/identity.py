"""By which keys an episode is known. Pure.

An item has several keys at once and is known if any of them is. A key is "kind:value"; keys are
kept for ever, each leading to one episode of its feed.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from urllib.parse import urlsplit

from feedwatch.model import Item

LONGEST_KEY = 500  # characters; a longer value is kept as its hash: databases bound what they index


def keys_of(items: Sequence[Item]) -> list[tuple[str, ...]]:
    """The keys of each item of one document, in the items' order.

    A guid that stands on items with different audio in one document tells nothing and is no key
    of either. An item without an enclosure has no keys: it is no episode.
    """
    files: dict[str, set[str]] = defaultdict(set)
    for item in items:
        if item.guid is not None and item.enclosure_url is not None:
            files[item.guid].add(comparable(item.enclosure_url))
    telling = {guid for guid, urls in files.items() if len(urls) == 1}
    return [tuple(_keys(item, telling)) for item in items]


def known_as(keys: Iterable[str], known: Mapping[str, int]) -> int | None:
    """The id of the episode that one of the keys leads to; an earlier key is the stronger one."""
    return next((known[key] for key in keys if key in known), None)


def comparable(url: str) -> str:
    """An enclosure's URL for comparison only: without scheme, fragment and the host's case."""
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.netloc.lower()}{parts.path}{query}"


def _keys(item: Item, telling_guids: set[str]) -> Iterable[str]:
    if item.enclosure_url is None:
        return
    if item.guid is not None and item.guid in telling_guids:
        yield _key("guid", item.guid)
    yield _key("file", comparable(item.enclosure_url))


def _key(kind: str, value: str) -> str:
    if len(value) > LONGEST_KEY:
        value = "sha256-" + sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{kind}:{value}"
