"""`remove`: a feed is taken out of the config."""

import os
from pathlib import Path

import click

from feedwatch.cli.check import chosen
from feedwatch.cli.output import USAGE, confirm, stop, tell, yes
from feedwatch.cli.preview_feed import fate_of_episodes
from feedwatch.cli.settings import opened, read_settings
from feedwatch.cli.take_over import reload_option, take_over
from feedwatch.config.edit import change_config, feed_of, without_feed


@click.command()
@click.argument("name")
@reload_option
@yes
@click.pass_obj
def remove(config: Path | None, *, name: str, reload: bool, yes: bool) -> None:
    """Take a feed out of the config. Its episodes are kept.

    All else in the file stays as it is. `feedwatch add` with the same name takes it up again.
    """
    settings = read_settings(config)
    feed, path = chosen(settings, name).name, settings.path
    in_environment = sorted(key for key in os.environ if feed_of(key) == feed)
    if in_environment or path is None:
        keys = ", ".join(in_environment)
        stop(f"the feed {feed!r} is set in the environment: take {keys} out there", USAGE)
    with opened(settings) as store:
        tell(f"Without its block in {path} the feed {feed} is no longer checked.")
        tell(fate_of_episodes(store, feed))
        if len(settings.sources) == 1:
            tell(
                "It is the last one: a running daemon refuses a config without a feed and goes on "
                "with the one that it has; stop it, or add another feed first."
            )
        confirm("Take it out?", given=yes)
        change_config(path, lambda text: without_feed(text, feed), os.environ)
        tell(f"{path} has the feed {feed} no longer.")
        take_over(store, feed, is_in=False, reload=reload)
