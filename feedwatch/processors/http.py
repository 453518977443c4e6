"""What processors over HTTP share: above all, which failures prove that a POST was not taken.

The rules follow the table in docs/states.md, which was tried, failure by failure, with httpx 0.28.
"""

import json
from collections.abc import Mapping
from typing import Any

import httpx

from feedwatch.core.job import Later, Unknown
from feedwatch.core.masking import shortened
from feedwatch.core.post_deadline import Moment, lapsed, seconds_left
from feedwatch.core.printable import printable
from feedwatch.net.client import deadline, described, read_bounded, retry_after
from feedwatch.net.decompress import ACCEPTED
from feedwatch.processors.clocks import moment

READ_SECONDS = 30.0
MAX_BYTES = 1_000_000  # of an answer; real ones have a few hundred


class UndecodableError(Exception):
    """A response whose body is too large, or cannot be unpacked."""


class _LapsedError(Exception):
    """The deadline of a POST has passed before its first byte left. `str()` says why."""


def post(
    client: httpx.Client, path: str, body: Any, claimed: Moment
) -> httpx.Response | Later | Unknown:
    """POST once. The response, whatever its status; without one, `Later` or `Unknown`.

    Not one byte has left as long as httpcore has not begun to send the headers: connecting and TLS
    come before. So whatever fails until then proves that the POST was not taken.
    """
    has_left = False

    def before_first_byte(event: str, info: Mapping[str, Any]) -> None:
        nonlocal has_left
        # A proxy is first sent a CONNECT of httpcore's own.
        if event.endswith("send_request_headers.started") and info["request"].method == b"POST":
            if (reason := lapsed(claimed, moment())) is not None:
                raise _LapsedError(reason)
            has_left = True

    try:
        extensions = {"trace": before_first_byte}
        request = client.build_request("POST", path, json=body, extensions=extensions)
        with deadline(seconds_left(claimed, moment())):
            return _bounded(client, request)
    except _LapsedError as error:
        return Later(f"too late for its POST: {error}", sent=False)
    except (httpx.RequestError, httpx.InvalidURL, UndecodableError) as error:
        # h11 finds a header that it cannot write only when it is about to.
        why = shortened(described(error))
        if has_left and not isinstance(error, httpx.LocalProtocolError):
            return Unknown(f"no answer came ({why})")
        return Later(f"the API cannot be reached ({why})", sent=False)


def get(
    client: httpx.Client, path: str, params: dict[str, Any] | None = None
) -> httpx.Response | Later:
    """GET once. A response below 500 other than 429, else why there is none."""
    try:
        with deadline(READ_SECONDS):
            response = _bounded(client, client.build_request("GET", path, params=params))
    except (httpx.RequestError, httpx.InvalidURL, UndecodableError) as error:
        return Later(f"the API cannot be reached ({shortened(described(error))})")
    if response.status_code == 429 or response.status_code >= 500:
        return Later(f"the API answered {response.status_code}", retry_after(response))
    return response


def json_object(response: httpx.Response) -> dict[str, Any] | None:
    """The body, if it is a JSON object; our key, should the API quote it, is masked."""
    try:
        body = json.loads(_masked_text(response))
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def excerpt(response: httpx.Response, most: int = 200) -> str:
    """What a response says, for a reason: its status and the first `most` characters of its body.

    Our secrets, should the API quote them, are masked.
    """
    text = shortened(printable(_masked_text(response)).strip(), most)
    return f"{response.status_code}: {text}" if text else f"{response.status_code}, an empty body"


def first_line(text: str) -> str:
    """An API's text made fit for records and logs: printable, masked, at most 500 characters."""
    return shortened(printable(text).strip(), 500)


def _masked_text(response: httpx.Response) -> str:
    key = response.request.headers.get("authorization", "").rpartition(" ")[2]
    return response.text.replace(key, "***") if key else response.text


def _bounded(client: httpx.Client, request: httpx.Request) -> httpx.Response:
    """Send once, and read the whole body. Raises `UndecodableError`."""
    request.headers["accept-encoding"] = ACCEPTED
    response = client.send(request, stream=True)
    try:
        body = read_bounded(response, MAX_BYTES)
    except ValueError as error:
        raise UndecodableError(str(error)) from error
    finally:
        response.close()
    if body is None:
        raise UndecodableError(f"the answer is larger than {MAX_BYTES} bytes")
    headers = httpx.Headers(response.headers)
    for name in ("content-encoding", "content-length", "transfer-encoding"):
        headers.pop(name, None)
    return httpx.Response(response.status_code, headers=headers, content=body, request=request)
