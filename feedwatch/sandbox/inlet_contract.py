"""Validation of requests by the contract: the body of a submission, ids and dates in a URL.

The rules are those of the contract's JSON Schema 2020-12: patterns are ECMA-262 expressions, a
float without a fraction is an integer, a boolean is not a number, nothing may be null.
"""

import calendar
import re
from collections.abc import Mapping
from datetime import datetime
from ipaddress import IPv6Address
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from feedwatch.sandbox.answers import BadRequestError, explain, parse_json

# The characters of \s in ECMA-262, which differ from those of Python and of Rust (pydantic).
SPACE = r"\t\n\v\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_PLAIN = r"A-Za-z0-9\-._~!$&'()*+,;="
_ESCAPE = "%[0-9A-Fa-f]{2}"
_URI = re.compile(
    "https?://"
    f"(?:(?:[{_PLAIN}:]|{_ESCAPE})*@)?"
    rf"(?:\[(?:(?P<ipv6>[0-9A-Fa-f:.]+)|v[0-9A-Fa-f]+\.[{_PLAIN}:]+)\]"
    f"|(?:[{_PLAIN}]|{_ESCAPE})*)"
    "(?::[0-9]*)?"
    f"(?:/(?:[{_PLAIN}:@/]|{_ESCAPE})*)?"
    rf"(?:\?(?:[{_PLAIN}:@/?]|{_ESCAPE})*)?"
    f"(?:#(?:[{_PLAIN}:@/?]|{_ESCAPE})*)?"
)
_URL_LEAST = len("http://x")
_TIMESTAMP = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>0[1-9]|1[0-2])-(?P<day>0[1-9]|[12][0-9]|3[01])"
    r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z"
)


def uri(text: str) -> str:
    """The text, if it is an http(s) URI. Raises ValueError."""
    match = _URI.fullmatch(text)
    if not match or len(text) < _URL_LEAST:
        raise ValueError("must be an http or https URI of plain ASCII (RFC 3986)")
    if match["ipv6"]:
        IPv6Address(match["ipv6"])  # raises a ValueError that says what is wrong
    return text


def _not_blank(text: str) -> str:
    if not re.search(f"[^{SPACE}]", text):
        raise ValueError("must have a character that is not white space")
    return text


def _timestamp(text: str) -> str:
    match = _TIMESTAMP.fullmatch(text)
    if not match:
        raise ValueError("must look like 2025-10-01T14:30:00.000Z")
    if int(match["day"]) > calendar.monthrange(int(match["year"]), int(match["month"]))[1]:
        raise ValueError("the month has no such day")
    return text


def _not_negative(value: object) -> object:
    # pydantic's float rejects an integer beyond the largest float, which the contract allows.
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError("must be a number, 0 or more")
    return value


Seconds = Annotated[float, PlainValidator(_not_negative)]
Count = Annotated[
    int,
    BeforeValidator(lambda it: int(it) if isinstance(it, float) and it.is_integer() else it),
    Field(ge=0),
]


class StrictObject(BaseModel):
    """An object without unknown fields; an optional field may be absent, but not null."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _no_nulls(cls, data: object) -> object:
        if isinstance(data, dict) and None in data.values():
            names = ", ".join(name for name, value in data.items() if value is None)
            raise ValueError(f"must not be null: {names}")
        return data


class AdConfiguration(StrictObject):
    """Ads before (pre-roll) or after the episode (post-roll)."""

    ad_count: Count
    min_duration: Seconds | None = None
    max_duration: Seconds | None = None


class AutomatedMidRolls(AdConfiguration):
    """Ad breaks whose positions the API chooses."""

    insertion_count: Count | None = None
    ads_per_hour: Seconds | None = None


class MidRoll(AdConfiguration):
    """One ad break at a fixed second of the episode."""

    time: Seconds


class AdOptions(StrictObject):
    """The four kinds of ads, each of them optional."""

    pre_roll: AdConfiguration | None = None
    post_roll: AdConfiguration | None = None
    automated_mid_rolls: AutomatedMidRolls | None = None
    mid_rolls: list[MidRoll] | None = None


class MediaCreationParams(StrictObject):
    """The body of a submission: what one POST asks of the API."""

    url: Annotated[str, AfterValidator(uri)]
    name: Annotated[str, AfterValidator(_not_blank)]
    description: str | None = None
    published_date: Annotated[str, AfterValidator(_timestamp)] | None = None
    ad_options: AdOptions | None = None


def read_submission(content_type: str, raw: bytes) -> dict[str, Any]:
    """Parse and validate the body of a submission. Raises BadRequestError."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise BadRequestError("Content-Type must be application/json")
    body: dict[str, Any] = parse_json(raw)
    try:
        MediaCreationParams.model_validate(body)
    except ValidationError as error:
        raise BadRequestError(explain(error)) from None
    return body


_ID = re.compile(r"[A-Za-z0-9_-]+")
_FIRST = re.compile(r"[1-9][0-9]?|100")
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?Z)?",
)
_FIRST_DEFAULT = 20

Query = Mapping[str, list[str]]


def check_id(name: str, value: str) -> str:
    """Return the id if it has the contract's form. Raises BadRequestError."""
    if not _ID.fullmatch(value):
        raise BadRequestError(f"{name} must match ^[A-Za-z0-9_-]+$")
    return value


def page_size(query: Query) -> int:
    """Read the query parameter `first`, the number of podcasts on a page."""
    value = single(query, "first")
    if value is None:
        return _FIRST_DEFAULT
    if not _FIRST.fullmatch(value):
        raise BadRequestError("first must be an integer from 1 to 100")
    return int(value)


def cursor(query: Query) -> str | None:
    """Read the query parameter `after`, the cursor of the page before; None: the first page."""
    value = single(query, "after")
    if value == "":
        raise BadRequestError("after must not be empty")
    return value


def check_date_range(query: Query) -> None:
    """Check `fromDate` and `toDate`: both given, real, in order. Raises BadRequestError."""
    start, end = _date(query, "fromDate"), _date(query, "toDate")
    if end < start:
        raise BadRequestError("toDate must not be before fromDate")


def _date(query: Query, name: str) -> datetime:
    value = single(query, name)
    if value is None or not _DATE.fullmatch(value):
        raise BadRequestError(f"{name} must be given, as 2025-01-31 or 2025-01-31T00:00:00Z")
    try:
        return datetime.fromisoformat(value if value.endswith("Z") else f"{value}T00:00:00Z")
    except ValueError:
        raise BadRequestError(f"{name}: no such date or time exists") from None


def single(query: Query, name: str) -> str | None:
    """The one value of a parameter; None without it. Raises BadRequestError."""
    values = query.get(name, [])
    if len(values) > 1:
        raise BadRequestError(f"{name} must be given once")
    return values[0] if values else None
