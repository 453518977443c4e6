"""How late ticks are while listeners ask for a served feed.

    python -m benchmarks.listeners                  1,000 conditional requests a second for 30 s
    python -m benchmarks.listeners --rate 0         the same daemon without any, to compare with
    python -m benchmarks.listeners --bar 50         status 1 if a tick was more than 50 ms late

The daemon has one core, the listeners another one. Each request is a connection of its own, as the
public side has it, and is begun when its time has come, however the ones before are doing.
"""

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from benchmarks.scale import ROOT, publisher, workspace

FEEDS = 20
START_SECONDS = 60.0
CORES = sorted(os.sched_getaffinity(0))
DAEMON_CORE, LISTENERS_CORE = CORES[0], CORES[-1]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number: int = listener.getsockname()[1]
        return number


def etag_of(url: str) -> str:
    """The feed's ETag, once it is served."""
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            with urlopen(url) as answer:
                return str(answer.headers["ETag"])
        except (URLError, OSError):
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


async def ask(port: int, request: bytes, seen: Counter[str], seconds: list[float]) -> None:
    """One request, and how long it took."""
    began = time.monotonic()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        seen[answer[9:12].decode() or "closed"] += 1
        seconds.append(time.monotonic() - began)
    except OSError as error:
        seen[type(error).__name__] += 1


async def load(port: int, etag: str, rate: int, seconds: float) -> dict[str, Any]:
    """So many requests a second, each begun in its time."""
    request = (
        f"GET /feeds/f0.xml HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {etag}\r\n"
        "Accept-Encoding: gzip\r\nUser-Agent: a listener\r\nConnection: close\r\n\r\n"
    ).encode()
    seen: Counter[str] = Counter()
    took: list[float] = []
    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        number = 0
        while (now := time.monotonic() - begun) < seconds:
            while number < now * rate:
                group.create_task(ask(port, request, seen, took))
                number += 1
            await asyncio.sleep(0.002)
    took.sort()
    return {
        "answers a second": round(sum(seen.values()) / (time.monotonic() - begun)),
        "answers": dict(seen),
        "ms, median": round(took[len(took) // 2] * 1000, 1) if took else None,
        "ms, 99 of 100": round(took[len(took) * 99 // 100] * 1000, 1) if took else None,
    }


def cpu_seconds(pid: int) -> float:
    """What a process has taken of a processor so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(rate: int, seconds: float) -> dict[str, Any]:
    """How late the daemon's ticks are at most, and what listeners see."""
    port = free_port()
    with tempfile.TemporaryDirectory() as name, publisher() as origin:
        workspace(
            Path(name), origin, FEEDS, CHECK_INTERVAL="60s", LOG_LEVEL="error", SERVE_FEEDS="true",
            PUBLIC_LISTEN=f"127.0.0.1:{port}", PUBLIC_URL="https://feeds.example.com",
        )  # fmt: skip
        code = (ROOT / "benchmarks" / "lateness.py").read_text()
        daemon = subprocess.Popen(
            [sys.executable, "-c", code, str(Path(name) / "config.env"), str(seconds + 15)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {DAEMON_CORE}),
        )  # fmt: skip
        os.sched_setaffinity(0, {LISTENERS_CORE})
        etag = etag_of(f"http://127.0.0.1:{port}/feeds/f0.xml")
        before = cpu_seconds(daemon.pid)
        heard = asyncio.run(load(port, etag, rate, seconds))
        spent = cpu_seconds(daemon.pid) - before
        output, _ = daemon.communicate()
    late: dict[str, Any] = json.loads(output.splitlines()[-1])
    return {"requests a second": rate, **heard, "core used": round(spent / seconds, 2), **late}


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--rate", type=int, default=1000, help="requests a second")
    arguments.add_argument("--seconds", type=float, default=30.0)
    arguments.add_argument("--bar", type=int, help="ms; status 1 if a tick is later than that")
    given = arguments.parse_args()
    measured = measure(given.rate, given.seconds)
    print(json.dumps(measured, indent=1))
    worst = max(measured["worst ms late"].values())
    if given.bar is not None and worst > given.bar:
        sys.exit(f"a tick was {worst} ms late: more than {given.bar}")


if __name__ == "__main__":
    main()
