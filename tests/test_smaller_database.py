"""The migration that has each text kept once: all is there afterwards, in less room."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command

from feedwatch.core.episode import KnownEpisode
from feedwatch.core.identity import Key
from feedwatch.sandbox.server import Sandbox
from feedwatch.store.database import connect
from feedwatch.store.errors import StoreError
from feedwatch.store.schema import metadata
from feedwatch.store.store import Store
from tests.databases import migrate, sqlite_only
from tests.support import FeedServer, Feedwatch, Workspace, audio
from tests.test_store import NOW, SOURCE, admit, claim, opened

BEFORE = "0018"
SCHEMA = "select type, name from sqlite_schema where tbl_name <> 'alembic_version' order by name"
IS_WITHOUT_ROWID = "select wr from pragma_table_list('identities')"


def take_back(path: Path) -> None:
    """Make the database one of the revision before, with its rows."""
    engine = connect(f"sqlite:///{path}")
    with engine.begin() as db:
        migrate(db, command.downgrade, BEFORE)
    engine.dispose()


def asked(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


def all_that_is_said(feedwatch: Feedwatch) -> list[Any]:
    """Each episode with its keys, its steps and its history, and the history of all."""
    episodes = feedwatch.json("episodes")
    shown = [feedwatch.json("show", one["id"]) for one in episodes]
    return [episodes, shown, feedwatch.here("log").stdout]


def test_after_the_upgrade_all_is_as_it_was_and_nothing_is_submitted_again(
    feedwatch: Feedwatch, workspace: Workspace, sandbox: Sandbox, feed_server: FeedServer
) -> None:
    workspace.set(FEEDS__SHOW__FIRST_RUN="latest:2")
    feed_server.publish(3, 2, 1)
    assert feedwatch.once().status == 0
    before = all_that_is_said(feedwatch)
    take_back(workspace.database)
    rows = "select count(*) from episodes where seen_url = enclosure_url"
    assert asked(workspace.database, rows) == [(3,)]
    assert asked(workspace.database, IS_WITHOUT_ROWID) == [(0,)]
    feed_server.publish(4, 3, 2, 1)
    assert feedwatch.once().status == 0
    assert asked(workspace.database, IS_WITHOUT_ROWID) == [(1,)]
    assert len(sandbox.submissions) == 3
    after = all_that_is_said(feedwatch)
    assert after[0][1:] == before[0]
    assert after[1][1:] == before[1]
    assert after[2].startswith(before[2])


@sqlite_only
def test_an_upgrade_that_ends_half_way_has_changed_nothing(tmp_path: Path, path: Path) -> None:
    with closing(opened(path)) as store:
        store.feeds.sync([SOURCE], {"show": NOW})
        admit(store, 1, 2)
    take_back(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "create trigger halt before update of seen_url on episodes when old.id = 2 "
            "begin select raise(abort, 'no further'); end"
        )
    before = [asked(path, f"select * from {table}") for table in ("identities", "episodes")]
    schema = asked(path, SCHEMA)
    with pytest.raises(StoreError, match="no further"):
        opened(path)
    after = [asked(path, f"select * from {table}") for table in ("identities", "episodes")]
    assert (after, asked(path, SCHEMA)) == (before, schema)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("drop trigger halt")
    with closing(opened(path)) as store:
        assert store.episodes.keys(2) == [Key.parse("guid:2")]


@sqlite_only
def test_a_database_by_the_migrations_has_the_same_parts_as_one_that_is_made_at_once(
    tmp_path: Path, path: Path
) -> None:
    opened(path).close()
    made = tmp_path / "made.db"
    engine = connect(f"sqlite:///{made}")
    metadata.create_all(engine)
    engine.dispose()
    for query in (SCHEMA, IS_WITHOUT_ROWID):
        assert asked(path, query) == asked(made, query)


@pytest.fixture
def path(tmp_path: Path, both_databases: str) -> Path:
    return tmp_path / "feedwatch.db"


def known(store: Store, number: int) -> KnownEpisode:
    (feed,) = store.feeds.all()
    return store.checks.known(feed.id, [Key.parse(f"guid:{number}")])[Key.parse(f"guid:{number}")]


def test_what_the_feed_has_stays_where_an_episode_gets_another_address(store: Store) -> None:
    (one,) = admit(store, 1)
    before = claim(store)
    assert before is not None
    other = replace(before, enclosure_url=audio(9))
    assert store.episodes.save(before, other, NOW) is not None
    assert store.episodes.address_in_feed(one.id) == one.enclosure_url
    assert known(store, 1).enclosure_url == one.enclosure_url
    again = store.episodes.get(one.id)
    assert again is not None
    assert store.episodes.save(again, replace(again, enclosure_url=audio(8)), NOW) is not None
    assert store.episodes.address_in_feed(one.id) == one.enclosure_url


@pytest.mark.parametrize("state", ["skipped", "queued"])
def test_an_episode_is_known_by_the_address_that_the_feed_has_now(store: Store, state: str) -> None:
    (one,) = admit(store, 1, state=state)
    (feed,) = store.feeds.all()
    moved = replace(known(store, 1), enclosure_url=audio(2))
    assert store.checks.record(feed, [], {}, NOW, [moved]) == []
    assert known(store, 1) == moved
    assert store.episodes.address_in_feed(one.id) == audio(2)
    after = store.episodes.get(one.id)
    assert after is not None
    assert after.enclosure_url == (audio(2) if state == "skipped" else one.enclosure_url)


def test_the_keys_of_some_episodes_are_those_of_no_other(store: Store) -> None:
    one, two, three = admit(store, 1, 2, 3)
    (feed,) = store.feeds.all()
    assert store.checks.record(feed, [], {Key.parse("file:x"): two.id}, NOW) == []
    assert store.episodes.keys(two.id) == [Key.parse("file:x"), Key.parse("guid:2")]
    assert store.episodes.keys(one.id) == [Key.parse("guid:1")]
    assert store.episodes.keys(three.id + 1) == []
