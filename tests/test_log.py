"""`log`: what happened, and what happens, each entry once."""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert

from feedwatch.core.episode import Event
from feedwatch.store.history_tail import LONGEST, HistoryTail
from feedwatch.store.schema import history
from feedwatch.store.store import Store
from tests.databases import POSTGRESQL, Server, sqlite_only
from tests.support import PATIENCE, Beside, FeedServer, Feedwatch, Workspace
from tests.test_store import NOW, admit, opened

postgresql_only = pytest.mark.parametrize("both_databases", [POSTGRESQL], indirect=True)


def write(db: Connection, reason: str, at: datetime = NOW) -> None:
    """An entry of the history of the first episode."""
    values = {"episode_id": 1, "at": at, "previous": "queued", "state": "held", "step": "ads"}
    db.execute(insert(history).values(reason=reason, **values))


def happen(store: Store, *reasons: str, at: datetime = NOW) -> None:
    with store._engine.begin() as db:
        for reason in reasons:
            write(db, reason, at)


def reasons(events: list[Event]) -> list[str | None]:
    return [one.entry.reason for one in events]


@pytest.fixture(autouse=True)
def _looks_are_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feedwatch.cli.log.LOOK_SECONDS", 0.05)


# The history's end


def test_each_look_gives_what_is_new_oldest_first_and_once(store: Store) -> None:
    admit(store, 1)
    tail = HistoryTail(store.listings, 0)
    assert reasons(tail.look(store.listings, 1).events) == []
    happen(store, "a", "b")
    assert reasons(tail.look(store.listings, 2).events) == ["a", "b"]
    assert reasons(tail.look(store.listings, 3).events) == []
    assert reasons(tail.look(store.listings, 4 + LONGEST).events) == []
    happen(store, "c")
    assert reasons(tail.look(store.listings, 5 + 2 * LONGEST).events) == ["c"]
    assert len(tail._end.ids) == 1  # what cannot change any more is not looked at again
    assert reasons(tail.look(store.listings, 6 + 2 * LONGEST, feed="other").events) == []


@postgresql_only
def test_an_entry_that_is_committed_after_a_later_one_is_not_missed(store: Store) -> None:
    admit(store, 1)
    tail = HistoryTail(store.listings, 0)
    with store._engine.begin() as slow:
        write(slow, "slow")
        happen(store, "quick")
        assert reasons(tail.look(store.listings, 1).events) == ["quick"]
        meanwhile = HistoryTail(store.listings, 1)
    assert reasons(tail.look(store.listings, 2).events) == ["slow"]
    assert reasons(meanwhile.look(store.listings, 2).events) == ["slow"]
    assert reasons(tail.look(store.listings, 3).events) == []


@postgresql_only
def test_an_id_that_was_taken_back_hides_nothing(store: Store) -> None:
    admit(store, 1)
    tail = HistoryTail(store.listings, 0)
    with store._engine.connect() as db:
        write(db, "never")
        db.rollback()
    happen(store, "a")
    assert reasons(tail.look(store.listings, 1).events) == ["a"]


@sqlite_only
def test_after_an_older_copy_was_put_back_only_what_is_new_is_given(
    store: Store, tmp_path: Path
) -> None:
    admit(store, 1)
    happen(store, "before", at=NOW + timedelta(seconds=1))
    tail = HistoryTail(store.listings, 0)
    store.upkeep.back_up(tmp_path / "copy.db")
    happen(store, "lost", at=NOW + timedelta(seconds=2))
    assert reasons(tail.look(store.listings, 1).events) == ["lost"]
    with closing(opened(tmp_path / "copy.db")) as copy:
        happen(copy, "after", at=NOW + timedelta(seconds=3))
        new = tail.look(copy.listings, 2)
        assert (reasons(new.events), new.is_replaced) == (["after"], True)
        happen(copy, "later", at=NOW + timedelta(seconds=4))
        new = tail.look(copy.listings, 3)
        assert (reasons(new.events), new.is_replaced) == (["later"], False)
        assert not tail.look(copy.listings, 4).is_replaced


@sqlite_only
def test_what_is_deleted_is_no_news(store: Store) -> None:
    admit(store, 1)
    happen(store, "a")
    tail = HistoryTail(store.listings, 0)
    with store._engine.begin() as db:
        db.execute(history.delete().where(history.c.id == 1))
    assert reasons(tail.look(store.listings, 1).events) == []
    happen(store, "b")
    assert reasons(tail.look(store.listings, 2).events) == ["b"]


# The verb


def test_log_shows_what_happened_newest_last(feedwatch: Feedwatch, feed_server: FeedServer) -> None:
    assert feedwatch.here("log").stdout == "Nothing has happened yet.\n"
    assert feedwatch.json("log") == []
    feedwatch.once()
    lines = feedwatch.here("log").stdout.splitlines()
    assert "  show  1 " in lines[0]
    assert "new → queued: " in lines[0]
    assert "processing → ready" in lines[-1]
    assert feedwatch.here("log", "--limit", 1).stdout.splitlines() == lines[-1:]
    assert feedwatch.here("log", "--feed", "SHOW").stdout.splitlines() == lines
    assert feedwatch.here("log", "--feed", "other").status == 2
    documents = feedwatch.json("log")
    assert [line.partition(" ")[0] for line in lines] == [one["at"] for one in documents]
    assert documents == sorted(documents, key=lambda one: one["id"])
    assert documents[0]["previous"] is None
    assert documents[-1].keys() == {
        *("id", "episode", "feed", "title", "previous"),
        *("at", "state", "reason", "actor", "step"),
    }
    feedwatch.here("retry", "--again", 1, "--yes")
    assert "ready → queued" in (last := feedwatch.here("log").stdout.splitlines()[-1])
    assert last.endswith("]")  # a person's decision says whose


@contextmanager
def beside(workspace: Workspace) -> Iterator[Store]:
    """The database of a feedwatch that follows it."""
    url = f"sqlite:///{workspace.database}"
    with closing(Store(url, processor="inlet")) as store:
        yield store


def test_what_happened_to_many_episodes_at_once_is_one_line(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace
) -> None:
    workspace.set(FEEDS__SHOW__FIRST_RUN="none")
    feed_server.publish(*range(1, 6))
    feedwatch.once("--timeout", 0)
    (line,) = feedwatch.here("log").stdout.splitlines()
    assert "  show  5 episodes  new → " in line
    assert len(feedwatch.json("log")) == 5


def test_follow_goes_on_with_what_others_write_and_ends_well(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    feedwatch.once()
    past = feedwatch.here("log").stdout

    def act(running: Beside) -> None:
        def has(text: str) -> bool:
            return text in running.stdout

        running.until(lambda: running.stdout == past, what="the past")
        with beside(workspace) as store:
            for reason in ("one", "two"):
                happen(store, reason)
                running.until(partial(has, reason), what="what is new")

    ended = feedwatch.while_it_runs(["log", "--follow"], act)
    assert (ended.status, ended.stderr) == (0, "")
    new = ended.stdout.removeprefix(past).splitlines()
    assert [line.rpartition(": ")[2] for line in new] == ["one", "two"]


def test_follow_with_json_writes_an_object_a_line(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    feedwatch.once()
    past = feedwatch.json("log")

    def act(running: Beside) -> None:
        with beside(workspace) as store:
            happen(store, "just now")
        running.until(lambda: "just now" in running.stdout, what="what is new")

    ended = feedwatch.while_it_runs(["log", "--follow", "--json", "--limit", 2], act)
    assert ended.status == 0
    documents = [json.loads(line) for line in ended.stdout.splitlines()]
    assert documents[:-1] == past[-2:] or documents[:-1] == past[-1:]
    assert documents[-1]["reason"] == "just now"


def test_follow_waits_for_a_database_that_is_gone_or_replaced(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    feedwatch.once()
    aside, copy = workspace.folder / "aside.db", workspace.folder / "copy.db"
    with beside(workspace) as store:
        store.upkeep.back_up(copy)
        happen(store, "since the copy", at=datetime.now(UTC))

    def act(running: Beside) -> None:
        running.until(lambda: "since the copy" in running.stdout, what="the past")
        workspace.database.rename(aside)
        running.until(lambda: "there is no database" in running.stderr, what="a word of it")
        shutil.copy(copy, workspace.database)
        running.until(lambda: "an older copy" in running.stderr, what="a word of the copy")
        with beside(workspace) as store:
            happen(store, "after", at=datetime.now(UTC))
        running.until(lambda: "after" in running.stdout, what="what is new")

    ended = feedwatch.while_it_runs(["log", "--follow"], act)
    assert ended.status == 0
    assert ended.stderr.count("there is no database") == 1
    assert "the database answers again" in ended.stderr
    assert ended.stdout.count("processing → ready") == 1


def test_follow_ends_silently_once_nobody_reads_it(feedwatch: Feedwatch) -> None:
    feedwatch.once()
    command = shlex.join(feedwatch.command("log", "--follow"))
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -n 1"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
        env=feedwatch.environment(),
        cwd=os.curdir,
    )
    assert (done.stderr, done.stdout.count("\n")) == ("", 1)


@postgresql_only
def test_follow_survives_a_server_that_is_away_for_a_while(
    feedwatch: Feedwatch, workspace: Workspace, store: Store, postgresql: Server
) -> None:
    workspace.set(DATABASE_URL=store._engine.url.render_as_string(hide_password=False))
    admit(store, 1)
    name = store._engine.url.database

    def act(running: Beside) -> None:
        running.until(lambda: "new → queued" in running.stdout, what="the past")
        happen(store, "before")
        running.until(lambda: "before" in running.stdout, what="what is new")
        postgresql.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        try:
            postgresql.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                f"WHERE datname = '{name}' AND pid <> pg_backend_pid()"
            )
            running.until(lambda: "waiting for it" in running.stderr, what="a word of it")
        finally:
            postgresql.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        happen(store, "after")
        running.until(lambda: "after" in running.stdout, what="what is new")

    ended = feedwatch.while_it_runs(["log", "--follow"], act)
    assert ended.status == 0
    assert "the database answers again" in ended.stderr
    assert [ended.stdout.count(word) for word in ("queued", "before", "after")] == [3, 1, 1]
