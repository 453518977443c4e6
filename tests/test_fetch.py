"""One GET of a feed, against a real server."""

import base64
import gzip
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import brotli
import httpx
import pytest

from feedwatch.core.feed import Document, Failed, Feed, Fetched, Gone, Links, NotModified, Same
from feedwatch.core.settings import FeedConfig
from feedwatch.feeds import fetch as fetch_module
from feedwatch.feeds.fetch import MOST_HELD, fetch
from feedwatch.feeds.hashes import hashed
from feedwatch.net.client import Cancellation, client
from tests.raw import server
from tests.support import FeedServer, rss

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with client(Cancellation(), headers={"user-agent": "feedwatch/test"}) as http:
        yield http


def source(server: FeedServer, **values: object) -> FeedConfig:
    plain = FeedConfig(
        name="show", url=server.url, podcast_id="p", check_interval=timedelta(minutes=15)
    )
    return replace(plain, **values)  # type: ignore[arg-type]


def failed(outcome: Fetched | Same) -> Failed:
    assert isinstance(outcome, Failed)
    return outcome


def test_a_document_comes_with_its_validators_and_its_url(
    http: httpx.Client, feed_server: FeedServer
) -> None:
    document = fetch(http, source(feed_server), None)
    assert isinstance(document, Document)
    assert document.body == rss(1)
    assert document.url == feed_server.url
    assert document.etag


def test_an_unchanged_document_is_not_sent_again(
    http: httpx.Client, feed_server: FeedServer
) -> None:
    document = fetch(http, source(feed_server), None)
    assert isinstance(document, Document)
    known = Feed(name="show", url=feed_server.url, etag=document.etag)
    assert fetch(http, source(feed_server), known) == NotModified()


def test_bytes_that_came_before_are_not_unpacked(
    http: httpx.Client, feed_server: FeedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = {"Link": '<https://hub.example/>; rel="hub"'}
    headers = {"Content-Encoding": "gzip", "ETag": '"1"', **hub}
    feed_server.answer(body=gzip.compress(rss(1), mtime=1), headers=headers)
    show = source(feed_server)
    first = fetch(http, show, None, None, Feed(name="show", url=show.url))
    assert isinstance(first, Document)
    first = hashed(first, show.rules)
    topic, link = first.links.itself or first.url, first.links.hub
    last = Feed(name="show", url=show.url, body_hash=first.body_hash, hub=link, hub_topic=topic)
    with monkeypatch.context() as patch:
        patch.setattr(fetch_module, "read_bounded", None)
        again = fetch(http, show, None, None, last)
    assert isinstance(again, Same)
    assert again.document.links == Links(hub="https://hub.example/", itself=topic)
    assert (again.document.etag, again.document.body_hash) == ('"1"', first.body_hash)

    other = replace(show, rules=replace(show.rules, media_types=("video/*",)))
    assert isinstance(fetch(http, other, None, None, last), Document), "by other rules"
    older = replace(last, body_hash=(first.body_hash or b"")[:16])
    assert isinstance(fetch(http, show, None, None, older), Document), "of a version without it"
    feed_server.answer(body=gzip.compress(rss(1), mtime=1), headers={"Content-Encoding": "gzip"})
    assert isinstance(fetch(http, show, None, None, last), Document), "with other links"
    feed_server.answer(body=gzip.compress(rss(1), mtime=1), headers=hub)
    assert isinstance(fetch(http, show, None, None, last), Document), "not said to be packed"
    stated = headers | {"Content-Type": "text/xml; charset=windows-1251"}
    feed_server.answer(body=gzip.compress(rss(1), mtime=1), headers=stated)
    assert isinstance(fetch(http, show, None, None, last), Document), "in another character set"
    feed_server.answer(body=gzip.compress(rss(1), mtime=1), headers=headers, path="/other.xml")
    other = replace(show, url=feed_server.url_of("/other.xml"))
    assert isinstance(fetch(http, other, None, None, last), Document), "from another address"
    feed_server.answer(body=gzip.compress(rss(1), mtime=2), headers=headers)
    assert isinstance(fetch(http, show, None, None, last), Document), "packed at another time"
    feed_server.answer(body=b" " * MOST_HELD + rss(1))
    large = fetch(http, show, None, None, Feed(name="show", url=show.url))
    assert isinstance(large, Document)
    assert large.packed_hash is None


@pytest.mark.parametrize(
    ("coding", "pack"), [("gzip", gzip.compress), ("br", brotli.compress), ("zstd", zstd.compress)]
)
def test_a_packed_body_is_asked_for_and_unpacked(
    http: httpx.Client, feed_server: FeedServer, coding: str, pack: Callable[[bytes], bytes]
) -> None:
    feed_server.answer(body=pack(rss(1)), headers={"Content-Encoding": coding})
    document = fetch(http, source(feed_server), None)
    assert isinstance(document, Document)
    assert document.body == rss(1)
    assert coding in feed_server.seen[-1][1]["accept-encoding"].split(", ")


@pytest.mark.parametrize(
    ("status", "says"),
    [(404, "404"), (500, "500"), (401, "credentials"), (403, "USER_AGENT"), (204, "204")],
)
def test_an_error_is_told_in_words(
    http: httpx.Client, feed_server: FeedServer, status: int, says: str
) -> None:
    feed_server.answer(status=status)
    assert says in failed(fetch(http, source(feed_server), None)).reason


def test_gone_is_gone(http: httpx.Client, feed_server: FeedServer) -> None:
    feed_server.answer(status=410)
    assert fetch(http, source(feed_server), None) == Gone()


def test_retry_after_is_passed_on(http: httpx.Client, feed_server: FeedServer) -> None:
    feed_server.answer(status=429, headers={"Retry-After": "77"})
    outcome = failed(fetch(http, source(feed_server), None))
    assert outcome.retry_after == timedelta(seconds=77)


def test_a_body_over_the_limit_is_a_failure(
    http: httpx.Client, feed_server: FeedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_module, "MAX_BYTES", 100)
    assert "larger than" in failed(fetch(http, source(feed_server), None)).reason


def test_a_body_that_ends_before_its_length_is_a_failure(http: httpx.Client) -> None:
    def breaks_off(connection: socket.socket, _over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<rss>")

    with server(breaks_off) as url:
        short = FeedConfig(name="x", url=url, podcast_id="p", check_interval=timedelta(minutes=15))
        assert "could not be fetched" in failed(fetch(http, short, None)).reason


def test_a_server_that_is_slow_for_too_long_is_a_failure(
    http: httpx.Client, feed_server: FeedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_module, "SECONDS", 0.2)
    feed_server.etags = False
    feed_server.answer(body=rss(1), delay=2)
    assert "in time" in failed(fetch(http, source(feed_server), None)).reason


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/feed", "http://no-such-host.invalid/feed"])
def test_a_server_that_is_not_there_is_a_failure(http: httpx.Client, url: str) -> None:
    nobody = FeedConfig(name="x", url=url, podcast_id="p", check_interval=timedelta(minutes=15))
    assert "could not be fetched" in failed(fetch(http, nobody, None)).reason


def test_a_redirect_is_followed_and_the_document_knows_where_it_came_from(
    http: httpx.Client, feed_server: FeedServer
) -> None:
    there = feed_server.url.replace("/feed.xml", "/there.xml")
    feed_server.answer(status=301, headers={"Location": "/there.xml"})
    feed_server.answer(body=rss(2), path="/there.xml")
    document = fetch(http, source(feed_server), None)
    assert isinstance(document, Document)
    assert document.url == there


def test_a_circle_of_redirects_is_a_failure(http: httpx.Client, feed_server: FeedServer) -> None:
    feed_server.answer(status=302, headers={"Location": "/feed.xml"})
    assert "redirects" in failed(fetch(http, source(feed_server), None)).reason


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://h/feed", "javascript:x"])
def test_a_redirect_leads_to_the_web_only(
    http: httpx.Client, feed_server: FeedServer, location: str
) -> None:
    feed_server.answer(status=302, headers={"Location": location})
    reason = failed(fetch(http, source(feed_server), None)).reason
    assert "redirects to a" in reason or "InvalidURL" in reason


def test_a_feeds_credentials_headers_and_agent_are_sent(
    http: httpx.Client, feed_server: FeedServer
) -> None:
    private = source(
        feed_server, username="u", password="p", headers={"X-Token": "t"}, user_agent="Agent/1"
    )
    assert isinstance(fetch(http, private, None), Document)
    _, sent = feed_server.seen[-1]
    sent = {name.lower(): value for name, value in sent.items()}
    assert sent["authorization"] == "Basic " + base64.b64encode(b"u:p").decode()
    assert (sent["x-token"], sent["user-agent"]) == ("t", "Agent/1")


def test_credentials_and_headers_stay_with_their_origin(
    http: httpx.Client, feed_server: FeedServer
) -> None:
    with FeedServer() as elsewhere:
        elsewhere.publish(1)
        feed_server.answer(status=302, headers={"Location": elsewhere.url})
        private = source(feed_server, username="u", password="p", headers={"X-Token": "t"})
        assert isinstance(fetch(http, private, None), Document)
        _, sent = elsewhere.seen[-1]
    names = {name.lower() for name in sent}
    assert not names & {"authorization", "x-token"}


def test_a_body_packed_twice_is_refused_before_it_is_unpacked(
    http: httpx.Client, feed_server: FeedServer
) -> None:
    bomb = gzip.compress(gzip.compress(bytes(50_000_000)))
    feed_server.answer(body=bomb, headers={"Content-Encoding": "gzip, gzip"})
    assert "not asked for" in failed(fetch(http, source(feed_server), None)).reason


def test_a_small_body_that_unpacks_to_a_large_one_is_a_failure(
    http: httpx.Client, feed_server: FeedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_module, "MAX_BYTES", 1_000_000)
    feed_server.answer(body=gzip.compress(bytes(2_000_000)), headers={"Content-Encoding": "gzip"})
    assert "larger than 1 MB" in failed(fetch(http, source(feed_server), None)).reason


@pytest.mark.parametrize("body", [gzip.compress(rss(1))[:-20], b"no gzip at all"])
def test_a_body_that_is_not_the_gzip_it_says_is_a_failure(
    http: httpx.Client, feed_server: FeedServer, body: bytes
) -> None:
    feed_server.answer(body=body, headers={"Content-Encoding": "gzip"})
    assert "gzip" in failed(fetch(http, source(feed_server), None)).reason


def test_not_modified_without_having_asked_is_a_failure(
    http: httpx.Client, feed_server: FeedServer
) -> None:
    feed_server.answer(304)
    assert "without conditions" in failed(fetch(http, source(feed_server), None)).reason


def test_a_password_in_the_feeds_address_is_not_handed_on(
    http: httpx.Client, feed_server: FeedServer
) -> None:
    url = feed_server.url.replace("http://", "http://user:secret@")
    document = fetch(http, source(feed_server, url=url), None)
    assert isinstance(document, Document)
    assert "secret" not in document.url


def test_a_validator_that_cannot_be_sent_back_is_forgotten(
    http: httpx.Client, feed_server: FeedServer
) -> None:
    feed_server.answer(body=rss(1), headers={"ETag": '"caf\xe9"'})
    document = fetch(http, source(feed_server), None)
    assert isinstance(document, Document)
    assert document.etag is None
