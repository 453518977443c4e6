"""Wall clock: when somebody sets it, and a schedule of loops that does not mind.

NTP corrects a clock that ran ahead, a machine boots with none, a person mistypes a year. Pauses are
measured by a clock that nobody sets. What stands in the database or goes through APScheduler is a
time of day, and is put right once the wall clock was set.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Lock

from apscheduler.triggers.base import BaseTrigger

from feedwatch.core.health import STEP_AT_LEAST
from feedwatch.core.post_deadline import Moment
from feedwatch.processors.clocks import moment


class WallClock:
    """Notices that the wall clock was set. Each object tells one caller of each step."""

    def __init__(self) -> None:
        self._offset = _offset_of(moment())

    def step(self) -> timedelta:
        """By how much the wall clock was set since the last call; nothing if it was not."""
        offset = _offset_of(moment())
        step = timedelta(seconds=offset - self._offset)
        if abs(step) < STEP_AT_LEAST:
            return timedelta()
        self._offset = offset
        return step


class FollowedClock:
    """The time of day that the loops go by: it is set no sooner than the database follows.

    Else whoever asks between the two takes what waits for overdue, given up or due.
    """

    def __init__(self, read: Callable[[], Moment] = moment) -> None:
        self._read = read
        self._offset = self._followed = _offset_of(read())  # of `now`, and of the database
        self._lock = Lock()

    def now(self) -> datetime:
        """The time of day, without what the wall clock was set by since the last `follow`."""
        at = self._read()
        step = timedelta(seconds=_offset_of(at) - self._offset)
        wall = at.wall if abs(step) < STEP_AT_LEAST else at.boot + self._offset
        return datetime.fromtimestamp(wall, UTC)

    def follow(self, follow_clock: Callable[[datetime, timedelta], None]) -> timedelta:
        """Have `follow_clock` put the database right, if the wall clock was set; by how much.

        What it raises passes through, and the next call tries again.
        """
        with self._lock:
            at = self._read()
            offset = _offset_of(at)
            step = timedelta(seconds=offset - self._followed)
            if abs(step) < STEP_AT_LEAST:
                self._offset = self._followed  # set, and right again before the database followed
                return timedelta()
            # Ahead first in the database, back first here: in between, all is younger than it is.
            self._offset = min(self._offset, offset)
            follow_clock(datetime.fromtimestamp(at.wall, UTC), step)
            self._followed = self._offset = offset
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


def _offset_of(at: Moment) -> float:
    """Seconds from a clock that nobody sets to the wall clock.

    The boot time goes on while the machine is suspended, and so that is no step.
    """
    return at.wall - at.boot
