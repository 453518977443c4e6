"""Item match: what each item of a document is to the known episodes. Pure."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from functools import cached_property

from feedwatch.core.episode import KnownEpisode, State
from feedwatch.core.feed import Item
from feedwatch.core.identity import Key, KeyKind, comparable, title_key
from feedwatch.core.schedule import DAY
from feedwatch.core.settings import FEED_BLOCK

MOVE_AT_LEAST = 3  # items with a new enclosure URL all at once: a new host, not new audio
MOVE_FOR_SURE = 10  # items; nobody corrects so many at once
WINDOW = 3  # items; a feed that shows fewer replaces them all the time
MOMENT = timedelta(minutes=10)  # no show publishes two episodes of one title in so short a time
BULLETIN = timedelta(minutes=30)  # what comes so much later is another issue of a bulletin
MOST_OF_ONE_DATE = 3  # episodes; a date that more of them have is no date of publication
# Names of files that say nothing of what is in them.
GENERIC_NAMES = frozenset(
    re.findall(
        r"\w*",
        """audio audiofile bulletin clip content current default download enclosure ep episode feed
        file final full index latest listen live main master media mp3 news newest original output
        play player podcast program programme recording show sound stream today track video""",
    )
)
NEVER = datetime.min.replace(tzinfo=UTC)
WAY_OUT = f"where each new episode comes so, {FEED_BLOCK}ON_REPLACED=submit or =ignore decides"


class MatchKind(Enum):
    """What an item is to the known episodes."""

    NOTHING = auto()  # no enclosure: no episode
    NEW = auto()
    KNOWN = auto()
    WAITING = auto()  # probably a held episode under another guid and URL
    REPLACED = auto()  # a known episode with another recording
    DOUBTFUL = auto()  # perhaps new, perhaps known: a person should decide


@dataclass(frozen=True, kw_only=True)
class ItemMatch:
    """What one item of a document is to the known episodes."""

    item: Item
    keys: tuple[Key, ...]  # those that lead nowhere yet, and are no key of an item further up
    kind: MatchKind
    reason: str
    known: KnownEpisode | None = None  # the episode that it is, or whose audio it replaces
    duplicate_of: int | None = None  # the place of the item further up that it repeats
    leads_to: frozenset[int] = frozenset()  # the known episodes that any of its keys leads to
    borrowed: bool = False  # its audio is that of another known episode


@dataclass(frozen=True, kw_only=True)
class UnchangedItems:
    """What a document has besides the items to be matched: all of it seen before, unchanged."""

    episode_ids: frozenset[int] = frozenset()
    episodes: int = 0  # the items that are these episodes; several may be one
    with_guid: int = 0  # those of them that have a guid for a key


def match_items(
    items: Sequence[Item],
    all_keys: Sequence[tuple[Key, ...]],
    known: Mapping[Key, KnownEpisode],
    same_title: Mapping[str, Sequence[KnownEpisode]],
    same_date: Mapping[datetime, Sequence[KnownEpisode]],
    *,
    shown_before: int,
    unchanged: UnchangedItems = UnchangedItems(),
) -> list[ItemMatch]:
    """What each item of a document is, in the document's order.

    `all_keys`: what `keys_of` gives for the items.
    `known`: the episodes by these keys.
    `same_title`, `same_date`: the feed's episodes by `title_key`, and by when they were published,
    for the titles and dates of those items whose audio is not known.
    `shown_before`: how many episodes the last good document had.
    `unchanged`: the rest, where not all items are given; no given key may lead to one of these.
    """
    new_items = sum(bool(keys) and known.keys().isdisjoint(keys) for keys in all_keys)
    by_key = {known[key].id for keys in all_keys for key in keys if key in known and _tells(key)}
    by_guid = Counter(
        known[key].id
        for keys in all_keys
        for key in keys[:1]
        if key.kind is KeyKind.GUID and key in known
    )
    document = _Document(
        known=known,
        same_title=same_title,
        same_date=same_date,
        items=items,
        shown=by_key | unchanged.episode_ids,
        shared={number for number, items in by_guid.items() if items > 1},
        moved=_has_moved(items, all_keys, known, unchanged.with_guid),
        # Where so few are shown, one always goes when another comes.
        rolling=shown_before < WINDOW and not (shown_before > 1 and new_items > 1),
    )
    met: dict[Key, int] = {}  # where in the document each key stood first
    found = []
    for place, (item, keys) in enumerate(zip(items, all_keys, strict=True)):
        kind, reason, one = _match(item, keys, document, met)
        repeats = kind is MatchKind.KNOWN and one is None
        duplicate_of = min(met[key] for key in keys if key in met) if repeats else None
        fresh = tuple(key for key in keys if key not in met and key not in known)
        owners = {key.kind: known[key] for key in keys if key in known}
        audio = owners.get(KeyKind.FILE)
        match = ItemMatch(
            item=item,
            keys=fresh,
            kind=kind,
            reason=reason,
            known=one,
            duplicate_of=duplicate_of,
            leads_to=frozenset(owner.id for owner in owners.values()),
            borrowed=one is not None and audio is not None and audio.id != one.id,
        )
        found.append(match)
        for key in keys:
            met.setdefault(key, place if duplicate_of is None else duplicate_of)
    return found


def edited(match: ItemMatch) -> KnownEpisode | None:
    """The known episode as this item describes it, if that differs from what was kept."""
    item, known = match.item, match.known
    if match.kind not in (MatchKind.KNOWN, MatchKind.WAITING) or known is None:
        return None
    url = item.enclosure_url if not match.borrowed else None
    now = replace(
        known,
        title_key=title_key(item.title) if item.title else known.title_key,
        title=item.title if item.title and known.state is State.SKIPPED else known.title,
        enclosure_url=url or known.enclosure_url,
        published_at=item.published_at or known.published_at,
        duration=item.duration if item.duration is not None else known.duration,
    )
    return now if now != known else None


# The rules, from the strongest sign to the weakest


class _Moved(Enum):
    """Whether most of a document's known items have another enclosure URL than before."""

    NO = auto()
    YES = auto()
    FOR_SURE = auto()  # so many that no edit explains it


@dataclass(frozen=True, kw_only=True)
class _Document:
    """What the rules need to know of the document as a whole."""

    known: Mapping[Key, KnownEpisode]
    same_title: Mapping[str, Sequence[KnownEpisode]]
    same_date: Mapping[datetime, Sequence[KnownEpisode]]
    items: Sequence[Item]
    shown: Collection[int]  # the known episodes that it has, by guid or enclosure
    shared: Collection[int]  # those of them that several items lead to by their guids
    moved: _Moved  # whether most of them have another enclosure URL than before
    rolling: bool  # it replaces its items all the time

    @cached_property
    def names(self) -> Mapping[str, int]:
        """How many files of the document have a name."""
        urls = {comparable(one.enclosure_url) for one in self.items if one.enclosure_url}
        return Counter(map(_file_name, urls))

    def is_telling(self, name: str) -> bool:
        """Whether a file's name says which file of the feed it is."""
        return not _is_generic(name) and self.names[name] < 2


Match = tuple[MatchKind, str, KnownEpisode | None]


def _match(item: Item, keys: Sequence[Key], document: _Document, met: Collection[Key]) -> Match:
    if not keys:
        return MatchKind.NOTHING, "no enclosure of a wanted media type", None
    known = document.known
    by = {key.kind: known[key] for key in keys if key in known}
    own = by.get(KeyKind.GUID)
    if (one := by.get(KeyKind.FILE)) is not None:
        return _by_audio(item, one, by, has_guid=keys[0].kind is KeyKind.GUID)
    if own is not None:
        return _by_guid(item, own, document)
    repeated = [key for key in keys if key in met]
    if any(map(_tells, repeated)):
        return MatchKind.KNOWN, "stands further up in this document already", None
    if (one := by.get(KeyKind.DATE)) is not None:
        return _by_title_and_date(item, one, document)
    if repeated:
        reason = "has the title and the date of an item further up, with other audio"
        return MatchKind.DOUBTFUL, reason, None
    return _by_title(item, document)


def _by_audio(
    item: Item, one: KnownEpisode, by: Mapping[KeyKind, KnownEpisode], *, has_guid: bool
) -> Match:
    """The URL is known: it is that episode, or a rerun of it, or what the URL leads to now."""
    own, dated = by.get(KeyKind.GUID), by.get(KeyKind.DATE)
    if own is not None and own.id > one.id:  # it was doubted once, and so is an episode
        return MatchKind.KNOWN, f"known as episode {own.id} by its guid", own
    later, renamed = _is_later(item, one), title_key(item.title) != one.title_key
    is_fixed = _is_fixed(one.enclosure_url)
    if own is None:
        stated = item.duration is not None and one.duration is not None
        other = item.duration != one.duration if stated else not has_guid
    else:
        other = not _is_as_long(item, one)
    if item.title and renamed and later and (own is None or is_fixed or other):
        if dated is not None and dated.id > one.id:
            return MatchKind.KNOWN, f"known as episode {dated.id} by its title and date", dated
        reason = f"has the address of episode {one.id}, but another title and a later date"
        if is_fixed or other:
            return MatchKind.REPLACED, f"{reason}; {WAY_OUT}", one
        return MatchKind.DOUBTFUL, reason, None
    if own is None and has_guid and (later or renamed):
        reason = f"has the audio of episode {one.id}, but another guid, and another title or date"
        return MatchKind.DOUBTFUL, reason, None
    return MatchKind.KNOWN, f"known as episode {one.id} by its audio", one


def _by_guid(item: Item, one: KnownEpisode, document: _Document) -> Match:
    """The guid is known, the URL is not: the file has moved, was replaced, or is another one's."""
    known = f"known as episode {one.id} by its guid"
    if (waiting := _waiting(item, document)) is not None:
        return waiting
    later, name = _is_later(item, one), _file_name(item.enclosure_url or "")
    waits = one.waits and one.id not in document.shared
    # File and date were mended before anything was sent; a bulletin's next issue comes later.
    soon = _is_near(item, one, BULLETIN - timedelta(seconds=1))
    if waits and soon and one.state in (State.HELD, State.QUEUED):
        return MatchKind.KNOWN, f"{known}, which waits and takes the new address", one
    if later and title_key(item.title) != one.title_key:
        reason = f"has the guid of episode {one.id}, but other audio and title, and a later date"
        return MatchKind.DOUBTFUL, reason, None
    if document.moved is _Moved.FOR_SURE or (document.moved is _Moved.YES and not later):
        return MatchKind.KNOWN, f"{known}; the feed's audio has moved", one
    if later:
        return _replaced(item, f"has the guid of episode {one.id}, but other audio", one, document)
    if waits:
        return MatchKind.KNOWN, f"{known}, which waits and takes the new address", one
    if name == _file_name(one.enclosure_url) and document.is_telling(name):
        if _is_as_long(item, one):
            return MatchKind.KNOWN, f"{known}; its file has moved", one
    elif item.duration is not None and item.duration == one.duration:
        return MatchKind.KNOWN, f"{known}; the new file is as long as the old one", one
    return _replaced(item, f"the audio of episode {one.id} was replaced", one, document)


def _by_title_and_date(item: Item, one: KnownEpisode, document: _Document) -> Match:
    """Title and date are known, guid and URL are not: issued anew, replaced, or another one."""
    if (waiting := _waiting(item, document)) is not None:
        return waiting
    reason = f"has the title and the date of episode {one.id}, but another guid and audio"
    if one.id in document.shown or document.rolling or not _lasts_as_long(item, one):
        return MatchKind.DOUBTFUL, reason, None
    as_long = item.duration is not None and item.duration == one.duration
    if as_long or document.moved is not _Moved.NO:
        return MatchKind.KNOWN, f"known as episode {one.id} by its title and date", one
    return _replaced(item, reason, one, document)


def _replaced(item: Item, reason: str, one: KnownEpisode, document: _Document) -> Match:
    """The policy decides; but not of audio that is another one again and again."""
    same = document.same_title.get(title_key(item.title), ())
    dates = [each.published_at for each in same if each.published_at is not None]
    is_next = (
        item.published_at is not None and item.published_at - max(dates, default=NEVER) >= BULLETIN
    )
    if len(same) > 1 and not is_next:
        return MatchKind.DOUBTFUL, f"the audio of episode {one.id} was replaced once more", None
    return MatchKind.REPLACED, f"{reason}; {WAY_OUT}" if _is_later(item, one) else reason, one


def _by_title(item: Item, document: _Document) -> Match:
    """At most the title is known: an episode that has just vanished may have been issued anew."""
    if (waiting := _waiting(item, document)) is not None:
        return waiting
    same = document.same_title.get(title_key(item.title), ()) if item.title else ()
    for one in same:
        if one.id in document.shown:
            continue
        # A title that several episodes share proves nothing, nor does any title in a rolling feed,
        # unless the times are nearly the same. Another length on another day disproves it.
        telling = len(same) == 1 and not document.rolling
        fits = _lasts_as_long(item, one) or _is_near(item, one, DAY)
        if (telling and fits) or (_is_near(item, one, MOMENT) and _lasts_as_long(item, one)):
            reason = f"looks like episode {one.id} issued anew: its title, and all else is new"
            return MatchKind.DOUBTFUL, reason, None
    dated = document.same_date.get(item.published_at, ()) if item.published_at else ()
    missing = [one for one in dated if one.id not in document.shown]
    if missing and len(dated) <= MOST_OF_ONE_DATE:
        reason = f"looks like episode {missing[0].id} issued anew: published at the same second"
        return MatchKind.DOUBTFUL, reason, None
    return MatchKind.NEW, "new", None


def _waiting(item: Item, document: _Document) -> Match | None:
    """A held episode of this title and date that has vanished from the document.

    An item with another guid and URL at every check is held once, not at every check.
    """
    for one in document.same_title.get(title_key(item.title), ()) if item.title else ():
        undated = item.published_at is None and one.published_at is None
        same = undated or (_is_near(item, one, MOMENT) and not _is_later(item, one))
        if (
            one.state is State.HELD
            and same
            and one.id not in document.shown
            and _lasts_as_long(item, one)
        ):
            return MatchKind.WAITING, f"taken for episode {one.id}, which waits for a person", one
    return None


def _has_moved(
    items: Sequence[Item],
    all_keys: Sequence[Sequence[Key]],
    known: Mapping[Key, KnownEpisode],
    with_guid: int,
) -> _Moved:
    """Whether most, or very many, known items have an enclosure URL that is new.

    A few with a later date are other episodes: slots for bulletins, say, that keep their guids.
    """
    moved = later = 0
    for item, keys in zip(items, all_keys, strict=True) if known else ():
        by = {key.kind: known[key] for key in keys if key in known}
        if KeyKind.FILE in by:
            with_guid += KeyKind.GUID in by
        elif by:
            moved += 1
            later += _is_later(item, next(iter(by.values())))
    if moved >= MOVE_FOR_SURE:
        return _Moved.FOR_SURE
    is_most = moved - later >= MOVE_AT_LEAST and moved - later > with_guid
    return _Moved.YES if is_most else _Moved.NO


def _tells(key: Key) -> bool:
    """Whether a key proves a match by itself; a title with a date needs the circumstances."""
    return key.kind is not KeyKind.DATE


def _is_later(item: Item, one: KnownEpisode) -> bool:
    if item.published_at is None or one.published_at is None:
        return False
    return item.published_at > one.published_at


def _lasts_as_long(item: Item, one: KnownEpisode) -> bool:
    """Whether two durations fit one episode: other ads make it a little longer or shorter."""
    if item.duration is None or one.duration is None:
        return True
    return abs(item.duration - one.duration) <= max(60, one.duration / 10)


def _is_as_long(item: Item, one: KnownEpisode) -> bool:
    """Whether no length speaks against one recording: both are the same but for a tenth."""
    if item.duration is None or one.duration is None:
        return True
    return abs(item.duration - one.duration) <= one.duration / 10


def _is_near(item: Item, one: KnownEpisode, most: timedelta) -> bool:
    """Whether both dates are known and at most `most` apart."""
    if item.published_at is None or one.published_at is None:
        return False
    return abs(item.published_at - one.published_at) <= most


def _file_name(url: str) -> str:
    return comparable(url).partition("?")[0].rpartition("/")[2].lower()


def _is_generic(name: str) -> bool:
    return (name.rpartition(".")[0] or name).strip("-_. ") in GENERIC_NAMES


def _is_fixed(url: str) -> bool:
    """Whether an address looks as if each new episode came under it: nothing in it tells one."""
    place, _, name = comparable(url).rpartition("/")
    path = place.partition("/")[2]
    return _is_generic(name.partition("?")[0].lower()) and not re.search(
        r"\d|\?", path + name.rpartition(".")[0]
    )
