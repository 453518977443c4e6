"""The HTTP server: waitress, with bounds that no client can exceed.

A connection has one request, a few seconds to send it and to take the answer; where there are too
many connections, the one that has waited longest for its client makes room. Answers are made by a
few threads of their own.
"""

import logging
import socket
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

MAX_CONNECTIONS = 32
# Of the public side: at 1,000 requests a second some 20 wait for their answers, in bursts far more.
MAX_PUBLIC_CONNECTIONS = 128
SILENCE_SECONDS = 5.0
# Where there are too many connections, one that is silent for so long makes room. A younger one may
# have sent a request that was not read yet: to close such ones answers next to nobody under load.
REQUEST_SECONDS = 0.5
CONNECTION_SECONDS = 20.0  # to send a request, and as many again to take the answer
LOOK_SECONDS = 0.5  # between two checks for slow connections
THREADS = 6
MAX_BODY = 256 * 1024  # bytes of a request
MAX_PUSH = 1024 * 1024  # of one on the public side: hubs send whole documents
SHUTDOWN_SECONDS = 1  # for answers that are being made

# It warns of every request that waits for a thread.
logging.getLogger("waitress.queue").setLevel(logging.ERROR)


class HttpSide:
    """Serves `app` from `with` to its end."""

    def __init__(self, host: str, port: int, connections: int = MAX_CONNECTIONS) -> None:
        """Listen at once, or raise `OSError`; without a host, on every address."""
        self._connections = connections
        if not host and socket.has_dualstack_ipv6():
            self._socket = socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True
            )
        else:
            kind, passive = socket.SOCK_STREAM, socket.AI_PASSIVE
            found = socket.getaddrinfo(host or None, port, type=kind, flags=passive)
            family, *_, address = found[0]
            self._socket = socket.create_server(address[:2], family=family)
        self.port: int = self._socket.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host or "*"
        self.url = f"http://{shown}:{self.port}"
        self._server: _Server | None = None
        self._channels: dict[int, Any] = {}  # by file descriptor: waitress keeps it
        self._stopping = threading.Event()
        self._ending = threading.Lock()

    def serve(self, app: "WSGIApplication", url_prefix: str = "", max_body: int = MAX_BODY) -> Self:
        """What to answer with, from `with` on. Paths may begin with `url_prefix`."""
        limits = Adjustments(
            sockets=[self._socket],
            url_prefix=url_prefix,
            connection_limit=self._connections + 10,  # never reached: see `handle_accept`
            asyncore_loop_timeout=LOOK_SECONDS,
            max_request_body_size=max_body,
            max_request_header_size=32 * 1024,
            clear_untrusted_proxy_headers=True,
            ident="feedwatch",
            log_socket_errors=False,
            threads=THREADS,
            asyncore_use_poll=True,
            expose_tracebacks=False,
        )
        dispatcher = ThreadedTaskDispatcher()
        dispatcher.set_thread_count(THREADS)
        kind = (self._socket.family, self._socket.type, self._socket.proto)
        self._server = _Server(
            self._connections,
            app,
            self._channels,
            True,  # noqa: FBT003 - waitress's own order of arguments
            self._socket,
            dispatcher=dispatcher,
            adj=limits,
            sockinfo=(*kind, self._socket.getsockname()),
            bind_socket=False,
        )
        return self

    def __enter__(self) -> Self:
        threading.Thread(target=self._loop, name="http", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._ending:
            self._stopping.set()
            if self._server is not None:
                self._server.pull_trigger()

    def _loop(self) -> None:
        server = self._server
        if server is None:
            return
        next_look = 0.0
        while not self._stopping.is_set():
            began = time.monotonic()
            wasyncore.loop(timeout=LOOK_SECONDS, use_poll=True, map=self._channels, count=1)
            server.polled_at = began
            if time.monotonic() >= next_look:
                server.close_slow()
                next_look = time.monotonic() + LOOK_SECONDS
        with self._ending:  # not while we are told: the trigger's number may be another file's then
            server.task_dispatcher.shutdown(timeout=SHUTDOWN_SECONDS)
            wasyncore.close_all(self._channels)


class _Task(WSGITask):
    """One request a connection: so its whole time can be bounded."""

    def build_response_header(self) -> bytes:
        self.set_close_on_finish()
        header: bytes = super().build_response_header()
        return header


class _ErrorTask(ErrorTask):
    def build_response_header(self) -> bytes:
        self.set_close_on_finish()
        header: bytes = super().build_response_header()
        return header


class _Channel(HTTPChannel):
    """A connection, with times of a clock that nobody sets."""

    task_class = _Task
    error_task_class = _ErrorTask
    active_at = 0.0

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.began = time.monotonic()

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "last_activity":  # waitress notes it by the wall clock
            self.active_at = time.monotonic()
        super().__setattr__(name, value)

    def service(self) -> None:
        """Make the answer; from then on the client has its seconds to take it."""
        super().service()
        self.began = time.monotonic()


class _Server(TcpWSGIServer):
    channel_class = _Channel

    def __init__(self, connections: int, *given: Any, **named: Any) -> None:
        self._connections = connections
        self.polled_at = 0.0  # when the last poll began whose finds are all handled
        super().__init__(*given, **named)

    def readable(self) -> bool:
        """Whether to look for a new connection: what there is no room for waits in the system."""
        ready: bool = super().readable()
        return ready and (len(self._open_channels()) < self._connections or bool(self._silent()))

    def handle_accept(self) -> None:
        """Take a connection, and make room for it where there are too many."""
        if len(self._open_channels()) >= self._connections:
            silent = self._silent()
            if not silent:
                return  # all are being answered: this one waits for a moment
            min(silent, key=lambda one: one.began).handle_close()
        super().handle_accept()

    def _silent(self) -> list[_Channel]:
        """Connections that send no request, or take nothing of their answer, and had the time."""
        until = self.polled_at - REQUEST_SECONDS  # not by now: a request may wait to be read
        return [
            one
            for one in self._open_channels()
            if not one.requests and (one.active_at if one.total_outbufs_len else one.began) < until
        ]

    def close_slow(self) -> None:
        """Close connections that are silent or take too long.

        At once: one that takes nothing of its answer never becomes writable to be closed in order.
        """
        now = time.monotonic()
        for channel in self._open_channels():
            is_silent = channel.active_at < now - SILENCE_SECONDS
            if not channel.requests and (is_silent or channel.began < now - CONNECTION_SECONDS):
                channel.handle_close()

    def maintenance(self, now: float) -> None:
        """Nothing: waitress calls this by the wall clock, which may be set; see `close_slow`."""

    def _open_channels(self) -> list[_Channel]:
        channels: Any = self.active_channels  # a dict, whatever its stub says
        return list(channels.values())

    def handle_error(self, *_: Any) -> None:
        """Nothing: a client that goes away in the middle is no error of ours."""
