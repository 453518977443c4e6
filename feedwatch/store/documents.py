"""Documents: the last good one of each served feed, and what is known of processed files."""

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from feedwatch.core.episode import State
from feedwatch.core.served import FileFacts, KeptDocument, ServedDocument, ServedEpisode
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
        columns = [column for column in documents.c if column.key not in ("body", "feed_id")]
        query = select(feeds.c.name, documents.c.feed_id, *columns).join_from(documents, feeds)
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

    def note_unplaced(self, feed_id: int, version: int, unplaced: int) -> None:
        """Note how many ready episodes have no item in the document of this version."""
        row = (documents.c.feed_id == feed_id) & (documents.c.version == version)
        with self._engine.begin() as db:
            db.execute(update(documents).where(row).values(unplaced=unplaced))

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
        one, file = episodes.c, processed_files.c
        query = (
            select(
                *(one.id, one.state, one.first_seen_at, one.processed_url),
                *(one.duration, one.finished_at),
                *(file.url, file.since, file.length, file.type, file.attempts, file.due_at),
            )
            .join_from(episodes, processed_files, one.id == file.episode_id, isouter=True)
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
                    finished_at=finished,
                    file=FileFacts(
                        url=url, since=since, length=length, type=kind, attempts=count, due_at=due
                    )
                    if url is not None
                    else None,
                )
                for number, state, seen, processed_url, duration, finished, *facts in db.execute(
                    query
                )
                for url, since, length, kind, count, due in [facts]
            }

    def save_files(self, found: Mapping[int, FileFacts]) -> None:
        """Write what is known of processed files, by their episodes' ids."""
        with self._engine.begin() as db:
            for number, file in found.items():
                values = {
                    "url": file.url,
                    "since": file.since,
                    "length": file.length,
                    "type": file.type,
                    "attempts": file.attempts,
                    "due_at": file.due_at,
                }
                row = processed_files.c.episode_id == number
                if db.execute(update(processed_files).where(row).values(values)).rowcount == 0:
                    db.execute(insert(processed_files).values(values | {"episode_id": number}))


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
