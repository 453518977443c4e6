"""What a check costs: feedwatch beside reader and newsboat, at the same work in the same run.

    make bench                       real feeds where they are at hand, else made up ones
    python -m benchmarks --rounds 3 --feeds 141 --real FOLDER --json FILE

Measured is the CPU time, user and system, of the whole program with its children, as the operating
system tells it. One run with a single feed is taken off: what is left is divided by the other
feeds. Each program polls once, unmeasured, after the first check, as newsboat keeps validators
only from its second poll on.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).parent.parent
WAYS = ("first", "304", "same", "new", "build")
SAID = {
    "first": "first ever",
    "304": "304",
    "same": "200, same body",
    "new": "200, one new item",
    "build": "200, only lastBuildDate changed",
}
BARS = {  # at most this part of what the other one needs
    "first": {"reader": 1 / 15, "newsboat": 1 / 2},
    "304": {"reader": 1 / 2, "newsboat": 1 / 4},
    "same": {"reader": 1 / 60, "newsboat": 1 / 8},
    "new": {"reader": 1 / 30, "newsboat": 1 / 4},
    "build": {"reader": 1 / 30, "newsboat": 1 / 4},
}
READER = """
import sys
from reader import make_reader
with make_reader(sys.argv[1]) as reader:
    if not reader.get_feed_counts().total:
        for url in sys.argv[2:]:
            reader.add_feed(url)
    reader.update_feeds(scheduled=False)
"""

Program = Callable[[Path, Sequence[str]], list[str]]


def feedwatch(folder: Path, urls: Sequence[str]) -> list[str]:
    """Checks every feed once; paused, so that nothing is submitted."""
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
    if not config.exists():
        config.write_text("\n".join(lines))
        config.chmod(0o600)
        subprocess.run([*_feedwatch(config), "pause"], check=True, capture_output=True)
    return [*_feedwatch(config), "run", "--once", "--timeout", "0"]


def _feedwatch(config: Path) -> list[str]:
    return [sys.executable, "-m", "feedwatch", "--config", str(config)]


def reader(folder: Path, urls: Sequence[str]) -> list[str]:
    """`update_feeds` of the library."""
    return [
        os.environ.get("READER_PYTHON", sys.executable),
        "-c",
        READER,
        str(folder / "db"),
        *urls,
    ]


def newsboat(folder: Path, urls: Sequence[str]) -> list[str]:
    """`newsboat -x reload`."""
    (folder / "urls").write_text("\n".join(urls))
    (folder / "config").write_text("reload-threads 1\n")
    files = ["-u", str(folder / "urls"), "-C", str(folder / "config"), "-c", str(folder / "cache")]
    return ["newsboat", *files, "-x", "reload"]


def available() -> dict[str, Program]:
    """The programs that can be run here."""
    found: dict[str, Program] = {"feedwatch": feedwatch}
    python = os.environ.get("READER_PYTHON", sys.executable)
    if (
        subprocess.run([python, "-c", "import reader"], capture_output=True, check=False).returncode
        == 0
    ):
        found["reader"] = reader
    if shutil.which("newsboat"):
        found["newsboat"] = newsboat
    return found


def cpu_of(command: Sequence[str], folder: Path) -> float:
    """Seconds of CPU that a command and its children took."""
    env = os.environ | {"HOME": str(folder), "PYTHONPATH": str(ROOT)}
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1, 3, 4):  # some real feeds are broken, and that is told
        raise SystemExit(
            f"{command} ended with {status}: {(folder / 'output').read_text()[-2000:]}"
        )
    return usage.ru_utime + usage.ru_stime


def one_round(program: Program, base: str, count: int, costs: dict[str, list[float]]) -> None:
    """All five ways, each with many feeds and with one."""
    urls = [f"{base}/feed/{number}" for number in range(count)]
    with tempfile.TemporaryDirectory() as many, tempfile.TemporaryDirectory() as one:
        for way in ("first", "304", *WAYS[1:]):
            urlopen(f"{base}/mode/{'304' if way == 'first' else way}").read()
            spent = cpu_of(program(Path(many), urls), Path(many))
            spent -= cpu_of(program(Path(one), urls[:1]), Path(one))
            costs[way].append(spent / (count - 1) * 1000)
        costs["304"].pop(0)  # the poll after the first check


def measure(folder: Path | None, count: int, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of CPU a feed, by program and way: the medians of the rounds."""
    command = [sys.executable, "-m", "benchmarks.server", str(folder or ""), str(count)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    costs: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    try:
        assert server.stdout is not None
        base = f"http://127.0.0.1:{int(server.stdout.readline())}"
        for number in range(rounds):
            for name, program in available().items():
                one_round(program, base, count, costs[name])
                print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
    finally:
        server.kill()
    return {
        name: {way: statistics.median(values) for way, values in by_way.items()}
        for name, by_way in costs.items()
    }


def table(results: dict[str, dict[str, float]]) -> str:
    """The figures and the ratios, for people."""
    others = [name for name in results if name != "feedwatch"]
    head = ["ms of CPU a feed", *results, *(f"{name} ÷ feedwatch (bar)" for name in others)]
    rows = [head]
    for way in WAYS:
        ours = results["feedwatch"][way]
        row = [SAID[way], *(f"{results[name][way]:.2f}" for name in results)]
        for name in others:
            ratio = results[name][way] / ours
            bar = 1 / BARS[way][name]
            row.append(f"{ratio:.1f} ({bar:.0f}{'' if ratio >= bar else ', missed'})")
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if column else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def main() -> None:
    """Measure, print, and write down."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--real", type=Path, help="folder of real feeds")
    arguments.add_argument("--feeds", type=int, default=141)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--json", type=Path)
    given = arguments.parse_args()
    results = measure(given.real, given.feeds, given.rounds)
    print(table(results))
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
