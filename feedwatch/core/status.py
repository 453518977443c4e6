"""Status: the state of everything at one moment, for `status`, the page and the API."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from feedwatch.core.alert import Trouble, Undelivered
from feedwatch.core.circuit_breaker import CircuitBreaker, as_one
from feedwatch.core.daemons import DaemonHealth
from feedwatch.core.episode import Episode, EpisodeCounts
from feedwatch.core.feed import Feed
from feedwatch.core.health import Pass, Use
from feedwatch.core.served import Unserved
from feedwatch.core.settings import Policy
from feedwatch.core.websub import Push


class Finding(NamedTuple):
    """What one check of `doctor` found; `mend` says what to do where that is not ok."""

    check: str
    found: str
    mend: str | None = None
    may_stay: bool = False  # a risk that an operator may take: a warning

    @property
    def ok(self) -> bool:
        """Whether there is nothing that must be mended."""
        return self.mend is None or self.may_stay


@dataclass(frozen=True, kw_only=True)
class ProcessorStatus:
    """One media API: its circuit breaker, its limits, and how near it is to them."""

    name: str
    breaker: CircuitBreaker
    policy: Policy
    submitted_last_24_hours: int
    jobs_in_flight: int
    next_due_at: datetime | None  # when an episode is to be submitted next; None if none is


@dataclass(frozen=True, kw_only=True)
class Status:
    """The daemon's health, submissions and their limits, feeds, and what needs a person."""

    use: Use  # of the database by a daemon
    problems: Sequence[str]  # why the daemon makes no progress; empty while it does
    last_progress_at: datetime | None  # of the loop whose progress is the oldest
    daemons: Sequence[DaemonHealth]  # those that were seen lately: with SQLite but one
    passes: Sequence[Pass]  # of `run --once`, the newest first; empty where a daemon is run
    processors: Sequence[ProcessorStatus]  # that the feeds' pipelines need
    counts: Mapping[str, EpisodeCounts]  # by the name of the feed
    feeds: Sequence[Feed]
    troubles: Sequence[Trouble]
    undelivered: Sequence[Undelivered]
    waiting: Sequence[Episode]  # the newest held and unknown ones
    overdue: Sequence[Episode]
    unserved: Unserved | None  # None: no feed is served
    push: Push | None  # None: no feed names a hub, or hubs cannot reach us
    journal: Mapping[str, str | None]  # why this user cannot write a place of it; None if it can

    @property
    def breaker(self) -> CircuitBreaker:
        """Those of all processors as one."""
        return as_one({one.name: one.breaker for one in self.processors})

    @property
    def needs_a_person(self) -> bool:
        """Whether something stands still until a person acts."""
        breakers = [one.breaker for one in self.processors]
        is_blocked = any(one.blocked and one.tripped_until is not None for one in breakers)
        rests = any(feed.missing_podcast is not None for feed in self.feeds)
        return bool(self.waiting) or is_blocked or rests or self.use is Use.REPLACED
