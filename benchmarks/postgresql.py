"""What sharing one PostgreSQL database costs: a check there, and a lease among many feeds.

    python -m benchmarks.postgresql check     CPU of a 304, beside SQLite's
    python -m benchmarks.postgresql leases    due feeds among 10,000 rows and among 1,000,000

The server is that of the tests: it waits for no disk.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.scale import once, publisher, workspace
from feedwatch.core.feed import Feed
from feedwatch.store.store import Store
from tests.databases import Server

AHEAD = timedelta(days=2)
TURN = 48  # feeds whose turn comes at once, at most
DUE = 10_000  # feeds, of all
FILLED = """
insert into feeds (name, url, active, paused, shown, version, asked, answered, failures,
                   due_at, etag, checked_at, success_at, baseline_at, recent_checks)
select 'f' || n, 'https://host' || n % 5000 || '.example/feeds/' || n || '.xml', true, false,
       20, 0, 0, 0, 0,
       now() + case when n % {every} = 0 then -interval '1 second' else interval '10 minutes' end,
       '"' || md5(n::text) || '"', now() - interval '20 minutes', now() - interval '20 minutes',
       now() - interval '9 days', 'nnnnnnnnnnnnnnnnnnnnnnnn'
from generate_series(1, {rows}) n
"""


@contextmanager
def server() -> Iterator[Server]:
    """A server of its own."""
    one = Server(Path(tempfile.mkdtemp(prefix="feedwatch-postgresql-")))
    one.start()
    try:
        yield one
    finally:
        one.stop()


def server_cpu(one: Server) -> float:
    """Seconds of CPU of the server and all its processes, past and present."""
    postmaster = (one.folder / "data" / "postmaster.pid").read_text().split()[0]
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    ticks = sum(_ticks(child)[0] for child in children) + sum(_ticks(postmaster))
    return ticks / os.sysconf("SC_CLK_TCK")


def _ticks(process: str) -> tuple[int, int]:
    """Of the process itself, and of those of its children that have ended."""
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(words[11]) + int(words[12]), int(words[13]) + int(words[14])


def checks(feeds: int, rounds: int) -> dict[str, Any]:
    """For both databases: a check of so many feeds that finds nothing new, less that of one."""
    found, costs = dict[str, Any](), list[float]()
    with server() as one, publisher() as port:
        for name in ("sqlite", "postgresql"):
            spent: dict[int, tuple[float, float]] = {}
            for number in (1, feeds):
                with tempfile.TemporaryDirectory() as place:
                    folder = Path(place)
                    keys = {"LOG_LEVEL": "error", "CHECK_INTERVAL": "1d"}
                    if name == "postgresql":
                        keys["DATABASE_URL"] = one.url_of(folder / "feedwatch.db")
                    command = workspace(folder, port, number, **keys)
                    once(command, folder)
                    before = server_cpu(one)
                    ours = min(once(command, folder)[0] for _ in range(rounds))
                    spent[number] = ours, (server_cpu(one) - before) / rounds
            each = [(b - a) / feeds * 1000 for a, b in zip(*spent.values(), strict=True)]
            found[name] = {"ms a check (304)": round(each[0], 2), "server's": round(each[1], 2)}
            costs.append(each[0])
    return found | {"postgresql ÷ sqlite": round(costs[1] / costs[0], 2)}


def leases(numbers: Sequence[int]) -> dict[str, Any]:
    """For each number of rows: list, take and record 10,000 due feeds."""
    found: dict[str, Any] = {}
    with server() as one:
        for rows in numbers:
            url = one.url_of(one.folder / str(rows))
            store = Store(url, processor="inlet", may_create=True)
            with store._engine.begin() as db:
                db.exec_driver_sql(FILLED.format(rows=rows, every=rows // DUE))
            with store._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
                db.exec_driver_sql("vacuum analyze feeds")
            found[f"{rows:,} rows"] = _taken(one, store)
            store.close()
    return found


def _taken(one: Server, store: Store) -> dict[str, Any]:
    now, feeds, figures = datetime.now(UTC), list[Feed](), dict[str, Any]()
    due = _measured(one, figures, "list", lambda: store.feeds.due(now, AHEAD, DUE))
    ids = [feed.id for feed in due]

    def take() -> None:
        for start in range(0, DUE, TURN):
            feeds.extend(store.feeds.take(ids[start : start + TURN], now, AHEAD))

    def record() -> None:
        for start in range(0, DUE, 100):
            pairs = [
                (feed, replace(feed, checked_at=now, due_at=now + timedelta(minutes=15)))
                for feed in feeds[start : start + 100]
            ]
            store.checks.record_unchanged(pairs)

    _measured(one, figures, f"take, {TURN} at once", take)
    assert len(feeds) == DUE
    _measured(one, figures, "list, while all are ours", lambda: store.feeds.due(now, AHEAD, DUE))
    _measured(one, figures, "record, 100 at once", record)
    return figures


def _measured(one: Server, figures: dict[str, Any], what: str, work: Callable[[], Any]) -> Any:
    began, own, servers = time.monotonic(), time.process_time(), server_cpu(one)
    done = work()
    lasted = time.monotonic() - began
    own, servers = time.process_time() - own, server_cpu(one) - servers
    figures[what] = {
        "feeds/s": round(DUE / lasted),
        "our ms a feed": round(own / DUE * 1000, 3),
        "the server's": round(servers / DUE * 1000, 3),
    }
    return done


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("what", choices=["check", "leases"])
    arguments.add_argument("--feeds", type=int, default=1000)
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    if given.what == "check":
        print(json.dumps(checks(given.feeds, given.rounds), indent=1))
    else:
        print(json.dumps(leases((DUE, 1_000_000)), indent=1))


if __name__ == "__main__":
    main()
