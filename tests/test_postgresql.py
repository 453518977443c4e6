"""PostgreSQL: how it is connected to, what its errors advise, and the lease of its one daemon."""

import signal
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Barrier

import pytest
from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from feedwatch.core.circuit_breaker import paused
from feedwatch.core.episode import Episode, State
from feedwatch.core.episode_lifecycle import claimed
from feedwatch.core.health import Use
from feedwatch.core.identity import Key
from feedwatch.core.ledger import Outcome
from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.server import Sandbox
from feedwatch.store import lease as leases
from feedwatch.store import postgresql as settings
from feedwatch.store.checks import NewEpisode
from feedwatch.store.claims import Intent
from feedwatch.store.database import connect, reading
from feedwatch.store.episodes import move_episode
from feedwatch.store.errors import StoreError
from feedwatch.store.following import Moved
from feedwatch.store.imports import Comparison
from feedwatch.store.store import Store
from tests.databases import PASSWORD, USER, Server
from tests.support import Beside, FeedServer, Feedwatch, Workspace, wait_for
from tests.test_ledger import claim_of
from tests.test_store import NOW, POLICY, SOURCE, TARGET, admit, claim, claim_result, new_episode

NEVER_ANSWERED = Fault(on="submit", kind="hang_after", seconds=1000)


@pytest.fixture
def url(postgresql: Server, tmp_path: Path) -> Iterator[str]:
    """Of a database with all tables, by the socket."""
    yield postgresql.url_of(tmp_path / "feedwatch.db")
    postgresql.drop_all()


@pytest.fixture
def name(url: str) -> str:
    """Of that database."""
    return url.partition("@/")[2].partition("?")[0]


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with closing(Store(url, processor="inlet", may_create=True)) as store:
        store.feeds.sync([SOURCE], {"show": NOW})
        yield store


def alone(url: str) -> "closing[Store]":
    return closing(Store(url, processor="inlet", may_create=True, alone=True))


# Connecting


@pytest.mark.parametrize("default", ["serializable", "repeatable\\ read"])
def test_settings_are_of_the_transaction_whatever_the_role_has(url: str, default: str) -> None:
    engine = connect(f"{url}&options=-c default_transaction_isolation={default}")

    def shown(what: str) -> str:
        return str(db.exec_driver_sql(f"show {what}").scalar())

    with engine.begin() as db:
        assert shown("transaction_isolation") == "read committed"
        assert shown("lock_timeout") == "10s"
        assert shown("statement_timeout") == "1min"
        assert shown("synchronous_commit") == "on"  # the tests' server has it off
        assert shown("idle_in_transaction_session_timeout") == "30s"
    with reading(engine) as db:
        assert shown("transaction_isolation") == "repeatable read"
        assert shown("transaction_read_only") == "on"
        assert shown("lock_timeout") == "10s"
    engine.dispose()


def test_what_only_reads_sees_one_moment(store: Store) -> None:
    with reading(store._engine) as db:
        before = db.exec_driver_sql("select count(*) from episodes").scalar()
        admit(store, 1)
        assert db.exec_driver_sql("select count(*) from episodes").scalar() == before == 0


def test_no_statement_is_prepared_and_no_setting_stays(store: Store) -> None:
    for _ in range(20):
        store.feeds.all()
    with store._engine.connect() as db:
        assert db.exec_driver_sql("select count(*) from pg_prepared_statements").scalar() == 0
    with closing(store._engine.raw_connection()) as connection:
        cursor = connection.cursor()
        cursor.execute("show lock_timeout")
        assert cursor.fetchone() == ("0",)


def test_the_url_may_name_several_hosts_and_other_time_limits(
    postgresql: Server, name: str
) -> None:
    where = f"host=127.0.0.1:1&host=127.0.0.1:{postgresql.port}&connect_timeout=9"
    engine = connect(
        f"postgresql://{USER}:{PASSWORD}@/{name}?{where}&target_session_attrs=read-write"
    )
    with closing(engine.raw_connection()) as connection:
        given = connection.driver_connection.info.get_parameters()  # type: ignore[union-attr]
    engine.dispose()
    assert given["connect_timeout"] == "9"
    assert (given["tcp_user_timeout"], given["keepalives_idle"]) == ("15000", "5")


def test_text_with_a_nul_is_kept_without_it(store: Store) -> None:
    (before,) = admit(store, 1)
    after = replace(before, reason="a\0b", remote_status="\0", ad_removal_markers=[{"a": "\0"}])
    assert store.episodes.save(before, after, NOW) is not None
    kept = store.episodes.get(before.id)
    assert kept is not None
    assert (kept.reason, kept.remote_status) == ("a\ufffdb", "\ufffd")
    assert store.episodes.history(before.id)[-1].reason in ("a\ufffdb", "new")


def test_a_media_id_that_is_just_being_given_to_one_episode_is_given_to_no_other(
    store: Store, postgresql: Server
) -> None:
    first, second = admit(store, 1, 2)
    waits = "select 1 from pg_stat_activity where wait_event_type = 'Lock'"
    with ThreadPoolExecutor(1) as thread:
        with store._engine.begin() as db:
            assert move_episode(db, first, replace(first, media_id="m"), NOW) is not None
            later = thread.submit(store.episodes.save, second, replace(second, media_id="m"), NOW)
            wait_for(lambda: postgresql.execute(waits))
        assert later.result() is None


def test_a_pause_waits_for_a_claim_that_is_being_made_so_none_comes_after_it(
    store: Store, postgresql: Server
) -> None:
    admit(store, 1)
    waits = "select 1 from pg_stat_activity where wait_event_type = 'Lock'"
    with ThreadPoolExecutor(1) as thread:

        def pausing_meanwhile(episode: Episode) -> Intent:
            pause = partial(paused, by="somebody", now=NOW)
            later = thread.submit(store.breakers.change, "inlet", pause)
            wait_for(lambda: postgresql.execute(waits) or later.done())
            assert not later.done()
            return Intent(claimed(episode, TARGET.id, NOW), TARGET)

        assert store.claims.claim("inlet", NOW, POLICY, pausing_meanwhile).episode is not None
    assert store.breakers.get("inlet").paused


def test_an_import_waits_for_a_check_that_admits_episodes_and_finds_them(
    store: Store, postgresql: Server
) -> None:
    """Else neither finds the other's, and the job of a paid episode is followed no more."""
    (feed,) = store.feeds.all()
    new = NewEpisode(episode=new_episode(1), keys=[Key.parse("guid:1")], title_key="")
    paid = claim_of("guid:1", feed="show", target=TARGET, media_id="m", outcome=Outcome.ACCEPTED)
    waits = "select 1 from pg_stat_activity where wait_event_type = 'Lock'"
    imports: list[Future[Comparison]] = []
    with ThreadPoolExecutor(1) as thread:

        def beside(_db: Connection, _new: object) -> list[Moved]:
            feeds_of, apis = {TARGET.id: ["show"]}, {TARGET.processor: TARGET.api}
            imports.append(
                thread.submit(store.imports.take_over, [paid], feeds_of, NOW, POLICY, apis)
            )
            wait_for(lambda: postgresql.execute(waits))
            return []

        assert store.checks.record(feed, [new], {}, NOW, paid=beside) is not None
        done = imports[0].result().done
    assert (done.imported, done.unmet) == (1, 0)
    (episode,) = store.episodes.find()
    assert (episode.state, episode.media_id) == (State.PROCESSING, "m")


# Errors


def advice(url: str) -> str:
    with pytest.raises(StoreError) as told:
        Store(url, processor="inlet", may_create=True)
    assert PASSWORD not in str(told.value)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_what_to_do_about_a_connection_that_fails(postgresql: Server, name: str) -> None:
    there = f"127.0.0.1:{postgresql.port}"
    for login in (f"{USER}:wrong", USER, f"nobody:{PASSWORD}"):
        assert settings.ACCESS in advice(f"postgresql+psycopg://{login}@{there}/{name}")
    assert settings.ACCESS in advice(f"postgresql+psycopg://{USER}:{PASSWORD}@{there}/none")
    for host in ("127.0.0.1:1", "no-such-host.invalid"):
        assert settings.ADVICE["08"] in advice(f"postgresql+psycopg://{USER}@{host}/{name}")


def test_what_to_do_about_a_database_that_cannot_be_written(
    postgresql: Server, url: str, name: str
) -> None:
    read_only = f"{url}&options=-c default_transaction_read_only=on"
    assert "target_session_attrs=read-write" in advice(read_only)
    postgresql.execute("DROP ROLE IF EXISTS guest")
    postgresql.execute("CREATE ROLE guest LOGIN")
    assert "give this user the right" in advice(url.replace(f"{USER}@", "guest@"))


def test_a_lock_that_is_kept_is_told_after_the_time_limit(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried = str(settings.BEGIN).replace("10s", "20ms")
    monkeypatch.setattr(settings, "BEGIN", text(hurried))
    with store._engine.begin() as db:
        db.exec_driver_sql("lock table gates")
        with pytest.raises(StoreError, match="another program keeps it locked"):
            store.breakers.get("inlet")


def test_each_error_of_the_database_is_a_store_error_but_a_broken_constraint(store: Store) -> None:
    for statement in ("select 1/0", "select nothing", "nonsense", "select 'x'::int"):
        with pytest.raises(StoreError, match="see what it says"), store._engine.begin() as db:
            db.exec_driver_sql(statement)
    with pytest.raises(IntegrityError), store._engine.begin() as db:
        db.exec_driver_sql("insert into gates select * from gates")


def test_a_connection_that_was_cut_is_made_anew(
    store: Store, postgresql: Server, name: str
) -> None:
    cut = f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"
    with store._engine.connect() as db:
        db.exec_driver_sql("select 1")
        postgresql.execute(cut)
        with pytest.raises(StoreError, match="it is tried again"):
            db.exec_driver_sql("select 1")
    assert len(store.feeds.all()) == 1


@pytest.mark.parametrize("rest", ["fw:p@ss/1@127.0.0.1:5432/fw", "p@ss@127.0.0.1/fw"])
def test_a_password_that_is_not_encoded_is_told_and_not_shown(rest: str) -> None:
    with pytest.raises(StoreError, match="an @ too many; in a password @ : / are written") as told:
        connect(f"postgresql+psycopg://feedwatch:{rest}")
    assert "ss" not in str(told.value).replace("password", "")


def test_a_url_that_names_no_database_is_refused() -> None:
    for url in ("postgresql://u:p@127.0.0.1", "postgresql+psycopg://u@127.0.0.1:5432/"):
        with pytest.raises(StoreError, match="it names no database"):
            connect(url)
    connect("postgresql://?service=feedwatch").dispose()


def test_another_driver_and_a_missing_one_are_told(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "there is only postgresql+psycopg://" in advice(url.replace("+psycopg:", "+psycopg2:"))
    for module in [one for one in sys.modules if one.partition(".")[0] == "psycopg"]:
        monkeypatch.setitem(sys.modules, module, None)
    assert "pip install 'feedwatch[postgres]', or" in advice(url)


# Starting


def test_three_that_start_at_once_on_an_empty_database_make_the_tables_once(
    postgresql: Server, tmp_path: Path
) -> None:
    postgresql.execute("DROP DATABASE IF EXISTS fresh")
    postgresql.execute("CREATE DATABASE fresh")
    together = Barrier(3)

    def start(_: int) -> str:
        together.wait()
        with closing(Store(postgresql.url("fresh"), processor="inlet", may_create=True)) as store:
            return store.claims.database_id().id

    with ThreadPoolExecutor(3) as threads:
        assert len(set(threads.map(start, range(3)))) == 1
    postgresql.execute("DROP DATABASE fresh WITH (FORCE)")


def test_who_waits_for_anothers_migration_says_so(
    postgresql: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    postgresql.execute("DROP DATABASE IF EXISTS waited")
    postgresql.execute("CREATE DATABASE waited")
    engine = connect(postgresql.url("waited"))
    with ThreadPoolExecutor(1) as thread:
        with engine.begin() as db:
            settings.await_migration(db)
            start = thread.submit(Store, postgresql.url("waited"), processor="i", may_create=True)
            wait_for(lambda: "waiting until another feedwatch has migrated" in caplog.text)
            assert not start.done()
        start.result().close()
    engine.dispose()
    postgresql.execute("DROP DATABASE waited WITH (FORCE)")


# The lease


def expire(postgresql: Server, name: str) -> None:
    """Let half a minute pass without a renewal, or a sign of life."""
    postgresql.execute("update leaders set until = now() - interval '1 second'", name)
    postgresql.execute("update daemons set seen_at = now() - interval '31 seconds'", name)


@pytest.fixture
def renewed_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEWED_EVERY", 0.05)
    monkeypatch.setattr(leases, "TRIED_EVERY", 0.2)


def test_a_second_one_is_refused_by_name_and_the_next_one_has_a_higher_term(
    url: str, renewed_often: None
) -> None:
    with alone(url) as first:
        assert first.use() is Use.OPEN
        with pytest.raises(StoreError, match=r"another feedwatch \(process \d+ on .+\) runs on"):
            alone(url)
        term = first.term()
        assert term is not None
    with closing(Store(url, processor="inlet")) as looking:
        assert looking.use() is Use.NONE
    with alone(url) as second:
        assert second.term() == term + 1


def test_a_lease_that_nobody_renews_is_waited_for(
    url: str, postgresql: Server, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with alone(url) as first:
        first._lease._ended.set()  # type: ignore[union-attr] # the process hangs
        with ThreadPoolExecutor(1) as thread:
            next_one = thread.submit(alone, url)
            wait_for(lambda: "waiting until the lease of" in caplog.text)
            expire(postgresql, name)
            with next_one.result() as second:
                assert second.use() is Use.OPEN


def test_who_was_deposed_claims_nothing_and_knows_it(
    url: str, postgresql: Server, name: str, renewed_often: None
) -> None:
    with alone(url) as first:
        first.begin_term()
        first.feeds.sync([SOURCE], {"show": NOW})
        admit(first, 1, 2)
        made = claim_result(first).claim
        assert made is not None
        assert made.term == first.term() == 1
        postgresql.execute("update leaders set holder = 'b/1/x', term = term + 1", name)
        with pytest.raises(StoreError, match="another feedwatch has taken it over"):
            claim(first)
        wait_for(lambda: first.term() is None)
        assert len(first.claims.latest(9)) == 1
    (held_by,) = postgresql.execute("select holder, term from leaders", name)
    assert held_by == ("b/1/x", 2)  # not given back by who did not have it


def test_one_that_has_run_out_is_renewed_if_nobody_has_taken_it(
    url: str, postgresql: Server, name: str
) -> None:
    with alone(url) as store:
        store.begin_term()
        store.feeds.sync([SOURCE], {"show": NOW})
        admit(store, 1)
        expire(postgresql, name)
        assert store.use() is Use.NONE
        with pytest.raises(StoreError, match="has run out"):
            claim(store)
        store._lease.renew()  # type: ignore[union-attr]
        assert claim(store) is not None
        assert store.term() == 1


def test_nobody_is_elected_between_the_look_at_the_lease_and_the_claims_commit(
    url: str, postgresql: Server, name: str
) -> None:
    with alone(url) as store:
        store.begin_term()
        with store._engine.begin() as claiming:
            store._lease.require(claiming)  # type: ignore[union-attr]
            with pytest.raises(LockNotAvailable):
                postgresql.execute("select 1 from leaders for update nowait", name)
        postgresql.execute("select 1 from leaders for update nowait", name)


def test_a_start_that_fails_gives_the_lease_back(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StoreError("no")

    with monkeypatch.context() as patch:
        patch.setattr("feedwatch.store.store.upgrade", fail)
        with pytest.raises(StoreError, match="no"):
            alone(url)
    with alone(url) as store:
        assert store.use() is Use.OPEN


# The whole


def test_a_daemon_that_is_killed_after_its_claim_leaves_it_in_doubt_for_the_next_one(
    feedwatch: Feedwatch,
    workspace: Workspace,
    sandbox: Sandbox,
    feed_server: FeedServer,
    postgresql: Server,
    url: str,
    name: str,
) -> None:
    workspace.set(DATABASE_URL=url)
    sandbox.faults.add(NEVER_ANSWERED)
    first = feedwatch.start("run")
    first.until(lambda: sandbox.submissions, "a submission")
    assert feedwatch.here("healthcheck").status == 0
    second = feedwatch.here("run", "--once")
    assert second.status == 1
    assert f"another feedwatch (process {first.pid} on" in second.stderr
    assert feedwatch.here("pause").status == 0
    assert feedwatch.here("resume").status == 0
    first.stop(signal.SIGKILL)
    assert feedwatch.states() == {"guid-1": "submitting"}
    expire(postgresql, name)
    assert "not running" in feedwatch.here("healthcheck").stderr
    again = feedwatch.start("run")
    again.until(lambda: feedwatch.states() == {"guid-1": "unknown"}, "the doubt")
    assert feedwatch.here("retry", str(feedwatch.episode()["id"]), "--yes").status == 0
    again.until(lambda: feedwatch.states() == {"guid-1": "ready"}, "its end")
    assert again.stop().status == 0
    assert "not running" in feedwatch.here("healthcheck").stderr
    assert len(sandbox.submissions) == 2


def test_a_deposed_daemon_checks_feeds_and_leads_again_once_nobody_does(
    feedwatch: Feedwatch,
    workspace: Workspace,
    sandbox: Sandbox,
    feed_server: FeedServer,
    postgresql: Server,
    url: str,
    name: str,
    renewed_often: None,
) -> None:
    workspace.set(DATABASE_URL=url, CHECK_INTERVAL="1s", FIRST_RUN="all")
    taken = "update leaders set holder = 'b/1/x', term = term + 1, until = now() + interval '55 s'"
    episodes = "select state from episodes order by id"

    def act(running: Beside) -> None:
        running.until(lambda: "ready after" in running.stderr, "its start")
        running.until(lambda: len(sandbox.submissions) == 1, "the first submission")
        postgresql.execute(taken, name)
        running.until(lambda: "another feedwatch has taken over" in running.stderr, "the notice")
        feed_server.publish(2)
        running.until(lambda: len(postgresql.execute(episodes, name)) == 2, "the check")
        assert len(sandbox.submissions) == 1
        postgresql.execute("update leaders set holder = null", name)
        running.until(lambda: "leads from now on, in term 3" in running.stderr, "the election")
        running.until(lambda: len(sandbox.submissions) == 2, "the second submission")

    feed_server.publish(1)
    assert feedwatch.while_it_runs(["run"], act).status == 0
    assert postgresql.execute("select term from claims order by number", name) == [(1,), (3,)]
