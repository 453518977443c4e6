"""Finds a feed by what a person has of it: its address, that of a page, or Apple's of the show."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import httpx

from feedwatch.cli.check import error_of
from feedwatch.cli.obstacles import mend_at
from feedwatch.cli.output import USAGE, say, stop
from feedwatch.config.values import http_url
from feedwatch.core.feed import Address, Document, Failed, ParsedFeed
from feedwatch.core.settings import FeedConfig
from feedwatch.feeds.document_parser import DocumentParser
from feedwatch.feeds.feed_links import FeedLink, feed_links
from feedwatch.feeds.fetch import fetch
from feedwatch.watcher.look import Look, look

APPLE_PODCASTS = re.compile(r"https?://(?:podcasts|itunes)\.apple\.com/(?:[^?#]*/)?id(\d+)")
APPLE_LOOKUP = "https://itunes.apple.com"

Choose = Callable[[Sequence[FeedLink]], FeedLink]


def address_keys(url: str) -> dict[str, str]:
    """The keys of a block that an address sets: user and password have keys of their own.

    Ends the program if it is none.
    """
    try:
        parts = urlsplit(http_url(url))
    except ValueError as error:
        stop(f"the address is wrong: {error}", USAGE)
    login, at, host = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    keys = {"URL": urlunsplit(parts._replace(netloc=host))}
    if at:
        keys |= {"USERNAME": unquote(user), "PASSWORD": unquote(password)}
    return {key: value for key, value in keys.items() if value}


def block_of(source: FeedConfig, keys: Mapping[str, str]) -> dict[str, str]:
    """The keys of its block, by where it was found."""
    found = address_keys(source.url)
    wanted = {
        "URL": found["URL"],
        "PODCAST_ID": keys.get("PODCAST_ID"),
        "USERNAME": found.get("USERNAME", source.username),
        "PASSWORD": found.get("PASSWORD", source.password),
        "FIRST_RUN": keys.get("FIRST_RUN"),
    }
    return {key: value for key, value in wanted.items() if value}


def find_feed(
    http: httpx.Client,
    parser: DocumentParser,
    source: FeedConfig,
    choose: Choose,
    apple: str = APPLE_LOOKUP,
) -> tuple[FeedConfig, Look, ParsedFeed]:
    """The feed at `source.url`, or the one that is named there, as its first check would see it.

    `choose` is asked where a page names several; `apple` has the look-up of Apple's shows. Ends the
    program where there is none.
    """
    moved = None
    if (show := APPLE_PODCASTS.match(source.url)) is not None:
        moved = feed_of_apple(http, show[1], apple)
        source = _elsewhere(source, moved.url)
    looked = look(http, parser, source, moved, is_first=True)
    page = looked.document
    links = feed_links(page) if page is not None and isinstance(looked.outcome, Failed) else []
    if page is not None and links:
        link = links[0] if len(links) == 1 else choose(links)
        say(f"The page names the feed {link.url}")
        source = _elsewhere(source, link.url)
        # Nor does a page lead to a more private address than its own.
        moved = Address(url=link.url, scope=page.scope or 0)
        looked = look(http, parser, source, moved, is_first=True)
    if not isinstance(looked.outcome, ParsedFeed):
        mend = mend_at(http, source.url, "FEEDWATCH_FEED_PROXY", "")
        stop(f"{source.url} is no feed that can be read: {error_of(looked.outcome)} {mend}".strip())
    return source, looked, looked.outcome


def feed_of_apple(http: httpx.Client, show: str, apple: str) -> Address:
    """Where the feed of a show is, by Apple's public look-up."""
    instead = "give the feed's own address"
    url = f"{apple}/lookup?id={show}"
    found = fetch(http, FeedConfig(name="apple", url=url), None)
    if not isinstance(found, Document):
        reason = found.reason if isinstance(found, Failed) else "it is gone"
        stop(f"Apple's look-up cannot be asked: {reason}; {instead}")
    entries: list[Any] = []
    try:
        answer = json.loads(found.body)
        entries = answer["results"]
        feed_url = http_url(next(one["feedUrl"] for one in entries if "feedUrl" in one))
    except StopIteration:
        known = "names no feed of it" if entries else "does not know it"
        stop(f"Apple's look-up {known}: the show {show}; {instead}")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        stop(f"Apple's look-up answered with something else than a show; {instead}")
    return Address(url=feed_url, scope=found.scope or 0)


def _elsewhere(source: FeedConfig, url: str) -> FeedConfig:
    """The feed at another address; user and password are for the first one's server alone."""
    before, after = urlsplit(source.url), urlsplit(url)
    if (before.scheme, before.netloc) == (after.scheme, after.netloc):
        return replace(source, url=url)
    return replace(source, url=url, username=None, password=None, headers={})
