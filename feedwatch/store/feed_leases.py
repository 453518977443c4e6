"""Feed leases: which daemon checks a feed just now, where several share a PostgreSQL database.

A lease is a row beside the feed's wide one, which a check thus writes but once. The record of the
check ends it; that of a daemon that died runs out. With SQLite there is one daemon and no lease.
"""

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Integer,
    Select,
    String,
    any_,
    bindparam,
    delete,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import insert

from feedwatch.store.schema import feed_leases, feeds
from feedwatch.store.sql import database_clock

TTL = timedelta(minutes=5)  # longer than nearly every check: else two look, and one look counts
_LEASE = feed_leases.c
_IDS = any_(bindparam("ids", type_=ARRAY(Integer)))
_END = delete(feed_leases).where(_LEASE.feed_id == _IDS, _LEASE.holder == bindparam("me"))


def leasing(due: Select[Any]) -> Select[Any]:
    """The statement that leases those feeds of `due` that have these `ids` to the daemon `me`.

    It returns the rows, as `due` selects them, of those that no other daemon has leased. A row that
    is just being written is passed over: another daemon's record of a check that is not committed
    yet would make it seem due.
    """
    locked = due.where(feeds.c.id == _IDS).with_for_update(key_share=True, skip_locked=True)
    rows = locked.cte("due")
    until, me = database_clock() + TTL, bindparam("me", type_=String)
    wanted = insert(feed_leases).from_select(
        ["feed_id", "holder", "until"], select(rows.c.id, me, until)
    )
    is_free = or_(_LEASE.until < database_clock(), _LEASE.holder == wanted.excluded.holder)
    changed = {"holder": wanted.excluded.holder, "until": wanted.excluded.until}
    leased = (
        wanted.on_conflict_do_update(index_elements=[_LEASE.feed_id], set_=changed, where=is_free)
        .returning(_LEASE.feed_id)
        .cte("leased")
    )
    return select(rows).join(leased, leased.c.feed_id == rows.c.id)


def is_not_anothers(db: Connection, me: str) -> ColumnElement[bool]:
    """No other daemon checks the feed just now."""
    if db.dialect.name != "postgresql":
        return true()
    # Not by a join, which the planner may begin with all feeds.
    others = select(_LEASE.feed_id).where(_LEASE.holder != me, _LEASE.until > database_clock())
    return feeds.c.id.not_in(others)


def end_leases(db: Connection, feed_ids: Collection[int], me: str) -> None:
    """End what the daemon `me` has leased of these feeds."""
    if db.dialect.name == "postgresql":
        db.execute(_END, {"ids": sorted(feed_ids), "me": me})
