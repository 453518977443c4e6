"""The nouns: immutable values that pass between the modules. No behaviour, no I/O.

First what the operator asks for, then what we keep, then what the world can answer.
Every time is aware and in UTC.
"""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from re import Pattern
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


# What the operator asks for


class OnReplaced(StrEnum):
    """What becomes of audio that was replaced under a known episode."""

    IGNORE = "ignore"
    HOLD = "hold"
    SUBMIT = "submit"


class OnUnknown(StrEnum):
    """What becomes of a submission that may or may not have been taken."""

    HOLD = "hold"
    RESUBMIT = "resubmit"


@dataclass(frozen=True, kw_only=True)
class FirstRun:
    """Which items of a feed never seen before are submitted. At most one of the three is set."""

    everything: bool = False
    latest: int = 0
    since: date | None = None


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How the items of one feed are chosen."""

    first_run: FirstRun = FirstRun()
    flood_limit: int = 5
    on_replaced: OnReplaced = OnReplaced.HOLD
    include_title: Pattern[str] | None = None
    exclude_title: Pattern[str] | None = None
    episode_types: frozenset[str] = frozenset({"full", "bonus", "trailer"})
    media_types: tuple[str, ...] = ("audio/*", "video/*")
    min_duration: timedelta | None = None
    max_duration: timedelta | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """One feed as the config has it."""

    name: str
    url: str = field(repr=False)  # may carry a token
    podcast_id: str
    check_interval: timedelta
    rules: Rules = Rules()
    ad_options: dict[str, Any] | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    user_agent: str | None = None


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What holds for all submissions and jobs."""

    poll_interval: timedelta = timedelta(seconds=30)
    job_deadline: timedelta = timedelta(hours=24)
    max_concurrent_jobs: int = 4
    max_submissions_per_day: int = 100
    on_unknown: OnUnknown = OnUnknown.HOLD


# What we keep


@dataclass(frozen=True, kw_only=True)
class Feed:
    """What we remember of a feed. Its settings are the config's and are not kept."""

    name: str
    url: str
    id: int = 0  # 0: not stored yet
    active: bool = True  # False: no longer in the config; its memory stays
    paused: bool = False  # no new submissions from it
    due_at: datetime | None = None  # when to check it next
    etag: str | None = None  # the validators belong to the last document taken in whole
    last_modified: str | None = None
    full_at: datetime | None = None  # when that document came; now and then we ask unconditionally
    baseline_at: datetime | None = None  # when the first-run policy was applied: once in its life
    checked_at: datetime | None = None
    success_at: datetime | None = None
    new_at: datetime | None = None  # when a check last found a new episode
    shown: int = 0  # episodes in the last good document
    doubted_before: datetime | None = None  # what was published until then may have been paid for
    media_types: str | None = None  # by which the last good document was read
    body_mark: bytes | None = None  # of the last good document, and of how it was read
    asked: int = 0  # how often a description was asked for that had not been read
    answered: int = (
        0  # what `asked` was when the feed was last read from its first to its last item
    )
    failures: int = 0  # in a row
    error: str | None = None
    hinted: int | None = None  # seconds between checks that the last document asks for
    fresh: int | None = None  # seconds for which the server says that its answer holds
    skip_hours: int | None = None  # by the document, as in `Hints`
    skip_days: int | None = None
    moved_to: str | None = None  # where permanent redirects lead, not believed yet
    moved_since: datetime | None = None
    moved_seen: int | None = None  # checks in a row that were led there
    address: str | None = None  # where it moved for good: asked instead of `url`
    address_reach: int | None = None  # how private `url` is, as in `reach.Reach`
    expected_by: datetime | None = None  # by its own rhythm, the next episode comes before this
    silent_since: datetime | None = None  # when it was found that none had come


@dataclass(frozen=True, kw_only=True)
class Departure:
    """An address that a feed was fetched from until then."""

    at: datetime
    url: str
    reason: str


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
    reason: str | None
    first_seen_at: datetime
    feed_duration: int | None = None  # seconds, by itunes:duration
    id: int = 0  # 0: not stored yet
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
class Known:
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
class Imprint:
    """Which database this is, and how many submissions were ever claimed from it."""

    id: str
    claims: int


@dataclass(frozen=True, kw_only=True)
class Move:
    """One line of an episode's history."""

    at: datetime
    state: State
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Whether submissions may leave, for one media API. Closed by trouble, opened by a safe read.

    While `closed_until` is set nothing is submitted; once it has passed, a read is tried, and only
    if that succeeds does the gate open. So an outage puts one episode in doubt, not the queue.
    """

    paused: bool = False  # by a person
    closed_until: datetime | None = None
    reason: str | None = None  # why it was closed; kept until a POST has a clear answer
    failures: int = 0  # POSTs and reads in a row that surely did nothing
    doubts: int = 0  # POSTs in a row that left it open whether they were taken
    blocked: bool = False  # closed by something that a person has to mend, not time alone


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Episodes of one feed that need a person: all of one state. The newest stands for them."""

    feed: str
    state: State  # held, unknown, failed lately; or processing: overdue
    episodes: int
    mark: str  # rises, as text, whenever one more has joined them
    newest_id: int
    newest_title: str
    newest_reason: str | None


@dataclass(frozen=True, kw_only=True)
class Alert:
    """A trouble that was announced and is not over."""

    key: str
    mark: str  # that of the trouble when it was last announced
    since: datetime
    told_at: datetime
    gone_at: datetime | None  # when it was first seen to be gone; the end may be waited for


# What a feed's server can answer


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a feed is, other than where the config says, and how private it may be there."""

    url: str
    reach: int  # as in `reach.Reach`: that of the address in the config


@dataclass(frozen=True, kw_only=True)
class Hints:
    """How a document asks to be checked."""

    every: timedelta | None = None
    skip_hours: int = 0  # bit n: not from n:00 to n:59 GMT
    skip_days: int = 0  # bit n: not on that day GMT; Monday is bit 0


@dataclass(frozen=True, kw_only=True)
class Document:
    """A body, not looked into yet."""

    body: bytes
    url: str  # after redirects; relative enclosures are resolved against it
    etag: str | None = None
    last_modified: str | None = None
    fresh: timedelta | None = None  # for so long the server says that it holds
    hints: Hints = Hints()
    moved: Address | None = None  # where permanent redirects, and no others, have led
    mark: bytes | None = None  # what it is recognised by, see `digest.body_mark`


@dataclass(frozen=True, kw_only=True)
class NotModified:
    """304: the document is the one we know."""

    fresh: timedelta | None = None  # as in `Document`
    moved: Address | None = None


@dataclass(frozen=True, kw_only=True)
class Same:
    """A document that is the one we know to the last byte, though the server did not say so."""

    document: Document


@dataclass(frozen=True)
class Gone:
    """410: the publisher says that this feed will not come back."""


@dataclass(frozen=True)
class Failed:
    """No document, or one that is no feed. `reason` is for people."""

    reason: str
    retry_after: timedelta | None = None


Fetched = Document | NotModified | Gone | Failed


@dataclass(frozen=True, kw_only=True)
class Item:
    """One entry of a document, as the publisher means it. Texts are plain: no tags, no entities."""

    guid: str | None  # trimmed; None if the item states none
    title: str  # one line; "" if the item states none
    description: str | None  # paragraphs, links kept as URLs; "" if none is stated; None: not read
    enclosure_url: str | None  # absolute http(s) URL, ASCII; None if nothing in the item counts
    published_at: datetime | None
    duration: int | None = None  # seconds, by itunes:duration
    episode_type: str = "full"  # by itunes:episodeType, lower case


@dataclass(frozen=True, kw_only=True)
class ParsedFeed:
    """A document that is a feed and is whole. Items in the document's order."""

    title: str
    items: tuple[Item, ...]
    unchanged: int = 0  # items besides, to the byte as they were when they were last looked at


# What a media API can answer


@dataclass(frozen=True, kw_only=True)
class Submission:
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
