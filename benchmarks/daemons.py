"""How fast one, two and three daemons check the feeds of one PostgreSQL database.

    python -m benchmarks.daemons --feeds 10000

Each is `feedwatch run` in a process of its own, beside the publisher, the server of the tests and
the others: on two cores they take the time from each other, so what counts is the CPU a check.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.postgresql import seconds_of, server, server_cpu
from benchmarks.scale import HOSTS, ROOT, publisher, workspace
from feedwatch.store.store import Store
from tests.databases import Server

# As after a check of yesterday, by the names and addresses of `scale.workspace`; due tomorrow.
FEEDS = """
insert into feeds (name, url, active, paused, shown, version, asked, answered, failures, due_at,
                   etag, full_at, checked_at, success_at, baseline_at, recent_checks)
select 'f' || n, 'http://127.0.0.' || 1 + mod(n, {hosts}) || ':{port}/' || n, true, false,
       20, 0, 0, 0, 0, now() + interval '1 day', '"1"', now(), now() - interval '1 day',
       now() - interval '1 day', now() - interval '9 days', 'nnnnnnnnnnnnnnnnnnnnnnnn'
from generate_series(0, {feeds} - 1) n
"""
LEFT = "select count(*) from feeds where due_at <= now()"
PATIENCE = 600.0  # seconds


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--feeds", type=int, default=10_000)
    arguments.add_argument("--daemons", type=int, nargs="+", default=[1, 2, 3])
    given = arguments.parse_args()
    found = {}
    with server() as one, publisher() as port:
        for number in given.daemons:
            found[f"{number} daemons"] = checked(one, port, given.feeds, number)
    print(json.dumps(found, indent=1))


def checked(one: Server, port: int, feeds: int, number: int) -> dict[str, Any]:
    """What it takes so many daemons to check so many feeds, of which none has anything new."""
    url = one.url_of(one.folder / str(number))
    name = url.partition("@/")[2].partition("?")[0]
    Store(url, processor="inlet", may_create=True).close()
    one.execute(FEEDS.format(hosts=HOSTS, port=port, feeds=feeds), name)
    with ExitStack() as stack:
        processes = []
        for _ in range(number):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            command = workspace(
                folder, port, feeds, DATABASE_URL=f"'{url}'", CHECK_INTERVAL="1d", LOG_LEVEL="error"
            )
            process = subprocess.Popen([*command, "run"], cwd=ROOT)
            stack.callback(_end, process)
            processes.append(process)
        _until(lambda: one.execute("select count(*) from daemons", name)[0][0] == number)
        time.sleep(10)  # they know each other by then, and nothing is due
        own, servers, began = _cpu(processes), server_cpu(one), time.monotonic()
        one.execute("update feeds set due_at = now()", name)
        _until(lambda: one.execute(LEFT, name)[0][0] == 0)
        lasted = time.monotonic() - began
        own, servers = _cpu(processes) - own, server_cpu(one) - servers
    return {
        "feeds/s": round(feeds / lasted),
        "ms of CPU a check, all daemons": round(own / feeds * 1000, 2),
        "the server's": round(servers / feeds * 1000, 2),
    }


def _cpu(processes: Sequence["subprocess.Popen[bytes]"]) -> float:
    return sum(seconds_of(str(process.pid)) for process in processes)


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > end:
            sys.exit("it does not come to its end")
        time.sleep(0.2)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    process.wait()


if __name__ == "__main__":
    main()
