"""Whether a check costs the same whatever there is besides it, and how much memory it takes.

    python -m benchmarks.scale            all of it; some minutes
    python -m benchmarks.scale punctual   only how late a tick is

Small made-up feeds on loopback, on as many hosts as there are, so that spacing holds nothing up.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from sqlalchemy import text

from feedwatch.core.episode import Episode, State
from feedwatch.core.identity import Key, KeyKind
from feedwatch.store.checks import NewEpisode
from feedwatch.store.store import Store

ROOT = Path(__file__).parent.parent
HOSTS = 200  # 127.0.0.1 to 127.0.0.200
ITEM = (
    "<item><title>Episode {0}</title><guid>{0}</guid><description>About {0}.</description>"
    "<pubDate>Mon, 05 Jan 2026 06:00:00 GMT</pubDate>"
    '<enclosure url="https://media.example/{0}.mp3" type="audio/mpeg"/></item>'
)
BODY = (
    '<rss version="2.0"><channel><title>A show</title>'
    + "".join(ITEM.format(number) for number in range(20))
    + "</channel></rss>"
).encode()


class Publisher(ThreadingHTTPServer):
    """Every path is the same feed; it never changes."""

    daemon_threads = True
    request_queue_size = 512

    class Handler(BaseHTTPRequestHandler):
        """A feed with an ETag."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Answer."""
            known = self.headers.get("If-None-Match") == '"1"'
            self.send_response(304 if known else 200)
            self.send_header("ETag", '"1"')
            if not known:
                self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            if not known:
                self.wfile.write(BODY)

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002
            """Say nothing."""


@contextmanager
def publisher() -> Iterator[int]:
    """The port on which one listens, on every loopback address, in a process of its own."""
    command = [sys.executable, "-c", "from benchmarks.scale import serve; serve()"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield int(process.stdout.readline())  # type: ignore[union-attr]
    finally:
        process.kill()
        process.wait()


def serve() -> None:
    """Be the publisher's process."""
    server = Publisher(("0.0.0.0", 0), Publisher.Handler)  # noqa: S104 - a benchmark's, on loopback
    print(server.server_port, flush=True)
    server.serve_forever()


def workspace(folder: Path, port: int, feeds: int, **keys: str) -> list[str]:
    """A folder with so many feeds in its config; the command line of feedwatch there."""
    lines = ["FEEDWATCH_API_URL=http://127.0.0.1:9", "FEEDWATCH_API_KEY=none"]
    lines += [f"FEEDWATCH_{key}={value}" for key, value in keys.items()]
    for number in range(feeds):
        url = f"http://127.0.0.{1 + number % HOSTS}:{port}/{number}"
        lines.append(f"FEEDWATCH_FEEDS__F{number}__URL={url}")
        lines.append(f"FEEDWATCH_FEEDS__F{number}__PODCAST_ID=p")
    config = folder / "config.env"
    config.write_text("\n".join(lines))
    config.chmod(0o600)
    return [sys.executable, "-m", "feedwatch", "--config", str(config)]


def once(command: Sequence[str], folder: Path, source: Path = ROOT) -> tuple[float, float]:
    """CPU seconds and peak megabytes of `run --once`, of the process and its children."""
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [*command, "run", "--once", "--timeout", "0"], cwd=source, stdout=output, stderr=output
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit((folder / "output").read_text()[-2000:])
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def feeds_in_config(port: int, numbers: Sequence[int]) -> dict[str, Any]:
    """For each number of feeds: a first check of all, then one that finds nothing new."""
    found: dict[str, Any] = {}
    idle = 0.0
    for number in (1, *numbers):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            command = workspace(folder, port, number, LOG_LEVEL="error", CHECK_INTERVAL="1d")
            first, first_memory = once(command, folder)
            again, again_memory = min(once(command, folder) for _ in range(3))
        if number == 1:
            idle = again
            continue
        found[str(number)] = {
            "ms a first check": round((first - idle) / number * 1000, 2),
            "ms a check (304)": round((again - idle) / number * 1000, 2),
            "peak MB, first": round(first_memory),
            "peak MB, 304": round(again_memory),
        }
    return found


def episodes_in_database(port: int, numbers: Sequence[int]) -> dict[str, Any]:
    """For each number of episodes in the database: a check of 200 feeds that finds nothing new."""
    found: dict[str, Any] = {}
    for number in numbers:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            command = workspace(folder, port, 200, LOG_LEVEL="error", CHECK_INTERVAL="1d")
            once(command, folder)
            fill(folder / "feedwatch.db", number)
            once(command, folder)
            spent = min(once(command, folder)[0] for _ in range(5))
        found[str(number)] = {"ms a check (304), with start-up": round(spent / 200 * 1000, 2)}
    return found


def fill(path: Path, number: int) -> None:
    """Put so many episodes into a database, over its feeds."""
    store = Store(f"sqlite:///{path}", processor="inlet")
    feeds, now = store.feeds.all(), datetime.now(UTC)
    each = number // len(feeds)
    for feed in feeds:
        episodes = (
            Episode(
                feed=feed.name,
                guid=f"old-{index}",
                title=f"Old {index}",
                description=None,
                enclosure_url=f"https://media.example/old/{index}.mp3",
                published_at=now - timedelta(days=index),
                state=State.SKIPPED,
                reason="first run",
                first_seen_at=now,
            )
            for index in range(each)
        )
        new = [
            NewEpisode(episode=one, keys=[Key(KeyKind.GUID, str(one.guid))], title_key=one.title)
            for one in episodes
        ]
        store.checks.record(feed, new, {}, now)
    with store._engine.begin() as db:
        db.execute(text("ANALYZE"))
    store.close()


def punctual(documents: Sequence[Path]) -> dict[str, Any]:
    """How late the daemon's ticks are at most, in ms, while it reads these documents."""
    folder = Path(tempfile.mkdtemp())
    served = {f"/{number}": path.read_bytes() for number, path in enumerate(documents)}

    class Handler(Publisher.Handler):
        def do_GET(self) -> None:
            body = served[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)  # noqa: S104
    threading.Thread(target=server.serve_forever, daemon=True).start()
    workspace(folder, server.server_port, len(documents), CHECK_INTERVAL="60s", LOG_LEVEL="error")
    code = (ROOT / "benchmarks" / "lateness.py").read_text()
    process = subprocess.run(
        [sys.executable, "-c", code, str(folder / "config.env"), "75"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    server.shutdown()
    result: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return {"documents": len(documents), **result}


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("what", nargs="?", choices=["feeds", "episodes", "punctual"])
    arguments.add_argument("--feeds", type=Path, default=None, help="folder of odd documents")
    given = arguments.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    with publisher() as port:
        if given.what in (None, "feeds"):
            print(json.dumps(feeds_in_config(port, (100, 1000, 10_000)), indent=1), flush=True)
        if given.what in (None, "episodes"):
            print(json.dumps(episodes_in_database(port, (10_000, 1_000_000)), indent=1), flush=True)
        if given.what == "punctual" or (given.what is None and given.feeds):
            if given.feeds is None:
                raise SystemExit("say --feeds FOLDER")
            print(json.dumps(punctual(sorted(given.feeds.glob("*.xml"))), indent=1))


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
