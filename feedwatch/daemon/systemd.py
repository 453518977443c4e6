"""systemd: the notify protocol, sd_notify(3). Never waits for the service manager."""

import os
import socket
import time
from contextlib import suppress

TELL_EVERY = 10.0  # seconds


class Manager:
    """Reports the daemon's life to systemd; does nothing where no systemd listens."""

    def __init__(self) -> None:
        ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        stated = os.environ.get("WATCHDOG_USEC", "")  # WatchdogSec= of the unit
        self._feed_every = int(stated) / 2_000_000 if ours and stated.isdecimal() else 0.0
        self._fed = 0.0
        self._said = ""
        self._said_at = float("-inf")

    def ready(self) -> None:
        """The daemon has started, or has reloaded its config."""
        notify("READY=1")

    def reloading(self) -> None:
        """A reload begins; `ready` reports its end."""
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The daemon stops."""
        notify("STOPPING=1\nSTATUS=stopping")

    def feed(self) -> None:
        """Feed the watchdog. Call it, as often as you like, only while the loops progress."""
        now = time.monotonic()
        if self._feed_every and now - self._fed >= self._feed_every:
            notify("WATCHDOG=1")
            self._fed = now

    def tell(self, status: str) -> None:
        """Show a line in `systemctl status`, if it has changed, at most every ten seconds."""
        now = time.monotonic()
        if status != self._said and now - self._said_at >= TELL_EVERY:
            notify(f"STATUS={status}")
            self._said, self._said_at = status, now


def notify(message: str) -> None:
    """Send a message to systemd, if it listens; one that it does not take at once is lost."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel, suppress(OSError):
        channel.setblocking(False)  # noqa: FBT003 - a socket takes it no other way
        channel.sendto(message.encode(), address.replace("@", "\0", 1))
