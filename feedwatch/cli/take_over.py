"""Has the daemon take over a config that was changed, or says how."""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import click

from feedwatch.cli.output import FAILED, say, tell
from feedwatch.core.health import Use
from feedwatch.store.lock import lock_path
from feedwatch.store.store import Store

SECONDS = 20.0  # in which a daemon has read its config anew; it also checks and submits meanwhile
ASKED_EVERY = 0.05

reload_option = click.option(
    "--reload", is_flag=True, help="Have the daemon on this machine read its config anew."
)


def take_over(store: Store, feed: str, *, is_in: bool, reload: bool) -> None:
    """Have the daemon take over that `feed` is in the config, or is not, or say how.

    With `reload`, ends the program with a status where there is a daemon and it has not.
    """
    if store.use() is Use.NONE:
        tell("No daemon runs on this database: it counts once `feedwatch run` starts.")
        return
    number = send_hangup(store) if reload else None
    if number is None:
        if reload:
            say("The daemon cannot be told for certain from other processes from here.")
        holder = _holder(store)
        kill = f", or `kill -HUP {holder}`" if holder is not None and not reload else ""
        itself = "; with --reload feedwatch sends that signal" if kill else ""
        tell(f"A running daemon takes it over by `systemctl reload feedwatch`{kill}{itself}.")
        if reload:
            sys.exit(FAILED)
        return
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        known = store.feeds.named(feed)
        if (known is not None and known.active) == is_in:
            tell(f"The daemon (process {number}) has taken it over.")
            return
        time.sleep(ASKED_EVERY)
    say(f"The daemon (process {number}) was told, and has not taken it over: see its log.")
    sys.exit(FAILED)


def send_hangup(store: Store) -> int | None:
    """Send SIGHUP to the daemon, and return its process; None if it is not certain which that is.

    Certain is a process that is named by the database's lock, has that very file open and waits for
    the signal. So neither `run --once`, which it would end, is met, nor a process that happens to
    have the number which a daemon has in its container. PostgreSQL has no such lock.
    """
    lock, number = _lock(store), _holder(store)
    if lock is None or number is None or store.use() is not Use.OPEN:
        return None
    with suppress(OSError, AttributeError):  # it has ended, is another user's, or this is no Linux
        process = os.pidfd_open(number)  # first: whoever is looked at then is who gets the signal
        try:
            if _expects_hangup(number, lock):
                signal.pidfd_send_signal(process, signal.SIGHUP)
                return number
        finally:
            os.close(process)
    return None


def _lock(store: Store) -> Path | None:
    return lock_path(store.path) if store.path is not None else None


def _holder(store: Store) -> int | None:
    """The process that the lock names."""
    lock = _lock(store)
    with suppress(OSError, ValueError, IndexError):
        return int(lock.read_text(encoding="ascii").split()[0]) if lock is not None else None
    return None


def _expects_hangup(process: int, lock: Path) -> bool:
    """Whether it has the lock open, and catches SIGHUP or has it wait (proc_pid_status(5))."""
    wanted = lock.stat()
    files = [one for one in Path(f"/proc/{process}/fd").iterdir() if one.exists()]
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    masks = [line.split()[1] for line in status if line.startswith(("SigCgt:", "SigBlk:"))]
    return any(os.path.samestat(wanted, one.stat()) for one in files) and any(
        int(mask, 16) >> (signal.SIGHUP - 1) & 1 for mask in masks
    )
