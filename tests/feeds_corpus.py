"""The collection of real and of nasty feeds, where it is at hand.

It is other people's property and no part of the project: it lies beside the checkout or nowhere.
"""

import csv
import os
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COLLECTION = ROOT.parent / "shared" / "feeds"
CACHE = Path.home() / ".cache" / "feedwatch-tests"
FOLDERS = ("real", "nasty", "series")


@dataclass(frozen=True)
class Corpus:
    """The folders real/, nasty/ and series/, and what the manifest says of their files."""

    folder: Path
    manifest: dict[str, dict[str, str]]  # by the file's path below the folder; may be empty

    def files(self, kind: str, every: int = 1) -> list[Path]:
        """All of them, or one of so many."""
        return sorted((self.folder / kind).glob("*.xml"))[every - 1 :: every]

    def row(self, file: Path) -> dict[str, str] | None:
        return self.manifest.get(file.relative_to(self.folder).as_posix())


@pytest.fixture(scope="session")
def real_feeds() -> Corpus:
    """The collection, from FEEDWATCH_TEST_FEEDS or from the tarball; else the test is skipped."""
    folder = _stated_folder() or _unpacked(COLLECTION / "feeds.tar.xz")
    for manifest in (folder / "manifest.tsv", COLLECTION / "manifest.tsv"):
        if manifest.is_file():
            return Corpus(folder, _rows(manifest))
    return Corpus(folder, {})


def _stated_folder() -> Path | None:
    stated = os.environ.get("FEEDWATCH_TEST_FEEDS")
    if not stated:
        return None
    folder = Path(stated).expanduser()
    if not all((folder / name).is_dir() for name in FOLDERS):
        pytest.skip(f"FEEDWATCH_TEST_FEEDS names {folder}, which has no real/, nasty/ and series/")
    return folder


def _unpacked(tarball: Path) -> Path:
    if not tarball.is_file():
        pytest.skip(
            "the collection of real feeds is not here: set FEEDWATCH_TEST_FEEDS, "
            "or put it at ../shared/feeds/feeds.tar.xz"
        )
    stat = tarball.stat()
    folder = CACHE / f"feeds-{stat.st_size}-{stat.st_mtime_ns}"
    if not folder.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=CACHE))  # moved in whole: another run may be doing this
        with tarfile.open(tarball) as archive:
            if hasattr(tarfile, "data_filter"):  # Python 3.11.4 and newer
                archive.extraction_filter = staticmethod(tarfile.data_filter)
            archive.extractall(fresh)
        try:
            _top(fresh).rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _top(folder: Path) -> Path:
    """Return the folder that holds real/: the archive may have it in a folder of its own."""
    return next(real.parent for real in folder.glob("**/real") if real.is_dir())


def _rows(manifest: Path) -> dict[str, dict[str, str]]:
    with manifest.open(newline="", encoding="utf-8") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {row["file"]: row for row in rows}
