"""`python -m tests.cluster --moments 2000 --seed 1`, or `python -m tests.cluster failover`."""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.cluster import scenarios
from tests.cluster.fleet import Violation
from tests.cluster.kills import Figures, World
from tests.cluster.servers import primary
from tests.crash.launcher import Launcher

MOMENTS_OF_A_WORLD = 25


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("scenario", nargs="?", choices=sorted(scenarios.ALL))
    parser.add_argument("--moments", type=int, default=100, help="at least so many, without one")
    parser.add_argument("--seed", type=int, help="the same seed, the same plan; else by chance")
    parser.add_argument("--lanes", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--lane", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    seed = chosen.seed if chosen.seed is not None else random.randrange(10**6)
    if chosen.scenario is not None:
        return _scenario(chosen.scenario, seed)
    if chosen.lane is not None:
        return _lane(chosen.lane, seed, chosen.moments)
    return _lanes(chosen.lanes, seed, chosen.moments)


def _lanes(lanes: int, seed: int, moments: int) -> int:
    began, figures, status = time.monotonic(), Figures(), 0
    command = [sys.executable, "-m", "tests.cluster", "--seed", str(seed)]
    command += ["--moments", str(-(-moments // lanes))]
    processes = [
        subprocess.Popen([*command, "--lane", str(lane)], stdout=subprocess.PIPE, text=True)
        for lane in range(lanes)
    ]
    for process in processes:
        said, _ = process.communicate()
        status |= process.returncode
        for line in said.splitlines():
            if line.startswith("{"):
                figures.add(Figures.from_json(json.loads(line)))
            else:
                print(line)  # noqa: T201
    print(figures.summary())  # noqa: T201
    print(f"seed {seed}, {time.monotonic() - began:.0f} s")  # noqa: T201
    return status


def _lane(lane: int, seed: int, moments: int) -> int:
    launcher, figures = Launcher(), Figures()
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))  # the servers are stopped
    try:
        with primary() as server:
            number = 0
            while figures.moments < moments:
                folder = Path(tempfile.mkdtemp(prefix="feedwatch-cluster-"))
                place = f"{seed}/{lane}/{number}"
                few = min(MOMENTS_OF_A_WORLD, moments - figures.moments)
                world = World(folder, launcher, server, place, few)
                if wrong := _wrong(world.run):
                    print(f"WRONG: seed {place}: {wrong}\n(the remains are in {folder})")  # noqa: T201
                    return 1
                figures.add(world.figures)
                shutil.rmtree(folder)
                number += 1
    finally:
        launcher.close()
    print(json.dumps(vars(figures)), flush=True)  # noqa: T201
    return 0


def _scenario(name: str, seed: int) -> int:
    launcher = Launcher()
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    folder = Path(tempfile.mkdtemp(prefix="feedwatch-cluster-"))
    began = time.monotonic()
    try:
        wrong = _wrong(lambda: scenarios.ALL[name](folder, launcher, seed))
    finally:
        launcher.close()
    if wrong:
        print(f"WRONG: {name}, seed {seed}: {wrong}\n(the remains are in {folder})")  # noqa: T201
        return 1
    shutil.rmtree(folder)
    print(f"{name}, seed {seed}: all holds, {time.monotonic() - began:.0f} s")  # noqa: T201
    return 0


def _wrong(run: Callable[[], object]) -> str | None:
    try:
        run()
    except Violation as violation:
        return str(violation)
    except Exception:  # noqa: BLE001 - told to whoever started this
        return traceback.format_exc()
    return None


if __name__ == "__main__":
    sys.exit(main())
