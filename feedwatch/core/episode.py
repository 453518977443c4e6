"""Episodes: their states, and the values that are kept of them. Every time is aware and in UTC."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from feedwatch.core.pipeline import Step


class State(StrEnum):
    """State: where an episode is on its way. The arrows between the states: docs/states.md."""

    HELD = "held"  # new, but a person should look first; the reason says why
    SKIPPED = "skipped"  # decided against: by the first run, a filter or a person
    QUEUED = "queued"  # will be submitted
    SUBMITTING = "submitting"  # the claim is committed, the POST may be under way
    UNKNOWN = "unknown"  # the POST may or may not have been taken
    PROCESSING = "processing"  # accepted, the media id is recorded; polled
    READY = "ready"  # final: the processed URL is recorded
    FAILED = "failed"  # final: refused, or ended in an error status; its job may mend itself


LOST = "lost"  # in `remote_status`, in place of the API's word for a job that it does not know
LIVE = (State.SUBMITTING, State.PROCESSING)  # what counts towards the limit of concurrent jobs
# What may be submitted yet, so that it takes the publisher's corrections.
WAITING = (State.HELD, State.QUEUED, State.FAILED, State.UNKNOWN)


class Cause(StrEnum):
    """Cause: why an episode is in its state, for programs. Only what some decision asks for."""

    LOST = "lost"  # processing or failed: the API says that it does not know the job
    ERROR = "error"  # processing or failed: the API's last word about the job was an error
    NO_FILE = "no_file"  # processing: done at the API, and its file cannot be read
    # Skipped by a filter, for this fact of the item; see `Episode.filter_fact`.
    EPISODE_TYPE = "episode_type"
    LENGTH = "length"
    TITLE = "title"
    # In a database that lacks claims, until its step ends: the next one may be paid for already.
    DOUBTED = "doubted"
    TAKEN_OUT = "taken_out"  # held: its publisher has taken it out of the feed while it was queued


FILTERS = (Cause.EPISODE_TYPE, Cause.LENGTH, Cause.TITLE)


@dataclass(frozen=True, kw_only=True)
class Episode:
    """An episode: an item that is remembered for ever. Its job, if it has one, is some fields."""

    feed: str  # the feed's name
    guid: str | None
    title: str
    description: str | None  # None: not read yet, as it was not to be submitted
    enclosure_url: str  # absolute; submitted as it is
    published_at: datetime | None
    state: State
    reason: str | None  # for people
    first_seen_at: datetime
    feed_duration: int | None = None  # seconds, by itunes:duration
    id: int = 0  # 0: not stored yet
    cause: Cause | None = None
    due_at: datetime | None = None  # when this state next needs us; None: it does not
    step: Step = Step.ADS  # under way or next: the fields of the job are this step's
    source_url: str | None = None  # what the step is given; None: the enclosure, as none has ended
    claim: int | None = None  # of the step's POST
    attempts: int = 0  # POSTs that left, or may have
    deferrals: int = 0  # those of them that were surely not taken
    podcast_id: str | None = None  # the target of its POST: the config may change meanwhile
    media_id: str | None = None
    remote_status: str | None = None  # the API's own word
    remote_progress: float | None = None  # per cent of the job, where the API says it
    remote_updated_at: str | None = None  # the API's own time stamps, opaque
    remote_created_at: str | None = None
    remote_stood: int = 0  # polls in a row that gave the same status and time stamp
    remote_since: datetime | None = None  # when the first of them was
    processed_url: str | None = None
    duration: float | None = None  # seconds, of the processed file
    ad_removal_markers: list[Any] | None = None
    failed_attempts: int | None = None  # the API's own count
    overdue: bool = False  # not final by the deadline
    submitted_at: datetime | None = None
    finished_at: datetime | None = None
    cleared_claim: int | None = None  # claims up to this one do not forbid it: a person said so
    filter_fact: str | None = None  # what a filter has skipped it for, by its `cause`
    missing_since: datetime | None = None  # held or queued: when its feed no longer had it
    version: int = 0  # counts writes, so that a stale write is refused


def input_of(episode: Episode) -> str:
    """The address of the media file that the episode's step is given."""
    return episode.source_url or episode.enclosure_url


def correction(before: Episode, after: Episode) -> str | None:
    """What the publisher has corrected, for people; None if it was only read for the first time."""
    names = {
        "title": f"title, which was {before.title[:100]!r}",
        "description": "description",
        "enclosure_url": "address",
        "published_at": "date",
        "feed_duration": "length",
    }
    changed = [
        text
        for name, text in names.items()
        if getattr(before, name) != getattr(after, name) and getattr(before, name) is not None
    ]
    return f"corrected in the feed: {'; '.join(changed)}" if changed else None


@dataclass(frozen=True, kw_only=True)
class KnownEpisode:
    """A known episode, as far as it takes to tell whether an item is that episode.

    All as the feed has it now: publishers edit, and the next edit is compared with the last one.
    """

    id: int
    title_key: str  # the title as titles are compared
    enclosure_url: str
    published_at: datetime | None
    duration: int | None  # seconds, as the feed states it
    state: State = State.READY
    cause: Cause | None = None
    filter_fact: str | None = None
    first_seen_at: datetime | None = None
    guid: str | None = None
    title: str = ""  # as the episode has it, which is what was submitted of one that was

    @property
    def waits(self) -> bool:
        """Whether it may be submitted yet, and so takes what the feed says of it."""
        return self.state in WAITING


@dataclass(frozen=True, kw_only=True)
class HistoryEntry:
    """One line of an episode's history."""

    at: datetime
    state: State
    reason: str | None
    actor: str | None = None  # whose decision it was, as `cli:USER`; None: feedwatch's own
    step: Step | None = None  # None: from before there were steps


@dataclass(frozen=True, kw_only=True)
class Event:
    """An entry of the history, with the episode that it is about."""

    id: int
    episode_id: int
    feed: str
    title: str
    previous: State | None  # None: the episode was new
    entry: HistoryEntry


@dataclass(frozen=True, kw_only=True)
class EpisodeCounts:
    """The episodes of one feed, counted."""

    by_state: Mapping[State, int]
    overdue: int


class LiveJob(NamedTuple):
    """A job that is not final, or a submission under way, as far as a pass waits for its end."""

    episode: int  # its id
    step: Step
    cause: Cause | None
    stands_since: datetime | None  # for how long it has said the very same


def may_be_taken(episode: Episode) -> bool:
    """Whether a job may exist for an episode that is about to be submitted again.

    This also holds for one that was skipped while its submission was in doubt.
    """
    skipped_in_doubt = episode.state is State.SKIPPED and episode.submitted_at is not None
    return episode.state is State.UNKNOWN or skipped_in_doubt or is_lost(episode)


def is_lost(episode: Episode) -> bool:
    """Whether the episode was submitted, and the API says that it does not know the job."""
    doubted = episode.cause is Cause.DOUBTED and episode.remote_status == LOST
    return episode.state is State.FAILED and (doubted or episode.cause is Cause.LOST)
