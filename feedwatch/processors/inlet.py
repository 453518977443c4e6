"""Inlet's Media Management API. docs/inlet.md has the facts, and the gaps of its document."""

import re
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

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
from feedwatch.core.masking import shortened
from feedwatch.core.post_deadline import Moment
from feedwatch.core.printable import is_flat, printable
from feedwatch.processors import INLET
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

# The API names twenty statuses and none of them final; this grouping is ours. Whole words only:
# AD_BREAK_READY and REMOVE_ADS_READY are stages on the way.
DONE = "READY"
UNDER_WAY = frozenset(
    {
        "IMPORTED",
        "UPLOAD_QUEUED",
        "UPLOADING",
        "FETCH_COMPLETE",
        "PROCESSING_QUEUED",
        "AD_BREAK_QUEUED",
        "AD_BREAK_PROCESSING",
        "AD_BREAK_READY",
        "REMOVE_ADS_WAITING",
        "REMOVE_ADS_QUEUED",
        "REMOVE_ADS_PROCESSING",
        "REMOVE_ADS_READY",
        "PUBLISHING",
    }
)
ERRORS = {
    "AI_ERROR": "an error occurred during AI processing",
    "AD_BREAK_ERROR": "an error occurred while ad breaks were looked for or filled",
    "REMOVE_ADS_ERROR": "an error occurred while ads were removed",
    "PUBLISHING_ERROR": "an error occurred during publishing",
    "ERROR": "a general error occurred",
    "UNAVAILABLE": (
        "the API could not fetch the enclosure's URL; see that it can be downloaded by anybody, "
        "then retry"
    ),
}
API_DISABLED = re.compile(r"api access|access (is )?not enabled", re.IGNORECASE)
ENVELOPE = {"error", "message"}  # the form of the API's own errors, both of them strings
NO_SUCH_CALL = {404, 405}
NO_JOB = "0" * 24  # in the form of a media id
MAX_PAGES = 1000
LONGEST_URL = 8_000
LARGEST = 2**31


class Inlet:
    """The `Processor` for Inlet."""

    name = INLET

    def __init__(self, client: httpx.Client) -> None:
        """`client` has the API's base URL and the header `Authorization: Token …`."""
        self._client = client
        self.api = origin(str(client.base_url))

    def submit(self, submission: Task, claimed: Moment) -> Answer:
        """POST /media/process. The API has no idempotency key, no lookup and no cancel."""
        path = f"{_podcast(submission.target)}/media/process"
        response = post(self._client, path, body_of(submission), claimed)
        if isinstance(response, Later | Unknown):
            return response
        answer = json_object(response)
        if response.is_success:
            return _taken(response, answer)
        hint = "; `feedwatch podcasts` lists the ids" if response.status_code == 404 else ""
        voice = Voice(
            message=_message(answer),
            is_pure=answer is not None and answer.keys() == ENVELOPE,
            blocked=_blocked(response, answer) if _is_about_us(response, answer) else None,
            hint=hint,
        )
        return not_accepted(response, answer, voice)

    def poll(self, task: Task, media_id: str) -> Progress:
        """GET /media/{mediaId}."""
        response = get(self._client, _job(task.target, media_id))
        if isinstance(response, Later):
            return Unreachable(response.reason, response.retry_after)
        answer = json_object(response)
        if _is_about_us(response, answer):
            return Unreachable(_blocked(response, answer).reason, blocked=True)
        if response.status_code == 404 and _message(answer):
            return Lost(f"the API does not know the job any more ({_message(answer)})")
        if not response.is_success or answer is None or answer.get("success", True) is not True:
            said = _message(answer) or "no state of a job"
            return Unreachable(f"the API answered {response.status_code}: {said}")
        return _progress(answer.get("data"), media_id)

    def prepare(self) -> Later | None:
        """Nothing: the key goes along with each request."""
        return None

    def probe(self, target: str, media_id: str | None) -> Later | None:
        """Safe read: GET /podcasts, one entry; where there is no such call, GET /media/{mediaId}.

        Only the second is in the API's main document. What it says of the job does not matter: an
        answer in the API's own form proves that it works and took the key.
        """
        response = get(self._client, "/api/v1/podcasts", {"first": 1})
        if isinstance(response, Later):
            return response
        proofs = {400, 403}
        if response.status_code in NO_SUCH_CALL:
            response = get(self._client, _job(target, media_id or NO_JOB))
            if isinstance(response, Later):
                return response
            proofs = {403, 404}
        answer = json_object(response)
        if response.is_success and answer is not None:
            return None
        is_proof = response.status_code in proofs and _message(answer)
        if is_proof and not _is_about_us(response, answer):
            return None
        return _blocked(response, answer)

    def podcasts(self) -> list[dict[str, Any]] | Later:
        """All podcasts that the key reaches, or why they cannot be listed."""
        found: list[dict[str, Any]] = []
        after: str | None = None
        for _ in range(MAX_PAGES):
            params = {"first": 100} | ({"after": after} if after else {})
            response = get(self._client, "/api/v1/podcasts", params)
            if isinstance(response, Later):
                return response
            page = json_object(response)
            if not response.is_success or page is None or not isinstance(page.get("data"), list):
                return _blocked(response, page)
            found += (entry for entry in page["data"] if isinstance(entry, dict))
            pagination = page.get("pagination") or {}
            after = pagination.get("endCursor")
            if not pagination.get("hasNextPage") or not after:
                break
        return found

    def has_target(self, target: str) -> bool | Later | None:
        """Whether the key reaches this podcast. None: the API does not say, in its own form."""
        response = get(self._client, _podcast(target))
        if isinstance(response, Later):
            return response
        answer = json_object(response)
        if _is_about_us(response, answer):
            return _blocked(response, answer)
        if response.is_success:
            return True
        return False if response.status_code in (403, 404) and _message(answer) else None


def body_of(submission: Task) -> dict[str, Any]:
    """The body of a submission, without what is unknown (contract: MediaCreationParams)."""
    body: dict[str, Any] = {"url": submission.url, "name": submission.name}
    if submission.description:
        body["description"] = submission.description
    if submission.published_at is not None:
        body["publishedDate"] = iso_millis(submission.published_at)
    if submission.options is not None:
        body["adOptions"] = submission.options
    return body


def iso_millis(moment: datetime) -> str:
    """UTC with three decimals and Z, the only form that the API's document shows."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _podcast(podcast_id: str) -> str:
    return f"/api/v1/podcasts/{quote(podcast_id, safe='')}"


def _job(podcast_id: str, media_id: str) -> str:
    return f"{_podcast(podcast_id)}/media/{quote(media_id, safe='')}"


def _taken(response: httpx.Response, answer: dict[str, Any] | None) -> Accepted | Unknown:
    """What a 2xx to a POST proves: with a usable media id that a job exists, else nothing."""
    data = answer.get("data") if answer is not None else None
    data = data if isinstance(data, dict) else {}
    media_id, succeeded = data.get("mediaId"), answer is None or answer.get("success", True) is True
    if not succeeded or not isinstance(media_id, str) or not JOB_ID.fullmatch(media_id):
        said = excerpt(response, 500)
        return Unknown(f"the API answered without a media id that could be polled, {said}")
    return Accepted(media_id, _text(data.get("status")))


def _is_about_us(response: httpx.Response, answer: dict[str, Any] | None) -> bool:
    """Whether it refuses our key, account or proxy, and not what was asked for."""
    if response.status_code in ABOUT_US:
        return True
    return response.status_code == 403 and bool(API_DISABLED.search(_message(answer)))


def _blocked(response: httpx.Response, answer: dict[str, Any] | None) -> Later:
    status, message = response.status_code, _message(answer)
    if status == 401:
        reason = f"the API refuses the key (401 {message}): mend FEEDWATCH_API_KEY"
        return Later(reason, blocked=True)
    if status == 403 and _is_about_us(response, answer):
        return Later(f"API access is off for this key's user (403 {message})", blocked=True)
    said = message or "and not in the API's own words; is FEEDWATCH_API_URL right?"
    return Later(f"the API answered {status} {said}", blocked=True)


def _message(answer: dict[str, Any] | None) -> str:
    """The message in the API's envelope {error, message}; "" for any other body."""
    if answer is None:
        return ""
    error, message = answer.get("error"), answer.get("message")
    if not isinstance(error, str) or not isinstance(message, str):
        return ""
    return f"{first_line(error)}: {first_line(message)}"


def _progress(data: object, media_id: str) -> Progress:
    if not isinstance(data, dict) or not isinstance(data.get("status"), str):
        return Unreachable("the API answered without a status")
    if data.get("mediaId", media_id) != media_id:
        return Unreachable(
            f"the API answered about another job, {shortened(repr(data['mediaId']), 100)}"
        )
    status = first_line(data["status"])
    stamp = _text(data.get("updatedAt"))
    attempts = _number(data.get("failedAttempts"))
    attempts = int(attempts) if attempts is not None else None
    if status in ERRORS:
        return Broken(
            remote_status=status,
            reason=ERRORS[status],
            remote_updated_at=stamp,
            failed_attempts=attempts,
        )
    if status != DONE:
        return Running(remote_status=status, remote_updated_at=stamp, known=status in UNDER_WAY)
    url, markers = data.get("url"), data.get("adRemovalMarkers")
    if not isinstance(url, str) or not _is_absolute(url):
        said = shortened(repr(url), 200)
        why = f"the API answered {DONE} without an absolute http(s) URL: {said}"
        return Unreachable(why, done=DONE)
    return Finished(
        remote_status=status,
        url=url,
        remote_updated_at=stamp,
        remote_created_at=_text(data.get("createdAt")),
        duration=_number(data.get("duration")),
        ad_removal_markers=markers if isinstance(markers, list) and is_flat(markers) else [],
        failed_attempts=attempts,
    )


def _is_absolute(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    is_clean = (
        printable(url) == url
        and len(url) <= LONGEST_URL
        and not any(sign.isspace() for sign in url)
    )
    return is_clean and parts.scheme in ("http", "https") and bool(parts.hostname)


def _text(value: object) -> str | None:
    return first_line(value) if isinstance(value, str) else None


def _number(value: object) -> float | None:
    """A number, if a database column can hold it; the API's are small."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < LARGEST else None
