"""Standbys of a PostgreSQL server: commits that they lack, and what `doctor` says of them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from feedwatch.cli.doctor_postgresql import postgresql_findings
from feedwatch.core.episode import State
from feedwatch.core.ledger import Outcome
from feedwatch.store.errors import StoreError
from feedwatch.store.replication import Replication, Standby, replication
from feedwatch.store.store import Store
from tests.databases import Server, own_server
from tests.support import Feedwatch, Workspace, wait_for
from tests.test_store import NOW, SOURCE, admit, claim

SERVER = Replication(
    in_recovery=False,
    synchronous_commit="on",
    synchronous_standby_names="",
    standbys=(),
    clock_offset=0.1,
)
ASYNCHRONOUS, SYNCHRONOUS = Standby("a", "async"), Standby("b", "quorum")


def opened(url: str) -> "closing[Store]":
    return closing(Store(url, processor="inlet", may_create=True))


@pytest.fixture
def url(postgresql: Server, tmp_path: Path) -> Iterator[str]:
    """Of a database with all tables, on the server of all tests."""
    yield postgresql.url_of(tmp_path / "feedwatch.db")
    postgresql.drop_all()


@pytest.fixture
def primary() -> Iterator[Server]:
    """A server of this test's own."""
    with own_server() as server:
        yield server


def wait_for_standbys(server: Server, names: str) -> None:
    """Have each commit of the server wait for standbys of these names."""
    server.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
    server.execute("SELECT pg_reload_conf()")
    wait_for(lambda: server.execute("SHOW synchronous_standby_names") == [(names,)])


# Commits


def test_a_claim_whose_commit_the_standby_lacks_is_not_sent(
    postgresql: Server, primary: Server, tmp_path: Path
) -> None:
    waits = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    with opened(primary.url_of(tmp_path / "feedwatch.db")) as store, ThreadPoolExecutor(1) as one:
        store.feeds.sync([SOURCE], {"show": NOW})
        (episode,) = admit(store, 1)
        wait_for_standbys(primary, "nobody")
        claiming = one.submit(claim, store)
        wait_for(lambda: primary.execute(f"SELECT pg_cancel_backend(pid) {waits}"))
        with pytest.raises(StoreError, match="see that a standby of synchronous_standby_names"):
            claiming.result()
        (made,) = store.claims.latest(9)
        assert made.outcome is Outcome.OPEN, "it ends in doubt, as if the process had died"
        left = store.episodes.get(episode.id)
        assert left is not None
        assert left.state is State.SUBMITTING
        wait_for_standbys(primary, "")
        assert store.episodes.save(left, replace(left, reason="again"), NOW) is not None, (
            "the connection is as good as before"
        )


# doctor


def said(server: Replication | None) -> list[str]:
    return [
        f"{'warn' if one.may_stay else 'ok' if one.ok else 'FAIL'} {one.check}: {one.found}"
        for one in postgresql_findings(server)
    ]


def first(names: str, standbys: Sequence[Standby], commit: str = "on") -> str:
    server = replace(
        SERVER, synchronous_standby_names=names, standbys=standbys, synchronous_commit=commit
    )
    return said(server)[0]


def test_of_sqlite_there_is_nothing_to_say() -> None:
    assert replication("sqlite:///nowhere.db") is None
    assert said(None) == []


def test_a_standby_cannot_be_written() -> None:
    assert said(replace(SERVER, in_recovery=True))[0].startswith("FAIL replication: this server is")


def test_a_server_alone_is_as_good_as_its_backup() -> None:
    assert said(SERVER)[0].startswith("ok replication: no standby is connected")


def test_an_asynchronous_standby_may_stay_and_its_risks_are_told_a_line_each() -> None:
    server = replace(SERVER, standbys=[ASYNCHRONOUS, Standby(None, None)])
    lines = said(server)
    assert lines[0].startswith("warn replication: a, a standby without a name: asynchronous")
    assert [line.partition(":")[0] for line in lines[1:3]] == [
        "ok replication, what the journals save",
        "ok replication, what they do not save",
    ]


def test_synchronous_standbys_are_named_and_those_that_must_not_be_promoted() -> None:
    assert first("ANY 1 (b)", [SYNCHRONOUS]) == "ok replication: commits wait for b"
    assert "promote none of a" in first("ANY 1 (b)", [ASYNCHRONOUS, SYNCHRONOUS])
    assert "synchronous_commit=off, which feedwatch overrules" in first("b", [SYNCHRONOUS], "off")


def test_standbys_that_are_waited_for_and_missing_stop_all() -> None:
    assert first("c", []).startswith("FAIL replication: commits wait for c, and no such standby")
    assert first("c", [ASYNCHRONOUS]).startswith("FAIL")
    hidden = first("c", [Standby("c", None)])
    assert hidden.startswith("warn")
    assert "this user may not see whether c is such a standby" in hidden


@pytest.mark.parametrize(
    ("offset", "verdict"),
    [(-2.0, "ok"), (2.1, "warn"), (-60.0, "warn"), (60.1, "FAIL"), (-61.0, "FAIL")],
)
def test_a_clock_that_is_off_is_told_and_one_that_is_far_off_is_wrong(
    offset: float, verdict: str
) -> None:
    clock = said(replace(SERVER, clock_offset=offset))[-1]
    assert clock.startswith(f"{verdict} clock and database: {abs(offset):.1f} s")
    assert ("ahead of" in clock) == (offset > 0)


def test_doctor_asks_the_server_and_says_where_there_are_no_tables_yet(
    feedwatch: Feedwatch, workspace: Workspace, postgresql: Server, url: str, tmp_path: Path
) -> None:
    workspace.set(DATABASE_URL=url)
    ended = feedwatch.here("doctor")
    assert ended.status == 0, ended
    assert "ok    replication: no standby is connected" in ended.stdout
    assert "s behind the database's" in ended.stdout or "s ahead of the" in ended.stdout
    assert "0 episodes" in ended.stdout
    postgresql.execute("DROP DATABASE IF EXISTS bare")
    postgresql.execute("CREATE DATABASE bare")
    workspace.set(DATABASE_URL=postgresql.url("bare"))
    ended = feedwatch.here("doctor")
    postgresql.execute("DROP DATABASE bare WITH (FORCE)")
    assert ended.status == 0, ended
    assert "/bare?" in ended.stdout
    assert "no tables yet: `feedwatch run` makes them" in ended.stdout


def test_doctor_sees_a_real_standby_from_both_sides(
    feedwatch: Feedwatch, workspace: Workspace, postgresql: Server, primary: Server, tmp_path: Path
) -> None:
    name = primary.url_of(tmp_path / "feedwatch.db").partition("@/")[2].partition("?")[0]

    def told(server: Server) -> str:
        workspace.set(DATABASE_URL=server.url(name))
        return feedwatch.here("doctor").stdout

    with own_server(primary, "b") as standby:
        wait_for(lambda: primary.execute("SELECT 1 FROM pg_stat_replication"))
        assert "warn  replication: b: asynchronous" in told(primary)
        assert "FAIL  replication: this server is a standby" in told(standby)
        wait_for_standbys(primary, "ANY 1 (b)")
        kinds = "SELECT sync_state FROM pg_stat_replication"
        wait_for(lambda: primary.execute(kinds) == [("quorum",)])
        assert "ok    replication: commits wait for b" in told(primary)
        primary.execute("CREATE ROLE guest LOGIN")
        guest = replication(primary.url(name).replace("feedwatch@", "guest@"))
        assert guest is not None
        assert guest.standbys == [Standby(guest.standbys[0].name, None)]
        wait_for_standbys(primary, "ANY 1 (c)")
        assert "FAIL  replication: commits wait for ANY 1 (c)" in told(primary)
        wait_for_standbys(primary, "")
