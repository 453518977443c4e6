"""The Media APIs by their contract: token, enhance, diagnose, the list of jobs; and a storage.

What a job writes to `/out/NAME`, or to any bucket, is read by the world at `/public/NAME`.
"""

import re
import secrets
import time
import uuid
from collections.abc import Callable, Sequence
from email.message import Message
from http import HTTPStatus
from threading import Timer
from typing import Any
from urllib.parse import unquote

from feedwatch.sandbox import mediaapis_contract as contract
from feedwatch.sandbox.answers import BadRequestError, Reply, problem, reply
from feedwatch.sandbox.callbacks import Callback
from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.routes import Call, Query, Route
from feedwatch.sandbox.state import DURATION, Job, SandboxState, stamp

TOKEN = Route("POST", "/v1/auth/token", "token", "mediaapis")
LIST = Route("GET", "/media/jobs", "jobs", "mediaapis")
PUT_OUT = Route("PUT", "/out/{+name}", None, "mediaapis")
GET_PUBLIC = Route("GET", "/public/{+name}", None, "mediaapis")
ENHANCE, DIAGNOSE = "/media/enhance", "/media/diagnose"
ROUTES = (
    TOKEN,
    LIST,
    *(Route("POST", path, "submit", "mediaapis") for path in (ENHANCE, DIAGNOSE)),
    *(Route("GET", path, "poll", "mediaapis") for path in (ENHANCE, DIAGNOSE)),
    PUT_OUT,
    GET_PUBLIC,
)
PAGE = 100
FINAL = ("Success", "Failed", "Cancelled", "InternalError")
AUDIO = b"ID3" + bytes(1021)  # of every processed file
FINDINGS: dict[str, Any] = {
    "media_info": {"container": {"kind": "mp3", "duration": float(DURATION), "bitrate": 128000}},
    "audio": {"quality_score": {"average": 7.1}, "noise_score": {"average": 1.2}},
}


class MediaJob(Job):
    """A job of the Media APIs."""

    statuses = ("Pending", "Running", "Success")

    def __init__(
        self,
        path: str,
        body: dict[str, Any],
        seconds: float,
        script: Sequence[str],
        fault: Fault | None,
    ) -> None:
        super().__init__(str(uuid.uuid4()), body, seconds, script)
        self.path = path
        kind = fault.kind if fault is not None else None
        self.callback = Callback(body.get("on_complete"), self.media_id, kind)
        output = body.get("output", "")
        url = output["url"] if isinstance(output, dict) else output
        path_of_output = re.sub(r"^\w+://[^/?#]*", "", url).partition("?")[0]
        key = unquote(path_of_output).removeprefix("/out").lstrip("/")
        self.file = key if kind != "output_missing" else ""

    def record(self) -> dict[str, Any]:
        """The job as the contract's JSON object, without advancing the script."""
        self.advance_by_clock()
        shares = {"Pending": 0, "Running": 35, "Success": 100}
        record = {
            "path": self.path,
            "status": self.status,
            "progress": shares.get(self.status, 0),
            "api_version": "v1.1.2",
        }
        if self.status == "Success":
            record["result"] = FINDINGS if self.path == DIAGNOSE else {}
        if self.status == "Failed":
            record["error"] = {
                "type": "/problems/input-file-access",
                "title": "Input not readable",
                "detail": "the input location could not be opened",
            }
        if self.status in FINAL:
            self.callback.ended(record)
        return record

    def listed(self) -> dict[str, Any]:
        """The job as the list has it."""
        times = {"time_submitted": stamp(self.created_at), "time_started": stamp(self.created_at)}
        record = {name: it for name, it in self.record().items() if name not in ("result", "error")}
        return {"job_id": self.media_id, **record, "duration": float(DURATION), **times}


class MediaApi:
    """Answers requests as the contract says."""

    def __init__(
        self,
        state: SandboxState,
        app_key: str,
        app_secret: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = state
        self.clock = clock
        self._login = f"{app_key}:{app_secret}"
        self._tokens: dict[str, float] = {}  # and when they end

    def expire_tokens(self) -> None:
        """Let every token end that was given until now."""
        self._tokens = {}

    def answer(self, call: Call, headers: Message, body: bytes, fault: Fault | None) -> Reply:
        """Carry out a request, as far as the fault lets it."""
        route = call.route
        if route is None or call.method not in call.allowed:
            allow = {"Allow": ", ".join(call.allowed)}
            return problem(HTTPStatus.METHOD_NOT_ALLOWED, f"{call.method} is not allowed", allow)
        if route in (PUT_OUT, GET_PUBLIC):
            return self._store(call, headers, body)
        if fault is not None and fault.kind == "token_expired":
            self.expire_tokens()
        if not self._is_authorized(route, headers):
            return problem(HTTPStatus.UNAUTHORIZED, "token missing or expired")
        content_type = headers["Content-Type"] or ""
        try:
            contract.check_version(headers)
            if route == TOKEN:
                return self._grant(contract.read_grant(content_type, body))
            if route == LIST:
                return self._list(call.query)
            if call.method == "POST":
                read = contract.read_job(route.template, content_type, body)
                return self._begin(route.template, read, fault)
            job = self.state.job(contract.check_job_id(call.query))
        except BadRequestError as error:
            return problem(HTTPStatus.BAD_REQUEST, str(error))
        if not isinstance(job, MediaJob) or job.path != route.template:
            return problem(HTTPStatus.NOT_FOUND, "job not found")
        return reply(HTTPStatus.OK, self.state.poll(job.media_id))

    def _is_authorized(self, route: Route, headers: Message) -> bool:
        if route == TOKEN:
            return contract.basic_login(headers) == self._login
        scheme, _, token = (headers["Authorization"] or "").partition(" ")
        return scheme == "Bearer" and self.clock() < self._tokens.get(token, 0.0)

    def _grant(self, life: int) -> Reply:
        token = secrets.token_urlsafe(24)
        self._tokens[token] = self.clock() + life
        granted = {"access_token": token, "token_type": "Bearer", "expires_in": life}
        return reply(HTTPStatus.OK, granted)

    def _begin(self, path: str, body: dict[str, Any], fault: Fault | None) -> Reply:
        script = (fault.statuses if fault is not None else None) or ()
        job = MediaJob(path, body, self.state.job_seconds, script, fault)
        job.callback.begun(path)
        self.state.add(job)
        if "on_complete" in body:  # nobody may poll it, so it has to look at the clock by itself
            timer = Timer(self.state.job_seconds, self.state.jobs)
            timer.daemon = True
            timer.start()
        return reply(HTTPStatus.OK, {"job_id": job.media_id}, media_id=job.media_id)

    def _list(self, query: Query) -> Reply:
        wanted = contract.check_list(query)
        start = wanted["next_token"] or "0"
        if not re.fullmatch("[0-9]{1,9}", start):
            raise BadRequestError("next_token must be that of a page")
        jobs = [job.listed() for job in self.state.all_jobs() if isinstance(job, MediaJob)]
        jobs = [
            job
            for job in jobs
            if wanted["job_id"] in (None, job["job_id"])
            and wanted["status"] in (None, job["status"])
            and (wanted["submitted_after"] or "") <= job["time_submitted"]
            and job["time_submitted"] <= (wanted["submitted_before"] or "9999")
        ]
        page = jobs[int(start) : int(start) + PAGE]
        more = int(start) + PAGE < len(jobs)
        following = {"next_token": str(int(start) + PAGE)} if more else {}
        return reply(HTTPStatus.OK, {"count": len(page), "jobs": page, **following})

    def _store(self, call: Call, headers: Message, body: bytes) -> Reply:
        name = call.ids["name"]
        if call.method == "PUT":
            self.state.put_file(name, body)
            return Reply(status=HTTPStatus.CREATED, body=b"")
        written = (job for job in self.state.all_jobs() if isinstance(job, MediaJob))
        is_done = any(job.file == name and job.record()["status"] == FINAL[0] for job in written)
        content = AUDIO if is_done else self.state.file(name)
        if content is None:
            return problem(HTTPStatus.NOT_FOUND, "no such file")
        wanted = re.fullmatch(r"bytes=(\d{1,9})-(\d{1,9})", headers["Range"] or "")
        if wanted is None:
            return Reply(status=HTTPStatus.OK, body=content, content_type="audio/mpeg")
        part = content[int(wanted[1]) : int(wanted[2]) + 1]
        place = {"Content-Range": f"bytes {wanted[1]}-{wanted[2]}/{len(content)}"}
        status = HTTPStatus.PARTIAL_CONTENT
        return Reply(status=status, body=part, content_type="audio/mpeg", headers=place)
