"""`run` and `check`."""

import faulthandler
import logging
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from types import FrameType
from typing import Any

import click

from feedwatch.cli.assembly import (
    Options,
    assembled,
    feed_client,
    opened,
    remembered,
    require_feeds,
)
from feedwatch.cli.output import (
    FAILED,
    PARTLY,
    USAGE,
    WAITING,
    as_json,
    print_json,
    print_table,
    say,
    short,
    shows_progress,
    stop,
    tell,
)
from feedwatch.config.load import Settings
from feedwatch.core.admission import Decision, Verdict
from feedwatch.core.events import stamp
from feedwatch.core.feed import Episode, Failed, Gone, NotModified, ParsedFeed, Source, State
from feedwatch.core.redirects import address_of
from feedwatch.daemon import memory
from feedwatch.feeds.parser_process import Parser
from feedwatch.net.client import Brake
from feedwatch.store.store import Store
from feedwatch.watcher.checks import look
from feedwatch.watcher.evaluate import decisions_on

log = logging.getLogger("feedwatch")

CHECKS_AT_ONCE = 8

Result = tuple[Source, Sequence[Decision], str | None]  # what `check` found, or why it could not


@click.command()
@click.option("--once", is_flag=True, help="Check every feed now, wait for the jobs, then end.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, max=10**9),
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="With --once: how long to wait for jobs at most; 0 means do not wait.",
)
@click.pass_obj
def run(options: Options, *, once: bool, timeout: float) -> None:
    """Watch the feeds, in the foreground, until SIGTERM or SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop_before_it_began)
    if not once:
        # A SIGHUP that comes now waits until the daemon can follow it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    settings = options.settings(needs_key=True)
    require_feeds(settings)
    with assembled(settings, serves=not once) as (daemon, context):
        daemon.stop_on_signals()
        memory.settle()
        if not once:
            daemon.reload_on_signal()
            log.info(
                "watching %d feeds; config %s, database %s",
                len(settings.sources),
                settings.path or "from the environment",
                context.store.place,
            )
            # systemd's watchdog ends a process that hangs by SIGABRT; this tells where it hung.
            faulthandler.enable()
            daemon.run()
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it must not be what ends the process
            return
        begun = context.clock()
        settled = daemon.run_once(timeout, Progress(context.store))
        status = _status_of_once(settings, context.store, begun, settled=settled)
        sys.exit(0 if daemon.interrupted else status)


def _stop_before_it_began(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _status_of_once(settings: Settings, store: Store, begun: datetime, *, settled: bool) -> int:
    """Say in a line how it ended, and choose the exit status."""
    feeds = remembered(store, settings)
    failing = [feed for feed in feeds.values() if feed.failures]
    states = store.counts()
    waiting = states[State.HELD] + states[State.UNKNOWN]
    told = [f"{len(feeds) - len(failing)} of {len(feeds)} feeds checked"]
    told += [", ".join(f"{number} {state}" for state, number in states.items() if number)]
    say("; ".join(filter(None, told)))
    for feed in failing:
        say(f"feed {feed.name}: {feed.error}")
    gate = store.gate()
    if not settled:
        say("some jobs are not final yet; the next run goes on with them")
    if waiting:
        say(f"{waiting} episodes wait for a person: see `feedwatch status`")
    shut = bool(states[State.QUEUED]) and gate.closed_until is not None
    if shut:
        say(f"{states[State.QUEUED]} episodes could not be submitted: {gate.reason}")
    if failing:
        return FAILED if len(failing) == len(feeds) else PARTLY
    if waiting:
        return WAITING
    failed = [one for one in store.episodes(states=[State.FAILED]) if _since(begun, one)]
    if failed:
        say(f"{len(failed)} episodes failed: see `feedwatch episodes --state failed`")
    return FAILED if shut or failed else 0


def _since(begun: datetime, episode: Episode) -> bool:
    return episode.finished_at is not None and episode.finished_at >= begun


class Progress:
    """Lines on a terminal's standard error while `run --once` works; none elsewhere."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._shown = ""

    def __call__(self) -> None:
        """Say where it stands, if that has changed."""
        if not shows_progress():
            return
        states = self._store.counts()
        line = ", ".join(f"{number} {state}" for state, number in states.items() if number)
        if line != self._shown:
            say(line)
            self._shown = line


@click.command()
@click.argument("feeds", nargs=-1, metavar="[FEED]...")
@as_json
@click.pass_obj
def check(options: Options, *, feeds: Sequence[str], as_json: bool) -> None:
    """Dry run: fetch the feeds and say what would happen to each item, and why.

    Writes nothing and submits nothing.
    """
    settings = options.settings()
    require_feeds(settings)
    sources = [chosen(settings, name) for name in feeds] or list(settings.sources)
    brake = Brake()
    with opened(settings) as store, feed_client(brake) as http, Parser() as parser:
        known = remembered(store, settings)
        results: list[Result] = []
        with ThreadPoolExecutor(CHECKS_AT_ONCE) as pool:
            looks = pool.map(
                lambda source: look(http, parser, source, address_of(known[source.name])).outcome,
                sources,
            )
            for source, outcome in zip(sources, looks, strict=True):
                if isinstance(outcome, ParsedFeed) and outcome.items:
                    decisions = decisions_on(store, known[source.name], source, outcome)
                    results.append((source, decisions, None))
                else:
                    results.append((source, [], error_of(outcome)))
                if shows_progress():
                    say(f"{len(results)}/{len(sources)} {source.name}")
    if as_json:
        print_json([_check_json(*result) for result in results])
    else:
        for result in results:
            _print_check(*result)
    failed = sum(error is not None for _, _, error in results)
    if failed:
        sys.exit(FAILED if failed == len(results) else PARTLY)


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


def chosen(settings: Settings, name: str) -> Source:
    """The feed of this name, or the end, with the names there are."""
    source = settings.source(name.lower())
    if source is None:
        names = ", ".join(source.name for source in settings.sources) or "none"
        stop(f"no feed is named {name!r}; configured are: {names}", USAGE)
    return source


def _check_json(source: Source, decisions: Sequence[Decision], error: str | None) -> dict[str, Any]:
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


def _print_check(source: Source, decisions: Sequence[Decision], error: str | None) -> None:
    if error is not None:
        tell(f"{source.name}: {error}")
        return
    totals = {verdict: sum(d.verdict is verdict for d in decisions) for verdict in Verdict}
    tell(
        f"{source.name}: {len(decisions)} items, of these "
        + ", ".join(f"{number} {verdict}" for verdict, number in totals.items())
    )
    print_table(
        ("decision", "published", "title", "reason"),
        ((d.verdict, short(d.item.published_at), d.item.title, d.reason) for d in decisions),
        "",
    )


VERBS = (run, check)
