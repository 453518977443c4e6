"""Ledger: the claims of all POSTs, and what a claim proves about an episode. Pure.

A claim is the committed intention to send one POST. The ledger has all claims, in the database; the
journal has the same claims in files outside of it (`store/journal.py`), so that a database which
was lost, restored or replaced can be told what was paid for meanwhile.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum, auto
from hashlib import sha256
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from feedwatch.core.episode import State
from feedwatch.core.identity import Key, KeyKind
from feedwatch.core.job import Accepted, Answer, Later, Refused, Unknown
from feedwatch.core.pipeline import (
    ORDER,
    PROCESSOR_OF,
    Piped,
    Step,
    address_key,
    steps_from,
    target_id,
)

TITLE_LENGTH = 120  # characters of a title that a claim keeps, for people
TELLING_GUID = 20  # characters; a shorter guid, such as "12", is given by many publishers


class Outcome(StrEnum):
    """Outcome: what the answer to a claim's POST has proven."""

    OPEN = "open"  # no answer is recorded yet
    ACCEPTED = "accepted"  # a job exists, and its id is known
    REFUSED = "refused"  # no job exists
    NOT_TAKEN = "not_taken"  # no job exists, for a cause outside of the episode
    UNKNOWN = "unknown"  # a job may exist


PERHAPS_PAID = (Outcome.OPEN, Outcome.ACCEPTED, Outcome.UNKNOWN)


def outcome_of(answer: Answer) -> Outcome:
    """The outcome of a claim by the answer to its POST."""
    match answer:
        case Accepted():
            return Outcome.ACCEPTED
        case Refused():
            return Outcome.REFUSED
        case Later():
            return Outcome.NOT_TAKEN
        case Unknown():
            return Outcome.UNKNOWN


class Target(NamedTuple):
    """Target: what a POST is for."""

    processor: str
    api: str  # scheme://host:port
    id: str  # at the API; of Inlet the podcast id


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim, and what came of it."""

    number: int  # orders the claims of one database
    token: str  # unique for ever
    at: datetime
    target: Target
    feed: str
    title: str
    keys: tuple[str, ...]  # of the episode, as `key_hash` writes them
    episode_id: int | None = None  # None: imported, and its episode was not met yet
    posted_for: int | None = None  # the episode's id as the POST had it, in whichever database
    step: Step = Step.ADS
    term: int = 0  # of the leader that made the claim; 0 where there is but one daemon
    outcome: Outcome = Outcome.OPEN
    sent: bool = True  # False only where the POST surely never left
    media_id: str | None = None
    settled_at: datetime | None = None


def key_hash(key: Key) -> str:
    """A key as claims have it: the first 16 bytes of its SHA-256, in hex.

    A hash cannot be migrated, so the normal form of keys (`core/identity.py`) is settled for good.
    """
    return sha256(str(key).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def origin(url: str) -> str:
    """The scheme, host and port of an API's URL, as claims have it."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def is_loopback(api: str) -> bool:
    """Whether an API is on this machine: a sandbox or a test, where nothing is paid."""
    host = urlsplit(api).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def state_if_paid(keys: Collection[Key], claim: Claim) -> State | None:
    """Payment identity: the state of an episode with these keys, given another episode's claim.

    `SKIPPED` where guid and audio both agree: it is the same episode. `HELD` where one sign agrees.
    None where nothing does; a short guid alone is no sign, since publishers count from 1.
    """
    shared = {key.kind: key for key in keys if key_hash(key) in claim.keys}
    if KeyKind.GUID in shared and KeyKind.FILE in shared:
        return State.SKIPPED
    if KeyKind.FILE in shared or KeyKind.DATE in shared:
        return State.HELD
    guid = shared.get(KeyKind.GUID)
    tells = guid is not None and (len(guid.value) >= TELLING_GUID or "://" in guid.value)
    return State.HELD if tells else None


def paid_by(
    keys: Collection[Key], newest_first: Iterable[Claim], target: Target
) -> tuple[Claim, State] | None:
    """Payment identity: of other episodes' claims for `target` the one that has paid for this one.

    Beside it, the state that this means for the episode: held at most where the claim was made at
    another address of the API, which may be another API.
    """
    held = None
    for claim in newest_first:
        if is_loopback(claim.target.api) and not is_loopback(target.api):
            continue  # a sandbox's pay for nothing elsewhere
        state = state_if_paid(keys, claim)
        if state is State.SKIPPED and is_at(claim, target.api):
            return claim, state
        if state is not None and held is None:
            held = claim, State.HELD
    return held


def first_paid_by(
    keys: Collection[Key], newest_first: Sequence[Claim], targets: Iterable[Target]
) -> tuple[Claim, State, str] | None:
    """The same for the first of these targets that is paid for, with the API that it is at."""
    for target in targets:
        paid = paid_by(keys, [one for one in newest_first if is_for(one, [target])], target)
        if paid is not None:
            return *paid, target.api
    return None


def is_met_by(claim: Claim, keys: Collection[Key], feed: str) -> bool:
    """Whether an imported claim is for an episode: in its own feed any key will do."""
    if claim.feed == feed:
        return any(key_hash(key) in claim.keys for key in keys)
    return state_if_paid(keys, claim) is not None


def paid_reason(claim: Claim, api: str) -> str:
    """Why an episode is not submitted to `api`, given the claim that has paid for it."""
    number = f"episode {claim.episode_id}" if claim.episode_id is not None else "an episode"
    key = address_key(claim.target.processor)
    at = "" if is_at(claim, api) else f" to {claim.target.api}, which is not {key}"
    return f"already submitted as {number} of feed {claim.feed} on {claim.at:%Y-%m-%d}{at}"


def import_reason(claim: Claim) -> str:
    """Why an item needs no submission, given the claim that has paid for it and waits for it."""
    state = State.UNKNOWN if claim.media_id is None else State.PROCESSING
    return f"submitted on {claim.at:%Y-%m-%d %H:%M}Z, as the journal has it: becomes {state}"


class Finding(Enum):
    """Finding: what a claim of the journal means to the ledger."""

    MISSING = auto()  # the database is older than the claim: lost, restored or replaced
    SETTLED = auto()  # its answer is in the journal alone: a crash came between the two
    CONTRADICTED = auto()  # both say accepted, with different jobs


def finding(recorded: Claim, ledger: Mapping[str, Claim]) -> Finding | None:
    """Compare a claim of the journal with the ledger, by its token; None if all is well."""
    known = ledger.get(recorded.token)
    if known is None:
        return Finding.MISSING
    if recorded.outcome is Outcome.ACCEPTED and known.outcome is Outcome.ACCEPTED:
        return Finding.CONTRADICTED if recorded.media_id != known.media_id else None
    answered = known.outcome is Outcome.OPEN and recorded.outcome is not Outcome.OPEN
    found = known.outcome is Outcome.UNKNOWN and recorded.outcome is Outcome.ACCEPTED
    return Finding.SETTLED if answered or found else None


def is_for(claim: Claim, targets: Iterable[Target]) -> bool:
    """Whether a claim was for one of these targets, at whichever address of its API."""
    ours = {(target.processor, target.id) for target in targets}
    return (claim.target.processor, claim.target.id) in ours


def is_at(claim: Claim, api: str) -> bool:
    """Whether a claim was made at this API and no other: only then its job can be asked for there.

    Of a submission by feedwatch 0.1 the API is not known; it is taken for this one.
    """
    return claim.target.api in ("", api)


def is_at_ours(claim: Claim, apis: Mapping[str, str]) -> bool:
    """Whether a claim was made at the API that its processor has now; `apis` by processor."""
    return is_at(claim, apis.get(claim.target.processor, ""))


def is_for_here(claim: Claim, targets: Iterable[Target]) -> bool:
    """Whether a claim was for one of these targets, at the very address of its API."""
    return any(is_for(claim, [target]) and is_at(claim, target.api) for target in targets)


def decisive_of(claims: Sequence[Claim]) -> Claim:
    """Of an episode's claims, oldest first, the one that says where it is: how far, then newest."""
    furthest = max(ORDER.index(one.step) for one in claims)
    return [one for one in claims if ORDER.index(one.step) == furthest][-1]


def is_alike(claim: Claim, apis: Mapping[str, str]) -> bool:
    """Whether a claim was made at an API like ours: a sandbox pays for nothing elsewhere.

    apis: the addresses of our APIs, by the names of their processors.
    """
    api = apis.get(claim.target.processor, next(iter(apis.values()), ""))
    return not claim.target.api or is_loopback(claim.target.api) == is_loopback(api)


def target_of(step: Step, feed: Piped, apis: Mapping[str, str]) -> Target:
    """What a POST for this step of a feed is for; without its API's address where none is known."""
    processor = PROCESSOR_OF[step]
    return Target(processor, apis.get(processor, ""), target_id(step, feed))


def targets_from(step: Step, feed: Piped, apis: Mapping[str, str]) -> list[Target]:
    """What the POST for this step of a feed is for, and then those for the steps after it."""
    later = [one for one in steps_from(feed.pipeline, step) if one is not step]
    return [target_of(one, feed, apis) for one in (step, *later)]


def targets_of(feed: Piped, apis: Mapping[str, str]) -> list[Target]:
    """All that POSTs for a feed may ever have been for, whatever its pipeline is now."""
    return [target_of(step, feed, apis) for step in ORDER]


def doubted_until(
    missing: Iterable[Claim],
    feeds_of: Mapping[str, Collection[str]],
    held_before: Mapping[str, datetime | None],
) -> dict[str, datetime]:
    """By the names of feeds, before which date what turns up in them is held.

    A person may have skipped it while the claims were made that the ledger lacks.

    feeds_of: the names of the feeds that the config has for each target.
    held_before: all feeds, each with the date before which that holds already.
    """
    until: dict[str, datetime] = {}
    for claim in missing:
        # A feed that was renamed since is one of those for the same target.
        names = [claim.feed] if claim.feed in held_before else feeds_of.get(claim.target.id, ())
        for name in held_before.keys() & set(names):
            until[name] = max(until.get(name, claim.at), claim.at, held_before[name] or claim.at)
    return until


@dataclass(frozen=True, kw_only=True)
class DatabaseId:
    """Which database this is, and the number of its last claim."""

    id: str
    claims: int


def is_older(database: DatabaseId, marker: DatabaseId | None) -> bool:
    """Whether the marker of feedwatch 0.1, which only counted, has more claims than the database.

    It is asked once, when the journal takes the marker's place.
    """
    if marker is None or marker.claims == 0:
        return False
    return database.id != marker.id or database.claims < marker.claims


@dataclass(frozen=True, kw_only=True)
class Restoration:
    """What a comparison of journal and ledger has found and mended."""

    imported: int = 0  # claims
    processing: int = 0  # episodes whose jobs are known: they need no person
    unknown: int = 0  # episodes whose jobs are not
    unknown_at: tuple[str, ...] = ()  # the processors of these jobs
    unmet: int = 0  # claims whose episodes no check has met yet
    feeds: tuple[str, ...] = ()  # whose new items are held if they are dated before the claims

    @property
    def idle(self) -> int:
        """Claims that change nothing: refused, not taken, of another address or an older job."""
        return self.imported - self.processing - self.unknown - self.unmet
