"""Whether the daemon makes progress, for `healthcheck`. Imports no more than that needs."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from feedwatch.config.errors import ConfigError
from feedwatch.config.locate import find_file, sqlite_path
from feedwatch.core.health import problems_shown
from feedwatch.store.errors import StoreError
from feedwatch.store.lock import lock_path, use_of
from feedwatch.store.peek import peek

UNHEALTHY = 5


def problems_by_peek(config: Path | None) -> list[str] | None:
    """Why the daemon makes no progress, by the short way: SQLite's file, and one key of the config.

    None where only the long way can tell: another database, or whatever is not in order.
    """
    try:
        path = find_file(config, os.environ)
        database = sqlite_path(path, os.environ)
        if database is None or not database.exists():
            return None
        now = datetime.now(UTC)
        record, passes = peek(database, now)
    except (ConfigError, StoreError, OSError):
        return None
    file = database.resolve()
    return problems_shown(record, passes, now, use_of(lock_path(file), file))


def problems_by_store(config: Path | None) -> list[str]:
    """The same by the long way. Raises `ConfigError`."""
    from feedwatch.cli.settings import opened, read_settings
    from feedwatch.watcher.overview import daemon_problems

    settings = read_settings(config, needs_feeds=False)
    try:
        with opened(settings) as store:
            return daemon_problems(store, datetime.now(UTC), store.host)
    except StoreError as error:
        return [str(error)]


def end_with(problems: list[str]) -> NoReturn:
    """End the process: with status 0, or with the problems on standard error."""
    if problems:
        sys.stderr.write("; ".join(problems) + "\n")
    sys.exit(UNHEALTHY if problems else 0)
