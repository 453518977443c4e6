"""Tells whom a job names in its `on_complete` of its end, once; or not, or twice, by a fault."""

import http.client
import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from threading import Lock, Thread
from typing import Any
from urllib.parse import urlsplit

from feedwatch.sandbox.faults import Kind

LOOPBACK = ("127.0.0.1", "localhost", "::1")  # a sandbox calls nobody else
TIMEOUT = 10.0  # seconds


class Callback:
    """The callback of one job."""

    def __init__(self, wanted: Mapping[str, Any] | None, job_id: str, fault: Kind | None) -> None:
        """`wanted` is the job's `on_complete`."""
        self._url = wanted["url"] if wanted is not None else None
        headers = wanted.get("headers", {}) if wanted is not None else {}
        self._headers = {"content-type": "application/json", "x-job-id": job_id}
        self._headers |= headers if isinstance(headers, dict) else {}
        self._job_id = job_id
        self._fault = fault
        self._untold = Lock()  # released until the end is told
        if fault in ("callback_lost", "callback_early"):
            self._untold.acquire()

    def begun(self, path: str) -> None:
        """The job is made, and its submission not answered yet."""
        done = {"path": path, "status": "Success", "progress": 100}
        if self._url is not None and self._fault == "callback_early":
            self._send(self._url, done)
        if self._url is not None and self._fault == "callback_forged":
            wrong = self._url.rpartition("/")[0] + f"/{secrets.token_hex(16)}"
            Thread(target=self._send, args=(self._url, done), daemon=True).start()
            Thread(target=self._send, args=(wrong, done), daemon=True).start()

    def ended(self, record: Mapping[str, Any]) -> None:
        """The job is in a final status. Does not wait for whoever is told."""
        if self._url is None or not self._untold.acquire(blocking=False):
            return
        for _ in range(2 if self._fault == "callback_doubled" else 1):
            Thread(target=self._send, args=(self._url, dict(record)), daemon=True).start()

    def _send(self, url: str, record: Mapping[str, Any]) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname not in LOOPBACK:
            return
        connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, TIMEOUT)
        body = json.dumps({"job_id": self._job_id, **record})
        with suppress(OSError, http.client.HTTPException):
            connection.request("POST", parts.path, body, self._headers)
            connection.getresponse().read()
        connection.close()
