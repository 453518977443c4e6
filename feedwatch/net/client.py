"""HTTP clients with a total deadline, a cancellation, and a limit to the address scope.

httpx bounds each read alone, so a server that drips bytes could keep a request for ever. `deadline`
bounds everything that the thread does on the wire: connecting, sending, and reading headers and
body. When it passes, httpx raises its own timeout errors. `Cancellation` shortens every deadline at
once, so that a process can stop.

A POST never goes by a connection that was kept open: the server may close it in the same moment,
and nobody could tell whether the POST was taken.

`limit_scope` bounds where the thread may connect to. A name is resolved once, here, and the address
that is checked is the address that is connected to: no second answer of the DNS can differ. A
connection that was kept open is checked again before each request.
"""

import math
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from functools import cache
from http.cookiejar import CookieJar
from ssl import SSLCertVerificationError, SSLContext
from typing import Any

import httpcore
import httpx

from feedwatch.net.address_scope import Scope, address_scope, host_scope
from feedwatch.net.decompress import unpacked
from feedwatch.net.response_head import ResponseHead

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 30.0  # between two reads, or two writes
LONGEST_WAIT = timedelta(days=100)  # that a Retry-After may ask for, as a number
SLICE_SECONDS = 0.5  # of a read, after which its deadline is checked again

# Of a thread: each starts with a context of its own.
_until = ContextVar("_until", default=math.inf)  # by the monotonic clock
_allowed_scope = ContextVar("_allowed_scope", default=Scope.SPECIAL)

_tls_context = cache(httpx.create_ssl_context)  # one for all clients: it is slow to make


class Cancellation:
    """Cancellation: the moment at which all requests must end; never, until it is set."""

    until = math.inf  # by the monotonic clock

    def stop_in(self, seconds: float) -> None:
        """Cancel all requests that take more than `seconds` from now."""
        self.until = min(self.until, time.monotonic() + seconds)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Deadline: end all that this thread does on the wire after `seconds` in total."""
    before = _until.set(min(_until.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _until.reset(before)


class TooPrivateError(Exception):
    """An address has a more private scope than is allowed. `str()` is the address."""


@contextmanager
def limit_scope(most: Scope) -> Iterator[None]:
    """Address scope: let this thread send nothing to an address more private than `most`."""
    before = _allowed_scope.set(min(_allowed_scope.get(), most))
    try:
        yield
    finally:
        _allowed_scope.reset(before)


def scope_of(response: httpx.Response) -> Scope:
    """Address scope that a response of one of our clients came from."""
    if (stated := response.extensions.get("scope")) is not None:
        return Scope(stated)
    scope: Scope = response.extensions["network_stream"].get_extra_info("scope")
    return scope


def client(cancellation: Cancellation, proxy: str | None = None, **settings: Any) -> httpx.Client:
    """An `httpx.Client` that obeys deadline, scope and cancellation; no redirects, no retries.

    Behind `proxy`, which resolves the names, the scope is only what a URL says by itself.
    """
    timeout = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
    return httpx.Client(
        transport=_Transport(cancellation, proxy),
        timeout=timeout,
        follow_redirects=False,
        cookies=_NoCookies(),
        **settings,
    )


class _Transport(httpx.BaseTransport):
    """Sends each POST by a fresh connection, and keeps some open for all other requests.

    Behind a proxy only what the URL itself says of the address can be judged.
    """

    def __init__(self, cancellation: Cancellation, proxy: str | None) -> None:
        self._is_proxied = proxy is not None
        self._kept = _transport(cancellation, proxy, kept=16)
        self._fresh = _transport(cancellation, proxy, kept=0)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        transport = self._fresh if request.method == "POST" else self._kept
        if not self._is_proxied:
            return transport.handle_request(request)
        if (scope := host_scope(request.url.host)) > _allowed_scope.get():
            raise TooPrivateError(request.url.host)
        before = _allowed_scope.set(Scope.SPECIAL)  # the proxy is the operator's choice
        try:
            response = transport.handle_request(request)
        finally:
            _allowed_scope.reset(before)
        response.extensions["scope"] = scope
        return response

    def close(self) -> None:
        self._kept.close()
        self._fresh.close()


def _transport(cancellation: Cancellation, proxy: str | None, *, kept: int) -> httpx.HTTPTransport:
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=kept)
    transport = httpx.HTTPTransport(verify=_tls_context(), limits=limits, proxy=proxy)
    # httpx has no public way to hand its pool a network backend, which httpcore itself offers;
    # tests/test_client.py fails should this attribute ever move.
    transport._pool._network_backend = _Backend(cancellation)  # noqa: SLF001
    return transport


class _NoCookies(CookieJar):
    """Keeps no cookies: one feed's server must not mark the requests for another feed."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Keep no cookie."""


def retry_after(response: httpx.Response) -> timedelta | None:
    """The wait that Retry-After asks for, as seconds or a date (RFC 9110, section 10.2.3)."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdecimal():
        return LONGEST_WAIT if len(value) > 8 else min(timedelta(seconds=int(value)), LONGEST_WAIT)
    try:
        wait = parsedate_to_datetime(value) - datetime.now(UTC)
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait, timedelta()), LONGEST_WAIT)


def read_bounded(
    response: httpx.Response, most: int, pieces: Iterable[bytes] | None = None
) -> bytes | None:
    """The body of a streamed response, unpacked; None if it is larger than `most` bytes.

    `pieces` is its body as it comes, where some of it has been read. httpx would unpack each piece
    whole, and a few kilobytes may unpack to gigabytes. Raises `ValueError` for a body that can't be
    unpacked.
    """
    pieces = response.iter_raw() if pieces is None else pieces
    return unpacked(pieces, response.headers.get("content-encoding", ""), most)


def described(error: Exception) -> str:
    """An error of the HTTP client or another library, in a few words."""
    return f"{type(error).__name__}: {error}".rstrip(": ")


class Obstacle(Enum):
    """What stands between us and a server, and can be mended on our side."""

    CERTIFICATE = auto()  # it is of an authority that is not trusted here
    PROXY = auto()  # it refuses us, or to connect


def obstacle(error: BaseException | None) -> Obstacle | None:
    """What an error of the HTTP client is due to, if it is one of these."""
    while error is not None:
        if isinstance(error, SSLCertVerificationError):
            return Obstacle.CERTIFICATE
        if isinstance(error, httpx.ProxyError | httpcore.ProxyError):
            return Obstacle.PROXY
        error = error.__cause__ or error.__context__  # httpcore raises its own "from None"
    return None


@dataclass(frozen=True)
class _Backend(httpcore.SyncBackend):
    cancellation: Cancellation

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError("the name has no address")
        refused: TooPrivateError | None = None
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        for address in (str(entry[4][0]) for entry in found):
            if (scope := address_scope(address)) > _allowed_scope.get():
                refused = TooPrivateError(address)
                continue
            left = _left(self.cancellation, timeout, httpcore.ConnectTimeout)
            try:
                stream = super().connect_tcp(address, port, left, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            return _Stream(stream, self.cancellation, address, scope)
        raise refused or failure


@dataclass(frozen=True)
class _Stream(httpcore.NetworkStream):
    stream: httpcore.NetworkStream
    cancellation: Cancellation
    address: str
    scope: Scope
    head: ResponseHead = field(default_factory=ResponseHead)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read a response in slices, since a cancellation may come while we wait."""
        silent_until = time.monotonic() + (timeout if timeout is not None else math.inf)
        while True:
            left = _left(self.cancellation, silent_until - time.monotonic(), httpcore.ReadTimeout)
            try:
                received = self.stream.read(max_bytes, min(left, SLICE_SECONDS))
            except httpcore.ReadTimeout:
                continue
            passed = self.head.passed(received)
            if passed or not received:
                return passed

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self.scope > _allowed_scope.get():  # kept open since another thread's request
            raise TooPrivateError(self.address)
        self.head.expect()
        self.stream.write(buffer, _left(self.cancellation, timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self.stream.close()

    def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(self.cancellation, timeout, httpcore.ConnectTimeout)
        secure = self.stream.start_tls(ssl_context, server_hostname, left)
        return _Stream(secure, self.cancellation, self.address, self.scope)

    def get_extra_info(self, info: str) -> Any:
        return self.scope if info == "scope" else self.stream.get_extra_info(info)


def _left(
    cancellation: Cancellation, timeout: float | None, error: type[httpcore.TimeoutException]
) -> float:
    """Seconds until the earliest deadline or cancellation. Raises `error` if that has passed."""
    left = min(_until.get(), cancellation.until) - time.monotonic()
    left = min(left, timeout if timeout is not None else math.inf)
    if left <= 0:
        raise error("the time limit for the whole request has passed")
    return left
