"""Item match: what each item of a document is to the known episodes. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum, auto

from feedwatch.core.episode import KnownEpisode
from feedwatch.core.feed import Item
from feedwatch.core.identity import Key, KeyKind, comparable, title_key

MOVE_AT_LEAST = 3  # items whose audio has another address all at once: a new host, not new audio
MOVE_FOR_SURE = 10  # items; nobody corrects so many at once
WINDOW = 3  # items; a feed that shows fewer is a rolling one
MOMENT = timedelta(minutes=10)  # no show has two episodes of one title in so short a time
DAY = timedelta(days=1)


class MatchKind(Enum):
    """What an item is to the episodes that we know."""

    NOTHING = auto()  # no enclosure: no episode
    NEW = auto()
    KNOWN = auto()
    WAITING = auto()  # probably a held episode under another guid and address
    REPLACED = auto()  # a known episode with truly another file
    DOUBTFUL = auto()  # perhaps new, perhaps known: a person should look


@dataclass(frozen=True, kw_only=True)
class ItemMatch:
    """What one item of a document is.

    `keys` has those of its keys that lead nowhere yet and are not an item's further up. `known` is
    the episode that it is, or whose audio it replaces; `twin` the place in the document of the item
    further up that it repeats.
    """

    item: Item
    keys: tuple[Key, ...]
    kind: MatchKind
    reason: str
    known: KnownEpisode | None = None
    duplicate_of: int | None = None


@dataclass(frozen=True, kw_only=True)
class UnchangedItems:
    """What a document shows besides the items that are looked at: all of it unchanged."""

    episode_ids: frozenset[int] = frozenset()  # the episodes
    episodes: int = 0  # the items that are these episodes; several may be one
    with_guid: int = 0  # those of them that have a telling guid


def match_items(
    items: Sequence[Item],
    all_keys: Sequence[tuple[Key, ...]],
    known: Mapping[Key, KnownEpisode],
    same_title: Mapping[str, Sequence[KnownEpisode]],
    *,
    shown_before: int,
    unchanged: UnchangedItems = UnchangedItems(),
) -> list[ItemMatch]:
    """What each item of a document is, in the document's order.

    `all_keys` is what `keys_of` says of the items, `known` has the episodes by these keys, and
    `namesakes` by `title_key`. `shown_before` is how many items the last good document had.
    Where only some items of a document are looked at, no key of theirs may lead into the `rest`.
    """
    new_items = sum(bool(keys) and known.keys().isdisjoint(keys) for keys in all_keys)
    document = _Document(
        known=known,
        same_title=same_title,
        shown={known[key].id for keys in all_keys for key in keys if key in known and _tells(key)}
        | unchanged.episode_ids,
        moved=_has_moved(all_keys, known, unchanged.with_guid),
        # Where so few are shown, one always goes when another comes.
        rolling=shown_before < WINDOW and not (shown_before > 1 and new_items > 1),
    )
    met: dict[Key, int] = {}  # where in the document each key stood first
    found = []
    for place, (item, keys) in enumerate(zip(items, all_keys, strict=True)):
        kind, reason, one = _sight(item, keys, document, met)
        repeats = kind is MatchKind.KNOWN and one is None
        duplicate_of = min(met[key] for key in keys if key in met) if repeats else None
        match = ItemMatch(
            item=item,
            keys=tuple(key for key in keys if key not in met and key not in known),
            kind=kind,
            reason=reason,
            known=one,
            duplicate_of=duplicate_of,
        )
        found.append(match)
        for key in keys:
            met.setdefault(key, place if duplicate_of is None else duplicate_of)
    return found


def edited(match: ItemMatch) -> KnownEpisode | None:
    """The known episode as this item describes it, if that is not what we had."""
    item, known = match.item, match.known
    if match.kind is not MatchKind.KNOWN or known is None:
        return None
    now = replace(
        known,
        title_key=title_key(item.title) if item.title else known.title_key,
        enclosure_url=item.enclosure_url or known.enclosure_url,
        published_at=item.published_at or known.published_at,
        duration=item.duration if item.duration is not None else known.duration,
    )
    return now if now != known else None


def _tells(key: Key) -> bool:
    """Whether a key is enough by itself; a title with a date needs the circumstances."""
    return key.kind is not KeyKind.DATE


# The rules, from the strongest sign to the weakest


@dataclass(frozen=True, kw_only=True)
class _Document:
    """What the rules need to know of the document as a whole."""

    known: Mapping[Key, KnownEpisode]
    same_title: Mapping[str, Sequence[KnownEpisode]]
    shown: Collection[int]  # the known episodes that it shows, by guid or audio
    moved: bool  # the audio of most of them has another address than before
    rolling: bool  # it replaces its items all the time


Match = tuple[MatchKind, str, KnownEpisode | None]


def _sight(item: Item, keys: Sequence[Key], document: _Document, met: Collection[Key]) -> Match:
    known = document.known
    by = {key.kind: known[key] for key in keys if key in known} if known else {}
    if not keys:
        return MatchKind.NOTHING, "no enclosure of a wanted media type", None
    if KeyKind.FILE in by:
        other_guid = KeyKind.GUID not in by and any(key.kind is KeyKind.GUID for key in keys)
        return _by_audio(item, by[KeyKind.FILE], other_guid=other_guid)
    if KeyKind.GUID in by:
        return _by_guid(item, by[KeyKind.GUID], document)
    if any(key in met for key in keys if _tells(key)):
        return MatchKind.KNOWN, "stands further up in this document already", None
    if KeyKind.DATE in by:
        return _by_date(item, by[KeyKind.DATE], document)
    if any(key in met for key in keys):
        reason = "has the title and the date of an item further up, with other audio"
        return MatchKind.DOUBTFUL, reason, None
    return _by_title(item, document) or (MatchKind.NEW, "new", None)


def _by_audio(item: Item, one: KnownEpisode, *, other_guid: bool) -> Match:
    if other_guid and (_is_later(item, one) or title_key(item.title) != one.title_key):
        reason = f"has the audio of episode {one.id}, but another guid, and another title or date"
        return MatchKind.DOUBTFUL, reason, None
    return MatchKind.KNOWN, f"known as episode {one.id} by its audio", one


def _by_guid(item: Item, one: KnownEpisode, document: _Document) -> Match:
    """The guid is known, the audio is not: it has moved, was replaced, or is another episode's."""
    known = f"known as episode {one.id} by its guid"
    if (waiting := _waiting(item, document)) is not None:
        return waiting
    if _is_later(item, one) and title_key(item.title) != one.title_key:
        reason = f"has the guid of episode {one.id}, but other audio and title, and a later date"
        return MatchKind.DOUBTFUL, reason, None
    if document.moved:
        return MatchKind.KNOWN, f"{known}; the feed's audio has moved", one
    if _file_name(item.enclosure_url or "") == _file_name(one.enclosure_url):
        return MatchKind.KNOWN, f"{known}; its file has moved", one
    if item.duration is not None and item.duration == one.duration:
        return MatchKind.KNOWN, f"{known}; the new file is as long as the old one", one
    if len(document.same_title.get(title_key(item.title), ())) > 1:
        return MatchKind.DOUBTFUL, f"the audio of episode {one.id} was replaced once more", None
    return MatchKind.REPLACED, f"the audio of episode {one.id} was replaced", one


def _by_date(item: Item, one: KnownEpisode, document: _Document) -> Match:
    """Guid and audio are new, title and date are known."""
    if one.id in document.shown or document.rolling or not _lasts_as_long(item, one):
        reason = f"has the title and the date of episode {one.id}, but another guid and audio"
        return MatchKind.DOUBTFUL, reason, None
    return MatchKind.KNOWN, f"known as episode {one.id} by its title and date", one


def _by_title(item: Item, document: _Document) -> Match | None:
    """All but the title is new: an episode that has just vanished may have been issued anew."""
    if (waiting := _waiting(item, document)) is not None:
        return waiting
    same = document.same_title.get(title_key(item.title), ()) if item.title else ()
    for one in same:
        if one.id in document.shown:
            continue
        # A title that several episodes have tells nothing, and in a rolling feed none does, unless
        # the time is nearly the same. Nor does one that another length and another day belie.
        telling = len(same) == 1 and not document.rolling
        fits = _lasts_as_long(item, one) or _is_near(item, one, DAY)
        if (telling and fits) or (_is_near(item, one, MOMENT) and _lasts_as_long(item, one)):
            reason = f"looks like episode {one.id} issued anew: its title, and all else is new"
            return MatchKind.DOUBTFUL, reason, None
    return None


def _has_moved(
    all_keys: Sequence[Sequence[Key]], known: Mapping[Key, KnownEpisode], with_guid: int
) -> bool:
    """Whether most, or very many, items with a known guid have audio at an address that is new."""
    moved = 0
    for keys in all_keys:
        kinds = {key.kind for key in keys if key in known}
        moved += KeyKind.GUID in kinds and KeyKind.FILE not in kinds
        with_guid += {KeyKind.GUID, KeyKind.FILE} <= kinds
    return moved >= MOVE_FOR_SURE or (moved >= MOVE_AT_LEAST and moved > with_guid)


def _waiting(item: Item, document: _Document) -> Match | None:
    """A held episode of this title and date that has vanished.

    What is another one at every check is held once, not every time.
    """
    for one in document.same_title.get(title_key(item.title), ()) if item.title else ():
        undated = item.published_at is None and one.published_at is None
        same = undated or _is_near(item, one, MOMENT)
        if one.held and same and one.id not in document.shown and _lasts_as_long(item, one):
            return MatchKind.WAITING, f"taken for episode {one.id}, which waits for a person", one
    return None


def _is_later(item: Item, one: KnownEpisode) -> bool:
    if item.published_at is None or one.published_at is None:
        return False
    return item.published_at > one.published_at


def _lasts_as_long(item: Item, one: KnownEpisode) -> bool:
    """Whether two durations fit one episode: other ads make it a little longer or shorter."""
    if item.duration is None or one.duration is None:
        return True
    return abs(item.duration - one.duration) <= max(60, one.duration / 10)


def _is_near(item: Item, one: KnownEpisode, most: timedelta) -> bool:
    """Whether both dates are known, and at most so far apart."""
    if item.published_at is None or one.published_at is None:
        return False
    return abs(item.published_at - one.published_at) <= most


def _file_name(url: str) -> str:
    return comparable(url).partition("?")[0].rpartition("/")[2].lower()
