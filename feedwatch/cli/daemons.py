"""`daemons`: who watches this database."""

from datetime import UTC, datetime
from pathlib import Path

import click

from feedwatch.cli.output import as_json, print_json, print_table
from feedwatch.cli.settings import opened, read_settings
from feedwatch.core.daemons import DaemonHealth, spoken
from feedwatch.core.json_forms import daemon_json, short
from feedwatch.watcher.overview import health_of_daemons


@click.command()
@as_json
@click.pass_obj
def daemons(config: Path | None, *, as_json: bool) -> None:
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
    print_table([_row(one) for one in found], "No daemon has been seen.")


def _row(one: DaemonHealth) -> dict[str, object]:
    daemon = one.daemon
    ahead = daemon.clock_offset
    return {
        "daemon": spoken(daemon.id),
        "role": "leader" if daemon.leads else "watcher",
        "version": daemon.version,
        "config": daemon.config_mark[:8],
        "clock": f"{round(ahead, 1) + 0.0:+.1f} s" if ahead is not None else "",
        "started": short(daemon.started_at),
        "last progress": short(one.last_progress_at),
        "health": "; ".join(one.problems) or "well",
    }
