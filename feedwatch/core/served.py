"""Served feeds: what is kept for them, and what each of their items becomes. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from feedwatch.core.episode import State
from feedwatch.core.schedule import HOUR, MINUTE
from feedwatch.core.settings import NotReady, ServeRules

# On its way: what is skipped or has failed will never be anything but what was published.
ON_ITS_WAY = (State.HELD, State.QUEUED, State.SUBMITTING, State.UNKNOWN, State.PROCESSING)
ASK_FOR = HOUR  # how long a processed file's server is asked for its length
ASK_EVERY = timedelta(minutes=15)  # at most, in that hour
ASK_LATE_EVERY = timedelta(hours=4)  # at most, after it


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
class ProcessedFile:
    """A processed file, as a feed names it."""

    url: str
    length: int | None = None  # bytes; None: not known
    type: str | None = None
    duration: float | None = None  # seconds


@dataclass(frozen=True, kw_only=True)
class FileAnswer:
    """What the server of a file says of it; None for what it does not say."""

    length: int | None = None
    type: str | None = None
    has_file: bool = True  # it gives the file, whatever it says of it


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What is known of a processed file, and the file that was known before it."""

    file: ProcessedFile
    since: datetime  # of the first attempt
    attempts: int = 0
    due_at: datetime | None = None  # of the next attempt; None: there is none
    earlier: ProcessedFile | None = None  # served until the length of `file` is known

    @property
    def is_settled(self) -> bool:
        """Whether the file is served: its length is known, or was given up."""
        return self.file.length is not None or self.due_at is None


@dataclass(frozen=True, kw_only=True)
class ServedEpisode:
    """An episode, as far as a served feed needs it."""

    id: int
    state: State
    first_seen_at: datetime
    processed_url: str | None
    duration: float | None
    facts: FileFacts | None  # None: nobody has asked for a file of it yet

    @property
    def own_facts(self) -> FileFacts | None:
        """What was found out about the processed file that it has now."""
        is_own = self.facts is not None and self.facts.file.url == self.processed_url
        return self.facts if is_own else None

    @property
    def processed(self) -> ProcessedFile | None:
        """The processed file that it has now, as far as it is known."""
        if self.processed_url is None:
            return None
        facts = self.own_facts
        known = facts.file if facts is not None else ProcessedFile(url=self.processed_url)
        return replace(known, duration=self.duration)

    @property
    def served(self) -> ProcessedFile | None:
        """The file that it is served with; None: as published.

        That of a job before stays until the length of the new one is known.
        """
        if self.facts is None or self.processed_url is None:
            return None
        if not self.facts.is_settled:
            return self.facts.earlier
        return self.processed if self.own_facts is not None else self.facts.file


@dataclass(frozen=True, kw_only=True)
class Places:
    """What each item of a document becomes, by its place; the rest stays as published."""

    processed: Mapping[int, ProcessedFile]
    omitted: frozenset[int]
    unasked: Sequence[ServedEpisode]  # ready, and their files' servers are to be asked now
    unplaced: frozenset[int]  # ready episodes without an item, by their ids
    again_at: datetime | None  # when this changes by itself


def places(
    found: Sequence[int | None],
    episodes: Mapping[int, ServedEpisode],
    rules: ServeRules,
    now: datetime,
) -> Places:
    """Decide what each item becomes; `found` has the episode's id of each, as far as it is one."""
    processed: dict[int, ProcessedFile] = {}
    omitted: set[int] = set()
    unasked: dict[int, ServedEpisode] = {}
    moments: list[datetime] = []
    for place, number in enumerate(found):
        episode = episodes.get(number) if number is not None else None
        if episode is None:
            continue
        is_ready, facts = episode.processed_url is not None, episode.own_facts  # or was ready
        due_at = facts.due_at if is_ready and facts is not None else None
        # Further ahead, it was written down before the clock was set back.
        if due_at is not None and now < due_at <= now + ASK_LATE_EVERY:
            moments.append(due_at)
        elif is_ready and (facts is None or not facts.is_settled):
            unasked[episode.id] = episode
        if (served := episode.served) is not None:
            processed[place] = served
            continue
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
        unplaced=frozenset(
            one.id for one in episodes.values() if one.processed_url and one.id not in met
        ),
        again_at=min(moments, default=None),
    )


def asked(episode: ServedEpisode, url: str, answer: FileAnswer, now: datetime) -> FileFacts:
    """What is known of an episode's processed file after its server was asked once more.

    Without a length it is asked again, ever less often: for an hour, and where there is a file of a
    job before, until the server has the new one.
    """
    known, last = episode.own_facts, episode.facts
    earlier = last.earlier if last is not None else None
    if last is not None and known is None and last.is_settled:
        earlier = last.file
    since = known.since if known is not None else now
    attempts = known.attempts + 1 if known is not None else 1
    is_late = now >= since + ASK_FOR
    most = ASK_LATE_EVERY if is_late else ASK_EVERY
    again = now + min(MINUTE * 2 ** min(attempts - 1, 10), most)
    waits = answer.length is None and (
        again <= since + ASK_FOR or (earlier is not None and not answer.has_file)
    )
    return FileFacts(
        file=ProcessedFile(
            url=url, length=answer.length, type=answer.type, duration=episode.duration
        ),
        since=since,
        attempts=attempts,
        due_at=again if waits else None,
        earlier=earlier if waits else None,
    )


@dataclass(frozen=True, kw_only=True)
class Placing:
    """What a ready episode is in its served feed."""

    url: str | None  # of the file that it is served with; None: none of its own
    reason: str | None = None  # why that is not its processed file, or not all is known of it


@dataclass(frozen=True, kw_only=True)
class Unserved:
    """How many ready episodes listeners do not get yet, over all served feeds."""

    unplaced: int  # there is no item for them
    waiting: int  # the lengths of their files are not known yet


def placing(
    episode: ServedEpisode, document: ServedDocument | None, unplaced: Collection[int] | None
) -> Placing:
    """What an episode is in its served feed; `unplaced` has those without an item, None: unknown.

    For people: the reason says what it waits for.
    """
    if document is None or unplaced is None:
        problem = document.problem if document is not None else None
        why = problem or "the feed was not rendered yet: it is after a good check"
        return Placing(url=None, reason=why)
    if episode.id in unplaced:
        no_item = "the feed's last good document has no item that is certain to be this episode"
        return Placing(url=None, reason=f"{no_item}: the publisher took it out, or changed it")
    served, facts = episode.served, episode.own_facts
    url = served.url if served is not None else None
    until = "until then it has the file of the job before" if served is not None else ""
    if facts is None:
        waits = "the server of its processed file is to be asked for the length"
        return Placing(url=url, reason="; ".join(filter(None, [waits, until])))
    if facts.due_at is not None:
        tried = "waits for the length of its processed file: its server did not tell it when asked"
        times = "once" if facts.attempts == 1 else f"{facts.attempts} times"
        again = f"the next time is {facts.due_at:%Y-%m-%dT%H:%M:%SZ}"
        return Placing(url=url, reason="; ".join(filter(None, [f"{tried} {times}", again, until])))
    if facts.file.length is None:
        return Placing(url=url, reason="served with length 0: the file's server does not tell it")
    return Placing(url=url)
