"""The sandbox's HTTP server: one thread a connection, all of which a stop ends."""

import contextlib
import socket
import socketserver
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Event
from typing import Any

from feedwatch.sandbox.inlet import Api
from feedwatch.sandbox.state import SandboxState

_WIND_UP = 5.0  # seconds for the last connections to end when the server stops


class HttpServer(ThreadingHTTPServer):
    """Listens; hands each connection to a handler of its own."""

    request_queue_size = 128  # a burst of clients is no fault
    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[BaseHTTPRequestHandler],
        *,
        state: SandboxState,
        api: Api,
        log: Callable[[str], object],
    ) -> None:
        self.state = state
        self.api = api
        self.log = log
        self.stopping = Event()
        self._open: set[socket.socket] = set()
        self._change = Condition()
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind without the parent's look-up of its own name, which can take seconds."""
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a connection's thread, and remember the connection until it ends."""
        with self._change:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection, and forget it."""
        super().shutdown_request(request)
        with self._change:
            self._open.discard(request)
            self._change.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show bugs of ours. A client that goes away is its own affair."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        """Close the listening socket and every connection."""
        self.stopping.set()
        self.shutdown()
        self.server_close()
        with self._change:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._change.wait_for(lambda: not self._open, _WIND_UP)
