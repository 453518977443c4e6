"""What a check costs: feedwatch beside reader and newsboat, at the same work in the same run.

    make bench                       real feeds where they are at hand, else made up ones
    python -m benchmarks --rounds 5 --feeds 60 --real FOLDER --json FILE
    python -m benchmarks --beside FOLDER --ways 304,tls        a change, with the source before it

Measured is the CPU time, user and system, of the whole program with its children, as the operating
system tells it. A pass has costs of its own that a start alone does not show: threads, the parser's
process, pages of memory, a large config. So three kinds of pass are made of each way: of one small
feed, ten times in all; of half of the feeds; and of all. Told is

    a feed         all, without the median of one small feed's, by the number of feeds
    one more feed  all, without half of them, by the number of the other half: no pass's own costs

Within a round all programs take each way one right after another, so what else the machine does
hits them alike, and ratios are those of one round. Feeds are on 200 addresses. The others fetch
with as many threads as `--workers` says; feedwatch has its own. Each program polls once,
unmeasured, after the first check, as newsboat keeps validators only from its second poll on.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from tests.tls import make_authority

ROOT = Path(__file__).parent.parent
HOSTS = 200  # 127.0.0.1 to 127.0.0.200
STARTS = 10  # of each program in each way, over all rounds
SAID = {
    "first": "first ever",
    "304": "304",
    "tls": "304 over TLS, new connection",
    "same": "200, same body",
    "new": "200, one new item",
    "build": "200, only lastBuildDate changed",
}
BARS = {  # at most this part of what the other one needs
    "first": {"reader": 1 / 15, "newsboat": 1 / 2},
    "304": {"reader": 1 / 2, "newsboat": 1 / 4},
    "tls": {"before": 1 / 2},
    "same": {"reader": 1 / 60, "newsboat": 1 / 20},
    "new": {"reader": 1 / 30, "newsboat": 1 / 4},
    "build": {"reader": 1 / 30, "newsboat": 1 / 8},
}
READER = """
import os, sys
import requests
from reader import make_reader

class Session(requests.Session):  # reader's does not ask the environment
    def __init__(self):
        super().__init__()
        self.verify = os.environ["SSL_CERT_FILE"]

requests.Session = Session
with make_reader(sys.argv[1]) as reader:
    if not reader.get_feed_counts().total:
        for url in sys.argv[3:]:
            reader.add_feed(url)
    reader.update_feeds(scheduled=False, workers=int(sys.argv[2]))
"""
PASSES = ("start", "half", "all")

Program = Callable[[Path, Sequence[str]], list[str]]
Seconds = dict[str, dict[str, dict[str, list[float]]]]  # by program, way and kind of pass


@dataclass(frozen=True, kw_only=True)
class Feedwatch:
    """Checks every feed once; paused, so that nothing is submitted."""

    source: Path

    def __call__(self, folder: Path, urls: Sequence[str]) -> list[str]:
        """The command."""
        lines = [
            "FEEDWATCH_API_URL=http://127.0.0.1:9",
            "FEEDWATCH_API_KEY=none",
            "FEEDWATCH_CHECK_INTERVAL=1d",
            "FEEDWATCH_LOG_LEVEL=error",
        ]
        for number, url in enumerate(urls):
            lines += [
                f"FEEDWATCH_FEEDS__F{number}__URL={url}",
                f"FEEDWATCH_FEEDS__F{number}__PODCAST_ID=p",
            ]
        config = folder / "config.env"
        python = ["env", f"PYTHONPATH={self.source}", sys.executable]
        command = [*python, "-m", "feedwatch", "--config", str(config)]
        if not config.exists():
            config.write_text("\n".join(lines))
            config.chmod(0o600)
            subprocess.run([*command, "pause"], cwd=folder, check=True, capture_output=True)
        return [*command, "run", "--once", "--timeout", "0"]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """`update_feeds` of the library."""

    workers: int

    def __call__(self, folder: Path, urls: Sequence[str]) -> list[str]:
        """The command."""
        python = os.environ.get("READER_PYTHON", sys.executable)
        return [python, "-c", READER, str(folder / "db"), str(self.workers), *urls]


@dataclass(frozen=True, kw_only=True)
class Newsboat:
    """`newsboat -x reload`."""

    workers: int

    def __call__(self, folder: Path, urls: Sequence[str]) -> list[str]:
        """The command."""
        (folder / "urls").write_text("\n".join(urls))
        (folder / "config").write_text(f"reload-threads {self.workers}\n")
        names = (("-u", "urls"), ("-C", "config"), ("-c", "cache"))
        files = [word for option, name in names for word in (option, str(folder / name))]
        return ["newsboat", *files, "-x", "reload"]


def available(beside: Path | None, workers: int) -> dict[str, Program]:
    """The programs that can be run here."""
    found: dict[str, Program] = {"feedwatch": Feedwatch(source=ROOT)}
    if beside is not None:
        found["before"] = Feedwatch(source=beside.absolute())
    python = os.environ.get("READER_PYTHON", sys.executable)
    asked = subprocess.run([python, "-c", "import reader"], capture_output=True, check=False)
    if asked.returncode == 0:
        found["reader"] = Reader(workers=workers)
    if shutil.which("newsboat"):
        found["newsboat"] = Newsboat(workers=workers)
    return found


def cpu_of(command: Sequence[str], folder: Path, authority: Path) -> float:
    """Seconds of CPU that a command and its children took."""
    trusted = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    env = os.environ | {"HOME": str(folder)} | dict.fromkeys(trusted, str(authority))
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1, 3, 4):  # some real feeds are broken, and that is told
        raise SystemExit(
            f"{command} ended with {status}: {(folder / 'output').read_text()[-2000:]}"
        )
    return usage.ru_utime + usage.ru_stime


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The publisher, and how much is to be measured."""

    plain: str  # the port
    secure: str
    authority: Path
    count: int

    def ask(self, mode: str) -> None:
        """Have the publisher change."""
        urlopen(f"http://127.0.0.1:{self.plain}/mode/{mode}").read()

    def urls(self, kind: str, *, tls: bool) -> list[str]:
        """The feeds of a kind of pass."""
        numbers = {
            "start": [self.count],
            "half": [number for number in range(self.count) if number % 4 in (0, 3)],
            "all": list(range(self.count)),
        }[kind]
        scheme, port = ("https", self.secure) if tls else ("http", self.plain)
        return [f"{scheme}://127.0.0.{1 + one % HOSTS}:{port}/feed/{one}" for one in numbers]

    def round(self, programs: Mapping[str, Program], ways: Sequence[str], starts: int) -> Seconds:
        """All ways, each with one small feed, with half of the feeds and with all."""
        found: Seconds = {
            name: {way: {kind: [] for kind in PASSES} for way in ways} for name in programs
        }
        with tempfile.TemporaryDirectory() as place:

            def run(name: str, way: str, kind: str, *, tls: bool, again: str = "") -> None:
                folder = Path(place) / f"{name}-{kind}-{tls}{again}"
                folder.mkdir(exist_ok=True)
                command = programs[name](folder, self.urls(kind, tls=tls))
                spent = cpu_of(command, folder, self.authority)
                if way in ways:
                    found[name][way][kind].append(spent)

            def run_all(way: str, mode: str, *, tls: bool = False) -> None:
                for number in range(starts if way in ways else 1):
                    self.ask(f"{mode}/{self.count}")
                    for name in programs:
                        fresh = str(number or "") if way == "first" else ""
                        run(name, way, "start", tls=tls, again=fresh)
                for kind in ("half", "all"):
                    for name in programs:
                        run(name, way, kind, tls=tls)

            for tls in (False, True) if "tls" in ways else (False,):
                self.ask("304")
                run_all("-" if tls else "first", "304", tls=tls)
                run_all("-", "304", tls=tls)
                run_all("tls" if tls else "304", "304", tls=tls)
            for way in ("same", "new", "build"):
                if way in ways:
                    self.ask(way)
                    run_all(way, way)
        return found


@contextmanager
def bench(folder: Path | None, count: int) -> Iterator[Bench]:
    """A publisher, in a process of its own."""
    with tempfile.TemporaryDirectory() as made:
        authority = make_authority(Path(made), "rsa:2048", HOSTS)
        command = [sys.executable, "-m", "benchmarks.server", str(folder or ""), str(count), made]
        server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            plain, secure = server.stdout.readline().split()
            yield Bench(plain=plain, secure=secure, authority=authority, count=count)
        finally:
            server.kill()
            server.wait()


def measure(
    bench: Bench, programs: Mapping[str, Program], ways: Sequence[str], rounds: int
) -> Seconds:
    """Seconds of CPU of each pass, in the order of the rounds."""
    starts = -(-STARTS // rounds)
    found: Seconds = {
        name: {way: {kind: [] for kind in PASSES} for way in ways} for name in programs
    }
    for number in range(rounds):
        for name, by_way in bench.round(programs, ways, starts).items():
            for way, by_kind in by_way.items():
                for kind, seconds in by_kind.items():
                    found[name][way][kind] += seconds
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return found


def a_feed(seconds: Mapping[str, list[float]], count: int) -> list[float]:
    """Milliseconds of CPU a feed in each round, without the start."""
    start = statistics.median(seconds["start"])
    return [(spent - start) / count * 1000 for spent in seconds["all"]]


def one_more(seconds: Mapping[str, list[float]], count: int) -> float:
    """Milliseconds of CPU that one more feed takes, in the median of the rounds."""
    half = sum(number % 4 in (0, 3) for number in range(count))
    pairs = zip(seconds["all"], seconds["half"], strict=True)
    return statistics.median((more - less) / (count - half) * 1000 for more, less in pairs)


def table(seconds: Seconds, count: int) -> str:
    """Medians with the least and the most, and the ratios, for people."""
    others = [name for name in seconds if name != "feedwatch"]
    head = ["ms of CPU", *(f"{name}: a feed (one more)" for name in seconds)]
    head += [f"of {name}'s (bar)" for name in others]
    rows = [head]
    for way in seconds["feedwatch"]:
        costs = {name: a_feed(by_way[way], count) for name, by_way in seconds.items()}
        row = [SAID[way]]
        for name, values in costs.items():
            more = one_more(seconds[name][way], count)
            middle = statistics.median(values)
            row.append(f"{middle:.2f} [{min(values):.2f}-{max(values):.2f}] ({more:.2f})")
        for name in others:
            ratios = [a / b for a, b in zip(costs["feedwatch"], costs[name], strict=True)]
            ratio, bar = statistics.median(ratios), BARS[way].get(name)
            verdict = "" if bar is None else f" ({bar:.3f}{'' if ratio <= bar else ', missed'})"
            row.append(f"{ratio:.3f} [{min(ratios):.3f}-{max(ratios):.3f}]{verdict}")
        rows.append(row)
    starts = (
        f"{name} {statistics.median(by_way[way]['start']) * 1000:.0f}"
        for way in list(seconds["feedwatch"])[-1:]
        for name, by_way in seconds.items()
    )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(
            text.rjust(width) if column else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join([*lines, f"start, with one small feed: {', '.join(starts)} ms"])


def main() -> None:
    """Measure, print, and write down."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--real", type=Path, help="folder of real feeds")
    arguments.add_argument("--feeds", type=int, default=60)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--workers", type=int, default=10, help="threads of the others")
    arguments.add_argument("--ways", default=",".join(SAID), help="some of " + ",".join(SAID))
    arguments.add_argument("--beside", type=Path, help="source of another feedwatch")
    arguments.add_argument("--only", help="some of feedwatch,before,reader,newsboat")
    arguments.add_argument("--json", type=Path)
    given = arguments.parse_args()
    programs = available(given.beside, given.workers)
    if given.only:
        programs = {name: programs[name] for name in given.only.split(",")}
    with bench(given.real, given.feeds) as publisher:
        seconds = measure(publisher, programs, given.ways.split(","), given.rounds)
    print(table(seconds, given.feeds))
    if given.json:
        facts = {name: vars(given)[name] for name in ("feeds", "rounds", "workers")}
        facts |= {"real": given.real is not None, "python": platform.python_version()}
        given.json.write_text(json.dumps(facts | {"seconds": seconds}, indent=1))


if __name__ == "__main__":
    main()
