"""What waits follows its feed: corrections taken over, and what the feed no longer has."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, select

from feedwatch.core import episode_lifecycle
from feedwatch.core.episode import Episode, State, correction
from feedwatch.core.feed import Item
from feedwatch.store.episodes import fetch_episodes, move_episode, note, select_episodes
from feedwatch.store.schema import episodes
from feedwatch.store.sql import chunks

PINNED_PART = 10  # of what a document shows so many at most are pinned: a tenth

Moved = tuple[Episode, Episode]  # an episode before and after a move


def follow(db: Connection, items: Mapping[int, Item], now: datetime) -> None:
    """Have episodes that wait take over what the feed says of them, `items` by their ids.

    They are read again here: one that was claimed since the check began stays as it was claimed.
    """
    for episode in _fetch(db, items):
        after = episode_lifecycle.corrected(episode, items[episode.id], now)
        if after is not None and move_episode(db, episode, after, now) is not None:
            text = correction(episode, after)
            if text is not None:
                note(db, after, text, now)


def decide_anew(db: Connection, anew: Mapping[int, Episode], now: datetime) -> list[Moved]:
    """Decide again on what a filter had skipped; `anew` has what new ones would be."""
    moved = []
    for before in _fetch(db, anew):
        after = episode_lifecycle.decided_anew(before, anew[before.id])
        if after is not None:
            moved.append((before, move_episode(db, before, after, now, was_read=True)))
    return [(before, after) for before, after in moved if after is not None]


def note_absences(
    db: Connection, feed_id: int, shown: Collection[int], new: Collection[int], now: datetime
) -> list[Moved]:
    """Hold what was taken out of the feed while it was queued; go on with what is back.

    `shown` are the known episodes that a good document has, `new` those that it has brought.
    Returns what has another state now.
    """
    waiting = select(episodes.c.id, episodes.c.missing_since).where(
        episodes.c.feed_id == feed_id, episodes.c.state.in_((State.HELD, State.QUEUED))
    )
    rows = list(db.execute(waiting))
    back = [row.id for row in rows if row.missing_since is not None and row.id in shown]
    there = {*shown, *new}
    gone = [row.id for row in rows if row.missing_since is None and row.id not in there]
    moves = [(one, episode_lifecycle.came_back(one, now)) for one in _fetch(db, back)]
    dates = _dates(db, there) if gone else []
    for one in _fetch(db, gone):
        older = sum(_is_older(date, one) for date in dates)
        # Old ones that are pinned stay, whatever falls off the end.
        older_stay = 0 < older == len(dates) or older > max(1, len(dates) // PINNED_PART)
        moves.append((one, episode_lifecycle.left_feed(one, now, older_stay=older_stay)))
        if older_stay and one.state is State.HELD:
            note(db, one, episode_lifecycle.TAKEN_OUT, now)
    moved = [(before, move_episode(db, before, after, now)) for before, after in moves]
    return [(before, after) for before, after in moved if after and after.state != before.state]


def _fetch(db: Connection, ids: Collection[int]) -> Sequence[Episode]:
    return [
        episode
        for chunk in chunks(ids)
        for episode in fetch_episodes(db, select_episodes().where(episodes.c.id.in_(chunk)))
    ]


def _dates(db: Connection, ids: Collection[int]) -> list[tuple[datetime | None, datetime]]:
    """When these episodes were published, as the feed says, and when they were first seen."""
    of = episodes.c
    return [
        (published, first_seen)
        for chunk in chunks(ids)
        for published, first_seen in db.execute(
            select(of.seen_published_at, of.first_seen_at).where(of.id.in_(chunk))
        )
    ]


def _is_older(dates: tuple[datetime | None, datetime], one: Episode) -> bool:
    published, first_seen = dates
    if published is not None and one.published_at is not None:
        return published < one.published_at
    return first_seen < one.first_seen_at
