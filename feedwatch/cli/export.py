"""`export`: the processed URLs, for other programs."""

import csv
import re
import sys
from pathlib import Path
from typing import Any

import click

from feedwatch.cli.assembly import feed_client
from feedwatch.cli.check import chosen, error_of
from feedwatch.cli.opml import write_opml
from feedwatch.cli.output import USAGE, print_json, say, stop
from feedwatch.cli.settings import opened, read_settings
from feedwatch.config.keys import Settings
from feedwatch.core.episode import Episode, State
from feedwatch.core.feed import Feed, ParsedFeed
from feedwatch.core.json_forms import episode_json, stamp
from feedwatch.core.masking import masked_document
from feedwatch.core.printable import counted
from feedwatch.core.redirects import address_of
from feedwatch.core.settings import FeedConfig
from feedwatch.feeds.layout import layout_of
from feedwatch.feeds.parser_process import Parser
from feedwatch.feeds.rewrite import rewritten
from feedwatch.feeds.well_formed import well_formed
from feedwatch.net.client import Cancellation
from feedwatch.store.store import Store
from feedwatch.watcher.look import look
from feedwatch.watcher.overview import configured_feeds, find_feed
from feedwatch.watcher.placements import episodes_of

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
    type=click.Choice(["csv", "json", "rss", "opml"]),
    default="csv",
    show_default=True,
    help="rss: the feed as published, each ready enclosure replaced by its processed URL. "
    "opml: the feeds of the config, for other programs.",
)
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@click.option("--feed", metavar="FEED", help="Of this feed only. rss is always of one feed.")
@click.pass_obj
def export(config: Path | None, *, form: str, feed: str | None) -> None:
    """Write the processed URLs of all ready episodes to standard output.

    With --format opml, the feeds of the config, without the credentials of private ones.

    One that was sent again keeps the URL that it had until its new job is done. Each row of the CSV
    is about the job that has made its URL.
    """
    settings = read_settings(config)
    if form == "rss" and feed is None:
        if len(settings.sources) != 1:
            stop("a document is of one feed: add --feed FEED", USAGE)
        feed = settings.sources[0].name
    if form == "opml":
        write_opml([chosen(settings, feed)] if feed is not None else settings.sources)
        return
    with opened(settings) as store:
        name = find_feed(store, settings.sources, feed) if feed is not None else None
        processed = store.episodes.find(feed=name, processed=True)
        rows = [_row(store, episode) for episode in processed] if form == "csv" else []
        if form == "rss":
            source = chosen(settings, feed or "")
            known = configured_feeds(store, settings.sources)[source.name]
            document = _document(settings, store, source, known)
    match form:
        case "json":
            print_json([episode_json(episode) for episode in processed])
        case "csv":
            writer = csv.writer(sys.stdout)
            writer.writerow(COLUMNS)
            for row in map(masked_document, rows):
                writer.writerow(_cell(row[column]) for column in COLUMNS)
        case "rss":
            sys.stdout.buffer.write(document)
            if sys.stdout.isatty() and not document.endswith(b"\n"):
                click.echo()  # elsewhere every byte is the publisher's


def _row(store: Store, episode: Episode) -> dict[str, Any]:
    """An episode, as the job has it that made its processed URL.

    While it is sent again, its own fields are about the new job, which has made nothing yet.
    """
    row = episode_json(episode)
    if episode.state is State.READY:
        return row
    ended = store.episodes.ended_steps(episode.id)
    made = [one for one in ended if one.url == episode.processed_url]
    job_id, at = (made[-1].job_id, made[-1].finished_at) if made else (None, None)
    return row | {"media_id": job_id, "finished_at": stamp(at)}


def _cell(value: object) -> object:
    """A value that no spreadsheet runs, whatever it takes for the separator of cells."""
    return FORMULA.sub(r"\1'\2", value) if isinstance(value, str) else value


def _document(settings: Settings, store: Store, source: FeedConfig, feed: Feed) -> bytes:
    """The feed as it is published now, with the processed files that there are."""
    with feed_client(settings, Cancellation()) as http, Parser() as parser:
        found = look(http, parser, source, address_of(feed))
    if found.document is None or not isinstance(found.outcome, ParsedFeed):
        stop(f"feed {source.name}: {error_of(found.outcome)}")
    body = well_formed(found.document)
    if body is None:
        stop(f"feed {source.name}: it is no well-formed XML, and could not be mended")
    layout = layout_of(body)
    places = episodes_of(store, feed, source, layout, found.document.url)
    ready = {
        number: file
        for number, one in store.documents.episodes(feed.id).items()
        if (file := one.processed) is not None
    }
    lost = len(ready.keys() - set(places))
    if lost:
        those = counted(len(ready), "ready episode")
        say(f"feed {source.name}: {lost} of {those} without an item in it")
    processed = {place: ready[one] for place, one in enumerate(places) if one in ready}
    return rewritten(layout, processed)
