"""`import`, and OPML for `export`: feeds from and to other programs."""

import os
import sys
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit, urlunsplit

import click

from feedwatch.cli.assembly import api
from feedwatch.cli.find_feed import address_keys
from feedwatch.cli.output import PARTLY, USAGE, confirm, print_table, say, stop, tell, yes
from feedwatch.cli.settings import opened, read_settings
from feedwatch.cli.take_over import reload_option, take_over
from feedwatch.config.edit import change_config, with_feed
from feedwatch.config.load import load
from feedwatch.config.values import http_url
from feedwatch.core.feed import Failed
from feedwatch.core.import_plan import Entry, Outcome, Outline, import_plan
from feedwatch.core.job import Later
from feedwatch.core.masking import masked
from feedwatch.core.podcast_names import podcasts_in
from feedwatch.core.printable import counted, printable
from feedwatch.core.settings import FeedConfig, FirstRun
from feedwatch.feeds.opml import MAX_OPML_BYTES, opml_of, read_opml
from feedwatch.net.client import Cancellation

HEADINGS = {
    Outcome.NEW: "New:",
    Outcome.KNOWN: "Configured already:",
    Outcome.LEFT: "Not matched:",
}


@click.command("import")
@click.argument("file", type=click.File("rb"), metavar="FILE.opml")
@click.option(
    "--first-run",
    metavar="WHICH",
    help="Which episodes of each are submitted: none, latest:N, since:YYYY-MM-DD, all.",
)
@reload_option
@yes
@click.pass_obj
def import_(
    config: Path | None, *, file: BinaryIO, first_run: str | None, reload: bool, yes: bool
) -> None:
    """Add the feeds of an OPML file to the config. FILE.opml may be "-", standard input.

    A feed goes to the podcast of the API that has its name. Lists what is new, what is configured
    already and what could not be matched, and asks. Of the latter nothing is written, and the
    status is 3. No feed is fetched.
    """
    settings = read_settings(config, needs_key=True)
    path = settings.path or stop(
        "there is no config file, only the environment: add the feeds' keys there", USAGE
    )
    outlines = read_opml(file.read(MAX_OPML_BYTES + 1))
    if isinstance(outlines, Failed):
        stop(f"the file cannot be imported: {outlines.reason}")
    if not outlines:
        stop("the file has no feed: no outline in it has an xmlUrl")
    with api(settings, Cancellation()) as inlet, opened(settings) as store:
        podcasts = inlet.podcasts()
        if isinstance(podcasts, Later):
            stop(f"the podcasts cannot be listed: {podcasts.reason}")
        entries = import_plan(
            outlines, settings.sources, store.feeds.all(), podcasts_in(podcasts), is_address
        )
        show_plan(entries)
        new = [one for one in entries if one.outcome is Outcome.NEW]
        left = sum(one.outcome is Outcome.LEFT for one in entries)
        if new:
            more = {"FIRST_RUN": first_run} if first_run else {}
            text = with_new_feeds(path.read_bytes().decode(), new, more)
            (drafted,) = (
                one
                for one in load(path, os.environ, text=text).sources
                if one.name == new[-1].name.lower()
            )
            pays = "episodes that it holds already, each of which is paid for: FIRST_RUN says which"
            nothing = "nothing that it holds already"
            is_none = drafted.rules.first_run == FirstRun()
            tell(f"The first check of each submits {nothing if is_none else pays}.")
            confirm(f"Add {counted(len(new), 'feed')} to {path}?", given=yes)
            change_config(path, lambda text: with_new_feeds(text, new, more), os.environ)
            tell(f"{path} has {counted(len(new), 'feed')} more.")
            take_over(store, new[-1].name, is_in=True, reload=reload)
    if left:
        say(f"{counted(left, 'feed')} not added: `feedwatch add URL --podcast ID` adds one.")
        sys.exit(PARTLY)


def is_address(url: str) -> bool:
    """Whether a config takes this for a feed's URL."""
    try:
        http_url(url)
    except ValueError:
        return False
    return True


def show_plan(entries: Sequence[Entry]) -> None:
    """What becomes of each feed of a list: a table for each outcome, and how many there are."""
    for outcome, heading in HEADINGS.items():
        rows = []
        for one in (entry for entry in entries if entry.outcome is outcome):
            title, address = one.outline.title, one.outline.url
            if one.podcast is None:
                rows.append({"title": title, "address": address, "why": one.why})
            else:
                podcast = {"podcast": one.podcast.name, "podcast id": one.podcast.id}
                rows.append({"feed": one.name, **podcast, "address": address})
        if rows:
            tell(heading)
            print_table(rows)
            tell("")
    new, known, left = (sum(one.outcome is which for one in entries) for which in HEADINGS)
    tell(f"{counted(new, 'new feed')}, {known} configured already, {left} not matched")


def with_new_feeds(text: str, entries: Sequence[Entry], more: dict[str, str]) -> str:
    """The text of a config with a block for each of these, in which `more` stands, too."""

    def with_one(text: str, one: Entry) -> str:
        keys = address_keys(one.outline.url)
        keys |= {"PODCAST_ID": one.podcast.id} if one.podcast is not None else {}
        order = ("URL", "PODCAST_ID", "USERNAME", "PASSWORD")
        block = {key: keys[key] for key in order if key in keys} | more
        return with_feed(text, one.name, block, printable(one.outline.title))

    return reduce(with_one, entries, text)


def write_opml(sources: Collection[FeedConfig]) -> None:
    """Write these feeds to standard output, without the credentials of any; say what is lacking.

    A feed whose address is a secret itself is left out, and the program ends with 3 then.
    """
    outlines, secret = [], []
    for source in sources:
        parts = urlsplit(source.url)
        url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        if masked(url) != url:
            secret.append(source.name)
            continue
        if source.is_private:
            say(f"feed {source.name}: private; its user, password and header fields are left out")
        outlines.append(
            Outline(url=url, titles=(source.name,), podcast_id=source.podcast_id or None)
        )
    click.echo(opml_of(outlines, datetime.now(UTC)), nl=False)
    for name in secret:
        say(f"feed {name}: left out, since whoever has its address can read it")
    if secret:
        sys.exit(PARTLY)
