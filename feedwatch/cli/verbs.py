"""The command line, by click. Data goes to standard output, logs and progress to standard error."""

import gc
import os
import sys
import traceback
from collections.abc import Iterable
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from typing import Any

import click

from feedwatch import __version__
from feedwatch.cli.feed_name import FEED
from feedwatch.cli.output import FAILED, USAGE, say
from feedwatch.config.errors import ConfigError
from feedwatch.store.errors import StoreError
from feedwatch.watcher.errors import RequestError, UnknownFeedError

# The verbs as `--help` groups them: the module of each, and the first sentence of its help.
GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Set it up": {
        "init": ("init", "Write a first config."),
        "add": ("add", "Add a feed to the config, after a look at it."),
        "import": ("opml", "Add the feeds of an OPML file to the config."),
        "remove": ("remove", "Take a feed out of the config."),
        "doctor": ("doctor", "Check config, database, clock, API key, podcast ids and feeds."),
        "podcasts": ("doctor", "List the podcasts that the API key reaches, with their ids."),
    },
    "Run it": {
        "run": ("run", "Watch the feeds, in the foreground, until SIGTERM or SIGINT."),
        "web": ("web", "Serve page, API and feeds alone, on the same database."),
        "healthcheck": ("healthcheck", "Is the daemon making progress? The exit status says it."),
    },
    "See what happens": {
        "status": ("inspect", "Show the daemon's health, counts by state, what needs a person."),
        "feeds": ("inspect", "List the feeds: state, last success, next check, failures."),
        "episodes": ("inspect", "List the episodes, newest first."),
        "show": ("inspect", "Show an episode: every field, and every decision about it."),
        "check": (
            "check",
            "Dry run: fetch the feeds and say what would happen to each item, and why.",
        ),
        "rhythm": (
            "rhythm",
            "Show when a feed's episodes came, and when the next one is expected.",
        ),
        "log": ("log", "Show what happened, newest last."),
        "daemons": (
            "daemons",
            "List the daemons on this database: role, version, clock, progress.",
        ),
    },
    "Decide": {
        "approve": ("decide", "Let held episodes be submitted."),
        "skip": ("decide", "Never submit these episodes."),
        "retry": ("decide", "Submit failed, unknown or skipped episodes again."),
        "adopt": (
            "decide",
            "Say that an unknown submission was taken, and that MEDIA_ID is its job.",
        ),
        "refresh": ("refresh", "Have feeds checked now: those named or, without a name, all."),
        "pause": ("decide", "Stop new submissions."),
        "resume": ("decide", "Restart new submissions."),
    },
    "Look after it": {
        "completion": (
            "completion",
            "Write the script that completes feedwatch's verbs, options and feeds in a shell.",
        ),
        "backup": ("maintenance", "Copy the SQLite database to a file, while the daemon runs."),
        "prune": ("maintenance", "Delete old lines of the history of finished episodes."),
        "export": ("export", "Write the processed URLs of all ready episodes to standard output."),
    },
    "Try it": {
        "demo": ("demo", "Show an episode go from published to processed: no key, no network."),
        "sandbox": ("sandbox", "Run a local stand-in for the media API that follows its contract."),
    },
}
STATUSES = {
    0: "done",
    1: "failed",
    2: "usage or configuration",
    3: "some feeds failed",
    4: "something waits for a person",
    5: "unhealthy",
}
VERBS = {name: row for verbs in GROUPS.values() for name, row in verbs.items()}


# httpx imports its own command line, and with it rich and pygments, if it can. It takes a fifth of
# all that `run` imports, and nobody here calls it.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
# pydantic looks for plugins in the metadata of all that is installed, at the first model.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def verb(name: str) -> click.Command:
    """A verb of `VERBS`. Imports its module."""
    module, attribute = VERBS[name][0], f"{name}_" if iskeyword(name) else name
    command: click.Command = getattr(import_module(f"feedwatch.cli.{module}"), attribute)
    for param in command.params:
        if param.metavar in ("FEED", "[FEED]..."):
            param.type = FEED  # which a shell completes
    gc.freeze()  # nor is any of it garbage later: not even the process's end looks through it
    gc.enable()  # see `app.main`
    return command


class Help(click.HelpFormatter):
    """Help as wide as the terminal, up to 100 columns: click's own is 50 at least."""

    def __init__(self, *_: Any, **__: Any) -> None:
        import shutil  # here, since only help needs it

        super().__init__(width=max(min(shutil.get_terminal_size().columns, 100) - 2, 20))

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Terms, and their texts beside them in half of the width at least."""
        super().write_dl(rows, min(col_max, self.width // 2), col_spacing)


click.Context.formatter_class = Help


class LazyGroup(click.Group):
    """Imports a verb's module when the verb is called; help and completion go by `GROUPS`.

    So they start without SQLAlchemy, httpx, feedparser, pydantic and rich.
    """

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs in their groups, each with its whole sentence."""
        column = max(map(len, VERBS))  # one for all groups
        for group, verbs in GROUPS.items():
            with formatter.section(group):
                formatter.write_dl([(name.ljust(column), row[1]) for name, row in verbs.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that is called, in place of the stub that stands for it in the help."""
        name, command, rest = super().resolve_command(ctx, args)
        if ctx.resilient_parsing and rest[-1:] == ["--feed"]:  # a shell asks for feeds: no module
            return name, click.Command(name, params=[click.Option(["--feed"], type=FEED)]), rest
        return name, verb(name) if name in VERBS else command, rest


@click.group(
    cls=LazyGroup,
    commands=[click.Command(name, short_help=summary) for name, (_, summary) in VERBS.items()],
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"Exit status: {', '.join(f'{number} {text}' for number, text in STATUSES.items())}.",
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

    First steps: `feedwatch demo` shows it at work, with no key and no network. `feedwatch init`
    writes a config, `feedwatch add URL` adds a feed to it. Let `feedwatch doctor` look at it,
    `feedwatch check` say what would happen, and start `feedwatch run`.
    """
    context.obj = config


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
    except UnknownFeedError as error:
        say(f"Error: {error}")
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
