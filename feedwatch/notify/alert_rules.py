"""What needs a person right now, and what of it is news. Pure; docs/notifications.md lists it.

`status` shows the troubles, the notifications tell of each when it begins and when it is over.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from feedwatch.core.alert import Alert, Trouble, Waiting
from feedwatch.core.circuit_breaker import CircuitBreaker
from feedwatch.core.episode import State
from feedwatch.core.events import Change, Event, event
from feedwatch.core.feed import Feed
from feedwatch.core.json_forms import stamp
from feedwatch.logs.masking import masked

FAILED_FOR = timedelta(days=7)  # so long a failed episode counts; nobody need ever settle it
FAILURES = 3  # checks in a row: one or two happen to every server
GATE_FAILURES = 12  # in a row, about three quarters of an hour: an outage that lasts
AGAIN = timedelta(hours=1)  # between two messages about one trouble that grows
# What ends by itself may come again by itself: only what stays well for so long is over.
CALM = {kind: timedelta(minutes=10) for kind in ("failing", "gone", "blocked", "stopped")}
OVER = {
    "held": "no episode is held any more",
    "unknown": "no submission is in doubt any more",
    "failed": f"no episode has failed in the last {FAILED_FOR.days} days",
    "overdue": "no job is overdue any more",
    "failing": "its checks no longer fail",
    "silent": "a new episode has come",
    "gone": "it is no longer said to be gone",
    "blocked": "submissions are possible again",
    "stopped": "submissions are possible again",
}


def current_troubles(
    feeds: Collection[Feed], breaker: CircuitBreaker, waiting: Collection[Waiting]
) -> list[Trouble]:
    """Everything that needs a person, the gravest first."""
    found = [
        _of_gate(breaker),
        *map(_of_waiting, waiting),
        *map(_of_feed, feeds),
        *map(_of_silence, feeds),
    ]
    return [trouble for trouble in found if trouble is not None]


def transitions(
    current: Collection[Trouble], told: Mapping[str, Alert], now: datetime
) -> Iterator[Change]:
    """What is news, after what has been told."""
    for trouble in current:
        change = _standing(trouble, told.get(trouble.key), now)
        if change is not None:
            yield change
    for key in told.keys() - {trouble.key for trouble in current}:
        change = _gone(told[key], now)
        if change is not None:
            yield change


# What is wrong


def _of_gate(breaker: CircuitBreaker) -> Trouble | None:
    if breaker.tripped_until is None:
        return None
    if breaker.blocked:
        text = f"submissions stop until somebody acts: {breaker.reason}; see `feedwatch doctor`"
        return Trouble(kind="blocked", feed=None, text=text)
    if breaker.failures >= GATE_FAILURES:
        text = f"submissions stop, {breaker.failures} attempts in a row failed: {breaker.reason}"
        return Trouble(kind="stopped", feed=None, text=text)
    return None


def _of_feed(feed: Feed) -> Trouble | None:
    if not feed.active or feed.error is None:
        return None
    key = f"FEEDWATCH_FEEDS__{feed.name.upper()}__URL"
    if feed.error.startswith("gone:"):
        text = f"{feed.error}; if it has moved, set {key}, else take the feed out of the config"
        return Trouble(kind="gone", feed=feed.name, text=f"feed {feed.name}: {text}")
    if feed.failures < FAILURES:
        return None
    text = f"{feed.failures} checks in a row failed: {feed.error}; is {key} right?"
    return Trouble(kind="failing", feed=feed.name, text=f"feed {feed.name}: {text}")


def _of_silence(feed: Feed) -> Trouble | None:
    if not feed.active or feed.silent_since is None:
        return None
    text = "no new episode for much longer than it ever took; has it moved, or ended?"
    return Trouble(kind="silent", feed=feed.name, text=f"feed {feed.name}: {text}")


def _of_waiting(waiting: Waiting) -> Trouble | None:
    name, number, newest = waiting.feed, waiting.episodes, waiting.newest_id
    those = f"{number} episodes" if number != 1 else "1 episode"
    one = f"episode {newest}, {waiting.newest_title[:80]!r}"
    why = f"{one if number == 1 else f'the newest is {one}'}: {waiting.newest_reason}"
    match waiting.state:
        case State.HELD:
            kind, text = "held", f"{those} held ({why})"
            todo = f"`feedwatch approve --feed {name}` or `feedwatch skip --feed {name}` settles it"
        case State.UNKNOWN:
            kind, text = "unknown", f"{those} in doubt ({why})"
            todo = (
                f"look for it at the media API, then `feedwatch adopt {newest} MEDIA_ID`, "
                f"`feedwatch retry {newest}` or `feedwatch skip {newest}`"
            )
        case State.FAILED:
            kind, text = "failed", f"{those} failed in the last {FAILED_FOR.days} days ({why})"
            todo = f"`feedwatch retry {newest}` submits it again"
        case State.PROCESSING:
            kind, text = "overdue", f"{those} overdue at the media API ({why})"
            todo = "ask the media API; it is polled on and never submitted again by itself"
        case _:
            return None
    return Trouble(
        kind=kind,
        feed=name,
        text=f"feed {name}: {text}; {todo}",
        episodes=number,
        version=waiting.version,
    )


# What is news


def _standing(trouble: Trouble, alert: Alert | None, now: datetime) -> Change | None:
    """A trouble that is there."""
    if alert is None:
        begun = Alert(
            key=trouble.key, version=trouble.version, since=now, told_at=now, gone_at=None
        )
        return Change(alert=begun, event=_news("trouble.began", trouble, begun, now))
    # Told at a time to come means that the clock was set back since.
    may_tell = not timedelta() <= now - alert.told_at < AGAIN
    if trouble.version > alert.version and may_tell:
        grown = replace(alert, version=trouble.version, told_at=now, gone_at=None)
        return Change(alert=grown, event=_news("trouble.grew", trouble, grown, now))
    if alert.gone_at is not None:  # it was well for a moment only
        return Change(alert=replace(alert, gone_at=None))
    return None


def _gone(alert: Alert, now: datetime) -> Change | None:
    """A trouble that was told and is there no more."""
    kind, _, feed = alert.key.partition(" ")
    calm = CALM.get(kind, timedelta())
    if alert.gone_at is None and calm:
        return Change(alert=replace(alert, gone_at=now))
    if alert.gone_at is not None and timedelta() <= now - alert.gone_at < calm:
        return None
    text = f"over: {f'feed {feed}: ' if feed else ''}{OVER.get(kind, kind)}"
    over = Trouble(kind=kind, feed=feed or None, text=text)
    return Change(alert=alert, over=True, event=_news("trouble.ended", over, alert, now))


def _news(what: str, trouble: Trouble, alert: Alert, now: datetime) -> Event:
    data = {
        "key": trouble.key,
        "kind": trouble.kind,
        "feed": trouble.feed,
        "episodes": trouble.episodes,
        "since": stamp(alert.since),
    }
    return event(what, trouble.key, now, masked(trouble.text), data)
