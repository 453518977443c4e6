"""The program's entry.

Containers and timers call `healthcheck` every few seconds: it takes the short way, which imports no
click, since to import that costs more than to look.
"""

import gc
import sys
from pathlib import Path


def main() -> None:
    """Run one verb, and say in plain words what is wrong where it cannot be run."""
    match sys.argv[1:]:
        case ["healthcheck"]:
            _look(None)
        case ["--config", config, "healthcheck"]:
            _look(config)
    gc.disable()  # nothing that is imported is garbage, and to look for some takes its time
    from feedwatch.cli import verbs

    verbs.main()


def _look(config: str | None) -> None:
    """End with the daemon's health, if the short way can tell it."""
    from feedwatch.cli.health import end_with, problems_by_peek

    problems = problems_by_peek(Path(config) if config is not None else None)
    if problems is not None:
        end_with(problems)
