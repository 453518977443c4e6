"""What the daemon knows of its own loops, and how other processes learn of it.

Within the process everything goes by the monotonic clock, which nobody sets. For other processes
the same is written into the database now and then, as times of day.
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

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
from feedwatch.store.store import Store

BEAT_EVERY = 10.0  # seconds


class Heartbeat:
    """When each loop last came to something. Each loop's thread tells, any thread may ask."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()
        self._returned: dict[str, float] = {}
        self._finished: dict[str, float] = {}
        self._worked: dict[str, float] = {}
        self._trouble: dict[str, str | None] = {}
        self.vitals: HealthSnapshot | None = None
        self.stopping = False

    def begin(self) -> None:
        """The loops begin now; what went before, a migration say, took its time."""
        self._start = self._clock()

    def finished(self, name: str) -> None:
        """A tick did what it had to."""
        self._trouble[name] = None
        self._finished[name] = self._returned[name] = self._clock()

    def failed(self, name: str, trouble: str) -> None:
        """A tick came to a known trouble, or waits until it tries again."""
        self._trouble[name] = trouble
        self._returned[name] = self._clock()

    def worked(self, name: str) -> None:
        """A piece of work came to its end: long ticks are made of many."""
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
                    waiting=waiting(self.vitals).get(name),
                    trouble=self._trouble.get(name),
                )
                for name in LOOPS
            ),
            stopping=self.stopping,
        )

    def beats(self, now: datetime) -> dict[str, datetime]:
        """The same for the database."""
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
    """The duty that looks at the whole now and then, and leaves the traces of all the others."""

    def __init__(self, heart: Heartbeat, store: Store, now: Callable[[], datetime]) -> None:
        self._heart = heart
        self._store = store
        self._now = now
        self._written: set[str] = set()
        self._next = 0.0

    def tick(self) -> bool:
        """At once when something has come about for the first time, else every ten seconds."""
        now = self._now()
        beats = self._heart.beats(now)
        if time.monotonic() < self._next and beats.keys() <= self._written | {VITALS}:
            return True
        self._heart.vitals = self._store.statistics.snapshot(now)
        self._store.heartbeats.write(beats | {VITALS: now})
        self._written = {*beats, VITALS}
        self._next = time.monotonic() + BEAT_EVERY
        return True
