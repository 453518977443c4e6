"""An episode, its states, and what its history says."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """Where an episode is on its way. The arrows between them: docs/states.md."""

    HELD = "held"  # new, but a person should look first; the reason says why
    SKIPPED = "skipped"  # decided against: first run, a filter, a person
    QUEUED = "queued"  # will be submitted
    SUBMITTING = "submitting"  # the intent is committed, the POST may be under way
    UNKNOWN = "unknown"  # the POST may or may not have been taken
    PROCESSING = "processing"  # accepted, the media id is recorded; polled
    READY = "ready"  # final: the processed URL is recorded
    FAILED = "failed"  # final: refused, or ended in an error status


class Cause(StrEnum):
    """Why an episode is in its state, for programs: only what some decision asks for."""

    LOST = "lost"  # failed: the API says that it does not know the job


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One item of a feed, kept for ever. Its job, if it has one, is some fields of it."""

    feed: str  # the feed's name
    guid: str | None
    title: str
    description: str | None  # None: not read yet, as it was not to be submitted
    enclosure_url: str  # as in the feed, resolved; submitted as it stands
    published_at: datetime | None
    state: State
    reason: str | None  # for people
    first_seen_at: datetime
    feed_duration: int | None = None  # seconds, by itunes:duration
    id: int = 0  # 0: not stored yet
    cause: Cause | None = None  # for programs
    due_at: datetime | None = None  # when this state next needs us; None: it does not
    attempts: int = 0  # POSTs that left, or may have
    deferrals: int = 0  # those of them that were surely not taken
    podcast_id: str | None = None  # where it was submitted to: the config may change meanwhile
    media_id: str | None = None
    remote_status: str | None = None  # the API's own word
    remote_updated_at: str | None = None  # the API's own time stamps, opaque
    remote_created_at: str | None = None
    remote_stood: int = 0  # polls in a row that gave the same word and stamp
    processed_url: str | None = None
    duration: float | None = None  # seconds, of the processed file
    ad_removal_markers: list[Any] | None = None
    failed_attempts: int | None = None  # the API's own count
    overdue: bool = False  # not final by the deadline; said once
    submitted_at: datetime | None = None
    finished_at: datetime | None = None
    version: int = 0  # counts writes, so that a stale write is refused


@dataclass(frozen=True, kw_only=True)
class KnownEpisode:
    """What is needed of an episode to tell whether an item is that episode.

    All as the feed has it now: publishers edit, and the next edit is held against the last one.
    """

    id: int
    title_key: str  # the title for comparison
    enclosure_url: str
    published_at: datetime | None
    duration: int | None  # seconds, as the feed states it
    held: bool = False  # it waits for a person
    undescribed: bool = False  # it waits for its description, which was not read at first


@dataclass(frozen=True, kw_only=True)
class HistoryEntry:
    """One line of an episode's history."""

    at: datetime
    state: State
    reason: str | None


LIVE = (State.SUBMITTING, State.PROCESSING)  # what counts towards the limit of concurrent jobs


@dataclass(frozen=True, kw_only=True)
class EpisodeCounts:
    """The episodes of one feed, counted."""

    by_state: Mapping[State, int]
    overdue: int
