"""Health is progress. Pure: how long ago things happened comes in, what is wrong goes out.

One record for everybody who asks: systemd's watchdog, `healthcheck`, `status`, `/healthz`,
`/readyz` and the metrics. A failing feed, a pause, a closed gate or a limit is no ill health: the
loops go round all the same, and what waits, waits for a reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

CHECKS, SUBMISSIONS, POLLS, VITALS = "checks", "submissions", "polls", "vitals"
LOOPS = (CHECKS, SUBMISSIONS, POLLS, VITALS)
START = "start"
WORKED = " worked"  # after a loop's name: when it last took a piece of work to its end

# The longest that a loop may be without a sign of life. Submitting waits for a POST (a minute) and
# for the database before and after it; the others never wait for the network.
ROUND_TIMEOUTS = {SUBMISSIONS: timedelta(minutes=2)}
ROUND_TIMEOUT = timedelta(minutes=1)
# What is due may wait long for its turn, behind ten thousand others. But if in all that time not
# one of them came to its end, the loop goes round and gets nowhere.
STALLED_AFTER = timedelta(minutes=15)
WORK = {CHECKS: "feed", POLLS: "job"}


@dataclass(frozen=True, kw_only=True)
class LoopHealth:
    """One loop, by how long ago things happened to it; None where they did not, in this life."""

    name: str
    returned: timedelta | None = None  # a tick came to its end, be it by known trouble
    finished: timedelta | None = None  # a tick did what it had to
    worked: timedelta | None = None  # it took a piece of work to its end, perhaps within a tick
    waiting: timedelta | None = None  # since then its oldest piece of work has been due
    trouble: str | None = None  # why it stands still at present


@dataclass(frozen=True, kw_only=True)
class HealthRecord:
    """How the daemon is doing."""

    up: timedelta  # since it began
    loops: tuple[LoopHealth, ...]
    stopping: bool = False


@dataclass(frozen=True, kw_only=True)
class HealthSnapshot:
    """What shows whether the daemon gets on with its work."""

    at: datetime  # when this was so
    feeds: int  # in the config
    live_jobs: int
    held: int
    unknown: int
    feed_due_at: datetime | None  # of the feed that has been due for longest
    job_due_at: datetime | None  # of the job that has been due for longest


def problems(record: HealthRecord) -> list[str]:
    """Why the daemon makes no progress; nothing if it does."""
    found = []
    for loop in record.loops:
        silent = _since(record, loop.finished, loop.worked)
        if silent > _patience(loop):
            why = f": {loop.trouble}" if loop.trouble else ""
            found.append(f"{loop.name}: nothing finished for {spoken(silent)}{why}")
        elif _gets_nowhere(record, loop):
            found.append(
                f"{loop.name}: a {WORK[loop.name]} has been due for {spoken(_waiting(loop))}, and "
                f"none came to its end for {spoken(_since(record, loop.worked))}"
            )
    return found


def is_hung(record: HealthRecord) -> bool:
    """Whether only a new process will help: a loop does not even come to an end that fails."""
    return any(
        _since(record, loop.returned, loop.worked) > _patience(loop) or _gets_nowhere(record, loop)
        for loop in record.loops
    )


def unready(record: HealthRecord) -> list[str]:
    """Why the daemon does not do its work just now; nothing if it does."""
    if record.stopping:
        return ["stopping"]
    found = [f"{loop.name}: {loop.trouble}" for loop in record.loops if loop.trouble]
    found += [f"{loop.name}: starting" for loop in record.loops if loop.finished is None]
    return found or problems(record)


def spoken(length: timedelta) -> str:
    """75 s, 12 min, 3 h: as exact as a person needs it."""
    seconds = length.total_seconds()
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _patience(loop: LoopHealth) -> timedelta:
    return ROUND_TIMEOUTS.get(loop.name, ROUND_TIMEOUT)


def _since(record: HealthRecord, *events: timedelta | None) -> timedelta:
    """How long ago the latest of them was; where there was none, the daemon's start."""
    return min([record.up, *(event for event in events if event is not None)])


def _waiting(loop: LoopHealth) -> timedelta:
    return loop.waiting or timedelta()


def _gets_nowhere(record: HealthRecord, loop: LoopHealth) -> bool:
    return _waiting(loop) > STALLED_AFTER and _since(record, loop.worked) > STALLED_AFTER


def record_of(beats: Mapping[str, datetime], vitals: HealthSnapshot) -> HealthRecord | None:
    """What another process can tell by the database; None where no daemon has begun."""
    if START not in beats:
        return None
    # A beat from the future was written before somebody set the clock back: it is as good as old.
    ago = {name: abs(vitals.at - moment) for name, moment in beats.items()}
    return HealthRecord(
        up=ago[START],
        loops=tuple(
            LoopHealth(
                name=name,
                returned=ago.get(name),
                finished=ago.get(name),
                worked=ago.get(name + WORKED),
                waiting=waiting(vitals).get(name),
            )
            for name in LOOPS
        ),
    )


def waiting(vitals: HealthSnapshot | None) -> dict[str, timedelta]:
    """How long the oldest piece of each loop's work has been due."""
    if vitals is None:
        return {}
    oldest = {CHECKS: vitals.feed_due_at, POLLS: vitals.job_due_at}
    return {name: vitals.at - due_at for name, due_at in oldest.items() if due_at is not None}
