"""Settings: what the operator asks for, and the defaults."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any, Protocol

from feedwatch.core.pipeline import ADS_ALONE, Pipeline, Step

FEED_BLOCK = "FEEDWATCH_FEEDS__NAME__"  # how the keys of a feed begin


def feed_key(feed: str, field: str) -> str:
    """The key of the config that sets `field` of a feed, as in messages."""
    return of_feed(FEED_BLOCK + field, feed)


def of_feed(text: str, feed: str) -> str:
    """A message about a feed, whose keys are named in it whole."""
    return text.replace(FEED_BLOCK, f"FEEDWATCH_FEEDS__{feed.upper()}__")


def either_key(feed: str, field: str) -> str:
    """The two keys that may have set `field` of a feed."""
    return f"{feed_key(feed, field)} or FEEDWATCH_{field}"


class OnReplaced(StrEnum):
    """What becomes of a known episode whose recording was replaced."""

    IGNORE = "ignore"
    HOLD = "hold"
    SUBMIT = "submit"


class FutureDated(StrEnum):
    """What becomes of a new item that is dated ahead of now."""

    WAIT = "wait"
    SUBMIT = "submit"


class OnUnknown(StrEnum):
    """What becomes of a doubtful submission, one that may or may not have been taken."""

    HOLD = "hold"
    RESUBMIT = "resubmit"


class NotReady(StrEnum):
    """What a served feed has for an item whose episode is not ready."""

    ORIGINAL = "original"
    OMIT = "omit"


class PodcastGuid(StrEnum):
    """The podcast:guid of a served feed."""

    KEEP = "keep"  # the origin's, if it states one
    OWN = "own"


class TimedTags(StrEnum):
    """Chapters, transcripts and soundbites of items whose audio is replaced."""

    DROP = "drop"
    KEEP = "keep"


@dataclass(frozen=True, kw_only=True)
class FirstRun:
    """First run: which items of a new feed are submitted. At most one of the three is set."""

    everything: bool = False
    latest: int = 0
    since: date | None = None

    def is_since(self, published: datetime | None) -> bool:
        """Whether an item of this date is one of those `since`; undated ones are not."""
        if self.since is None or published is None:
            return False
        return published >= datetime.combine(self.since, time(), UTC)


class TitlePattern(Protocol):
    """A regular expression that titles are held against."""

    @property
    def pattern(self) -> str:
        """As it stands in the config."""

    def found_in(self, title: str) -> bool | None:
        """Whether it is found in a title; None if it takes too long to tell."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Admission rules of one feed: which of its items are submitted, and which are held."""

    first_run: FirstRun = FirstRun()
    flood_limit: int = 5
    on_replaced: OnReplaced = OnReplaced.HOLD
    include_title: TitlePattern | None = None
    exclude_title: TitlePattern | None = None
    episode_types: frozenset[str] = frozenset({"full", "bonus", "trailer"})
    media_types: tuple[str, ...] = ("audio/*", "video/*")
    min_duration: timedelta | None = None
    max_duration: timedelta | None = None


@dataclass(frozen=True, kw_only=True)
class ServeRules:
    """How one feed is served to listeners."""

    not_ready: NotReady = NotReady.ORIGINAL
    omit_for: timedelta = timedelta(hours=24)  # after that the original is served all the same
    podcast_guid: PodcastGuid = PodcastGuid.KEEP
    timed_tags: TimedTags = TimedTags.DROP
    serve_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class FeedConfig:
    """A feed, as the config has it."""

    name: str
    url: str = field(repr=False)  # may carry a token
    podcast_id: str = ""  # none is needed where the pipeline has no `ads`
    pipeline: Pipeline = ADS_ALONE
    check_interval: timedelta = timedelta(minutes=15)
    rules: Rules = Rules()
    serving: ServeRules = ServeRules()
    is_private: bool = False  # it takes credentials, or a secret in its URL, to fetch it
    ad_options: dict[str, Any] | None = None
    enhance: dict[str, Any] = field(default_factory=lambda: {"content": {"type": "podcast"}})
    future_dated: FutureDated = FutureDated.WAIT
    submit_delay: timedelta = timedelta()  # how long a new item waits before it is submitted
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    user_agent: str | None = None

    def options_of(self, step: Step) -> dict[str, Any] | None:
        """The options of a step, as its API takes them."""
        return {Step.ADS: self.ad_options, Step.ENHANCE: self.enhance}.get(step)

    @property
    def served_path(self) -> str | None:
        """Where it is served below the public address; None: it may not be."""
        if self.serving.serve_key is not None:
            return f"/feeds/{self.serving.serve_key}/{self.name}.xml"
        return f"/feeds/{self.name}.xml" if not self.is_private else None


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Limits and intervals of all submissions and jobs."""

    poll_interval: timedelta = timedelta(seconds=30)
    job_deadline: timedelta = timedelta(hours=24)
    max_concurrent_jobs: int = 4
    max_submissions_per_day: int = 100
    on_unknown: OnUnknown = OnUnknown.HOLD
    heartbeat_interval: timedelta = timedelta(minutes=5)  # outward, where there is a URL for it
