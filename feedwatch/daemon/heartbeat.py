"""Heartbeats: a sign of progress of each loop, in memory and, for other processes, in the database.

In memory they are times of the monotonic clock, which nobody sets; in the database, times of day.
"""

import logging
import math
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from feedwatch.core.daemons import DIFFERS_FOR, Peers, spoken
from feedwatch.core.health import (
    LOOPS,
    START,
    VITALS,
    WORKED,
    HealthRecord,
    HealthSnapshot,
    LoopHealth,
    waiting,
)
from feedwatch.watcher.context import Context

log = logging.getLogger(__name__)

TRY_EVERY = 4.0  # seconds; with the ten for which a locked database is waited for, below 15
WRITE_EVERY = TRY_EVERY  # of several daemons, which know each other by it
WRITE_ALONE_EVERY = 10.0  # with SQLite, where each write has the idle loops look again


class Heartbeat:
    """When each loop last made progress. Each loop's thread reports; any thread may read."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()
        self._returned: dict[str, float] = {}
        self._finished: dict[str, float] = {}
        self._worked: dict[str, float] = {}
        self._trouble: dict[str, str | None] = {}
        self.snapshot: HealthSnapshot | None = None
        self.leaderless = timedelta()  # since a daemon led, for all that we know
        self.stopping = False

    def begin(self) -> None:
        """The loops start now: a migration before that is no lack of progress."""
        self._start = self._clock()

    def finished(self, name: str) -> None:
        """A round of the loop is done."""
        self._trouble[name] = None
        self._finished[name] = self._returned[name] = self._clock()

    def failed(self, name: str, trouble: str) -> None:
        """A round has failed, or backs off after one that has."""
        self._trouble[name] = trouble
        self._returned[name] = self._clock()

    def worked(self, name: str) -> None:
        """One piece of work of a long round is done."""
        self._worked[name] = self._clock()

    def record(self) -> HealthRecord:
        """How the loops are doing."""
        return HealthRecord(
            up=self._ago(self._start) or timedelta(),
            loops=tuple(
                LoopHealth(
                    name=name,
                    returned=self._ago(self._returned.get(name)),
                    finished=self._ago(self._finished.get(name)),
                    worked=self._ago(self._worked.get(name)),
                    waiting=waiting(self.snapshot).get(name),
                    trouble=self._trouble.get(name),
                )
                for name in LOOPS
            ),
            stopping=self.stopping,
            leaderless=self.leaderless,
        )

    def times(self, now: datetime) -> dict[str, datetime]:
        """The heartbeats as times of day, for the database."""
        record = self.record()
        found = {START: now - record.up}
        for loop in record.loops:
            if loop.finished is not None:
                found[loop.name] = now - loop.finished
            if loop.worked is not None:
                found[loop.name + WORKED] = now - loop.worked
        return found

    def _ago(self, moment: float | None) -> timedelta | None:
        return timedelta(seconds=self._clock() - moment) if moment is not None else None


class HeartbeatLoop:
    """The loop `vitals`: takes the health snapshot and writes the heartbeats of all loops.

    So it also learns which other daemons there are, and who leads.
    """

    def __init__(self, heartbeat: Heartbeat, context: Context) -> None:
        self._heartbeat = heartbeat
        self._context = context
        self._written: set[str] = set()
        self._next = self._next_try = 0.0
        self._write_every = WRITE_EVERY if context.store.path is None else WRITE_ALONE_EVERY
        self._led_at = time.monotonic()  # when there was a leader
        self._differs_since: float | None = None  # our config from the leader's

    def write_soon(self) -> None:
        """Write at the next tick: by a clock that was set, what is written looks old."""
        self._next = 0.0

    def tick(self) -> bool:
        """Take the snapshot and write the heartbeats.

        Every few seconds, and at once when a loop has made its first progress. In between it is
        only tried whether the database can be written to: a lock must be known within 15 s.
        """
        context, now = self._context, self._context.clock()
        times = self._heartbeat.times(now)
        began = time.monotonic()
        if began < self._next and times.keys() <= self._written | {VITALS}:
            if began >= self._next_try:
                context.store.require_writable()
                self._next_try = began + TRY_EVERY
            return True
        snapshot = context.store.statistics.snapshot(now)
        if context.term() is None:
            snapshot = snapshot._replace(job_due_at=None)  # the leader polls
        self._heartbeat.snapshot = snapshot
        peers = context.store.heartbeats.write(times | {VITALS: now}, now, context.config_mark)
        context.peers = peers.alive
        self._heartbeat.leaderless = self._note_leader(peers)
        self._written = {*times, VITALS}
        self._next = time.monotonic() + self._write_every
        self._next_try = time.monotonic() + TRY_EVERY
        return True

    def _note_leader(self, peers: Peers) -> timedelta:
        """How long there has been no leader. Says once that its config is not ours."""
        now = time.monotonic()
        if peers.leader is not None:
            self._led_at = now
        if peers.leaders_mark in (None, self._context.config_mark):
            self._differs_since = None
        elif self._differs_since is None:
            self._differs_since = now
        elif now - self._differs_since >= DIFFERS_FOR:
            self._differs_since = math.inf  # it is said
            log.error(
                "two daemons, two configs: %s leads by another one than ours. Feeds that only one "
                "of them has are checked by that one alone, and submitted as the leader has them",
                spoken(peers.leader),
            )
        return timedelta(seconds=now - self._led_at)
