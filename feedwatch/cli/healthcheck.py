"""`healthcheck`: whether the daemon makes progress."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from feedwatch.cli.assembly import opened, read_settings
from feedwatch.cli.output import UNHEALTHY, say
from feedwatch.store.errors import StoreError
from feedwatch.watcher.overview import daemon_problems


@click.command()
@click.pass_obj
def healthcheck(config: Path | None) -> None:
    """Is the daemon making progress? The exit status says it.

    It is 0 if so; else 5, and the reason goes to standard error. It asks the database, so it works
    from any process that may read it.
    """
    settings = read_settings(config, needs_feeds=False)
    try:
        with opened(settings) as store:
            wrong = daemon_problems(store, datetime.now(UTC))
    except StoreError as error:
        wrong = [str(error)]
    if wrong:
        say("; ".join(wrong))
        sys.exit(UNHEALTHY)
