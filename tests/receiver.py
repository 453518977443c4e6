"""A program on loopback that events are sent to, and that does as the test says."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from feedwatch.core.events import Event, from_json
from tests.support import Loopback

Post = tuple[dict[str, str], bytes]  # its headers, in lower case, and its body


class Receiver(Loopback):
    """Records every POST and answers it with `status`, after `delay` seconds."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.status = 204
        self.delay = 0.0
        self.over = threading.Event()
        self.before_answer: Callable[[], object] = lambda: None
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.posts.append(({k.lower(): v for k, v in self.headers.items()}, body))
                receiver.before_answer()
                receiver.over.wait(receiver.delay)
                self.send_response(receiver.status)
                if 300 <= receiver.status < 400:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *_: object) -> None:  # noqa: A002
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # whoever was killed in the middle waits for no answer

        self._server = Server(("127.0.0.1", 0), Handler)

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return self._server.server_port

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/hook?token=s3cret-in-the-address"

    @property
    def events(self) -> list[Event]:
        """What was sent, in its order, repeats among it."""
        return [from_json(body.decode()) for _, body in list(self.posts)]

    @property
    def types(self) -> list[str]:
        """Their types."""
        return [event.type for event in self.events]
