"""The HTTP side: what monitoring reads, and that nobody who asks can do harm."""

import json
import re
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from feedwatch.config.errors import ConfigError
from feedwatch.config.load import load
from feedwatch.core.episode import State
from feedwatch.core.health import LOOPS, HealthRecord, LoopHealth
from feedwatch.core.settings import FeedConfig, Policy
from feedwatch.daemon.heartbeat import TRY_EVERY, WRITE_ALONE_EVERY
from feedwatch.daemon.metrics import MOST_FEEDS, OLDEST_FEEDS, Metrics
from feedwatch.store.database import BUSY_SECONDS
from feedwatch.store.store import Store
from feedwatch.web.app import application
from feedwatch.web.monitoring import Serving
from feedwatch.web.public import public_application
from feedwatch.web.public_side import PublicSide
from feedwatch.web.server import (
    MAX_BODY,
    MAX_CONNECTIONS,
    MAX_PUBLIC_CONNECTIONS,
    THREADS,
    HttpSide,
)
from feedwatch.web.site import Access, Site
from tests.support import PATIENCE, Beside, Feedwatch, Running, Workspace, one_in, wait_for
from tests.test_health import NOW
from tests.test_store import opened

DASHBOARD = Path(__file__).parent.parent / "contrib/grafana/feedwatch.json"


def ask(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    """Status and body."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def listening_port(daemon: Running | Beside) -> int:
    """Where a daemon with FEEDWATCH_LISTEN=…:0 says that it listens."""
    found = daemon.until(
        lambda: re.search(r"http: listening on http://\S+:(\d+)", daemon.stderr), "the HTTP side"
    )
    return int(found[1])


def values(text: str) -> dict[tuple[str, ...], float]:
    """Each series, by its name and the values of its labels, these by their names."""
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_running_daemon_is_healthy_ready_and_tells_what_it_did(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    workspace.set(LISTEN="127.0.0.1:0")
    read: dict[tuple[str, ...], float] = {}

    def look(daemon: Beside) -> None:
        port = listening_port(daemon)
        daemon.until(lambda: ask(port, "/readyz")[0] == 200, "readiness")
        assert ask(port, "/healthz") == (200, '{"status": "ok", "problems": []}\n')

        def is_ready() -> bool:
            read.update(values(ask(port, "/metrics")[1]))
            return bool(read.get(("feedwatch_episodes", "ready")))

        daemon.until(is_ready, "the episode")

    assert feedwatch.while_it_runs(["run"], look).status == 0
    assert read["feedwatch_submissions_24h", "inlet"] == 1
    assert read["feedwatch_submissions_24h_limit", "inlet"] == 100
    assert read["feedwatch_checks_total", "items"] >= 1
    assert read["feedwatch_check_seconds_count",] >= 1
    assert read["feedwatch_api_responses_total", "201", "POST", "inlet"] == 1
    assert read["feedwatch_api_answers_total", "accepted", "inlet", "submit"] == 1
    assert read["feedwatch_feed_last_success_timestamp_seconds", "show"] > 0
    assert read["feedwatch_healthy",] == 1


def test_the_wait_for_a_lock_and_the_time_between_attempts_to_write_are_below_15_seconds() -> None:
    assert TRY_EVERY + BUSY_SECONDS < 15
    assert WRITE_ALONE_EVERY < 15  # a full disk, which only a whole write meets, is told at once


@pytest.mark.long  # it waits for the lock as long as a daemon does
def test_a_locked_database_is_told_within_15_seconds(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    workspace.set(LISTEN="127.0.0.1:0", CHECK_INTERVAL="1h")  # so that nothing is due
    daemon = feedwatch.start("run")
    port = listening_port(daemon)
    wait_for(lambda: feedwatch.states() == {"guid-1": "ready"})

    def is_up() -> tuple[int, float]:
        read = values(ask(port, "/metrics")[1])
        return ask(port, "/readyz")[0], read["feedwatch_database_up",]

    wait_for(lambda: is_up() == (200, 1))
    with closing(sqlite3.connect(workspace.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        wait_for(lambda: is_up() == (503, 0))
        assert time.monotonic() - began < 15
        assert "locked" in ask(port, "/readyz")[1]
        other.execute("ROLLBACK")
    wait_for(lambda: is_up() == (200, 1))
    daemon.stop()


def test_it_cannot_have_an_address_that_is_taken(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    workspace.makes_tables = False
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        workspace.set(LISTEN=f"127.0.0.1:{port}")
        ended = feedwatch.here("run")
    assert ended.status == 1, "not 2, after which a service manager would not try again"
    assert f"FEEDWATCH_LISTEN=127.0.0.1:{port}: cannot listen there" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not workspace.database.exists()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("localhost:9464", ("localhost", 9464)),
        ("[::1]:9464", ("::1", 9464)),
        (":9464", ("", 9464)),
    ],
)
def test_an_address_to_listen_on(text: str, found: Any, workspace: Workspace) -> None:
    workspace.set(LISTEN=text)
    assert load(workspace.config, {}).listen == found


@pytest.mark.parametrize("text", ["9464", "::1:9464", "host", "host:", "host:65536", "http://h:1"])
def test_no_address_to_listen_on(text: str, workspace: Workspace) -> None:
    workspace.set(LISTEN=text)
    with pytest.raises(ConfigError, match="expected HOST:PORT"):
        load(workspace.config, {})


def test_what_kubernetes_tells_of_a_service_of_our_name_is_no_setting(workspace: Workspace) -> None:
    links = {
        "FEEDWATCH_PORT": "tcp://10.0.0.1:9464",
        "FEEDWATCH_PORT_9464_TCP": "tcp://10.0.0.1:9464",
        "FEEDWATCH_PORT_9464_TCP_ADDR": "10.0.0.1",
        "FEEDWATCH_PORT_9464_TCP_PROTO": "tcp",
        "FEEDWATCH_SERVICE_HOST": "10.0.0.1",
        "FEEDWATCH_SERVICE_PORT": "9464",
        "FEEDWATCH_SERVICE_PORT_METRICS": "9464",
        "FEEDWATCH_METRICS_SERVICE_HOST": "10.0.0.1",
    }
    assert load(workspace.config, links) == load(workspace.config, {})
    with pytest.raises(ConfigError, match="FEEDWATCH_PROT"):
        load(workspace.config, {"FEEDWATCH_PROT": "1"})


# The server


@contextmanager
def served(wrong: Callable[[], list[str]] = list, **more: Callable[[], str]) -> Iterator[HttpSide]:
    """The monitoring pages, where `wrong` says what is not ready, and `more`."""
    app = application(Site(access=Access(url="http://x")), Serving(Metrics(), wrong))
    for name, page in more.items():
        app.add_url_rule(f"/{name}", name, page)
    app.before_request_funcs = {}  # whoever asks, for these
    with HttpSide("127.0.0.1", 0).serve(app) as side:
        yield side


def test_only_reading_is_allowed_and_only_what_there_is() -> None:
    with served(page=lambda: "hello") as side:
        assert ask(side.port, "/page?x=1") == (200, "hello")
        assert ask(side.port, "/page", "HEAD") == (200, "")
        assert ask(side.port, "/page", "POST")[0] == 405
        assert ask(side.port, "/healthz", "POST")[0] == 405
        assert ask(side.port, "/etc/passwd")[0] == 404
        assert ask(side.port, "/page", "BREW")[0] == 405


def test_what_is_wrong_is_a_503_that_says_it() -> None:
    with served(lambda: ["checks: nothing finished for 75 s"]) as side:
        status, body = ask(side.port, "/readyz")
    assert status == 503
    assert json.loads(body)["problems"] == ["checks: nothing finished for 75 s"]


class Listener(NamedTuple):
    """One that runs, and what is asked of it."""

    port: int
    path: str
    status: int  # of the answer
    connections: int  # at once


@contextmanager
def private() -> Iterator[Listener]:
    """The private one."""
    with served() as side:
        yield Listener(side.port, "/healthz", 200, MAX_CONNECTIONS)


@contextmanager
def public() -> Iterator[Listener]:
    """The public one, before there are any feeds."""
    app = public_application(PublicSide())
    with HttpSide("127.0.0.1", 0, MAX_PUBLIC_CONNECTIONS).serve(app) as side:
        yield Listener(side.port, "/feeds/show.xml", 503, MAX_PUBLIC_CONNECTIONS)


LISTENERS = pytest.mark.parametrize("listener", [private, public], ids=["private", "public"])
Listening = Callable[[], AbstractContextManager[Listener]]


@LISTENERS
def test_clients_that_say_nothing_keep_nobody_waiting(listener: Listening) -> None:
    with listener() as one, ExitStack() as idle:
        for _ in range(2 * one.connections):
            silent = socket.create_connection(("127.0.0.1", one.port))
            idle.enter_context(silent)
            silent.sendall(b"GET / HTTP/1.1\r\n")
        for _ in range(one.connections):
            assert ask(one.port, one.path)[0] == one.status


def test_clients_that_fill_one_listener_are_not_noticed_at_the_other() -> None:
    with public() as one, private() as other, ExitStack() as idle:
        for _ in range(2 * one.connections):
            idle.enter_context(socket.create_connection(("127.0.0.1", one.port)))
        assert ask(other.port, other.path)[0] == other.status


def hung_up(client: socket.socket) -> bool:
    """Whether the other side has closed the connection, though we go on to send."""
    client.settimeout(0.01)
    try:
        client.sendall(b"X")
        return client.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@LISTENERS
@pytest.mark.parametrize("step", one_in(3, [-(10**7), 10**7, 0]), ids=["back", "ahead", "no step"])
def test_clients_that_send_a_byte_now_and_then_are_hung_up_on_whatever_the_clock(
    listener: Listening, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listener() as (port, path, status, connections), ExitStack() as clients:
        drips = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
        for one in drips:
            clients.enter_context(one)
        assert ask(port, path)[0] == status
        wall_clock = time.time
        with monkeypatch.context() as patch:
            patch.setattr("feedwatch.web.server.CONNECTION_SECONDS", 1.0)
            patch.setattr(time, "time", lambda: wall_clock() + step)
            wait_for(lambda: all([hung_up(one) for one in drips]), what="the end of all")  # noqa: C419 - each sends
        assert ask(port, path)[0] == status


@LISTENERS
def test_a_silent_client_is_hung_up_on(
    listener: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feedwatch.web.server.SILENCE_SECONDS", 0.1)
    with listener() as (port, *_), socket.create_connection(("127.0.0.1", port)) as silent:
        silent.settimeout(PATIENCE)
        assert silent.recv(1) == b""


def test_clients_that_take_nothing_of_their_answers_hold_no_thread_and_are_hung_up_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with served(large=lambda: "x" * 20_000_000) as side, ExitStack() as clients:
        deaf = [socket.create_connection(("127.0.0.1", side.port)) for _ in range(THREADS + 1)]
        for one in deaf:
            clients.enter_context(one)
            one.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        assert ask(side.port, "/healthz")[0] == 200
        monkeypatch.setattr("feedwatch.web.server.SILENCE_SECONDS", 1.0)
        wait_for(lambda: all(map(hung_up_on_writer, deaf)), what="the end of the connections")


def hung_up_on_writer(client: socket.socket) -> bool:
    """Whether the other side has given up on a client that has read nothing of its answer."""
    client.settimeout(0.01)
    try:
        client.sendall(b"X")
        client.sendall(b"X")
    except OSError:
        return True
    return False


def test_a_request_that_is_too_long_is_refused() -> None:
    with served() as side, socket.create_connection(("127.0.0.1", side.port)) as client:
        client.settimeout(PATIENCE)
        length = str(MAX_BODY + 1).encode()
        client.sendall(b"POST /healthz HTTP/1.1\r\nContent-Length: " + length + b"\r\n\r\n")
        with suppress(OSError):
            client.sendall(b"x" * (MAX_BODY + 1))
        assert client.recv(12) == b"HTTP/1.1 413"


def test_a_connection_has_one_request() -> None:
    with served() as side, socket.create_connection(("127.0.0.1", side.port)) as client:
        client.settimeout(PATIENCE)
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while part := client.recv(65_536):
            answer += part
        assert b"Connection: close" in answer


def test_more_clients_than_threads_are_all_answered() -> None:
    with served() as side, ThreadPoolExecutor(4 * THREADS) as pool:
        found = list(pool.map(lambda _: ask(side.port, "/metrics")[0], range(200)))
    assert set(found) == {200}


def test_clients_that_there_is_no_room_for_wait_and_are_answered() -> None:
    app = application(Site(access=Access(url="http://x")), Serving(Metrics(), list))
    with (
        HttpSide("127.0.0.1", 0, connections=3).serve(app) as side,
        ThreadPoolExecutor(40) as pool,
    ):
        found = list(pool.map(lambda _: ask(side.port, "/metrics")[0], range(200)))
    assert set(found) == {200}


def test_a_page_that_fails_is_a_500_and_the_next_one_works(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with served(page=lambda: "hello", bad=lambda: str(1 // 0)) as side:
        assert ask(side.port, "/bad")[0] == 500
        assert ask(side.port, "/page")[0] == 200
    assert "/bad could not be made" in caplog.text


# The metrics


HEALTHY = HealthRecord(
    up=timedelta(hours=1),
    loops=tuple(LoopHealth(name=name, finished=timedelta(seconds=1)) for name in LOOPS),
)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with closing(opened(tmp_path / "a.db")) as store:
        yield store


def metrics_of(store: Store, term: int | None = 3) -> str:
    metrics = Metrics()
    figures = partial(store.statistics.figures, ["inlet"])
    metrics.read_from(
        lambda: HEALTHY,
        lambda: term,
        lambda _: Policy(),
        figures,
        lambda: datetime.now(UTC),
        lambda: ("0123456789abcdef", 1.5),
    )
    return metrics.page().decode()


@pytest.mark.parametrize(
    ("feeds", "shown"), [(MOST_FEEDS, MOST_FEEDS), (1000, OLDEST_FEEDS), (0, 0)]
)
def test_a_thousand_feeds_make_no_thousand_series(store: Store, feeds: int, shown: int) -> None:
    sources = [
        FeedConfig(
            name=f"f{n}", url=f"https://h/{n}", podcast_id="p", check_interval=timedelta(hours=1)
        )
        for n in range(feeds)
    ]
    store.feeds.sync(sources, dict.fromkeys((source.name for source in sources), NOW))
    read = values(metrics_of(store))
    assert sum(name[0] == "feedwatch_feed_failures" for name in read) == shown
    assert len(read) < 100 + 2 * shown
    assert read["feedwatch_feeds", "new"] == feeds


def test_without_a_database_the_loops_are_still_told(store: Store) -> None:
    assert store.path is not None
    with closing(sqlite3.connect(store.path)) as db:
        db.execute("drop table heartbeats")
    store.close()
    store.path.write_bytes(b"no database any more" * 1000)
    read = values(metrics_of(store))
    assert read["feedwatch_database_up",] == 0
    assert read["feedwatch_healthy",] == 1
    assert ("feedwatch_episodes", "ready") not in read


def test_every_metric_has_its_help_and_every_state_its_series(store: Store) -> None:
    families = list(text_string_to_metric_families(metrics_of(store)))
    assert all(family.documentation for family in families)
    (states,) = (family for family in families if family.name == "feedwatch_episodes")
    assert {sample.labels["state"] for sample in states.samples} == set(State)


def test_the_dashboard_asks_for_nothing_that_there_is_not(store: Store) -> None:
    asked = set(re.findall(r"\b(?:feedwatch|process)_[a-z0-9_]+", DASHBOARD.read_text("utf-8")))
    families = list(text_string_to_metric_families(metrics_of(store)))
    known = {sample.name for family in families for sample in family.samples}
    known |= {family.name + "_total" * (family.type == "counter") for family in families}
    assert asked <= known
    assert len(asked) > 10


def test_only_the_leader_has_figures_of_the_whole_database(store: Store) -> None:
    leader, watcher = values(metrics_of(store)), values(metrics_of(store, term=None))
    assert (leader["feedwatch_leader",], leader["feedwatch_leader_term",]) == (1, 3)
    assert watcher["feedwatch_leader",] == 0
    assert watcher["feedwatch_config_info", "01234567"] == 1
    assert watcher["feedwatch_clock_offset_seconds",] == 1.5
    assert {name for name, *_ in leader} - {name for name, *_ in watcher} > {
        "feedwatch_feeds",
        "feedwatch_episodes",
        "feedwatch_leader_term",
    }


def test_the_documentation_lists_every_metric(store: Store) -> None:
    page = (DASHBOARD.parent.parent.parent / "docs/monitoring.md").read_text("utf-8")
    documented = set(re.findall(r"^\| `(feedwatch_[a-z0-9_]+)", page, re.MULTILINE))
    families = text_string_to_metric_families(metrics_of(store))
    known = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in families
        if family.name.startswith("feedwatch")
    }
    assert documented == known
