"""What is said of a key that cannot be used."""

import difflib
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr
from pydantic_core import ErrorDetails

from feedwatch.config.ad_options import AdOptions
from feedwatch.config.enhance import Enhance
from feedwatch.config.key_names import (
    CONFIG_KEY,
    KEY_FILE_KEY,
    KEY_KEY,
    MEDIAAPIS_SECRET_KEYS,
    PREFIX,
    WEBHOOK_SECRET_FILE_KEY,
)
from feedwatch.config.keys import FEED_FIELDS, LOOPBACK, TOP_KEYS, FeedKeys
from feedwatch.config.values import duration, http_url
from feedwatch.core.identity import comparable
from feedwatch.core.masking import SHORTEST_SECRET, masked_setting, names_a_secret
from feedwatch.core.pipeline import Step
from feedwatch.core.printable import counted
from feedwatch.core.settings import FEED_BLOCK, FeedConfig, feed_key, of_feed
from feedwatch.net.address_scope import Scope, host_scope

SHORTEST_CHECK_INTERVAL = timedelta(minutes=1)  # on public hosts
LONGEST_WORD = 16  # characters of an unknown key that may be shown: it might be a secret, misplaced


NO_FEED = (
    f"no feed is configured: `feedwatch add URL` adds one, or set {FEED_BLOCK}URL and "
    f"{FEED_BLOCK}PODCAST_ID"
)
# What config.example.env and the documentation have in the places of real values.
PLACEHOLDER_KEY = re.compile(
    r"(your|my|the)[-_]?(api[-_]?)?key.*|abc123|change[-_]?me|<.*>", re.IGNORECASE
)
PLACEHOLDER_PODCASTS = ("507f1f77bcf86cd799439011", "507f1f77bcf86cd799439012")
PLACEHOLDER_HOST = re.compile(r"(.+\.)?example(\.(com|org|net))?$")  # RFC 2606


def placeholder_key(key: SecretStr | None, api_url: str) -> list[str]:
    """Whether the API key is a placeholder; at an API on this machine any key may be right."""
    with suppress(ValueError):  # an address that is none is told by itself
        if LOOPBACK.match(urlsplit(api_url).hostname or ""):
            return []
    if key is None or not PLACEHOLDER_KEY.fullmatch(key.get_secret_value()):
        return []
    return [f"{KEY_KEY} is a placeholder: set your key"]


def placeholders(sources: Iterable[FeedConfig]) -> Iterable[str]:
    """What of the feeds is still as config.example.env has it."""
    for source in sources:
        if PLACEHOLDER_HOST.fullmatch(urlsplit(source.url).hostname or ""):
            yield f"{feed_key(source.name, 'URL')} is a placeholder: set the feed's address"
        if source.podcast_id in PLACEHOLDER_PODCASTS:
            key = feed_key(source.name, "PODCAST_ID")
            yield f"{key} is a placeholder: `feedwatch podcasts` lists yours"


def unknown_key(key: str, feed_name: str | None) -> str:
    """An unread key, and the one that was probably meant."""
    candidates = [*TOP_KEYS, KEY_KEY, KEY_FILE_KEY, WEBHOOK_SECRET_FILE_KEY]
    candidates += [feed_key(feed_name or "NAME", field) for field in FEED_FIELDS]
    candidates += [f"{one}_FILE" for one in MEDIAAPIS_SECRET_KEYS]
    if key == CONFIG_KEY:
        return f"{key} has no meaning inside the config file; set it in the environment"
    nearest = difflib.get_close_matches(key.upper(), candidates, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]}?" if nearest else f"; every key begins with {PREFIX}"
    shown = key if nearest or len(key) < LONGEST_WORD else f"{key[:3]}…"
    return f"{shown}: nothing reads this key{hint}"


def steps_in(feed: Mapping[str, Any], tree: Mapping[str, Any]) -> set[str]:
    """The steps of a feed's pipeline, as far as its text can be read."""
    text = feed.get("pipeline") or tree.get("pipeline") or Step.ADS
    return {word.strip().removesuffix("?").lower() for word in text.split(",")}


def missing_podcasts(tree: Mapping[str, Any]) -> Iterable[str]:
    """Feeds that lack the podcast that their ads are asked for."""
    for name, feed in tree["feeds"].items():
        if Step.ADS in steps_in(feed, tree) and "podcast_id" not in feed:
            key = f"{PREFIX}FEEDS__{name.upper()}__PODCAST_ID"
            yield f"{key} is missing: `feedwatch podcasts` lists the ids"


def duplicate_feeds(feeds: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """Feeds that would submit the same episodes to the same podcast: each would be paid twice."""
    first: dict[tuple[Any, Any], str] = {}
    for name, feed in feeds.items():
        what = (feed.get("url"), feed.get("podcast_id"))
        if what[0] is None:
            continue
        earlier = first.setdefault(what, name)
        if earlier != name:
            yield (
                f"{feed_key(name, 'URL')}: the feed {earlier!r} has the same URL and the same "
                "podcast, so every episode would be submitted twice; take one of them out"
            )


def short_check_intervals(tree: Mapping[str, Any]) -> Iterable[str]:
    """Check intervals under a minute, the global one or a feed's own, for feeds on public hosts."""
    short: dict[tuple[str, str], list[str]] = {}
    for name, feed in tree["feeds"].items():
        key, text = feed_key(name, "CHECK_INTERVAL"), feed.get("check_interval")
        if text is None:
            key, text = f"{PREFIX}CHECK_INTERVAL", tree.get("check_interval")
        with suppress(ValueError):  # what is no duration, or no address, is told by itself
            is_short = text is not None and duration(text) < SHORTEST_CHECK_INTERVAL
            host = urlsplit(http_url(feed.get("url", ""))).hostname if is_short else None
            if host is not None and host_scope(host) is Scope.PUBLIC:
                short.setdefault((key, text), []).append(name)
    for (key, text), (first, *others) in short.items():
        more = f" and {counted(len(others), 'other')}" if others else ""
        yield (
            f"{key}={text!r}: expected 1m or more for the feed {first!r}{more}, on a public host; "
            f"one at localhost or a private address may have less, by {FEED_BLOCK}CHECK_INTERVAL"
        )


def respelt_feeds(feeds: Mapping[str, FeedKeys]) -> Iterable[str]:
    """Feeds whose URLs differ and are spellings of one address."""
    first: dict[str, tuple[str, FeedKeys]] = {}
    for name, feed in feeds.items():
        earlier, other = first.setdefault(comparable(feed.url, whole_query=True), (name, feed))
        if other.url == feed.url:
            continue
        outcome = "paid for only once, and skipped or held in the other feed; take one of them out"
        if other.podcast_id != feed.podcast_id:
            outcome = "paid for twice, once for each podcast; spell both alike if this is meant"
        yield (
            f"{feed_key(name, 'URL')} is another spelling of the address of the feed "
            f"{earlier!r}, so each episode is {outcome}"
        )


def short_secrets(feeds: Mapping[str, FeedKeys]) -> Iterable[str]:
    """Secrets that are too short to be told from ordinary text, and so are not masked."""
    for name, feed in feeds.items():
        headers = (text for header, text in feed.headers.items() if names_a_secret(header))
        for key, secrets in (("PASSWORD", [feed.password or ""]), ("HEADERS", headers)):
            if any(0 < len(secret) < SHORTEST_SECRET for secret in secrets):
                yield (
                    f"{feed_key(name, key)}: a secret of fewer than "
                    f"{SHORTEST_SECRET} characters is not masked where it turns up in a log line"
                )


def fields_at(model: type[BaseModel], place: Iterable[str]) -> list[str]:
    """The names of the fields of the model at this place within another one, as they are sent."""
    for part in place:
        for name, field in model.model_fields.items():
            if part == (field.alias or name):
                model = _model_in(field.annotation) or model
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field has, or a list of it, or none; of several kinds the first."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def explain(details: ErrorDetails, values: Mapping[str, str]) -> str:
    """One of pydantic's errors, in the operator's words: key, value and what was expected."""
    place = [str(part) for part in details["loc"]]
    # The key that the value was read from, and the place within its value.
    key, below = PREFIX + place[0].upper(), []
    message = details["msg"].removeprefix("Value error, ")
    if place[0] == "feeds":
        key, below = feed_key(place[1], place[2].upper()), place[3:]
        message = of_feed(message, place[1])
    if details["type"] == "missing" and not below:
        return f"{key} is missing"
    if below:
        where = ".".join(below)
        if details["type"] == "extra_forbidden":
            its = "enhance has" if key.endswith("__ENHANCE") else "adOptions have"
            options = Enhance if key.endswith("__ENHANCE") else AdOptions
            nearest = difflib.get_close_matches(below[-1], fields_at(options, below[:-1]), n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            message = f"the API's {its} no such field{hint}"
        elif details["type"] == "missing":
            message = "is required here"
        given = "" if details["type"] == "missing" else f"={details['input']!r}"
        return f"{key}, {where}{given}: {message}"
    if key in values:
        return f"{key}={masked_setting(key, values[key])!r}: {message}"
    return f"{key}: {message}"
