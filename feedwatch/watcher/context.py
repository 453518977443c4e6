"""What all duties share."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from threading import Event, Lock

from feedwatch.core.episode import Episode, State
from feedwatch.core.feed import Failed, Gone, NotModified, ParsedFeed, Same
from feedwatch.core.settings import FeedConfig, Policy
from feedwatch.processors import Processor
from feedwatch.store.store import Store

log = logging.getLogger(__name__)


Outcome = ParsedFeed | NotModified | Same | Gone | Failed  # of a look at a feed


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the config asks for."""

    sources: Mapping[str, FeedConfig]
    policy: Policy

    @cached_property
    def longest_interval(self) -> timedelta:
        """Between two checks of a feed that works."""
        intervals = (source.check_interval for source in self.sources.values())
        return max(intervals, default=timedelta())


@dataclass(kw_only=True)
class Context:
    """The parts that the duties work with. `stopping` ends each duty before its next step.

    `processor` and `plan` may be replaced at any time. Who needs the same twice takes it once; who
    goes by what the database says of a feed holds `steady` meanwhile.
    """

    store: Store
    processor: Processor
    plan: Plan
    steady: Lock = field(default_factory=Lock)  # while plan and database are to agree on the feeds
    stopping: Event = field(default_factory=Event)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    before_post: Callable[[], None] = lambda: None  # between a claim and its POST
    checked: Callable[[Outcome, float], None] = lambda _, __: None  # a look, and its seconds
    worked: Callable[[str], None] = lambda _: None  # a duty took a piece of work to its end

    def move(self, before: Episode, after: Episode) -> Episode | None:
        """Write a step of an episode down; None if someone else has moved it first."""
        saved = self.store.episodes.save(before, after, self.clock())
        if saved is None:
            log.warning(
                "%s: was moved by someone else meanwhile", named(before), extra=about(before)
            )
        else:
            log_move(before, saved)
        return saved


def log_move(before: Episode, after: Episode) -> None:
    """One line for each change of state or reason, and none for a poll that says nothing new."""
    if (before.state, before.reason) == (after.state, after.reason):
        return
    grave = after.state in (State.UNKNOWN, State.FAILED) or (after.overdue and not before.overdue)
    log.log(
        logging.WARNING if grave else logging.INFO,
        "%s: %s → %s%s%s",
        named(after),
        before.state,
        after.state,
        f" (media id {after.media_id})" if after.media_id and not before.media_id else "",
        f": {after.reason}" if after.reason else "",
        extra=about(after),
    )


def named(episode: Episode) -> str:
    """How log lines name an episode."""
    return f"episode {episode.id} of {episode.feed} {episode.title[:60]!r}"


def about(episode: Episode) -> dict[str, object]:
    """The same for logs that programs read (`logs.FIELDS`)."""
    return {
        "feed": episode.feed,
        "episode": episode.id,
        "media_id": episode.media_id,
        "attempt": episode.attempts,
    }
