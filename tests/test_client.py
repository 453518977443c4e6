"""Requests end: against servers that drip, hang or go silent, over real connections."""

import gzip
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import brotli
import httpx
import pytest

from feedwatch.net.client import Cancellation, client, deadline, retry_after
from feedwatch.processors.http import get
from tests.raw import server
from tests.support import LONG


def drips_headers(connection: socket.socket, over: threading.Event) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not over.wait(0.05):
        connection.sendall(b"x")


def drips_body(connection: socket.socket, over: threading.Event) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not over.wait(0.05):
        connection.sendall(b"x")


def says_nothing(connection: socket.socket, over: threading.Event) -> None:
    connection.recv(65536)
    over.wait()


def reads_nothing(connection: socket.socket, over: threading.Event) -> None:
    over.wait()


def ended_by_a_limit(
    ask: Callable[[], object], error: type[httpx.TimeoutException]
) -> tuple[float, float]:
    """When it began, and the limit that ended it: one that was long enough for it to connect."""
    for seconds in (0.5, 5.0, 50.0):
        begun = time.monotonic()
        try:
            with deadline(seconds):
                ask()
        except httpx.ConnectTimeout:
            continue
        except error:
            return begun, seconds
    raise AssertionError("it was not ended as it should be")


@pytest.mark.parametrize("serve", [drips_headers, drips_body, says_nothing])
def test_a_read_ends_when_the_limit_has_passed(
    serve: Callable[[socket.socket, threading.Event], None],
) -> None:
    with server(serve) as url, client(Cancellation()) as http:
        http.timeout = httpx.Timeout(LONG)
        begun, seconds = ended_by_a_limit(lambda: http.get(url), httpx.ReadTimeout)
        assert time.monotonic() - begun > 0.8 * seconds


def test_a_write_ends_when_the_limit_has_passed() -> None:
    much = b"x" * 50_000_000  # more than the system takes in for a server that reads nothing
    with server(reads_nothing) as url, client(Cancellation()) as http:
        http.timeout = httpx.Timeout(LONG)
        ended_by_a_limit(lambda: http.post(url, content=much), httpx.WriteTimeout)


def test_a_limit_that_has_passed_lets_nothing_leave() -> None:
    with (
        server(says_nothing) as url,
        client(Cancellation()) as http,
        deadline(0),
        pytest.raises(httpx.ConnectTimeout),
    ):
        http.get(url)


def test_an_inner_limit_can_only_shorten_an_outer_one() -> None:
    with server(says_nothing) as url, client(Cancellation()) as http:
        http.timeout = httpx.Timeout(LONG)

        def ask() -> None:
            with deadline(LONG):
                http.get(url)

        ended_by_a_limit(ask, httpx.ReadTimeout)


def test_a_cancellation_ends_what_is_under_way() -> None:
    cancellation = Cancellation()

    def says_nothing_and_brakes(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        cancellation.stop_in(0.2)
        over.wait()

    with server(says_nothing_and_brakes) as url, client(cancellation) as http:
        http.timeout = httpx.Timeout(LONG)
        with pytest.raises(httpx.ReadTimeout):
            http.get(url)


def test_the_client_follows_no_redirect() -> None:
    def redirects(connection: socket.socket, _over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n")

    with server(redirects) as url, client(Cancellation()) as http:
        assert http.get(url).status_code == 302


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("br", brotli.compress)])
def test_a_packed_answer_of_an_api_is_read_too(coding: str, pack: Callable[[bytes], bytes]) -> None:
    body = pack(b'{"data": []}')

    def answers(connection: socket.socket, _over: threading.Event) -> None:
        connection.recv(65536)
        head = f"Content-Encoding: {coding}\r\nContent-Length: {len(body)}"
        connection.sendall(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode() + body)

    with server(answers) as url, client(Cancellation(), base_url=url) as http:
        response = get(http, "/x")
    assert isinstance(response, httpx.Response)
    assert response.json() == {"data": []}


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("120", timedelta(seconds=120)),
        ("0", timedelta()),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", timedelta()),
        ("9" * 400, timedelta(days=100)),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str, wait: timedelta | None) -> None:
    assert retry_after(httpx.Response(429, headers={"retry-after": value})) == wait


def test_retry_after_as_a_date_is_a_wait_from_now() -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    wait = retry_after(httpx.Response(503, headers={"retry-after": moment}))
    assert wait is not None
    assert timedelta(minutes=59) < wait <= timedelta(hours=1)
