"""`healthcheck` among the verbs; called alone it takes the short way, see `app.py`."""

from pathlib import Path

import click

from feedwatch.cli.health import end_with, problems_by_peek, problems_by_store


@click.command()
@click.pass_obj
def healthcheck(config: Path | None) -> None:
    """Is the daemon making progress? The exit status says it.

    It is 0 if so; else 5, and the reason goes to standard error. It asks the database, so it works
    from any process that may read it.
    """
    problems = problems_by_peek(config)
    end_with(problems_by_store(config) if problems is None else problems)
