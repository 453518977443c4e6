"""HTTP server of the sandbox: one thread for each connection, and a stop that ends them all."""

import contextlib
import socket
import socketserver
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Event
from typing import Any

from feedwatch.sandbox.apis import Apis

_STOP_TIMEOUT = 5.0  # seconds that a stop waits for the open connections to end


class HttpServer(ThreadingHTTPServer):
    """Accepts connections, and keeps track of the open ones so that a stop can close them."""

    request_queue_size = 128  # pending connections: a burst of clients must not see a refusal
    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[BaseHTTPRequestHandler],
        api: Apis,
        log: Callable[[str], object],
    ) -> None:
        self.api = api
        self.log = log
        self.stopping = Event()
        self._connections: set[socket.socket] = set()
        self._closed = Condition()
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind without the parent's DNS look-up of the host name, which can take seconds."""
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Note the connection as open, and start its thread."""
        with self._closed:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close the connection, and note it as closed."""
        super().shutdown_request(request)
        with self._closed:
            self._connections.discard(request)
            self._closed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print the traceback of a bug, but none of a client that closed its connection."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        """Close the listening socket and every connection; wait for their threads."""
        self.stopping.set()
        self.shutdown()
        self.server_close()
        with self._closed:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._closed.wait_for(lambda: not self._connections, _STOP_TIMEOUT)
