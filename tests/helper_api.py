"""A media API of the tests' own for helper steps, on loopback, and its processor.

It takes `POST /jobs` and tells of a job by `GET /jobs/ID`: enough to try pipelines of several steps
without any vendor's contract.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from feedwatch.core.job import (
    Accepted,
    Answer,
    Broken,
    Finished,
    Later,
    Lost,
    Progress,
    Refused,
    Running,
    Task,
    Unknown,
    Unreachable,
)
from feedwatch.core.ledger import origin
from feedwatch.core.post_deadline import Moment
from feedwatch.processors.http import get, json_object, post
from tests.support import Loopback


@dataclass(kw_only=True)
class Job:
    """A job, as the API has it."""

    id: str
    task: dict[str, Any]
    state: dict[str, Any] = field(default_factory=lambda: {"status": "Success"})


class HelperApi(Loopback):
    """The API. Each job is done at once, unless the test says otherwise."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.jobs: list[Job] = []
        self.posts = 0
        self.perhaps_taken: list[dict[str, Any]] = []  # by what it answered
        self.is_down = False  # every request is answered by 500 then
        self.refuses: Callable[[dict[str, Any]], bool] = lambda _: False
        self.forgets = False  # the answer to a POST is lost on its way
        self.next_state: dict[str, Any] = {"status": "Success"}
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                api.posts += 1
                if api.is_down or not api.refuses(body):
                    api.perhaps_taken.append(body)
                if api.is_down:
                    self._answer(500, {})
                elif api.refuses(body):
                    self._answer(400, {"title": "no"})
                else:
                    job = Job(id=f"job-{api.posts}", task=body, state=dict(api.next_state))
                    api.jobs.append(job)
                    self._answer(500 if api.forgets else 200, {"job_id": job.id})

            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                job = next((one for one in api.jobs if one.id == name), None)
                if api.is_down:
                    self._answer(500, {})
                elif self.path == "/jobs":
                    self._answer(200, {"jobs": []})
                elif job is None:
                    self._answer(404, {"title": "unknown"})
                else:
                    url = f"https://out.example/{job.task['step']}/{job.id}.mp3"
                    result = {"quality_score": 7} if job.task["step"] == "diagnose" else None
                    made = {"url": url} if job.task["step"] == "enhance" else {"result": result}
                    self._answer(200, made | job.state)

            def _answer(self, status: int, document: dict[str, Any]) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *_: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def count(self, step: str) -> int:
        """How many jobs of a step there are."""
        return sum(job.task["step"] == step for job in self.jobs)


class Helper:
    """The processor of that API."""

    name = "mediaapis"

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self.api = origin(str(client.base_url))

    def submit(self, submission: Task, claimed: Moment) -> Answer:
        task = {
            "step": submission.step,
            "name": submission.name,
            "url": submission.url,
            "target": submission.target,
        }
        response = post(self._client, "/jobs", task, claimed)
        if isinstance(response, Later | Unknown):
            return response
        if response.is_client_error:
            return Refused(f"{response.status_code} no")
        answer = json_object(response)
        if not response.is_success or answer is None:
            return Unknown(f"the API answered {response.status_code}")
        return Accepted(answer["job_id"])

    def prepare(self) -> Later | None:
        return None

    def poll(self, task: Task, media_id: str) -> Progress:  # noqa: ARG002
        response = get(self._client, f"/jobs/{media_id}")
        if isinstance(response, Later):
            return Unreachable(response.reason)
        if response.status_code == 404:
            return Lost("404")
        answer = json_object(response) or {}
        match answer.get("status"):
            case "Success":
                return Finished(
                    remote_status="Success", url=answer.get("url"), result=answer.get("result")
                )
            case "Failed":
                return Broken(remote_status="Failed", reason="it failed", final=True)
            case status:
                return Running(remote_status=str(status))

    def probe(self, target: str, media_id: str | None) -> Later | None:  # noqa: ARG002
        response = get(self._client, "/jobs")
        return response if isinstance(response, Later) else None

    def has_target(self, target: str) -> bool | Later | None:  # noqa: ARG002
        return None
