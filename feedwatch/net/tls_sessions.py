"""TLS sessions, so that a server that was met today need not prove once more who it is.

A check of a feed is mostly a new connection, and most of that is the proof: certificates are sent,
read and verified. A session that the server gave out before stands for it (RFC 8446, section 2.2;
RFC 5077). A server that does not take it makes a full handshake, verified as any other.

- A session is offered to the host name that the certificate was verified for, at the same port, by
  requests that say the same of who asks.
- It ends a day after the proof, and is not renewed without another: a certificate that has expired,
  or is for another name now, is noticed by then. RFC 8446 allows a week (section 4.6.1).
- It is offered again and again. RFC 8446 (appendix C.4) advises against that, since who listens on
  the way can tell then that two connections are one client's. Here both come from one address, and
  ask for one host every few minutes.
- Only early data can be replayed, and Python's ssl never sends any. So a request by a resumed
  connection is as safe as any other, a POST too.

Sessions are in memory only, and of one `SSLContext`: another trust takes another process.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import sha256
from ssl import SSLContext, SSLSession, SSLSocket
from threading import Lock

import httpx

LONGEST = 86_400.0  # seconds
MOST = 4096  # servers; with its certificate a session takes 8 KB
ASKED_FOR = (b"host", b"if-none-match", b"if-modified-since")  # by whomever

# Before 3.12.8 and 3.13.1 Python never frees 8 KB each time that a session is read, so it ends.
_LEAKS = sys.version_info < (3, 12, 8) or (3, 13) <= sys.version_info < (3, 13, 1)
MOST_READ = 1000 if _LEAKS else math.inf  # in the life of a process

# Linux's monotonic clock stands still while the machine sleeps; this one goes on.
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

Server = tuple[str | None, int | None]  # host name, and port if it is not the usual one


# Of a thread: each starts with a context of its own.
_asked: ContextVar[httpx.Request | None] = ContextVar("_asked", default=None)


@contextmanager
def connecting_for(request: httpx.Request) -> Iterator[None]:
    """Let this thread's connections be resumed where they may be for `request`.

    Behind a proxy nothing else says for which port a connection is.
    """
    before = _asked.set(request)
    try:
        yield
    finally:
        _asked.reset(before)


def identity_of(request: httpx.Request) -> bytes:
    """Who asks: a hash of what a request says, credentials and all, but for what it asks for."""
    said = sorted(pair for pair in request.headers.raw if pair[0].lower() not in ASKED_FOR)
    return sha256(repr(said).encode()).digest()


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What is known of a server since its last full handshake."""

    session: SSLSession | None  # None: it gives out none, or failed when it was offered one
    identity: bytes
    proven_at: float


class Sessions:
    """What is known of the servers that were met last."""

    def __init__(
        self,
        most: int = MOST,
        most_read: float = MOST_READ,
        clock: Callable[[], float] = lambda: time.clock_gettime(_BOOT_CLOCK),
    ) -> None:
        self.clock = clock
        self._most = most
        self._may_read = most_read
        self._lock = Lock()
        self._kept: dict[Server, Kept] = {}  # in the order in which they proved who they are

    def get(self, server: Server) -> Kept | None:
        """What is known of a server, for a day."""
        with self._lock:
            kept = self._kept.get(server)
            if kept is not None and self.clock() - kept.proven_at >= LONGEST:
                del self._kept[server]
                return None
            return kept

    def keep(self, server: Server, kept: Kept) -> None:
        """Replace what is known of a server; the oldest one makes room."""
        with self._lock:
            self._kept.pop(server, None)
            self._kept[server] = kept
            if len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]

    def may_read(self) -> bool:
        """Whether one more session may be read, which the answer counts."""
        with self._lock:
            self._may_read -= 1
            return self._may_read >= 0


def resume(context: SSLContext, sessions: Sessions) -> None:
    """Have the connections of `context` offer and keep `sessions`."""

    class Socket(SSLSocket):
        _proof: tuple[Server, bytes, float] | None = None  # of a session that is not read yet

        def do_handshake(self, block: bool = False) -> None:
            if (request := _asked.get()) is None:
                super().do_handshake(block)
                return
            server, identity = (self.server_hostname, request.url.port), identity_of(request)
            kept = sessions.get(server)
            offered = kept.session if kept and kept.identity == identity else None
            if offered is not None:
                self.session = offered
            try:
                super().do_handshake(block)
            except OSError:
                if offered is not None:  # a check in two would fail
                    never = Kept(session=None, identity=b"", proven_at=sessions.clock())
                    sessions.keep(server, never)
                raise
            if not self.session_reused and (kept is None or kept.session is not None):
                self._proof = (server, identity, sessions.clock())

        def close(self) -> None:
            # By TLS 1.3 sessions come after the handshake, mostly before the response.
            if self._proof is not None and sessions.may_read():
                server, identity, proven_at = self._proof
                session = self.session
                usable = session if session is not None and session.has_ticket else None
                kept = Kept(session=usable, identity=identity, proven_at=proven_at)
                sessions.keep(server, kept)
            self._proof = None
            super().close()

    context.sslsocket_class = Socket
