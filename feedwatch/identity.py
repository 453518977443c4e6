"""By which keys an episode is known, and what an item is to the episodes that we know. Pure.

An item has several keys at once: its guid, its audio, and its title with its date. A key is
"kind:value", is kept for ever, and leads to one episode of its feed. docs/identity.md has the rules
as one table; each has a test of its own.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from hashlib import sha256
from urllib.parse import unquote

from feedwatch.model import Item, Known
from feedwatch.tracking import PREFIXES, VOLATILE_PARAMETERS

LONGEST_KEY = 500  # characters; a longer value is kept as its hash: databases bound what they index
MOVE_AT_LEAST = 3  # items whose audio has another address all at once: a new host, not new audio
WINDOW = 3  # items; a feed that shows fewer is a rolling one
HALF_HOUR = timedelta(minutes=30)
DAY = timedelta(days=1)

_PREFIX = re.compile("|".join(PREFIXES), re.IGNORECASE)


class Kind(Enum):
    """What an item is to the episodes that we know."""

    NOTHING = auto()  # no enclosure: no episode
    NEW = auto()
    KNOWN = auto()
    REPLACED = auto()  # a known episode with truly another file
    DOUBTFUL = auto()  # perhaps new, perhaps known: a person should look


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """What one item of a document is.

    `keys` has those of its keys that lead nowhere yet and are not an item's further up. `known` is
    the episode that it is, or whose audio it replaces; `twin` the place in the document of the item
    further up that it repeats.
    """

    item: Item
    keys: tuple[str, ...]
    kind: Kind
    reason: str
    known: Known | None = None
    twin: int | None = None


def sightings(
    items: Sequence[Item],
    known: Mapping[str, Known],
    namesakes: Mapping[str, Sequence[Known]],
    *,
    shown_before: int,
) -> list[Sighting]:
    """What each item of a document is, in the document's order.

    `known` has the episodes by their keys, as far as the items have these; `namesakes` has them by
    `title_key`. `shown_before` is how many items the feed's last good document had.
    """
    all_keys = keys_of(items)
    new_items = sum(bool(keys) and known.keys().isdisjoint(keys) for keys in all_keys)
    document = _Document(
        known=known,
        namesakes=namesakes,
        shown={known[key].id for keys in all_keys for key in keys if key in known and _tells(key)},
        moved=_has_moved(all_keys, known),
        # Where so few are shown, one always goes when another comes.
        rolling=shown_before < WINDOW and not (shown_before > 1 and new_items > 1),
    )
    met: dict[str, int] = {}  # where in the document each key stood first
    found = []
    for place, (item, keys) in enumerate(zip(items, all_keys, strict=True)):
        kind, reason, one = _sight(item, keys, document, met)
        repeats = kind is Kind.KNOWN and one is None
        twin = min(met[key] for key in keys if key in met) if repeats else None
        sighting = Sighting(
            item=item,
            keys=tuple(key for key in keys if key not in met and key not in known),
            kind=kind,
            reason=reason,
            known=one,
            twin=twin,
        )
        found.append(sighting)
        for key in keys:
            met.setdefault(key, place if twin is None else twin)
    return found


def keys_of(items: Sequence[Item]) -> list[tuple[str, ...]]:
    """The keys of each item of one document, in the items' order, the strongest first.

    A guid that stands on items with different audio in one document tells nothing, and is no key of
    either. An item without an enclosure has no keys.
    """
    files: dict[str, set[str]] = defaultdict(set)
    for item in items:
        if item.guid is not None and item.enclosure_url is not None:
            files[item.guid].add(comparable(item.enclosure_url))
    telling = {guid for guid, urls in files.items() if len(urls) == 1}
    return [tuple(_keys(item, telling)) for item in items]


def title_key(title: str) -> str:
    """A title for comparison."""
    return _bounded(" ".join(title.casefold().split()))


def comparable(url: str) -> str:
    """An enclosure's address for comparison only.

    Without scheme, tracking prefixes, fragment, volatile parameters and the host's upper case.
    """
    rest = _without_scheme(url)
    while prefix := _PREFIX.match(rest):
        rest = _without_scheme(rest[prefix.end() :])
    place, _, query = rest.partition("#")[0].partition("?")
    host, slash, path = place.partition("/")
    kept = "&".join(
        part
        for part in query.split("&")
        if part and part.partition("=")[0].lower() not in VOLATILE_PARAMETERS
    )
    return f"{host.lower()}{slash}{path}{'?' if kept else ''}{kept}"


def _without_scheme(url: str) -> str:
    if re.match(r"https?%3a", url, re.IGNORECASE):  # an address inside another one's path
        url = unquote(url)
    return re.sub(r"^(?:https?:)?//", "", url, flags=re.IGNORECASE)


def _keys(item: Item, telling_guids: Collection[str]) -> Iterable[str]:
    if item.enclosure_url is None:
        return
    if item.guid is not None and item.guid in telling_guids:
        yield f"guid:{_bounded(item.guid)}"
    yield f"file:{_bounded(comparable(item.enclosure_url))}"
    if item.title and item.published_at is not None:
        yield f"date:{item.published_at:%Y-%m-%dT%H:%M:%S} {title_key(item.title)}"


def _tells(key: str) -> bool:
    """Whether a key is enough by itself; a title with a date needs the circumstances."""
    return not key.startswith("date:")


def _bounded(value: str) -> str:
    if len(value) <= LONGEST_KEY:
        return value
    return "sha256-" + sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


# The rules, from the strongest sign to the weakest


@dataclass(frozen=True, kw_only=True)
class _Document:
    """What the rules need to know of the document as a whole."""

    known: Mapping[str, Known]
    namesakes: Mapping[str, Sequence[Known]]
    shown: Collection[int]  # the known episodes that it shows, by guid or audio
    moved: bool  # the audio of most of them has another address than before
    rolling: bool  # it replaces its items all the time


Verdict = tuple[Kind, str, Known | None]


def _sight(item: Item, keys: Sequence[str], document: _Document, met: Collection[str]) -> Verdict:
    by = {key.partition(":")[0]: document.known[key] for key in keys if key in document.known}
    if not keys:
        return Kind.NOTHING, "no enclosure of a wanted media type", None
    if "file" in by:
        return _by_audio(item, by["file"], by.get("guid"))
    if "guid" in by:
        return _by_guid(item, by["guid"], document)
    if any(key in met for key in keys if _tells(key)):
        return Kind.KNOWN, "stands further up in this document already", None
    if "date" in by and _lasts_as_long(item, by["date"]):
        return _by_date(by["date"], document)
    if any(key in met for key in keys):
        reason = "has the title and the date of an item further up, with other audio"
        return Kind.DOUBTFUL, reason, None
    return _by_title(item, document) or (Kind.NEW, "new", None)


def _by_audio(item: Item, one: Known, same_guid: Known | None) -> Verdict:
    if same_guid is None and _is_another_episode(item, one):
        reason = f"has the audio of episode {one.id}, but another guid and title, and a later date"
        return Kind.DOUBTFUL, reason, None
    return Kind.KNOWN, f"known as episode {one.id} by its audio", one


def _by_guid(item: Item, one: Known, document: _Document) -> Verdict:
    """The guid is known, the audio is not: it has moved, was replaced, or is another episode's."""
    known = f"known as episode {one.id} by its guid"
    if document.moved:
        return Kind.KNOWN, f"{known}; the feed's audio has moved", one
    if _is_another_episode(item, one):
        reason = f"has the guid of episode {one.id}, but other audio and title, and a later date"
        return Kind.DOUBTFUL, reason, None
    if _file_name(item.enclosure_url or "") == _file_name(one.enclosure_url):
        return Kind.KNOWN, f"{known}; its file has moved", one
    if item.duration is not None and item.duration == one.duration:
        return Kind.KNOWN, f"{known}; the new file is as long as the old one", one
    return Kind.REPLACED, f"the audio of episode {one.id} was replaced", one


def _by_date(one: Known, document: _Document) -> Verdict:
    """Guid and audio are new, title and date are known."""
    if one.id in document.shown or document.rolling:
        reason = f"has the title and the date of episode {one.id}, but another guid and audio"
        return Kind.DOUBTFUL, reason, None
    return Kind.KNOWN, f"known as episode {one.id} by its title and date", one


def _by_title(item: Item, document: _Document) -> Verdict | None:
    """All but the title is new: an episode that has just vanished may have been issued anew."""
    if document.rolling or not item.title:
        return None
    same = document.namesakes.get(title_key(item.title), ())
    for one in same:
        if one.id in document.shown or not _lasts_as_long(item, one):
            continue
        # A title that several episodes have tells nothing, unless the time is the same but for
        # the zone.
        if len(same) == 1 or _other_time_zone(item.published_at, one.published_at):
            reason = f"looks like episode {one.id} issued anew: its title, and all else is new"
            return Kind.DOUBTFUL, reason, None
    return None


def _has_moved(all_keys: Sequence[Sequence[str]], known: Mapping[str, Known]) -> bool:
    """Whether most items with a known guid have audio at an address that is new."""
    moved = stayed = 0
    for keys in all_keys:
        kinds = {key.partition(":")[0] for key in keys if key in known}
        moved += "guid" in kinds and "file" not in kinds
        stayed += {"guid", "file"} <= kinds
    return moved >= MOVE_AT_LEAST and moved > stayed


def _is_another_episode(item: Item, one: Known) -> bool:
    """Whether the title says so, and the date, which is a later one."""
    if item.published_at is None or one.published_at is None:
        return False
    later = item.published_at > one.published_at
    return later and title_key(item.title) != title_key(one.title)


def _lasts_as_long(item: Item, one: Known) -> bool:
    """Whether two durations fit one episode: other ads make it a little longer or shorter."""
    if item.duration is None or one.duration is None:
        return True
    return abs(item.duration - one.duration) <= max(60, one.duration / 10)


def _other_time_zone(here: datetime | None, there: datetime | None) -> bool:
    """Whether two times differ by what a wrong or changed time zone makes of one."""
    if here is None or there is None:
        return False
    return abs(here - there) <= DAY and (here - there) % HALF_HOUR == timedelta()


def _file_name(url: str) -> str:
    return comparable(url).partition("?")[0].rpartition("/")[2].lower()
