"""Jobs: a task for a media API, and every answer that the API can give."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task: what one POST asks of a media API for one episode."""

    step: str = "ads"
    target: str  # as `ledger.Target` has its id; of Inlet the podcast id
    token: str = ""  # of the claim: unique for ever, and in the database before the POST leaves
    feed: str = ""
    episode_id: int = 0
    url: str  # of the media file to process
    name: str
    description: str
    published_at: datetime | None
    options: dict[str, Any] | None = None  # the step's own, as the API takes them


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
    progress: float | None = None  # per cent
    known: bool = True


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The job is done, with its result: a media file, data, or both."""

    remote_status: str
    url: str | None  # of the processed media file
    result: Any = None  # data in the API's answer, as JSON has it
    remote_updated_at: str | None = None
    remote_created_at: str | None = None
    duration: float | None = None  # seconds
    ad_removal_markers: list[Any] = field(default_factory=list)
    failed_attempts: int | None = None


@dataclass(frozen=True, kw_only=True)
class Broken:
    """The job shows an error. Unless `final`, it may pass: it has to stand for a while."""

    remote_status: str
    reason: str
    final: bool = False
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
    done: str | None = None  # the API's word for a job that is done, where its file is not there


Progress = Running | Finished | Broken | Lost | Unreachable
