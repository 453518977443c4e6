"""The heartbeat URL: what each service is told, when, and that nobody waits for it."""

import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from feedwatch.core.health import LOOPS, HealthRecord, LoopHealth
from feedwatch.daemon.outward_heartbeat import OutwardHeartbeat
from feedwatch.net.client import Cancellation, client
from feedwatch.notify.heartbeat_url import HeartbeatUrl, Signal, request
from tests.receiver import Receiver
from tests.support import PATIENCE, FeedServer, Feedwatch, Workspace, wait_for

HC = "https://hc-ping.com/6ab5b1c0-1f7f-4a3c-9f3f-0b5e2d2d6a11"
KUMA = "https://kuma.example.org/api/push/Ab12Cd34Ef?status=up&msg=OK&ping="
BETTER_STACK = "https://uptime.betterstack.com/api/v1/heartbeat/0123456789abcdef"
CRONITOR = "https://cronitor.link/p/0123456789abcdef/feedwatch"


@pytest.mark.parametrize(
    ("url", "signal", "message", "asked"),
    [
        (HC, Signal.UP, "", HC),
        (HC, Signal.START, "", f"{HC}/start"),
        (HC, Signal.DOWN, "why", f"{HC}/fail"),
        ("https://hc-ping.com/key/slug?create=1", Signal.DOWN, "", "https://hc-ping.com/key/slug/fail?create=1"),
        (KUMA, Signal.UP, "", "https://kuma.example.org/api/push/Ab12Cd34Ef?status=up&msg=OK&ping="),
        (KUMA, Signal.DOWN, "a & b", "https://kuma.example.org/api/push/Ab12Cd34Ef?status=down&msg=a+%26+b&ping="),
        (KUMA, Signal.START, "", None),
        (CRONITOR, Signal.UP, "", f"{CRONITOR}?state=complete"),
        (CRONITOR, Signal.START, "", f"{CRONITOR}?state=run"),
        (CRONITOR, Signal.DOWN, "why", f"{CRONITOR}?state=fail&message=why"),
    ],
)  # fmt: skip
def test_each_service_is_asked_as_it_expects(
    url: str, signal: Signal, message: str, asked: str | None
) -> None:
    found = request(url, signal, message)
    assert (str(found.url) if found is not None else None) == asked


@pytest.mark.parametrize("signal", [Signal.UP, Signal.DOWN])
@pytest.mark.parametrize("url", [HC, BETTER_STACK, KUMA, CRONITOR])
def test_how_a_pass_ended_reaches_each_service(url: str, signal: Signal) -> None:
    asked = request(url, signal, "run --once ended with status 3")
    assert asked is not None
    told = asked.content.decode() or asked.url.query.decode().replace("+", " ").replace("%20", " ")
    assert "run --once ended with status 3" in told
    assert asked.method == ("POST" if asked.content else "GET")


def test_a_message_is_the_body_of_a_post_and_a_service_that_knows_get_alone_hears_the_rest(
    service: FeedServer,
) -> None:
    with Receiver() as receiver, client(Cancellation()) as http:
        beat = f"http://127.0.0.1:{receiver.port}/beat"
        told = HeartbeatUrl(http=http, url=beat)
        assert told.tell(Signal.DOWN, "loop polls hangs") is None
        assert [body for _, body in receiver.posts] == [b"loop polls hangs"]
        receiver.status = 500
        assert told.tell(Signal.DOWN, "loop polls hangs") == "the server answered 500"
        only_get = HeartbeatUrl(http=http, url=service.url_of("/beat"))
        assert only_get.tell(Signal.DOWN, "loop polls hangs") is None
        assert asked(service) == ["/beat/fail"]


@pytest.fixture
def service(feed_server: FeedServer) -> FeedServer:
    for path in ("/beat", "/beat/start", "/beat/fail"):
        feed_server.answer(body=b"OK", path=path)
    return feed_server


def asked(service: FeedServer) -> list[str]:
    return [path for path, _ in service.seen if path.startswith("/beat")]


def test_what_the_service_answers_is_success_or_a_reason(service: FeedServer) -> None:
    with client(Cancellation()) as http:
        told = HeartbeatUrl(http=http, url=service.url_of("/beat"))
        assert told.tell(Signal.UP) is None
        service.answer(404, path="/beat")
        assert told.tell(Signal.UP) == "the server answered 404"
        refused = HeartbeatUrl(http=http, url="http://127.0.0.1:1/beat").tell(Signal.UP)
        assert refused is not None
        assert "refused" in refused


def test_a_daemon_tells_that_it_is_healthy_again_and_again(
    feedwatch: Feedwatch, workspace: Workspace, service: FeedServer
) -> None:
    workspace.set(HEARTBEAT_URL=service.url_of("/beat"), HEARTBEAT_INTERVAL="0.2s")
    daemon = feedwatch.start("run")
    daemon.until(lambda: asked(service).count("/beat") > 2, "it has told three times")
    service.answer(500, path="/beat")
    daemon.until(lambda: "HEARTBEAT_URL does not work" in daemon.stderr, "the failure is told")
    count = len(asked(service))
    daemon.until(lambda: len(asked(service)) > count + 2, "it goes on")
    service.answer(body=b"OK", path="/beat")
    daemon.until(lambda: "HEARTBEAT_URL works again" in daemon.stderr, "its end is told")
    assert daemon.stderr.count("HEARTBEAT_URL does not work") == 1
    assert daemon.stop().status == 0
    assert set(asked(service)) == {"/beat"}


def test_run_once_tells_its_begin_and_its_end(
    feedwatch: Feedwatch, workspace: Workspace, service: FeedServer, tmp_path: Path
) -> None:
    (tmp_path / "beat.txt").write_text(service.url_of("/beat") + "\n")
    workspace.set(HEARTBEAT_URL_FILE=str(tmp_path / "beat.txt"))
    assert feedwatch.once("--timeout", "0").status == 0
    assert asked(service) == ["/beat/start", "/beat"]
    service.answer(500, path="/feed.xml")
    assert feedwatch.once("--timeout", "0").status == 1
    assert asked(service) == ["/beat/start", "/beat", "/beat/start", "/beat/fail"]


def test_a_service_that_is_down_changes_nothing_but_a_log_line(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    workspace.set(HEARTBEAT_URL="http://127.0.0.1:1/beat")
    ended = feedwatch.once("--timeout", "0")
    assert ended.status == 0
    assert "FEEDWATCH_HEARTBEAT_URL does not work: ConnectError" in ended.stderr


def test_another_interval_counts_at_once_and_a_bug_ends_no_heartbeat() -> None:
    told: list[bool] = []
    interval, looks = [timedelta(hours=1)], [0]

    def health() -> HealthRecord:
        looks[0] += 1
        if looks[0] == 1:
            raise RuntimeError
        second = timedelta(seconds=1)
        loops = (LoopHealth(name, returned=second, finished=second) for name in LOOPS)
        return HealthRecord(up=timedelta(hours=2), loops=tuple(loops))

    heartbeat = OutwardHeartbeat(lambda wrong: told.append(not wrong), lambda: interval[0])
    heartbeat.start(health)
    wait_for(lambda: told == [True], what="the first one")
    interval[0] = timedelta()
    wait_for(lambda: len(told) > 1, what="the next one")
    heartbeat.stop()


def test_ill_health_is_told_at_once_and_a_service_that_hangs_keeps_nobody() -> None:
    told: list[bool] = []
    hang, healthy = threading.Event(), [True]

    def tell(wrong: Sequence[str]) -> str | None:
        told.append(not wrong)
        if len(told) == 2:
            hang.wait()
        return None

    def health() -> HealthRecord:
        age = timedelta(seconds=1) if healthy[0] else timedelta(hours=1)
        loops = (LoopHealth(name, returned=age, finished=age) for name in LOOPS)
        return HealthRecord(up=timedelta(hours=2), loops=tuple(loops))

    heartbeat = OutwardHeartbeat(tell, lambda: timedelta(hours=1))
    heartbeat.start(health)
    wait_for(lambda: told == [True], what="the first one")
    healthy[0] = False
    wait_for(lambda: told == [True, False], what="the change")
    begun = time.monotonic()
    heartbeat.stop()
    assert time.monotonic() - begun < PATIENCE
    hang.set()


def test_the_start_is_not_told_as_health_before_each_loop_has_gone_round() -> None:
    looks: list[None] = []
    told: list[bool] = []
    starting = HealthRecord(up=timedelta(), loops=tuple(LoopHealth(name) for name in LOOPS))

    def health() -> HealthRecord:
        looks.append(None)
        return starting

    heartbeat = OutwardHeartbeat(lambda wrong: told.append(not wrong), lambda: timedelta(hours=1))
    heartbeat.start(health)
    wait_for(lambda: len(looks) > 2)
    heartbeat.stop()
    assert told == []
