"""Several daemons on one database: who checks which host, and which of them leads.

One of them, the leader, spends; all of them check feeds. With SQLite there is but one.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

from feedwatch.core.health import HealthRecord, problems
from feedwatch.core.health import spoken as spoken_length

ALIVE_FOR = timedelta(seconds=30)  # since a daemon was last seen, by the database's clock
FORGOTTEN_AFTER = timedelta(days=1)  # likewise; one that ends in order is forgotten at once
DIFFERS_FOR = 120.0  # seconds that configs may differ before it is said: a rollout takes its time
OFFSET_WRONG = 60.0  # seconds that a clock may be off: what NTP keeps is off by milliseconds


class Daemon(NamedTuple):
    """One daemon, as the database knows it."""

    id: str
    host: str  # the name of its machine or container
    version: str
    config_mark: str  # daemons with the same config have the same one
    started_at: datetime
    unseen_for: timedelta  # by the database's clock
    clock_offset: float | None  # seconds that its clock is ahead of the database's
    leads: bool

    @property
    def is_alive(self) -> bool:
        """Whether it was seen lately."""
        return self.unseen_for <= ALIVE_FOR


class DaemonHealth(NamedTuple):
    """A daemon, and how its loops are doing."""

    daemon: Daemon
    record: HealthRecord | None  # None: it is about to start, or has ended
    last_progress_at: datetime | None  # of the loop whose progress is the oldest
    has_ended: bool = False

    @property
    def problems(self) -> list[str]:
        """Why it makes no progress; empty while it does."""
        if self.has_ended:
            return ["not running"]
        if not self.daemon.is_alive:
            return [f"not seen for {spoken_length(self.daemon.unseen_for)}"]
        return ["starting"] if self.record is None else problems(self.record)


class Peers(NamedTuple):
    """The daemons alive at one moment, and what the leader's config is."""

    alive: tuple[str, ...]  # their ids
    leader: str | None
    leaders_mark: str | None  # the mark of its config; None where it is not known


def spoken(daemon: str | None) -> str:
    """A daemon's id in words."""
    host, _, rest = (daemon or "nobody").partition("/")
    return f"process {rest.partition('/')[0]} on {host}"


def checker_of(host: str, daemons: Collection[str]) -> str | None:
    """Which of these daemons, by their ids, checks the feeds of a host; None if there is none.

    By rendezvous hashing: all daemons come to the same one, and where one of N joins or leaves, one
    host in N moves.
    """
    return max(daemons, key=lambda one: sha256(f"{host} {one}".encode()).digest(), default=None)
