"""Jobs: a task for a media API, and every answer that the API can give."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task: what one POST asks of a media API for one episode."""

    podcast_id: str
    url: str
    name: str
    description: str
    published_at: datetime | None
    ad_options: dict[str, Any] | None = None


# Answers to a POST


@dataclass(frozen=True)
class Accepted:
    """A job exists, and this is its id."""

    media_id: str
    remote_status: str | None = None


@dataclass(frozen=True)
class Refused:
    """No job exists, and this submission will never be taken as it stands."""

    reason: str


@dataclass(frozen=True)
class Later:
    """No job exists, and the same submission may be taken another time."""

    reason: str
    retry_after: timedelta | None = None
    blocked: bool = False  # a person must mend what all submissions wait for
    sent: bool = True  # False: not one byte of the request has left
    odd: bool = False  # a refusal in the API's voice, but not in its form


@dataclass(frozen=True)
class Unknown:
    """A job may or may not exist."""

    reason: str
    odd: bool = False  # a refusal in some other voice: a gateway's, which proves nothing


Answer = Accepted | Refused | Later | Unknown


# Answers to a poll


@dataclass(frozen=True, kw_only=True)
class Running:
    """The job is under way. `known` is False for a status that the API's documents do not list."""

    remote_status: str
    remote_updated_at: str | None = None
    known: bool = True


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The job is done, with its result."""

    remote_status: str
    processed_url: str
    remote_updated_at: str | None = None
    remote_created_at: str | None = None
    duration: float | None = None  # seconds
    ad_removal_markers: list[Any] = field(default_factory=list)
    failed_attempts: int | None = None


@dataclass(frozen=True, kw_only=True)
class Broken:
    """The job shows an error, which may pass: it is final only once it has stood for a while."""

    remote_status: str
    reason: str
    remote_updated_at: str | None = None
    failed_attempts: int | None = None


@dataclass(frozen=True)
class Lost:
    """The API says that it does not know the job."""

    reason: str


@dataclass(frozen=True)
class Unreachable:
    """The API said nothing about the job. `blocked`: it refused us, and a person must mend that."""

    reason: str
    retry_after: timedelta | None = None
    blocked: bool = False


Progress = Running | Finished | Broken | Lost | Unreachable
