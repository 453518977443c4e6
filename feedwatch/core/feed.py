"""Feeds: what is kept of a feed, and what its server can answer.

Values only, immutable; every time is aware and in UTC.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class ErrorKind(StrEnum):
    """Cause of a failed check, for programs. Only what some decision asks for."""

    GONE = "gone"  # 410: the publisher says that the feed will not come back


class CheckMark(StrEnum):
    """How a check ended, in a letter."""

    CHANGED = "c"  # a document that differs from the last one
    SAME = "s"  # the last document to the byte
    NOT_MODIFIED = "n"  # 304
    FAILED = "f"


class FeedState(StrEnum):
    """State of a feed, in one word; the rule is `feed_lifecycle.feed_state`."""

    OK = "ok"
    FAILING = "failing"
    PAUSED = "paused"
    NEW = "new"  # never checked


class RemarkKind(StrEnum):
    """What of a feed looks well and brings nothing, or not all."""

    NO_ENCLOSURES = "no_enclosures"  # none of its items has one of a wanted type
    FIXED_ADDRESS = "fixed_address"  # one address for all episodes, and no guids
    PAGES = "pages"  # a further page is wanted by the first run, and could not be read
    NEW_FEED_URL = "new_feed_url"  # its publisher names another address
    UNREAD = "unread"  # the document has items or enclosures that could not be read


@dataclass(frozen=True)
class Remark:
    """A remark on the last good document; `core.remarks` has the words."""

    kind: RemarkKind
    detail: str = ""  # the address that it is about, or how many


@dataclass(frozen=True, kw_only=True)
class Feed:
    """A feed, as it is remembered. Its settings are the config's and are not kept."""

    name: str
    url: str
    id: int = 0  # 0: not stored yet
    active: bool = True  # False: no longer in the config; its memory stays
    paused: bool = False  # no new submissions from it
    paused_at: datetime | None = None
    paused_by: str | None = None  # as in `CircuitBreaker`
    due_at: datetime | None = None  # when to check it next
    etag: str | None = None  # the validators belong to the last document taken in whole
    last_modified: str | None = None
    last_full_fetch_at: datetime | None = None  # when that document came
    baseline_at: datetime | None = None  # when the first-run policy was applied: once in its life
    checked_at: datetime | None = None
    success_at: datetime | None = None
    last_new_at: datetime | None = None  # when a check last found a new episode
    item_count: int = 0  # episodes in the last good document
    hold_if_published_before: datetime | None = None  # until then it may have been paid for
    doubted_at: datetime | None = None  # when that was found; a good check since may clear it
    version: int = 0  # counts decisions about the feed, so that a check undoes none
    media_types: str | None = None  # by which the last good document was read
    body_hash: bytes | None = None  # of the last good document, as `feeds.hashes.hashed` gives it
    full_reads_requested: int = 0  # times that a description which had not been read was needed
    full_reads_done: int = 0  # `full_reads_requested` when all items were last read
    failures: int = 0  # in a row
    error: str | None = None  # why the last check failed, for people
    error_kind: ErrorKind | None = None
    feed_ttl: int | None = None  # seconds between checks that the last document asks for
    http_max_age: int | None = None  # seconds for which the server says that its answer holds
    skip_hours: int | None = None  # by the document, as in `Hints`
    skip_days: int | None = None
    moved_to: str | None = None  # where permanent redirects lead, not believed yet
    moved_since: datetime | None = None
    moved_seen: int | None = None  # checks in a row that were led there
    moved_url: str | None = None  # where it moved for good: fetched instead of `url`
    url_scope: int | None = None  # the address scope of `url`, as in `net.address_scope.Scope`
    expected_by: datetime | None = None  # by its own rhythm, the next episode comes before this
    silent_since: datetime | None = None  # when it was found that none had come
    missing_podcast: str | None = None  # its podcast's id, which the API says that it does not have
    recent_checks: str | None = None  # a `CheckMark` each, the latest last
    remarks: tuple[Remark, ...] | None = None
    hub: str | None = None  # WebSub, as the last good document names it
    hub_topic: str | None = None  # by which address the hub knows the feed
    hub_scope: int | None = None  # the address scope of the feed itself
    repaired: bool | None = None  # the last good document was not well-formed; None: not known


@dataclass(frozen=True, kw_only=True)
class UrlChange:
    """URL change: the URL that a feed was fetched from until `at`, and why no longer."""

    at: datetime
    url: str
    reason: str


# What a feed's server can answer


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a feed is, other than where the config says."""

    url: str
    scope: int  # the address scope of the config's URL, as in `net.address_scope.Scope`


@dataclass(frozen=True, kw_only=True)
class Hints:
    """Polling hints: how a document asks to be checked."""

    every: timedelta | None = None
    skip_hours: int = 0  # bit n: not from n:00 to n:59 GMT
    skip_days: int = 0  # bit n: not on that day GMT; Monday is bit 0


@dataclass(frozen=True, kw_only=True)
class Links:
    """Where else a document says that more of the feed is."""

    next_page: str | None = None  # absolute: older items (RFC 5005)
    new_feed_url: str | None = None  # where it says that the feed is from now on
    hub: str | None = None  # where its changes are told (WebSub)
    itself: str | None = None  # its own address, as it names it


@dataclass(frozen=True, kw_only=True)
class Document:
    """A document, not parsed yet."""

    body: bytes
    url: str  # after redirects; relative enclosure URLs are resolved against it
    charset: str | None = None  # by the HTTP header, as it stands there
    etag: str | None = None
    last_modified: str | None = None
    http_max_age: timedelta | None = None  # for so long the server says that it holds
    hints: Hints = Hints()
    links: Links = Links()
    scope: int | None = None  # the address scope of the config's URL
    pages: tuple["Document", ...] = ()  # its further pages, where the first run wants them
    unread_page: str | None = None  # the further page that is wanted and could not be read
    moved: Address | None = None  # where permanent redirects, and no others, have led
    body_hash: bytes | None = None  # what the same document is recognised by next time
    rest_hash: bytes | None = None  # of its bytes from the first item on
    packed_hash: bytes | None = None  # of the bytes that came, and of how they are read


@dataclass(frozen=True, kw_only=True)
class NotModified:
    """304: the document is the last one."""

    http_max_age: timedelta | None = None
    moved: Address | None = None


@dataclass(frozen=True, kw_only=True)
class Same:
    """The last document to the byte, though the server did not answer 304."""

    document: Document


@dataclass(frozen=True)
class Gone:
    """410: the publisher says that the feed will not come back."""


@dataclass(frozen=True)
class Failed:
    """No document, or one that is no feed. `reason` is for people."""

    reason: str
    retry_after: timedelta | None = None


Fetched = Document | NotModified | Gone | Failed


@dataclass(frozen=True, kw_only=True)
class Item:
    """An item, as its publisher means it. Texts are plain: no tags, no entities."""

    guid: str | None  # trimmed; None if the item states none
    title: str  # one line; "" if the item states none
    description: str | None  # paragraphs, links kept as URLs; "" if none is stated; None: not read
    enclosure_url: str | None  # absolute http(s) URL, ASCII; None: no enclosure of a wanted type
    published_at: datetime | None
    duration: int | None = None  # seconds, by itunes:duration
    episode_type: str = "full"  # by itunes:episodeType, lower case


@dataclass(frozen=True, kw_only=True)
class ParsedFeed:
    """A whole document that is a feed. Items in the document's order."""

    title: str
    items: tuple[Item, ...]
    unchanged: int = 0  # items besides these, the same to the byte as when they were last read
    repaired: bool = False  # the document is not well-formed, or has bytes that had to be replaced
    paged: int = 0  # the items at the end that come from further pages
    unread_page: str | None = None
    unread: int = 0  # items or enclosures that its bytes have, and that could not be read
