"""Faults on demand: what there is to order, and which request is hit by which."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from http import HTTPStatus
from threading import Lock
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from feedwatch.sandbox.answers import Reply, refusal

Target = Literal["submit", "poll", "podcasts"]
On = Literal["submit", "poll", "podcasts", "any"]
Kind = Literal[
    # Nothing is taken
    "refuse",  # the connection is reset before the body is read
    "drop_before",  # the request is read whole, the connection closed without an answer
    "status",  # an answer with any status
    "html",  # a page, as a proxy in front would send it
    "api_disabled",  # 403 of an account without API access
    "lost",  # 404 for a job
    # The request does its work, then something goes wrong
    "drop_after",  # the connection is closed without an answer
    "hang_after",  # nothing is said for `seconds`, then the connection is closed
    "truncate",  # half of the answer's body, then the connection is closed
    "drip",  # the answer comes byte by byte, with `seconds` between them
    "status_after",  # an answer with any status
    "junk",  # the answer is no JSON
    "no_id",  # the answer is JSON without a mediaId
    # Nothing goes wrong with the answer
    "delay",  # the request does its work only after `seconds`
    "job_status",  # the job that is made follows `statuses`, one a poll; the last one stays
]

_NEEDED_BY: Mapping[str, set[Kind]] = {
    "seconds": {"delay", "hang_after", "drip"},
    "status": {"status", "status_after", "html"},
    "statuses": {"job_status"},
}
_OPTIONAL_FOR: Mapping[str, set[Kind]] = {
    "status": {"junk"},
    "retry_after": {"status", "status_after"},
    "body": {"status", "status_after"},
}
_ONLY_ON: Mapping[str, On] = {"lost": "poll", "no_id": "submit", "job_status": "submit"}

_PAGE = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>\n"
_JUNK = b"<<< this is no JSON"


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class Fault:
    """One order: these requests go wrong in this way."""

    on: On
    kind: Kind
    times: Annotated[int, Field(ge=1)] | None = 1  # None: until it is cleared
    after: Annotated[int, Field(ge=0)] = 0  # so many are let pass first
    podcast_id: str | None = None  # only requests for this show
    media_id: str | None = None  # only polls of this job
    seconds: Annotated[float, Field(ge=0, le=86_400)] | None = None
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    retry_after: int | Annotated[str, Field(pattern="^[ -~]*$")] | None = None
    body: str | None = None  # sent as HTML where it begins with <, else as JSON
    statuses: Annotated[list[str], Field(min_length=1)] | None = None

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
        return self

    def hits(self, target: Target | None, podcast_id: str | None, media_id: str | None) -> bool:
        """Say whether a request is of the sort that this is for."""
        return (
            self.on in ("any", target)
            and self.podcast_id in (None, podcast_id)
            and self.media_id in (None, media_id)
        )

    def instead(self) -> Reply | None:
        """Give the answer of a kind that does not let the request do its work."""
        match self.kind:
            case "status":
                return self._any_status(self.body)
            case "html":
                return self._any_status(_PAGE.format(f"{self.status} from the proxy"))
            case "api_disabled":
                return refusal(HTTPStatus.FORBIDDEN, "API access is not enabled")
            case "lost":
                return refusal(HTTPStatus.NOT_FOUND, "media not found")
            case _:
                return None

    def twist(self, answer: Reply) -> Reply:
        """Spoil the true answer of a request that did its work."""
        match self.kind:
            case "status_after":
                return replace(self._any_status(self.body), media_id=answer.media_id)
            case "junk":
                return replace(answer, status=self.status or answer.status, body=_JUNK)
            case "no_id":
                document = json.loads(answer.body)
                document.get("data", {}).pop("mediaId", None)
                return replace(answer, body=json.dumps(document).encode())
            case _:
                return answer

    def _any_status(self, body: str | None) -> Reply:
        assert self.status is not None  # noqa: S101  (see _check)
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if body is None:
            return refusal(self.status, "fault on demand", headers)
        media_type = "text/html; charset=utf-8" if body.startswith("<") else "application/json"
        return Reply(
            status=self.status, body=body.encode(), content_type=media_type, headers=headers
        )


_ONE = TypeAdapter(Fault)
_MANY = TypeAdapter(list[Fault])


def read_order(document: bytes) -> list[Fault]:
    """Read one fault, or a list of them, from JSON. Raises pydantic's ValidationError."""
    if document.lstrip().startswith(b"["):
        return _MANY.validate_json(document)
    return [_ONE.validate_json(document)]


class Faults:
    """The faults in force, oldest first. A request is hit by one of them at most."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._queue: list[Fault] = []

    def add(self, *faults: Fault) -> None:
        """Put faults at the end of the queue."""
        with self._lock:
            self._queue.extend(faults)

    def clear(self) -> None:
        """Put everything right again."""
        with self._lock:
            self._queue.clear()

    def active(self) -> list[Fault]:
        """The faults still in force; `times` and `after` say what is left of them."""
        with self._lock:
            return list(self._queue)

    def picture(self) -> list[dict[str, Any]]:
        """The same, for JSON, without what was not given."""
        return [
            {name: value for name, value in asdict(fault).items() if value is not None}
            for fault in self.active()
        ]

    def pick(
        self, target: Target | None, podcast_id: str | None, media_id: str | None
    ) -> Fault | None:
        """Find the fault that hits this request, and use it up by one."""
        with self._lock:
            for place, fault in enumerate(self._queue):
                if not fault.hits(target, podcast_id, media_id):
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
