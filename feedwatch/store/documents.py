"""Documents: the last good one of each served feed, and what is known of processed files."""

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from feedwatch.core.episode import State
from feedwatch.core.served import (
    FileFacts,
    KeptDocument,
    ProcessedFile,
    ServedDocument,
    ServedEpisode,
)
from feedwatch.store.database import reading
from feedwatch.store.schema import documents, episodes, feeds, history, processed_files
from feedwatch.store.sql import chunks

# What makes a check ask for the whole document, and take it for a changed one.
_FORGOTTEN = dict.fromkeys(("etag", "last_modified", "body_hash", "last_full_fetch_at"))


class DocumentStore:
    """What served feeds are made from. Each public method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def keep_only(self, names: Collection[str], now: datetime) -> None:
        """Keep documents of these feeds from now on, and of no others.

        Feeds of which none is kept are due now, and asked for their whole documents.
        """
        with self._engine.begin() as db:
            wanted = {row.id: row.name for row in db.execute(select(feeds.c.id, feeds.c.name))}
            ids = {number for number, name in wanted.items() if name in names}
            kept = set(db.scalars(select(documents.c.feed_id)))
            for chunk in chunks(kept - ids):
                db.execute(delete(documents).where(documents.c.feed_id.in_(chunk)))
            for chunk in chunks(ids - kept):
                missing = feeds.c.id.in_(chunk) & feeds.c.active
                db.execute(update(feeds).where(missing).values(_FORGOTTEN | {"due_at": now}))

    def all(self) -> dict[str, ServedDocument]:
        """What is kept, by the feeds' names, without the documents themselves."""
        left_out = ("body", "unplaced_episodes")
        columns = [column for column in documents.c if column.key not in left_out]
        query = select(feeds.c.name, *columns).join_from(documents, feeds)
        with reading(self._engine) as db:
            return {
                values.pop("name"): ServedDocument(**values)
                for row in db.execute(query).mappings()
                if (values := dict(row))
            }

    def body(self, feed_id: int) -> bytes | None:
        """The document of a feed, packed."""
        with reading(self._engine) as db:
            query = select(documents.c.body).where(documents.c.feed_id == feed_id)
            return db.scalars(query).one_or_none()

    def note_unplaced(self, feed_id: int, version: int, unplaced: Collection[int]) -> bool:
        """Note which ready episodes have no item in the document; False if it is a later one."""
        row = (documents.c.feed_id == feed_id) & (documents.c.version == version)
        noted = {"unplaced": len(unplaced), "unplaced_episodes": sorted(unplaced)}
        with self._engine.begin() as db:
            return db.execute(update(documents).where(row).values(noted)).rowcount == 1

    def unplaced(self, feed_id: int) -> set[int] | None:
        """Which ready episodes have no item in the document; None: not rendered yet."""
        query = select(documents.c.unplaced_episodes).where(documents.c.feed_id == feed_id)
        with reading(self._engine) as db:
            found = db.scalars(query).one_or_none()
        return set(found) if found is not None else None

    def waiting_files(self) -> int:
        """How many processed files are not served yet, since nobody knows their length."""
        one, file = episodes.c, processed_files.c
        query = (
            select(one.feed_id, one.id)
            .join_from(processed_files, episodes)
            .join(documents, documents.c.feed_id == one.feed_id)
            .where(file.due_at.is_not(None), file.url == one.processed_url)
        )
        waiting: dict[int, set[int]] = {}
        with reading(self._engine) as db:
            for feed_id, number in db.execute(query):
                waiting.setdefault(feed_id, set()).add(number)
        return sum(len(ids - (self.unplaced(feed) or set())) for feed, ids in waiting.items())

    def last_move(self) -> int:
        """The id of the last entry in the history of all episodes."""
        with reading(self._engine) as db:
            return db.scalars(select(func.max(history.c.id))).one() or 0

    def moved_since(self, last_move: int) -> set[str]:
        """The feeds of the episodes that have entries in the history after `last_move`."""
        query = (
            select(feeds.c.name)
            .join_from(feeds, episodes)
            .join(history, history.c.episode_id == episodes.c.id)
            .where(history.c.id > last_move)
            .distinct()
        )
        with reading(self._engine) as db:
            return set(db.scalars(query))

    def episodes(self, feed_id: int) -> dict[int, ServedEpisode]:
        """The episodes of a feed, by id, with what is known of their processed files."""
        one = episodes.c
        query = (
            select(
                *(one.id, one.state, one.first_seen_at, one.processed_url),
                *(one.duration, processed_files),
            )
            .join_from(episodes, processed_files, isouter=True)
            .where(one.feed_id == feed_id)
        )
        with reading(self._engine) as db:
            return {
                number: ServedEpisode(
                    id=number,
                    state=State(state),
                    first_seen_at=seen,
                    processed_url=processed_url,
                    duration=duration,
                    facts=_facts(*facts) if episode_id is not None else None,
                )
                for (number, state, seen, processed_url, duration, episode_id, *facts) in (
                    db.execute(query)
                )
            }

    def save_files(self, found: Mapping[int, FileFacts]) -> None:
        """Write what is known of processed files, by their episodes' ids."""
        with self._engine.begin() as db:
            for number, facts in found.items():
                earlier = vars(facts.earlier) if facts.earlier is not None else {}
                values = vars(facts.file) | {
                    "since": facts.since,
                    "attempts": facts.attempts,
                    "due_at": facts.due_at,
                    **{f"earlier_{name}": earlier.get(name) for name in vars(facts.file)},
                }
                row = processed_files.c.episode_id == number
                if db.execute(update(processed_files).where(row).values(values)).rowcount == 0:
                    db.execute(insert(processed_files).values(values | {"episode_id": number}))


def _facts(  # the columns of `processed_files`, in their order
    url: str,
    length: int | None,
    kind: str | None,
    attempts: int,
    since: datetime,
    due_at: datetime | None,
    duration: float | None,
    earlier_url: str | None,
    earlier_length: int | None,
    earlier_type: str | None,
    earlier_duration: float | None,
) -> FileFacts:
    earlier = None
    if earlier_url is not None:
        earlier = ProcessedFile(
            url=earlier_url, length=earlier_length, type=earlier_type, duration=earlier_duration
        )
    return FileFacts(
        file=ProcessedFile(url=url, length=length, type=kind, duration=duration),
        since=since,
        attempts=attempts,
        due_at=due_at,
        earlier=earlier,
    )


def keep(db: Connection, feed_id: int, kept: KeptDocument) -> None:
    """Keep a document in place of the last one; one that can't be served leaves that."""
    row = documents.c.feed_id == feed_id
    values = {"url": kept.url, "at": kept.at, "body": kept.body, "problem": kept.problem}
    if kept.body is None:
        changed = update(documents).where(row).values(problem=kept.problem)
    else:
        changed = update(documents).where(row).values(values | {"version": documents.c.version + 1})
    if db.execute(changed).rowcount == 0:
        db.execute(insert(documents).values(values | {"feed_id": feed_id, "version": 1}))
