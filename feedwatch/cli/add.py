"""`add`: a feed is looked at, and its block written into the config."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from feedwatch.cli.ask import choose, may_ask
from feedwatch.cli.assembly import feed_client
from feedwatch.cli.choose_podcast import podcast_for
from feedwatch.cli.find_feed import address_keys, block_of, find_feed
from feedwatch.cli.known_feeds import name_for, names_of, place_of, refuse_known
from feedwatch.cli.output import USAGE, confirm, say, stop, tell, yes
from feedwatch.cli.preview_feed import describe, foretell
from feedwatch.cli.settings import opened, read_settings
from feedwatch.cli.take_over import reload_option, take_over
from feedwatch.config.edit import change_config, with_feed
from feedwatch.config.keys import Settings
from feedwatch.config.load import load
from feedwatch.core.feed import ParsedFeed
from feedwatch.core.import_plan import free_name
from feedwatch.core.masking import know
from feedwatch.core.pipeline import Step
from feedwatch.core.printable import counted, printable
from feedwatch.core.settings import FeedConfig
from feedwatch.feeds.feed_links import FeedLink
from feedwatch.feeds.parser_process import Parser
from feedwatch.net.client import Cancellation
from feedwatch.store.store import Store
from feedwatch.watcher.look import Look

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
        found = _found(settings, path, store, keys, name, asks=asks)
        name = name or name_for(settings, store, found.source, found.parsed.title)
        describe(found.source, found.parsed, name)
        if podcast is not None or Step.ADS in {one.step for one in found.source.pipeline}:
            chosen = podcast_for(settings, found.parsed.title, podcast, asks=asks)
            keys |= {"PODCAST_ID": chosen.id}
            tell(f"podcast   {printable(chosen.name)} ({chosen.id})")
            same = [one.name for one in settings.sources if one.podcast_id == chosen.id]
            if same:
                of = f"{counted(len(same), 'feed')} in {path}"
                say(f"Mind that this podcast has {of} already: {', '.join(same)}.")
        keys = block_of(found.source, keys)
        drafted, source = _drafted(path, name, keys)
        foretell(drafted, store, source, found.look)
        title = printable(found.parsed.title)
        tell(f"\nInto {path}:\n\n{with_feed('', name, keys, title)}")
        confirm("Add it?", given=yes)
        change_config(path, lambda text: with_feed(text, name, keys, title), os.environ)
        tell(f"{path} has the feed {name.lower()}.")
        take_over(store, name.lower(), is_in=True, reload=reload)


def _drafted(path: Path, name: str, keys: Mapping[str, str]) -> tuple[Settings, FeedConfig]:
    """The settings as they would be with a block for the feed, and the feed.

    Its secrets are masked from now on.
    """
    text = with_feed(path.read_bytes().decode(), name, keys)
    drafted = load(path, os.environ, needs_key=True, text=text)
    know(drafted.secrets())
    return drafted, next(one for one in drafted.sources if one.name == name.lower())


def _found(
    settings: Settings,
    path: Path,
    store: Store,
    keys: Mapping[str, str],
    name: str | None,
    *,
    asks: bool,
) -> Found:
    """Look at the feed, as it is by this config. Ends the program where it is there already."""
    called = (name or free_name("feed", keys["URL"], names_of(settings, store))).lower()
    if settings.source(called) is not None:
        stop(f"a feed is named {called!r} already: {place_of(settings, called)}", USAGE)
    refuse_known(settings, [keys["URL"]])
    drafted, source = _drafted(path, called, {"PODCAST_ID": NOT_YET_FOUND, **keys})

    def which(links: Sequence[FeedLink]) -> FeedLink:
        said = [f"{link.title or 'without a title'}: {link.url}" for link in links]
        if asks:
            return links[choose("Which feed", said)]
        for line in said:
            say(f"  {line}")
        return stop(f"the page names {counted(len(links), 'feed')}: give the address of one", USAGE)

    with feed_client(drafted, Cancellation()) as http, Parser() as parser:
        found = Found(*find_feed(http, parser, source, which))
    document = found.look.document
    refuse_known(settings, [found.source.url, document.url if document else ""])
    return found
