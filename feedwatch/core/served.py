"""Served feeds: what is kept for them, and what each of their items becomes. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from feedwatch.core.episode import State
from feedwatch.core.schedule import HOUR, MINUTE
from feedwatch.core.settings import NotReady, ServeRules

# On its way: what is skipped or has failed will never be anything but what was published.
ON_ITS_WAY = (State.HELD, State.QUEUED, State.SUBMITTING, State.UNKNOWN, State.PROCESSING)
ASK_FOR = HOUR  # how long a processed file's server is asked for its length


@dataclass(frozen=True, kw_only=True)
class KeptDocument:
    """A document that is kept to be served."""

    body: bytes | None  # packed; None: it is not well-formed, and could not be mended
    url: str
    at: datetime
    problem: str | None = None  # why it is not served


@dataclass(frozen=True, kw_only=True)
class ServedDocument:
    """The last good document of a feed, and what became of it."""

    feed_id: int
    at: datetime
    url: str
    version: int
    problem: str | None  # why a later one is not served
    unplaced: int | None  # ready episodes without an item in it; None: not rendered yet


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What the server of a processed file says of it."""

    url: str
    since: datetime  # of the first attempt
    length: int | None = None  # bytes
    type: str | None = None
    attempts: int = 0
    due_at: datetime | None = None  # of the next attempt; None: there is none


@dataclass(frozen=True, kw_only=True)
class ServedEpisode:
    """An episode, as far as a served feed needs it."""

    id: int
    state: State
    first_seen_at: datetime
    processed_url: str | None
    duration: float | None
    finished_at: datetime | None
    file: FileFacts | None  # None: nobody has asked for it yet

    @property
    def is_unasked(self) -> bool:
        """Whether nothing was found out about the processed file that it has now."""
        return self.file is None or self.file.url != self.processed_url


@dataclass(frozen=True, kw_only=True)
class Places:
    """What each item of a document becomes, by its place; the rest stays as published."""

    processed: Mapping[int, ServedEpisode]
    omitted: frozenset[int]
    unasked: Sequence[ServedEpisode]  # ready, and their files' servers are to be asked now
    unplaced: int  # ready episodes without an item
    again_at: datetime | None  # when this changes by itself


def places(
    found: Sequence[int | None],
    episodes: Mapping[int, ServedEpisode],
    rules: ServeRules,
    now: datetime,
) -> Places:
    """Decide what each item becomes; `found` has the episode's id of each, as far as it is one."""
    processed: dict[int, ServedEpisode] = {}
    omitted: set[int] = set()
    unasked: dict[int, ServedEpisode] = {}
    moments: list[datetime] = []
    for place, number in enumerate(found):
        episode = episodes.get(number) if number is not None else None
        if episode is None:
            continue
        is_ready = episode.processed_url is not None  # or was, and is sent again
        file = None if episode.is_unasked else episode.file
        if is_ready and file is not None and (file.length is not None or file.due_at is None):
            processed[place] = episode
            continue
        if is_ready:
            if file is None or file.due_at is None or file.due_at <= now:
                unasked[episode.id] = episode
            else:
                moments.append(file.due_at)
        until = episode.first_seen_at + rules.omit_for
        if (
            rules.not_ready is NotReady.OMIT
            and (is_ready or episode.state in ON_ITS_WAY)
            and now < until
        ):
            omitted.add(place)
            moments.append(until)
    met = {number for number in found if number is not None}
    return Places(
        processed=processed,
        omitted=frozenset(omitted),
        unasked=list(unasked.values()),
        unplaced=sum(
            one.processed_url is not None and one.id not in met for one in episodes.values()
        ),
        again_at=min(moments, default=None),
    )


def asked(
    before: FileFacts | None, url: str, length: int | None, kind: str | None, now: datetime
) -> FileFacts:
    """What is known of a processed file after its server was asked once more.

    Without a length it is asked again, ever less often, for an hour.
    """
    known = before if before is not None and before.url == url else None
    since = known.since if known is not None else now
    attempts = known.attempts + 1 if known is not None else 1
    wait = min(MINUTE * 2 ** (attempts - 1), timedelta(minutes=15))
    again = now + wait if length is None and now + wait <= since + ASK_FOR else None
    return FileFacts(
        url=url, since=since, length=length, type=kind, attempts=attempts, due_at=again
    )
