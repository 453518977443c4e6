"""What a start costs: CPU time, user and system, of verbs, beside an earlier version of feedwatch.

    git worktree add /tmp/before 952554c
    python -m benchmarks.startup /tmp/before --pairs 15

Both versions run under this Python and its packages, one after the other, again and again: what
else the machine does meets both alike. The first start of each, which makes the database and the
bytecode, is not counted.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
CONFIG = """\
FEEDWATCH_API_URL=http://127.0.0.1:9
FEEDWATCH_API_KEY=none
FEEDWATCH_FEEDS__A__URL=http://127.0.0.1:9/feed.xml
FEEDWATCH_FEEDS__A__PODCAST_ID=p
"""
STARTS = {  # and the most that each may need, as a part of what it needed before
    "python -c pass": None,
    "run": 0.7,
    "run --once --timeout 0": 0.7,
    "status": 0.5,
    "healthcheck": None,
}
WATCHING = b"watching"  # what `run` says once it has started


def cpu_of(source: Path, folder: Path, words: list[str]) -> float:
    """Milliseconds of CPU of a process and its children."""
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=folder,
        env={"PATH": os.defpath, "HOME": str(folder), "PYTHONPATH": str(source)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    if words[-1] == "run":
        while WATCHING not in (line := process.stderr.readline()):
            if not line:
                raise SystemExit(f"feedwatch of {source} did not start")
        process.send_signal(signal.SIGTERM)
    process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return (usage.ru_utime + usage.ru_stime) * 1000


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("before", type=Path, help="the root of the earlier version's source")
    arguments.add_argument("--pairs", type=int, default=15)
    given = arguments.parse_args()
    sources = [given.before.resolve(), ROOT]
    print(f"{'ms of CPU':<24}{'before':>8}{'now':>8}{'now ÷ before (bar)':>22}")
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        folders = [Path(first), Path(second)]
        for folder in folders:
            (folder / "config.env").write_text(CONFIG)
            (folder / "config.env").chmod(0o600)
        for start, bar in STARTS.items():
            words = start.split()[1:]
            if not start.startswith("python"):
                words = ["-m", "feedwatch", "--config", "config.env", *start.split()]
            spent = [
                [cpu_of(*where, words) for where in zip(sources, folders, strict=True)]
                for _ in range(given.pairs + 1)
            ][1:]
            before, now = map(statistics.median, zip(*spent, strict=True))
            ratio = f"{now / before:.2f}" + (f" ({bar})" if bar else "")
            print(f"{start:<24}{before:>8.0f}{now:>8.0f}{ratio:>22}", flush=True)


if __name__ == "__main__":
    main()
