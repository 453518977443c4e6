"""Served feeds, for the world: `/feeds/NAME.xml`."""

import hmac
from datetime import datetime

from flask import Blueprint, Response, request
from werkzeug.http import http_date, parse_date

from feedwatch.watcher.renderings import Rendering
from feedwatch.web.public_side import PublicSide, not_yet, refused

CACHING = "public, max-age=300, stale-while-revalidate=3600, stale-if-error=86400"


def served_feeds(side: PublicSide) -> Blueprint:
    """`/feeds/NAME.xml`, and `/feeds/KEY/NAME.xml` of a feed that has a key."""
    blueprint = Blueprint("served_feeds", __name__)

    @blueprint.get("/feeds/<name>.xml")
    @blueprint.get("/feeds/<key>/<name>.xml")
    def feed(name: str, key: str | None = None) -> Response:
        feeds = side.feeds
        if feeds is None:
            return not_yet() if side.serves_feeds else refused(404)
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
