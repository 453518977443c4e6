"""`init`: writes a first config."""

import os
import shlex
import sys
from pathlib import Path

import click

from feedwatch.cli.assembly import api
from feedwatch.cli.output import USAGE, say, stop, tell
from feedwatch.config.edit import create_config, quoted
from feedwatch.config.errors import ConfigError
from feedwatch.config.key_names import (
    CONFIG_KEY,
    DATABASE_KEY,
    DATABASE_URL,
    KEY_FILE_KEY,
    KEY_KEY,
    PREFIX,
    SYSTEM_FILE,
)
from feedwatch.config.keys import Settings
from feedwatch.config.load import load
from feedwatch.config.problems import placeholder_key
from feedwatch.core.job import Later
from feedwatch.core.ledger import is_loopback
from feedwatch.core.masking import know
from feedwatch.core.printable import counted
from feedwatch.net.client import Cancellation

FIRST_CONFIG = Path("config.env")
TEMPLATE = """\
# The config of feedwatch: docs/configuration.md has every key. It holds secrets: keep it to
# yourself (mode 600). A variable of the same name in the environment overrides a line here.

# The key of the media API.
{key}
{api}
# Where feedwatch remembers what it has seen and paid for; three slashes: beside this file.
{database}

# Which episodes that a feed holds already are submitted: none, latest:N, since:YYYY-MM-DD, all.
#FEEDWATCH_FIRST_RUN=none

# The most that is submitted in any 24 hours, over all feeds.
#FEEDWATCH_MAX_SUBMISSIONS_PER_DAY=100

# The feeds: `feedwatch add URL` writes a block for each below.
"""


@click.command()
@click.option(
    "--api-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The file that holds the API key; the config names it.",
)
@click.option("--database", metavar="URL", help=f"The database; {DATABASE_URL} if not asked.")
@click.option("--api-url", metavar="URL", help="The media API, if it is another one.")
@click.pass_obj
def init(
    config: Path | None, *, api_key_file: Path | None, database: str | None, api_url: str | None
) -> None:
    """Write a first config.

    Asks for the API key and the database. Without a terminal the key is read from standard input,
    unless --api-key-file names a file: an option would show it to every user of the machine. The
    file is the one of `feedwatch --config`, else $FEEDWATCH_CONFIG or ./config.env; one that is
    there is never written over.
    """
    named = os.environ.get(CONFIG_KEY)
    path = config or (Path(named) if named else FIRST_CONFIG)
    if path.exists():
        stop(f"there is a config file {path} already; it stays as it is", USAGE)
    if not path.absolute().parent.is_dir():
        stop(f"there is no folder {path.absolute().parent}: make it first", USAGE)
    is_asked = sys.stdin.isatty()
    key = f"{KEY_KEY}={quoted(_key())}" if api_key_file is None else ""
    if api_key_file is not None:
        key = f"{KEY_FILE_KEY}={quoted(str(api_key_file.resolve()))}"
    if database is None and is_asked:
        database = click.prompt("Database", default=DATABASE_URL, err=True)
    url = f"{PREFIX}API_URL={quoted(api_url)}\n" if api_url else ""
    if api_url and is_loopback(api_url):  # the sandbox, whose jobs take seconds
        url += f"{PREFIX}POLL_INTERVAL=2s\n"
    text = TEMPLATE.format(
        key=key, api=url, database=f"{DATABASE_KEY}={quoted(database or DATABASE_URL)}"
    )
    settings = load(path, os.environ, text=text)
    know(settings.secrets())
    if problems := placeholder_key(settings.api_key, settings.api_url):
        raise ConfigError(problems)
    found = _asked(settings)
    create_config(path, text, os.environ)
    tell(f"Wrote {path}, which only you can read.")
    tell(found)
    is_default = path in (FIRST_CONFIG, SYSTEM_FILE) or named
    command = "feedwatch" if is_default else f"feedwatch --config {shlex.quote(str(path))}"
    tell("Next:")
    tell(f"  {command} add URL    a feed's address, a page that names it, or Apple Podcasts'")
    tell(f"  {command} check      what would happen to each item, and why")
    tell(f"  {command} run        the daemon")


def _key() -> str:
    """The API key, from the keyboard or from a pipe."""
    if sys.stdin.isatty():
        typed: str = click.prompt("API key (not shown)", hide_input=True, err=True)
        return typed.strip()
    key = sys.stdin.readline().strip()
    if not key:
        stop("no API key: name its file by --api-key-file, or write it to standard input", USAGE)
    return key


def _asked(settings: Settings) -> str:
    """What the API says to the key. Ends the program if it refuses it."""
    with api(settings, Cancellation()) as inlet:
        found = inlet.podcasts()
    if not isinstance(found, Later):
        return f"The API takes the key, which reaches {counted(len(found), 'podcast')}."
    if found.blocked:
        stop(f"{found.reason}. Nothing was written: run init again, with a key that the API takes")
    say(f"{settings.api_url} could not be asked: {found.reason}")
    return "Whether the API takes the key is not known yet: `feedwatch doctor` asks it."
