"""`check`: what would happen to each item, without doing it."""

import re
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
    stop,
    tell,
)
from feedwatch.cli.progress import progress
from feedwatch.cli.screen import HEAD, painted
from feedwatch.cli.settings import journal_places, opened, read_settings
from feedwatch.cli.times import Times, local_times
from feedwatch.config.keys import Settings
from feedwatch.config.problems import placeholder_key, placeholders
from feedwatch.core.admission import Decision, Verdict
from feedwatch.core.feed import Failed, Feed, FeedState, Gone, NotModified, ParsedFeed
from feedwatch.core.json_forms import stamp
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
LISTED = (Verdict.SUBMIT, Verdict.HOLD)
MAX_LISTED = 20  # items of a feed that are to be submitted or held, and are listed one by one
ITS_OWN = re.compile(r"\d+|(?<!\w)'[^']*'(?!\w)")  # what a reason says of one item alone

# A feed, what becomes of its items, and why there are none if it could not be checked.
Result = tuple[FeedConfig, Sequence[Decision], str | None]


@click.command()
@click.argument("feeds", nargs=-1, metavar="[FEED]...")
@click.option("--all", "each", is_flag=True, help="Each item, also those that are nothing new.")
@local_times
@as_json
@click.pass_obj
def check(
    config: Path | None, *, feeds: Sequence[str], each: bool, times: Times, as_json: bool
) -> None:
    """Dry run: fetch the feeds and say what would happen to each item, and why.

    Lists what would be submitted or held; of all other items, for each reason, how many there are
    and the first of them. --json has all of them. Writes nothing and submits nothing.
    """
    settings = read_settings(config, to_watch=True)
    sources = [chosen(settings, name) for name in feeds] or list(settings.sources)
    cancellation = Cancellation()
    with opened(settings) as store, feed_client(settings, cancellation) as http, Parser() as parser:
        known = configured_feeds(store, settings.sources)
        coming = coming_import(settings, store)
        if (sandboxed := only_at_a_sandbox(store, apis_of(settings))) is not None:
            say(f"{sandboxed}; {OWN_DATABASE}")
        for left in (*placeholder_key(settings.api_key, settings.api_url), *placeholders(sources)):
            say(left)
        for pause in pauses(store, sources):
            say(pause)
        results: list[Result] = []
        with (
            progress("fetching the feeds", len(sources)) as line,
            ThreadPoolExecutor(MAX_CONCURRENT_CHECKS) as pool,
        ):
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
                line.say(source.name, len(results))
    if as_json:
        print_json([_check_json(*result) for result in results])
    else:
        _print_results(results, times, each=each)
    failed = sum(error is not None for _, _, error in results)
    if failed:
        sys.exit(FAILED if failed == len(results) else PARTLY)


def _print_results(results: Sequence[Result], times: Times, *, each: bool) -> None:
    """Each feed by itself, and the sums of several."""
    left_out = False
    for source, found, error in results:
        if error is not None:
            tell(f"{painted(source.name, FeedState.FAILING)}: {error}")
            continue
        tell(f"{painted(source.name, HEAD)}: {_sums(found)}")
        groups = [[one] for one in found] if each else _grouped(found)
        left_out |= len(groups) < len(found)
        print_table([_row(group, times, names_number=not each) for group in groups])
    if len(results) > 1:
        everything = [one for _, found, _ in results for one in found]
        failed = sum(error is not None for _, _, error in results)
        failing = f", {failed} failing" if failed else ""
        tell(f"{counted(len(results), 'feed')}{failing}: {_sums(everything)}")
    if left_out:
        say("`feedwatch check --all` lists each item")


def _sums(found: Sequence[Decision]) -> str:
    totals = {verdict: sum(one.verdict is verdict for one in found) for verdict in Verdict}
    numbers = (
        painted(f"{number} {verdict}", verdict) if number else f"{number} {verdict}"
        for verdict, number in totals.items()
    )
    return f"{counted(len(found), 'item')}, of these {', '.join(numbers)}"


def _grouped(found: Sequence[Decision]) -> list[list[Decision]]:
    """The first that would be submitted or held one by one, and all else by its reason.

    Reasons that differ in numbers or in quoted words alone are one.
    """
    alone = [one for one in found if one.verdict in LISTED][:MAX_LISTED]
    shown = set(map(id, alone))
    by_reason: dict[tuple[Verdict, str], list[Decision]] = {}
    for one in (one for one in found if id(one) not in shown):
        by_reason.setdefault((one.verdict, ITS_OWN.sub("", one.reason)), []).append(one)
    order = list(Verdict)
    rest = sorted(by_reason.values(), key=lambda group: order.index(group[0].verdict))
    return [*([one] for one in alone), *rest]


def _row(group: Sequence[Decision], times: Times, *, names_number: bool) -> dict[str, object]:
    """A row of the table: one item, or the first of several."""
    first, others = group[0], len(group) > 1
    number = {"items": len(group)} if names_number else {}
    return {
        "decision": first.verdict,
        **number,
        times.column("published"): times.cell(first.item.published_at),
        "title": f"for example: {first.item.title}" if others else first.item.title,
        "reason": first.reason,
    }


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
