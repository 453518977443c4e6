"""HTTP handler of the sandbox: reads a request, applies its fault, sends the answer."""

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
from feedwatch.sandbox.control import PREFIX, answer_control
from feedwatch.sandbox.faults import Fault, Request
from feedwatch.sandbox.http_server import HttpServer
from feedwatch.sandbox.routes import Call
from feedwatch.sandbox.state import json_object

MAX_BODY = 10 * 1024 * 1024  # bytes
_MAX_LINE = 65_536  # bytes, as in the parent class
_LINGER = 1.0  # seconds that a client has to read a refusal before its connection is closed
_UNANSWERED = frozenset({"drop_after", "hang_after"})  # carried out, but without an answer
_CLOSES_CONNECTION = _UNANSWERED | {"drop_before", "truncate", "drip"}
_BODILESS = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class Handler(BaseHTTPRequestHandler):
    """One connection, with one request after the other."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: HttpServer
    _requests = 0  # that came by this connection

    def handle_one_request(self) -> None:
        """Read and answer one request; unlike the parent, whatever its method is."""
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
                answer = answer_control(self.server.api.state, self.command, self.path, body)
                self._log(str(answer.status))
                self.wfile.write(b"".join(self._encode(answer)))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse an unreadable request and close the connection, whose next byte means nothing."""
        self.close_connection = True
        self._log(str(code), message or explain or "")
        answer = refusal(code, message or responses.get(code, ""))
        self.wfile.write(b"".join(self._encode(answer)))
        # A close with unread bytes would send an RST, and the client might lose the answer.
        end = time.monotonic() + _LINGER
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while (remaining := end - time.monotonic()) > 0:
                self.connection.settimeout(remaining)
                if not self.connection.recv(_MAX_LINE):
                    break

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the parent's name)
        """Drop the parent's log line: `_log` writes a better one."""

    def _serve_api(self) -> None:
        state, call = self.server.api.state, self.server.api.parse(self.command, self.path)
        polled = call.job_id if call.target == "poll" else None
        state.count(self.command, call.route.template if call.route else "other", polled)
        body = None
        if state.faults.look_at_bodies() and (body := self._read_body()) is None:
            return
        fault = state.faults.pick(
            Request(
                target=call.target,
                api=call.route.api if call.route else None,
                podcast_id=call.ids.get("podcastId"),
                media_id=polled,
                by_kept_connection=self._requests > 0,
                body=json_object(body or b"") or {},
            )
        )
        self._requests += 1
        if fault and fault.kind == "stale":
            self._log("closed", fault.kind)
            self.close_connection = True
            return
        if fault and fault.kind == "refuse":
            self._log("reset", fault.kind)
            self._reset_connection()
            return
        if body is None and (body := self._read_body()) is None:
            return
        submission = None
        if call.route and call.target == "submit":
            podcast_id = call.ids.get("podcastId", "")
            submission = state.record_submission(call.route.api, podcast_id, body)
        answer = self._answer(call, body, fault)
        created = answer.media_id if answer else None
        status = answer.status if answer and not (fault and fault.kind in _UNANSWERED) else None
        if submission:
            state.record_outcome(submission, status, created)
        took = f"took {created}" if created else ""
        self._log(str(status or "dropped"), took, fault.kind if fault else "")
        if answer:
            self._send_with_fault(answer, fault)
        else:
            self.close_connection = True

    def _answer(self, call: Call, body: bytes, fault: Fault | None) -> Reply | None:
        """Carry out the request as the fault allows. None: not carried out, and no answer."""
        api, refuse = self.server.api, self.server.api.refuse(call)
        if fault is None:
            return api.answer(call, self.headers, body, None)
        if fault.kind == "drop_before":
            return None
        if fault.kind == "delay":
            self._wait(fault.seconds)
        if reply := fault.replacement(refuse):
            return reply
        return fault.spoil(api.answer(call, self.headers, body, fault), refuse)

    def _send_with_fault(self, answer: Reply, fault: Fault | None) -> None:
        kind = fault.kind if fault else None
        if kind in _CLOSES_CONNECTION:
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
        """Read the request's body. None: the request was refused, and the refusal was sent."""
        length, *others = {one.strip() for one in self.headers.get_all("Content-Length", ["0"])}
        if others or not re.fullmatch("[0-9]{1,18}", length):
            self.send_error(HTTPStatus.BAD_REQUEST, "Content-Length must be one whole number")
        elif "Transfer-Encoding" in self.headers:
            self.send_error(
                HTTPStatus.LENGTH_REQUIRED,
                "send a Content-Length, not a chunked body",
            )
        elif int(length) > MAX_BODY:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"body over {MAX_BODY} bytes")
        else:
            body = self.rfile.read(int(length))
            if len(body) < int(length):
                raise ConnectionAbortedError("the client closed the connection within its request")
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
            raise ConnectionAbortedError("the sandbox is stopping")

    def _reset_connection(self) -> None:
        # SO_LINGER of zero makes a close send an RST, unless a shutdown came first; and the socket
        # is closed only once `rfile`, which reads from it, is closed as well.
        self.close_connection = True
        linger = struct.pack("ii", 1, 0)  # on, for 0 seconds
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.rfile.close()
        self.connection.close()

    def _log(self, outcome: str, *notes: str) -> None:
        request = f"{self.command} {self.path}" if self.command else "(no request)"
        line = " ".join(filter(None, (request, outcome, *notes)))
        # A client's control characters must not reach the terminal.
        self.server.log("".join(char if char.isprintable() else "?" for char in line))
