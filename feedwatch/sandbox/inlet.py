"""Inlet's API: from a request to the answer that the contract gives. No sockets and no faults."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote

from feedwatch.sandbox import answers, inlet_contract
from feedwatch.sandbox.answers import BadRequestError, Reply, refusal, reply, success
from feedwatch.sandbox.faults import Target
from feedwatch.sandbox.state import SandboxState


@dataclass(frozen=True)
class Route:
    """A path of the contract; each has one method."""

    method: str
    template: str
    target: Target | None  # its name in a fault

    def match(self, path: str) -> dict[str, str] | None:
        """The ids in a path of this route; None for a path of another one."""
        names, segments = self.template.split("/"), path.split("/")
        if len(names) != len(segments):
            return None
        ids = {}
        for name, segment in zip(names, segments, strict=True):
            if name.startswith("{"):
                ids[name[1:-1]] = unquote(segment)
            elif name != segment:
                return None
        return ids


LIST = Route("GET", "/api/v1/podcasts", "podcasts")
SHOW = Route("GET", "/api/v1/podcasts/{podcastId}", "podcasts")
SUBMIT = Route("POST", "/api/v1/podcasts/{podcastId}/media/process", "submit")
POLL = Route("GET", "/api/v1/podcasts/{podcastId}/media/{mediaId}", "poll")
REVENUE = Route("GET", "/api/v1/podcasts/{podcastId}/revenue", None)
DOWNLOADS = Route("GET", "/api/v1/podcasts/{podcastId}/downloads", None)
# In this order: a path with fewer ids in it wins, as OpenAPI has it.
ROUTES = (LIST, SHOW, SUBMIT, POLL, REVENUE, DOWNLOADS)

DETAILS: dict[str, object] = {  # of a podcast, beside its summary and slug
    "subTitle": None,
    "description": None,
    "logo": None,
    "itunesCategories": [],
    "keywords": [],
    "audioUrls": {},
}


@dataclass(frozen=True)
class Call:
    """The head of a request, and its route if the API has one for it."""

    method: str
    path: str
    query: inlet_contract.Query
    route: Route | None  # None: a path the API does not have
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def allowed(self) -> bool:
        """Whether the path has this method."""
        return self.route is not None and self.route.method == self.method

    @property
    def target(self) -> Target | None:
        """The name of this request in a fault."""
        return self.route.target if self.route and self.allowed else None


def understand(method: str, target: str) -> Call:
    """Find the route of a request."""
    path, _, query = target.partition("?")
    fields = parse_qs(query, keep_blank_values=True)
    for route in ROUTES:
        ids = route.match(path)
        if ids is not None:
            return Call(method, path, fields, route, ids)
    return Call(method, path, fields, None)


@dataclass(frozen=True)
class Content:
    """The rest of a request."""

    authorization: str | None
    content_type: str | None
    body: bytes


class Api:
    """Answers as the contract says."""

    def __init__(self, state: SandboxState, api_key: str) -> None:
        self._state = state
        self._authorization = f"Token {api_key}"

    def answer(self, call: Call, content: Content, script: Sequence[str]) -> Reply:
        """Do what a request asks for. A job that it makes follows the script, if there is one."""
        if call.route is None:
            return refusal(HTTPStatus.NOT_FOUND, "no such path")
        if not call.allowed:
            allow = {"Allow": call.route.method}
            return refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"{call.method} is not allowed", allow)
        if content.authorization != self._authorization:
            return refusal(HTTPStatus.UNAUTHORIZED, "missing or invalid API key")
        try:
            return self._operate(call, content, script)
        except BadRequestError as error:
            return refusal(HTTPStatus.BAD_REQUEST, str(error))

    def _operate(self, call: Call, content: Content, script: Sequence[str]) -> Reply:
        if call.route is LIST:
            return self._list(call.query)
        podcast_id = call.ids["podcastId"]
        if call.route is not SHOW:  # for which the contract has no 400
            inlet_contract.check_id("podcastId", podcast_id)
        if podcast_id not in self._state.podcasts:
            return refusal(HTTPStatus.NOT_FOUND, "podcast not found")
        if call.route is SHOW:
            return success(self._summary(podcast_id) | DETAILS | {"slug": podcast_id.lower()})
        if call.route is SUBMIT:
            return self._submit(podcast_id, content, script)
        if call.route is POLL:
            media_id = inlet_contract.check_id("mediaId", call.ids["mediaId"])
            owner = self._state.owner(media_id)
            if owner is None:
                return refusal(HTTPStatus.NOT_FOUND, "media not found")
            if owner != podcast_id:
                return refusal(HTTPStatus.FORBIDDEN, "media is not part of this podcast")
            return success(self._state.poll(media_id))
        inlet_contract.check_date_range(call.query)
        if call.route is REVENUE:
            return success({"revenue": 0, "eCPM": None, "fillRate": None})
        return success({"downloads": 0})

    def _list(self, query: inlet_contract.Query) -> Reply:
        size, after = inlet_contract.page_size(query), inlet_contract.cursor(query)
        shows = list(self._state.podcasts)
        start = 0
        if after is not None:
            try:
                start = shows.index(base64.urlsafe_b64decode(after.encode()).decode()) + 1
            except (binascii.Error, ValueError):
                raise BadRequestError("after is not the endCursor of a page") from None
        page = shows[start : start + size]
        pagination = {
            "hasNextPage": start + size < len(shows),
            "endCursor": base64.urlsafe_b64encode(page[-1].encode()).decode() if page else None,
            "totalCount": len(shows),
        }
        return success([self._summary(show) for show in page], pagination=pagination)

    def _summary(self, podcast_id: str) -> dict[str, Any]:
        return {
            "id": podcast_id,
            "name": self._state.podcasts[podcast_id],
            "monetizationEnabled": True,
            "analyticsMonitoringEnabled": True,
        }

    def _submit(self, podcast_id: str, content: Content, script: Sequence[str]) -> Reply:
        media_type = (content.content_type or "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise BadRequestError("Content-Type must be application/json")
        body = inlet_contract.check_submission(answers.parse_json(content.body))
        record = self._state.take(podcast_id, body, script)
        shown = {name: record[name] for name in ("mediaId", "status", "name", "originUrl")}
        envelope = {"success": True, "message": "Accepted for processing", "data": shown}
        return reply(HTTPStatus.CREATED, envelope, media_id=record["mediaId"])
