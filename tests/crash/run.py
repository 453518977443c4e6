"""Lanes in processes of their own, so that all processors are at work."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import IO, Any

from tests.crash.figures import Figures
from tests.crash.plan import MIXED

ROOT = Path(__file__).parent.parent.parent


@dataclass
class Result:
    """What all lanes found."""

    figures: Figures = field(default_factory=Figures)
    wrong: list[str] = field(default_factory=list)
    folder: Path | None = None  # where the remains of what went wrong lie


def crash(
    kills: int,
    seed: int,
    *,
    lanes: int = 2,
    first: int = 0,
    pipeline: str = MIXED,
    progress: Callable[[int], object] = lambda _kills: None,
) -> Result:
    """Kill so often, from world `first` on, and tell what came of it.

    `pipeline` is one of `plan.PIPELINES`.
    """
    result = Result()
    folder = Path(tempfile.mkdtemp(prefix="feedwatch-crash-"))
    with ExitStack() as stack:
        processes = []
        for lane in range(lanes):
            arguments = {"seed": seed, "first": first + lane, "step": lanes, "pipeline": pipeline}
            process = stack.enter_context(_lane(folder=folder, kills=kills // lanes, **arguments))
            stack.callback(process.kill)
            processes.append(process)
        _gather(processes, result, progress)
    if result.wrong:
        result.folder = folder
    else:
        folder.rmdir()
    return result


def _lane(**arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.crash.lane"]
    command += [f"--{name}={value}" for name, value in arguments.items()]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def _gather(
    processes: "list[subprocess.Popen[str]]", result: Result, progress: Callable[[int], object]
) -> None:
    counts: dict[IO[Any], int] = {}
    with DefaultSelector() as selector:
        for process in processes:
            assert process.stdout is not None
            selector.register(process.stdout, EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                line = key.fileobj.readline()  # type: ignore[union-attr]
                if not line:
                    selector.unregister(key.fileobj)
                    continue
                message = json.loads(line)
                if "kills" in message:
                    counts[key.fileobj] = message["kills"]  # type: ignore[index]
                    progress(sum(counts.values()))
                else:
                    result.figures.add(Figures.from_json(message["figures"]))
                    result.wrong += message["wrong"]
    for process in processes:
        if process.wait() != 0:
            result.wrong.append(f"a lane ended with {process.returncode}")
