"""Alerts: what needs a person, and what of it has been announced."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Self

from feedwatch.core.episode import State
from feedwatch.core.pipeline import Step


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Episodes of one feed and one state that need a person; the newest stands for them."""

    feed: str
    state: State  # held, unknown, failed lately; or processing: overdue
    episodes: int
    version: str  # rises, as text, whenever one more has joined them
    newest_id: int
    newest_title: str
    newest_reason: str | None
    newest_step: Step = Step.ADS


@dataclass(frozen=True, kw_only=True)
class LostPodcast:
    """A podcast of whose jobs at one step the API knows none, several though they are."""

    feed: str  # that its episodes come from
    podcast_id: str  # of a helper step: its target
    jobs: int
    step: Step = Step.ADS


class AlertKey(NamedTuple):
    """What an alert is known by until it is over. Stored, and shown, as "kind" or "kind feed".

    The kind of a processor's trouble has its name after a colon.
    """

    kind: str
    feed: str | None  # None: the trouble is not one feed's

    def __str__(self) -> str:
        return " ".join(filter(None, self))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key that `str` has written as `text`."""
        kind, _, feed = text.partition(" ")
        return cls(kind, feed or None)


@dataclass(frozen=True, kw_only=True)
class Alert:
    """An alert: a trouble that was announced and is not over."""

    key: AlertKey
    version: str  # that of the trouble when it was last announced
    since: datetime
    told_at: datetime  # when it was last announced
    gone_at: datetime | None  # when it was first found to be over, if its end is not certain yet


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A trouble: a condition that needs a person. `text` says what it is and what to do."""

    kind: str
    feed: str | None
    text: str
    episodes: int | None = None
    version: str = ""  # rises whenever the same trouble grows
    processor: str | None = None  # None: no processor's, or that of every config since 0.1

    @property
    def key(self) -> AlertKey:
        """The key of the alert about this trouble."""
        of_processor = f":{self.processor}" if self.processor is not None else ""
        return AlertKey(f"{self.kind}{of_processor}", self.feed)


@dataclass(frozen=True, kw_only=True)
class Undelivered:
    """Events that wait for a channel which fails, and why it has not taken one of them."""

    channel: str
    events: int
    error: str
