"""The media API by its contract: routes, and the true answer to a request, without faults."""

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
    """One path of the contract, which has one method only."""

    method: str
    template: str
    target: Target | None  # the name of its requests in a fault's `on`


LIST_PODCASTS = Route("GET", "/api/v1/podcasts", "podcasts")
GET_PODCAST = Route("GET", "/api/v1/podcasts/{podcastId}", "podcasts")
SUBMIT = Route("POST", "/api/v1/podcasts/{podcastId}/media/process", "submit")
POLL = Route("GET", "/api/v1/podcasts/{podcastId}/media/{mediaId}", "poll")
REVENUE = Route("GET", "/api/v1/podcasts/{podcastId}/revenue", None)
DOWNLOADS = Route("GET", "/api/v1/podcasts/{podcastId}/downloads", None)
# The order matters: of two paths that match, OpenAPI prefers the one with fewer parameters.
ROUTES = (LIST_PODCASTS, GET_PODCAST, SUBMIT, POLL, REVENUE, DOWNLOADS)

DETAILS: dict[str, object] = {  # of one podcast, besides its summary and slug
    "subTitle": None,
    "description": None,
    "logo": None,
    "itunesCategories": [],
    "keywords": [],
    "audioUrls": {},
}


@dataclass(frozen=True)
class Call:
    """A request's method, route, ids and query, parsed before its body is read."""

    method: str
    query: inlet_contract.Query
    route: Route | None  # None: unknown path
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def target(self) -> Target | None:
        """The name of this request in a fault's `on`; None if faults for "any" alone affect it."""
        return self.route.target if self.route and self.route.method == self.method else None


def parse_call(method: str, target: str) -> Call:
    """Parse the request target (path and query), and find its route."""
    path, _, query = target.partition("?")
    fields = parse_qs(query, keep_blank_values=True)
    for route in ROUTES:
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]*)", route.template)
        if match := re.fullmatch(pattern, path):
            ids = {name: unquote(segment) for name, segment in match.groupdict().items()}
            return Call(method, fields, route, ids)
    return Call(method, fields, None)


class Api:
    """Answers requests as the contract says."""

    def __init__(self, state: SandboxState, api_key: str) -> None:
        self.state = state
        self._authorization = f"Token {api_key}"

    def answer(self, call: Call, headers: Message, body: bytes, script: Sequence[str]) -> Reply:
        """Carry out a request. `script`: statuses of the job it creates, one for each poll."""
        if call.route is None:
            return refusal(HTTPStatus.NOT_FOUND, "no such path")
        if call.method != call.route.method:
            allow = {"Allow": call.route.method}
            return refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"{call.method} is not allowed", allow)
        if headers["Authorization"] != self._authorization:
            return refusal(HTTPStatus.UNAUTHORIZED, "missing or invalid API key")
        try:
            if call.route is LIST_PODCASTS:
                return self._list(call.query)
            return self._answer_for_podcast(call, headers["Content-Type"] or "", body, script)
        except BadRequestError as error:
            return refusal(HTTPStatus.BAD_REQUEST, str(error))

    def _list(self, query: inlet_contract.Query) -> Reply:
        size, after = inlet_contract.page_size(query), inlet_contract.cursor(query)
        podcasts = list(self.state.podcasts)
        start = 0
        if after is not None:
            try:
                start = podcasts.index(base64.urlsafe_b64decode(after.encode()).decode()) + 1
            except (binascii.Error, ValueError):
                raise BadRequestError("after must be the endCursor of a page") from None
        page = podcasts[start : start + size]
        pagination = {
            "hasNextPage": start + size < len(podcasts),
            "endCursor": base64.urlsafe_b64encode(page[-1].encode()).decode() if page else None,
            "totalCount": len(podcasts),
        }
        return success([self._summary(podcast) for podcast in page], pagination=pagination)

    def _answer_for_podcast(
        self, call: Call, content_type: str, body: bytes, script: Sequence[str]
    ) -> Reply:
        podcast_id = call.ids["podcastId"]
        if call.route is not GET_PODCAST:  # which has no 400 in the contract, only 404
            inlet_contract.check_id("podcastId", podcast_id)
        if podcast_id not in self.state.podcasts:
            return refusal(HTTPStatus.NOT_FOUND, "podcast not found")
        if call.route is GET_PODCAST:
            return success(self._summary(podcast_id) | {"slug": podcast_id.lower()} | DETAILS)
        if call.route is SUBMIT:
            params = inlet_contract.read_submission(content_type, body)
            record = self.state.create_job(podcast_id, params, script)
            data = {name: record[name] for name in ("mediaId", "status", "name", "originUrl")}
            payload = {"success": True, "message": "Accepted for processing", "data": data}
            return reply(HTTPStatus.CREATED, payload, media_id=record["mediaId"])
        if call.route is POLL:
            media_id = inlet_contract.check_id("mediaId", call.ids["mediaId"])
            podcast_of_job = self.state.podcast_of(media_id)
            if podcast_of_job is None:
                return refusal(HTTPStatus.NOT_FOUND, "media not found")
            if podcast_of_job != podcast_id:
                return refusal(HTTPStatus.FORBIDDEN, "media is not part of this podcast")
            return success(self.state.poll(media_id))
        inlet_contract.check_date_range(call.query)
        if call.route is REVENUE:
            return success({"revenue": 0, "eCPM": None, "fillRate": None})
        return success({"downloads": 0})

    def _summary(self, podcast_id: str) -> dict[str, Any]:
        return {
            "id": podcast_id,
            "name": self.state.podcasts[podcast_id],
            "monetizationEnabled": True,
            "analyticsMonitoringEnabled": True,
        }
