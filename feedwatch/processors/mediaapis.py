"""The Media APIs (Dolby.io): enhance and diagnose. docs/media-apis.md has the facts.

Built to a contract that was inferred from the vendor's documents and clients, and not tried against
the live service.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
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
from feedwatch.core.masking import masked_document, shortened
from feedwatch.core.post_deadline import Moment
from feedwatch.core.printable import is_flat
from feedwatch.net.client import deadline, described
from feedwatch.processors import MEDIAAPIS
from feedwatch.processors.bearer import Bearer
from feedwatch.processors.http import (
    ABOUT_US,
    JOB_ID,
    READ_SECONDS,
    Voice,
    excerpt,
    first_line,
    get,
    json_object,
    not_accepted,
    post,
)

TOKEN_PATH = "/v1/auth/token"  # noqa: S105
ENHANCE, DIAGNOSE = "enhance", "diagnose"  # kinds of job: what a target begins with
# Whole words only. InternalError is a filter of the job list, by the vendor's clients.
DONE = "Success"
UNDER_WAY = frozenset({"Pending", "Running"})
FAILURES = {
    "Failed": "the API gives no reason",
    "Cancelled": "the job was cancelled",
    "InternalError": "a fault on the API's side",
}
PROBLEM = {"type", "title", "status", "detail"}  # the form of the API's own errors


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where the API writes a file, and where the world reads it.

    Both are templates with {feed}, {id} and {token}; the last of them is new for each POST.
    """

    url: str
    public_url: str
    auth: dict[str, str] | None = None

    def named(self, template: str, task: Task) -> str:
        """One of the two for this task."""
        token = sha256(task.token.encode()).hexdigest()[:16]
        fields = {"{feed}": quote(task.feed, safe=""), "{id}": str(task.episode_id)}
        for field, value in (fields | {"{token}": token}).items():
            template = template.replace(field, value)
        return template


class MediaApis:
    """The `Processor` for the Media APIs. A target is `KIND:PODCAST`."""

    name = MEDIAAPIS

    def __init__(
        self,
        client: httpx.Client,
        bearer: Bearer,
        reader: httpx.Client,
        output: Output | None = None,
        callback: Callable[[str, str], str] | None = None,
    ) -> None:
        """`client` has the API's base URL; `reader`, which reads outputs, has no credentials.

        `output` is needed to enhance. `callback` gives the address at which we hear of a job's
        end, by our name and the token of its claim.
        """
        self._client = client
        self._bearer = bearer
        self._reader = reader
        self._output = output
        self._callback = callback
        self._refusals = 0  # of a POST's token, in a row
        self.api = origin(str(client.base_url))

    def prepare(self) -> Later | None:
        """Have a token."""
        token = self._bearer.fetched()
        return token if isinstance(token, Later) else None

    def submit(self, submission: Task, claimed: Moment) -> Answer:
        """POST /media/KIND. Each POST is a new job: the API has no idempotency key."""
        token = self._bearer.at_hand()
        if token is None:
            return Later("the token has ended, and none was fetched before the claim", sent=False)
        path, headers = f"/media/{_kind(submission.target)}", _authorized(token)
        response = post(self._client, path, self.body_of(submission), claimed, headers)
        if isinstance(response, Later | Unknown):
            return response
        answer = json_object(response)
        if response.status_code == 401:
            self._bearer.drop(token)
            self._refusals += 1
            # Each of them is for another token, since a refused one is dropped.
            return _blocked(response, answer, blocked=self._refusals > 1)
        self._refusals = 0
        if response.is_success:
            job_id = answer.get("job_id") if answer is not None else None
            if isinstance(job_id, str) and JOB_ID.fullmatch(job_id):
                return Accepted(job_id)
            said = excerpt(response, 500)
            return Unknown(f"the API answered without a job id that could be polled, {said}")
        voice = Voice(
            message=_message(response, answer),
            is_pure=answer is not None and answer.keys() <= PROBLEM,
            blocked=_blocked(response, answer) if _is_about_us(response, answer) else None,
        )
        return not_accepted(response, answer, voice)

    def body_of(self, task: Task) -> dict[str, Any]:
        """The body of a submission (contract: EnhanceRequest, DiagnoseRequest)."""
        body: dict[str, Any] = {"input": task.url}
        if _kind(task.target) == ENHANCE and self._output is not None:
            url, auth = self._output.named(self._output.url, task), self._output.auth
            body |= {"output": {"url": url, "auth": auth} if auth else url, **(task.options or {})}
        if self._callback is not None:
            body["on_complete"] = {"url": self._callback(self.name, task.token)}
        return body

    def poll(self, task: Task, media_id: str) -> Progress:
        """GET /media/KIND; of a media file, once it is done, one byte as well."""
        response = self._get(f"/media/{_kind(task.target)}", {"job_id": media_id})
        if isinstance(response, Later):
            return Unreachable(response.reason, response.retry_after, blocked=response.blocked)
        answer = json_object(response)
        message = _message(response, answer)
        if _is_about_us(response, answer):
            return Unreachable(_blocked(response, answer).reason, blocked=True)
        if response.status_code == 404 and message:
            return Lost(f"the API does not know the job any more ({message})")
        status = answer.get("status") if answer is not None else None
        if not response.is_success or answer is None or not isinstance(status, str):
            said = message or "no state of a job"
            return Unreachable(f"the API answered {response.status_code}: {said}")
        if status == DONE:
            return self._finished(task, answer)
        if status in FAILURES:
            reason = _detail(answer.get("error")) or FAILURES[status]
            return Broken(remote_status=status, reason=reason, final=True)
        done = answer.get("progress")
        return Running(
            remote_status=first_line(status),
            progress=float(done) if isinstance(done, int | float) and 0 <= done <= 100 else None,
            known=status in UNDER_WAY,
        )

    def probe(self, target: str, media_id: str | None) -> Later | None:  # noqa: ARG002
        """Safe read: GET /media/jobs of the jobs submitted from now on."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        response = self._get("/media/jobs", {"submitted_after": now})
        if isinstance(response, Later):
            return response
        answer = json_object(response)
        if response.is_success and answer is not None and isinstance(answer.get("jobs"), list):
            return None
        return _blocked(response, answer)

    def has_target(self, target: str) -> bool | Later | None:
        """Whether there is such a kind of job. Nobody is asked: a target is a name of ours."""
        return _kind(target) == DIAGNOSE or (_kind(target) == ENHANCE and self._output is not None)

    def _get(self, path: str, params: dict[str, Any]) -> httpx.Response | Later:
        """GET once; once more with a fresh token, where the one at hand is refused."""
        response: httpx.Response | Later = Later("no token")
        with deadline(2 * READ_SECONDS):  # not that of each of the four
            for _ in range(2):
                token = self._bearer.fetched()
                if isinstance(token, Later):
                    return token
                response = get(self._client, path, params, _authorized(token))
                if isinstance(response, Later) or response.status_code != 401:
                    break
                self._bearer.drop(token)
        return response

    def _finished(self, task: Task, answer: dict[str, Any]) -> Progress:
        if _kind(task.target) == DIAGNOSE:
            result = answer.get("result")
            is_kept = isinstance(result, dict) and is_flat(result)
            kept = masked_document(result) if is_kept else {}
            return Finished(remote_status=DONE, url=None, result=kept)
        if self._output is None:
            why = "FEEDWATCH_MEDIAAPIS_PUBLIC_URL is not set any more"
            return Unreachable(f"{DONE}, but {why}", done=DONE)
        url = self._output.named(self._output.public_url, task)
        problem = self._unreadable(url)
        if problem is not None:
            return Unreachable(f"{DONE}, but the output cannot be read: {problem}", done=DONE)
        return Finished(remote_status=DONE, url=url)

    def _unreadable(self, url: str) -> str | None:
        """Why the world cannot read this file, as far as its first byte tells; None if it can.

        The next API would fail on it, and that POST is paid for as well.
        """
        headers = {"range": "bytes=0-0", "accept-encoding": "identity"}
        try:
            with deadline(READ_SECONDS), self._reader.stream("GET", url, headers=headers) as got:
                if got.status_code not in (200, 206):
                    return str(got.status_code)
                is_empty = not any(got.iter_raw(1))
        except (httpx.RequestError, httpx.InvalidURL) as error:
            return shortened(described(error))
        return "it is empty" if is_empty else None


def _kind(target: str) -> str:
    return target.partition(":")[0]


def _authorized(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def _is_about_us(response: httpx.Response, answer: dict[str, Any] | None) -> bool:
    """Whether it refuses our token, account or proxy: a 403 is about what the token may do."""
    status = response.status_code
    return status in ABOUT_US or (status == 403 and bool(_message(response, answer)))


def _blocked(
    response: httpx.Response, answer: dict[str, Any] | None, *, blocked: bool = True
) -> Later:
    message = _message(response, answer)
    if response.status_code == 401:
        reason = f"the API refuses the token (401 {message}): see FEEDWATCH_MEDIAAPIS_KEY"
        return Later(reason, blocked=blocked)
    said = message or "and not in the API's own words; is FEEDWATCH_MEDIAAPIS_URL right?"
    return Later(f"the API answered {response.status_code} {said}", blocked=blocked)


def _message(response: httpx.Response, answer: dict[str, Any] | None) -> str:
    """The message in the API's problem object; "" for any other body."""
    if answer is None or answer.get("status") != response.status_code:
        return ""
    said = (answer.get("title"), answer.get("detail"))
    return ": ".join(first_line(text) for text in said if isinstance(text, str) and text)


def _detail(error: object) -> str:
    """Why a job failed. Two of the vendor's clients spell its field `details`."""
    if not isinstance(error, dict):
        return ""
    said = (error.get("title"), error.get("detail") or error.get("details"))
    return ": ".join(first_line(text) for text in said if isinstance(text, str) and text)
