"""The sandbox's answers: success, refusal, and how a bad request is explained."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import responses
from typing import Any

from pydantic import ValidationError


class BadRequestError(ValueError):
    """The request breaks the contract; the text says where."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One HTTP answer, before it becomes bytes."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    media_id: str | None = None  # the job that the request made, for our own record


def reply(status: int, payload: object, *, media_id: str | None = None) -> Reply:
    """Answer with a JSON document."""
    return Reply(status=status, body=json.dumps(payload).encode(), media_id=media_id)


def success(data: object, **more: object) -> Reply:
    """Answer 200 in the envelope that every good answer has."""
    return reply(HTTPStatus.OK, {"success": True, "data": data, **more})


def refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    """Answer with the error envelope, which has no `success` field."""
    body = json.dumps({"error": responses.get(status, "Error"), "message": message}).encode()
    return Reply(status=status, body=body, headers=headers or {})


def explain(error: ValidationError) -> str:
    """Put pydantic's findings in one line, without the values, which may be long."""
    findings = []
    for one in error.errors(include_url=False, include_context=False, include_input=False):
        place = ".".join(map(str, one["loc"]))
        what = one["msg"].removeprefix("Value error, ")
        findings.append(f"{place}: {what}" if place else what)
    return "; ".join(findings)


def parse_json(raw: bytes) -> Any:
    """Read JSON as the standard has it: UTF-8, and no NaN or Infinity."""
    try:
        document = json.loads(raw.decode(), parse_constant=_finite, parse_float=_finite)
        json.dumps(document, ensure_ascii=False).encode()  # no half of a surrogate pair
    except RecursionError:
        raise BadRequestError("the body is nested too deeply") from None
    except ValueError as error:
        raise BadRequestError(f"the body is not JSON: {error}") from None
    return document


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits} is not a finite number")
    return number
