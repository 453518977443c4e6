"""What an answer to a POST proves: each status in each voice, and each failure, over loopback."""

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from feedwatch.core.job import Accepted, Answer, Later, Refused, Task, Unknown
from feedwatch.core.post_deadline import Moment, lapsed, seconds_left
from feedwatch.net.client import Cancellation, client
from feedwatch.processors.clocks import moment
from feedwatch.processors.inlet import Inlet
from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.server import Sandbox
from tests.raw import server
from tests.support import PATIENCE, wait_for

KEY = "k3y-that-nobody-may-see"
TASK = Task(
    target="podcast-1",
    url="https://media.example.org/1.mp3",
    name="Episode 1",
    description="",
    published_at=None,
)
ENVELOPE = {"error": "Bad", "message": "said"}
VOICES = {
    "envelope": json.dumps(ENVELOPE),
    "richer": json.dumps(ENVELOPE | {"statusCode": 1}),
    "object": json.dumps({"message": "said"}),
    "list": json.dumps(["said"]),
    "page": "<html><body>said</body></html>",
    "empty": "",
}


def proven(status: int, voice: str) -> str:
    """What docs/states.md says of an answer."""
    if status in (401, 402, 407):
        return "not taken, blocked"
    if status == 429 or (status == 503 and voice == "envelope"):
        return "not taken"
    if 400 <= status <= 499:
        if status == 408 or voice in ("list", "page", "empty"):
            return "unknown, odd"
        return "not taken, odd" if voice == "object" else "refused"
    return "unknown"


def word(answer: Answer) -> str:
    """An answer, in the words of `proven`."""
    match answer:
        case Accepted():
            return "accepted"
        case Refused():
            return "refused"
        case Later(blocked=blocked, odd=odd, sent=sent):
            marks = {"blocked": blocked, "odd": odd, "never sent": not sent}
            return ", ".join(["not taken", *(mark for mark, is_so in marks.items() if is_so)])
        case Unknown(odd=odd):
            return "unknown, odd" if odd else "unknown"


def receive(connection: socket.socket) -> bytes:
    """A whole request; b"" where the connection was closed without one."""
    got = b""
    while b"\r\n\r\n" not in got and (part := connection.recv(65536)):
        got += part
    head, _, body = got.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    while length and len(body) < int(length[1]) and (part := connection.recv(65536)):
        body += part
    return got


def as_the_path_says(connection: socket.socket, _over: threading.Event) -> None:
    """Answer a POST to the podcast STATUS-VOICE with that."""
    found = re.match(rb"POST /api/v1/podcasts/(\d+)-(\w+)/", receive(connection))
    assert found
    status, body = int(found[1]), VOICES[found[2].decode()].encode()
    if status < 200 or status in (204, 304):
        body = b""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    ends = "Connection: close\r\n"
    connection.sendall(f"HTTP/1.1 {status} X\r\n{length}{ends}\r\n".encode() + body)


@contextmanager
def inlet_at(url: str) -> Iterator[Inlet]:
    headers = {"authorization": f"Token {KEY}"}
    with client(Cancellation(), base_url=url, headers=headers) as http:
        yield Inlet(http)


@pytest.mark.parametrize("voice", VOICES)
def test_each_status_proves_what_the_table_says(voice: str) -> None:
    with server(as_the_path_says) as url, inlet_at(url) as inlet:
        found = {}
        for status in range(100, 600):
            task = replace(TASK, target=f"{status}-{voice}")
            found[status] = word(inlet.submit(task, moment()))
    assert found == {status: proven(status, voice) for status in range(100, 600)}


def answer_to(inlet: Inlet, sandbox: Sandbox, status: int, body: str) -> Answer:
    sandbox.faults.add(Fault("submit", "status", status=status, body=body))
    return inlet.submit(TASK, moment())


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(api_key=KEY, job_seconds=0.0) as sandbox:
        yield sandbox


@pytest.fixture
def inlet(sandbox: Sandbox) -> Iterator[Inlet]:
    with inlet_at(sandbox.url) as inlet:
        yield inlet


def test_api_access_that_is_off_is_no_refusal_of_the_episode(
    inlet: Inlet, sandbox: Sandbox
) -> None:
    off = json.dumps({"error": "Forbidden", "message": "API access is not enabled"})
    assert word(answer_to(inlet, sandbox, 403, off)) == "not taken, blocked"
    assert word(answer_to(inlet, sandbox, 400, off)) == "refused"
    assert word(answer_to(inlet, sandbox, 403, '{"message": "API access"}')) == "not taken, odd"


@pytest.mark.parametrize(
    "body",
    [
        {"success": False, "data": {"mediaId": "m1"}},
        {"success": True, "data": {"mediaId": 5}},
        {"success": True, "data": {"mediaId": "a b"}},
        {"success": True, "data": []},
        {"mediaId": "m1"},
    ],
)
def test_a_2xx_that_names_no_job_is_in_doubt(
    inlet: Inlet, sandbox: Sandbox, body: dict[str, object]
) -> None:
    answer = answer_to(inlet, sandbox, 201, json.dumps(body))
    assert isinstance(answer, Unknown)
    assert json.dumps(body) in answer.reason, "what it said is kept, to find the job by"


@pytest.mark.parametrize(("status", "most"), [(400, 200), (200, 500), (502, 200)])
def test_a_reason_keeps_the_status_and_the_beginning_of_the_answer_without_our_key(
    inlet: Inlet, sandbox: Sandbox, status: int, most: int
) -> None:
    answer = answer_to(inlet, sandbox, status, f"<p>{KEY}\n" + 600 * "x" + "the end")
    assert isinstance(answer, Unknown)
    assert f"{status}: <p>***" in answer.reason
    assert KEY not in answer.reason
    assert answer.reason.isprintable()
    assert answer.reason.count("x") == most - len("<p>*** ")


def test_a_503_asks_for_its_wait(inlet: Inlet, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("submit", "status", status=503, retry_after=9))
    answer = inlet.submit(TASK, moment())
    assert isinstance(answer, Later)
    assert answer.retry_after is not None
    assert answer.retry_after.total_seconds() == 9


# Failures


def closes_at_once(connection: socket.socket, _over: threading.Event) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def closes_after_the_headers(connection: socket.socket, _over: threading.Event) -> None:
    connection.recv(10)


def closes_after_the_request(connection: socket.socket, _over: threading.Event) -> None:
    receive(connection)


def breaks_off_its_answer(connection: socket.socket, _over: threading.Event) -> None:
    receive(connection)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 999\r\n\r\n{")


def packs_what_is_not_packed(connection: socket.socket, _over: threading.Event) -> None:
    receive(connection)
    connection.sendall(b"HTTP/1.1 400 No\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}")


@pytest.mark.parametrize(
    "serve",
    [
        closes_at_once,
        closes_after_the_headers,
        closes_after_the_request,
        breaks_off_its_answer,
        packs_what_is_not_packed,
    ],
)
def test_a_failure_once_a_byte_may_have_left_proves_nothing(
    serve: Callable[[socket.socket, threading.Event], None],
) -> None:
    with server(serve) as url, inlet_at(url) as inlet:
        assert word(inlet.submit(TASK, moment())) == "unknown"


@pytest.mark.parametrize("scheme", ["https", "ftp"])
def test_a_failure_before_the_first_byte_proves_that_nothing_was_taken(scheme: str) -> None:
    with (
        server(closes_at_once) as url,  # in plain text, where TLS is asked for
        inlet_at(url.replace("http:", f"{scheme}:")) as inlet,
    ):
        assert word(inlet.submit(TASK, moment())) == "not taken, never sent"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://nobody.invalid"])
def test_nobody_there_means_that_nothing_was_sent(url: str) -> None:
    with inlet_at(url) as inlet:
        assert word(inlet.submit(TASK, moment())) == "not taken, never sent"


def test_a_post_never_goes_by_a_connection_that_was_kept_open(
    inlet: Inlet, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault("any", "stale", times=None))
    reads = []
    for _ in range(4):
        reads.append(inlet.probe("podcast-1", None))
        assert word(inlet.submit(TASK, moment())) == "accepted"
    assert any(reads), "reads do, and the fault has met them"


# The deadline


def claimed(seconds_ago: float, clocks_part_by: float = 0.0) -> Moment:
    now = moment()
    return Moment(boot=now.boot - seconds_ago, wall=now.wall - seconds_ago + clocks_part_by)


@pytest.mark.parametrize(("seconds_ago", "clocks_part_by"), [(11, 0), (50, 0), (1, 7), (1, -7)])
def test_past_its_deadline_no_byte_of_a_post_leaves(
    seconds_ago: float, clocks_part_by: float
) -> None:
    late = claimed(seconds_ago, clocks_part_by)
    got: list[bytes] = []

    def listens(connection: socket.socket, _over: threading.Event) -> None:
        got.append(connection.recv(10))

    with server(listens) as url, inlet_at(url) as inlet:
        assert word(inlet.submit(TASK, late)) == "not taken, never sent"
        assert wait_for(lambda: got) == [b""]


def test_past_the_whole_time_of_a_post_not_even_a_connection_is_made(inlet: Inlet) -> None:
    assert word(inlet.submit(TASK, claimed(70))) == "not taken, never sent"


def test_within_its_deadline_a_post_leaves(inlet: Inlet) -> None:
    assert word(inlet.submit(TASK, claimed(3, 2))) == "accepted"


def test_the_deadline_is_looked_at_once_the_connection_stands() -> None:
    connected = threading.Event()
    got: list[bytes] = []

    def listens(connection: socket.socket, _over: threading.Event) -> None:
        connected.set()
        got.append(connection.recv(10))

    def lapsed(*_: Moment) -> str | None:
        return "late" if connected.wait(PATIENCE) else None

    with (
        server(listens) as url,
        inlet_at(url) as inlet,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("feedwatch.processors.http.lapsed", lapsed)
        answer = inlet.submit(TASK, moment())
        assert word(answer) == "not taken, never sent"
        assert wait_for(lambda: got) == [b""]


def test_a_deadline_counts_the_time_that_the_machine_sleeps() -> None:
    claimed = moment()
    boot = time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
    assert 0 <= boot - claimed.boot < PATIENCE
    asleep = replace(claimed, boot=claimed.boot + 3600, wall=claimed.wall + 3600)
    assert lapsed(claimed, claimed) is None
    assert lapsed(claimed, asleep) is not None
    assert seconds_left(claimed, asleep) < 0 < seconds_left(claimed, claimed)
