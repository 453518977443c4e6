"""`python -m tests.crash --kills 3000 --seed 1`."""

import argparse
import os
import random
import sys
import time

from tests.crash.plan import MIXED, PIPELINES
from tests.crash.run import crash


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=3000, help="at least so many")
    parser.add_argument("--seed", type=int, help="the same seed, the same plan; else by chance")
    parser.add_argument("--world", type=int, help="only this world of the seed's")
    parser.add_argument("--lanes", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--pipeline", choices=PIPELINES, default=MIXED)
    chosen = parser.parse_args()
    seed = chosen.seed if chosen.seed is not None else random.randrange(10**6)
    started = time.monotonic()

    def progress(kills: int) -> None:
        print(f"\r{kills} kills, {time.monotonic() - started:.0f} s", end="", file=sys.stderr)  # noqa: T201

    if chosen.world is not None:
        kills, lanes, first = 1, 1, chosen.world
    else:
        kills, lanes, first = chosen.kills, chosen.lanes, 0
    pipeline = chosen.pipeline
    result = crash(kills, seed, lanes=lanes, first=first, pipeline=pipeline, progress=progress)
    print(file=sys.stderr)  # noqa: T201
    print(result.figures.table())  # noqa: T201
    print(f"seed {seed}, {time.monotonic() - started:.0f} s: {result.figures.summary()}")  # noqa: T201
    for wrong in result.wrong:
        print(f"WRONG: {wrong}\n(the remains are in {result.folder})")  # noqa: T201
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
