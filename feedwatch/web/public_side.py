"""The public side: what the world may ask for. Nothing else answers there.

No cookie, no page, no word about what else there is: whatever is not served is 404.
"""

import logging
from collections.abc import Mapping
from typing import Any

from flask import Response, request
from werkzeug.exceptions import HTTPException

from feedwatch.store.errors import StoreError
from feedwatch.watcher.callbacks import Callbacks
from feedwatch.watcher.served_feeds import ServedFeeds
from feedwatch.watcher.websub import Callback

log = logging.getLogger(__name__)

RETRY_AFTER = "60"  # seconds, until a document was checked and rendered


class PublicSide:
    """What answers on the public side. It listens from the start, before there are any parts."""

    def __init__(self, *, serves_feeds: bool = True, hears_hubs: bool = True) -> None:
        self.serves_feeds = serves_feeds
        self.hears_hubs = hears_hubs
        self.feeds: ServedFeeds | None = None
        self.callback: Callback | None = None  # of hubs
        self.callbacks: Callbacks | None = None  # of media APIs


def explain(error: Exception) -> Any:
    """An error, in a word."""
    if isinstance(error, HTTPException):
        allow = error.get_response().headers.get("Allow")
        return refused(error.code or 404, {"Allow": allow} if allow else {})
    if isinstance(error, StoreError):
        return not_yet()  # the loops say what is wrong with the database
    # Not by its path, in which there may be a key or a token.
    log.error("http: %s could not be served", request.endpoint, exc_info=error)
    return refused(500)


def not_yet() -> Response:
    """There will be such an answer."""
    return refused(503, {"Retry-After": RETRY_AFTER})


def refused(status: int, more: Mapping[str, str] | None = None) -> Response:
    """An answer that is no feed."""
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **(more or {})}
    words = {404: "not found", 405: "not allowed", 503: "not yet"}.get(status, "failed")
    return Response(f"{words}\n", status, headers, content_type="text/plain; charset=utf-8")
