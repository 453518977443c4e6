"""TLS sessions are offered where they may be: real connections to real servers, on loopback."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Self

import httpx
import pytest

from feedwatch.net import client as net_client
from feedwatch.net.client import Cancellation, Obstacle, client, obstacle
from feedwatch.net.tls_sessions import LONGEST, Sessions, resume
from tests.raw import server
from tests.tls import make_authority, needs_openssl

pytestmark = needs_openssl

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Server:
    """Answers each connection once, and knows which of them were resumed."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.hangs_up = False
        self.resumed: list[bool] = []
        self._listening = socket.create_server(("", 0))
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._accept)

    def url(self, host: str = "127.0.0.1") -> str:
        return f"https://{host}:{self.port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    def _accept(self) -> None:
        with suppress(OSError):  # the end
            while True:
                accepted, _ = self._listening.accept()
                with accepted, suppress(OSError):  # a client that goes away
                    if not self.hangs_up:
                        self._answer(accepted)

    def _answer(self, accepted: socket.socket) -> None:
        with self.context.wrap_socket(accepted, server_side=True) as secure:
            self.resumed.append(bool(secure.session_reused))
            secure.recv(65_536)
            head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            secure.sendall(head)


def serving(folder: Path, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """What a server with the certificate in `folder` has; servers that share it share tickets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    context.maximum_version = version
    return context


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of a certificate for 127.0.0.1, and of its authority."""
    return make_authority(tmp_path_factory.mktemp("trusted")).parent


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of an authority that nobody trusts."""
    return make_authority(tmp_path_factory.mktemp("stranger")).parent


@pytest.fixture
def context(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """The one context of this process, as it were if this process had just begun."""
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    context = net_client._tls_context.__wrapped__()
    monkeypatch.setattr(net_client, "_tls_context", lambda: context)
    return context


@pytest.fixture
def http(context: ssl.SSLContext) -> Iterator[httpx.Client]:
    with client(Cancellation()) as http:
        yield http


def refused_for_its_certificate(ask: Callable[[], object]) -> bool:
    with pytest.raises(httpx.ConnectError) as raised:
        ask()
    return obstacle(raised.value) is Obstacle.CERTIFICATE


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_that_was_met_before_proves_nothing_again(
    http: httpx.Client, folder: Path, version: ssl.TLSVersion
) -> None:
    with Server(serving(folder, version)) as one:
        for _ in range(4):
            http.get(one.url())
    assert one.resumed == [False, True, True, True]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_that_takes_no_session_makes_a_full_handshake(
    http: httpx.Client, folder: Path, stranger: Path, version: ssl.TLSVersion
) -> None:
    with Server(serving(folder, version)) as one:
        http.get(one.url())
        one.context = serving(folder, version)  # with other keys for its tickets
        http.get(one.url())
        http.get(one.url())
        assert one.resumed == [False, False, True]
        one.context = serving(stranger, version)
        assert refused_for_its_certificate(lambda: http.get(one.url()))
        assert refused_for_its_certificate(lambda: http.get(one.url()))


def test_a_session_is_for_one_host_name(http: httpx.Client, folder: Path) -> None:
    with Server(serving(folder)) as one:
        http.get(one.url())
        # It would take the session, and its certificate is not for this name.
        assert refused_for_its_certificate(lambda: http.get(one.url("127.0.0.2")))
        http.get(one.url())
    assert one.resumed[-1]


def test_a_session_is_for_one_port(http: httpx.Client, folder: Path, stranger: Path) -> None:
    shared = serving(folder)
    with Server(shared) as one, Server(shared) as other, Server(serving(stranger)) as third:
        http.get(one.url())
        http.get(other.url())
        assert refused_for_its_certificate(lambda: http.get(third.url()))
    assert other.resumed == [False]


def test_behind_a_proxy_too_a_session_is_for_one_port(
    context: ssl.SSLContext, folder: Path
) -> None:
    def passes_on(connection: socket.socket, _over: threading.Event) -> None:
        target = connection.recv(65_536).split()[1].decode()
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with socket.create_connection(("127.0.0.1", int(target.rpartition(":")[2]))) as inner:
            back = threading.Thread(target=_pump, args=(inner, connection))
            back.start()
            _pump(connection, inner)
            back.join()

    shared = serving(folder)
    with Server(shared) as one, Server(shared) as other, server(passes_on) as proxy:
        for url in (one.url(), other.url(), one.url(), other.url()):
            with client(Cancellation(), proxy) as http:
                http.get(url)
    assert one.resumed == other.resumed == [False, True]


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(65_536):
            target.sendall(part)
        target.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize(
    "other", [{"authorization": "Basic b3RoZXI="}, {"x-token": "2"}, {"user-agent": "another"}]
)
def test_a_session_is_for_one_asker(
    http: httpx.Client, folder: Path, other: dict[str, str]
) -> None:
    ours = {"authorization": "Basic b3Vycw==", "x-token": "1"}
    with Server(serving(folder)) as one:
        http.get(one.url(), headers=ours)
        http.get(one.url(), headers=ours | {"if-none-match": '"x"'})
        http.get(one.url(), headers=ours | other)
        http.get(one.url(), headers=ours | other)
    assert one.resumed == [False, True, False, True]


def test_a_session_ends_a_day_after_the_proof(
    context: ssl.SSLContext, http: httpx.Client, folder: Path
) -> None:
    now = 1_000_000.0
    resume(context, Sessions(clock=lambda: now))
    with Server(serving(folder)) as one:
        http.get(one.url())
        for now in (1_000_000 + LONGEST - 1, 1_000_000 + LONGEST):  # noqa: B007 - the clock
            http.get(one.url())
    assert one.resumed == [False, True, False]


def test_the_server_whose_proof_is_the_oldest_makes_room(
    context: ssl.SSLContext, http: httpx.Client, folder: Path
) -> None:
    resume(context, Sessions(most=2))
    shared = serving(folder)
    with Server(shared) as first, Server(shared) as second, Server(shared) as third:
        http.get(first.url(), headers={"x-token": "old"})
        for one in (second, first, third, first, third, second):
            http.get(one.url())
    assert first.resumed == [False, False, True]
    assert third.resumed == [False, True]
    assert second.resumed == [False, False]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_that_gives_out_no_session_is_not_asked_again(
    context: ssl.SSLContext, http: httpx.Client, folder: Path, version: ssl.TLSVersion
) -> None:
    resume(context, Sessions(most_read=2))
    without = serving(folder, version)
    without.num_tickets = 0
    without.options |= ssl.OP_NO_TICKET
    with Server(without) as silent, Server(serving(folder)) as one, Server(one.context) as late:
        for each in (silent, silent, silent, one, one, late, late):
            http.get(each.url())
    assert silent.resumed == [False, False, False]
    assert one.resumed == [False, True]
    assert late.resumed == [False, False]  # where reading costs memory, there is an end to it


def test_a_server_that_fails_when_it_is_offered_a_session_is_offered_none_for_a_day(
    context: ssl.SSLContext, http: httpx.Client, folder: Path
) -> None:
    now = 0.0
    resume(context, Sessions(clock=lambda: now))
    with Server(serving(folder)) as one:
        http.get(one.url())
        one.hangs_up = True
        with pytest.raises(httpx.ConnectError):
            http.get(one.url())
        one.hangs_up = False
        http.get(one.url())
        http.get(one.url())
        assert one.resumed == [False, False, False]
        now = LONGEST
        http.get(one.url())
        http.get(one.url())
    assert one.resumed[3:] == [False, True]


def test_many_threads_use_one_session(http: httpx.Client, folder: Path) -> None:
    with Server(serving(folder)) as one, ThreadPoolExecutor(8) as threads:
        http.get(one.url())
        answers = list(threads.map(lambda _: http.get(one.url()).status_code, range(80)))
    assert answers == [200] * 80
    assert one.resumed == [False] + [True] * 80
