"""The questions we ask of the database and the things we write, each one short transaction."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    RowMapping,
    Select,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from feedwatch.core import events
from feedwatch.core.alert import Waiting
from feedwatch.core.circuit_breaker import Gate
from feedwatch.core.episode import LIVE, Episode, Known, Move, State, Tally
from feedwatch.core.feed import Departure, Feed
from feedwatch.core.health import Vitals
from feedwatch.core.ledger import Imprint
from feedwatch.core.settings import Policy, Source
from feedwatch.store import statistics, upkeep
from feedwatch.store.bulk import insert_many
from feedwatch.store.database import connect, exists, reading, require_current, sqlite_file, upgrade
from feedwatch.store.lock import FileLock, is_locked
from feedwatch.store.outbox import Outbox
from feedwatch.store.schema import (
    departures,
    digests,
    episodes,
    feeds,
    gates,
    heartbeats,
    history,
    identities,
    imprint,
    metadata,
)
from feedwatch.store.statistics import Figures

DAY = timedelta(days=1)
HORIZON = 2 * DAY  # no episode is ever due later than this, unless the clock has been set back
LATEST = 100  # episodes from which a feed's rhythm is learned
CHUNK = 500  # values in one IN (…): databases bound them

# What was learned at a feed's address, and is forgotten when the config has another one.
OF_ADDRESS = (
    "etag",
    "last_modified",
    "full_at",
    "body_mark",
    "hinted",
    "fresh",
    "skip_hours",
    "skip_days",
    "moved_to",
    "moved_since",
    "moved_seen",
    "address",
    "address_reach",
)
# What a check may change of a feed; the rest is a person's or the config's, who may act meanwhile.
CHECK_COLUMNS = (
    *OF_ADDRESS,
    "due_at",
    "baseline_at",
    "checked_at",
    "success_at",
    "new_at",
    "shown",
    "doubted_before",
    "media_types",
    "answered",
    "failures",
    "error",
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
        | {"due_at": case((feeds.c.asked == bindparam("of_asked"), _DUE), else_=feeds.c.due_at)}
    )
)
_FEED = select(feeds).where(feeds.c.id == bindparam("of_id"))
EPISODE_COLUMNS = tuple(field.name for field in fields(Episode) if field.name not in ("id", "feed"))


@dataclass(frozen=True, kw_only=True)
class Admission:
    """A new episode and the keys by which it will be known."""

    episode: Episode
    keys: Collection[str]
    title_key: str  # the title for comparison
    place: int = 0  # in the document


class Due(NamedTuple):
    """A feed that is to be checked."""

    id: int
    name: str
    url: str  # where it is asked for


class Store:
    """The database. No transaction of it is open while the network is in use."""

    def __init__(
        self, url: str, *, processor: str, may_create: bool = False, alone: bool = False
    ) -> None:
        """Open `url`; `processor` names the media API whose gate this is.

        With `may_create`, tables are made or migrated as needed. Without, a database that is not
        there reads as an empty one and is not made: to look must not leave anything behind. With
        `alone`, no other process may be open with `alone` at the same time. Raises `StoreError`.
        `place` says where it is, without its password.
        """
        self._processor = processor
        self._engine = connect(url)
        self.place = self._engine.url.render_as_string(hide_password=True)
        path = sqlite_file(self._engine)
        self._path = path = path.resolve() if path is not None else None
        self._lock = FileLock(_lock_path(self._path)) if alone and self._path else None
        if may_create:
            if path is not None and path.parent.is_dir() and not path.exists():
                path.touch(0o600)  # SQLite's other files follow it; feeds may be private
            upgrade(self._engine)
            self._ensure_rows()
        elif exists(self._engine):
            require_current(self._engine)
        else:
            self._engine = connect("sqlite://")
            metadata.create_all(self._engine)
        self.outbox = Outbox(self._engine)

    @property
    def path(self) -> Path | None:
        """The database's file, if it is one."""
        return self._path

    def close(self) -> None:
        """Give back all connections, and the lock."""
        self._engine.dispose()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    # Feeds

    def sync_feeds(self, sources: Collection[Source], due_at: Mapping[str, datetime]) -> None:
        """Take over the config's feeds. What is no longer in it keeps its memory and rests.

        A feed is its name: one whose URL has changed is the same feed, and its validators, which
        were another server's, are forgotten.
        """
        with self._engine.begin() as db:
            rows = {row.name: row for row in db.execute(_SYNCED)}
            urls = {row.url for row in rows.values()}
            new, changed = [], []
            for source in sources:
                row = rows.get(source.name)
                if row is None:
                    # A feed with another name now: what it held may have been paid for already.
                    doubted = due_at[source.name] if source.url in urls else None
                    feed = Feed(
                        name=source.name,
                        url=source.url,
                        due_at=due_at[source.name],
                        doubted_before=doubted,
                    )
                    new.append(_without(asdict(feed), "id"))
                elif (change := _synced(row, source, due_at[source.name])) is not None:
                    changed.append((row, change))
            if new:
                db.execute(insert(feeds), new)
            for row, change in changed:
                db.execute(update(feeds).where(feeds.c.id == row.id).values(change))
                if "url" in change:
                    reason = "the config has another address"
                    at, url = due_at[row.name], row.address or row.url
                    _leave(db, row.id, Departure(at=at, url=url, reason=reason))
            kept = {source.name for source in sources}
            for row in rows.values():
                if row.name not in kept and (row.active or row.due_at is not None):
                    rests = {"active": False, "due_at": None}
                    db.execute(update(feeds).where(feeds.c.id == row.id).values(rests))

    def feeds(self) -> list[Feed]:
        """All feeds that we remember, by name."""
        with reading(self._engine) as db:
            return [
                _feed(row) for row in db.execute(select(feeds).order_by(feeds.c.name)).mappings()
            ]

    def ailing_feeds(self) -> list[Feed]:
        """Feeds whose last check failed, or that have been silent for too long."""
        ails = or_(feeds.c.error.is_not(None), feeds.c.silent_since.is_not(None))
        query = select(feeds).where(feeds.c.active, ails)
        with reading(self._engine) as db:
            return [_feed(row) for row in db.execute(query.order_by(feeds.c.name)).mappings()]

    def due_feeds(
        self, now: datetime, horizon: timedelta, limit: int, but: Collection[int] = ()
    ) -> list[Due]:
        """Feeds to check, the longest due first, without those whose ids are in `but`.

        What is due later than `horizon` from now is due at once: the clock was set back.
        """
        asked_at = func.coalesce(feeds.c.address, feeds.c.url).label("url")
        query = (
            select(feeds.c.id, feeds.c.name, asked_at)
            .where(_due(feeds.c.due_at, now, horizon), feeds.c.active)
            .order_by(feeds.c.due_at)
            .limit(limit + len(but))
        )
        with reading(self._engine) as db:
            rows = db.execute(query)
            return [Due(row.id, row.name, row.url) for row in rows if row.id not in but][:limit]

    def feed(self, feed_id: int) -> Feed | None:
        """One feed, as it is now."""
        with reading(self._engine) as db:
            row = db.execute(_FEED, {"of_id": feed_id}).mappings().one_or_none()
        return _feed(row) if row is not None else None

    def put_off(self, feed_id: int, due_at: datetime, reason: str) -> None:
        """Write down that a check failed, without a look at the feed: it may be what is wrong."""
        later = {"due_at": due_at, "error": reason, "failures": feeds.c.failures + 1}
        with self._engine.begin() as db:
            db.execute(update(feeds).where(feeds.c.id == feed_id).values(later))

    def make_feeds_due(self, now: datetime, names: Collection[str] | None = None) -> None:
        """Have every active feed checked at once, or only those of these names."""
        due = update(feeds).where(feeds.c.active).values(due_at=now)
        with self._engine.begin() as db:
            if names is None:
                db.execute(due)
                return
            for chunk in _chunks(list(names)):
                db.execute(due.where(feeds.c.name.in_(chunk)))

    def set_feed_paused(self, name: str, *, paused: bool) -> bool:
        """Stop or restart new submissions from a feed. False if there is no such feed."""
        with self._engine.begin() as db:
            done = db.execute(update(feeds).where(feeds.c.name == name).values(paused=paused))
        return done.rowcount == 1

    def trust(self, name: str) -> None:
        """A person has settled what was held of a feed: from here on, what is new is new."""
        with self._engine.begin() as db:
            db.execute(update(feeds).where(feeds.c.name == name).values(doubted_before=None))

    def known(self, feed_id: int, keys: Collection[str]) -> dict[str, Known]:
        """Those of `keys` by which an episode of the feed is known, with the episode."""
        with reading(self._engine) as db:
            ids = _known_ids(db, feed_id, keys)
            known = _known(db, episodes.c.id, set(ids.values()))
        by_id = {one.id: one for one in known}
        return {key: by_id[episode_id] for key, episode_id in ids.items()}

    def namesakes(self, feed_id: int, titles: Collection[str]) -> dict[str, list[Known]]:
        """The feed's episodes whose title is one of `titles`, as `identity.title_key` has them."""
        found: dict[str, list[Known]] = {}
        with reading(self._engine) as db:
            known = _known(db, episodes.c.title_key, titles, episodes.c.feed_id == feed_id)
        for one in known:
            found.setdefault(one.title_key, []).append(one)
        return found

    def published(self, feed_id: int) -> list[datetime]:
        """When the feed's latest episodes were published, the latest first."""
        query = (
            select(episodes.c.published_at)
            .where(episodes.c.feed_id == feed_id, episodes.c.published_at.is_not(None))
            .order_by(episodes.c.published_at.desc())
            .limit(LATEST)
        )
        with reading(self._engine) as db:
            return list(db.scalars(query))

    def departures(self) -> dict[str, list[Departure]]:
        """The addresses that each feed was fetched from before, the first one first."""
        query = (
            select(feeds.c.name, departures.c.at, departures.c.url, departures.c.reason)
            .join_from(departures, feeds)
            .order_by(departures.c.id)
        )
        found: dict[str, list[Departure]] = {}
        with reading(self._engine) as db:
            for row in db.execute(query):
                left = Departure(at=row.at, url=row.url, reason=row.reason)
                found.setdefault(row.name, []).append(left)
        return found

    def keys(self, episode_id: int) -> list[str]:
        """By which keys an episode is known."""
        query = select(identities.c.key).where(identities.c.episode_id == episode_id)
        with reading(self._engine) as db:
            return sorted(db.scalars(query))

    def digest(self, feed_id: int) -> bytes | None:
        """What is remembered of a feed's last good document; see `digest.Digest`."""
        query = select(digests.c.digest).where(digests.c.feed_id == feed_id)
        with reading(self._engine) as db:
            return db.scalars(query).one_or_none()

    def record_unchanged(
        self, checked: Sequence[Feed], left: Mapping[int, Departure] | None = None
    ) -> None:
        """Checks that found nothing but what was known, in one transaction.

        `left` has the addresses that feeds were fetched from until now, by their ids.
        """
        with self._engine.begin() as db:
            db.execute(_CHECKED, [_checked(feed) for feed in checked])
            for feed_id, departure in (left or {}).items():
                _leave(db, feed_id, departure)

    def record_check(
        self,
        feed: Feed,
        new: Sequence[Admission],
        learned: Mapping[str, int],
        now: datetime,
        edited: Sequence[Known] = (),
        *,
        left: Departure | None = None,
        descriptions: Mapping[int, str] | None = None,
        digest: Callable[[Mapping[int, int]], bytes | None] = lambda _new: None,
    ) -> list[int] | None:
        """All that a check has changed, or nothing of it.

        `learned` maps further keys of known episodes to their ids, `edited` has those that the feed
        describes in other words than before, `left` is the address that it was fetched from until
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
                if left is not None:
                    _leave(db, feed.id, left)
                ids = _admit(db, feed, new, now)
                if descriptions is not None:
                    _describe(db, feed, descriptions)
                places = [admission.place for admission in new]
                _remember(db, feed.id, digest(dict(zip(places, ids, strict=True))))
        except IntegrityError:
            return None
        return ids

    # Episodes

    def episode(self, episode_id: int) -> Episode | None:
        """One episode."""
        with reading(self._engine) as db:
            row = (
                db.execute(_episodes().where(episodes.c.id == episode_id)).mappings().one_or_none()
            )
        return _episode(row) if row is not None else None

    def episodes(
        self,
        *,
        feed: str | None = None,
        states: Collection[State] = (),
        limit: int | None = None,
    ) -> list[Episode]:
        """The episodes, newest first."""
        newest = func.coalesce(episodes.c.published_at, episodes.c.first_seen_at).desc()
        query = _episodes().order_by(newest, episodes.c.id.desc()).limit(limit)
        if feed is not None:
            query = query.where(feeds.c.name == feed)
        if states:
            query = query.where(episodes.c.state.in_(states))
        with reading(self._engine) as db:
            return [_episode(row) for row in db.execute(query).mappings()]

    def episode_of(self, media_id: str) -> Episode | None:
        """The episode whose job has this id at the API."""
        query = _episodes().where(episodes.c.media_id == media_id).limit(1)
        with reading(self._engine) as db:
            row = db.execute(query).mappings().one_or_none()
        return _episode(row) if row is not None else None

    def history(self, episode_id: int) -> list[Move]:
        """How an episode came to be where it is, oldest first."""
        query = (
            select(history.c.at, history.c.state, history.c.reason)
            .where(history.c.episode_id == episode_id)
            .order_by(history.c.id)
        )
        with reading(self._engine) as db:
            return [
                Move(at=row.at, state=State(row.state), reason=row.reason)
                for row in db.execute(query)
            ]

    def due_episodes(
        self, state: State, now: datetime, limit: int, but: Collection[int] = ()
    ) -> list[Episode]:
        """Episodes in `state` that are due, the longest due first, without the ids in `but`."""
        query = (
            _episodes()
            .where(
                episodes.c.state == state,
                _due(episodes.c.due_at, now, HORIZON),
                episodes.c.id.not_in(but),
            )
            .order_by(episodes.c.due_at)
            .limit(limit)
        )
        with reading(self._engine) as db:
            return [_episode(row) for row in db.execute(query).mappings()]

    def claim(
        self, now: datetime, policy: Policy, claimed: Callable[[Episode], Episode]
    ) -> Episode | None:
        """Take the oldest episode that may be submitted now, and commit `claimed` of it.

        Everything that can forbid a submission is asked in the same transaction: pauses, the gate,
        the limit of concurrent jobs and that of submissions in any 24 hours.
        """
        with self._engine.begin() as db:
            gate = self._gate(db, lock=True)
            if gate.paused or gate.closed_until is not None:
                return None
            if _live(db, but_overdue=True) >= policy.max_concurrent_jobs:
                return None
            if _submitted_since(db, now - DAY) >= policy.max_submissions_per_day:
                return None
            row = db.execute(_next_queued(now)).mappings().one_or_none()
            if row is None:
                return None
            before = _episode(row)
            db.execute(update(imprint).values(claims=imprint.c.claims + 1))
            return _move(db, before, claimed(before), now)

    def save(self, before: Episode, after: Episode, now: datetime) -> Episode | None:
        """Move an episode on; None, and nothing written, if someone else has moved it first.

        One that becomes ready is announced.
        """
        with self._engine.begin() as db:
            moved = _move(db, before, after, now)
            if moved is not None and moved.state is State.READY:
                self.outbox.put(db, events.ready(moved, now), now)
        return moved

    def may_claim_sometime(self, now: datetime, policy: Policy) -> bool:
        """Whether a queued episode will be submitted once time passes, with no person's help."""
        with reading(self._engine) as db:
            gate = self._gate(db)
            if gate.paused or gate.blocked:
                return False
            if _submitted_since(db, now - DAY) >= policy.max_submissions_per_day:
                return False
            return db.execute(_next_queued(None)).first() is not None

    # Its own age

    def imprint(self) -> Imprint:
        """Which database this is, and how many submissions were ever claimed from it."""
        with reading(self._engine) as db:
            return Imprint(**db.execute(select(imprint)).mappings().one())

    def suspect(self, now: datetime, held: Callable[[Episode], Episode]) -> int:
        """Take in that more has happened than this database knows of.

        What is queued becomes `held` of it, and what the next check of each feed finds new will be
        held too. Returns how many episodes were queued.
        """
        with self._engine.begin() as db:
            db.execute(update(feeds).values(doubted_before=now))
            query = _episodes().where(episodes.c.state == State.QUEUED)
            queued = [_episode(row) for row in db.execute(query).mappings()]
            for episode in queued:
                _move(db, episode, held(episode), now)
            self.outbox.put(db, events.restored(now, len(queued)), now)
        return len(queued)

    def back_up(self, copy: Path) -> int:
        """Copy an SQLite database, see `upkeep.back_up`."""
        return upkeep.back_up(self._engine, copy)

    def old_lines(self, before: datetime) -> upkeep.Lines:
        """What `prune` would delete of the history."""
        return upkeep.old_lines(self._engine, before)

    def prune(self, before: datetime) -> Iterator[int]:
        """Delete old lines of the history, batch after batch, see `upkeep.prune`."""
        return upkeep.prune(self._engine, before)

    # The gate

    def gate(self) -> Gate:
        """Whether submissions may leave."""
        with reading(self._engine) as db:
            return self._gate(db)

    def change_gate(self, change: Callable[[Gate], Gate]) -> Gate:
        """Apply `change` to the gate and return it as it is then."""
        with self._engine.begin() as db:
            gate = change(self._gate(db, lock=True))
            ours = gates.c.processor == self._processor
            db.execute(update(gates).where(ours).values(asdict(gate)))
        return gate

    # The whole

    def tallies(self) -> dict[str, Tally]:
        """The episodes of each feed, counted."""
        number = func.count().label("number")
        by_feed = select(episodes.c.feed_id, episodes.c.state, number)
        late = select(episodes.c.feed_id, number).where(
            episodes.c.state == State.PROCESSING, episodes.c.overdue
        )
        with reading(self._engine) as db:
            names = {row.id: row.name for row in db.execute(select(feeds.c.id, feeds.c.name))}
            rows = db.execute(by_feed.group_by(episodes.c.feed_id, episodes.c.state)).all()
            overdue = {
                row.feed_id: row.number for row in db.execute(late.group_by(episodes.c.feed_id))
            }
        by_state: dict[int, dict[State, int]] = {}
        for row in rows:
            by_state.setdefault(row.feed_id, {})[State(row.state)] = row.number
        return {
            names[feed_id]: Tally(by_state=counted, overdue=overdue.get(feed_id, 0))
            for feed_id, counted in by_state.items()
        }

    def counts(self) -> dict[State, int]:
        """How many episodes are in each state."""
        with reading(self._engine) as db:
            found = statistics.counts(db, list(State))
        return {state: found.get(state, 0) for state in State}

    def waiting(self, failed_since: datetime) -> list[Waiting]:
        """What needs a person, by feed and state; of the failed those that did so lately."""
        with reading(self._engine) as db:
            return [_waiting(row) for row in db.execute(_needing(failed_since))]

    def live(self) -> int:
        """Jobs that are accepted and not final, and submissions under way."""
        with reading(self._engine) as db:
            return _live(db)

    def submitted_since(self, moment: datetime) -> int:
        """Submissions since `moment` that were taken, or may have been."""
        with reading(self._engine) as db:
            return _submitted_since(db, moment)

    def beat(self, beats: Mapping[str, datetime]) -> None:
        """Write down when each duty last came to its end, in place of what was written before."""
        rows = [{"duty": duty, "at": at} for duty, at in beats.items()]
        with self._engine.begin() as db:
            db.execute(delete(heartbeats))
            db.execute(insert(heartbeats), rows)

    def rest(self) -> None:
        """Write down that the duties have come to their end for good."""
        with self._engine.begin() as db:
            db.execute(delete(heartbeats))

    def vitals(self, now: datetime) -> Vitals:
        """What shows whether the daemon gets on with its work."""
        with reading(self._engine) as db:
            return statistics.vitals(db, now, LIVE)

    def figures(self, now: datetime, *, most_feeds: int, but_at_most: int) -> Figures:
        """The whole, for graphs; of more feeds than `most_feeds`, only `but_at_most` each."""
        with reading(self._engine) as db:
            gate = self._gate(db)
            by_feed = statistics.feeds_by_state(db)
            few = sum(by_feed.values()) <= most_feeds
            return Figures(
                by_state=statistics.counts(db, list(State)),
                oldest_queued_at=statistics.oldest_queued(db),
                submitted=_submitted_since(db, now - DAY),
                live_jobs=_live(db),
                overdue_jobs=statistics.overdue(db),
                submissions_open=not gate.paused and gate.closed_until is None,
                feeds_by_state=by_feed,
                feeds=statistics.each_feed(db, most_feeds if few else but_at_most),
            )

    def is_in_use(self) -> bool | None:
        """Whether a daemon has the database; None if that can't be told from here."""
        return is_locked(_lock_path(self._path)) if self._path is not None else None

    def heartbeats(self) -> dict[str, datetime]:
        """When each duty last came to its end."""
        with reading(self._engine) as db:
            return {row.duty: row.at for row in db.execute(select(heartbeats))}

    def _gate(self, db: Connection, *, lock: bool = False) -> Gate:
        query = select(gates).where(gates.c.processor == self._processor)
        query = query.with_for_update() if lock else query
        row = db.execute(query).mappings().one_or_none()
        return Gate(**_without(row, "processor")) if row is not None else Gate()

    def _ensure_rows(self) -> None:
        with self._engine.begin() as db:
            ours = gates.c.processor == self._processor
            if db.execute(select(gates).where(ours)).first() is None:
                db.execute(insert(gates).values(processor=self._processor, **asdict(Gate())))
            if db.execute(select(imprint)).first() is None:
                db.execute(insert(imprint).values(id=str(uuid4()), claims=0))


_SYNCED = select(
    feeds.c.id, feeds.c.name, feeds.c.url, feeds.c.address, feeds.c.active, feeds.c.due_at
)


def _synced(row: Any, source: Source, due_at: datetime) -> dict[str, Any] | None:
    """What the config changes of a feed that we remember; None if nothing."""
    change: dict[str, Any] = {}
    if row.url != source.url:
        change |= dict.fromkeys(OF_ADDRESS) | {"url": source.url, "due_at": due_at}
    if not row.active or row.due_at is None:
        change |= {"active": True, "due_at": due_at}
    return change or None


def _lock_path(database: Path) -> Path:
    return database.with_name(f"{database.name}.lock")


def _episodes() -> Select[Any]:
    return select(episodes, feeds.c.name.label("feed")).join_from(episodes, feeds)


def _next_queued(due_by: datetime | None) -> Select[Any]:
    """The oldest episode that may be submitted; with `due_by`, of those due by then."""
    oldest = func.coalesce(episodes.c.published_at, episodes.c.first_seen_at)
    query = (
        _episodes()
        .where(
            episodes.c.state == State.QUEUED,
            episodes.c.description.is_not(None),
            feeds.c.active,
            ~feeds.c.paused,
        )
        .order_by(oldest, episodes.c.id)
        .limit(1)
    )
    return query if due_by is None else query.where(_due(episodes.c.due_at, due_by, HORIZON))


def _due(column: ColumnElement[Any], now: datetime, horizon: timedelta) -> ColumnElement[bool]:
    return or_(column <= now, column > now + horizon)


def _live(db: Connection, *, but_overdue: bool = False) -> int:
    """Jobs not final. One that is overdue may never be: it must not keep the others waiting."""
    query = select(func.count()).select_from(episodes).where(episodes.c.state.in_(LIVE))
    if but_overdue:
        query = query.where(~episodes.c.overdue)
    return db.scalars(query).one()


def _submitted_since(db: Connection, moment: datetime) -> int:
    """Answers that were not "surely not taken", and POSTs that have none yet."""
    answered = and_(
        history.c.previous == State.SUBMITTING,
        history.c.at > moment,
        history.c.at < moment + 3 * DAY,  # what lies further ahead is a clock's error
        history.c.state.in_((State.PROCESSING, State.UNKNOWN)),
    )
    query = select(func.count()).select_from(history).where(answered)
    waiting = select(func.count()).select_from(episodes).where(episodes.c.state == State.SUBMITTING)
    return db.scalars(query).one() + db.scalars(waiting).one()


def _needing(failed_since: datetime) -> Select[Any]:
    """Reads no more rows than are in these states, however many episodes there are."""
    of_interest = or_(
        episodes.c.state.in_((State.HELD, State.UNKNOWN)),
        and_(episodes.c.state == State.FAILED, episodes.c.finished_at > failed_since),
        and_(episodes.c.state == State.PROCESSING, episodes.c.overdue),
    )
    states = (State.HELD, State.UNKNOWN, State.FAILED, State.PROCESSING)
    begun_at = func.coalesce(episodes.c.submitted_at, episodes.c.first_seen_at)
    groups = (
        select(
            episodes.c.feed_id,
            episodes.c.state,
            func.count().label("episodes"),
            func.max(episodes.c.id).label("newest_id"),
            func.max(begun_at).label("begun_at"),
            func.max(episodes.c.finished_at).label("finished_at"),
        )
        .where(episodes.c.state.in_(states), of_interest)
        .group_by(episodes.c.feed_id, episodes.c.state)
        .subquery()
    )
    newest = episodes.alias("newest")
    return (
        select(groups, feeds.c.name, newest.c.title, newest.c.reason)
        .join_from(groups, feeds, feeds.c.id == groups.c.feed_id)
        .join(newest, newest.c.id == groups.c.newest_id)
        .order_by(feeds.c.name, groups.c.state)
    )


def _waiting(row: Row[Any]) -> Waiting:
    state = State(row.state)
    # What is held was so from the first, so the newest id tells whether one has joined. A failure
    # has its time, and so has each submission that is in doubt or overdue.
    since = row.finished_at if state is State.FAILED else row.begun_at
    mark = f"{row.newest_id:012d}" if state is State.HELD else since.isoformat(" ", "microseconds")
    return Waiting(
        feed=row.name,
        state=state,
        episodes=row.episodes,
        mark=mark,
        newest_id=row.newest_id,
        newest_title=row.title,
        newest_reason=row.reason,
    )


def _known_ids(db: Connection, feed_id: int, keys: Collection[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for chunk in _chunks(list(keys)):
        query = select(identities.c.key, identities.c.episode_id).where(
            identities.c.feed_id == feed_id, identities.c.key.in_(chunk)
        )
        found |= {row.key: row.episode_id for row in db.execute(query)}
    return found


def _known(
    db: Connection,
    column: ColumnElement[Any],
    values: Collection[Any],
    *conditions: ColumnElement[bool],
) -> list[Known]:
    """Episodes by the values of a column."""
    found = []
    for chunk in _chunks(list(values)):
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
        found += [Known(**row) for row in db.execute(query).mappings()]
    return found


def _write_check(db: Connection, feed: Feed) -> bool:
    """False if the feed's URL has changed meanwhile: this was a check of something else."""
    return db.execute(_CHECKED, _checked(feed)).rowcount == 1


def _checked(feed: Feed) -> dict[str, Any]:
    values = {name: getattr(feed, name) for name in CHECK_COLUMNS}
    values["of_due_at"] = values.pop("due_at")
    return values | {"of_id": feed.id, "of_url": feed.url, "of_asked": feed.asked}


def _learn(db: Connection, feed_id: int, learned: Mapping[str, int]) -> None:
    already = _known_ids(db, feed_id, learned.keys())
    rows = [
        {"feed_id": feed_id, "key": key, "episode_id": episode_id}
        for key, episode_id in learned.items()
        if key not in already
    ]
    if rows:
        db.execute(insert(identities), rows)


def _edit(db: Connection, edited: Sequence[Known]) -> None:
    for one in edited:
        seen = {
            "title_key": one.title_key,
            "seen_url": one.enclosure_url,
            "seen_published_at": one.published_at,
            "seen_duration": one.duration,
        }
        db.execute(update(episodes).where(episodes.c.id == one.id).values(seen))


def _admit(db: Connection, feed: Feed, admissions: Sequence[Admission], now: datetime) -> list[int]:
    """In a few statements, since a first check may bring thousands. Returns the ids."""
    if not admissions:
        return []
    last = db.scalars(select(func.max(episodes.c.id))).one() or 0
    insert_many(db, episodes, NEW_EPISODE, [_new_row(feed, one) for one in admissions])
    # In the order in which they were given; others may have come meanwhile, but not of this feed.
    query = (
        select(episodes.c.id)
        .where(episodes.c.id > last, episodes.c.feed_id == feed.id)
        .order_by(episodes.c.id)
    )
    ids = list(db.scalars(query))
    pairs = list(zip(ids, admissions, strict=True))
    keys = [(feed.id, key, new_id) for new_id, one in pairs for key in one.keys]
    insert_many(db, identities, ("feed_id", "key", "episode_id"), keys)
    moves = [(new_id, now, one.episode.state, one.episode.reason) for new_id, one in pairs]
    insert_many(db, history, ("episode_id", "at", "state", "reason"), moves)
    return ids


# What is not null of a new episode, in the table's order.
NEW_EPISODE = (
    "feed_id",
    "guid",
    "title",
    "description",
    "enclosure_url",
    "published_at",
    "state",
    "reason",
    "feed_duration",
    "title_key",
    "seen_url",
    "seen_published_at",
    "seen_duration",
    "first_seen_at",
    "due_at",
    "attempts",
    "deferrals",
    "remote_stood",
    "overdue",
    "version",
)


def _new_row(feed: Feed, admission: Admission) -> tuple[Any, ...]:
    one = admission.episode
    as_in_feed = (one.guid, one.title, one.description, one.enclosure_url, one.published_at)
    seen = (admission.title_key, one.enclosure_url, one.published_at, one.feed_duration)
    counters = (0, 0, 0, False, 0)
    return (
        *(feed.id, *as_in_feed, one.state, one.reason, one.feed_duration, *seen),
        *(one.first_seen_at, one.due_at, *counters),
    )


def _leave(db: Connection, feed_id: int, departure: Departure) -> None:
    db.execute(insert(departures).values(feed_id=feed_id, **asdict(departure)))


def _describe(db: Connection, feed: Feed, descriptions: Mapping[int, str]) -> None:
    """Write down the descriptions that were waited for; what the feed no longer has stays empty."""
    for episode_id, description in descriptions.items():
        one = episodes.c.id == episode_id
        db.execute(update(episodes).where(one).values(description=description))
    asked = select(feeds.c.asked).where(feeds.c.id == feed.id)
    if db.scalars(asked).one() != feed.asked:
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


def _move(db: Connection, before: Episode, after: Episode, now: datetime) -> Episode | None:
    after = replace(after, version=before.version + 1)
    unmoved = and_(episodes.c.id == before.id, episodes.c.version == before.version)
    if db.execute(update(episodes).where(unmoved).values(_values(after))).rowcount != 1:
        return None
    if after.state is State.QUEUED and after.description is None:
        _ask_for_description(db, before.id, now)
    if (after.state, after.reason) != (before.state, before.reason):
        db.execute(insert(history).values(_line(before.state, after, now)))
    return after


def _ask_for_description(db: Connection, episode_id: int, now: datetime) -> None:
    """Have the episode's feed read from its first to its last item, soon."""
    its = (
        feeds.c.id
        == select(episodes.c.feed_id).where(episodes.c.id == episode_id).scalar_subquery()
    )
    db.execute(update(feeds).where(its).values(asked=feeds.c.asked + 1, due_at=now))


def _line(previous: State | None, episode: Episode, now: datetime) -> dict[str, Any]:
    """A row of the history."""
    return {
        "episode_id": episode.id,
        "at": now,
        "previous": previous,
        "state": episode.state,
        "reason": episode.reason,
    }


def _values(episode: Episode) -> dict[str, Any]:
    return {name: getattr(episode, name) for name in EPISODE_COLUMNS}


def _episode(row: RowMapping) -> Episode:
    values = {name: row[name] for name in ("id", "feed", *EPISODE_COLUMNS)}
    return Episode(**values | {"state": State(row["state"])})


def _feed(row: RowMapping) -> Feed:
    return Feed(**row)


def _without(values: Mapping[Any, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in names}


def _chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]
