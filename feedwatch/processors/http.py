"""What processors over HTTP share: above all, which failures prove that a POST was not taken.

The rules follow the table in docs/states.md, which was tried, failure by failure, with httpx 0.28.
"""

import json
from typing import Any

import httpx

from feedwatch.core.job import Later, Unknown
from feedwatch.net.client import deadline, described, read_bounded, retry_after
from feedwatch.net.decompress import ACCEPTED

POST_SECONDS = 60.0  # deadline; must stay below episode_lifecycle.LEASE
READ_SECONDS = 30.0
MAX_BYTES = 1_000_000  # of an answer; real ones have a few hundred

SURELY_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.ProxyError,
    httpx.InvalidURL,
)
NOT_TAKEN = {429, 503}  # the server says that it did not process the request
PERHAPS_TAKEN = {408}  # among the 4xx


def post(client: httpx.Client, path: str, body: Any) -> httpx.Response | Later | Unknown:
    """POST once. A response that proves whether it was taken; else `Later` or `Unknown`."""
    try:
        with deadline(POST_SECONDS):
            response = _bounded(client, client.build_request("POST", path, json=body))
    except SURELY_NOT_SENT as error:
        return Later(f"the API cannot be reached ({described(error)})")
    except (httpx.RequestError, ValueError) as error:
        return Unknown(f"no answer came ({described(error)})")
    status = response.status_code
    if status in NOT_TAKEN:
        return Later(f"the API answered {status}", retry_after(response))
    if status in PERHAPS_TAKEN or status >= 500 or status < 200 or 300 <= status < 400:
        return Unknown(f"the API answered {status}")
    return response


def get(
    client: httpx.Client, path: str, params: dict[str, Any] | None = None
) -> httpx.Response | Later:
    """GET once. A response below 500 other than 429, else why there is none."""
    try:
        with deadline(READ_SECONDS):
            response = _bounded(client, client.build_request("GET", path, params=params))
    except (httpx.RequestError, httpx.InvalidURL, ValueError) as error:
        return Later(f"the API cannot be reached ({described(error)})")
    if response.status_code == 429 or response.status_code >= 500:
        return Later(f"the API answered {response.status_code}", retry_after(response))
    return response


def json_object(response: httpx.Response) -> dict[str, Any] | None:
    """The body, if it is a JSON object; our key, should the API quote it, is masked."""
    key = response.request.headers.get("authorization", "").rpartition(" ")[2]
    text = response.text.replace(key, "***") if key else response.text
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def first_line(text: str) -> str:
    """An API's text made fit for records and logs: printable, one line, at most 500 characters."""
    return "".join(sign if sign.isprintable() else " " for sign in text).strip()[:500]


def _bounded(client: httpx.Client, request: httpx.Request) -> httpx.Response:
    """Send once, and read the whole body. Raises `ValueError` beyond `MAX_BYTES`."""
    request.headers["accept-encoding"] = ACCEPTED
    response = client.send(request, stream=True)
    try:
        body = read_bounded(response, MAX_BYTES)
    finally:
        response.close()
    if body is None:
        raise ValueError(f"the answer is larger than {MAX_BYTES} bytes")
    headers = httpx.Headers(response.headers)
    for name in ("content-encoding", "content-length", "transfer-encoding"):
        headers.pop(name, None)
    return httpx.Response(response.status_code, headers=headers, content=body, request=request)
