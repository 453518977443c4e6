"""Settings: what the operator asks for, with the defaults of every key."""

from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from re import Pattern
from typing import Any

# What the operator asks for


class OnReplaced(StrEnum):
    """What becomes of audio that was replaced under a known episode."""

    IGNORE = "ignore"
    HOLD = "hold"
    SUBMIT = "submit"


class OnUnknown(StrEnum):
    """What becomes of a submission that may or may not have been taken."""

    HOLD = "hold"
    RESUBMIT = "resubmit"


@dataclass(frozen=True, kw_only=True)
class FirstRun:
    """Which items of a feed never seen before are submitted. At most one of the three is set."""

    everything: bool = False
    latest: int = 0
    since: date | None = None


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How the items of one feed are chosen."""

    first_run: FirstRun = FirstRun()
    flood_limit: int = 5
    on_replaced: OnReplaced = OnReplaced.HOLD
    include_title: Pattern[str] | None = None
    exclude_title: Pattern[str] | None = None
    episode_types: frozenset[str] = frozenset({"full", "bonus", "trailer"})
    media_types: tuple[str, ...] = ("audio/*", "video/*")
    min_duration: timedelta | None = None
    max_duration: timedelta | None = None


@dataclass(frozen=True, kw_only=True)
class FeedConfig:
    """One feed as the config has it."""

    name: str
    url: str = field(repr=False)  # may carry a token
    podcast_id: str
    check_interval: timedelta = timedelta(minutes=15)
    rules: Rules = Rules()
    ad_options: dict[str, Any] | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    user_agent: str | None = None


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What holds for all submissions and jobs."""

    poll_interval: timedelta = timedelta(seconds=30)
    job_deadline: timedelta = timedelta(hours=24)
    max_concurrent_jobs: int = 4
    max_submissions_per_day: int = 100
    on_unknown: OnUnknown = OnUnknown.HOLD
