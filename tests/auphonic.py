"""A made-up third API in one file, by the page "A processor in one file" of CONTRIBUTING.

Auphonic-like: a fixed bearer token, a production for each POST, numbers for statuses, and files
under the API's own address. It is a test of the port and of that page; nobody can configure it.
"""

from typing import Any
from urllib.parse import quote

import httpx

from feedwatch.core.job import (
    Accepted,
    Answer,
    Broken,
    Finished,
    Later,
    Lost,
    Progress,
    Running,
    Task,
    Unknown,
    Unreachable,
)
from feedwatch.core.ledger import origin
from feedwatch.core.post_deadline import Moment
from feedwatch.processors.http import (
    ABOUT_US,
    JOB_ID,
    Voice,
    excerpt,
    first_line,
    get,
    json_object,
    not_accepted,
    post,
)

DONE = 3
FAILURES = {2: "Error", 9: "Cancelled"}  # final at once
UNDER_WAY = {0: "Incoming", 1: "Waiting", 4: "Processing", 5: "Encoding"}
ENVELOPE = {"status_code", "error_code", "error_message"}


class Auphonic:
    """The `Processor` for a made-up API."""

    name = "auphonic"

    def __init__(self, client: httpx.Client) -> None:
        """`client` has the base URL and the header `Authorization: Bearer …`."""
        self._client = client
        self.api = origin(str(client.base_url))

    def prepare(self) -> Later | None:
        return None

    def submit(self, submission: Task, claimed: Moment) -> Answer:
        body = {
            "input_file": submission.url,
            "metadata": {"title": submission.name, "genre": submission.token},
            "preset": submission.target.partition(":")[2],
            "action": "start",
        }
        response = post(self._client, "/api/productions.json", body, claimed)
        if isinstance(response, Later | Unknown):
            return response
        answer = json_object(response)
        if response.is_success:
            uuid = _data(answer).get("uuid")
            if isinstance(uuid, str) and JOB_ID.fullmatch(uuid):
                return Accepted(uuid)
            return Unknown(f"the API answered without a uuid, {excerpt(response, 500)}")
        voice = Voice(
            message=_message(answer),
            is_pure=answer is not None and answer.keys() == ENVELOPE,
            blocked=_blocked(response, answer) if response.status_code in ABOUT_US else None,
        )
        return not_accepted(response, answer, voice)

    def poll(self, task: Task, media_id: str) -> Progress:  # noqa: ARG002
        response = get(self._client, f"/api/production/{quote(media_id, safe='')}.json")
        if isinstance(response, Later):
            return Unreachable(response.reason, response.retry_after)
        answer = json_object(response)
        if response.status_code in ABOUT_US:
            return Unreachable(_blocked(response, answer).reason, blocked=True)
        if response.status_code == 404 and _message(answer):
            return Lost(f"the API does not know the production ({_message(answer)})")
        data, status = _data(answer), _data(answer).get("status")
        if not response.is_success or not isinstance(status, int):
            return Unreachable(f"the API answered {response.status_code}: no state of a job")
        if status in FAILURES:
            reason = first_line(str(data.get("error_message") or "the API gives no reason"))
            return Broken(remote_status=FAILURES[status], reason=reason, final=True)
        if status != DONE:
            word = UNDER_WAY.get(status, str(status))
            return Running(remote_status=word, known=status in UNDER_WAY)
        files = [one.get("download_url") for one in data.get("output_files") or ()]
        if not files or not isinstance(files[0], str) or not files[0].startswith("https://"):
            return Unreachable("the API answered Done without an output file")
        return Finished(remote_status="Done", url=files[0])

    def probe(self, target: str, media_id: str | None) -> Later | None:  # noqa: ARG002
        response = get(self._client, "/api/user.json")
        if isinstance(response, Later):
            return response
        answer = json_object(response)
        is_proof = response.is_success and bool(_data(answer))
        return None if is_proof else _blocked(response, answer)

    def has_target(self, target: str) -> bool | Later | None:  # noqa: ARG002
        return None


def _data(answer: dict[str, Any] | None) -> dict[str, Any]:
    data = answer.get("data") if answer is not None else None
    return data if isinstance(data, dict) else {}


def _message(answer: dict[str, Any] | None) -> str:
    """The message in the API's own form; "" for any other body."""
    if answer is None or not isinstance(answer.get("status_code"), int):
        return ""
    said = answer.get("error_message")
    return first_line(said) if isinstance(said, str) else ""


def _blocked(response: httpx.Response, answer: dict[str, Any] | None) -> Later:
    said = _message(answer) or "and not in the API's own words"
    return Later(f"the API answered {response.status_code} {said}", blocked=True)
