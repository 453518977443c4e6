"""Alerts: what needs a person, and what of it was announced."""

from dataclasses import dataclass
from datetime import datetime

from feedwatch.core.episode import State


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Episodes of one feed that need a person: all of one state. The newest stands for them."""

    feed: str
    state: State  # held, unknown, failed lately; or processing: overdue
    episodes: int
    version: str  # rises, as text, whenever one more has joined them
    newest_id: int
    newest_title: str
    newest_reason: str | None


@dataclass(frozen=True, kw_only=True)
class Alert:
    """A trouble that was announced and is not over."""

    key: str
    version: str  # that of the trouble when it was last announced
    since: datetime
    told_at: datetime
    gone_at: datetime | None  # when it was first seen to be gone; the end may be waited for


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A condition that needs a person. `text` says what it is and what to do."""

    kind: str
    feed: str | None
    text: str
    episodes: int | None = None
    version: str = ""  # rises whenever the same trouble strikes once more

    @property
    def key(self) -> str:
        """Under which the trouble is known until it is over."""
        return f"{self.kind} {self.feed}" if self.feed else self.kind


@dataclass(frozen=True, kw_only=True)
class Undelivered:
    """Events that wait for a channel which fails, and why it has not taken one of them."""

    channel: str
    events: int
    error: str
