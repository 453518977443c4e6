"""The public side: served feeds, for the world. Nothing else answers there.

No cookie, no page, no word about what else there is: whatever is not a feed is 404.
"""

import hmac
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flask import Blueprint, Flask, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.http import http_date, parse_date

from feedwatch.watcher.renderings import Rendering
from feedwatch.watcher.served_feeds import ServedFeeds

log = logging.getLogger(__name__)

CACHING = "public, max-age=300, stale-while-revalidate=3600, stale-if-error=86400"
RETRY_AFTER = "60"  # seconds, until a document was checked and rendered


class PublicSide:
    """What answers on the public side. It listens from the start, before there are any feeds."""

    def __init__(self) -> None:
        self.feeds: ServedFeeds | None = None


def public_application(side: PublicSide) -> Flask:
    """All that the world may ask for."""
    app = Flask(__name__, static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.redirect_defaults = False
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.register_blueprint(served_feeds(side))
    app.register_error_handler(Exception, explain)
    return app


def served_feeds(side: PublicSide) -> Blueprint:
    """`/feeds/NAME.xml`, and `/feeds/KEY/NAME.xml` of a feed that has a key."""
    blueprint = Blueprint("served_feeds", __name__)

    @blueprint.get("/feeds/<name>.xml")
    @blueprint.get("/feeds/<key>/<name>.xml")
    def feed(name: str, key: str | None = None) -> Response:
        feeds = side.feeds
        if feeds is None:
            return not_yet()
        path = feeds.path_of(name)
        asked = f"/feeds/{name}.xml" if key is None else f"/feeds/{key}/{name}.xml"
        if path is None or not hmac.compare_digest(path.encode(), asked.encode()):
            return refused(404)
        rendering = feeds.find(name)
        return answer(rendering) if rendering is not None else not_yet()

    return blueprint


def answer(rendering: Rendering) -> Response:
    """A feed, or 304 where the client has it already."""
    zipped = request.accept_encodings.quality("gzip") > 0
    etag = f'"{rendering.digest}-gzip"' if zipped else f'"{rendering.digest}"'
    headers = {
        "ETag": etag,
        "Last-Modified": http_date(rendering.modified),
        "Cache-Control": CACHING,
        "Vary": "Accept-Encoding",
    }
    if is_known(rendering):
        return Response(status=304, headers=headers)
    kind = "application/atom+xml" if rendering.is_atom else "application/rss+xml"
    headers |= {"X-Content-Type-Options": "nosniff"}
    if zipped:
        headers["Content-Encoding"] = "gzip"
    body = rendering.packed if zipped else rendering.body
    return Response(body, headers=headers, content_type=f"{kind}; charset=utf-8")


def is_known(rendering: Rendering) -> bool:
    """Whether the client has this rendering, in whichever coding (RFC 9110, section 13.2.2)."""
    if "If-None-Match" in request.headers:
        known = request.if_none_match
        return any(
            known.contains_weak(one) for one in (rendering.digest, f"{rendering.digest}-gzip")
        )
    since = parse_date(request.headers.get("If-Modified-Since"))
    return since is not None and since >= whole_second(rendering.modified)


def whole_second(moment: datetime) -> datetime:
    """A moment as HTTP writes it."""
    return moment.replace(microsecond=0)


def explain(error: Exception) -> Any:
    """An error, in a word."""
    if isinstance(error, HTTPException):
        allow = error.get_response().headers.get("Allow")
        return refused(error.code or 404, {"Allow": allow} if allow else {})
    log.error("http: %s could not be served", request.path, exc_info=error)
    return refused(500)


def not_yet() -> Response:
    """There will be such a feed."""
    return refused(503, {"Retry-After": RETRY_AFTER})


def refused(status: int, more: Mapping[str, str] | None = None) -> Response:
    """An answer that is no feed."""
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **(more or {})}
    words = {404: "not found", 405: "not allowed", 503: "not yet"}.get(status, "failed")
    return Response(f"{words}\n", status, headers, content_type="text/plain; charset=utf-8")
