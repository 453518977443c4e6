"""Circuit breaker: stops all submissions to a media API, and is reset by a safe read. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from feedwatch.core.job import Accepted, Answer, Later, Refused, Unknown
from feedwatch.core.schedule import DAY, HOUR, MINUTE, backoff
from feedwatch.core.settings import Policy


@dataclass(frozen=True, kw_only=True)
class CircuitBreaker:
    """Circuit breaker of one media API: whether submissions may leave.

    While `tripped_until` is set nothing is submitted. Once that time has passed, a safe read is
    tried, and only its success resets the breaker. So an outage puts one episode in doubt, not the
    whole queue.
    """

    paused: bool = False  # by a person
    paused_at: datetime | None = None
    paused_by: str | None = None  # who it was, and by which way; None: before this was kept
    tripped_until: datetime | None = None
    reason: str | None = None  # why it tripped; kept until a POST has a clear answer
    failures: int = 0  # POSTs and safe reads in a row that surely did nothing
    doubtful_posts: int = 0  # POSTs in a row that may or may not have been taken
    blocked: bool = False  # tripped by something that a person has to mend, not time alone
    # Odd answers with no clear one between them: those about one episode are that episode's own,
    # those about several are the API's, and stop everybody.
    odd_episode: int | None = None  # which one they are about, or `SEVERAL`
    odd_answers: int = 0  # how many there were about that one; 0 if they are the API's


SEVERAL = 0  # no episode's id


def is_tripped(breaker: CircuitBreaker, now: datetime) -> bool:
    """Whether it is too early for a safe read. A time too far ahead is a clock's error."""
    return breaker.tripped_until is not None and now < breaker.tripped_until <= now + 2 * DAY


def as_one(breakers: Mapping[str, CircuitBreaker]) -> CircuitBreaker:
    """Those of several APIs, by their names, as one: paused if all are, else the first tripped."""
    if not breakers:
        return CircuitBreaker()
    if len(breakers) == 1 or all(one.paused for one in breakers.values()):
        return next(iter(breakers.values()))
    for name, one in breakers.items():
        if one.tripped_until is not None:
            return replace(one, paused=False, reason=f"{name}: {one.reason}")
    return CircuitBreaker()


def next_read(breaker: CircuitBreaker, due_at: datetime | None, now: datetime) -> str | None:
    """When the safe read is tried that may reset the breaker, in words; None: it is not tripped.

    `due_at` is when an episode is to be submitted next, None if none is. None, too, while a person
    has paused submissions.
    """
    if breaker.paused or breaker.tripped_until is None:
        return None
    when = breaker.tripped_until if is_tripped(breaker, now) else now
    if not breaker.blocked:  # else it is read in any case
        if due_at is None:
            return "once an episode is due"
        when = max(when, due_at)
    return f"at {when:%Y-%m-%d %H:%M:%S}Z" if when > now else "now"


def breaker_after_answer(
    breaker: CircuitBreaker, episode_id: int, answer: Answer, now: datetime, policy: Policy
) -> CircuitBreaker:
    """The breaker after a POST for an episode: a clear answer resets it for good.

    Anything else trips it, but for an odd answer about one episode alone, which must not keep the
    others waiting: in the API's own voice it leaves the breaker as it was, in another one it trips
    the breaker for one poll interval.
    """
    match answer:
        case Accepted() | Refused():
            at, by = breaker.paused_at, breaker.paused_by
            return CircuitBreaker(paused=breaker.paused, paused_at=at, paused_by=by)
        case Later(odd=True) | Unknown(odd=True) if breaker.odd_episode not in (None, episode_id):
            several = replace(breaker, odd_episode=SEVERAL, odd_answers=0)
            return breaker_after_doubt(several, answer.reason, now, policy)
        case Later(odd=True):
            return _after_odd_answer(breaker, episode_id)
        case Unknown(odd=True):
            odd = _after_odd_answer(breaker, episode_id)
            return replace(odd, tripped_until=now + policy.poll_interval, reason=answer.reason)
        case Later():
            return _tripped(breaker, answer, now, policy)
        case Unknown(reason):
            return breaker_after_doubt(breaker, reason, now, policy)


def breaker_after_doubt(
    breaker: CircuitBreaker, reason: str, now: datetime, policy: Policy
) -> CircuitBreaker:
    """The breaker after a doubtful POST: each one needs a person, so the next waits ever longer."""
    doubtful_posts = breaker.doubtful_posts + 1
    wait = backoff(doubtful_posts, first=policy.poll_interval, most=6 * HOUR, key="doubt")
    return replace(breaker, tripped_until=now + wait, reason=reason, doubtful_posts=doubtful_posts)


def breaker_after_read(
    breaker: CircuitBreaker, failure: Later | None, now: datetime, policy: Policy
) -> CircuitBreaker:
    """The breaker after a safe read: success lets a POST try, which alone clears the counters.

    Reads may succeed while POSTs do not: the next failure must not start its backoff from scratch.
    """
    if failure is None:
        return replace(breaker, tripped_until=None, blocked=False)
    return _tripped(breaker, failure, now, policy)


def breaker_after_block(breaker: CircuitBreaker, reason: str, now: datetime) -> CircuitBreaker:
    """The breaker, tripped by something on this machine that a person has to mend."""
    return replace(breaker, tripped_until=now, reason=reason, blocked=True)


def breaker_after_refused_poll(
    breaker: CircuitBreaker, reason: str, now: datetime, policy: Policy
) -> CircuitBreaker:
    """The breaker after a poll that the API refused us: it trips once, however many are refused."""
    if breaker.blocked and breaker.tripped_until is not None:
        return breaker
    return _tripped(breaker, Later(reason, blocked=True), now, policy)


def breaker_after_new_access(breaker: CircuitBreaker, now: datetime) -> CircuitBreaker:
    """The breaker after a change of the API's key or URL, which may have mended what blocks it."""
    return replace(breaker, tripped_until=now) if breaker.blocked else breaker


def paused(breaker: CircuitBreaker, by: str, now: datetime) -> CircuitBreaker:
    """The breaker, paused; one that is stays paused since then, and by whom it was."""
    return breaker if breaker.paused else replace(breaker, paused=True, paused_at=now, paused_by=by)


def resumed(breaker: CircuitBreaker) -> CircuitBreaker:
    """The breaker, paused no longer."""
    return replace(breaker, paused=False, paused_at=None, paused_by=None)


def _after_odd_answer(breaker: CircuitBreaker, episode_id: int) -> CircuitBreaker:
    return replace(breaker, odd_episode=episode_id, odd_answers=breaker.odd_answers + 1)


def _tripped(
    breaker: CircuitBreaker, cause: Later, now: datetime, policy: Policy
) -> CircuitBreaker:
    failures = breaker.failures + 1
    most = max(policy.poll_interval, 5 * MINUTE)  # a safe read costs nothing, so try often
    wait = backoff(failures, first=policy.poll_interval, most=most, key="gate")
    wait = max(wait, min(cause.retry_after or timedelta(), DAY))
    return replace(
        breaker,
        tripped_until=now + wait,
        reason=cause.reason,
        failures=failures,
        blocked=cause.blocked,
    )
