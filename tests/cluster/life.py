"""In a daemon's process: short leases, and traps that are set from outside while it lives."""

import json
import mmap
import os
import sys
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from types import ModuleType

from sqlalchemy import text

import feedwatch.core.daemons
import feedwatch.core.episode_lifecycle
import feedwatch.core.post_deadline
import feedwatch.daemon.heartbeat
import feedwatch.daemon.loop
import feedwatch.store.feed_leases
import feedwatch.store.feeds
import feedwatch.store.lease
import feedwatch.store.postgresql
import feedwatch.watcher.submissions
from feedwatch.store.lease import Lease
from tests.crash.boundaries import WRITE, Boundaries, Crumb, Side, Trap

TTL = 2.0  # seconds, of a lease
FEED_SECONDS = 3.0  # of a feed's lease, and after which a feed is late
IDLE_SECONDS = 4  # in a transaction, in which a process that was stopped keeps its locks
FIRST_BYTE_SECONDS = 1.5  # after a claim, in which its POST must leave
POST_SECONDS = 6.0  # for all of a POST
FAILOVER_SECONDS = 6.0  # in which other daemons bring in what a new primary lacks
CELL = 200  # bytes of the file by which a trap is set


def tune() -> None:
    """What takes minutes takes seconds here."""
    _set(feedwatch.store.lease, "TTL", timedelta(seconds=TTL))
    _set(feedwatch.store.lease, "RENEWED_EVERY", TTL / 6)
    _set(feedwatch.store.lease, "TRIED_EVERY", TTL / 8)
    _set(feedwatch.core.daemons, "ALIVE_FOR", timedelta(seconds=2 * TTL))
    _set(feedwatch.store.feed_leases, "TTL", timedelta(seconds=FEED_SECONDS))
    leasing = feedwatch.store.feed_leases.leasing(feedwatch.store.feeds._DUE_FEEDS)
    _set(feedwatch.store.feeds, "_LEASE_DUE", leasing)
    _set(feedwatch.store.feeds, "LATE", timedelta(seconds=FEED_SECONDS))
    _set(feedwatch.daemon.heartbeat, "WRITE_EVERY", TTL / 3)
    _set(feedwatch.daemon.loop, "TICK", timedelta(seconds=0.1))
    _set(feedwatch.daemon.loop, "OUTAGE_RETRY_AT_MOST", timedelta(seconds=0.5))
    _set(feedwatch.watcher.submissions, "FAILOVER_SECONDS", FAILOVER_SECONDS)
    _set(feedwatch.core.post_deadline, "FIRST_BYTE_SECONDS", FIRST_BYTE_SECONDS)
    _set(feedwatch.core.post_deadline, "POST_SECONDS", POST_SECONDS)
    _set(feedwatch.core.episode_lifecycle, "LEASE", timedelta(seconds=POST_SECONDS + 2))
    settings = str(feedwatch.store.postgresql.BEGIN)
    shorter = (
        settings.replace("'30s'", f"'{IDLE_SECONDS}s'")
        .replace("'10s'", "'1s'")
        .replace("'60s'", "'5s'")
    )
    assert shorter != settings
    _set(feedwatch.store.postgresql, "BEGIN", text(shorter))


def _set(module: ModuleType, name: str, value: object) -> None:
    """Set a constant in its module, and in those that have imported it."""
    before = getattr(module, name)
    for one in list(sys.modules.values()):
        if one.__name__.startswith("feedwatch") and getattr(one, name, None) is before:
            setattr(one, name, value)


class Armed(Boundaries):
    """Has the trap that stands in a file beside the crumb, at any time another one."""

    def __init__(self, folder: Path, crumb: Path, trap: Trap | None) -> None:
        super().__init__(folder, crumb, trap)
        with cell_of(crumb).open("rb") as file:
            self._cell = mmap.mmap(file.fileno(), CELL, access=mmap.ACCESS_READ)
        self._read = b""

    def install(self) -> None:
        """The lease is wrapped, too."""
        super().install()
        self._wrap(Lease, "_elect", "elect")
        self._wrap(Lease, "renew", "renew")
        self._wrap(Lease, "release", "resign")

    def _cross(self, name: str, side: Side) -> None:
        written = self._cell[:CELL]
        if written != self._read:
            with self._lock:
                self._read = written
                self._trap = Trap(**json.loads(written)) if written.strip() else None
                self._count = 0
        super()._cross(name, side)

    def _leave(self, crumb: Crumb) -> None:
        os.ftruncate(self._crumb, 0)
        os.lseek(self._crumb, 0, os.SEEK_SET)
        WRITE(self._crumb, json.dumps(asdict(crumb)).encode())


def cell_of(crumb: Path) -> Path:
    """The file by which a trap is set."""
    return crumb.with_name("trap")


def set_trap(crumb: Path, trap: Trap) -> None:
    """Set a trap in a daemon that lives; what an earlier one has left is forgotten."""
    crumb.write_bytes(b"")
    _write(crumb, json.dumps(asdict(trap)).encode())


def disarm(crumb: Path) -> None:
    """Take the trap away; what it has left stays, as of one that closes just now."""
    _write(crumb, b"")


def _write(crumb: Path, given: bytes) -> None:
    cell = os.open(cell_of(crumb), os.O_WRONLY | os.O_CREAT, 0o600)
    os.pwrite(cell, given.ljust(CELL), 0)
    os.close(cell)
