"""What a daemon costs that has nothing to do: milliseconds of CPU a second.

    python -m benchmarks.idle --feeds 100
    python -m benchmarks.idle --feeds 100 --beside /tmp/before

Small feeds on loopback are checked once and are not due again for half a day. With `--beside`, the
feedwatch whose source is there runs at the same time: what else the machine does meets both alike.
"""

import argparse
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.scale import ROOT, once, publisher, workspace

BAR = 2.0  # ms a second
SETTLED_AFTER = 15.0  # seconds: two heartbeats, and what a start leaves behind


@contextmanager
def daemon(source: Path, port: int, feeds: int) -> Iterator[int]:
    """The process id of a daemon that has checked all its feeds and goes on."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = workspace(folder, port, feeds, CHECK_INTERVAL="12h")
        once(command, folder, source)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([*command, "run"], cwd=source, stdout=log, stderr=log)
        try:
            while "ready after" not in (said := (folder / "log").read_text()):
                if process.poll() is not None:
                    raise SystemExit(said[-2000:])
                time.sleep(0.1)
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def cpu_of(process: int) -> float:
    """Milliseconds of CPU that a process has had, and its children that have ended or run."""
    tasks = Path(f"/proc/{process}/task")
    running = [
        int(one) for task in tasks.iterdir() for one in (task / "children").read_text().split()
    ]
    # After the name, which may contain anything: proc_pid_stat(5) counts from 1, here from 3.
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    ticks = sum(int(field) for field in fields[11:15])  # user and system, of itself and its dead
    return ticks * 1000 / os.sysconf("SC_CLK_TCK") + sum(map(cpu_of, running))


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--feeds", type=int, default=100)
    arguments.add_argument("--seconds", type=float, default=60.0)
    arguments.add_argument("--beside", type=Path, help="the root of another version's source")
    given = arguments.parse_args()
    sources = {"now": ROOT}
    if given.beside is not None:
        sources["beside"] = given.beside.resolve()
    with ExitStack() as stack:
        port = stack.enter_context(publisher())
        processes = [
            stack.enter_context(daemon(source, port, given.feeds)) for source in sources.values()
        ]
        time.sleep(SETTLED_AFTER)
        before, began = [cpu_of(one) for one in processes], time.monotonic()
        time.sleep(given.seconds)
        after, lasted = [cpu_of(one) for one in processes], time.monotonic() - began
    print(f"{given.feeds} feeds, none due for {lasted:.0f} s (bar {BAR:.0f} ms a second)")
    for name, first, last in zip(sources, before, after, strict=True):
        print(f"{name:<8}{(last - first) / lasted:>6.2f} ms of CPU a second")


if __name__ == "__main__":
    main()
