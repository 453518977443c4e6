"""`refresh`: feeds are due now, without waiting for their turn."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from feedwatch.cli.output import FAILED, PARTLY, print_table, say, stop
from feedwatch.cli.reload import plan_of
from feedwatch.cli.settings import opened, read_settings
from feedwatch.core.health import spoken
from feedwatch.watcher.check_requests import request_checks, why_nobody_checks
from feedwatch.watcher.overview import find_feed
from feedwatch.watcher.pauses import pauses

GONE = "never: the config does not have it any more"
UNREAD = "never: no daemon has read it from the config yet"


@click.command()
@click.argument("feeds", nargs=-1, metavar="[FEED]...")
@click.pass_obj
def refresh(config: Path | None, *, feeds: Sequence[str]) -> None:
    """Have feeds checked now: those named or, without a name, all.

    The running daemon checks them, a few at a time of each host, and each at the soonest a minute
    after its last check. Nothing is submitted that a check in its turn would not submit.
    """
    settings, now = read_settings(config), datetime.now(UTC)
    sources = plan_of(settings).sources
    with opened(settings) as store:
        names = list(sources)
        if feeds:
            names = list(dict.fromkeys(find_feed(store, settings.sources, one) for one in feeds))
        if not names:
            stop("no feed is configured")
        due = request_checks(store, [one for one in names if one in sources], now)
        waits = {name: at - now for name, at in due.items()}
        soonest = {name: UNREAD if name in sources else GONE for name in names}
        soonest |= {name: f"in {spoken(wait)}" if wait else "now" for name, wait in waits.items()}
        print_table([{"feed": name, "checked at the soonest": soonest[name]} for name in names])
        for pause in pauses(store, [sources[name] for name in due]):
            say(pause)
        if (nobody := why_nobody_checks(store, now)) is not None:
            say(nobody)
    if sources.keys() & set(names) - due.keys():
        say("a reload, or the next start, has the daemon read the config")
    if len(due) < len(names):
        sys.exit(PARTLY if due else FAILED)
