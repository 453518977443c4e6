"""Proxies for the API and for feeds, what the address guard can do behind one, and certificates."""

import base64
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from feedwatch.net.address_scope import Scope
from feedwatch.net.client import Cancellation, TooPrivateError, client, limit_scope, scope_of
from feedwatch.sandbox.server import Sandbox
from tests.support import FeedServer, Feedwatch, Loopback, Workspace
from tests.tls import https_before, make_authority, needs_openssl

DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Proxy(Loopback):
    """A proxy for plain HTTP that wants a user and a password, and knows a name of its own."""

    def __init__(self, names: dict[str, str]) -> None:
        self.over = threading.Event()
        self.seen: list[str] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                login = self.headers.get("Proxy-Authorization", "").rpartition(" ")[2]
                if base64.b64decode(login) != b"joe:sesame":
                    self.send_error(407)
                    return
                proxy.seen.append(f"{self.command} {self.path}")
                host = self.path.split("/")[2]
                url = self.path.replace(host, names.get(host, host), 1)
                length = self.headers.get("Content-Length")
                body = self.rfile.read(int(length)) if length else None
                headers = {
                    k: v for k, v in self.headers.items() if k[:4].lower() in ("auth", "cont")
                }
                request = urllib.request.Request(url, body, headers, method=self.command)
                try:
                    answer: Any = DIRECTLY.open(request)
                except urllib.error.HTTPError as error:
                    answer = error
                with answer:
                    said = answer.read()
                    self.send_response(answer.status)
                    if location := answer.headers.get("Location"):
                        self.send_header("Location", location)
                    self.send_header("Content-Length", str(len(said)))
                    self.end_headers()
                    self.wfile.write(said)

            do_POST = do_GET  # noqa: N815

            def log_message(self, format: str, *_: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def url(self, password: str = "sesame") -> str:
        """Its address, with a password."""
        return f"http://joe:{password}@127.0.0.1:{self._server.server_port}"


@pytest.fixture
def proxy(feed_server: FeedServer) -> Iterator[Proxy]:
    with Proxy({"feeds.example.org": feed_server.url_of("").removeprefix("http://")}) as proxy:
        yield proxy


def test_api_and_feeds_go_each_by_their_own_proxy(
    feedwatch: Feedwatch, workspace: Workspace, proxy: Proxy
) -> None:
    workspace.set(FEED_PROXY=proxy.url(), CHECK_INTERVAL="1m")
    workspace.set(FEEDS__SHOW__URL="http://feeds.example.org/feed.xml")
    assert feedwatch.once().status == 0
    assert proxy.seen == ["GET http://feeds.example.org/feed.xml"]
    with Proxy({}) as other:
        workspace.set(PROXY=other.url())
        assert feedwatch.here("podcasts").status == 0
        (seen,) = other.seen
        assert "/api/v1/podcasts" in seen
    assert feedwatch.episode()["state"] == "ready"


def test_a_submission_by_a_proxy_is_taken_once(
    feedwatch: Feedwatch, workspace: Workspace, proxy: Proxy
) -> None:
    workspace.set(PROXY=proxy.url())
    assert feedwatch.once().status == 0
    assert sum(one.startswith("POST ") for one in proxy.seen) == 1


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "169.254.169.254", "localhost", "[::1]", "10.1.2.3", "2130706433", "127.1"],
)
def test_no_redirect_leads_to_a_private_address_that_the_url_states(
    proxy: Proxy, host: str
) -> None:
    with (
        client(Cancellation(), proxy.url()) as http,
        limit_scope(Scope.PUBLIC),
        pytest.raises(TooPrivateError),
    ):
        http.get(f"http://{host}/")
    assert proxy.seen == []


def test_a_name_counts_as_public_since_only_the_proxy_knows_what_it_leads_to(proxy: Proxy) -> None:
    with (
        client(Cancellation(), proxy.url()) as http,
        limit_scope(Scope.PUBLIC),
        http.stream("GET", "http://feeds.example.org/feed.xml") as response,
    ):
        assert scope_of(response) is Scope.PUBLIC


def test_a_proxy_that_refuses_is_no_doubt_about_a_submission(
    feedwatch: Feedwatch, workspace: Workspace, proxy: Proxy
) -> None:
    workspace.set(PROXY=proxy.url("wrong"))
    assert feedwatch.once("--timeout", "0").status == 1
    assert feedwatch.episode()["state"] == "queued"


def test_doctor_names_a_proxy_that_refuses_to_connect(
    feedwatch: Feedwatch, workspace: Workspace, proxy: Proxy
) -> None:
    # For https a proxy is asked to CONNECT, which this one cannot.
    workspace.set(FEED_PROXY=proxy.url(), FEEDS__SHOW__URL="https://127.0.0.1:1/feed.xml")
    ended = feedwatch.here("doctor")
    assert ended.status == 1
    assert "the proxy refuses: see FEEDWATCH_FEED_PROXY" in ended.stdout
    assert "sesame" not in ended.output


@pytest.mark.parametrize(
    ("value", "what"), [("proxy:3128", "http://"), ("http://proxy:3128/path", "HOST:PORT")]
)
def test_what_is_no_proxy_is_refused(
    feedwatch: Feedwatch, workspace: Workspace, value: str, what: str
) -> None:
    workspace.set(PROXY=value)
    ended = feedwatch.here("status")
    assert ended.status == 2
    assert f"FEEDWATCH_PROXY='{value}'" in ended.stderr
    assert what in ended.stderr


def test_a_file_of_authorities_that_is_none_is_told(feedwatch: Feedwatch, tmp_path: Path) -> None:
    for file in (tmp_path / "none.crt", Path(__file__)):
        ended = feedwatch.here("run", "--once", env={"SSL_CERT_FILE": str(file)})
        assert ended.status == 2
        assert f"SSL_CERT_FILE='{file}': expected a file of certificates" in ended.stderr


def test_without_a_proxy_in_the_config_none_of_the_environment_is_used(
    feedwatch: Feedwatch, proxy: Proxy
) -> None:
    env = {"HTTP_PROXY": proxy.url(), "http_proxy": proxy.url()}
    assert feedwatch.here("run", "--once", env=env).status == 0
    assert proxy.seen == []


def test_doctor_knows_its_own_placeholders(feedwatch: Feedwatch, workspace: Workspace) -> None:
    example = Path(__file__).parent.parent / "config.example.env"
    workspace.write(
        f"{example.read_text()}\nFEEDWATCH_PROXY=http://127.0.0.1:1\nFEEDWATCH_FEED_PROXY=http://127.0.0.1:1\n"
    )
    ended = feedwatch.here("doctor")
    for key in ("API_KEY", "FEEDS__SHOW__URL", "FEEDS__SHOW__PODCAST_ID"):
        assert f"FEEDWATCH_{key} is a placeholder" in ended.stdout


@needs_openssl
def test_doctor_names_an_authority_that_is_not_trusted_and_with_it_all_works(
    feedwatch: Feedwatch,
    workspace: Workspace,
    sandbox: Sandbox,
    feed_server: FeedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Made anew for each client: the one context of a process knows the authorities of its start.
    monkeypatch.setattr("feedwatch.net.client._tls_context", httpx.create_ssl_context)
    authority = make_authority(tmp_path)
    feeds = int(feed_server.url_of("").rpartition(":")[2])
    with https_before(sandbox.port, authority) as api, https_before(feeds, authority) as publisher:
        workspace.set(API_URL=api, FEEDS__SHOW__URL=f"{publisher}/feed.xml")
        untrusted = feedwatch.here("doctor", "--json")
        mends = {one["check"]: one["mend"] or "" for one in untrusted.json}
        for check in ("clock", "API key", "feed show"):
            assert "SSL_CERT_FILE" in mends[check], (check, mends)
        trusted = {"SSL_CERT_FILE": str(authority)}
        assert feedwatch.here("doctor", env=trusted).status == 0
        assert feedwatch.here("run", "--once", env=trusted).status == 0
        assert feedwatch.states() == {"guid-1": "ready"}


def test_doctor_names_the_proxy_of_the_api_that_refuses(
    feedwatch: Feedwatch, workspace: Workspace, proxy: Proxy
) -> None:
    workspace.set(PROXY=proxy.url(), API_URL="https://127.0.0.1:1")
    ended = feedwatch.here("doctor", "--json")
    assert ended.status == 1
    mends = {one["check"]: one["mend"] or "" for one in ended.json}
    for check in ("clock", "API key"):
        assert "the proxy refuses: see FEEDWATCH_PROXY" in mends[check]
    assert "sesame" not in ended.output
