"""Earlier copies of the database, put back, and the journal, as a test reads and damages it."""

import json
import shutil
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.crash.posts import Paid
from tests.support import PATIENCE

SUFFIXES = ("", "-wal", "-shm")


@dataclass(frozen=True, kw_only=True)
class Copy:
    """The files of a database as a dead daemon has left them."""

    database: Path
    tokens: frozenset[str]  # of the claims in it


class Copies:
    """All copies of one database."""

    def __init__(self, database: Path, folder: Path, random: Random) -> None:
        self._database = database
        self._folder = folder
        self._random = random
        self._copies: list[Copy] = []
        self._last: Copy | None = None

    def keep(self, tokens: frozenset[str]) -> None:
        """Copy the database, of which no daemon is alive."""
        folder = self._folder / str(len(self._copies))
        folder.mkdir(parents=True)
        for suffix in SUFFIXES[:2]:
            with suppress(FileNotFoundError):
                name = f"{self._database.name}{suffix}"
                shutil.copy(self._database.with_name(name), folder / name)
        self._copies.append(Copy(database=folder / self._database.name, tokens=tokens))

    def put_back(self, journalled: frozenset[str], *, again: bool) -> bool:
        """Put a copy in the database's place; False if there is none."""
        copy = self._last if again else self._choose(journalled)
        if copy is None:
            return False
        self._last = copy
        for suffix in SUFFIXES:
            name = f"{self._database.name}{suffix}"
            self._database.with_name(name).unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                shutil.copy(copy.database.with_name(name), self._database.with_name(name))
        return True

    def put_over(self, journalled: frozenset[str]) -> bool:
        """Write a copy into the file that a daemon has open, as SQLite's own tool does it."""
        copy = self._choose(journalled)
        if copy is None:
            return False
        scratch = self._folder / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(copy.database.parent, scratch)
        with (
            closing(sqlite3.connect(scratch / copy.database.name)) as old,
            closing(sqlite3.connect(self._database, timeout=PATIENCE)) as live,
        ):
            old.backup(live)
        return True

    def _choose(self, journalled: frozenset[str]) -> Copy | None:
        """Any copy that lacks claims; if there is none, the latest."""
        older = [copy for copy in self._copies if journalled - copy.tokens]
        return self._random.choice(older) if older else next(reversed(self._copies), None)


class JournalFiles:
    """The places of a journal."""

    def __init__(self, *places: Path, random: Random) -> None:
        self._places = places
        self._random = random
        self._unlucky = random.choice(places)  # the others outlive all

    def answers(self) -> dict[Paid, set[tuple[str, str | None]]]:
        """The tokens of all claims by what they paid for, each with its outcome, if it has one."""
        paid: dict[str, Paid] = {}
        outcomes: dict[str, str] = {}
        for place in self._places:
            with suppress(FileNotFoundError):
                for text in place.read_text(encoding="utf-8", errors="replace").splitlines():
                    with suppress(ValueError):  # torn: whole elsewhere
                        line = json.loads(text)
                        if "title" in line:
                            paid[line["t"]] = Paid(line["title"], line["step"])
                        elif outcomes.get(line["t"]) != "accepted":
                            outcomes[line["t"]] = line["out"]
        found: dict[Paid, set[tuple[str, str | None]]] = {}
        for token, what in paid.items():
            found.setdefault(what, set()).add((token, outcomes.get(token)))
        return found

    def tokens(self) -> frozenset[str]:
        """Those of all claims."""
        return frozenset(token for some in self.answers().values() for token, _ in some)

    def lose_one(self) -> None:
        """Delete, empty or tear a place: always the same one."""
        place = self._unlucky
        match self._random.randrange(3):
            case 0:
                place.unlink(missing_ok=True)
            case 1:
                place.write_bytes(b"")
            case 2 if place.exists():
                place.write_bytes(place.read_bytes()[: -self._random.randint(1, 300)])
