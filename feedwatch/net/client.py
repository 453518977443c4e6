"""HTTP clients whose requests end: httpx bounds each read, but a server that drips never ends one.

A limit set by `within` holds for everything that the thread does on the wire meanwhile: connecting,
sending, and reading headers and body. When it has passed, httpx raises its own timeout errors, and
whatever they mean for a request they mean here too. `Brake` shortens all limits at once, so that a
process which must stop can.

`reaching` bounds in the same way where the thread may connect to. A name is resolved once, here,
and what it was resolved to is both looked at and connected to: no second answer of the DNS can
differ. Connections that are kept open are looked at again before each request.
"""

import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ssl import SSLContext
from threading import local
from typing import Any

import httpcore
import httpx

from feedwatch.net.address_scope import Scope, address_scope
from feedwatch.net.decompress import unpacked

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 30.0  # between two reads, or two writes
SLICE_SECONDS = 0.5  # how long a read goes on before it looks at its limit anew

_limit = local()


class Cancellation:
    """A moment at which everything on the wire must be over; never, until it is set."""

    def __init__(self) -> None:
        self._until = float("inf")

    def stop_in(self, seconds: float) -> None:
        """Let requests go on for so long, and no longer."""
        self._until = min(self._until, time.monotonic() + seconds)

    @property
    def until(self) -> float:
        """By the monotonic clock."""
        return self._until


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Bound all that this thread does on the wire by `seconds` in total."""
    before = getattr(_limit, "until", float("inf"))
    _limit.until = min(before, time.monotonic() + seconds)
    try:
        yield
    finally:
        _limit.until = before


class TooPrivateError(Exception):
    """What was to be connected to is more private than allowed. `str()` is its address."""


@contextmanager
def limit_scope(most: Scope) -> Iterator[None]:
    """Let this thread send nothing to an address that is more private than `most`."""
    before = _most_private()
    _limit.reach = min(before, most)
    try:
        yield
    finally:
        _limit.reach = before


def scope_of(response: httpx.Response) -> Scope:
    """How private the address is that a response of one of our clients came from."""
    reach: Scope = response.extensions["network_stream"].get_extra_info("reach")
    return reach


def client(cancellation: Cancellation, **settings: Any) -> httpx.Client:
    """An `httpx.Client` that obeys `within` and `brake`, never follows redirects, never retries."""
    transport = httpx.HTTPTransport(
        verify=_trust(), limits=httpx.Limits(max_connections=64, max_keepalive_connections=16)
    )
    # httpx has no public way to hand its pool a network backend, which httpcore itself offers;
    # tests/test_wire.py shows that the limit holds, should this attribute ever move.
    transport._pool._network_backend = _Backend(cancellation)  # noqa: SLF001
    timeout = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
    return httpx.Client(
        transport=transport,
        timeout=timeout,
        follow_redirects=False,
        cookies=_NoCookies(),
        **settings,
    )


class _NoCookies(CookieJar):
    """Takes none: what one feed's server sets is nothing for another feed, and nobody logs in."""

    def __init__(self) -> None:
        super().__init__(DefaultCookiePolicy(allowed_domains=[]))

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Look at none either."""


@cache
def _trust() -> SSLContext:
    """One for all clients: to read the certificate authorities takes longer than all else."""
    return httpx.create_ssl_context()


def retry_after(response: httpx.Response) -> timedelta | None:
    """What Retry-After asks for, as seconds or as a date (RFC 9110, section 10.2.3)."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdecimal():
        return timedelta(seconds=min(int(value), 10**7))
    try:
        asked = parsedate_to_datetime(value) - datetime.now(UTC)
    except (ValueError, TypeError):
        return None
    return max(asked, timedelta())


def read_bounded(response: httpx.Response, most: int) -> bytes | None:
    """The body of a streamed response, unpacked; None if it is larger than `most` bytes.

    httpx unpacks each piece whole before anybody can look at it, and a few kilobytes may be
    gigabytes. Raises `ValueError` for a body that can't be unpacked.
    """
    coding = response.headers.get("content-encoding", "")
    return unpacked(response.iter_raw(), coding, most)


def described(error: Exception) -> str:
    """A foreign error in a few words."""
    return f"{type(error).__name__}: {error}".rstrip(": ")


class _Backend(httpcore.SyncBackend):
    def __init__(self, cancellation: Cancellation) -> None:
        self._brake = cancellation

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        refused: str | None = None
        failure: Exception = httpcore.ConnectError("the name has no address")
        for address in _addresses(host, port):
            if (reach := address_scope(address)) > _most_private():
                refused = address
                continue
            left = _left(self._brake, timeout, httpcore.ConnectTimeout)
            try:
                stream = super().connect_tcp(address, port, left, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            return _Stream(stream, self._brake, address, reach)
        raise failure if refused is None else TooPrivateError(refused)


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error
    return [str(address[0]) for _, _, _, _, address in found]


class _Stream(httpcore.NetworkStream):
    def __init__(
        self, stream: httpcore.NetworkStream, cancellation: Cancellation, address: str, reach: Scope
    ) -> None:
        self._stream = stream
        self._brake = cancellation
        self._address = address
        self._reach = reach

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """In slices, since the limit may be shortened while we wait."""
        silent_until = time.monotonic() + (timeout if timeout is not None else float("inf"))
        while True:
            left = _left(self._brake, silent_until - time.monotonic(), httpcore.ReadTimeout)
            try:
                return self._stream.read(max_bytes, min(left, SLICE_SECONDS))
            except httpcore.ReadTimeout:
                continue

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._reach > _most_private():  # a connection kept open since somebody else's request
            raise TooPrivateError(self._address)
        self._stream.write(buffer, _left(self._brake, timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(self._brake, timeout, httpcore.ConnectTimeout)
        secure = self._stream.start_tls(ssl_context, server_hostname, left)
        return _Stream(secure, self._brake, self._address, self._reach)

    def get_extra_info(self, info: str) -> Any:
        return self._reach if info == "reach" else self._stream.get_extra_info(info)


def _most_private() -> Scope:
    reach: Scope = getattr(_limit, "reach", Scope.SPECIAL)
    return reach


def _left(
    cancellation: Cancellation, timeout: float | None, error: type[httpcore.TimeoutException]
) -> float:
    """Seconds until the first limit that applies. Raises `error` if it has passed."""
    until = min(getattr(_limit, "until", float("inf")), cancellation.until)
    left = min(until - time.monotonic(), timeout if timeout is not None else float("inf"))
    if left <= 0:
        raise error("the time limit for the whole request has passed")
    return left
