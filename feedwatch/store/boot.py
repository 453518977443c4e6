"""The boot of this machine, by which heartbeats are read whatever the wall clock was set by."""

import time
from datetime import datetime, timedelta
from pathlib import Path

from feedwatch.core.health import BOOT

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # Linux's alone
LENGTH = 24  # of an id's 32 digits; a heartbeat's name has at most 32 characters


def machine_boot(now: datetime) -> dict[str, datetime]:
    """When this machine was booted, by the clock that says `now`; empty where the boot has no id.

    That of a container is its host's.
    """
    try:
        boot_id = BOOT_ID.read_text().strip().replace("-", "")
    except OSError:
        return {}
    up = timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME))
    return {BOOT + boot_id[:LENGTH]: now - up}
