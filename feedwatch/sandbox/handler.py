"""One HTTP request to the sandbox, faults included."""

import contextlib
import re
import socket
import socketserver
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Event
from typing import Any

from feedwatch.sandbox import answers
from feedwatch.sandbox.answers import BadRequestError, Reply
from feedwatch.sandbox.control import PREFIX, Control
from feedwatch.sandbox.faults import Fault, Faults
from feedwatch.sandbox.inlet import POLL, Api, Call, Content, understand
from feedwatch.sandbox.state import SandboxState

MAX_BODY = 10 * 1024 * 1024
_MAX_LINE = 65_536
_LINGER = 1.0  # seconds in which a client that is still sending may read why it was refused
_WIND_UP = 5.0  # seconds for the last connections to end when the server stops
_SILENT = frozenset({"drop_after", "hang_after"})  # the work is done, but nothing is said
_HANGS_UP = _SILENT | {"drop_before", "truncate", "drip"}
_BODILESS = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})

Log = Callable[[str], object]


@dataclass(frozen=True)
class Service:
    """What every connection needs; it outlives a stop and a start."""

    state: SandboxState
    faults: Faults
    api: Api
    control: Control
    log: Log


class HttpServer(ThreadingHTTPServer):
    """Accepts connections; each is served by a `Handler` in a thread of its own."""

    request_queue_size = 128  # a burst of clients is no fault
    daemon_threads = True

    def __init__(self, address: tuple[str, int], service: Service) -> None:
        self.service = service
        self.stopping = Event()
        self._open: set[socket.socket] = set()
        self._change = Condition()
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        """Bind without a look at the DNS for our own name, which can take seconds."""
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection, and remember that it is open."""
        with self._change:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        super().shutdown_request(request)
        with self._change:
            self._open.discard(request)
            self._change.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print a bug of ours; a client that goes away is none."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        """Close every connection, and wait a while for their threads."""
        self.stopping.set()
        self.shutdown()
        self.server_close()
        with self._change:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._change.wait_for(lambda: not self._open, _WIND_UP)


class Handler(BaseHTTPRequestHandler):
    """One connection; many requests, one after the other."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: HttpServer

    def handle_one_request(self) -> None:
        """As the parent's, but for any method, and with answers of the contract."""
        self.raw_requestline = self.rfile.readline(_MAX_LINE + 1)
        self.command = ""
        if not self.raw_requestline:
            self.close_connection = True
        elif len(self.raw_requestline) > _MAX_LINE:
            self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
        elif self.parse_request():
            if not self.path.startswith(PREFIX):
                self._serve_api()
            elif (body := self._read_body()) is not None:
                answer = self.server.service.control.answer(self.command, self.path, body)
                self._log(str(answer.status))
                self._send(answer)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what cannot be read as a request, and hang up: the rest makes no sense either."""
        self.close_connection = True
        self._log(str(code), message or explain or "")
        self._send(answers.refusal(code, message or answers.phrase(code)))
        self._linger()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the parent's name)
        """Keep quiet: the lines of our own log say more."""

    def _serve_api(self) -> None:
        call, state = understand(self.command, self.path), self.server.service.state
        state.count(self.command, call.route.template if call.route else "other")
        if call.route is POLL and call.allowed:
            state.count_poll(call.ids["mediaId"])
        ids = call.ids.get("podcastId"), call.ids.get("mediaId")
        fault = self.server.service.faults.pick(call.target, *ids)
        if fault and fault.kind == "refuse":
            self._log("reset", fault.kind)
            self._reset()
            return
        body = self._read_body()
        if body is not None:
            self._carry_out(call, body, fault)

    def _carry_out(self, call: Call, body: bytes, fault: Fault | None) -> None:
        state = self.server.service.state
        receipt = None
        if call.target == "submit":
            seen: object = None
            with contextlib.suppress(BadRequestError):
                seen = answers.parse_json(body)
            shown = seen if isinstance(seen, dict) else body.decode(errors="replace")
            receipt = state.receive(call.ids["podcastId"], shown)
        answer = self._work_out(call, body, fault)
        media_id = answer.media_id if answer else None
        status = answer.status if answer and not (fault and fault.kind in _SILENT) else None
        if receipt:
            state.settle(receipt, status, media_id)
        self._log(
            "dropped" if status is None else str(status),
            f"took {media_id}" if media_id else "",
            fault.kind if fault else "",
        )
        self._deliver(answer, fault)

    def _work_out(self, call: Call, body: bytes, fault: Fault | None) -> Reply | None:
        """Find the answer, and do what it says was done. None: nothing was, and nothing is said."""
        if fault is None:
            return self._true_answer(call, body)
        if fault.kind == "drop_before":
            return None
        if fault.kind == "delay":
            self._wait(fault.seconds)
        return fault.instead() or fault.twist(self._true_answer(call, body, fault))

    def _true_answer(self, call: Call, body: bytes, fault: Fault | None = None) -> Reply:
        content = Content(self.headers["Authorization"], self.headers["Content-Type"], body)
        script = fault.statuses if fault and fault.statuses else ()
        return self.server.service.api.answer(call, content, script)

    def _deliver(self, answer: Reply | None, fault: Fault | None) -> None:
        kind = fault.kind if fault else None
        if kind in _HANGS_UP:
            self.close_connection = True
        if answer is None or kind == "drop_after":
            return
        if fault and kind == "hang_after":
            self._wait(fault.seconds)
        elif kind == "truncate":
            head, body = self._bytes(answer)
            self.wfile.write(head + body[: len(body) // 2])
        elif fault and kind == "drip":
            message = b"".join(self._bytes(answer))
            for place in range(len(message)):
                self.wfile.write(message[place : place + 1])
                self._wait(fault.seconds)
        else:
            self._send(answer)

    # Sockets

    def _read_body(self) -> bytes | None:
        """The body of the request; None if it was refused, and the answer sent."""
        lengths = {value.strip() for value in self.headers.get_all("Content-Length", ["0"])}
        if len(lengths) > 1 or not re.fullmatch("[0-9]{1,18}", min(lengths)):
            self.send_error(HTTPStatus.BAD_REQUEST, "Content-Length must be one whole number")
            return None
        length = int(min(lengths))
        if "Transfer-Encoding" in self.headers:
            self.send_error(HTTPStatus.LENGTH_REQUIRED, "send a Content-Length, not chunks")
            return None
        if length > MAX_BODY:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MAX_BODY} bytes")
            return None
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionAbortedError("the client left in the middle of its request")
        return body

    def _send(self, answer: Reply) -> None:
        self.wfile.write(b"".join(self._bytes(answer)))

    def _bytes(self, answer: Reply) -> tuple[bytes, bytes]:
        bodiless = answer.status in _BODILESS
        headers = {
            "Date": self.date_time_string(),
            "Connection": "close" if self.close_connection else "keep-alive",
            **answer.headers,
        }
        if not bodiless:
            headers |= {
                "Content-Type": answer.content_type,
                "Content-Length": str(len(answer.body)),
            }
        lines = [f"HTTP/1.1 {answer.status} {answers.phrase(answer.status)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        body = b"" if bodiless or self.command == "HEAD" else answer.body
        return "\r\n".join([*lines, "", ""]).encode("latin-1"), body

    def _wait(self, seconds: float | None) -> None:
        if self.server.stopping.wait(seconds):
            raise ConnectionAbortedError("the server stops")

    def _reset(self) -> None:
        # Only a close that has not been announced by a shutdown makes the kernel send an RST, and
        # it is a real close only once the file that reads from the socket is closed, too.
        self.close_connection = True
        linger_not = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
        self.rfile.close()
        self.connection.close()

    def _linger(self) -> None:
        # Closing with bytes unread would send an RST, and the client might never see the answer.
        end = time.monotonic() + _LINGER
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while (left := end - time.monotonic()) > 0:
                self.connection.settimeout(left)
                if not self.connection.recv(_MAX_LINE):
                    break

    def _log(self, outcome: str, *notes: str) -> None:
        request = f"{self.command} {self.path}" if self.command else "(no request)"
        shown = "".join(sign if sign.isprintable() else "?" for sign in request)
        self.server.service.log(" ".join(filter(None, (shown, outcome, *notes))))
