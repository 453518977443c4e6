"""A daemon that watches its own clock: how late each tick begins. Run by `benchmarks.scale`."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from feedwatch.cli import app
from feedwatch.daemon.loop import Daemon, Tick

late: dict[str, list[float]] = {}
original = Daemon._with_heartbeat  # the seam where a tick begins


def with_heartbeat(daemon: Daemon, name: str, loop: Tick) -> Callable[[], None]:
    """A tick that notes when it begins."""
    tick = original(daemon, name, loop)
    begun: float | None = None

    def timed() -> None:
        nonlocal begun
        now = time.monotonic()
        if begun is not None:
            late.setdefault(name, []).append(now - begun - 1.0)
        begun = now
        tick()

    return timed


setattr(Daemon, "_with_heartbeat", with_heartbeat)  # noqa: B010 - mypy would not have it assigned
threading.Timer(float(sys.argv[2]), os.kill, (os.getpid(), signal.SIGTERM)).start()
sys.argv = ["feedwatch", "--config", sys.argv[1], "run"]
with suppress(SystemExit):
    app.main()
worst = {name: round(max(values) * 1000) for name, values in late.items()}
print(json.dumps({"worst ms late": worst, "ticks": {k: len(v) for k, v in late.items()}}))
