"""From feedwatch 0.1, which only counted its claims, to the ledger and its journal."""

import json
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command

from feedwatch.core.ledger import Outcome
from feedwatch.core.pipeline import Step
from feedwatch.sandbox.server import Sandbox
from feedwatch.store.database import connect
from feedwatch.store.errors import StoreError
from feedwatch.store.journal import Journal
from feedwatch.store.lock import FileLock, lock_path
from feedwatch.store.store import Store
from tests.databases import migrate
from tests.support import PODCAST, FeedServer, Feedwatch, Workspace, audio
from tests.test_store import opened

IMPRINT = "0e2c3f5e-7c55-4b5e-9d0e-3d1f0c2b7a10"
LAST_REVISION = "0005"  # of feedwatch 0.1
KEPT = 1000  # claims that the journal has after the upgrade, at most


def old_database(path: Path, count: int, url: str, state: str = "ready", claims: int = 0) -> None:
    """A database of feedwatch 0.1 with `count` episodes that were submitted."""
    engine = connect(f"sqlite:///{path}")
    with engine.begin() as connection:
        migrate(connection, command.upgrade, LAST_REVISION)
    engine.dispose()
    numbers = range(1, count + 1)
    media_ids = (None if state in ("submitting", "unknown") else f"m-{n}" for n in numbers)
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("insert into imprint values (?, ?)", (IMPRINT, claims or count))
        file.execute(
            "insert into feeds (name, url, active, paused, shown, failures, baseline_at) "
            "values ('show', ?, true, false, 1, 0, '2026-01-01 00:00:00')",
            (url,),
        )
        file.executemany(
            "insert into episodes (feed_id, guid, title, description, enclosure_url, state, "
            "title_key, seen_url, first_seen_at, attempts, deferrals, remote_stood, overdue, "
            "podcast_id, media_id, processed_url, submitted_at, version) values (1, ?, ?, '', ?, "
            "?, ?, ?, '2026-01-02', 1, 0, 0, false, ?, ?, 'https://m.example/', ?, 1)",
            (
                (
                    *(f"guid-{n}", f"Episode {n}", audio(n), state, f"episode {n}"),
                    *(audio(n), PODCAST, media_id),
                    f"2026-01-02 {n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}.000000",
                )
                for n, media_id in zip(numbers, media_ids, strict=True)
            ),
        )
        file.executemany(
            "insert into identities (feed_id, key, episode_id) values (1, ?, ?)",
            ((f"guid:guid-{n}", n) for n in numbers),
        )
        file.execute(
            "insert into history (episode_id, at, state) select id, submitted_at, state "
            "from episodes"
        )


def test_the_copy_before_an_upgrade_is_for_its_owner_alone(
    feedwatch: Feedwatch, workspace: Workspace, feed_server: FeedServer
) -> None:
    old_database(workspace.database, 1, feed_server.url)
    workspace.database.chmod(0o644)
    before = os.umask(0)
    try:
        assert feedwatch.once("--timeout", "0").status == 0
    finally:
        os.umask(before)
    (copy,) = workspace.folder.glob("*.before-upgrade-*.bak")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def mark(workspace: Workspace, claims: int) -> list[Path]:
    """The markers of feedwatch 0.1."""
    markers = [
        workspace.config.with_name("config.env.marker"),
        workspace.database.with_name("feedwatch.db.marker"),
    ]
    for marker in markers:
        content = {"database": IMPRINT, "claims": claims}
        marker.write_text(json.dumps(content), encoding="utf-8")
    return markers


def alarms(workspace: Workspace) -> list[str]:
    """The events about the database that no channel has taken, which none does here."""
    with closing(sqlite3.connect(workspace.database)) as db:
        bodies = [row[0] for row in db.execute("select body from outbox")]
    return [body for body in bodies if "database.restored" in body]


@pytest.mark.parametrize("count", [0, 1, 200, pytest.param(10_000, marks=pytest.mark.long)])
def test_an_upgrade_says_nothing_and_holds_nothing_also_of_the_same_copy_twice(
    feedwatch: Feedwatch,
    workspace: Workspace,
    sandbox: Sandbox,
    feed_server: FeedServer,
    count: int,
) -> None:
    workspace.set(FEEDS__SHOW__FIRST_RUN="all", NOTIFY_COMMAND="false")
    old_database(workspace.database, count, feed_server.url)
    copy = workspace.database.read_bytes()
    journal = Journal([workspace.folder / "config.env.claims"])
    for _ in range(2):
        markers = mark(workspace, count)
        upgraded = feedwatch.once()
        assert upgraded.status == 0, upgraded.stderr
        assert " ERROR " not in upgraded.stderr
        assert set(feedwatch.states().values()) == {"ready"}
        assert alarms(workspace) == []
        assert not [marker for marker in markers if marker.exists()]
        assert len(journal.read()) >= min(count, KEPT)
        if count == 0:
            break  # the first run of anything at all: the copy is older than what it paid
        for pattern in ("feedwatch.db-*", "*.bak"):  # a second copy may have the same second's name
            for path in workspace.folder.glob(pattern):
                path.unlink()
        workspace.database.write_bytes(copy)
    assert len(sandbox.submissions) == (count == 0)


def test_a_copy_that_is_older_than_the_marker_is_held(
    feedwatch: Feedwatch, workspace: Workspace, sandbox: Sandbox, feed_server: FeedServer
) -> None:
    workspace.set(FEEDS__SHOW__FIRST_RUN="all", NOTIFY_COMMAND="false")
    old_database(workspace.database, 1, feed_server.url)
    markers = mark(workspace, 2)
    feed_server.publish(2, 1)
    upgraded = feedwatch.once()
    assert upgraded.status == 4
    assert "no journal has it" in upgraded.stderr
    assert feedwatch.states() == {"guid-2": "held", "guid-1": "ready"}
    assert len(alarms(workspace)) == 1
    assert not [marker for marker in markers if marker.exists()]
    assert sandbox.submissions == []


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("ready", Outcome.ACCEPTED),
        ("processing", Outcome.ACCEPTED),
        ("failed", Outcome.ACCEPTED),  # it has a media id, so it was paid for
        ("submitting", Outcome.OPEN),
        ("unknown", Outcome.UNKNOWN),
    ],
)
def test_an_old_episode_gets_the_same_claim_each_time_by_its_state(
    tmp_path: Path, state: str, outcome: Outcome
) -> None:
    claims = []
    for name in ("one.db", "two.db"):
        old_database(tmp_path / name, 2, "https://h.example/feed", state, claims=7)
        store = opened(tmp_path / name)
        claims.append(store.claims.latest(9))
        assert store.claims.database_id().claims == 7, "new numbers start above the old count"
        store.close()
    assert claims[0] == claims[1]
    assert [(one.number, one.outcome, one.episode_id) for one in claims[0]] == [
        (1, outcome, 1),
        (2, outcome, 2),
    ]
    assert all(one.keys for one in claims[0])


@pytest.mark.parametrize(
    ("state", "ended"), [("ready", ["done"]), ("failed", ["failed"]), ("processing", [])]
)
def test_jobs_from_before_there_were_steps_are_of_the_step_ads(
    tmp_path: Path, state: str, ended: list[str]
) -> None:
    path = tmp_path / "a.db"
    old_database(path, 2, "https://h.example/feed", state)
    engine = connect(f"sqlite:///{path}")
    with engine.begin() as connection:
        migrate(connection, command.upgrade, "0015")
    engine.dispose()
    store = opened(path)
    episode = store.episodes.get(2)
    assert episode is not None
    assert (episode.step, episode.source_url, episode.claim) == (Step.ADS, None, 2)
    claim = store.claims.of(episode)
    assert claim is not None
    assert claim.media_id == episode.media_id == "m-2"
    found = store.episodes.ended_steps(2)
    assert [one.outcome.value for one in found] == ended
    assert [(one.job_id, one.claim, one.processor) for one in found] == [
        ("m-2", 2, "inlet") for _ in ended
    ]
    assert [one.step for one in store.episodes.history(2)] == [None]
    store.close()


def test_a_verb_of_a_newer_version_migrates_nothing_under_a_running_daemon(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    old_database(path, 1, "https://h.example/feed.xml")
    daemon = FileLock(lock_path(path.resolve()))
    daemon.note(path)
    url = f"sqlite:///{path}"
    with closing(sqlite3.connect(path)) as database:
        before = database.execute("SELECT version_num FROM alembic_version").fetchone()
        with pytest.raises(StoreError, match="a daemon of an older feedwatch has the database"):
            Store(url, processor="inlet", may_create=True)
        after = database.execute("SELECT version_num FROM alembic_version").fetchone()
    assert before == after
    assert list(tmp_path.glob("*.bak")) == []
    daemon.release()
    Store(url, processor="inlet", may_create=True).close()
    with closing(Store(url, processor="inlet", may_create=True, alone=True)):
        Store(url, processor="inlet", may_create=True).close()
