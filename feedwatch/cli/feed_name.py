"""A feed's name on the command line, which shells complete from the config."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from feedwatch.config.errors import ConfigError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class FeedName(click.ParamType[str]):
    """The name of a feed, in whatever case."""

    name = "feed"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem[Any]]":
        """The names in the config; none where it cannot be read, for this is no place to say so."""
        from click.shell_completion import CompletionItem  # here, for all other calls need neither

        from feedwatch.config.locate import feed_names, find_file

        config: Path | None = ctx.find_root().params.get("config")
        given = set(ctx.params.get(param.name or "") or ()) if param.nargs == -1 else set()
        try:
            names = feed_names(find_file(config, os.environ), os.environ)
        except ConfigError:
            return []
        start = incomplete.lower()
        return [
            CompletionItem(name) for name in names if name.startswith(start) and name not in given
        ]


FEED = FeedName()
