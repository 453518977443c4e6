"""The deadline of a POST: how long after its claim it may still leave, and how long it may take.

A process that is stopped between claim and POST, or sleeps with its machine, must not send on
waking what a person has decided about meanwhile.
"""

import time
from dataclasses import dataclass
from typing import Self

FIRST_BYTE_SECONDS = 10.0
POST_SECONDS = 60.0  # in all; must stay below episode_lifecycle.LEASE
CLOCKS_MAY_PART = 5.0  # seconds; beyond it neither clock says how old the claim is
# Linux's monotonic clock stands still while the machine sleeps; this one goes on.
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@dataclass(frozen=True, kw_only=True)
class Deadline:
    """Deadline of one POST, counted from the commit of its claim. All times are in seconds."""

    boot: float  # the claim's commit, by the clock that counts from the machine's start
    wall: float  # the same moment by the wall clock

    @classmethod
    def from_now(cls) -> Self:
        """The deadline of a claim that is committed now."""
        return cls(boot=time.clock_gettime(_BOOT_CLOCK), wall=time.time())

    def seconds_left(self) -> float:
        """How long the whole request may still take; not above 0 once the deadline has passed."""
        return POST_SECONDS - self._age()

    def lapsed(self) -> str | None:
        """Why the first byte must not leave any more; None while it may."""
        age = self._age()
        if age > FIRST_BYTE_SECONDS:
            return f"{age:.0f} s have passed since the claim"
        parted = abs(time.time() - self.wall - age)
        if parted > CLOCKS_MAY_PART:
            return f"the clocks have parted by {parted:.0f} s since the claim"
        return None

    def _age(self) -> float:
        return time.clock_gettime(_BOOT_CLOCK) - self.boot
