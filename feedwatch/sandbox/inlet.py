"""The media API by its contract: routes, and the true answer to a request, without faults."""

import base64
import binascii
from email.message import Message
from http import HTTPStatus
from typing import Any

from feedwatch.sandbox import inlet_contract
from feedwatch.sandbox.answers import BadRequestError, Reply, refusal, reply, success
from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.routes import Call, Route
from feedwatch.sandbox.state import InletJob, SandboxState

LIST_PODCASTS = Route("GET", "/api/v1/podcasts", "podcasts", "inlet")
GET_PODCAST = Route("GET", "/api/v1/podcasts/{podcastId}", "podcasts", "inlet")
SUBMIT = Route("POST", "/api/v1/podcasts/{podcastId}/media/process", "submit", "inlet")
POLL = Route("GET", "/api/v1/podcasts/{podcastId}/media/{mediaId}", "poll", "inlet")
REVENUE = Route("GET", "/api/v1/podcasts/{podcastId}/revenue", None, "inlet")
DOWNLOADS = Route("GET", "/api/v1/podcasts/{podcastId}/downloads", None, "inlet")
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


class Api:
    """Answers requests as the contract says."""

    def __init__(self, state: SandboxState, api_key: str) -> None:
        self.state = state
        self._authorization = f"Token {api_key}"

    def answer(self, call: Call, headers: Message, body: bytes, fault: Fault | None) -> Reply:
        """Carry out a request. The fault may have a script for the job that it creates."""
        if call.route is None:
            return refusal(HTTPStatus.NOT_FOUND, "no such path")
        if call.method not in call.allowed:
            allow = {"Allow": ", ".join(call.allowed)}
            return refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"{call.method} is not allowed", allow)
        if headers["Authorization"] != self._authorization:
            return refusal(HTTPStatus.UNAUTHORIZED, "missing or invalid API key")
        try:
            if call.route is LIST_PODCASTS:
                return self._list(call.query)
            return self._answer_for_podcast(call, headers["Content-Type"] or "", body, fault)
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
        self, call: Call, content_type: str, body: bytes, fault: Fault | None
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
            script = fault.statuses if fault else None
            job = InletJob(podcast_id, params, self.state.job_seconds, script or ())
            record = self.state.add(job)
            data = {name: record[name] for name in ("mediaId", "status", "name", "originUrl")}
            payload = {"success": True, "message": "Accepted for processing", "data": data}
            return reply(HTTPStatus.CREATED, payload, media_id=record["mediaId"])
        if call.route is POLL:
            media_id = inlet_contract.check_id("mediaId", call.ids["mediaId"])
            polled = self.state.job(media_id)
            if not isinstance(polled, InletJob):
                return refusal(HTTPStatus.NOT_FOUND, "media not found")
            if polled.podcast_id != podcast_id:
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
