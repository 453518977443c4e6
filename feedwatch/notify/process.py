"""Child processes with a deadline: fed, bounded in time and output, and killed with their group."""

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from feedwatch.core.masking import masked
from feedwatch.core.printable import printable
from feedwatch.net.client import Cancellation

SECONDS = 30.0
SLICE_SECONDS = 0.2  # of a wait, after which the cancellation is checked again
MOST_OUTPUT = 8_000  # bytes of the end of its output that are kept
MOST_SAID = 400  # characters of these that are told: the cause of a failure stands there
PIPE_HOLDS = 65_536  # bytes
KEPT_FROM_IT = ("FEEDWATCH_", "CREDENTIALS_", "NOTIFY_", "WATCHDOG_")  # keys, and systemd's sockets


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Our environment without our settings and secrets, and without systemd's sockets."""
    return {key: value for key, value in environ.items() if not key.startswith(KEPT_FROM_IT)}


def run(
    command: Sequence[str],
    said: bytes,
    env: Mapping[str, str],
    cancellation: Cancellation,
    seconds: float = SECONDS,
) -> str | None:
    """Run `command` with `said` as its standard input. None if it ends with 0, else why not."""
    until = time.monotonic() + seconds
    with tempfile.TemporaryFile() as told:  # a pipe that the child does not read would block us
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
    said_last = masked(printable(output.decode("utf-8", "replace")).strip())[-MOST_SAID:].strip()
    return f"ended with status {status}" + (f": {said_last}" if said_last else "")


def _watched(child: subprocess.Popen[bytes], until: float, cancellation: Cancellation) -> bytes:
    """The end of the child's output, once the child or its time has ended."""
    assert child.stdout is not None  # noqa: S101 - for the type: it is a pipe
    output = child.stdout.fileno()
    poller, tail = select.poll(), b""
    poller.register(output, select.POLLIN)
    while (left := min(until, cancellation.until) - time.monotonic()) > 0:
        wait = min(left, SLICE_SECONDS)
        # Its children may hold the pipe open, so the end of the pipe is not the child's end.
        ended = child.poll() is not None
        piece = os.read(output, PIPE_HOLDS) if poller.poll(0 if ended else wait * 1000) else None
        tail = (tail + (piece or b""))[-MOST_OUTPUT:]
        if ended:
            break
        if piece == b"":
            with suppress(subprocess.TimeoutExpired):
                child.wait(wait)
    return tail
