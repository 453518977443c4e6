"""Checks: what one check of a feed has changed, written in one transaction."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
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

from feedwatch.core.episode import Episode, KnownEpisode, State
from feedwatch.core.feed import Feed, UrlChange
from feedwatch.core.identity import Key
from feedwatch.store.database import reading
from feedwatch.store.feeds import OF_ADDRESS, add_url_change
from feedwatch.store.schema import (
    digests,
    episodes,
    feeds,
    history,
    identities,
)
from feedwatch.store.sql import chunks

LATEST = 100  # episodes from which a feed's rhythm is learned
# What a check may change of a feed; the rest is a person's or the config's, who may act meanwhile.
CHECK_COLUMNS = (
    *OF_ADDRESS,
    "due_at",
    "baseline_at",
    "checked_at",
    "success_at",
    "last_new_at",
    "item_count",
    "hold_if_published_before",
    "media_types",
    "full_reads_done",
    "failures",
    "error",
    "error_kind",
    "expected_by",
    "silent_since",
)
_DUE = bindparam("of_due_at", type_=feeds.c.due_at.type)
# Made once: to put a statement of so many columns together costs more than to carry it out.
_CHECKED = (
    update(feeds)
    .where(feeds.c.id == bindparam("of_id"), feeds.c.url == bindparam("of_url"))
    .values(
        {name: bindparam(name) for name in CHECK_COLUMNS if name != "due_at"}
        # A description that was asked for meanwhile is read at once, not when it is due again.
        | {
            "due_at": case(
                (feeds.c.full_reads_requested == bindparam("of_asked"), _DUE), else_=feeds.c.due_at
            )
        }
    )
)


@dataclass(frozen=True, kw_only=True)
class NewEpisode:
    """A new episode and the keys by which it will be known."""

    episode: Episode
    keys: Collection[Key]
    title_key: str  # the title for comparison
    place: int = 0  # in the document


class CheckStore:
    """What a check asks of the database, and what it writes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def known(self, feed_id: int, keys: Collection[Key]) -> dict[Key, KnownEpisode]:
        """Those of `keys` by which an episode of the feed is known, with the episode."""
        with reading(self._engine) as db:
            ids = _known_ids(db, feed_id, keys)
            known = _known(db, episodes.c.id, set(ids.values()))
        by_id = {one.id: one for one in known}
        return {key: by_id[episode_id] for key, episode_id in ids.items()}

    def by_title(self, feed_id: int, titles: Collection[str]) -> dict[str, list[KnownEpisode]]:
        """The feed's episodes whose title is one of `titles`, as `identity.title_key` has them."""
        found: dict[str, list[KnownEpisode]] = {}
        with reading(self._engine) as db:
            known = _known(db, episodes.c.title_key, titles, episodes.c.feed_id == feed_id)
        for one in known:
            found.setdefault(one.title_key, []).append(one)
        return found

    def publication_dates(self, feed_id: int) -> list[datetime]:
        """When the feed's latest episodes were published, the latest first."""
        query = (
            select(episodes.c.published_at)
            .where(episodes.c.feed_id == feed_id, episodes.c.published_at.is_not(None))
            .order_by(episodes.c.published_at.desc())
            .limit(LATEST)
        )
        with reading(self._engine) as db:
            return list(db.scalars(query))

    def seen_items(self, feed_id: int) -> bytes | None:
        """What is remembered of a feed's last good document; see `digest.Digest`."""
        query = select(digests.c.digest).where(digests.c.feed_id == feed_id)
        with reading(self._engine) as db:
            return db.scalars(query).one_or_none()

    def record_unchanged(
        self, checked: Sequence[Feed], url_changes: Mapping[int, UrlChange] | None = None
    ) -> None:
        """Checks that found nothing but what was known, in one transaction.

        `url_changes` has the addresses that feeds were fetched from until now, by their ids.
        """
        with self._engine.begin() as db:
            db.execute(_CHECKED, [_checked(feed) for feed in checked])
            for feed_id, url_change in (url_changes or {}).items():
                add_url_change(db, feed_id, url_change)

    def record(
        self,
        feed: Feed,
        new: Sequence[NewEpisode],
        learned: Mapping[Key, int],
        now: datetime,
        edited: Sequence[KnownEpisode] = (),
        *,
        url_change: UrlChange | None = None,
        descriptions: Mapping[int, str] | None = None,
        digest: Callable[[Mapping[int, int]], bytes | None] = lambda _new: None,
    ) -> list[int] | None:
        """All that a check has changed, or nothing of it.

        `learned` maps further keys of known episodes to their ids, `edited` has those that the feed
        describes in other words than before, `url_change` the URL that it was fetched from until
        now. `descriptions` are those that were waited for, if all items were looked at. `digest`
        makes, of the new episodes' ids by their places, what is to be remembered of the document.
        Returns the ids of the new episodes; None if another process has changed the feed or
        admitted one of them meanwhile, and then nothing is written: the next check decides anew.
        """
        try:
            with self._engine.begin() as db:
                if not _write_check(db, feed):
                    return None
                _learn(db, feed.id, learned)
                _edit(db, edited)
                if url_change is not None:
                    add_url_change(db, feed.id, url_change)
                ids = _admit(db, feed, new, now)
                if descriptions is not None:
                    _describe(db, feed, descriptions)
                places = [admission.place for admission in new]
                _remember(db, feed.id, digest(dict(zip(places, ids, strict=True))))
        except IntegrityError:
            return None
        return ids


def _known_ids(db: Connection, feed_id: int, keys: Collection[Key]) -> dict[Key, int]:
    by_text = {str(key): key for key in keys}
    found: dict[Key, int] = {}
    for chunk in chunks(list(by_text)):
        query = select(identities.c.key, identities.c.episode_id).where(
            identities.c.feed_id == feed_id, identities.c.key.in_(chunk)
        )
        found |= {by_text[row.key]: row.episode_id for row in db.execute(query)}
    return found


def _known(
    db: Connection,
    column: ColumnElement[Any],
    values: Collection[Any],
    *conditions: ColumnElement[bool],
) -> list[KnownEpisode]:
    """Episodes by the values of a column."""
    found = []
    for chunk in chunks(list(values)):
        query = select(
            episodes.c.id,
            episodes.c.title_key,
            episodes.c.seen_url.label("enclosure_url"),
            episodes.c.seen_published_at.label("published_at"),
            episodes.c.seen_duration.label("duration"),
            (episodes.c.state == State.HELD).label("held"),
            and_(episodes.c.state == State.QUEUED, episodes.c.description.is_(None)).label(
                "undescribed"
            ),
        ).where(column.in_(chunk), *conditions)
        found += [KnownEpisode(**row) for row in db.execute(query).mappings()]
    return found


def _write_check(db: Connection, feed: Feed) -> bool:
    """False if the feed's URL has changed meanwhile: this was a check of something else."""
    return db.execute(_CHECKED, _checked(feed)).rowcount == 1


def _checked(feed: Feed) -> dict[str, Any]:
    values = {name: getattr(feed, name) for name in CHECK_COLUMNS}
    values["of_due_at"] = values.pop("due_at")
    return values | {"of_id": feed.id, "of_url": feed.url, "of_asked": feed.full_reads_requested}


def _learn(db: Connection, feed_id: int, learned: Mapping[Key, int]) -> None:
    already = _known_ids(db, feed_id, learned.keys())
    rows = [
        {"feed_id": feed_id, "key": str(key), "episode_id": episode_id}
        for key, episode_id in learned.items()
        if key not in already
    ]
    if rows:
        db.execute(insert(identities), rows)


def _edit(db: Connection, edited: Sequence[KnownEpisode]) -> None:
    for one in edited:
        seen = {
            "title_key": one.title_key,
            "seen_url": one.enclosure_url,
            "seen_published_at": one.published_at,
            "seen_duration": one.duration,
        }
        db.execute(update(episodes).where(episodes.c.id == one.id).values(seen))


def _admit(
    db: Connection, feed: Feed, admissions: Sequence[NewEpisode], now: datetime
) -> list[int]:
    """In a few statements, since a first check may bring thousands. Returns the ids."""
    if not admissions:
        return []
    last = db.scalars(select(func.max(episodes.c.id))).one() or 0
    db.execute(insert(episodes), [_new_row(feed, one) for one in admissions])
    # In the order in which they were given; others may have come meanwhile, but not of this feed.
    query = (
        select(episodes.c.id)
        .where(episodes.c.id > last, episodes.c.feed_id == feed.id)
        .order_by(episodes.c.id)
    )
    ids = list(db.scalars(query))
    pairs = list(zip(ids, admissions, strict=True))
    keys = [
        {"feed_id": feed.id, "key": str(key), "episode_id": new_id}
        for new_id, one in pairs
        for key in one.keys
    ]
    if keys:
        db.execute(insert(identities), keys)
    moves = [
        {"episode_id": new_id, "at": now, "state": one.episode.state, "reason": one.episode.reason}
        for new_id, one in pairs
    ]
    db.execute(insert(history), moves)
    return ids


def _new_row(feed: Feed, admission: NewEpisode) -> dict[str, Any]:
    one = admission.episode
    return {
        "feed_id": feed.id,
        "guid": one.guid,
        "title": one.title,
        "description": one.description,
        "enclosure_url": one.enclosure_url,
        "published_at": one.published_at,
        "state": one.state,
        "reason": one.reason,
        "feed_duration": one.feed_duration,
        "title_key": admission.title_key,
        "seen_url": one.enclosure_url,
        "seen_published_at": one.published_at,
        "seen_duration": one.feed_duration,
        "first_seen_at": one.first_seen_at,
        "due_at": one.due_at,
        "attempts": 0,
        "deferrals": 0,
        "remote_stood": 0,
        "overdue": False,
        "version": 0,
    }


def _describe(db: Connection, feed: Feed, descriptions: Mapping[int, str]) -> None:
    """Write down the descriptions that were waited for; what the feed no longer has stays empty."""
    for episode_id, description in descriptions.items():
        one = episodes.c.id == episode_id
        db.execute(update(episodes).where(one).values(description=description))
    asked = select(feeds.c.full_reads_requested).where(feeds.c.id == feed.id)
    if db.scalars(asked).one() != feed.full_reads_requested:
        return  # more was asked for since this document was looked at
    waiting = and_(
        episodes.c.feed_id == feed.id,
        episodes.c.state == State.QUEUED,
        episodes.c.description.is_(None),
    )
    db.execute(update(episodes).where(waiting).values(description=""))


def _remember(db: Connection, feed_id: int, digest: bytes | None) -> None:
    ours = digests.c.feed_id == feed_id
    if digest is None:
        db.execute(delete(digests).where(ours))
    elif db.execute(update(digests).where(ours).values(digest=digest)).rowcount == 0:
        db.execute(insert(digests).values(feed_id=feed_id, digest=digest))
