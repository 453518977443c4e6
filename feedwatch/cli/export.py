"""`export`: the processed URLs, for other programs."""

import csv
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from feedwatch.cli.assembly import feed_client
from feedwatch.cli.check import chosen, error_of
from feedwatch.cli.output import USAGE, print_json, stop
from feedwatch.cli.settings import opened, read_settings
from feedwatch.config.keys import Settings
from feedwatch.core.episode import Episode, State
from feedwatch.core.feed import Feed, ParsedFeed
from feedwatch.core.identity import comparable
from feedwatch.core.json_forms import episode_json
from feedwatch.core.masking import masked_document
from feedwatch.core.redirects import address_of
from feedwatch.core.settings import FeedConfig
from feedwatch.feeds.parser_process import Parser
from feedwatch.feeds.rewrite import republished
from feedwatch.net.client import Cancellation
from feedwatch.watcher.checks import look
from feedwatch.watcher.overview import configured_feeds, find_feed

COLUMNS = (
    "id",
    "feed",
    "guid",
    "title",
    "published_at",
    "enclosure_url",
    "processed_url",
    "duration",
    "media_id",
    "finished_at",
)
# What a spreadsheet runs at the beginning of a cell, and what it may take for a cell's beginning.
FORMULA = re.compile(r"(^|[;,|\t\r\n])([ ]*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")


@click.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "json", "rss"]),
    default="csv",
    show_default=True,
    help="rss: the feed as published, each ready enclosure replaced by its processed URL.",
)
@click.option("--feed", metavar="FEED", help="Of this feed only. rss is always of one feed.")
@click.pass_obj
def export(config: Path | None, *, form: str, feed: str | None) -> None:
    """Write the processed URLs of all ready episodes to standard output."""
    settings = read_settings(config)
    if form == "rss" and feed is None:
        if len(settings.sources) != 1:
            stop("a document is of one feed: add --feed FEED", USAGE)
        feed = settings.sources[0].name
    with opened(settings) as store:
        name = find_feed(store, settings.sources, feed) if feed is not None else None
        ready = store.episodes.find(feed=name, states=[State.READY])
        known = configured_feeds(store, settings.sources)
    match form:
        case "json":
            print_json([episode_json(episode) for episode in ready])
        case "csv":
            writer = csv.writer(sys.stdout)
            writer.writerow(COLUMNS)
            for episode in ready:
                row = masked_document(episode_json(episode))
                writer.writerow(_cell(row[column]) for column in COLUMNS)
        case "rss":
            document = _document(settings, chosen(settings, feed or ""), known, ready)
            sys.stdout.buffer.write(document)
            if sys.stdout.isatty() and not document.endswith(b"\n"):
                click.echo()  # elsewhere every byte is the publisher's


def _cell(value: object) -> object:
    """A value that no spreadsheet runs, whatever it takes for the separator of cells."""
    return FORMULA.sub(r"\1'\2", value) if isinstance(value, str) else value


def _document(
    settings: Settings, source: FeedConfig, known: Mapping[str, Feed], ready: Sequence[Episode]
) -> bytes:
    with feed_client(settings, Cancellation()) as http, Parser() as parser:
        found = look(http, parser, source, address_of(known[source.name]))
    if found.document is None or not isinstance(found.outcome, ParsedFeed):
        stop(f"feed {source.name}: {error_of(found.outcome)}")
    processed = {
        comparable(episode.enclosure_url): episode.processed_url
        for episode in ready
        if episode.processed_url
    }
    return republished(found.document.body, found.document.url, processed)
