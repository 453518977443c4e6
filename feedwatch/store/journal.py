"""A mark outside the database that tells a lost or restored one from a fresh one.

An empty database looks like a first start, and an old copy looks like yesterday: in both, what was
paid for since would be submitted again. So each claim leaves a mark in every place at hand that the
database's loss may spare: beside the config, in systemd's cache folder, beside the database itself.
"""

import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from feedwatch.core.ledger import DatabaseId

log = logging.getLogger(__name__)


class Journal:
    """The mark, in as many of `paths` as can be written."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = tuple(paths)
        self._told = False

    def read(self) -> DatabaseId | None:
        """The latest mark that any place has."""
        marks = [mark for path in self._paths if (mark := _read(path)) is not None]
        return max(marks, key=lambda mark: mark.claims, default=None)

    def write(self, imprint: DatabaseId) -> None:
        """Leave the mark, on the disk, before this returns."""
        written = [path for path in self._paths if _write(path, imprint)]
        if not written and not self._told:
            self._told = True
            log.warning(
                "no mark can be left outside the database, so its loss would not be noticed: %s",
                ", ".join(map(str, self._paths)) or "no place is known",
            )

    @property
    def places(self) -> str:
        """Where marks lie, for people."""
        return ", ".join(str(path) for path in self._paths if path.exists())


def places(config: Path | None, database: Path | None, environ: Mapping[str, str]) -> list[Path]:
    """Where a mark may be left; a place that can't be written does no harm."""
    found = []
    if config is not None:
        found.append(config.resolve().with_name(f"{config.name}.marker"))
    if environ.get("CACHE_DIRECTORY"):
        found.append(Path(environ["CACHE_DIRECTORY"], "marker"))
    if database is not None:
        found.append(database.with_name(f"{database.name}.marker"))
    return found


def _read(path: Path) -> DatabaseId | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return DatabaseId(id=str(content["database"]), claims=int(content["claims"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, imprint: DatabaseId) -> bool:
    fresh = path.with_name(f"{path.name}.new")
    content = {
        "what": "tells feedwatch whether its database was lost or restored; see docs/install.md",
        "database": imprint.id,
        "claims": imprint.claims,
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
