"""HTTP server of the pages for monitoring.

No client can keep it busy: a connection has one request and a few seconds, and where there are too
many connections, the oldest one is closed.
"""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 32
SILENCE_SECONDS = 5.0
LOOK_SECONDS = 0.2  # between two checks for slow connections and for the end
CONNECTION_SECONDS = 15.0  # in total


@dataclass(frozen=True, kw_only=True)
class Page:
    """A response."""

    body: bytes
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"


def verdict(word: str, problems: list[str]) -> Page:
    """200 and `word`, or 503 and what is wrong."""
    body = json.dumps({"status": word if not problems else "unavailable", "problems": problems})
    return Page(
        body=f"{body}\n".encode(),
        status=HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK,
        content_type="application/json",
    )


class HttpSide:
    """Serves `pages` by path, from `with` to its end."""

    def __init__(self, host: str, port: int, pages: Mapping[str, Callable[[], Page]]) -> None:
        """Listen at once, or raise `OSError`; without a host, on every address."""
        if not host and socket.has_dualstack_ipv6():
            listening = socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True
            )
        else:
            kind, passive = socket.SOCK_STREAM, socket.AI_PASSIVE
            found = socket.getaddrinfo(host or None, port, type=kind, flags=passive)
            family, *_, address = found[0]
            listening = socket.create_server(address[:2], family=family)
        self._server = _Server(listening, pages)
        self.port: int = self._server.socket.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host or "*"
        self.url = f"http://{shown}:{self.port}"

    def __enter__(self) -> Self:
        serve = self._server.serve_forever
        threading.Thread(target=serve, args=(LOOK_SECONDS,), name="http", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a slow client keeps no daemon from its end

    def __init__(self, listening: socket.socket, pages: Mapping[str, Callable[[], Page]]) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()  # made by the parent, perhaps of the wrong family
        self.socket = listening
        self.pages = pages
        self._open: dict[socket.socket, float] = {}  # oldest first
        self._lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            if len(self._open) >= MOST_CONNECTIONS:
                _hang_up(next(iter(self._open)))
            self._open[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Close connections that take too long; called every `LOOK_SECONDS`."""
        latest = time.monotonic() - CONNECTION_SECONDS
        with self._lock:
            for request in [one for one, begun in self._open.items() if begun < latest]:
                _hang_up(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that goes away in the middle is no error of ours."""


def _hang_up(connection: socket.socket) -> None:
    """End a connection; its thread notices and cleans up."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = SILENCE_SECONDS
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = "text/plain; charset=utf-8"

    def version_string(self) -> str:
        return "feedwatch"

    def do_GET(self) -> None:
        make = self.server.pages.get(self.path.partition("?")[0])
        if make is None:
            self._send(Page(body=b"not found\n", status=HTTPStatus.NOT_FOUND))
            return
        try:
            page = make()
        except Exception:
            log.exception("http: %s could not be made", self.path.partition("?")[0])
            page = Page(body=b"failed; see the log\n", status=HTTPStatus.INTERNAL_SERVER_ERROR)
        self._send(page)

    do_HEAD = do_GET  # noqa: N815 - http.server's own names, here and below

    def do_POST(self) -> None:
        page = Page(body=b"GET and HEAD only\n", status=HTTPStatus.METHOD_NOT_ALLOWED)
        self._send(page, {"Allow": "GET, HEAD"})

    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_POST  # noqa: N815

    def _send(self, page: Page, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")  # and so the handler ends after this one
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing: a probe every few seconds is no event."""
