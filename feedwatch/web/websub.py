"""WebSub's callbacks, `/websub/TOKEN`: a hub verifies what we asked it for, and pushes."""

import re

from flask import Blueprint, Response, request

from feedwatch.watcher.websub import PATH
from feedwatch.web.public_side import PublicSide, not_yet, refused

TOKEN = re.compile("[0-9a-f]{32}")
LEASE = re.compile("[0-9]{1,12}")
LONGEST_CHALLENGE = 1000  # characters


def callbacks(side: PublicSide) -> Blueprint:
    """What hubs may ask and say."""
    blueprint = Blueprint("websub", __name__)

    @blueprint.get(f"{PATH}<token>")
    def verify(token: str) -> Response:
        asked = request.args
        challenge, lease = asked.get("hub.challenge", ""), asked.get("hub.lease_seconds", "")
        if side.callback is None:
            return not_yet() if side.hears_hubs else refused(404)
        if not TOKEN.fullmatch(token) or len(challenge) > LONGEST_CHALLENGE:
            return refused(404)
        seconds = int(lease) if LEASE.fullmatch(lease) else None
        mode, topic = asked.get("hub.mode", ""), asked.get("hub.topic", "")
        if not side.callback.verify(token, mode, topic, seconds):
            return refused(404)
        return said(challenge)

    @blueprint.post(f"{PATH}<token>")
    def push(token: str) -> Response:
        if side.callback is None:
            return not_yet() if side.hears_hubs else refused(404)
        signature = request.headers.get("X-Hub-Signature")
        if not TOKEN.fullmatch(token) or not side.callback.push(
            token, signature, request.get_data(cache=False)
        ):
            return refused(404)
        return said("", 202)

    return blueprint


def said(text: str, status: int = 200) -> Response:
    """An answer to a hub: plain text that no browser takes for anything else."""
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(text, status, headers, content_type="text/plain; charset=utf-8")
