"""`python -m tests.soak --days 30`: a daemon runs for so many simulated days, and stays as it was.

A simulated day has 96 checks of each feed, as many as there are at the default interval. They are
0.2 seconds apart, so that 30 days take ten minutes. Feeds and API fail now and then. What is looked
at is what would grow slowly: memory, descriptors, threads, child processes, the WAL.
"""

import argparse
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path

from feedwatch.sandbox.faults import Fault
from tests.support import PATIENCE, Running, Scene, scene, wait_for

CHECKS_A_DAY = 96
CHECK_SECONDS = 0.2
DAY = CHECKS_A_DAY * CHECK_SECONDS  # seconds
FEEDS = 8
EPISODES_A_DAY = 1  # of each feed
WARM_UP = 0.2  # of all samples
MOST_GROWTH = {"memory": 1.1, "descriptors": 1.1, "threads": 1.1, "children": 1.1}
MOST_WAL = 8_000_000  # bytes: SQLite checkpoints at 1,000 pages, readers let it grow a little
PROGRAM = """
import sys
from datetime import timedelta
import feedwatch.daemon.loop
from feedwatch.cli.app import main
feedwatch.daemon.loop.TICK = timedelta(seconds=0.05)
main()
"""
API_FAULTS = (
    {"on": "submit", "kind": "delay", "seconds": 1.0},
    {"on": "submit", "kind": "status", "status": 503, "body": '{"error": "x", "message": "y"}'},
    {"on": "submit", "kind": "refuse"},
    {"on": "poll", "kind": "drop_before", "times": 5},
    {"on": "poll", "kind": "junk", "times": 5},
    {"on": "poll", "kind": "status", "status": 500, "times": 5},
    {"on": "podcasts", "kind": "html", "status": 502},
)
FEED_FAULTS = (
    {"status": 500},
    {"status": 404, "body": b"no such feed"},
    {"status": 200, "body": b"<html>under maintenance</html>"},
    {"status": 200, "body": b'<?xml version="1.0"?><rss version="2.0"><channel><item>'},
    {"status": 429, "headers": {"Retry-After": "1"}},
    {"status": 200, "delay": 3.0},
)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What the process holds at one moment."""

    memory: int  # bytes, with its children
    descriptors: int
    threads: int
    children: int
    wal: int  # bytes


def sample(pid: int, database: Path) -> Sample:
    """Read /proc, and look at the database's files."""
    process = Path("/proc", str(pid))
    children = (process / "task" / str(pid) / "children").read_text().split()
    return Sample(
        memory=sum(map(_memory, [str(pid), *children])),
        descriptors=len(list((process / "fd").iterdir())),
        threads=len(list((process / "task").iterdir())),
        children=len(children),
        wal=_size(database.with_name(database.name + "-wal")),
    )


def _memory(pid: str) -> int:
    try:
        pages = int(Path("/proc", pid, "statm").read_text().split()[1])
    except OSError:
        return 0  # a child that has just ended
    return pages * os.sysconf("SC_PAGE_SIZE")


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def live(one: Scene, daemon: Running, days: float, chance: random.Random) -> Iterator[Sample]:
    """Publish, fail, and look, until the days are over."""
    numbers = dict.fromkeys(range(FEEDS), 1)
    began = time.monotonic()
    step = 0
    while (now := (time.monotonic() - began) / DAY) < days:
        for feed in range(FEEDS):
            path = f"/{feed}.xml"
            due = int(now * EPISODES_A_DAY + feed / FEEDS) + 1
            numbers[feed] = max(numbers[feed], due)
            latest = range(numbers[feed], max(numbers[feed] - 20, 0), -1)
            one.feeds.publish(*(feed * 1000 + number for number in latest), path=path)
            if chance.random() < 0.1:
                one.feeds.answer(path=path, **chance.choice(FEED_FAULTS))
        one.sandbox.faults.clear()
        if chance.random() < 0.2:
            one.sandbox.faults.add(Fault(**chance.choice(API_FAULTS)))
        step += 1
        next_step = began + step * DAY / 24  # an hour
        if not daemon.alive:
            raise SystemExit(f"the daemon has ended: {daemon.stderr[-2000:]}")
        yield sample(daemon.pid, one.workspace.database)
        time.sleep(max(next_step - time.monotonic(), 0))


def growth(samples: Sequence[Sample]) -> list[tuple[str, float, float]]:
    """Of each figure the median of the first and of the last quarter after the warm-up."""
    warm = samples[int(len(samples) * WARM_UP) :]
    quarter = max(len(warm) // 4, 1)
    return [
        (
            one.name,
            statistics.median(getattr(each, one.name) for each in warm[:quarter]),
            statistics.median(getattr(each, one.name) for each in warm[-quarter:]),
        )
        for one in fields(Sample)
    ]


def main() -> int:
    """Live, and tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder, scene(Path(folder)) as one:
        one.workspace.set(
            CHECK_INTERVAL=f"{CHECK_SECONDS}s",
            MAX_SUBMISSIONS_PER_DAY=100_000,
            FIRST_RUN="all",
            ON_UNKNOWN="hold",
        )
        for feed in range(FEEDS):
            one.feeds.publish(feed * 1000 + 1, path=f"/{feed}.xml")
            one.workspace.add_feed(f"f{feed}", one.feeds.url_of(f"/{feed}.xml"))
        verb = ["--config", str(one.workspace.config), "run"]
        daemon = Running(
            [sys.executable, "-c", PROGRAM, *verb],
            one.feedwatch.environment(),
            one.workspace.elsewhere,
        )
        samples = list(live(one, daemon, chosen.days, random.Random(chosen.seed)))
        one.sandbox.faults.clear()
        with closing(sqlite3.connect(one.workspace.database, timeout=PATIENCE)) as db:
            live_ones = (
                "SELECT 1 FROM episodes WHERE state IN ('queued', 'submitting', 'processing')"
            )
            wait_for(lambda: not db.execute(live_ones).fetchall(), what="the last jobs")
            states = dict(db.execute("SELECT state, count(*) FROM episodes GROUP BY state"))
        ended = daemon.stop()
        taken = [body["url"] for body in one.sandbox.taken]
    if ended.status != 0:
        wrong.append(f"it ended with {ended.status}")
    if len(set(taken)) < len(taken):
        wrong.append("an episode was sent twice")
    sys.stdout.write(f"{chosen.days:g} days, {len(samples)} samples, episodes {states}\n")
    for name, first, last in growth(samples):
        sys.stdout.write(f"{name:12} first quarter {first:>14,.0f}   last {last:>14,.0f}\n")
        if last > first * MOST_GROWTH.get(name, 99) + 1:
            wrong.append(f"{name} grows")
    if max(one.wal for one in samples) > MOST_WAL:
        wrong.append("the WAL grows")
    for what in wrong:
        sys.stdout.write(f"WRONG: {what}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
