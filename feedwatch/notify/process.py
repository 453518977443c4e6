"""A process that is told something and ends within its time, or is ended."""

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from feedwatch.core.printable import printable
from feedwatch.net.client import Cancellation

SECONDS = 30.0
SLICE_SECONDS = 0.2  # how long a wait goes on before it looks at the brake anew
MOST_OUTPUT = 400  # bytes of what it said last: a failure's cause stands at the end
PIPE_HOLDS = 65_536  # bytes
KEPT_FROM_IT = ("FEEDWATCH_", "CREDENTIALS_", "NOTIFY_", "WATCHDOG_")  # keys, and systemd's sockets


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a process may see of ours: none of our settings, the API key least of all."""
    return {key: value for key, value in environ.items() if not key.startswith(KEPT_FROM_IT)}


def run(
    command: Sequence[str],
    said: bytes,
    env: Mapping[str, str],
    cancellation: Cancellation,
    seconds: float = SECONDS,
) -> str | None:
    """Start it, with `said` on its standard input. None if it ended with 0, else why it did not."""
    until = time.monotonic() + seconds
    with tempfile.TemporaryFile() as told:  # unlike a pipe, it keeps nobody waiting
        told.write(said)
        told.seek(0)
        try:
            child = subprocess.Popen(  # noqa: S603 - the operator's own command, and no shell
                command,
                stdin=told,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return f"cannot be started: {getattr(error, 'strerror', None) or error}"
    with child:
        try:
            output = _watched(child, until, cancellation)
            status = child.returncode
        finally:
            if child.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
    if status is None:
        return f"did not end within {seconds:g} s"
    if status == 0:
        return None
    said_last = printable(output.decode("utf-8", "replace")).strip()
    return f"ended with status {status}" + (f": {said_last}" if said_last else "")


def _watched(child: subprocess.Popen[bytes], until: float, cancellation: Cancellation) -> bytes:
    """The end of its output, once it has ended or its time has."""
    assert child.stdout is not None  # noqa: S101 - for the type: it is a pipe
    output = child.stdout.fileno()
    poller, tail = select.poll(), b""
    poller.register(output, select.POLLIN)
    while (left := min(until, cancellation.until) - time.monotonic()) > 0:
        wait = min(left, SLICE_SECONDS)
        # Its own children may keep the pipe open, so the pipe's end and its own are two things.
        ended = child.poll() is not None
        piece = os.read(output, PIPE_HOLDS) if poller.poll(0 if ended else wait * 1000) else None
        tail = (tail + (piece or b""))[-MOST_OUTPUT:]
        if ended:
            break
        if piece == b"":
            with suppress(subprocess.TimeoutExpired):
                child.wait(wait)
    return tail
