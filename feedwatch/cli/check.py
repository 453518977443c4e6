"""`check`: what would happen to each item, without doing it."""

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from feedwatch.cli.assembly import apis_of, feed_client
from feedwatch.cli.output import (
    FAILED,
    PARTLY,
    USAGE,
    as_json,
    print_json,
    print_table,
    say,
    shows_progress,
    stop,
    tell,
)
from feedwatch.cli.settings import journal_places, opened, read_settings
from feedwatch.config.keys import Settings
from feedwatch.core.admission import Decision, Verdict
from feedwatch.core.feed import Failed, Feed, Gone, NotModified, ParsedFeed
from feedwatch.core.json_forms import short, stamp
from feedwatch.core.printable import counted
from feedwatch.core.redirects import address_of
from feedwatch.core.settings import FeedConfig
from feedwatch.feeds.parser_process import Parser
from feedwatch.net.client import Cancellation
from feedwatch.store.journal import Journal
from feedwatch.store.store import Store
from feedwatch.watcher.evaluate import decisions_for
from feedwatch.watcher.look import Look, look
from feedwatch.watcher.overview import OWN_DATABASE, configured_feeds, only_at_a_sandbox
from feedwatch.watcher.pauses import pauses
from feedwatch.watcher.restore import NextImport, next_import

MAX_CONCURRENT_CHECKS = 8

# A feed, what becomes of its items, and why there are none if it could not be checked.
Result = tuple[FeedConfig, Sequence[Decision], str | None]


@click.command()
@click.argument("feeds", nargs=-1, metavar="[FEED]...")
@as_json
@click.pass_obj
def check(config: Path | None, *, feeds: Sequence[str], as_json: bool) -> None:
    """Dry run: fetch the feeds and say what would happen to each item, and why.

    Writes nothing and submits nothing.
    """
    settings = read_settings(config, to_watch=True)
    sources = [chosen(settings, name) for name in feeds] or list(settings.sources)
    cancellation = Cancellation()
    with opened(settings) as store, feed_client(settings, cancellation) as http, Parser() as parser:
        known = configured_feeds(store, settings.sources)
        coming = coming_import(settings, store)
        if (sandboxed := only_at_a_sandbox(store, apis_of(settings))) is not None:
            say(f"{sandboxed}; {OWN_DATABASE}")
        for pause in pauses(store, sources):
            say(pause)
        results: list[Result] = []
        with ThreadPoolExecutor(MAX_CONCURRENT_CHECKS) as pool:
            looks = pool.map(
                lambda source: look(
                    http,
                    parser,
                    source,
                    address_of(known[source.name]),
                    is_first=known[source.name].baseline_at is None,
                ),
                sources,
            )
            for source, looked in zip(sources, looks, strict=True):
                feed = known[source.name]
                now = datetime.now(UTC)
                results.append(result_of(settings, store, feed, source, looked, coming, now))
                if shows_progress():
                    say(f"{len(results)}/{len(sources)} {source.name}")
    if as_json:
        print_json([_check_json(*result) for result in results])
    for source, found, error in results if not as_json else ():
        if error is not None:
            tell(f"{source.name}: {error}")
            continue
        totals = {verdict: sum(one.verdict is verdict for one in found) for verdict in Verdict}
        numbers = ", ".join(f"{number} {verdict}" for verdict, number in totals.items())
        tell(f"{source.name}: {counted(len(found), 'item')}, of these {numbers}")
        rows = [
            {
                "decision": one.verdict,
                "published": short(one.item.published_at),
                "title": one.item.title,
                "reason": one.reason,
            }
            for one in found
        ]
        print_table(rows)
    failed = sum(error is not None for _, _, error in results)
    if failed:
        sys.exit(FAILED if failed == len(results) else PARTLY)


def coming_import(settings: Settings, store: Store) -> NextImport:
    """What the next start will take over from the journal."""
    journal = Journal(journal_places(settings, store.path))
    return next_import(store, journal, settings.sources, apis_of(settings))


def result_of(
    settings: Settings,
    store: Store,
    feed: Feed,
    source: FeedConfig,
    looked: Look,
    coming: NextImport,
    now: datetime,
) -> Result:
    """What becomes of the items that a look at the feed gave."""
    outcome = looked.outcome
    if not isinstance(outcome, ParsedFeed) or not outcome.items:
        return source, [], error_of(outcome)
    apis = apis_of(settings)
    return source, decisions_for(store, feed, source, outcome, apis, now, coming), None


def error_of(outcome: ParsedFeed | NotModified | Gone | Failed) -> str:
    """Why a look gave no items."""
    match outcome:
        case Failed(reason):
            return reason
        case Gone():
            return "gone: the server answered 410"
        case NotModified():
            return "the server answered 304 to a request without conditions"
        case ParsedFeed():
            return "the feed has no items"


def chosen(settings: Settings, name: str) -> FeedConfig:
    """The feed of this name, or the end, with the names there are."""
    source = settings.source(name.lower())
    if source is None:
        names = ", ".join(source.name for source in settings.sources) or "none"
        stop(f"no feed is named {name!r}; configured are: {names}", USAGE)
    return source


def _check_json(
    source: FeedConfig, decisions: Sequence[Decision], error: str | None
) -> dict[str, Any]:
    return {
        "name": source.name,
        "url": source.url,
        "error": error,
        "items": [
            {
                "guid": decision.item.guid,
                "title": decision.item.title,
                "enclosure_url": decision.item.enclosure_url,
                "published_at": stamp(decision.item.published_at),
                "decision": decision.verdict.value,
                "reason": decision.reason,
            }
            for decision in decisions
        ],
    }
