"""Wall clock: when somebody sets it, and a schedule of loops that does not mind.

NTP corrects a clock that ran ahead, a machine boots with none, a person mistypes a year. Pauses are
measured by a clock that nobody sets. What stands in the database or goes through APScheduler is a
time of day, and is put right once the wall clock was set.
"""

from datetime import datetime, timedelta

from apscheduler.triggers.base import BaseTrigger

from feedwatch.processors.clocks import moment

STEP_AT_LEAST = timedelta(seconds=2)  # slewing and a busy machine stay below


class WallClock:
    """Notices that the wall clock was set. Each object tells one caller of each step."""

    def __init__(self) -> None:
        self._offset = _offset()

    def step(self) -> timedelta:
        """By how much the wall clock was set since the last call; nothing if it was not."""
        offset = _offset()
        step = timedelta(seconds=offset - self._offset)
        if abs(step) < STEP_AT_LEAST:
            return timedelta()
        self._offset = offset
        return step


class EveryInterval(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Fires now and then `interval` after each time that it was asked.

    APScheduler's own interval trigger goes by the time before. After a clock that jumped by months
    the scheduler lists every second in between before it runs the job once.
    """

    def __init__(self, interval: timedelta) -> None:
        self._interval = interval

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """The next time, which is never in the past."""
        return now if previous is None else now + self._interval


def _offset() -> float:
    """Seconds from a clock that nobody sets to the wall clock.

    The boot time goes on while the machine is suspended, and so that is no step.
    """
    now = moment()
    return now.wall - now.boot
