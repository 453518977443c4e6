"""`add`: a feed is looked at, and its block written into the config."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize
from urllib.parse import urlsplit

import click

from feedwatch.cli.ask import choose, may_ask
from feedwatch.cli.assembly import api, feed_client
from feedwatch.cli.check import coming_import, result_of
from feedwatch.cli.find_feed import address_keys, find_feed
from feedwatch.cli.output import USAGE, confirm, print_table, say, stop, tell, yes
from feedwatch.cli.settings import opened, read_settings
from feedwatch.cli.take_over import reload_option, take_over
from feedwatch.config.edit import change_config, with_feed
from feedwatch.config.keys import Settings
from feedwatch.config.load import load
from feedwatch.core.admission import Decision, Verdict
from feedwatch.core.episode import State
from feedwatch.core.feed import Feed, ParsedFeed
from feedwatch.core.identity import comparable
from feedwatch.core.job import Later
from feedwatch.core.json_forms import short
from feedwatch.core.masking import know
from feedwatch.core.pipeline import Step
from feedwatch.core.podcast_names import Ambiguous, Podcast, match_podcast, podcasts_in
from feedwatch.core.printable import counted, printable
from feedwatch.core.rhythm import Published, rhythm_in_words
from feedwatch.core.settings import FeedConfig, feed_key
from feedwatch.feeds.feed_links import FeedLink
from feedwatch.feeds.parser_process import Parser
from feedwatch.net.client import Cancellation
from feedwatch.store.store import Store
from feedwatch.watcher.look import Look
from feedwatch.watcher.overview import configured_feeds

MAX_LISTED = 10  # episodes that the first run submits
LONGEST_NAME = 40
NOT_YET_FOUND = "to-be-found"  # the podcast, while the feed is looked at


class Found(NamedTuple):
    """A feed that was looked at."""

    source: FeedConfig
    look: Look
    parsed: ParsedFeed


@click.command()
@click.argument("url")
@click.option("--podcast", metavar="ID", help="Its podcast at the media API; else by its title.")
@click.option("--name", metavar="NAME", help="What feedwatch calls it; else made of its title.")
@click.option(
    "--first-run",
    metavar="WHICH",
    help="Which of its episodes are submitted: none, latest:N, since:YYYY-MM-DD, all.",
)
@reload_option
@yes
@click.pass_obj
def add(
    config: Path | None,
    *,
    url: str,
    podcast: str | None,
    name: str | None,
    first_run: str | None,
    reload: bool,
    yes: bool,
) -> None:
    """Add a feed to the config, after a look at it.

    URL is the feed's, that of a page which names its feed, or that of the show at Apple Podcasts.
    Says what the first run would submit, and asks. Nothing else in the file is changed.
    """
    settings, asks = read_settings(config, needs_key=True), may_ask(yes=yes)
    path = settings.path or stop(
        "there is no config file, only the environment: add the feed's keys there", USAGE
    )
    keys = address_keys(url) | ({"FIRST_RUN": first_run} if first_run else {})
    with opened(settings) as store:
        found = _found(settings, store, keys, name, asks=asks)
        name = name or _free_name(settings, store, found)
        _describe(found, name)
        if (one := _podcast(settings, found, podcast, asks=asks)) is not None:
            keys |= {"PODCAST_ID": one.id}
            _warn_of_others(settings, one)
        keys = _keys_of(found.source, keys)
        drafted = _drafted(settings, name, keys)
        _foretell(drafted, store, name, found)
        tell(f"\nInto {path}:\n")
        tell(with_feed("", name, keys, printable(found.parsed.title)))
        confirm("Add it?", given=yes)
        change_config(
            path,
            lambda text: with_feed(text, name, keys, printable(found.parsed.title)),
            os.environ,
        )
        tell(f"{path} has the feed {name.lower()}.")
        take_over(store, name.lower(), is_in=True, reload=reload)


def _drafted(settings: Settings, name: str, keys: Mapping[str, str]) -> Settings:
    """The settings as they would be with a block for the feed; its secrets are masked from now."""
    assert settings.path is not None  # noqa: S101 - asked at the beginning
    text = with_feed(settings.path.read_bytes().decode(), name, keys)
    drafted = load(settings.path, os.environ, needs_key=True, text=text)
    know(drafted.secrets())
    return drafted


def _found(
    settings: Settings, store: Store, keys: Mapping[str, str], name: str | None, *, asks: bool
) -> Found:
    """Look at the feed, as it is by this config. Ends the program where it is there already."""
    called = (name or _unused("feed", _names(settings, store))).lower()
    if settings.source(called) is not None:
        stop(f"a feed is named {called!r} already: {_where(settings, called)}", USAGE)
    _refuse_known(settings, [keys["URL"]])
    drafted = _drafted(settings, called, {"PODCAST_ID": NOT_YET_FOUND, **keys})
    source = drafted.source(called)
    assert source is not None  # noqa: S101 - it has just been put in

    def which(links: Sequence[FeedLink]) -> FeedLink:
        said = [f"{link.title or 'without a title'}: {link.url}" for link in links]
        if asks:
            return links[choose("Which feed", said)]
        for line in said:
            say(f"  {line}")
        return stop(f"the page names {len(links)} feeds: give the address of one", USAGE)

    with feed_client(drafted, Cancellation()) as http, Parser() as parser:
        found = Found(*find_feed(http, parser, source, which))
    document = found.look.document
    _refuse_known(settings, [found.source.url, document.url if document else ""])
    return found


def _refuse_known(settings: Settings, urls: Collection[str]) -> None:
    """End where a feed of the config has one of these addresses, however it is spelt."""
    wanted = {_without_login(url) for url in urls}
    for one in settings.sources:
        if _without_login(one.url) in wanted:
            stop(f"the feed {one.name!r} has this address already: {_where(settings, one.name)}")


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    return comparable(bare.geturl(), whole_query=True)


def _where(settings: Settings, name: str) -> str:
    """Where the config has a feed: a variable of the environment overrides the file."""
    key = feed_key(name, "URL")
    return f"{key} in {'the environment' if key in os.environ else settings.path}"


def _names(settings: Settings, store: Store) -> set[str]:
    """The names that feeds have, or had."""
    return {one.name for one in (*settings.sources, *store.feeds.all())}


def _unused(name: str, names: Collection[str]) -> str:
    number, free = 1, name
    while free in names:
        number += 1
        free = f"{name}_{number}"
    return free


def _free_name(settings: Settings, store: Store, found: Found) -> str:
    """The name that it had when it was in the config before, else one made of its title."""
    known = {_without_login(one.url): one.name for one in store.feeds.all()}
    before = known.get(_without_login(found.source.url))
    if before is not None and settings.source(before) is None:
        return before
    plain = normalize("NFKD", found.parsed.title).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "_", plain)[:LONGEST_NAME].strip("_") or "feed"
    return _unused(name, _names(settings, store))


def _keys_of(source: FeedConfig, keys: Mapping[str, str]) -> dict[str, str]:
    """The keys of its block, by where it was found."""
    order = {"URL": source.url, "PODCAST_ID": keys.get("PODCAST_ID", "")}
    if source.username:
        order |= {"USERNAME": source.username, "PASSWORD": source.password or ""}
    order["FIRST_RUN"] = keys.get("FIRST_RUN", "")
    return {key: value for key, value in order.items() if value}


def _describe(found: Found, name: str) -> None:
    """What the feed is, in a few lines."""
    now, parsed = datetime.now(UTC), found.parsed
    playable = [one for one in parsed.items if one.enclosure_url is not None]
    dates = sorted(one.published_at for one in playable if one.published_at is not None)
    rhythm = rhythm_in_words(
        [Published(at=at, state=State.SKIPPED) for at in dates],
        Feed(name=name, url=found.source.url),
        now,
    )
    others = len(parsed.items) - len(playable)
    beside = f", and {counted(others, 'item')} without audio or video" if others else ""
    tell(f"title     {printable(parsed.title) or '(none)'}")
    tell(f"name      {name.lower()}")
    tell(f"feed      {found.source.url}")
    tell(f"episodes  {len(playable)}{beside}")
    tell(f"rhythm    {rhythm}")


def _podcast(settings: Settings, found: Found, given: str | None, *, asks: bool) -> Podcast | None:
    """The podcast that its episodes go to; None where no step of its pipeline needs one."""
    if given is None and Step.ADS not in {one.step for one in found.source.pipeline}:
        return None
    with api(settings, Cancellation()) as inlet:
        entries = inlet.podcasts()
    if isinstance(entries, Later):
        if given is None:
            stop(f"the podcasts cannot be listed: {entries.reason}; name one by --podcast ID")
        say(f"Whether there is a podcast {given} is not known: {entries.reason}")
        return Podcast(given, given)
    podcasts, title = podcasts_in(entries), found.parsed.title
    if given is not None:
        same = [one for one in podcasts if one.id == given]
        hint = "`feedwatch podcasts` lists those that it reaches"
        return same[0] if same else stop(f"the API key reaches no podcast {given}: {hint}", USAGE)
    match = match_podcast(title, podcasts)
    if isinstance(match, Podcast):
        return match
    if isinstance(match, Ambiguous):
        likely, answers = match.podcasts, list(match.podcasts)
        why = f"{len(likely)} podcasts of the API are named {title!r}"
    else:
        likely, why = match.near, f"no podcast of the API is named {title!r}"
        answers = [*likely, *(one for one in podcasts if one not in likely)]
    if asks and answers:
        say(f"{why[:1].upper()}{why[1:]}.")
        return answers[choose("Which podcast", [f"{one.name} ({one.id})" for one in answers])]
    near = "".join(f"; {one.name} is {one.id}" for one in likely)
    return stop(f"{why}: name one by --podcast ID, `feedwatch podcasts` lists them{near}", USAGE)


def _warn_of_others(settings: Settings, podcast: Podcast) -> None:
    tell(f"podcast   {printable(podcast.name)} ({podcast.id})")
    for one in settings.sources:
        if one.podcast_id == podcast.id:
            where = _where(settings, one.name)
            say(f"Mind that the feed {one.name} has the same podcast: {where}")


def _foretell(settings: Settings, store: Store, name: str, found: Found) -> None:
    """Say what the first check would submit, by the rules of `check`."""
    source = settings.source(name.lower())
    assert source is not None  # noqa: S101 - the draft has it
    feed, now = configured_feeds(store, [source])[source.name], datetime.now(UTC)
    coming = coming_import(settings, store)
    decisions = result_of(settings, store, feed, source, found.look, coming, now)[1]
    due = [one for one in decisions if one.verdict is Verdict.SUBMIT]
    held = sum(one.verdict is Verdict.HOLD for one in decisions)
    if feed.baseline_at is not None:
        tell("\nA feed of this name was watched before: what it has seen stays known.")
    tell(f"\nIts first check submits {counted(len(due), 'episode')}, each of which is paid for.")
    if held:
        tell(f"It holds {counted(held, 'episode')} until you approve them.")
    if not due:
        tell("What is published from then on is submitted; --first-run says what else.")
    print_table([_row(one) for one in due[:MAX_LISTED]])
    if len(due) > MAX_LISTED:
        tell(f"and {len(due) - MAX_LISTED} more")


def _row(decision: Decision) -> dict[str, object]:
    published = short(decision.item.published_at)
    return {"published": published, "title": decision.item.title, "reason": decision.reason}
