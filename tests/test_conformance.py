"""The conformance suite: what every processor makes of each answer and each failure, over loopback.

`tests/conformance.py` says what the suite must know of a processor.
"""

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from feedwatch.core.job import (
    Accepted,
    Answer,
    Broken,
    Finished,
    Later,
    Lost,
    Progress,
    Refused,
    Running,
    Unknown,
    Unreachable,
)
from feedwatch.core.post_deadline import Moment, lapsed, seconds_left
from feedwatch.processors import Processor
from feedwatch.processors.clocks import moment
from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.server import Sandbox
from tests.conformance import APP_KEY, APP_SECRET, KITS, Kit, output_at, voices
from tests.raw import server
from tests.support import KEY, PATIENCE, wait_for

STATUSES = (*range(100, 104), 199, *range(200, 209), 226, 299, *range(300, 309))
STATUSES = (*STATUSES, *range(400, 432), 451, 499, *range(500, 512), 599)
VOICES = tuple(voices(KITS["inlet"], 400))


def proven(kit: Kit, status: int, voice: str) -> str:
    """What docs/states.md says of an answer to a POST."""
    if status in kit.blocked:
        return "not taken, blocked"
    if status in (401, 429) or (status == 503 and voice == "envelope"):
        return "not taken"
    if 400 <= status <= 499:
        if status == 408 or voice in ("list", "page", "empty"):
            return "unknown, odd"
        if voice == "object":
            return "not taken, odd"
        return "not taken, blocked" if status in kit.blocked_in_its_form else "refused"
    return "unknown"


def word(answer: Answer | Progress) -> str:
    """An answer, in the words of `proven`."""
    match answer:
        case Later(blocked=blocked, odd=odd, sent=sent):
            marks = {"blocked": blocked, "odd": odd, "never sent": not sent}
            return ", ".join(["not taken", *(mark for mark, is_so in marks.items() if is_so)])
        case Unknown(odd=True):
            return "unknown, odd"
        case Unreachable(blocked=True):
            return "unreachable, blocked"
    return type(answer).__name__.lower()


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


@dataclass
class Api:
    """An API that says to every request what it is told to, and counts the POSTs."""

    url: str = ""
    status: int = 200
    body: str = ""
    headers: str = ""
    got: list[bytes] = field(default_factory=list)

    def serve(self, connection: socket.socket, _over: threading.Event) -> None:
        request = receive(connection)
        if not request:
            return
        self.got.append(request)
        body = b"" if self.status < 200 or self.status in (204, 304) else self.body.encode()
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        head = f"HTTP/1.1 {self.status} X\r\n{length}{self.headers}Connection: close\r\n\r\n"
        connection.sendall(head.encode() + body)

    @property
    def posts(self) -> int:
        return sum(request.startswith(b"POST ") for request in self.got)

    def say(self, status: int, document: object, headers: str = "") -> None:
        text = document if isinstance(document, str) else json.dumps(document)
        self.status, self.body, self.headers = status, text, headers


SANDBOXED = [name for name, kit in KITS.items() if kit.is_in_sandbox]
at_the_sandbox = pytest.mark.parametrize("kit", SANDBOXED, indirect=True)


@pytest.fixture(params=KITS)
def kit(request: pytest.FixtureRequest) -> Kit:
    return KITS[request.param]


@pytest.fixture
def sandbox(kit: Kit) -> Iterator[Sandbox]:
    with Sandbox(api_key=KEY, app_key=APP_KEY, app_secret=APP_SECRET, job_seconds=0.0) as running:
        output = output_at(running)
        httpx.put(output.named(output.url, kit.task), content=b"a", trust_env=False)
        yield running


@contextmanager
def ready(kit: Kit, url: str, sandbox: Sandbox) -> Iterator[Processor]:
    """A processor that may submit."""
    with kit.connect(url, sandbox) as processor:
        assert processor.prepare() is None
        yield processor


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    with server(api.serve) as url:
        api.url = url
        yield api


@pytest.fixture
def processor(kit: Kit, api: Api, sandbox: Sandbox) -> Iterator[Processor]:
    with ready(kit, api.url, sandbox) as processor:
        yield processor


@pytest.fixture
def sandboxed(kit: Kit, sandbox: Sandbox) -> Iterator[Processor]:
    """The processor at the sandbox itself."""
    with ready(kit, sandbox.url, sandbox) as processor:
        yield processor


# What an answer to a POST proves


@pytest.mark.parametrize("voice", VOICES)
def test_each_status_proves_what_the_table_says(
    kit: Kit, api: Api, processor: Processor, voice: str
) -> None:
    found = {}
    for status in STATUSES:
        api.say(status, voices(kit, status)[voice])
        assert processor.prepare() is None
        found[status] = word(processor.submit(kit.task, moment()))
    assert found == {status: proven(kit, status, voice) for status in STATUSES}
    assert api.posts == len(STATUSES), "a POST was repeated"


def test_a_2xx_with_a_job_id_is_a_job(kit: Kit, api: Api, processor: Processor) -> None:
    for status in (200, 201, 202):
        api.say(status, kit.job("m1"))
        assert processor.submit(kit.task, moment()) == Accepted("m1")


def test_a_2xx_that_names_no_job_is_in_doubt(kit: Kit, api: Api, processor: Processor) -> None:
    unusable = [kit.job(job_id) for job_id in (5, "a b", "", None, "x" * 201)]
    for document in (*kit.nameless, *unusable):
        api.say(201, document)
        answer = processor.submit(kit.task, moment())
        assert isinstance(answer, Unknown)
        assert json.dumps(document)[:200] in answer.reason, "it is kept, to find the job by"


@pytest.mark.parametrize(("status", "most"), [(400, 200), (200, 500), (502, 200)])
def test_a_reason_keeps_the_status_and_the_beginning_of_the_answer(
    kit: Kit, api: Api, processor: Processor, status: int, most: int
) -> None:
    api.say(status, "<p>" + 600 * "x" + "the end")
    answer = processor.submit(kit.task, moment())
    assert isinstance(answer, Unknown)
    assert f"{status}: <p>" in answer.reason
    assert answer.reason.isprintable()
    assert answer.reason.count("x") == most - len("<p>")


def test_a_credential_that_the_api_quotes_is_in_no_reason(
    kit: Kit, api: Api, processor: Processor
) -> None:
    api.say(200, kit.job("m1"))
    processor.submit(kit.task, moment())
    sent = re.search(rb"authorization: \w+ (\S+)", api.got[-1], re.IGNORECASE)
    assert sent
    credential = sent[1].decode()
    for status in (200, 400, 403, 429, 500, 503):
        for body in (
            f"<p>{credential}",
            json.dumps(kit.refusal(status)).replace("said", credential),
        ):
            api.say(status, body)
            answer = processor.submit(kit.task, moment())
            polled = processor.poll(kit.task, "m1")
            assert not isinstance(answer, Accepted)
            assert not isinstance(polled, Running | Finished)
            assert credential not in answer.reason + polled.reason


@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_that_is_asked_for_is_obeyed(
    kit: Kit, api: Api, processor: Processor, status: int
) -> None:
    api.say(status, kit.refusal(status), "Retry-After: 9\r\n")
    answer = processor.submit(kit.task, moment())
    assert isinstance(answer, Later)
    assert answer.retry_after == timedelta(seconds=9)
    polled = processor.poll(kit.task, "m1")
    assert isinstance(polled, Unreachable)
    assert polled.retry_after == timedelta(seconds=9)


# Failures below HTTP


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
    kit: Kit, sandbox: Sandbox, serve: Callable[[socket.socket, threading.Event], None]
) -> None:
    with server(serve) as url, ready(kit, url, sandbox) as processor:
        assert word(processor.submit(kit.task, moment())) == "unknown"
        assert word(processor.poll(kit.task, "m1")) == "unreachable"
        assert word(processor.probe(kit.task.target, None) or Accepted("")) == "not taken"


@pytest.mark.parametrize("scheme", ["https", "ftp"])
def test_a_failure_before_the_first_byte_proves_that_nothing_was_taken(
    kit: Kit, sandbox: Sandbox, scheme: str
) -> None:
    with (
        server(closes_at_once) as url,  # in plain text, where TLS is asked for
        ready(kit, url.replace("http:", f"{scheme}:"), sandbox) as processor,
    ):
        assert word(processor.submit(kit.task, moment())) == "not taken, never sent"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://nobody.invalid"])
def test_nobody_there_means_that_nothing_was_sent(kit: Kit, sandbox: Sandbox, url: str) -> None:
    with ready(kit, url, sandbox) as processor:
        assert word(processor.submit(kit.task, moment())) == "not taken, never sent"


@at_the_sandbox
def test_a_post_never_goes_by_a_connection_that_was_kept_open(
    kit: Kit, sandboxed: Processor, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault("any", "stale", times=None))
    reads = []
    for _ in range(4):
        reads.append(sandboxed.probe(kit.task.target, None))
        assert word(sandboxed.submit(kit.task, moment())) == "accepted"
    assert any(reads), "reads do, and the fault has met them"


# The deadline


def claimed(seconds_ago: float, clocks_part_by: float = 0.0) -> Moment:
    now = moment()
    return Moment(boot=now.boot - seconds_ago, wall=now.wall - seconds_ago + clocks_part_by)


@pytest.mark.parametrize(("seconds_ago", "clocks_part_by"), [(11, 0), (50, 0), (1, 7), (1, -7)])
def test_past_its_deadline_no_byte_of_a_post_leaves(
    kit: Kit, sandbox: Sandbox, seconds_ago: float, clocks_part_by: float
) -> None:
    got: list[bytes] = []

    def listens(connection: socket.socket, _over: threading.Event) -> None:
        got.append(connection.recv(10))

    with server(listens) as url, ready(kit, url, sandbox) as processor:
        late = claimed(seconds_ago, clocks_part_by)
        assert word(processor.submit(kit.task, late)) == "not taken, never sent"
        assert wait_for(lambda: got) == [b""]


def test_past_the_whole_time_of_a_post_not_even_a_connection_is_made(
    kit: Kit, api: Api, processor: Processor
) -> None:
    assert word(processor.submit(kit.task, claimed(70))) == "not taken, never sent"
    assert api.got == []


def test_within_its_deadline_a_post_leaves(kit: Kit, api: Api, processor: Processor) -> None:
    api.say(200, kit.job("m1"))
    assert word(processor.submit(kit.task, claimed(3, 2))) == "accepted"


def test_the_deadline_is_looked_at_once_the_connection_stands(kit: Kit, sandbox: Sandbox) -> None:
    connected = threading.Event()
    got: list[bytes] = []

    def listens(connection: socket.socket, _over: threading.Event) -> None:
        connected.set()
        got.append(connection.recv(10))

    def lapsed(*_: Moment) -> str | None:
        return "late" if connected.wait(PATIENCE) else None

    with (
        server(listens) as url,
        ready(kit, url, sandbox) as processor,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("feedwatch.processors.http.lapsed", lapsed)
        assert word(processor.submit(kit.task, moment())) == "not taken, never sent"
        assert wait_for(lambda: got) == [b""]


def test_a_deadline_counts_the_time_that_the_machine_sleeps() -> None:
    claimed = moment()
    boot = time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
    assert 0 <= boot - claimed.boot < PATIENCE
    asleep = replace(claimed, boot=claimed.boot + 3600, wall=claimed.wall + 3600)
    assert lapsed(claimed, claimed) is None
    assert lapsed(claimed, asleep) is not None
    assert seconds_left(claimed, asleep) < 0 < seconds_left(claimed, claimed)


# Polls


def test_every_word_of_the_api_is_sorted(kit: Kit, api: Api, processor: Processor) -> None:
    for said, kind in kit.words.items():
        api.say(200, kit.state(said))
        progress = processor.poll(kit.task, "m1")
        assert type(progress) is kind, said
        if isinstance(progress, Running):
            assert progress.known
        if isinstance(progress, Broken):
            assert progress.reason


def test_words_are_compared_whole(kit: Kit, api: Api, processor: Processor) -> None:
    for said in kit.almost:
        api.say(200, kit.state(said))
        progress = processor.poll(kit.task, "m1")
        assert isinstance(progress, Running), said
        assert (progress.remote_status, progress.known) == (str(said), said in kit.words)


@pytest.mark.parametrize("voice", VOICES)
def test_a_poll_proves_what_the_table_says(
    kit: Kit, api: Api, processor: Processor, voice: str
) -> None:
    in_form = voice in ("envelope", "richer")
    for status in (201, 302, 400, 401, 402, 403, 404, 405, 407, 408, 410, 429, 500, 503):
        api.say(status, voices(kit, status)[voice])
        found = word(processor.poll(kit.task, "m1"))
        is_blocked = status in kit.blocked | {401} or (
            in_form and status in kit.blocked_in_its_form
        )
        if status == 404 and in_form:
            assert found == "lost"
        else:
            assert found == ("unreachable, blocked" if is_blocked else "unreachable"), status


@pytest.mark.parametrize("document", [[], {}, {"status": 5}, {"status": None}, "<html>", "", "{"])
def test_a_poll_without_a_status_proves_nothing(
    kit: Kit, api: Api, processor: Processor, document: Any
) -> None:
    api.say(200, document)
    assert word(processor.poll(kit.task, "m1")) == "unreachable"


def test_an_answer_without_end_is_given_up(
    kit: Kit, api: Api, processor: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feedwatch.processors.http.MAX_BYTES", 50)
    api.say(200, 100 * " " + json.dumps(kit.job("m1")))
    assert isinstance(processor.submit(kit.task, moment()), Unknown)
    assert isinstance(processor.poll(kit.task, "m1"), Unreachable)


# Reads that cost nothing


def test_a_safe_read_succeeds_where_the_key_is_taken_and_posts_nothing(
    kit: Kit, api: Api, processor: Processor
) -> None:
    api.say(200, kit.listed)
    assert processor.probe(kit.task.target, None) is None
    assert processor.has_target(kit.task.target) is not False
    assert api.posts == 0


def test_a_safe_read_fails_where_nothing_should_be_submitted(
    kit: Kit, api: Api, processor: Processor
) -> None:
    for status, body in (
        *((status, json.dumps(kit.refusal(status))) for status in (401, 402, 407, 429, 500, 503)),
        (200, "<html>"),
        (302, ""),
    ):
        api.say(status, body)
        failure = processor.probe(kit.task.target, None)
        assert failure is not None, status
        assert failure.blocked == (status < 429), status
    assert api.posts == 0


# At the sandbox: each fault

TAKEN = [  # a job exists, and we can't know it
    Fault("submit", "drop_after"),
    Fault("submit", "truncate"),
    Fault("submit", "status_after", status=502, body="<html>bad gateway</html>"),
    Fault("submit", "status_after", status=500),
    Fault("submit", "junk"),
    Fault("submit", "no_id"),
]
IN_DOUBT = [  # no job exists, and we can't know that either
    Fault("submit", "drop_before"),
    Fault("submit", "refuse"),
    Fault("submit", "status", status=500),
    Fault("submit", "status", status=408),
    Fault("submit", "status", status=302),
    Fault("submit", "html", status=403),
    Fault("submit", "html", status=503),
]
WAITS = [
    (Fault("submit", "status", status=429, retry_after=7), "not taken"),
    (Fault("submit", "status", status=503), "not taken"),
    (Fault("submit", "api_disabled"), "not taken, blocked"),
]


@at_the_sandbox
@pytest.mark.parametrize("fault", TAKEN + IN_DOUBT, ids=lambda f: f"{f.kind}-{f.status or ''}")
def test_what_may_have_been_taken_is_unknown(
    kit: Kit, sandbox: Sandbox, sandboxed: Processor, fault: Fault
) -> None:
    sandbox.faults.add(fault)
    assert isinstance(sandboxed.submit(kit.task, moment()), Unknown)
    assert len(sandbox.submissions) <= 1, "a POST was repeated"
    assert len(sandbox.taken) == (fault in TAKEN)


@at_the_sandbox
@pytest.mark.parametrize(("fault", "said"), WAITS, ids=lambda f: getattr(f, "kind", None))
def test_what_was_surely_not_taken_waits(
    kit: Kit, sandbox: Sandbox, sandboxed: Processor, fault: Fault, said: str
) -> None:
    sandbox.faults.add(fault)
    assert word(sandboxed.submit(kit.task, moment())) == said
    assert sandbox.taken == []


@at_the_sandbox
def test_an_answer_that_drips_ends_at_the_total_limit(
    kit: Kit, sandbox: Sandbox, sandboxed: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.faults.add(Fault("submit", "drip", seconds=0.2))
    for seconds in (1.0, 10.0):  # so long that it leaves
        monkeypatch.setattr("feedwatch.core.post_deadline.POST_SECONDS", seconds)
        answer = sandboxed.submit(kit.task, moment())
        if sandbox.submissions:
            break
    assert isinstance(answer, Unknown)
    assert len(sandbox.taken) == 1


@at_the_sandbox
@pytest.mark.parametrize(
    "fault",
    [
        Fault("poll", "refuse"),
        Fault("poll", "drop_before"),
        Fault("poll", "truncate"),
        Fault("poll", "junk"),
        Fault("poll", "html", status=404),
        Fault("poll", "status", status=500),
    ],
    ids=lambda f: f"{f.kind}-{f.status or ''}",
)
def test_a_poll_that_fails_says_nothing_and_the_next_one_tells(
    kit: Kit, sandbox: Sandbox, sandboxed: Processor, fault: Fault
) -> None:
    answer = sandboxed.submit(kit.task, moment())
    assert isinstance(answer, Accepted)
    sandbox.faults.add(fault)
    assert isinstance(sandboxed.poll(kit.task, answer.media_id), Unreachable)
    assert isinstance(sandboxed.poll(kit.task, answer.media_id), Finished)


@at_the_sandbox
def test_a_job_that_is_gone_is_lost(kit: Kit, sandbox: Sandbox, sandboxed: Processor) -> None:
    sandbox.faults.add(Fault("poll", "lost"))
    assert isinstance(sandboxed.poll(kit.task, "0" * 24), Lost)
    assert isinstance(sandboxed.poll(kit.task, "0" * 24), Lost)


def test_the_apis_own_refusal_is_final_and_says_why(
    kit: Kit, api: Api, processor: Processor
) -> None:
    for status in (400, 404, 409, 422):
        api.say(status, kit.refusal(status))
        answer = processor.submit(kit.task, moment())
        assert isinstance(answer, Refused)
        assert str(status) in answer.reason
        assert "said" in answer.reason
