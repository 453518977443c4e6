"""The boot of this machine, and a clock that nobody sets."""

import time
from datetime import datetime, timedelta
from pathlib import Path

from feedwatch.core.health import BOOT

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # Linux's alone
LENGTH = 24  # of an id's 32 digits; a heartbeat's name has at most 32 characters
# Linux's monotonic clock stands still while the machine sleeps; this one goes on.
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_seconds() -> float:
    """Seconds since this machine was booted, as a frozen process and a sleeping machine have it."""
    return time.clock_gettime(_BOOT_CLOCK)


def machine_boot(now: datetime) -> dict[str, datetime]:
    """When this machine was booted, by the clock that says `now`; empty where the boot has no id.

    That of a container is its host's.
    """
    try:
        boot_id = BOOT_ID.read_text().strip().replace("-", "")
    except OSError:
        return {}
    return {BOOT + boot_id[:LENGTH]: now - timedelta(seconds=boot_seconds())}
