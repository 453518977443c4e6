"""Checks: what one check of a feed has changed, written in one transaction."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Select,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from feedwatch.core.episode import Cause, Episode, KnownEpisode, State
from feedwatch.core.feed import Feed, Item, UrlChange
from feedwatch.core.identity import MOST_KEYS, Key, surplus
from feedwatch.core.served import KeptDocument
from feedwatch.store.database import reading
from feedwatch.store.documents import keep
from feedwatch.store.episodes import URL_IN_FEED
from feedwatch.store.feed_leases import end_leases
from feedwatch.store.feeds import add_url_change
from feedwatch.store.following import Moved, decide_anew, follow, note_absences
from feedwatch.store.schema import digests, episodes, feeds, history, identities
from feedwatch.store.sql import NEW_MEETS_CLAIMS, chunks, lock_value

_FIRST = datetime.min.replace(tzinfo=UTC)
LATEST = 100  # episodes from which a feed's rhythm is learned
# All that a check may change of a feed: not what others may change meanwhile.
OF_OTHERS = {
    *("id", "name", "url", "active", "paused", "paused_at", "paused_by", "version"),
    *("full_reads_requested", "missing_podcast"),
}
CHECK_COLUMNS = tuple(one.name for one in fields(Feed) if one.name not in OF_OTHERS)
AS_ADMITTED = (  # columns of an episode that it has from the first
    *("guid", "title", "description", "enclosure_url", "published_at", "state", "step", "reason"),
    *("cause", "filter_fact", "feed_duration", "first_seen_at", "due_at"),
)
# A read or a check that was requested while the check ran has made the feed due: that stays so.
_NEXT_CHECK = case(
    (
        (feeds.c.full_reads_requested == bindparam("requested_before"))
        & feeds.c.due_at.is_not_distinct_from(bindparam("due_before", type_=feeds.c.due_at.type)),
        bindparam("next_check_at", type_=feeds.c.due_at.type),
    ),
    else_=feeds.c.due_at,
)
# Built once, as that costs more than to execute it. It updates no row whose URL has changed, since
# that was a check of another one, nor whose version has, as a check undoes nobody's decision, nor
# one that the check did not begin with: in a restored copy the document's episodes are not there.
_UPDATE_CHECKED = (
    update(feeds)
    .where(
        feeds.c.id == bindparam("feed_id"),
        feeds.c.url == bindparam("checked_url"),
        feeds.c.version == bindparam("checked_version"),
        feeds.c.checked_at.is_not_distinct_from(
            bindparam("checked_before", type_=feeds.c.checked_at.type)
        ),
    )
    .values({key: bindparam(key) for key in CHECK_COLUMNS} | {"due_at": _NEXT_CHECK})
)


_SELECT_KEYS = select(identities.c.key, identities.c.episode_id).where(
    identities.c.feed_id == bindparam("feed_id"),
    identities.c.key.in_(bindparam("values", expanding=True)),
)
_SELECT_KNOWN = select(
    episodes.c.id,
    episodes.c.title_key,
    URL_IN_FEED.label("enclosure_url"),
    episodes.c.seen_published_at.label("published_at"),
    episodes.c.seen_duration.label("duration"),
    episodes.c.state,
    episodes.c.cause,
    episodes.c.filter_fact,
    episodes.c.first_seen_at,
    episodes.c.guid,
    episodes.c.title,
).order_by(episodes.c.id)
_BY_ID, _BY_TITLE, _BY_DATE = (
    _SELECT_KNOWN.where(column.in_(bindparam("values", expanding=True, type_=column.type)))
    for column in (episodes.c.id, episodes.c.title_key, episodes.c.seen_published_at)
)
_OF_FEED = episodes.c.feed_id == bindparam("feed_id")  # SQLite would go by that, not by the ids
_BY_TITLE, _BY_DATE = _BY_TITLE.where(_OF_FEED), _BY_DATE.where(_OF_FEED)
_PUBLISHED = func.coalesce(
    episodes.c.published_at,
    # An undated one was published when it was first seen, but not if that was at the first check.
    case((episodes.c.first_seen_at > feeds.c.baseline_at, episodes.c.first_seen_at)),
)
_SELECT_PUBLISHED = (
    select(_PUBLISHED)
    .join_from(episodes, feeds)
    .where(episodes.c.feed_id == bindparam("feed_id"), _PUBLISHED.is_not(None))
    .order_by(_PUBLISHED.desc())
    .limit(LATEST)
)
_SELECT_DIGEST = select(digests.c.digest).where(digests.c.feed_id == bindparam("feed_id"))


@dataclass(frozen=True, kw_only=True)
class NewEpisode:
    """A new episode and the keys by which it will be known."""

    episode: Episode
    keys: Collection[Key]
    title_key: str  # the title for comparison
    place: int = 0  # in the document


Admitted = tuple[int, NewEpisode]  # a new episode, and the id that it has got


class CheckStore:
    """What a check reads and writes. Each public method is one transaction."""

    def __init__(self, engine: Engine, daemon_id: str) -> None:
        self._engine = engine
        self._daemon_id = daemon_id

    def known(self, feed_id: int, keys: Collection[Key]) -> dict[Key, KnownEpisode]:
        """Those of `keys` by which an episode of the feed is known, each with the episode."""
        with reading(self._engine) as db:
            ids = _known_ids(db, feed_id, keys)
            known = _known(db, _BY_ID, feed_id, set(ids.values()))
        by_id = {one.id: one for one in known}
        return {key: by_id[episode_id] for key, episode_id in ids.items()}

    def alike(
        self, feed_id: int, titles: Collection[str], dates: Collection[datetime]
    ) -> tuple[dict[str, list[KnownEpisode]], dict[datetime, list[KnownEpisode]]]:
        """The feed's episodes by title, and by when they were published.

        `titles` are as `identity.title_key` writes them, dates to the second as feeds state them.
        """
        by_title: dict[str, list[KnownEpisode]] = defaultdict(list)
        by_date: dict[datetime, list[KnownEpisode]] = defaultdict(list)
        with reading(self._engine) as db:
            for one in _known(db, _BY_TITLE, feed_id, titles):
                by_title[one.title_key].append(one)
            for one in _known(db, _BY_DATE, feed_id, dates):
                if one.published_at is not None:
                    by_date[one.published_at].append(one)
        return dict(by_title), dict(by_date)

    def publication_dates(self, feed_id: int) -> list[datetime]:
        """When the feed's latest episodes were published, the latest first."""
        with reading(self._engine) as db:
            return list(db.scalars(_SELECT_PUBLISHED, {"feed_id": feed_id}))

    def seen_items(self, feed_id: int) -> bytes | None:
        """The seen-item cache of the feed's last good document, packed; None if it has none."""
        with reading(self._engine) as db:
            return db.scalars(_SELECT_DIGEST, {"feed_id": feed_id}).one_or_none()

    def record_unchanged(
        self,
        checked: Sequence[tuple[Feed, Feed]],
        url_changes: Mapping[int, UrlChange] = {},
        kept: Mapping[int, KeptDocument] = {},
    ) -> None:
        """Write many checks that found nothing new, in one transaction.

        `checked` has each feed as the check read it and as it is after it.
        `url_changes` has the URLs that feeds were fetched from until now, by the feeds' ids; `kept`
        the documents that have changed all the same, and are served: of rows still as checked.
        """
        # By id: two daemons that have looked at the same feeds wait for each other in one order.
        checked = sorted(checked, key=lambda one: one[1].id)
        more = url_changes.keys() | kept.keys()
        plain = [_parameters(after, before) for before, after in checked if after.id not in more]
        with self._engine.begin() as db:
            if plain:
                db.execute(_UPDATE_CHECKED, plain)
            for before, after in (one for one in checked if one[1].id in more):
                if db.execute(_UPDATE_CHECKED, _parameters(after, before)).rowcount == 1:
                    if after.id in url_changes:
                        add_url_change(db, after.id, url_changes[after.id])
                    if after.id in kept:
                        keep(db, after.id, kept[after.id])
            end_leases(db, [after.id for _, after in checked], self._daemon_id)

    def record(
        self,
        feed: Feed,
        new: Sequence[NewEpisode],
        learned: Mapping[Key, int],
        now: datetime,
        edited: Sequence[KnownEpisode] = (),
        *,
        before: Feed | None = None,
        url_change: UrlChange | None = None,
        items: Mapping[int, Item] | None = None,
        anew: Mapping[int, Episode] | None = None,
        shown: Collection[int] | None = None,
        all_read: bool = False,
        seen_items: Callable[[Mapping[int, int]], bytes | None] = lambda _new: None,
        paid: Callable[[Connection, Sequence[Admitted]], list[Moved]] = lambda _db, _new: [],
        kept: KeptDocument | None = None,
    ) -> list[Moved] | None:
        """Write all that a check has changed, or nothing of it.

        feed: as it is after the check.
        new: episodes to admit.
        learned: further keys of known episodes, each with the episode's id.
        edited: known episodes, as the document now describes them.
        before: as the check read it; None: with the same `checked_at`.
        url_change: the URL that the feed was fetched from until now.
        items: what the document now says of episodes that wait, by their ids.
        anew: what new episodes would be in place of those that a filter had skipped, by their ids.
        shown: the known episodes that it has; None unless it is a good one.
        all_read: it was parsed as a whole, for the descriptions that are waited for.
        seen_items: makes the seen-item cache, or None, of the new episodes' ids by their places.
        paid: moves those of the new episodes that the ledger turns out to have paid for.
        kept: the document, if it is served.

        Returns the episodes that were moved. None, with nothing written, if another process has
        decided about the feed, changed its URL or admitted one of the episodes meanwhile: the next
        check decides anew.
        """
        try:
            with self._engine.begin() as db:
                if new:
                    lock_value(db, NEW_MEETS_CLAIMS, shared=True)
                if db.execute(_UPDATE_CHECKED, _parameters(feed, before or feed)).rowcount != 1:
                    return None
                end_leases(db, [feed.id], self._daemon_id)
                _learn(db, feed.id, learned, now)
                for one in edited:
                    row, url = episodes.c.id == one.id, one.enclosure_url
                    described = {
                        "title_key": one.title_key,
                        "seen_url": case((episodes.c.enclosure_url == url, ""), else_=url),
                        "seen_published_at": one.published_at,
                        "seen_duration": one.duration,
                    }
                    db.execute(update(episodes).where(row).values(described))
                    if one.state is State.SKIPPED:  # nobody waits for it: without history
                        own = {
                            "title": one.title,
                            "enclosure_url": url,
                            "seen_url": "",
                            "published_at": one.published_at,
                            "feed_duration": one.duration,
                            "version": episodes.c.version + 1,
                        }
                        still = and_(row, episodes.c.state == State.SKIPPED)
                        db.execute(update(episodes).where(still).values(own))
                if url_change is not None:
                    add_url_change(db, feed.id, url_change)
                if kept is not None:
                    keep(db, feed.id, kept)
                ids = _admit(db, feed, new, now)
                moved = paid(db, list(zip(ids, new, strict=True))) if new else []
                follow(db, items or {}, now)
                moved += decide_anew(db, anew or {}, now)
                if shown is not None:
                    moved += note_absences(db, feed.id, shown, ids, now)
                if all_read:
                    _describe(db, feed)
                row = digests.c.feed_id == feed.id
                packed = seen_items(dict(zip((one.place for one in new), ids, strict=True)))
                if packed is None:
                    db.execute(delete(digests).where(row))
                elif db.execute(update(digests).where(row).values(digest=packed)).rowcount == 0:
                    db.execute(insert(digests).values(feed_id=feed.id, digest=packed))
        except IntegrityError:
            return None
        return moved


def _known_ids(db: Connection, feed_id: int, keys: Collection[Key]) -> dict[Key, int]:
    by_text = {str(key): key for key in keys}
    found: dict[Key, int] = {}
    for chunk in chunks(by_text):
        rows = db.execute(_SELECT_KEYS, {"feed_id": feed_id, "values": chunk})
        found |= {by_text[key]: episode_id for key, episode_id in rows}
    return found


def _known(
    db: Connection, query: Select[Any], feed_id: int, values: Collection[Any]
) -> list[KnownEpisode]:
    """The feed's episodes by the values of a column, which one of the queries above names."""
    return [
        KnownEpisode(
            **{
                **row,
                "state": State(row["state"]),
                "cause": Cause(row["cause"]) if row["cause"] is not None else None,
            }
        )
        for chunk in chunks(values)
        for row in db.execute(query, {"feed_id": feed_id, "values": chunk}).mappings()
    ]


def _parameters(feed: Feed, before: Feed) -> dict[str, Any]:
    """The parameters of `_UPDATE_CHECKED`."""
    return {key: getattr(feed, key) for key in CHECK_COLUMNS if key != "due_at"} | {
        "feed_id": feed.id,
        "checked_url": feed.url,
        "checked_version": feed.version,
        "checked_before": before.checked_at,
        "requested_before": feed.full_reads_requested,
        "due_before": before.due_at,
        "next_check_at": feed.due_at,
    }


def _learn(db: Connection, feed_id: int, learned: Mapping[Key, int], now: datetime) -> None:
    """Add further keys of known episodes, and forget those that are too many then."""
    already = _known_ids(db, feed_id, learned.keys())
    rows = [
        {"feed_id": feed_id, "key": str(key), "episode_id": episode_id, "learned_at": now}
        for key, episode_id in learned.items()
        if key not in already
    ]
    if not rows:
        return
    db.execute(insert(identities), rows)
    of, own = identities.c, identities.c.feed_id == feed_id
    keys: dict[int, list[Key]] = defaultdict(list)
    for chunk in chunks({row["episode_id"] for row in rows}):
        crowded = select(of.episode_id).where(own, of.episode_id.in_(chunk)).group_by(of.episode_id)
        crowded = crowded.having(func.count() > min(MOST_KEYS.values()))
        query = select(of.episode_id, of.key, of.learned_at).where(own, of.episode_id.in_(crowded))
        for row in sorted(db.execute(query), key=lambda row: (row.learned_at or _FIRST, row.key)):
            keys[row.episode_id].append(Key.parse(row.key))
    for chunk in chunks([str(key) for one in keys.values() for key in surplus(one)]):
        db.execute(delete(identities).where(own, of.key.in_(chunk)))


def _admit(
    db: Connection, feed: Feed, admissions: Sequence[NewEpisode], now: datetime
) -> list[int]:
    """In a few statements, since a first check may bring thousands. Returns the ids."""
    if not admissions:
        return []
    last = db.scalars(select(func.max(episodes.c.id))).one() or 0
    db.execute(insert(episodes), [_row(feed, one) for one in admissions])
    # In the order of `admissions`. Others may have been added meanwhile, but not of this feed.
    new = episodes.c.id > last, episodes.c.feed_id == feed.id
    ids = list(db.scalars(select(episodes.c.id).where(*new).order_by(episodes.c.id)))
    pairs = list(zip(ids, admissions, strict=True))
    keys = [
        {"feed_id": feed.id, "key": str(key), "episode_id": new_id}
        for new_id, one in pairs
        for key in one.keys
    ]
    if keys:
        db.execute(insert(identities), keys)
    told = ("state", "reason", "step")
    entries = [
        {"episode_id": new_id, "at": now} | {name: getattr(one.episode, name) for name in told}
        for new_id, one in pairs
    ]
    db.execute(insert(history), entries)
    return ids


def _row(feed: Feed, admission: NewEpisode) -> dict[str, Any]:
    one = admission.episode
    return (
        {name: getattr(one, name) for name in AS_ADMITTED}
        | {
            "feed_id": feed.id,
            "title_key": admission.title_key,
            "seen_url": "",
            "seen_published_at": one.published_at,
            "seen_duration": one.feed_duration,
            "overdue": False,
        }
        | dict.fromkeys(("attempts", "deferrals", "remote_stood", "version"), 0)
    )


def _describe(db: Connection, feed: Feed) -> None:
    """Descriptions that are still waited for are empty: the document does not have them."""
    requested = select(feeds.c.full_reads_requested).where(feeds.c.id == feed.id)
    if db.scalars(requested).one() != feed.full_reads_requested:
        return  # another was requested since this document was parsed
    waiting = and_(
        episodes.c.feed_id == feed.id,
        episodes.c.state == State.QUEUED,
        episodes.c.description.is_(None),
    )
    db.execute(update(episodes).where(waiting).values(description=""))
