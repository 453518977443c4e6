"""The command line. Data goes to standard output, logs and progress to standard error."""

import os
import sys
import traceback
from pathlib import Path

import click

from feedwatch import __version__
from feedwatch.cli import decide, doctor, export, inspect, maintenance, run, sandbox
from feedwatch.cli.assembly import Options
from feedwatch.cli.output import FAILED, USAGE, say
from feedwatch.config.errors import ConfigError
from feedwatch.store.errors import StoreError
from feedwatch.watcher.errors import RequestError


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 done, 1 failed, 2 usage or configuration, 3 some feeds failed, "
    "4 something waits for a person, 5 unhealthy.",
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The config file. Else $FEEDWATCH_CONFIG, ./config.env or /etc/feedwatch/config.env.",
)
@click.version_option(__version__, prog_name="feedwatch")
@click.pass_context
def cli(context: click.Context, config: Path | None) -> None:
    """Watch podcast feeds and have each new episode processed, exactly once.

    First steps: `feedwatch demo` shows it at work, with no key and no network. Then write a config
    (see config.example.env), let `feedwatch doctor` look at it, `feedwatch check` say what would
    happen, and start `feedwatch run`.
    """
    context.obj = Options(config=config)


for module in (run, inspect, decide, doctor, export, maintenance, sandbox):
    for verb in module.VERBS:
        cli.add_command(verb)


def main() -> None:
    """Run one verb, and say in plain words what is wrong where it cannot be run."""
    try:
        try:
            cli.main(prog_name="feedwatch", standalone_mode=True)
        finally:
            sys.stdout.flush()
    except ConfigError as error:
        say("The configuration cannot be used:")
        for problem in error.problems:
            say(f"  {problem}")
        sys.exit(USAGE)
    except (StoreError, RequestError) as error:
        say(f"Error: {error}")
        sys.exit(FAILED)
    except BrokenPipeError:
        # Whoever read our output has seen enough; what is left must not be flushed at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except Exception:  # noqa: BLE001 - a traceback may quote a secret, and Python masks nothing
        say(traceback.format_exc())
        sys.exit(FAILED)
