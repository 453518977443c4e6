"""`daemons`: who watches this database."""

from datetime import UTC, datetime
from pathlib import Path

import click

from feedwatch.cli.output import as_json, print_json, print_table
from feedwatch.cli.screen import Painted
from feedwatch.cli.settings import opened, read_settings
from feedwatch.cli.times import Times, local_times
from feedwatch.core.daemons import DaemonHealth, spoken
from feedwatch.core.json_forms import daemon_json
from feedwatch.watcher.overview import health_of_daemons


@click.command()
@local_times
@as_json
@click.pass_obj
def daemons(config: Path | None, *, times: Times, as_json: bool) -> None:
    """List the daemons on this database: role, version, clock, progress.

    With SQLite there is one, or the one that was there last; with PostgreSQL there may be several,
    of which one leads, and all check feeds. Daemons with one config have one mark.
    """
    settings, now = read_settings(config, needs_feeds=False), datetime.now(UTC)
    with opened(settings) as store:
        found = health_of_daemons(store, now, store.use())
    if as_json:
        print_json([daemon_json(one) for one in found])
        return
    print_table([_row(one, times) for one in found], "No daemon has been seen.")


def _row(one: DaemonHealth, times: Times) -> dict[str, object]:
    daemon = one.daemon
    ahead = daemon.clock_offset
    return {
        "daemon": spoken(daemon.id),
        "role": "leader" if daemon.leads else "watcher",
        "version": daemon.version,
        "config": daemon.config_mark[:8],
        "clock": f"{round(ahead, 1) + 0.0:+.1f} s" if ahead is not None else "",
        times.column("started"): times.cell(daemon.started_at),
        times.column("last progress"): times.cell(one.last_progress_at),
        "health": Painted("; ".join(one.problems) or "well", "failing" if one.problems else "ok"),
    }
