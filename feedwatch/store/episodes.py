"""Episodes: their rows, moved by compare-and-set, and their history."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from feedwatch.core import events
from feedwatch.core.episode import WAITING, Cause, Episode, HistoryEntry, State
from feedwatch.core.identity import Key
from feedwatch.core.pipeline import ORDER, EndedStep, Pipeline, Step
from feedwatch.store.database import first_due, reading
from feedwatch.store.feeds import clear_doubt
from feedwatch.store.outbox import Outbox
from feedwatch.store.schema import claims, episodes, feeds, history, identities
from feedwatch.store.sql import chunks, is_due, lock_value
from feedwatch.store.steps import fetch_steps, keep_step

EPISODE_COLUMNS = tuple(field.name for field in fields(Episode) if field.name not in ("id", "feed"))
MOST_NOTES = 20  # lines of history of one stay in a state
LAST_NOTE = "; what else changes is not noted here before its state does"
# Of nearly all episodes the same as the enclosure's, and nothing else is as long: it is kept once.
URL_IN_FEED = func.coalesce(func.nullif(episodes.c.seen_url, ""), episodes.c.enclosure_url)

# Made once: to build such a statement takes longer than SQLite takes for it. In a copy that was
# restored meanwhile, the same id and version may be those of another state or of another episode.
_MOVE = update(episodes).where(
    episodes.c.id == bindparam("before_id"),
    episodes.c.version == bindparam("before_version"),
    episodes.c.state == bindparam("before_state"),
    episodes.c.first_seen_at == bindparam("before_first_seen_at"),
)
_other = episodes.alias("other")
_MOVE_TO_NEW_JOB = _MOVE.where(
    ~exists().where(
        _other.c.media_id == bindparam("new_media_id"), _other.c.id != bindparam("but_id")
    )
)


class EpisodeStore:
    """Episodes and their history. Each public method is one transaction."""

    def __init__(self, engine: Engine, outbox: Outbox) -> None:
        """`outbox` gets an event for each episode that becomes ready."""
        self._engine = engine
        self._outbox = outbox

    def get(self, episode_id: int) -> Episode | None:
        """One episode."""
        return self._first(select_episodes().where(episodes.c.id == episode_id))

    def by_media_id(self, media_id: str) -> Episode | None:
        """The episode whose job has this id at the media API."""
        return self._first(select_episodes().where(episodes.c.media_id == media_id).limit(1))

    def other_jobs(self, job: Episode) -> list[Episode]:
        """The episodes besides `job` whose jobs, of the same podcast, are not final."""
        return self._all(
            select_episodes().where(
                episodes.c.state == State.PROCESSING,
                episodes.c.step == job.step,
                episodes.c.podcast_id == job.podcast_id,
                episodes.c.id != job.id,
            )
        )

    def find(
        self,
        *,
        feed: str | None = None,
        states: Collection[State] = (),
        processed: bool = False,
        limit: int | None = None,
    ) -> list[Episode]:
        """Episodes of one feed or of all, in one of `states` or in any; newest first.

        processed: only those with a processed URL, which one that was sent again keeps.
        """
        newest = func.coalesce(episodes.c.published_at, episodes.c.first_seen_at).desc()
        query = select_episodes().order_by(newest, episodes.c.id.desc()).limit(limit)
        if feed is not None:
            query = query.where(feeds.c.name == feed)
        if states:
            query = query.where(episodes.c.state.in_(states))
        if processed:
            query = query.where(episodes.c.processed_url.is_not(None))
        return self._all(query)

    def address_in_feed(self, episode_id: int) -> str:
        """The address that the feed has for an episode by now, if that counts as the same one."""
        with reading(self._engine) as db:
            return str(db.scalars(select(URL_IN_FEED).where(episodes.c.id == episode_id)).one())

    def due(
        self,
        state: State,
        now: datetime,
        limit: int,
        but: Collection[int] = (),
        steps: Collection[Step] = ORDER,
        early: timedelta | None = None,
    ) -> list[Episode]:
        """Episodes in `state` that are due, the longest due first, without the ids in `but`.

        early: only what is dated ahead of now, or was first seen no longer ago than this.
        """
        query = (
            select_episodes()
            .where(
                episodes.c.state == state,
                is_due(episodes.c.due_at, now),
                episodes.c.id.not_in(but),
                episodes.c.step.in_(steps),
            )
            .order_by(episodes.c.due_at)
            .limit(limit)
        )
        if early is not None:
            is_recent = episodes.c.first_seen_at > now - early
            query = query.where(or_(episodes.c.published_at > now, is_recent))
        return self._all(query)

    def next_due(self, states: Collection[State]) -> datetime | None:
        """When the first of the episodes in `states` is due, or was; None if none ever is."""
        query = select(func.min(episodes.c.due_at)).where(episodes.c.state.in_(states))
        return first_due(self._engine, query)

    def misplaced(self, pipelines: Mapping[str, Pipeline]) -> list[Episode]:
        """Queued episodes that are at another step than their feeds' pipelines have them be at.

        pipelines: by the names of the feeds.
        """
        names: dict[Pipeline, list[str]] = {}
        for name, pipeline in pipelines.items():
            names.setdefault(pipeline, []).append(name)
        found = []
        for pipeline, some in names.items():
            begun, at = episodes.c.source_url.is_not(None), episodes.c.step
            is_wrong = case(
                (begun, at.not_in([one.step for one in pipeline])), else_=at != pipeline[0].step
            )
            query = select_episodes().where(
                episodes.c.state == State.QUEUED, feeds.c.active, is_wrong
            )
            # Mostly all have one pipeline, and few are queued.
            for chunk in chunks(some) if len(names) > 1 else [some]:
                only = query.where(feeds.c.name.in_(chunk)) if len(names) > 1 else query
                found += self._all(only)
        return found

    def look_again(self, now: datetime) -> None:
        """Have what waits be asked for at once: what it waits for may be another thing now.

        What was deferred waits on.
        """
        waits = and_(
            episodes.c.state == State.QUEUED, episodes.c.deferrals == 0, episodes.c.due_at > now
        )
        with self._engine.begin() as db:
            db.execute(update(episodes).where(waits).values(due_at=now))

    def tokens_under_way(self) -> list[tuple[str, str]]:
        """Processor and token of the claims whose jobs may be under way, oldest first."""
        states = (State.SUBMITTING, State.UNKNOWN, State.PROCESSING)
        query = (
            select(claims.c.processor, claims.c.token)
            .join(episodes, episodes.c.claim == claims.c.number)
            .where(episodes.c.state.in_(states))
            .order_by(claims.c.number)
        )
        with reading(self._engine) as db:
            return [(row.processor, row.token) for row in db.execute(query)]

    def hasten(self, token: str, now: datetime) -> None:
        """Have the job of this claim be polled at once, if the episode's row is about it."""
        number = select(claims.c.number).where(claims.c.token == token).scalar_subquery()
        waits = and_(
            episodes.c.state == State.PROCESSING,
            episodes.c.due_at > now,
            episodes.c.claim == number,
        )
        with self._engine.begin() as db:
            db.execute(update(episodes).where(waits).values(due_at=now))

    def history(self, episode_id: int) -> list[HistoryEntry]:
        """An episode's history, oldest entry first."""
        query = select(history).where(history.c.episode_id == episode_id).order_by(history.c.id)
        with reading(self._engine) as db:
            return [
                history_entry(row.at, row.state, row.reason, row.actor, row.step)
                for row in db.execute(query)
            ]

    def ended_steps(self, episode_id: int) -> list[EndedStep]:
        """An episode's steps that have ended, oldest first."""
        with reading(self._engine) as db:
            return fetch_steps(db, episode_id)

    def keys(self, episode_id: int) -> list[Key]:
        """The keys by which an episode is known."""
        with reading(self._engine) as db:
            return fetch_keys(db, episode_id)

    def save(
        self, before: Episode, after: Episode, now: datetime, ended: EndedStep | None = None
    ) -> Episode | None:
        """Replace `before` by `after`, and put an event into the outbox if it has become ready.

        `ended` is the step that has ended by it.

        Returns the episode as saved; None, with nothing written, if somebody else has changed it
        since `before` was read, or if its media id is another episode's.
        """
        with self._engine.begin() as db:
            saved = move_episode(db, before, after, now, ended=ended)
            if saved is not None and saved.state is State.READY:
                self._outbox.put(db, events.ready(saved, now), now)
        return saved

    def decide(
        self,
        moves: Sequence[tuple[Episode, Episode]],
        now: datetime,
        *,
        actor: str,
        settled_feed: str | None = None,
        ended: Mapping[int, EndedStep] = {},
    ) -> list[int]:
        """Write a person's decision about episodes, each before and after, all of it or nothing.

        ended: the steps that have ended by it, by the episodes' ids.
        settled_feed: all its held episodes are decided by this, so its new ones are no longer held
            for their date.

        Returns the ids of episodes that somebody else has changed since they were read; if there
        are any, nothing is written.
        """
        with self._engine.begin() as db:
            overtaken = []
            for before, after in moves:
                saved = move_episode(db, before, after, now, actor, ended=ended.get(before.id))
                if saved is None:
                    overtaken.append(before.id)
                elif saved.state is State.READY:
                    self._outbox.put(db, events.ready(saved, now), now)
            if overtaken:
                db.rollback()
            elif settled_feed is not None:
                clear_doubt(db, settled_feed)
        return overtaken

    def _first(self, query: Select[Any]) -> Episode | None:
        return next(iter(self._all(query)), None)

    def _all(self, query: Select[Any]) -> list[Episode]:
        with reading(self._engine) as db:
            return fetch_episodes(db, query)


def select_episodes() -> Select[Any]:
    """Whole episodes, each with its feed's name: for `fetch_episodes`."""
    return select(episodes, feeds.c.name.label("feed")).join_from(episodes, feeds)


def fetch_episodes(db: Connection, query: Select[Any]) -> list[Episode]:
    """The episodes of a query that was made from `select_episodes`."""
    found = []
    for row in db.execute(query).mappings():
        values = {name: row[name] for name in ("id", "feed", *EPISODE_COLUMNS)}
        cause = Cause(row["cause"]) if row["cause"] is not None else None
        words = {"state": State(row["state"]), "cause": cause, "step": Step(row["step"])}
        found.append(Episode(**values | words))
    return found


def history_entry(
    at: datetime, state: str, reason: str | None, actor: str | None, step: str | None
) -> HistoryEntry:
    """An entry of the history as its row has it."""
    done = Step(step) if step is not None else None
    return HistoryEntry(at=at, state=State(state), reason=reason, actor=actor, step=done)


def fetch_keys(db: Connection, episode_id: int) -> list[Key]:
    """The keys by which an episode is known, sorted."""
    return sorted(keys_of(db, [episode_id])[episode_id])


def keys_of(db: Connection, ids: Sequence[int]) -> dict[int, list[Key]]:
    """The keys by which each of these episodes is known."""
    found: dict[int, list[Key]] = {one: [] for one in ids}
    for chunk in chunks(found):
        feed_ids = select(episodes.c.feed_id).where(episodes.c.id.in_(chunk))
        own = identities.c.feed_id.in_(feed_ids), identities.c.episode_id.in_(chunk)
        query = select(identities.c.episode_id, identities.c.key).where(*own)
        for owner, text in db.execute(query):
            found[owner].append(Key.parse(text))
    return found


def move_episode(
    db: Connection,
    before: Episode,
    after: Episode,
    now: datetime,
    actor: str | None = None,
    *,
    was_read: bool = False,
    ended: EndedStep | None = None,
) -> Episode | None:
    """Write an episode and its history entry.

    None if `before` is not what is stored, or if the media id is another episode's: two of them
    would get one audio, and one of two payments would be forgotten.

    `actor` is the person whose decision it was, if it was one's; `ended` the step that has ended.

    One that waits again is read again from the feed, which may have corrected it meanwhile; one
    that was skipped, or whose description was never read, makes its feed due for that. Not so if it
    `was_read` just now.
    """
    after = replace(after, version=before.version + 1)
    values = {name: getattr(after, name) for name in EPISODE_COLUMNS}
    for name in ("id", "version", "state", "first_seen_at"):
        values[f"before_{name}"] = getattr(before, name)
    move = _MOVE
    if after.media_id is not None and after.media_id != before.media_id:
        move = _MOVE_TO_NEW_JOB
        lock_value(db, after.media_id)  # or two would not see each other
        values |= {"new_media_id": after.media_id, "but_id": before.id}
    if after.enclosure_url != before.enclosure_url:
        move = move.values(seen_url=URL_IN_FEED)  # as it was: what the feed has is another matter
    if db.execute(move, values).rowcount != 1:
        return None
    unread = after.state is State.QUEUED and after.description is None
    again = before.state not in WAITING and not was_read
    if after.state in WAITING and (again or unread):
        feed_id = select(episodes.c.feed_id).where(episodes.c.id == before.id).scalar_subquery()
        requested: dict[str, Any] = {"full_reads_requested": feeds.c.full_reads_requested + 1}
        if unread or before.state is State.SKIPPED:
            requested["due_at"] = now
        db.execute(update(feeds).where(feeds.c.id == feed_id).values(requested))
    if ended is not None:
        keep_step(db, after.id, ended)
    is_same = (after.state, after.step) == (before.state, before.step)
    if is_same and after.reason != before.reason and actor is None:
        note(db, after, after.reason or f"no longer so: {before.reason}", now)
    elif not is_same or after.reason != before.reason:
        entry = {
            "episode_id": after.id,
            "at": now,
            "previous": before.state,
            "state": after.state,
            "reason": after.reason,
            "actor": actor,
            "step": after.step,
        }
        db.execute(insert(history), entry)
    return after


def note(db: Connection, episode: Episode, text: str, now: datetime) -> None:
    """Add a line to the history of an episode that stays in its state.

    Not so if a line says the same since it came there, or if there are many: what is another thing
    at every check, a date or an address, must not fill the history.
    """
    lines = (
        select(history.c.previous, history.c.reason)
        .where(history.c.episode_id == episode.id)
        .order_by(history.c.id.desc())
        .limit(MOST_NOTES + 1)
    )
    said: list[str | None] = []
    for previous, reason in db.execute(lines):
        said.append(reason)
        if previous != episode.state:
            break
    if text in said or len(said) > MOST_NOTES:
        return
    if len(said) == MOST_NOTES:
        text += LAST_NOTE
    line = {"previous": episode.state, "state": episode.state, "reason": text, "step": episode.step}
    db.execute(insert(history).values(episode_id=episode.id, at=now, **line))
