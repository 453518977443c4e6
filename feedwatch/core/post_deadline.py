"""The deadline of a POST: how long after its claim it may still leave, and how long it may take.

A process that is stopped between claim and POST, or sleeps with its machine, must not send on
waking what a person has decided about meanwhile. Pure.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from feedwatch.core.episode import Episode, State
from feedwatch.core.health import spoken

FIRST_BYTE_SECONDS = 10.0
POST_SECONDS = 60.0  # in all; must stay below episode_lifecycle.LEASE
MAY_BE_UNDER_WAY = timedelta(minutes=15)  # its process may be cut off, or have been frozen
CLOCKS_MAY_PART = 5.0  # seconds; beyond it neither clock says how old the claim is


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A moment by two clocks, in seconds."""

    boot: float  # since the machine was started, the time that it slept included
    wall: float  # since 1970


def seconds_left(claimed: Moment, now: Moment) -> float:
    """How long the whole request may still take; not above 0 once its deadline has passed."""
    return POST_SECONDS - (now.boot - claimed.boot)


def lapsed(claimed: Moment, now: Moment) -> str | None:
    """Why the first byte must not leave any more; None while it may."""
    age = now.boot - claimed.boot
    if age > FIRST_BYTE_SECONDS:
        return f"{age:.0f} s have passed since the claim"
    parted = abs(now.wall - claimed.wall - age)
    if parted > CLOCKS_MAY_PART:
        return f"the clocks have parted by {parted:.0f} s since the claim"
    return None


def perhaps_under_way(episode: Episode, now: datetime) -> str | None:
    """A warning for who submits an unknown episode again while its POST may be on its way."""
    at = episode.submitted_at
    if episode.state is not State.UNKNOWN or at is None or now - at >= MAY_BE_UNDER_WAY:
        return None
    return (
        f"episode {episode.id} was submitted {spoken(now - at)} ago: that POST may still be under "
        "way in a daemon that does not reach the database"
    )
