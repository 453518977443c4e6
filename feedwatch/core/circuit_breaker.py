"""Circuit breaker: stops all submissions to a media API, and is reset by a safe read. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from feedwatch.core.job import Accepted, Answer, Later, Refused, Unknown
from feedwatch.core.schedule import (
    DAY,
    HOUR,
    MINUTE,
    backoff,
)
from feedwatch.core.settings import Policy


@dataclass(frozen=True, kw_only=True)
class CircuitBreaker:
    """Whether submissions may leave, for one media API. Closed by trouble, opened by a safe read.

    While `closed_until` is set nothing is submitted; once it has passed, a read is tried, and only
    if that succeeds does the gate open. So an outage puts one episode in doubt, not the queue.
    """

    paused: bool = False  # by a person
    tripped_until: datetime | None = None
    reason: str | None = None  # why it was closed; kept until a POST has a clear answer
    failures: int = 0  # POSTs and reads in a row that surely did nothing
    doubtful_posts: int = 0  # POSTs in a row that left it open whether they were taken
    blocked: bool = False  # closed by something that a person has to mend, not time alone


# The gate


def is_tripped(breaker: CircuitBreaker, now: datetime) -> bool:
    """Whether it is too early to try a read. A time too far ahead is a clock's error."""
    return breaker.tripped_until is not None and now < breaker.tripped_until <= now + 2 * DAY


def breaker_after_answer(
    breaker: CircuitBreaker, answer: Answer, now: datetime, policy: Policy
) -> CircuitBreaker:
    """A clear answer opens it for good; anything else closes it for a while."""
    match answer:
        case Accepted() | Refused():
            return CircuitBreaker(paused=breaker.paused)
        case Later():
            return _closed(breaker, answer, now, policy)
        case Unknown(reason):
            return breaker_after_doubt(breaker, reason, now, policy)


def breaker_after_doubt(
    breaker: CircuitBreaker, reason: str, now: datetime, policy: Policy
) -> CircuitBreaker:
    """Each doubtful submission needs a person, so the next one waits ever longer."""
    doubtful_posts = breaker.doubtful_posts + 1
    wait = backoff(doubtful_posts, first=policy.poll_interval, most=6 * HOUR, key="doubt")
    return replace(breaker, tripped_until=now + wait, reason=reason, doubtful_posts=doubtful_posts)


def breaker_after_read(
    breaker: CircuitBreaker, failure: Later | None, now: datetime, policy: Policy
) -> CircuitBreaker:
    """A safe read was tried. One that succeeds opens the gate; the rest stays until a POST does.

    Reads may succeed while POSTs do not: the next doubt or failure must not start from scratch.
    """
    if failure is None:
        return replace(breaker, tripped_until=None, blocked=False)
    return _closed(breaker, failure, now, policy)


def breaker_after_new_access(breaker: CircuitBreaker, now: datetime) -> CircuitBreaker:
    """The API's key or address has changed: a person may have mended it, so a read is tried."""
    return replace(breaker, tripped_until=now) if breaker.blocked else breaker


def _closed(breaker: CircuitBreaker, cause: Later, now: datetime, policy: Policy) -> CircuitBreaker:
    failures = breaker.failures + 1
    most = max(policy.poll_interval, 5 * MINUTE)  # a read costs nothing, so look often
    wait = backoff(failures, first=policy.poll_interval, most=most, key="gate")
    wait = max(wait, min(cause.retry_after or timedelta(), DAY))
    return replace(
        breaker,
        tripped_until=now + wait,
        reason=cause.reason,
        failures=failures,
        blocked=cause.blocked,
    )
