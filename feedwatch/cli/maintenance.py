"""`backup` and `prune`: upkeep of the database, while the daemon runs."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from feedwatch.cli.output import USAGE, confirm, say, stop, yes
from feedwatch.cli.progress import progress
from feedwatch.cli.settings import opened, read_settings
from feedwatch.core.printable import counted

LEAST_DAYS = 30  # the limit of submissions looks back for one day; a person, for some more


@click.command()
@click.argument("path", type=click.Path())
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.pass_obj
def backup(config: Path | None, *, path: str, force: bool) -> None:
    """Copy the SQLite database to a file, while the daemon runs.

    PATH is that file, or a folder, where the copy is named after the present time. With a slash at
    its end it can only be a folder. docs/backup.md says how to put it back.
    """
    now, copy = datetime.now(UTC), Path(path)
    if copy.is_dir():
        copy /= f"feedwatch-{now:%Y%m%dT%H%M%SZ}.db"
    elif path.endswith("/"):
        stop(f"there is no folder {path}: make it (`install -d -m 0700 {path}`), or name a file")
    if not copy.parent.is_dir() or not copy.name:
        stop(f"there is no folder {copy.parent}")
    if copy.exists() and not copy.is_file():
        stop(f"{copy} is no regular file", USAGE)
    with opened(read_settings(config, needs_feeds=False)) as store:
        if store.path is not None and not store.path.exists():
            stop(f"there is no database yet at {store.path}")
        if store.path is not None and copy.resolve() == store.path:
            stop(f"{copy} is the database itself", USAGE)
        if copy.exists() and not force:
            stop(f"{copy} is there already; choose another name, or add --force to replace it")
        with progress(f"copying to {copy}"):
            size = store.upkeep.back_up(copy)
        say(
            f"to put it back: stop the daemon, delete {store.path}-wal and -shm, copy it to "
            f"{store.path}"
        )
    click.echo(f"{copy}: {size} bytes, whole")


def days(_context: click.Context, _option: click.Parameter, text: str) -> int:
    """365d."""
    match = re.fullmatch(r"(\d{1,5})d", text.strip())
    if match is None or int(match[1]) < LEAST_DAYS:
        raise click.BadParameter(f"expected days, {LEAST_DAYS}d or more, such as 365d")
    return int(match[1])


@click.command()
@click.option("--older-than", required=True, callback=days, metavar="DAYS", help="Such as 365d.")
@yes
@click.pass_obj
def prune(config: Path | None, *, older_than: int, yes: bool) -> None:
    """Delete old lines of the history of finished episodes.

    These are the episodes that are ready, failed or skipped. Each keeps its last line, all its
    fields, and the keys by which it is known.
    """
    before = datetime.now(UTC) - timedelta(days=older_than)
    with opened(read_settings(config, needs_feeds=False)) as store:
        old = store.upkeep.old_history(before)
        lines, those = counted(old.lines, "line"), counted(old.episodes, "episode")
        say(f"older than {older_than} days: {lines} of {those}")
        if old.lines:
            confirm("Delete them?", given=yes)
        deleted = sum(store.upkeep.prune(before))
    click.echo(f"{counted(deleted, 'line')} deleted")
