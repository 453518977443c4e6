"""Context: what all loops share."""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from threading import Event, Lock

from feedwatch.core.episode import Episode, State
from feedwatch.core.feed import Failed, Feed, Gone, NotModified, ParsedFeed, Same
from feedwatch.core.health import CHECKS, spoken
from feedwatch.core.ledger import Target, targets_from
from feedwatch.core.masking import shortened
from feedwatch.core.pipeline import (
    LAST,
    Course,
    EndedStep,
    Pipeline,
    Step,
    course_of,
    processors_of,
    step_to_claim,
)
from feedwatch.core.settings import FeedConfig, Policy
from feedwatch.processors import Processor
from feedwatch.processors.clocks import moment
from feedwatch.store.journal import Journal
from feedwatch.store.store import Store

log = logging.getLogger(__name__)

RETRY_AFTER_BUG = timedelta(minutes=5)  # for a feed or job that brought out a bug of feedwatch's

Outcome = ParsedFeed | NotModified | Same | Gone | Failed  # of a check


@dataclass(frozen=True, kw_only=True)
class Check:
    """A check on its way: the feed, and its settings, whatever the config says meanwhile."""

    feed: Feed
    source: FeedConfig
    host: str
    began: float = 0.0  # by the monotonic clock


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the config asks for."""

    sources: Mapping[str, FeedConfig]
    policy: Policy
    policies: Mapping[str, Policy] = field(default_factory=dict)  # of processors with their own
    serves_feeds: bool = False
    file_addresses: tuple[str, ...] = ()  # by which the APIs' files may be as private as they are

    def policy_of(self, processor: str) -> Policy:
        """The limits and intervals of one processor."""
        return self.policies.get(processor, self.policy)

    @cached_property
    def processors(self) -> tuple[str, ...]:
        """The names of the processors that the feeds' pipelines need."""
        return processors_of(self.sources.values())

    @cached_property
    def pipelines(self) -> dict[str, Pipeline]:
        """The pipeline of each feed, by the feed's name."""
        return {name: source.pipeline for name, source in self.sources.items()}

    def targets(self, episode: Episode, apis: Mapping[str, str]) -> list[Target]:
        """What the next POST for an episode would be for, and then those of its later steps."""
        source = self.sources.get(episode.feed, FeedConfig(name=episode.feed, url=""))
        step = step_to_claim(source.pipeline, episode.step, episode.source_url)
        return targets_from(step or episode.step, source, apis)

    def course(self, episode: Episode) -> Course:
        """What comes of an episode once its step has ended."""
        source = self.sources.get(episode.feed)
        if source is not None:
            return course_of(source.pipeline, episode.step)
        # Nothing is claimed for a feed that the config lacks: it goes on once it is back.
        return Course(Step.ADS) if episode.step is not Step.ADS else LAST

    def serves(self, source: FeedConfig) -> bool:
        """Whether the feed is served to listeners."""
        return self.serves_feeds and source.served_path is not None

    @cached_property
    def longest_delay(self) -> timedelta:
        """The longest submit delay of all feeds."""
        return max((source.submit_delay for source in self.sources.values()), default=timedelta())

    @cached_property
    def longest_interval(self) -> timedelta:
        """The longest check interval of all feeds."""
        intervals = (source.check_interval for source in self.sources.values())
        return max(intervals, default=timedelta())


@dataclass(kw_only=True)
class Context:
    """The parts that the loops work with. `stopping` ends each loop before its next step.

    `processors` and `plan` may be replaced at any time, both at once: a loop that needs one of them
    twice in a step reads it once, and one that relies on both, or on what the database says of a
    feed, holds `steady`.
    """

    store: Store
    processors: Mapping[str, Processor]  # those of the plan, by name
    plan: Plan
    steady: Lock = field(default_factory=Lock)  # while plan and database must agree on the feeds
    stopping: Event = field(default_factory=Event)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    elapsed: Callable[[], float] = lambda: moment().boot  # seconds, by a clock that nobody sets
    journal: Journal = field(default_factory=lambda: Journal([]))
    # The term in which this daemon leads, and may spend; None while another one does.
    term: Callable[[], int | None] = lambda: 0
    config_mark: str = ""  # daemons with the same config have the same one
    elected: Callable[[], None] = lambda: None  # what a leader does first
    peers: Collection[str] = ()  # ids of the daemons alive, ours with them, where there are several
    pushed: Collection[str] = ()  # the feeds whose hubs have pushed, and are subscribed to
    checked: Callable[[Outcome, float], None] = lambda _, __: None  # a check, and its seconds
    worked: Callable[[str], None] = lambda _: None  # progress of the loop with this name

    @property
    def apis(self) -> dict[str, str]:
        """The scheme, host and port of each processor's API, by the processor's name."""
        return {name: processor.api for name, processor in self.processors.items()}

    def count_check(self, check: Check, outcome: Outcome) -> bool:
        """Count a check that has ended; False if it must not be recorded.

        That is one that we broke off to stop, or of a feed that the config no longer has.
        """
        broken_off = isinstance(outcome, Failed) and self.stopping.is_set()
        if broken_off or check.feed.name not in self.plan.sources:
            return False
        self.checked(outcome, time.monotonic() - check.began)
        self.worked(CHECKS)
        return True

    def move(
        self, before: Episode, after: Episode, ended: EndedStep | None = None
    ) -> Episode | None:
        """Save an episode's change; None if another process has changed it meanwhile.

        `ended` is the step that has ended by it.
        """
        saved = self.store.episodes.save(before, after, self.clock(), ended)
        if saved is None:
            log.warning(
                "%s: another process has changed it meanwhile",
                self.named(before),
                extra=about(before),
            )
        else:
            self.log_move(before, saved)
        return saved

    def log_move(self, before: Episode, after: Episode) -> None:
        """Log a change of state or reason."""
        log_move(before, after, self.named(after))

    def named(self, episode: Episode) -> str:
        """The episode's name in log lines, with its step where the plan has several APIs."""
        at = f" at {episode.step}" if len(self.plan.processors) > 1 else ""
        return named(episode) + at

    def submissions_to(self, processor: str) -> str:
        """Submissions in log lines, with the API that they go to where the plan has several."""
        return f"submissions to {processor}" if len(self.plan.processors) > 1 else "submissions"


def log_move(before: Episode, after: Episode, name: str) -> None:
    """Log a change of state or reason; nothing for a poll that has changed neither."""
    if (before.state, before.reason) == (after.state, after.reason):
        return
    is_grave = after.state in (State.UNKNOWN, State.FAILED) or (
        after.overdue and not before.overdue
    )
    told = f" (media id {after.media_id})" if after.media_id and not before.media_id else ""
    if after.state is State.READY and after.submitted_at and after.finished_at:
        told += f" after {spoken(after.finished_at - after.submitted_at)}"
    if after.state is State.READY and after.processed_url:
        told += f": {after.processed_url}"
    how, reason = f"{before.state} → {after.state}", after.reason
    if before.state is after.state:  # only the reason is another one, or is over
        how, reason = after.state.value, after.reason or f"no longer so: {before.reason}"
    log.log(
        logging.WARNING if is_grave else logging.INFO,
        "%s: %s%s%s",
        name,
        how,
        told,
        f": {reason}" if reason else "",
        extra=about(after),
    )


def named(episode: Episode) -> str:
    """The episode's name in log lines."""
    return f"episode {episode.id} of {episode.feed} {shortened(episode.title, 60)!r}"


def about(episode: Episode) -> dict[str, object]:
    """The episode's fields in JSON logs (see `logs/formatters.py`)."""
    return {
        "feed": episode.feed,
        "episode": episode.id,
        "media_id": episode.media_id,
        "attempt": episode.attempts,
    }
