"""`healthcheck`: whether the daemon makes progress."""

import sys
from datetime import UTC, datetime

import click

from feedwatch.cli.assembly import Options, opened
from feedwatch.cli.output import (
    UNHEALTHY,
    say,
)
from feedwatch.store.errors import StoreError
from feedwatch.watcher.overview import daemon_problems


@click.command()
@click.pass_obj
def healthcheck(options: Options) -> None:
    """Is the daemon making progress? Ends with status 0, or with 5 and says why not.

    It asks the database, so it works from any process that may read it.
    """
    settings = options.settings(needs_feeds=False)
    try:
        with opened(settings) as store:
            wrong = daemon_problems(store, datetime.now(UTC))
    except StoreError as error:
        wrong = [str(error)]
    if wrong:
        say("; ".join(wrong))
        sys.exit(UNHEALTHY)
