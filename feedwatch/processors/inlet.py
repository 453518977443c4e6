"""Inlet's Media Management API. docs/inlet.md has the facts, and the gaps of its document."""

import re
from datetime import datetime
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
    Refused,
    Running,
    Task,
    Unknown,
    Unreachable,
)
from feedwatch.core.ledger import origin
from feedwatch.processors.http import first_line, get, json_object, post

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
MEDIA_ID = re.compile(r"[!-~]{1,200}")
ABOUT_US = {401, 402, 407}  # about the key, the bill or the proxy, not about this episode
MAX_PAGES = 1000
LARGEST = 2**31


class Inlet:
    """The `Processor` for Inlet."""

    name = "inlet"

    def __init__(self, client: httpx.Client) -> None:
        """`client` has the API's base URL and the header `Authorization: Token …`."""
        self._client = client
        self.api = origin(str(client.base_url))

    def submit(self, submission: Task) -> Answer:
        """POST /media/process. The API has no idempotency key, no lookup and no cancel."""
        path = f"{_podcast(submission.podcast_id)}/media/process"
        response = post(self._client, path, body_of(submission))
        if isinstance(response, Later | Unknown):
            return response
        answer = json_object(response)
        if response.is_success:
            data = answer.get("data") if answer is not None else None
            data = data if isinstance(data, dict) else {}
            media_id = data.get("mediaId")
            if not isinstance(media_id, str) or not MEDIA_ID.fullmatch(media_id):
                status = response.status_code
                return Unknown(f"the API answered {status} without a media id that could be polled")
            return Accepted(media_id, _text(data.get("status")))
        # A 4xx proves that no job exists. Only the API's envelope refuses this very episode.
        message = _message(answer)
        if response.status_code in ABOUT_US or not message or _is_disabled(answer):
            return _blocked(response, answer)
        hint = "; `feedwatch podcasts` lists the ids" if response.status_code == 404 else ""
        return Refused(f"{response.status_code} {message}{hint}")

    def poll(self, podcast_id: str, media_id: str) -> Progress:
        """GET /media/{mediaId}."""
        response = get(self._client, f"{_podcast(podcast_id)}/media/{quote(media_id, safe='')}")
        if isinstance(response, Later):
            return Unreachable(response.reason, response.retry_after)
        answer = json_object(response)
        if response.status_code == 404 and _message(answer):
            return Lost(f"the API does not know the job any more ({_message(answer)})")
        data = answer.get("data") if answer is not None and response.is_success else None
        if not isinstance(data, dict) or not isinstance(data.get("status"), str):
            said = _message(answer) or "no status in it"
            return Unreachable(f"the API answered {response.status_code}: {said}")
        return _progress(data)

    def probe(self) -> Later | None:
        """Safe read: GET /podcasts, one entry; None if the API answers and takes the key.

        The API's main document does not have this call, so its error envelope proves as much as
        success does, unless it refuses the key or says that API access is off.
        """
        response = get(self._client, "/api/v1/podcasts", {"first": 1})
        if isinstance(response, Later):
            return response
        answer = json_object(response)
        if response.is_success and answer is not None:
            return None
        if response.status_code == 401 or not _message(answer) or _is_disabled(answer):
            return _blocked(response, answer)
        return None

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

    def has_podcast(self, podcast_id: str) -> bool | Later:
        """Whether the key reaches this podcast."""
        response = get(self._client, _podcast(podcast_id))
        if isinstance(response, Later):
            return response
        if response.is_success:
            return True
        answer = json_object(response)
        if response.status_code == 404 and _message(answer):
            return False
        if response.status_code == 403 and not _is_disabled(answer) and _message(answer):
            return False
        return _blocked(response, answer)


def body_of(submission: Task) -> dict[str, Any]:
    """The body of a submission, without what is unknown (contract: MediaCreationParams)."""
    body: dict[str, Any] = {"url": submission.url, "name": submission.name}
    if submission.description:
        body["description"] = submission.description
    if submission.published_at is not None:
        body["publishedDate"] = iso_millis(submission.published_at)
    if submission.ad_options is not None:
        body["adOptions"] = submission.ad_options
    return body


def iso_millis(moment: datetime) -> str:
    """UTC with three decimals and Z, the only form that the API's document shows."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _podcast(podcast_id: str) -> str:
    return f"/api/v1/podcasts/{quote(podcast_id, safe='')}"


def _blocked(response: httpx.Response, answer: dict[str, Any] | None) -> Later:
    status, message = response.status_code, _message(answer)
    if status == 401:
        reason = f"the API refuses the key (401 {message}): mend FEEDWATCH_API_KEY"
        return Later(reason, blocked=True)
    if _is_disabled(answer):
        return Later(f"API access is off for this key's user (403 {message})", blocked=True)
    said = message or "and not in the API's own words; is FEEDWATCH_API_URL right?"
    return Later(f"the API answered {status} {said}", blocked=True)


def _is_disabled(answer: dict[str, Any] | None) -> bool:
    return bool(API_DISABLED.search(_message(answer)))


def _message(answer: dict[str, Any] | None) -> str:
    """The message in the API's envelope {error, message}; "" for any other body."""
    if answer is None:
        return ""
    error, message = answer.get("error"), answer.get("message")
    if not isinstance(error, str) or not isinstance(message, str):
        return ""
    return f"{first_line(error)}: {first_line(message)}"


def _progress(data: dict[str, Any]) -> Progress:
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
    url = data.get("url")
    if status == DONE and isinstance(url, str) and first_line(url) == url != "":
        markers = data.get("adRemovalMarkers")
        return Finished(
            remote_status=status,
            processed_url=url,
            remote_updated_at=stamp,
            remote_created_at=_text(data.get("createdAt")),
            duration=_number(data.get("duration")),
            ad_removal_markers=markers if isinstance(markers, list) else [],
            failed_attempts=attempts,
        )
    # READY without a URL is not in the contract either: logged, and polled on.
    return Running(remote_status=status, remote_updated_at=stamp, known=status in UNDER_WAY)


def _text(value: object) -> str | None:
    return first_line(value) if isinstance(value, str) else None


def _number(value: object) -> float | None:
    """A number, if a database column can hold it; the API's are small."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < LARGEST else None
