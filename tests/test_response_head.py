"""Header lines that other clients take or pass over do not cost a feed."""

import socket
import threading
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from feedwatch.core.feed import Document
from feedwatch.core.settings import FeedConfig
from feedwatch.feeds import fetch as fetch_module
from feedwatch.feeds.fetch import fetch
from feedwatch.net import client as client_module
from feedwatch.net.client import Cancellation, client
from feedwatch.net.response_head import LONGEST, ResponseHead, mended
from tests.raw import server
from tests.support import FeedServer, rss

BODY = rss(1)
LENGTH = b"Content-Length: %d" % len(BODY)


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with client(Cancellation(), headers={"user-agent": "feedwatch/test"}) as http:
        yield http


def source(url: str) -> FeedConfig:
    return FeedConfig(name="show", url=url, podcast_id="p", check_interval=timedelta(minutes=15))


@pytest.mark.parametrize(
    ("line", "becomes"),
    [
        (b"get-ban/forum.php: no", []),
        (b"Warning", []),
        (b": nothing", []),
        (b"", []),
        (b"X Y: 1", []),
        (b"<b>Notice</b>: Undefined index in /x.php:3", []),
        (b"X: a\0b", []),
        (b"X-Powered : php", [b"X-Powered: php"]),
        (b"X:", [b"X: "]),
        (b"X: caf\xe9", [b"X: caf\xe9"]),
        (b"X: a\r\n b", [b"X: a", b" b"]),
        (b"no header\r\n that goes on", []),
        (b"Content-Length: many", []),
        (b"Content-Length: 5", [b"Content-Length: 5"]),
        (b"Transfer-Encoding: identity", []),
        (
            b"Transfer-Encoding: chunked\r\ntransfer-encoding: Chunked",
            [b"Transfer-Encoding: chunked"],
        ),
    ],
)
def test_lines_that_are_no_header_lines_are_left_out(line: bytes, becomes: list[bytes]) -> None:
    around = b"HTTP/1.1 200 OK\r\nA: 1\r\n%s\r\nB: 2"
    wanted = [b"HTTP/1.1 200 OK", b"A: 1", *becomes, b"B: 2"]
    assert mended(around % line).split(b"\r\n") == wanted


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_heads_come_in_pieces_of_any_size_and_bodies_pass_as_they_are(size: int) -> None:
    head = ResponseHead()
    sent = b"HTTP/1.1 103 Early\r\nno\r\n\r\nHTTP/1.1 200 OK\r\nno\r\nA: 1\r\n\r\nno\r\n\r\nA\n\nB"
    for _ in range(2):
        pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
        passed = b"".join(map(head.passed, pieces))
        assert (
            passed == b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nA: 1\r\n\r\nno\r\n\r\nA\n\nB"
        )
        head.expect()


def test_a_head_without_an_end_is_passed_on_as_it_is() -> None:
    head = ResponseHead()
    assert head.passed(b"x" * LONGEST) == b""
    assert head.passed(b"yz") == b"x" * LONGEST + b"yz"
    head.expect()
    assert head.passed(b"HTTP") == b""
    assert head.passed(b"") == b"HTTP"


@pytest.mark.parametrize(
    "head",
    [
        b"Warning\r\n" + LENGTH,
        b"bad/name: 1\r\n" + LENGTH,
        b"Content-Length : %d" % len(BODY),
        b"Content-Length: unknown\r\nConnection: close",
        b"Content-Encoding: UTF-8\r\n" + LENGTH,
        b"Content-Encoding: gzip\r\n" + LENGTH,
        b"Content-Encoding: none, br\r\n" + LENGTH,
        b"Content-Encoding: gzip, deflate\r\n" + LENGTH,
    ],
)
@pytest.mark.parametrize("status", [b"200 OK", b"203 Non-Authoritative Information", b"200"])
def test_odd_answers_that_browsers_take_are_read(
    http: httpx.Client, head: bytes, status: bytes
) -> None:
    def serve(connection: socket.socket, _over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 %s\r\n%s\r\n\r\n%s" % (status, head, BODY))

    with server(serve) as url:
        document = fetch(http, source(url), None)
    assert isinstance(document, Document), document
    assert document.body == BODY


def test_a_charset_that_the_header_states_comes_with_the_document(
    http: httpx.Client, feed_server: FeedServer
) -> None:
    for stated, charset in {
        'text/xml; charset="Big5"': "Big5",
        "text/xml;Charset = 'koi8-r' ; x=y": "koi8-r",
        "text/xml, application/xml; charset=utf-8, text/xml": "utf-8",
        "text/xml; charset=": None,
        "text/xml": None,
        "": None,
    }.items():
        feed_server.answer(body=BODY, headers={"Content-Type": stated})
        document = fetch(http, source(feed_server.url), None)
        assert isinstance(document, Document)
        assert document.charset == charset


def cookies(server: FeedServer) -> list[str | None]:
    sent = ({name.lower(): value for name, value in headers.items()} for _, headers in server.seen)
    return [headers.get("cookie") for headers in sent]


def test_cookies_live_within_one_fetch_and_its_redirects(
    http: httpx.Client, feed_server: FeedServer
) -> None:
    headers = {"Location": "/there.xml", "Set-Cookie": "seen=1; Path=/"}
    feed_server.answer(302, headers=headers)
    feed_server.answer(body=BODY, headers={"Set-Cookie": "other=2"}, path="/there.xml")
    for _ in range(2):
        assert isinstance(fetch(http, source(feed_server.url), None), Document)
    assert cookies(feed_server) == [None, "seen=1", None, "seen=1"]


def test_cookies_stay_with_their_host(http: httpx.Client, feed_server: FeedServer) -> None:
    with FeedServer() as elsewhere:
        elsewhere.publish(1)
        away = elsewhere.url.replace("127.0.0.1", "localhost")
        feed_server.answer(302, headers={"Location": away, "Set-Cookie": "secret=1; Path=/"})
        assert isinstance(fetch(http, source(feed_server.url), None), Document)
        assert cookies(elsewhere) == [None]


def test_a_server_may_be_silent_for_as_long_as_the_whole_request_may_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def serve(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        over.wait(0.3)
        connection.sendall(b"HTTP/1.1 200 OK\r\n%s\r\n\r\n%s" % (LENGTH, BODY))

    monkeypatch.setattr(client_module, "SILENCE_SECONDS", 0.01)
    with server(serve) as url, client(Cancellation()) as impatient:
        assert isinstance(fetch(impatient, source(url), None), Document)
    assert fetch_module.SECONDS == 60, "as docs/fetching.md says"
