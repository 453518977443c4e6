"""Journal: the number of claims in files outside the database, to notice a lost or restored one.

An empty database looks like a first start and an old copy like an earlier day; in both, episodes
paid for since would be submitted again. So each claim is written to every place that may outlive
the database: beside the config, in systemd's cache folder, beside the database itself.
"""

import json
import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from feedwatch.core.ledger import DatabaseId

log = logging.getLogger(__name__)


class Journal:
    """The id of the database and its number of claims, in as many of `paths` as can be written."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = tuple(paths)
        self._warned = False

    def read(self) -> DatabaseId | None:
        """What the file with the most claims says; None if none can be read."""
        found = []
        for path in self._paths:
            with suppress(OSError, ValueError, KeyError, TypeError):
                content = json.loads(path.read_text(encoding="utf-8"))
                found.append(DatabaseId(id=str(content["database"]), claims=int(content["claims"])))
        return max(found, key=lambda one: one.claims, default=None)

    def write(self, database: DatabaseId) -> None:
        """Write the database's id and claims; they are on the disk when this returns."""
        written = [path for path in self._paths if _write(path, database)]
        if not written and not self._warned:
            self._warned = True
            log.warning(
                "the journal of submissions cannot be written outside the database, so a lost or "
                "restored database would not be noticed: %s",
                ", ".join(map(str, self._paths)) or "no place is known",
            )

    @property
    def places(self) -> str:
        """The files that exist, for people."""
        return ", ".join(str(path) for path in self._paths if path.exists())


def places(config: Path | None, database: Path | None, environ: Mapping[str, str]) -> list[Path]:
    """Where the journal may be; a place that can't be written does no harm."""
    found = []
    if config is not None:
        found.append(config.resolve().with_name(f"{config.name}.marker"))
    if environ.get("CACHE_DIRECTORY"):
        found.append(Path(environ["CACHE_DIRECTORY"], "marker"))
    if database is not None:
        found.append(database.with_name(f"{database.name}.marker"))
    return found


def _write(path: Path, database: DatabaseId) -> bool:
    fresh = path.with_name(f"{path.name}.new")
    content = {
        "what": "tells feedwatch whether its database was lost or restored; see docs/install.md",
        "database": database.id,
        "claims": database.claims,
    }
    try:
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        return False
    return True
