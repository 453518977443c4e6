"""The API itself: from a request to the true answer. No sockets, and no faults."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote

from feedwatch.sandbox import inlet_contract
from feedwatch.sandbox.answers import BadRequestError, Reply, refusal, reply, success
from feedwatch.sandbox.faults import Target
from feedwatch.sandbox.state import SandboxState


@dataclass(frozen=True)
class Route:
    """A path of the contract; each has one method."""

    method: str
    template: str
    target: Target | None  # what a fault calls it


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
    """The head of a request, understood as far as it can be."""

    method: str
    query: inlet_contract.Query
    route: Route | None  # None: a path the API does not have
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def target(self) -> Target | None:
        """What a fault calls this request."""
        return self.route.target if self.route and self.route.method == self.method else None


def understand(method: str, target: str) -> Call:
    """Find the route of a request."""
    path, _, query = target.partition("?")
    fields = parse_qs(query, keep_blank_values=True)
    for route in ROUTES:
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]*)", route.template)
        if match := re.fullmatch(pattern, path):
            ids = {name: unquote(segment) for name, segment in match.groupdict().items()}
            return Call(method, fields, route, ids)
    return Call(method, fields, None)


class Api:
    """Answers as the contract says."""

    def __init__(self, state: SandboxState, api_key: str) -> None:
        self._state = state
        self._authorization = f"Token {api_key}"

    def answer(self, call: Call, headers: Message, body: bytes, script: Sequence[str]) -> Reply:
        """Do what a request asks for. A job that it makes follows the script, if there is one."""
        if call.route is None:
            return refusal(HTTPStatus.NOT_FOUND, "no such path")
        if call.method != call.route.method:
            allow = {"Allow": call.route.method}
            return refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"{call.method} is not allowed", allow)
        if headers["Authorization"] != self._authorization:
            return refusal(HTTPStatus.UNAUTHORIZED, "missing or invalid API key")
        try:
            if call.route is LIST:
                return self._list(call.query)
            return self._answer_for_podcast(call, headers["Content-Type"] or "", body, script)
        except BadRequestError as error:
            return refusal(HTTPStatus.BAD_REQUEST, str(error))

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

    def _answer_for_podcast(
        self, call: Call, content_type: str, body: bytes, script: Sequence[str]
    ) -> Reply:
        podcast_id = call.ids["podcastId"]
        if call.route is not SHOW:  # whose contract has no 400: an id that cannot be is unknown
            inlet_contract.check_id("podcastId", podcast_id)
        if podcast_id not in self._state.podcasts:
            return refusal(HTTPStatus.NOT_FOUND, "podcast not found")
        if call.route is SHOW:
            return success(self._summary(podcast_id) | {"slug": podcast_id.lower()} | DETAILS)
        if call.route is SUBMIT:
            params = inlet_contract.read_submission(content_type, body)
            record = self._state.take(podcast_id, params, script)
            shown = {name: record[name] for name in ("mediaId", "status", "name", "originUrl")}
            envelope = {"success": True, "message": "Accepted for processing", "data": shown}
            return reply(HTTPStatus.CREATED, envelope, media_id=record["mediaId"])
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

    def _summary(self, podcast_id: str) -> dict[str, Any]:
        return {
            "id": podcast_id,
            "name": self._state.podcasts[podcast_id],
            "monetizationEnabled": True,
            "analyticsMonitoringEnabled": True,
        }
