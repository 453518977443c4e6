"""Heartbeats: the daemons of this database, and a sign of progress of each of their loops."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import Engine, delete, insert, select

from feedwatch import __version__
from feedwatch.core.daemons import ALIVE_FOR, FORGOTTEN_AFTER, Daemon, Peers
from feedwatch.core.health import START, by_clock_of_reader
from feedwatch.store.boot import machine_boot
from feedwatch.store.database import reading
from feedwatch.store.database_server import DatabaseServer
from feedwatch.store.lease import holder_of
from feedwatch.store.schema import daemons, heartbeats
from feedwatch.store.sql import columns_of, database_clock, upsert


class HeartbeatStore:
    """Heartbeats: the latest moments, by name, at which a daemon got something done.

    `core/health.py` has the names: a loop, a loop's single piece of work, the daemon's start.
    """

    def __init__(self, engine: Engine, me: str, server: DatabaseServer | None) -> None:
        """`me` is the id of this process, if it is a daemon; `server` PostgreSQL's."""
        self._engine = engine
        self._me = me
        self._server = server
        self._is_sqlite = engine.dialect.name == "sqlite"

    @property
    def clock_offset(self) -> float | None:
        """How many seconds this machine's clock is ahead of the database's; None with SQLite."""
        return self._server.ahead if self._server is not None else None

    def write(self, moments: Mapping[str, datetime], now: datetime, config_mark: str = "") -> Peers:
        """Replace this daemon's heartbeats by these, of the clock that says `now`.

        Returns the daemons that are alive. With SQLite there is no other.
        """
        all_moments = {**moments, **(machine_boot(now) if self._is_sqlite else {})}
        rows = [{"daemon": self._me, "loop": name, "at": at} for name, at in all_moments.items()]
        ours = {
            "id": self._me,
            "host": self._me.partition("/")[0],
            "version": __version__,
            "config_mark": config_mark,
            "started_at": moments.get(START, now),
            "seen_at": now if self._is_sqlite else database_clock(),
            "clock_offset": self.clock_offset,
        }
        with self._engine.begin() as db:
            if self._is_sqlite:
                db.execute(delete(heartbeats))
                db.execute(delete(daemons).where(daemons.c.id != self._me))
            else:
                db.execute(delete(heartbeats).where(heartbeats.c.daemon == self._me))
            db.execute(insert(heartbeats), rows)
            upsert(db, daemons, ours)
            if self._is_sqlite:
                return Peers((self._me,), self._me, config_mark)
            if self._server is not None:
                self._server.ask(db)
            # What takes its place on its machine, or a restore has brought back, is not missed.
            here = (daemons.c.host == ours["host"]) & (
                daemons.c.seen_at < database_clock() - ALIVE_FOR
            )
            gone = here | (daemons.c.seen_at < database_clock() - FORGOTTEN_AFTER)
            forgotten = list(db.scalars(select(daemons.c.id).where(gone)))
            if forgotten:
                db.execute(delete(heartbeats).where(heartbeats.c.daemon.in_(forgotten)))
                db.execute(delete(daemons).where(daemons.c.id.in_(forgotten)))
            lately = daemons.c.seen_at >= database_clock() - ALIVE_FOR
            alive = dict(
                db.execute(select(daemons.c.id, daemons.c.config_mark).where(lately)).all()
            )
            leader = holder_of(db)
            return Peers(tuple(sorted(alive)), leader, alive.get(leader or ""))

    def end(self) -> None:
        """The daemon has ended in order: it has no start any more, but with SQLite a last progress.

        Of several daemons, it is one no more.
        """
        ours = heartbeats.c.daemon == self._me
        with self._engine.begin() as db:
            if self._is_sqlite:
                db.execute(delete(heartbeats).where(heartbeats.c.loop == START))
                return
            db.execute(delete(heartbeats).where(ours))
            db.execute(delete(daemons).where(daemons.c.id == self._me))

    def read(self, now: datetime) -> dict[str, dict[str, datetime]]:
        """All heartbeats of each daemon, by its id, and by the clock that says `now`.

        Without a start if a daemon has ended in order.
        """
        found: dict[str, dict[str, datetime]] = {}
        with reading(self._engine) as db:
            query = select(heartbeats.c.daemon, heartbeats.c.loop, heartbeats.c.at)
            for daemon, loop, at in db.execute(query):
                found.setdefault(daemon, {})[loop] = at
            if not self._is_sqlite:
                step = now - db.scalars(select(database_clock())).one()
                return {
                    daemon: {loop: at + step for loop, at in own.items()}
                    for daemon, own in found.items()
                }
        boot = machine_boot(now)
        return {daemon: by_clock_of_reader(own, boot) for daemon, own in found.items()}

    def daemons(self) -> list[Daemon]:
        """The daemons that were seen lately, by their ids.

        With SQLite the one that was there last; the lock of the file tells whether it still is.
        """
        query = select(*columns_of(daemons)).order_by(daemons.c.id)
        with reading(self._engine) as db:
            rows = [dict(row) for row in db.execute(query).mappings()]
            if self._is_sqlite:
                now, leader = None, None
            else:
                now, leader = db.scalars(select(database_clock())).one(), holder_of(db)
        return [
            Daemon(
                **{name: value for name, value in row.items() if name != "seen_at"},
                unseen_for=max(now - row["seen_at"], timedelta()) if now else timedelta(),
                leads=self._is_sqlite or row["id"] == leader,
            )
            for row in rows
        ]

    def is_any_alive(self) -> bool:
        """Whether PostgreSQL has seen a daemon lately, or one has just been elected."""
        lately = daemons.c.seen_at >= database_clock() - ALIVE_FOR
        with reading(self._engine) as db:
            found = db.execute(select(daemons.c.id).where(lately).limit(1)).first()
            return found is not None or holder_of(db) is not None
