"""Health is progress. Pure: how long ago things happened goes in, what is wrong comes out.

One record for everybody who asks: systemd's watchdog, `healthcheck`, `status`, `/healthz`,
`/readyz` and the metrics. A failing feed, a pause, a tripped circuit breaker or a limit is no ill
health: the loops go round all the same, and what waits, waits for a reason.

Named tuples, since `healthcheck` starts here: to import dataclasses takes as long as all the rest.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum, auto
from itertools import pairwise
from typing import NamedTuple

CHECKS, SUBMISSIONS, POLLS, VITALS = "checks", "submissions", "polls", "vitals"
LOOPS = (CHECKS, SUBMISSIONS, POLLS, VITALS)
START = "start"
WORKED = " worked"  # after a loop's name: when it last completed a piece of work
BOOT = "boot "  # before the id of a machine's boot: when that was, by the clock of the other rows

# The longest that a loop may be without a sign of progress. Submitting waits for a POST (a minute)
# and for the database before and after it; the other loops never wait for the network.
ROUND_TIMEOUTS = {SUBMISSIONS: timedelta(minutes=2)}
ROUND_TIMEOUT = timedelta(minutes=1)
# What is due may wait long for its turn, behind ten thousand others. But if not one of them was
# completed in all that time, the loop goes round and is stalled.
STALLED_AFTER = timedelta(minutes=15)
# Nobody submits then; that is no reason to restart a fleet, but none of it is ready.
LEADERLESS_FOR = timedelta(minutes=1)
# Passes of `run --once`. The longest of the gaps between the last ones may be a night.
MOST_PASSES = 30
STEP_AT_LEAST = timedelta(seconds=2)  # of the wall clock; slewing and a busy machine stay below
INTERVAL_UNKNOWN = timedelta(hours=24)  # without a rhythm: timers that run less often are rare
# A timer has a rhythm. Passes by hand come in a row, seconds or minutes apart, and then for long
# none; so a rhythm takes several gaps, alike, that are no repetition at once.
TIMER_APART_AT_LEAST = timedelta(minutes=1)  # cron's shortest
RHYTHM_GAPS, RHYTHM_FOR = 3, timedelta(hours=1)  # so many, and for so long or
RHYTHM_MANY_GAPS = 10
PASS_MAY_BE_LATE = timedelta(minutes=5)  # and by half the interval
PASS_MAY_TAKE = timedelta(hours=24)
WORK = {CHECKS: "feed", POLLS: "job"}
ON_ANOTHER_FILE = (
    "a daemon runs on a file of this database that was deleted or replaced, and submits nothing: "
    "stop it, see that the database is as you want it, then start it again"
)


class LoopHealth(NamedTuple):
    """One loop, by how long ago things happened to it; None where they have not, in this run."""

    name: str
    returned: timedelta | None = None  # a tick ended, even if by a known trouble
    finished: timedelta | None = None  # a tick did all that it had to
    worked: timedelta | None = None  # it completed a piece of work, perhaps within a tick
    waiting: timedelta | None = None  # since then its oldest piece of work has been due
    trouble: str | None = None  # why it cannot work at present

    def is_late(self, silent: timedelta) -> bool:
        """Whether the loop has been without a sign of progress for too long."""
        return silent > ROUND_TIMEOUTS.get(self.name, ROUND_TIMEOUT)


class HealthRecord(NamedTuple):
    """All that the daemon's health is judged by."""

    up: timedelta  # since it started
    loops: tuple[LoopHealth, ...]
    stopping: bool = False
    leaderless: timedelta = timedelta()  # for so long none of the database's daemons has led

    def since(self, *events: timedelta | None) -> timedelta:
        """How long ago the latest of `events` was; where there was none, the daemon's start."""
        return min([self.up, *(event for event in events if event is not None)])

    def is_stalled(self, loop: LoopHealth) -> bool:
        """Whether the loop has had due work for long and has completed none of it."""
        waiting = loop.waiting or timedelta()
        return waiting > STALLED_AFTER and self.since(loop.worked) > STALLED_AFTER


class HealthSnapshot(NamedTuple):
    """Health snapshot: what the database shows of the daemon's work."""

    at: datetime  # when this was so
    feeds: int  # in the config
    live_jobs: int
    held: int
    unknown: int
    feed_due_at: datetime | None  # of the feed that has been due for longest
    job_due_at: datetime | None  # of the job that has been due for longest


class Use(Enum):
    """Whether a process, a daemon or a pass, has the database open."""

    OPEN = auto()
    NONE = auto()
    REPLACED = auto()  # one has the file open that stood in its place before
    UNKNOWN = auto()


class Pass(NamedTuple):
    """One run of `run --once`."""

    began_at: datetime
    seconds: float | None = None  # None: it has not ended, or it died
    status: int | None = None


def problems(record: HealthRecord) -> list[str]:
    """Why the daemon makes no progress; nothing if it does."""
    found = []
    for loop in record.loops:
        silent = record.since(loop.finished, loop.worked)
        if loop.is_late(silent):
            why = f": {loop.trouble}" if loop.trouble else ""
            found.append(f"{loop.name}: nothing finished for {spoken(silent)}{why}")
        elif record.is_stalled(loop):
            found.append(
                f"{loop.name}: a {WORK[loop.name]} has been due for "
                f"{spoken(loop.waiting or timedelta())}, and none was completed for "
                f"{spoken(record.since(loop.worked))}"
            )
    return found


def is_hung(record: HealthRecord) -> bool:
    """Whether only a new process will help: a loop does not even return with a failure."""
    return any(
        loop.is_late(record.since(loop.returned, loop.worked)) or record.is_stalled(loop)
        for loop in record.loops
    )


def unready(record: HealthRecord) -> list[str]:
    """Why the daemon does not do its work just now; nothing if it does."""
    if record.stopping:
        return ["stopping"]
    found = [f"{loop.name}: {loop.trouble}" for loop in record.loops if loop.trouble]
    found += [f"{loop.name}: starting" for loop in record.loops if loop.finished is None]
    if record.leaderless > LEADERLESS_FOR:
        found.append(f"no daemon leads for {spoken(record.leaderless)}: nothing is submitted")
    return found or problems(record)


def spoken(length: timedelta) -> str:
    """75 s, 12 min, 3 h: as exact as a person needs it."""
    seconds = length.total_seconds()
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"


def by_clock_of_reader(
    heartbeats: Mapping[str, datetime], boot: Mapping[str, datetime]
) -> dict[str, datetime]:
    """The heartbeats by the wall clock of whoever reads them, without their rows of `BOOT`.

    boot: when this machine was booted, by that clock. If it is set after they were written, an hour
    ahead is no hour of silence. What another machine or another boot wrote stays as it is.
    """
    steps = [boot[name] - heartbeats[name] for name in boot if name in heartbeats]
    step = steps[0] if steps and abs(steps[0]) >= STEP_AT_LEAST else timedelta()
    return {name: at + step for name, at in heartbeats.items() if not name.startswith(BOOT)}


def record_of(heartbeats: Mapping[str, datetime], snapshot: HealthSnapshot) -> HealthRecord | None:
    """What another process can tell by the database; None where no daemon has started."""
    if START not in heartbeats:
        return None
    # A heartbeat of the future was written before the clock was set back: as good as an old one.
    ago = {name: abs(snapshot.at - moment) for name, moment in heartbeats.items()}
    return HealthRecord(
        up=ago[START],
        loops=tuple(
            LoopHealth(
                name=name,
                returned=ago.get(name),
                finished=ago.get(name),
                worked=ago.get(name + WORKED),
                waiting=waiting(snapshot).get(name),
            )
            for name in LOOPS
        ),
    )


def problems_shown(
    record: HealthRecord | None, passes: Sequence[Pass], now: datetime, use: Use
) -> list[str]:
    """Why feedwatch, another process, makes no progress, as its database shows; or none.

    `passes`: the last runs of `run --once`, the newest first. A daemon forgets those before it.
    """
    if use is not Use.REPLACED and passes:
        return pass_problems(passes, now, use)
    if use is Use.REPLACED:
        return [ON_ANOTHER_FILE]
    if use is Use.NONE or (record is None and use is Use.UNKNOWN):
        return ["not running: no daemon has this database"]
    return ["starting"] if record is None else problems(record)


def pass_interval(passes: Sequence[Pass]) -> timedelta | None:
    """How often a timer runs `run --once`: the longest time between two of the last passes.

    None where they follow no timer, as far as that shows: they are few, or come in no rhythm.
    """
    gaps = sorted(gap for gap in _gaps(passes) if gap >= TIMER_APART_AT_LEAST)
    lasts = sum(gaps, timedelta()) >= RHYTHM_FOR or len(gaps) >= RHYTHM_MANY_GAPS
    if len(gaps) < RHYTHM_GAPS or not lasts:
        return None
    usual = gaps[len(gaps) // 2]
    alike = sum(usual / 2 <= gap <= usual * 3 / 2 for gap in gaps)
    return gaps[-1] if 2 * alike > len(gaps) else None


def _gaps(passes: Sequence[Pass]) -> list[timedelta]:
    """The times from the begin of one pass to that of the next."""
    return [later.began_at - earlier.began_at for later, earlier in pairwise(passes)]


def pass_problems(passes: Sequence[Pass], now: datetime, use: Use) -> list[str]:
    """Whether the last pass died, or the next one is overdue by the interval of those before.

    What a pass found out, such as a feed that fails, is no ill health, as it is none of a daemon.
    """
    newest, ago = passes[0], abs(now - passes[0].began_at)
    if newest.status is None:
        if use is Use.NONE:
            return [f"the `run --once` that began {spoken(ago)} ago has died"]
        return [f"a `run --once` is at work for {spoken(ago)}"] if ago > PASS_MAY_TAKE else []
    interval = pass_interval(passes)
    usual = interval or max([INTERVAL_UNKNOWN, *_gaps(passes)])
    if ago <= usual + max(usual / 2, PASS_MAY_BE_LATE):
        return []
    every = f"; it is usually run every {spoken(usual)}" if interval is not None else ""
    return [f"the last `run --once` began {spoken(ago)} ago{every}"]


def waiting(snapshot: HealthSnapshot | None) -> dict[str, timedelta]:
    """How long the oldest piece of each loop's work has been due."""
    if snapshot is None:
        return {}
    oldest = {CHECKS: snapshot.feed_due_at, POLLS: snapshot.job_due_at}
    return {name: snapshot.at - due_at for name, due_at in oldest.items() if due_at is not None}
