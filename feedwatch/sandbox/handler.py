"""One HTTP request to the sandbox, faults included."""

import contextlib
import re
import socket
import struct
import time
from http import HTTPStatus
from http.client import responses
from http.server import BaseHTTPRequestHandler
from typing import Any

from feedwatch.sandbox.answers import Reply, refusal
from feedwatch.sandbox.control import PREFIX, steer
from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.http_server import HttpServer
from feedwatch.sandbox.inlet import Call, understand

MAX_BODY = 10 * 1024 * 1024
_MAX_LINE = 65_536
_LINGER = 1.0  # seconds in which a client that is still sending may read why it was refused
_SILENT = frozenset({"drop_after", "hang_after"})  # the work is done, but nothing is said
_HANGS_UP = _SILENT | {"drop_before", "truncate", "drip"}
_BODILESS = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class Handler(BaseHTTPRequestHandler):
    """One connection; many requests, one after the other."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: HttpServer

    def handle_one_request(self) -> None:
        """Answer as the parent would, but to any method at all, and with our own answers."""
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
                answer = steer(self.server.state, self.command, self.path, body)
                self._log(str(answer.status))
                self.wfile.write(b"".join(self._encode(answer)))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what cannot be read as a request, and hang up: the rest makes no sense either."""
        self.close_connection = True
        self._log(str(code), message or explain or "")
        answer = refusal(code, message or responses.get(code, ""))
        self.wfile.write(b"".join(self._encode(answer)))
        # Closing with bytes unread would send an RST, and the client might never see the answer.
        end = time.monotonic() + _LINGER
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while (left := end - time.monotonic()) > 0:
                self.connection.settimeout(left)
                if not self.connection.recv(_MAX_LINE):
                    break

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the parent's name)
        """Keep quiet: the lines of our own log say more."""

    def _serve_api(self) -> None:
        state = self.server.state
        call = understand(self.command, self.path)
        podcast_id, media_id = call.ids.get("podcastId"), call.ids.get("mediaId")
        polled = media_id if call.target == "poll" else None
        state.count(self.command, call.route.template if call.route else "other", polled)
        fault = state.faults.pick(call.target, podcast_id, media_id)
        if fault and fault.kind == "refuse":
            self._log("reset", fault.kind)
            self._reset()
            return
        body = self._read_body()
        if body is None:
            return
        receipt = None
        if call.target == "submit":
            receipt = state.receive(call.ids["podcastId"], body)
        answer = self._answer(call, body, fault)
        job = answer.media_id if answer else None
        status = answer.status if answer and not (fault and fault.kind in _SILENT) else None
        if receipt:
            state.settle(receipt, status, job)
        took = f"took {job}" if job else ""
        self._log(str(status or "dropped"), took, fault.kind if fault else "")
        if answer:
            self._deliver(answer, fault)
        else:
            self.close_connection = True

    def _answer(self, call: Call, body: bytes, fault: Fault | None) -> Reply | None:
        """Find the answer, and do what it says was done. None: nothing was, and nothing is said."""
        api = self.server.api
        if fault is None:
            return api.answer(call, self.headers, body, ())
        if fault.kind == "drop_before":
            return None
        if fault.kind == "delay":
            self._wait(fault.seconds)
        instead = fault.instead()
        return instead or fault.twist(api.answer(call, self.headers, body, fault.statuses or ()))

    def _deliver(self, answer: Reply, fault: Fault | None) -> None:
        kind = fault.kind if fault else None
        if kind in _HANGS_UP:
            self.close_connection = True
        head, body = self._encode(answer)
        if kind == "truncate":
            body = body[: len(body) // 2]
        if fault and kind == "hang_after":
            self._wait(fault.seconds)
        elif fault and kind == "drip":
            for byte in head + body:
                self.wfile.write(bytes([byte]))
                self._wait(fault.seconds)
        elif kind != "drop_after":
            self.wfile.write(head + body)

    def _read_body(self) -> bytes | None:
        """Read the body. None: it was refused, and the client told so."""
        length, *others = {one.strip() for one in self.headers.get_all("Content-Length", ["0"])}
        if others or not re.fullmatch("[0-9]{1,18}", length):
            self.send_error(HTTPStatus.BAD_REQUEST, "Content-Length must be one whole number")
        elif "Transfer-Encoding" in self.headers:
            self.send_error(HTTPStatus.LENGTH_REQUIRED, "send a Content-Length, not chunks")
        elif int(length) > MAX_BODY:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MAX_BODY} bytes")
        else:
            body = self.rfile.read(int(length))
            if len(body) < int(length):
                raise ConnectionAbortedError("the client left in the middle of its request")
            return body
        return None

    def _encode(self, answer: Reply) -> tuple[bytes, bytes]:
        bodiless = answer.status in _BODILESS
        headers = {
            "Date": self.date_time_string(),
            "Connection": "close" if self.close_connection else "keep-alive",
            **answer.headers,
        }
        if not bodiless:
            headers["Content-Type"] = answer.content_type
            headers["Content-Length"] = str(len(answer.body))
        lines = [f"HTTP/1.1 {answer.status} {responses.get(answer.status, '')}"]
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

    def _log(self, outcome: str, *notes: str) -> None:
        request = f"{self.command} {self.path}" if self.command else "(no request)"
        line = " ".join(filter(None, (request, outcome, *notes)))
        # Nothing may garble a terminal.
        printable = "".join(letter if letter.isprintable() else "?" for letter in line)
        self.server.log(printable)
