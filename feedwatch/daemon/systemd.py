"""systemd's side of the daemon's life: the notify protocol, sd_notify(3). Never waits for it."""

import os
import socket
import time
from contextlib import suppress

TELL_EVERY = 10.0  # seconds


class Manager:
    """What systemd is told. Without a systemd that listens, nothing is."""

    def __init__(self) -> None:
        self._feed_every = _watchdog_seconds() / 2
        self._fed = 0.0
        self._said = ""
        self._said_at = float("-inf")

    def ready(self) -> None:
        """The start, or a reload, is over."""
        notify("READY=1")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end begins."""
        notify("STOPPING=1\nSTATUS=stopping")

    def feed(self) -> None:
        """Keep the watchdog quiet. To be called only while there is progress, as often as liked."""
        now = time.monotonic()
        if self._feed_every and now - self._fed >= self._feed_every:
            notify("WATCHDOG=1")
            self._fed = now

    def tell(self, status: str) -> None:
        """One line for `systemctl status`, where it has changed and not too often."""
        now = time.monotonic()
        if status != self._said and now - self._said_at >= TELL_EVERY:
            notify(f"STATUS={status}")
            self._said, self._said_at = status, now


def _watchdog_seconds() -> float:
    """What the unit's WatchdogSec= says; 0 where there is none, or it is meant for another."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        return int(os.environ.get("WATCHDOG_USEC", "0")) / 1_000_000
    except ValueError:
        return 0.0


def notify(message: str) -> None:
    """Tell systemd, if it listens; a message that it does not take at once is lost."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel, suppress(OSError):
        channel.setblocking(False)  # noqa: FBT003 - a socket takes it no other way
        channel.sendto(message.encode(), address.replace("@", "\0", 1))
