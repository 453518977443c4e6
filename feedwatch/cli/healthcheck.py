"""`healthcheck` among the verbs; called alone it takes the short way, see `app.py`."""

import sys
from pathlib import Path

import click

from feedwatch.cli.health import UNHEALTHY, end_with, problems_by_peek, problems_by_store
from feedwatch.cli.output import as_json, print_json


@click.command()
@as_json
@click.pass_obj
def healthcheck(config: Path | None, *, as_json: bool) -> None:
    """Is the daemon making progress? The exit status says it.

    It is 0 if so; else 5, and the reason goes to standard error, or with --json into the document.
    It asks the database, so it works from any process that may read it.
    """
    problems = problems_by_peek(config)
    problems = problems_by_store(config) if problems is None else problems
    if not as_json:
        end_with(problems)
    print_json({"healthy": not problems, "problems": problems})
    sys.exit(UNHEALTHY if problems else 0)
