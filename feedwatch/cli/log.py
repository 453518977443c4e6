"""`log`: what happened, newest last, and what happens."""

import select
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

import click

from feedwatch.cli.output import WholeNumber, as_json, print_json, print_json_line, say, tell
from feedwatch.cli.settings import opened, read_settings
from feedwatch.config.keys import Settings
from feedwatch.core.episode import Event
from feedwatch.core.json_forms import event_json, stamp
from feedwatch.core.pipeline import Step
from feedwatch.core.printable import counted, printable
from feedwatch.store.errors import StoreError
from feedwatch.store.history_tail import HistoryTail
from feedwatch.store.store import Store
from feedwatch.watcher.overview import find_feed

LOOK_SECONDS = 1.0  # between looks: one costs a few milliseconds
STDOUT = 1
MOST_ALIKE = 3  # lines that differ in the title alone; a first run has hundreds


@click.command()
@click.option("--follow", is_flag=True, help="Go on with what happens, until Ctrl-C or SIGTERM.")
@click.option("--feed", metavar="FEED", help="Of this feed only.")
@click.option(
    "--limit",
    type=WholeNumber(0, 2**31),
    default=50,
    show_default=True,
    metavar="N",
    help="At most so many of what happened.",
)
@as_json
@click.pass_obj
def log(config: Path | None, *, follow: bool, feed: str | None, limit: int, as_json: bool) -> None:
    """Show what happened, newest last.

    Each line has the time, the feed, the episode, and its state before and after with the reason;
    also the step where it is a helper step, and the person whose decision it was. Times are UTC.
    With --follow --json each line is one JSON object.
    """
    settings = read_settings(config, needs_feeds=False)
    show = _show_json if as_json else _show
    stopping = threading.Event()
    if follow:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: stopping.set())
    with opened(settings) as store:
        name = find_feed(store, settings.sources, feed) if feed is not None else None
        tail = HistoryTail(store.listings, time.monotonic()) if follow else None
        found = store.listings.events(limit, feed=name)[::-1]
    if tail is not None:
        found = [*filter(tail.knows, found)]  # one that came meanwhile is new to the first look
    elif as_json:
        print_json([event_json(event) for event in found])
        return
    elif not found:
        tell("Nothing has happened yet.")
    show(found)
    if tail is not None:
        _follow(settings, tail, name, show, stopping)


def _follow(
    settings: Settings,
    tail: HistoryTail,
    feed: str | None,
    show: Callable[[Sequence[Event]], None],
    stopping: threading.Event,
) -> None:
    """Show what is new until it is told to stop, whatever the database does meanwhile."""
    problem = ""
    with ExitStack() as stack:
        store: Store | None = None
        while not stopping.wait(LOOK_SECONDS):
            _require_a_reader()
            before, problem, new = problem, "", None
            try:
                store = store or stack.enter_context(opened(settings))
                if store.is_made:
                    new = tail.look(store.listings, time.monotonic(), feed)
                else:
                    problem = f"there is no database {store.place}"
            except StoreError as error:
                problem = str(error)
            if problem and not before:
                say(f"{problem}; waiting for it")
            if before and not problem:
                say("the database answers again")
            if new is not None and new.is_replaced:
                say("the database was replaced by another one, or by an older copy of it")
            if new is not None:
                show(new.events)
            if problem or (store is not None and store.path is not None):  # it may be replaced
                stack.close()
                store = None


def _require_a_reader() -> None:
    """Raise `BrokenPipeError` where nobody reads our output any more, though nothing is written."""
    output = select.poll()
    output.register(STDOUT, 0)
    if any(events & (select.POLLERR | select.POLLHUP) for _, events in output.poll(0)):
        raise BrokenPipeError


def _show_json(events: Sequence[Event]) -> None:
    for event in events:
        print_json_line(event_json(event))


def _show(events: Sequence[Event]) -> None:
    """A line each, for people; one for many of a feed to which the same happened at one moment."""
    for _, same in groupby(events, lambda one: (one.feed, one.previous, one.entry)):
        alike = list(same)
        if len(alike) > MOST_ALIKE:
            _show_line(alike[0], counted(len(alike), "episode"))
            continue
        for event in alike:
            title = f" {event.title}" if event.title else ""
            _show_line(event, f"{event.episode_id}{title}")


def _show_line(event: Event, what: str) -> None:
    entry = event.entry
    came = f"{event.previous or 'new'} → " if event.previous is not entry.state else ""
    step = f" ({entry.step})" if entry.step not in (None, Step.ADS) else ""
    why = f": {entry.reason}" if entry.reason else ""
    who = f" [{entry.actor}]" if entry.actor else ""
    tell(printable(f"{stamp(entry.at)}  {event.feed}  {what}  {came}{entry.state}{step}{why}{who}"))
