"""How large the database is: bytes an episode after a first check of many feeds, and its CPU.

    python -m benchmarks.size --real FOLDER              made up feeds without --real
    python -m benchmarks.size --beside SOURCE            another version in turns with this one
    python -m benchmarks.size --database FILE            one that there is

Counted is the file, divided by its episodes; then what of that each table and index takes, and each
column of text or octets. FEEDWATCH_FIRST_RUN is the default, so nearly all episodes are skipped at
sight: they are what a database mostly has.
"""

import argparse
import sqlite3
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.__main__ import ROOT, Feedwatch, bench, cpu_of

FILE = "select page_count * page_size from pragma_page_count, pragma_page_size"
OBJECTS = "select name, sum(pgsize) from dbstat group by name order by 2 desc"
COLUMNS = (
    "select t.name, c.name from sqlite_schema t, pragma_table_info(t.name) c "
    "where t.type = 'table' order by t.name, c.cid"
)
LEAST = 0.5  # bytes an episode that are worth a line


def report(path: Path) -> Iterator[str]:
    """The file's bytes an episode, and those of each part of it that is worth a line."""
    with closing(sqlite3.connect(path)) as db:
        (episodes,) = db.execute("select count(*) from episodes").fetchone()
        (size,) = db.execute(FILE).fetchone()
        parts = [(f"the file, with {episodes:,} episodes", size), *db.execute(OBJECTS)]
        for table, column in db.execute(COLUMNS).fetchall():
            length = f"iif(typeof({column}) in ('text', 'blob'), length(cast({column} as blob)), 0)"
            query = f"select sum({length}) from {table}"  # noqa: S608 - names of the schema's own
            parts.append((f"  {table}.{column}", db.execute(query).fetchone()[0] or 0))
    for name, length in parts:
        if length / episodes >= LEAST:
            yield f"{length / episodes:8.1f}  {name}"


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--real", type=Path, help="folder of real feeds")
    arguments.add_argument("--feeds", type=int, default=141)
    arguments.add_argument("--pairs", type=int, default=1)
    arguments.add_argument("--beside", type=Path, help="source of another feedwatch")
    arguments.add_argument("--database", type=Path, help="measure this one, and no check")
    given = arguments.parse_args()
    if given.database:
        print("\n".join(report(given.database)))
        return
    sources = {"feedwatch": ROOT} | ({"before": given.beside.absolute()} if given.beside else {})
    spent: dict[str, list[float]] = {name: [] for name in sources}
    with bench(given.real, given.feeds) as publisher, tempfile.TemporaryDirectory() as place:
        for pair in range(given.pairs):
            for name, source in sources.items():
                folder = Path(place) / f"{name}-{pair}"
                folder.mkdir()
                command = Feedwatch(source=source)(folder, publisher.urls("all", tls=False))
                spent[name].append(cpu_of(command, folder, publisher.authority))
        for name, seconds in spent.items():
            told = ", ".join(f"{one:.2f}" for one in seconds)
            print(f"{name}: {statistics.median(seconds):.2f} s of CPU, start-up included ({told})")
            print("\n".join(report(Path(place) / f"{name}-0" / "feedwatch.db")))


if __name__ == "__main__":
    main()
