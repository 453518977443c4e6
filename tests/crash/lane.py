"""Worlds, one after another, in a process of its own; its figures go to standard output."""

import argparse
import json
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.crash.figures import Figures
from tests.crash.launcher import Launcher
from tests.crash.world import Violation, World


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--step", type=int, required=True)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--pipeline", required=True)
    chosen = parser.parse_args()
    launcher = Launcher()  # before any thread is
    figures = Figures()
    wrong: list[str] = []
    number = chosen.first
    try:
        while figures.kills < chosen.kills and not wrong:
            folder = chosen.folder / f"world-{number}"
            folder.mkdir()
            world = World(folder, launcher, chosen.seed, number, chosen.pipeline)
            wrong += _complaints(world.run)
            figures.add(world.figures)
            if not wrong:
                shutil.rmtree(folder)
            number += chosen.step
            print(json.dumps({"kills": figures.kills}), flush=True)  # noqa: T201
    finally:
        launcher.close()
    print(json.dumps({"figures": figures.to_json(), "wrong": wrong}), flush=True)  # noqa: T201


def _complaints(run: Callable[[], Figures]) -> list[str]:
    try:
        run()
    except Violation as violation:
        return [str(violation)]
    except Exception:  # noqa: BLE001 - told to whoever started this lane
        return [traceback.format_exc()]
    return []


if __name__ == "__main__":
    main()
