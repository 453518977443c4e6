"""What sharing one PostgreSQL database costs: a check there, and a lease among many feeds.

    python -m benchmarks.postgresql check     CPU of a 304, beside SQLite's
    python -m benchmarks.postgresql leases    due feeds among 10,000 rows and among 1,000,000

The server is that of the tests: it waits for no disk.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.scale import HOSTS, publisher
from feedwatch.core.feed import Feed
from feedwatch.core.settings import FeedConfig, Policy
from feedwatch.feeds.parser_process import Parser
from feedwatch.net.client import Cancellation, client
from feedwatch.store.store import Store
from feedwatch.watcher.checks import Checks
from feedwatch.watcher.context import Context, Plan
from tests.databases import Server

DAY = timedelta(days=1)
AHEAD = 2 * DAY
TURN = 48  # feeds whose turn comes at once, at most
DUE = 10_000  # feeds, of all
FILLED = """
insert into feeds (name, url, active, paused, shown, version, asked, answered, failures,
                   due_at, etag, checked_at, success_at, baseline_at, recent_checks)
select 'f' || n, 'https://host' || mod(n, 5000) || '.example/feeds/' || n || '.xml', true, false,
       20, 0, 0, 0, 0,
       now() + case when mod(n, {every}) = 0 then -interval '1 second'
                    else interval '10 minutes' end,
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


def seconds_of(process: str) -> float:
    """Seconds of CPU of a process, and of those of its children that have ended."""
    return sum(_ticks(process)) / os.sysconf("SC_CLK_TCK")


def _ticks(process: str) -> tuple[int, int]:
    """Of the process itself, and of those of its children that have ended."""
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(words[11]) + int(words[12]), int(words[13]) + int(words[14])


def checks(feeds: int, rounds: int) -> dict[str, Any]:
    """For both databases: the checks of so many feeds, of which none has anything new."""
    found, costs = dict[str, Any](), list[float]()
    with server() as one, publisher() as port, tempfile.TemporaryDirectory() as folder:
        for name in ("sqlite", "postgresql"):
            path = Path(folder) / "feedwatch.db"
            url = f"sqlite:///{path}" if name == "sqlite" else one.url_of(path)
            passes = _passes(one, url, port, feeds, rounds)
            own, servers = (statistics.median(each) for each in zip(*passes, strict=True))
            found[name] = {"ms a check (304)": round(own, 3), "the server's": round(servers, 3)}
            costs.append(own)
    return found | {"postgresql ÷ sqlite": round(costs[1] / costs[0], 2)}


def _passes(one: Server, url: str, port: int, feeds: int, rounds: int) -> list[tuple[float, float]]:
    """CPU of a check in ms, ours and the server's, in each pass but the first."""
    sources = {}
    for number in range(feeds):
        address = f"http://127.0.0.{1 + number % HOSTS}:{port}/{number}"
        sources[f"f{number}"] = FeedConfig(name=f"f{number}", url=address, check_interval=DAY)
    store = Store(url, processor="inlet", may_create=True)
    store.feeds.sync(sources.values(), dict.fromkeys(sources, datetime.now(UTC)))
    plan = Plan(sources=sources, policy=Policy())
    found = []
    with client(Cancellation()) as http, Parser() as parser:
        checks = Checks(Context(store=store, processors={}, plan=plan), http, parser)
        for _ in range(1 + rounds):
            own, servers = time.process_time(), server_cpu(one)
            checks.tick()
            while not checks.is_idle():
                time.sleep(0.5)
            own, servers = time.process_time() - own, server_cpu(one) - servers
            found.append((own / feeds * 1000, servers / feeds * 1000))
            store.feeds.make_due(datetime.now(UTC))
        checks.close()
    store.close()
    return found[1:]


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
    arguments.add_argument("--rounds", type=int, default=5)
    given = arguments.parse_args()
    if given.what == "check":
        print(json.dumps(checks(given.feeds, given.rounds), indent=1))
    else:
        print(json.dumps(leases((DUE, 1_000_000)), indent=1))


if __name__ == "__main__":
    main()
