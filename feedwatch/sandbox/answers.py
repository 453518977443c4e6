"""Replies of the media API: success, error, and the explanation of a bad request."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import responses
from typing import Any

from pydantic import ValidationError


class BadRequestError(ValueError):
    """The request breaks the contract, which is answered by 400; the text says where."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One HTTP response, its body already in bytes."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    media_id: str | None = None  # of the job that the request created; not sent by itself


# A refusal in the form of an API: status, message, headers.
Refuse = Callable[[int, str, Mapping[str, str] | None], Reply]


def reply(status: int, payload: object, *, media_id: str | None = None) -> Reply:
    """Reply with a JSON document."""
    return Reply(status=status, body=json.dumps(payload).encode(), media_id=media_id)


def success(data: object, **more: object) -> Reply:
    """Reply 200 with the wrapper that the contract gives to every successful answer."""
    return reply(HTTPStatus.OK, {"success": True, "data": data, **more})


def refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    """Reply with the envelope of errors: `error` and `message`, without a `success` field."""
    body = json.dumps({"error": responses.get(status, "Error"), "message": message}).encode()
    return Reply(status=status, body=body, headers=headers or {})


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Reply:
    """Reply with a problem object (RFC 9457, with the fields that a client reads)."""
    title = responses.get(status, "Error")
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return Reply(status=status, body=json.dumps(document).encode(), headers=headers or {})


def explain(error: ValidationError) -> str:
    """List pydantic's findings on one line, without the values, which may be long."""
    lines = []
    for finding in error.errors(include_url=False, include_context=False, include_input=False):
        field_path = ".".join(map(str, finding["loc"]))
        message = finding["msg"].removeprefix("Value error, ")
        lines.append(f"{field_path}: {message}" if field_path else message)
    return "; ".join(lines)


def parse_json(raw: bytes) -> Any:
    """Parse JSON by RFC 8259, which Python's parser extends: UTF-8 only, no NaN or Infinity."""
    try:
        document = json.loads(raw.decode(), parse_constant=_parse_finite, parse_float=_parse_finite)
        json.dumps(document, ensure_ascii=False).encode()  # fails on an unpaired surrogate
    except RecursionError:
        raise BadRequestError("the body is nested too deeply") from None
    except ValueError as error:
        raise BadRequestError(f"the body is not JSON: {error}") from None
    return document


def _parse_finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits} is not a finite number")
    return number
