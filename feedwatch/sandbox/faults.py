"""Faults on demand: the kinds, their parameters, and which request each of them affects."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from http import HTTPStatus
from threading import Lock
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from feedwatch.sandbox.answers import Refuse, Reply

ApiName = Literal["inlet", "mediaapis"]
Target = Literal["submit", "poll", "podcasts", "token", "jobs"]
On = Literal["submit", "poll", "podcasts", "token", "jobs", "any"]
Kind = Literal[
    # The request is not carried out
    "refuse",  # the connection is reset before the body is read
    "stale",  # a connection that was kept open is closed as a request comes by it
    "drop_before",  # the whole request is read, then the connection is closed without an answer
    "status",  # an answer with any status
    "html",  # an HTML page, as from a proxy in front of the API
    "api_disabled",  # 403, as for an account without API access
    "lost",  # 404, as for an unknown job
    "token_expired",  # 401, and no token that was given until now is good any more
    # The request is carried out, then its answer fails
    "drop_after",  # the connection is closed without an answer
    "hang_after",  # silence for `seconds`, then the connection is closed
    "truncate",  # half of the answer's body, then the connection is closed
    "drip",  # the answer is sent byte by byte, `seconds` apart
    "status_after",  # an answer with any status
    "junk",  # the answer is not JSON
    "no_id",  # the answer is JSON without a mediaId
    "wrong_id",  # the answer names the mediaId `id`
    "wrong_url",  # the answer names the processed URL `url`
    "unsuccessful",  # the answer says `"success": false`
    # The request is carried out and answered
    "delay",  # only after `seconds`
    "job_status",  # the new job takes the next of `statuses` at each poll and keeps the last
    "output_missing",  # the new job succeeds, and its file is not there
    "callback_lost",  # nobody hears of the new job's end
    "callback_doubled",  # its end is told twice
    "callback_early",  # its end is told before the submission is answered, and not again
    "callback_forged",  # its end is told while it runs, by its token and by a wrong one
]

_NEEDED_BY: Mapping[str, set[Kind]] = {
    "seconds": {"delay", "hang_after", "drip"},
    "status": {"status", "status_after", "html"},
    "statuses": {"job_status"},
    "id": {"wrong_id"},
    "url": {"wrong_url"},
}
_OPTIONAL_FOR: Mapping[str, set[Kind]] = {
    "status": {"junk"},
    "retry_after": {"status", "status_after"},
    "body": {"status", "status_after"},
}
_ONLY_ON: Mapping[str, On] = {
    "lost": "poll",
    "wrong_url": "poll",
    "no_id": "submit",
    "job_status": "submit",
    "output_missing": "submit",
    "callback_lost": "submit",
    "callback_doubled": "submit",
    "callback_early": "submit",
    "callback_forged": "submit",
}
_OF_MEDIAAPIS: set[Kind] = {
    "token_expired",
    "output_missing",
    "callback_lost",
    "callback_doubled",
    "callback_early",
    "callback_forged",
}
_UNREAD: set[Kind] = {"refuse", "stale"}  # the body of the request is not looked at

_PAGE = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>\n"
_JUNK = b"<<< this is not JSON"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What a fault is chosen by. `body` is that of a submission, if it is a JSON object."""

    target: Target | None
    api: ApiName | None
    podcast_id: str | None
    media_id: str | None
    by_kept_connection: bool
    body: Mapping[str, Any]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class Fault:
    """One fault: which requests it affects, how often, and what goes wrong."""

    on: On
    kind: Kind
    times: Annotated[int, Field(ge=1)] | None = 1  # requests; None: until it is cleared
    after: Annotated[int, Field(ge=0)] = 0  # requests that pass unaffected first
    api: ApiName | None = None  # only requests to this API
    podcast_id: str | None = None  # only requests for this podcast
    media_id: str | None = None  # only polls of this job
    match: dict[str, Any] | None = None  # only submissions whose body has these fields
    seconds: Annotated[float, Field(ge=0, le=86_400)] | None = None
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    retry_after: int | Annotated[str, Field(pattern="^[ -~]*$")] | None = None
    body: str | None = None  # sent as HTML if it begins with "<", else as JSON
    statuses: Annotated[list[str], Field(min_length=1)] | None = None
    id: str | None = None
    url: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = _NEEDED_BY.keys() | _OPTIONAL_FOR.keys()
        given = {name for name in names if getattr(self, name) is not None}
        needed = {name for name, kinds in _NEEDED_BY.items() if self.kind in kinds}
        optional = {name for name, kinds in _OPTIONAL_FOR.items() if self.kind in kinds}
        if missing := needed - given:
            raise ValueError(f"{self.kind} needs {', '.join(sorted(missing))}")
        if extra := given - needed - optional:
            raise ValueError(f"{self.kind} has no use for {', '.join(sorted(extra))}")
        if _ONLY_ON.get(self.kind, self.on) != self.on:
            raise ValueError(f"{self.kind} can only be on {_ONLY_ON[self.kind]}")
        if self.media_id is not None and self.on != "poll":
            raise ValueError("media_id can only be given on poll")
        if self.match is not None and (self.on != "submit" or self.kind in _UNREAD):
            unread = ", ".join(sorted(_UNREAD))
            raise ValueError(f"match can only be given on submit, and not for {unread}")
        return self

    def matches(self, request: Request) -> bool:
        """Whether this fault is for such a request."""
        return (
            self.on in ("any", request.target)
            and self.api in (None, request.api)
            and (self.kind not in _OF_MEDIAAPIS or request.api == "mediaapis")
            and self.podcast_id in (None, request.podcast_id)
            and self.media_id in (None, request.media_id)
            and (request.by_kept_connection or self.kind != "stale")
            and all(request.body.get(name) == value for name, value in (self.match or {}).items())
        )

    def replacement(self, refuse: Refuse) -> Reply | None:
        """The reply of a kind that prevents the request; None if the kind lets it happen."""
        match self.kind:
            case "status":
                return self._reply_with(self.body, refuse)
            case "html":
                return self._reply_with(_PAGE.format(f"{self.status} from the proxy"), refuse)
            case "api_disabled":
                return refuse(HTTPStatus.FORBIDDEN, "API access is not enabled", None)
            case "lost":
                return refuse(HTTPStatus.NOT_FOUND, "media not found", None)
            case _:
                return None

    def spoil(self, answer: Reply, refuse: Refuse) -> Reply:
        """The reply of a kind that falsifies the true answer after the request was carried out."""
        match self.kind:
            case "status_after":
                return replace(self._reply_with(self.body, refuse), media_id=answer.media_id)
            case "junk":
                return replace(answer, status=self.status or answer.status, body=_JUNK)
            case "no_id":
                document = json.loads(answer.body)
                document.get("data", document).pop("mediaId", None)
                document.pop("job_id", None)
                return replace(answer, body=json.dumps(document).encode())
            case "wrong_id":
                return _with_data(answer, mediaId=self.id)
            case "wrong_url":
                return _with_data(answer, url=self.url)
            case "unsuccessful":
                document = json.loads(answer.body) | {"success": False}
                return replace(answer, body=json.dumps(document).encode())
            case _:
                return answer

    def _reply_with(self, body: str | None, refuse: Refuse) -> Reply:
        assert self.status is not None  # noqa: S101  (see _check)
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if body is None:
            return refuse(self.status, "fault on demand", headers)
        media_type = "text/html; charset=utf-8" if body.startswith("<") else "application/json"
        return Reply(
            status=self.status, body=body.encode(), content_type=media_type, headers=headers
        )


def _with_data(answer: Reply, **fields: object) -> Reply:
    document = json.loads(answer.body)
    if "data" in document:  # else it is a refusal
        document["data"] |= fields
    elif "job_id" in document:
        document["job_id"] = fields.get("mediaId", document["job_id"])
    return replace(answer, body=json.dumps(document).encode())


_ONE = TypeAdapter(Fault)
_MANY = TypeAdapter(list[Fault])


def parse_faults(document: bytes) -> list[Fault]:
    """Parse one fault, or a list of them, from JSON. Raises pydantic's ValidationError."""
    if document.lstrip().startswith(b"["):
        return _MANY.validate_json(document)
    return [_ONE.validate_json(document)]


class Faults:
    """The active faults, oldest first. At most one of them affects a request. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._queue: list[Fault] = []

    def add(self, *faults: Fault) -> None:
        """Append faults to the queue."""
        with self._lock:
            self._queue.extend(faults)

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._queue.clear()

    def active(self) -> list[Fault]:
        """The active faults; their `times` and `after` count down with the requests."""
        with self._lock:
            return list(self._queue)

    def snapshot(self) -> list[dict[str, Any]]:
        """The active faults as JSON objects, without the fields that were not given."""
        return [
            {name: value for name, value in asdict(fault).items() if value is not None}
            for fault in self.active()
        ]

    def look_at_bodies(self) -> bool:
        """Whether it takes a request's body to tell which fault affects it."""
        return any(fault.match is not None for fault in self.active())

    def pick(self, request: Request) -> Fault | None:
        """Choose the fault that affects this request, and count the request against it."""
        with self._lock:
            for place, fault in enumerate(self._queue):
                if not fault.matches(request):
                    continue
                if fault.after:
                    self._queue[place] = replace(fault, after=fault.after - 1)
                    continue
                if fault.times == 1:
                    del self._queue[place]
                elif fault.times is not None:
                    self._queue[place] = replace(fault, times=fault.times - 1)
                return fault
        return None
