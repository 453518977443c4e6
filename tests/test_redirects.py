"""Where a redirect may lead, and which one is for good: real servers on loopback.

127.0.0.2 stands for the public net: only how private it is taken to be is made up.
"""

import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from feedwatch.core.feed import Address, Document, Failed, Fetched, NotModified
from feedwatch.core.feed import Feed as KnownEpisode
from feedwatch.core.settings import FeedConfig
from feedwatch.feeds.fetch import fetch
from feedwatch.net.address_scope import Scope, address_scope
from feedwatch.net.client import Cancellation, TooPrivateError, client, limit_scope
from tests.raw import server
from tests.support import FeedServer, rss

PUBLIC = "127.0.0.2"
REFUSED = "redirects to a private address ({}), refused"


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with client(Cancellation()) as http:
        yield http


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> Iterator[FeedServer]:
    """A server on an address that is taken to be public."""

    def as_if(address: str) -> Scope:
        return Scope.PUBLIC if address == PUBLIC else address_scope(address)

    monkeypatch.setattr("feedwatch.net.client.address_scope", as_if)
    with FeedServer(PUBLIC) as feeds:
        yield feeds


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The DNS: what each name is resolved to, one answer after another; the last one stays."""
    answers: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def look_up(host: str, *args: Any, **more: Any) -> Any:
        if host in answers:
            queue = answers[host]
            host = queue.pop(0) if len(queue) > 1 else queue[0]
        return real(host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return answers


def source(url: str, **more: Any) -> FeedConfig:
    wait = timedelta(minutes=15)
    return FeedConfig(name="show", url=url, podcast_id="p", check_interval=wait, **more)


def reason(outcome: Fetched) -> str:
    assert isinstance(outcome, Failed)
    return outcome.reason


def redirect(feeds: FeedServer, to: str, status: int = 302, path: str = "/feed.xml") -> None:
    feeds.answer(status=status, headers={"Location": to}, path=path)


# How private


@pytest.mark.parametrize(
    ("location", "address"),
    [
        ("http://127.0.0.1:1/feed.xml", "127.0.0.1"),
        ("http://localhost:1/feed.xml", "127.0.0.1"),
        ("http://2130706433:1/feed.xml", "127.0.0.1"),
        ("http://10.0.0.1/feed.xml", "10.0.0.1"),
        ("http://169.254.169.254/latest/meta-data/", "169.254.169.254"),
        ("http://[::ffff:169.254.169.254]/", "::ffff:169.254.169.254"),
        ("https://192.168.0.1/", "192.168.0.1"),
        ("http://0.0.0.0:1/", "0.0.0.0"),
    ],
)
def test_a_public_feed_leads_to_no_private_address(
    http: httpx.Client, public: FeedServer, location: str, address: str
) -> None:
    redirect(public, location)
    outcome = fetch(http, source(public.url), None)
    if "localhost" in location:
        assert "redirects to a private address" in reason(outcome)
    else:
        assert reason(outcome) == REFUSED.format(address)


def test_a_feed_of_this_machine_may_stay_on_it(http: httpx.Client, feed_server: FeedServer) -> None:
    with FeedServer() as other:
        other.publish(1)
        redirect(feed_server, other.url)
        assert isinstance(fetch(http, source(feed_server.url), None), Document)


@pytest.mark.parametrize("address", ["169.254.169.254", "0.0.0.0", "[fe80::1]"])
def test_not_even_a_feed_of_this_machine_leads_to_metadata(
    http: httpx.Client, feed_server: FeedServer, address: str
) -> None:
    redirect(feed_server, f"http://{address}:1/")
    outcome = fetch(http, source(feed_server.url), None)
    assert reason(outcome) == REFUSED.format(address.strip("[]"))


def test_a_detour_over_public_servers_changes_nothing(
    http: httpx.Client, public: FeedServer, feed_server: FeedServer
) -> None:
    feed_server.publish(1)
    redirect(public, "/next.xml")
    redirect(public, feed_server.url, path="/next.xml")
    assert reason(fetch(http, source(public.url), None)) == REFUSED.format("127.0.0.1")
    assert feed_server.count() == 0


def test_a_name_that_becomes_private_between_two_requests_is_refused(
    http: httpx.Client,
    public: FeedServer,
    names: dict[str, list[str]],
) -> None:
    names["rebind.example"] = [PUBLIC, "127.0.0.1"]
    url = public.url.replace(PUBLIC, "rebind.example")
    public.answer(status=302, headers={"Location": "/next.xml", "Connection": "close"})
    assert reason(fetch(http, source(url), None)) == REFUSED.format("127.0.0.1")


def test_a_name_is_resolved_once_and_connected_to_as_resolved(
    http: httpx.Client, public: FeedServer, names: dict[str, list[str]]
) -> None:
    # A second look-up would be answered by a private address.
    names["twice.example"] = [PUBLIC, "127.0.0.1"]
    public.publish(1)
    url = public.url.replace(PUBLIC, "twice.example")
    with limit_scope(Scope.PUBLIC):
        assert http.get(url).status_code == 200
    assert public.seen[-1][1]["host"].startswith("twice.example:")


def test_of_several_addresses_only_those_that_are_allowed_are_tried(
    http: httpx.Client, public: FeedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = httpx.URL(public.url).port
    both = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
        for address in ("127.0.0.1", PUBLIC)
    ]
    real = socket.getaddrinfo

    def look_up(host: str, *args: Any, **more: Any) -> Any:
        return both if host == "both.example" else real(host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    public.publish(1)
    with limit_scope(Scope.PUBLIC):
        assert http.get(f"http://both.example:{port}/feed.xml").status_code == 200


def test_a_connection_that_was_opened_for_a_private_feed_serves_no_other(
    http: httpx.Client, feed_server: FeedServer
) -> None:
    feed_server.publish(1)
    assert http.get(feed_server.url).status_code == 200  # and is kept open
    with limit_scope(Scope.PUBLIC), pytest.raises(TooPrivateError, match=r"127\.0\.0\.1"):
        http.get(feed_server.url)
    assert feed_server.count() == 1
    assert http.get(feed_server.url).status_code == 200


def test_nothing_is_sent_to_an_address_that_is_refused(
    http: httpx.Client, public: FeedServer
) -> None:
    connected = threading.Event()

    def notices(_connection: socket.socket, _over: threading.Event) -> None:
        connected.set()

    with server(notices) as url:
        redirect(public, url)
        assert "refused" in reason(fetch(http, source(public.url), None))
    assert not connected.is_set()


# For good


@pytest.mark.parametrize("status", [301, 308])
def test_a_permanent_redirect_says_where_the_feed_has_moved(
    http: httpx.Client, feed_server: FeedServer, status: int
) -> None:
    redirect(feed_server, "/new.xml", status)
    feed_server.publish(1, path="/new.xml")
    document = fetch(http, source(feed_server.url), None)
    assert isinstance(document, Document)
    new = Address(url=feed_server.url_of("/new.xml"), scope=Scope.LOOPBACK)
    assert document.moved == new
    known = KnownEpisode(name="show", url=feed_server.url, etag=document.etag)
    assert fetch(http, source(feed_server.url), known) == NotModified(moved=new)


@pytest.mark.parametrize("statuses", [(302,), (301, 302), (307, 301), (303, 308)])
def test_one_temporary_redirect_makes_all_of_them_temporary(
    http: httpx.Client, feed_server: FeedServer, statuses: tuple[int, ...]
) -> None:
    places = ["/feed.xml", *(f"/{number}.xml" for number in range(len(statuses)))]
    for status, here, there in zip(statuses, places, places[1:], strict=False):
        redirect(feed_server, there, status, path=here)
    feed_server.publish(1, path=places[-1])
    document = fetch(http, source(feed_server.url), None)
    assert isinstance(document, Document)
    assert document.moved is None


def test_no_redirect_is_no_move(http: httpx.Client, feed_server: FeedServer) -> None:
    feed_server.publish(1)
    document = fetch(http, source(feed_server.url), None)
    assert isinstance(document, Document)
    assert document.moved is None


def test_a_password_in_the_location_is_not_remembered(
    http: httpx.Client, feed_server: FeedServer
) -> None:
    there = feed_server.url_of("/new.xml")
    redirect(feed_server, there.replace("//", "//user:geheim@") + "#top", 301)
    feed_server.publish(1, path="/new.xml")
    document = fetch(http, source(feed_server.url), None)
    assert isinstance(document, Document)
    assert document.moved is not None
    assert document.moved.url == there


# At the new address


def test_a_feed_that_has_moved_is_asked_for_there(
    http: httpx.Client, feed_server: FeedServer
) -> None:
    new = Address(url=feed_server.url_of("/new.xml"), scope=Scope.LOOPBACK)
    feed_server.answer(body=rss(1), path="/new.xml")
    assert isinstance(fetch(http, source(feed_server.url), None, new), Document)
    assert feed_server.count() == 0


def test_credentials_go_to_the_configured_origin_only_wherever_the_feed_has_moved(
    http: httpx.Client, feed_server: FeedServer
) -> None:
    def sent(feeds: FeedServer) -> set[str]:
        return set(feeds.seen[-1][1]) & {"authorization", "x-token"}

    url = feed_server.url.replace("//", "//user:geheim@")
    for private in (
        source(feed_server.url, username="u", password="p", headers={"X-Token": "t"}),
        source(url, headers={"X-Token": "t"}),
    ):
        feed_server.publish(1, path="/new.xml")
        near = Address(url=feed_server.url_of("/new.xml"), scope=Scope.LOOPBACK)
        assert isinstance(fetch(http, private, None, near), Document)
        assert sent(feed_server) == {"authorization", "x-token"}
        with FeedServer() as elsewhere:
            elsewhere.publish(1)
            far = Address(url=elsewhere.url, scope=Scope.LOOPBACK)
            assert isinstance(fetch(http, private, None, far), Document)
            assert sent(elsewhere) == set()


def test_a_new_address_is_bound_by_how_private_the_configured_one_is(
    http: httpx.Client, feed_server: FeedServer
) -> None:
    feed_server.publish(1)
    moved = Address(url=feed_server.url, scope=Scope.PUBLIC)
    outcome = fetch(http, source("http://public.example/"), None, moved)
    assert reason(outcome) == REFUSED.format("127.0.0.1")
