"""The two clocks: one that nobody sets, and the time of day."""

import time

from feedwatch.core.post_deadline import Moment

# Linux's monotonic clock stands still while the machine sleeps; this one goes on.
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def moment() -> Moment:
    """The present moment."""
    return Moment(boot=time.clock_gettime(_BOOT_CLOCK), wall=time.time())
