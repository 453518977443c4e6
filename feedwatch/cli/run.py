"""`run`: watch the feeds until told to stop, or once."""

import faulthandler
import logging
import signal
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from feedwatch import __version__
from feedwatch.cli.assembly import Surroundings, assembled, heartbeat_url
from feedwatch.cli.output import FAILED, PARTLY, WAITING, Number, in_words, say
from feedwatch.cli.progress import Line, progress
from feedwatch.cli.settings import read_settings
from feedwatch.config.keys import Settings
from feedwatch.config.problems import placeholders
from feedwatch.core.circuit_breaker import as_one
from feedwatch.core.episode import State
from feedwatch.core.pipeline import processors_of
from feedwatch.core.printable import counted
from feedwatch.core.remarks import missing_podcast_in_words
from feedwatch.daemon import memory
from feedwatch.daemon.loop import Daemon
from feedwatch.net.client import Cancellation
from feedwatch.notify.heartbeat_url import HeartbeatUrl, Signal
from feedwatch.store.statistics import Statistics
from feedwatch.watcher.context import Context
from feedwatch.watcher.overview import configured_feeds
from feedwatch.watcher.pauses import pauses

if TYPE_CHECKING:
    from feedwatch.cli.web import BesideDaemon

log = logging.getLogger("feedwatch")


@click.command()
@click.option("--once", is_flag=True, help="Check every feed now, wait for the jobs, then end.")
@click.option(
    "--timeout",
    type=Number(min=0, max=10**9),
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="With --once: how long to wait for jobs at most; 0 means do not wait.",
)
@click.pass_obj
def run(config: Path | None, *, once: bool, timeout: float) -> None:
    """Watch the feeds, in the foreground, until SIGTERM or SIGINT."""
    given = click.get_current_context().get_parameter_source("timeout")
    if not once and given is ParameterSource.COMMANDLINE:
        raise click.UsageError("--timeout goes with --once: a daemon waits for all jobs")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: sys.exit(0))
    if not once:
        # A SIGHUP that comes now waits until the daemon can follow it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    settings = read_settings(config, needs_key=True, to_watch=True)
    for line in placeholders(settings.sources):
        log.warning("%s", line)
    with (
        _http_sides(settings, once=once) as (around, show),
        assembled(settings, around, must_lead=once) as (daemon, context),
        show(daemon, context),
    ):
        daemon.stop_on_signals()
        memory.settle()
        log.info(
            "feedwatch %s is watching %s%s; config %s, database %s",
            __version__,
            counted(len(settings.sources), "feed"),
            " once" if once else "",
            settings.path or "from the environment",
            context.store.place,
        )
        if not once:
            daemon.reload_on_signal()
            for pause in pauses(context.store, settings.sources):
                log.warning("%s", pause)
            # systemd's watchdog ends a process that hangs by SIGABRT; this tells where it hung.
            faulthandler.enable()
            daemon.run()
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it must not be what ends the process
            sys.exit(0)
        sys.exit(_run_once(settings, daemon, context, timeout))


def _http_sides(settings: Settings, *, once: bool) -> "AbstractContextManager[BesideDaemon]":
    """What answers HTTP beside the daemon; where nothing does, what it needs is not imported."""
    if once or (settings.listen is None and settings.public_listen is None):
        return nullcontext((Surroundings(), lambda _daemon, _context: nullcontext()))
    from feedwatch.cli.web import beside_daemon

    return beside_daemon(settings)


def _run_once(settings: Settings, daemon: Daemon, context: Context, timeout: float) -> int:
    """One pass, from its first sign to its exit status; it leaves when it ran, and how it ended."""
    begun, began = context.clock(), time.monotonic()
    number = context.store.passes.begin(begun)
    with heartbeat_url(settings, Cancellation()) as heartbeat:
        first = Thread(target=_tell, args=(heartbeat, Signal.START), daemon=True)
        first.start()  # the pass does not wait for it
        signal_at_end, status = Signal.DOWN, FAILED
        try:
            with progress("checking the feeds") as line:
                statistics = context.store.statistics
                settled = daemon.run_once(timeout, lambda: _show_states(line, statistics))
            status = _status_of_once(settings, context, begun, settled=settled)
            context.store.passes.end(number, time.monotonic() - began, status)
            # A feed that fails, or an episode that waits for somebody, is told by other means.
            signal_at_end = Signal.DOWN if status == FAILED else Signal.UP
        finally:
            first.join()
            if not daemon.interrupted:
                _tell(heartbeat, signal_at_end, f"run --once ended with status {status}")
    return 0 if daemon.interrupted else status


def _show_states(line: Line, statistics: Statistics) -> None:
    if line.is_shown:
        line.say(in_words(statistics.by_state()) or "checking the feeds")


def _tell(heartbeat: HeartbeatUrl | None, what: Signal, message: str = "") -> None:
    failure = heartbeat.tell(what, message) if heartbeat is not None else None
    if failure is not None:
        log.warning("FEEDWATCH_HEARTBEAT_URL does not work: %s", failure)


def _status_of_once(settings: Settings, context: Context, begun: datetime, *, settled: bool) -> int:
    """Say how `run --once` ended, and choose its exit status."""
    store = context.store
    feeds = configured_feeds(store, settings.sources)
    failing = [feed for feed in feeds.values() if feed.failures]
    states = store.statistics.by_state()
    waiting = states[State.HELD] + states[State.UNKNOWN]
    new, final = store.statistics.came_and_ended(begun)
    submitted, kept = store.claims.submitted_since(begun), in_words(states)
    say(
        f"{len(feeds) - len(failing)} of {counted(len(feeds), 'feed')} checked; this pass: {new} "
        f"new, {submitted} submitted, {final} finished" + (f"; in all: {kept}" if kept else "")
    )
    for feed in failing:
        say(f"feed {feed.name}: {feed.error}")
    breaker = as_one(store.breakers.of(processors_of(settings.sources)))
    if not settled:
        say("some jobs are not final yet; the next run goes on with them")
    if waiting:
        verb = "waits" if waiting == 1 else "wait"
        say(f"{counted(waiting, 'episode')} {verb} for a person: see `feedwatch status`")
    resting = [feed for feed in feeds.values() if feed.missing_podcast is not None]
    for feed in resting:
        say(f"feed {feed.name}: {missing_podcast_in_words(feed.name, feed.missing_podcast or '')}")
    unsent = store.statistics.unsent(context.clock()).episodes
    stopped = bool(unsent) and breaker.tripped_until is not None
    if stopped:
        say(f"{counted(unsent, 'episode')} could not be submitted: {breaker.reason}")
    for pause in pauses(store, settings.sources):
        say(pause)
    if failing:
        return FAILED if len(failing) == len(feeds) else PARTLY
    if waiting:
        return WAITING
    ended = (one.finished_at for one in store.episodes.find(states=[State.FAILED]))
    failed = sum(at is not None and at >= begun for at in ended)
    if failed:
        say(f"{counted(failed, 'episode')} failed: see `feedwatch episodes --state failed`")
    return FAILED if stopped or resting or failed else 0
