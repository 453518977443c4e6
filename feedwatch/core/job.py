"""A task for a media API, and every answer that the API can give."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

# What a media API can answer


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is asked of a media API for one episode."""

    podcast_id: str
    url: str
    name: str
    description: str
    published_at: datetime | None
    ad_options: dict[str, Any] | None = None


@dataclass(frozen=True)
class Accepted:
    """A job exists and this is its name."""

    media_id: str
    remote_status: str | None = None


@dataclass(frozen=True)
class Refused:
    """No job exists, and this submission will never be taken as it stands."""

    reason: str


@dataclass(frozen=True)
class Later:
    """No job exists, for a cause that lies outside this episode. `blocked`: a person must act."""

    reason: str
    retry_after: timedelta | None = None
    blocked: bool = False


@dataclass(frozen=True)
class Unknown:
    """A job may or may not exist."""

    reason: str


Answer = Accepted | Refused | Later | Unknown


@dataclass(frozen=True, kw_only=True)
class Running:
    """The job is under way. `known` is False for a word that no document of the API lists."""

    remote_status: str
    remote_updated_at: str | None = None
    known: bool = True


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The job is done and this is what came of it."""

    remote_status: str
    processed_url: str
    remote_updated_at: str | None = None
    remote_created_at: str | None = None
    duration: float | None = None
    ad_removal_markers: list[Any] = field(default_factory=list)
    failed_attempts: int | None = None


@dataclass(frozen=True, kw_only=True)
class Broken:
    """The job shows an error. It may mend itself: it is final only once it has stood a while."""

    remote_status: str
    reason: str
    remote_updated_at: str | None = None
    failed_attempts: int | None = None


@dataclass(frozen=True)
class Lost:
    """The API says that it knows no such job."""

    reason: str


@dataclass(frozen=True)
class Unreachable:
    """The API said nothing about the job."""

    reason: str
    retry_after: timedelta | None = None


Progress = Running | Finished | Broken | Lost | Unreachable
