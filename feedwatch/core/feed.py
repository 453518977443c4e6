"""The nouns: immutable values that pass between the modules. No behaviour, no I/O.

First what the operator asks for, then what we keep, then what the world can answer.
Every time is aware and in UTC.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

# What we keep


class ErrorKind(StrEnum):
    """Why a check failed, for programs: only what some decision asks for."""

    GONE = "gone"  # 410: the publisher says that the feed will not come back


class FeedState(StrEnum):
    """The one word for a feed, see `feed_lifecycle.feed_state`."""

    OK = "ok"
    FAILING = "failing"
    PAUSED = "paused"
    NEW = "new"  # never checked


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
    last_full_fetch_at: datetime | None = (
        None  # when that document came; now and then we ask unconditionally
    )
    baseline_at: datetime | None = None  # when the first-run policy was applied: once in its life
    checked_at: datetime | None = None
    success_at: datetime | None = None
    last_new_at: datetime | None = None  # when a check last found a new episode
    item_count: int = 0  # episodes in the last good document
    hold_if_published_before: datetime | None = (
        None  # what was published until then may have been paid for
    )
    media_types: str | None = None  # by which the last good document was read
    body_hash: bytes | None = None  # of the last good document, and of how it was read
    full_reads_requested: int = 0  # how often a description was asked for that had not been read
    full_reads_done: int = (
        0  # what `asked` was when the feed was last read from its first to its last item
    )
    failures: int = 0  # in a row
    error: str | None = None  # why the last check failed, for people
    error_kind: ErrorKind | None = None  # the same for programs
    feed_ttl: int | None = None  # seconds between checks that the last document asks for
    http_max_age: int | None = None  # seconds for which the server says that its answer holds
    skip_hours: int | None = None  # by the document, as in `Hints`
    skip_days: int | None = None
    moved_to: str | None = None  # where permanent redirects lead, not believed yet
    moved_since: datetime | None = None
    moved_seen: int | None = None  # checks in a row that were led there
    moved_url: str | None = None  # where it moved for good: asked instead of `url`
    url_scope: int | None = None  # how private `url` is, as in `reach.Reach`
    expected_by: datetime | None = None  # by its own rhythm, the next episode comes before this
    silent_since: datetime | None = None  # when it was found that none had come


@dataclass(frozen=True, kw_only=True)
class UrlChange:
    """An address that a feed was fetched from until then."""

    at: datetime
    url: str
    reason: str


# What a feed's server can answer


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a feed is, other than where the config says, and how private it may be there."""

    url: str
    scope: int  # as in `reach.Reach`: that of the address in the config


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
    http_max_age: timedelta | None = None  # for so long the server says that it holds
    hints: Hints = Hints()
    moved: Address | None = None  # where permanent redirects, and no others, have led
    body_hash: bytes | None = None  # what it is recognised by, see `digest.body_mark`


@dataclass(frozen=True, kw_only=True)
class NotModified:
    """304: the document is the one we know."""

    http_max_age: timedelta | None = None  # as in `Document`
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
