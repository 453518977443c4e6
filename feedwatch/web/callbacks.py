"""Callbacks of media APIs, `/callbacks/PROCESSOR/TOKEN`: a job has ended."""

from flask import Blueprint, Response, request

from feedwatch.web.public_side import PublicSide, refused

MOST_TOLD = 64 * 1024  # bytes of a body, which is not looked at


def callbacks(side: PublicSide) -> Blueprint:
    """What media APIs may say."""
    blueprint = Blueprint("callbacks", __name__)

    @blueprint.post("/callbacks/<processor>/<token>")
    def callback(processor: str, token: str) -> Response:
        if (request.content_length or 0) > MOST_TOLD:
            return refused(413)
        heard = side.callbacks is not None and side.callbacks.hear(processor, token)
        return Response(status=204) if heard else refused(404)

    return blueprint
