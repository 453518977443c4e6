"""What processors over HTTP share: above all, which failures prove that a POST was not taken.

The rules follow the table in docs/states.md, which was tried, failure by failure, with httpx 0.28.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from feedwatch.core.job import Later, Refused, Unknown
from feedwatch.core.masking import shortened
from feedwatch.core.post_deadline import Moment, lapsed, seconds_left
from feedwatch.core.printable import printable
from feedwatch.net.client import deadline, described, read_bounded, retry_after
from feedwatch.net.decompress import ACCEPTED
from feedwatch.processors.clocks import moment

READ_SECONDS = 30.0
MAX_BYTES = 1_000_000  # of an answer; real ones have a few hundred
JOB_ID = re.compile(r"[!-~]{1,200}")
ABOUT_US = {401, 402, 407}  # about the key, the bill or the proxy, not about this episode


class UndecodableError(Exception):
    """A response whose body is too large, or cannot be unpacked."""


class _LapsedError(Exception):
    """The deadline of a POST has passed before its first byte left. `str()` says why."""


@dataclass(frozen=True, kw_only=True)
class Voice:
    """Who speaks in an answer that is no success, as the API's own file hears it."""

    message: str  # what the API says in its own form; "" in any other form, perhaps a gateway's
    is_pure: bool = False  # it has that form and nothing besides
    blocked: Later | None = None  # why it refuses key, account or proxy, whatever was asked for
    hint: str = ""  # to a refusal


def post(
    client: httpx.Client,
    path: str,
    body: Any,
    claimed: Moment,
    headers: Mapping[str, str] | None = None,
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
        request = client.build_request(
            "POST", path, json=body, headers=headers, extensions=extensions
        )
        with deadline(seconds_left(claimed, moment())):
            return bounded(client, request)
    except _LapsedError as error:
        return Later(f"too late for its POST: {error}", sent=False)
    except (httpx.RequestError, httpx.InvalidURL, UndecodableError) as error:
        # h11 finds a header that it cannot write only when it is about to.
        why = shortened(described(error))
        if has_left and not isinstance(error, httpx.LocalProtocolError):
            return Unknown(f"no answer came ({why})")
        return Later(f"the API cannot be reached ({why})", sent=False)


def not_accepted(
    response: httpx.Response, answer: dict[str, Any] | None, voice: Voice
) -> Refused | Later | Unknown:
    """What an answer to a POST that is not 2xx proves: the table in docs/states.md.

    Only the API's own form refuses this very episode. `answer` is the body if it is a JSON object.
    """
    status = response.status_code
    if status == 503 and voice.message and voice.is_pure:
        # Routers answer 503 too, after the application took the job; their JSON has more in it.
        return Later(f"the API answered 503 {voice.message}", retry_after(response))
    if not response.is_client_error:
        return Unknown(f"the API answered {excerpt(response)}")
    if voice.blocked is not None:
        return voice.blocked
    if status == 429:
        return Later(f"the API answered 429 {voice.message}".rstrip(), retry_after(response))
    if status != 408 and voice.message:
        return Refused(f"{status} {voice.message}{voice.hint}")
    said = f"the API answered, not in its own form, {excerpt(response)}"
    if status != 408 and answer is not None:
        return Later(said, odd=True)
    return Unknown(said, odd=True)  # a gateway's outbound rule speaks after the API has acted


def get(
    client: httpx.Client,
    path: str,
    params: dict[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response | Later:
    """GET once. A response below 500 other than 429, else why there is none."""
    try:
        with deadline(READ_SECONDS):
            request = client.build_request("GET", path, params=params, headers=headers)
            response = bounded(client, request)
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


def bounded(client: httpx.Client, request: httpx.Request) -> httpx.Response:
    """Send once, and read the whole body. Raises httpx's errors and `UndecodableError`."""
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
