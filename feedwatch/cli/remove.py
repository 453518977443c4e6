"""`remove`: a feed is taken out of the config."""

import os
from pathlib import Path

import click

from feedwatch.cli.check import chosen
from feedwatch.cli.output import USAGE, confirm, in_words, stop, tell, yes
from feedwatch.cli.settings import opened, read_settings
from feedwatch.cli.take_over import reload_option, take_over
from feedwatch.config.edit import change_config, feed_of, without_feed
from feedwatch.core.episode import LIVE, State
from feedwatch.core.printable import counted
from feedwatch.store.store import Store


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
        tell(f"The feed {feed} is taken out of {path}, and is no longer checked.")
        tell(_episodes(store, feed))
        if len(settings.sources) == 1:
            tell(
                "It is the last one: a running daemon refuses a config without a feed and goes on "
                "with the one that it has; stop it, or add another feed first."
            )
        confirm("Take it out?", given=yes)
        change_config(path, lambda text: without_feed(text, feed), os.environ)
        tell(f"{path} has the feed {feed} no longer.")
        take_over(store, feed, is_in=False, reload=reload)


def _episodes(store: Store, feed: str) -> str:
    """What becomes of its episodes."""
    counts = store.statistics.by_feed().get(feed)
    if counts is None:
        return "No episode of it is known."
    states = counts.by_state
    kept = f"Its {counted(sum(states.values()), 'episode')} ({in_words(states)}) stay known"
    queued, live = states.get(State.QUEUED, 0), sum(states.get(one, 0) for one in LIVE)
    told = [f"{queued} queued are not submitted"] if queued else []
    told += [f"the {counted(live, 'job')} under way, paid for, are polled on"] if live else []
    return "; ".join([kept, *told]) + "."
