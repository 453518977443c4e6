"""Validation of requests by the contract of the Media APIs: bodies, form, query, Basic auth."""

import base64
import binascii
import re
from collections.abc import Mapping
from email.message import Message
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

from pydantic import AfterValidator, BeforeValidator, ConfigDict, PlainValidator, ValidationError

from feedwatch.sandbox.answers import BadRequestError, explain, parse_json
from feedwatch.sandbox.inlet_contract import SPACE, Count, Query, StrictObject, single, uri

STATUSES = ("Pending", "Running", "Success", "Failed", "Cancelled", "InternalError")
LONGEST_LIFE = 86_400  # seconds, of a token
DEFAULT_LIFE = 1_800
_LOCATION = re.compile(rf"(?:https?|s3|gs|dlb)://[^{SPACE}]+")
_VERSION = re.compile(r"[a-z][0-9]+(?:\.[0-9]+)*")
_LIFE = re.compile(r"[0-9]{1,5}")


def _location(text: object) -> str:
    if not isinstance(text, str) or not _LOCATION.fullmatch(text):
        raise ValueError("must be an http, https, s3, gs or dlb URL without white space")
    return text


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")  # noqa: TRY004 - which pydantic does not catch
    return value


def _not_negative(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError("must be a number, 0 or more")
    return value


def _per_cent(value: int) -> int:
    if value > 100:
        raise ValueError("must be at most 100")
    return value


LocationUrl = Annotated[str, PlainValidator(_location)]
Number = Annotated[float, PlainValidator(_number)]
Seconds = Annotated[float, PlainValidator(_not_negative)]


class _Object(StrictObject):
    model_config = ConfigDict(alias_generator=None, extra="forbid", strict=True)


class StorageAuth(_Object):
    """AWS-style key, secret and token, or user name and password."""

    key: str | None = None
    secret: str | None = None
    token: str | None = None
    username: str | None = None
    password: str | None = None


class LocationObject(_Object):
    """Where a file is, or is written to."""

    url: LocationUrl
    auth: StorageAuth | None = None


class Region(_Object):
    """Part of a file."""

    start: Seconds | None = None
    end: Seconds | None = None


class InputObject(LocationObject):
    """A file, or a part of it."""

    region: Region | None = None


class OnComplete(_Object):
    """Who is told of the end."""

    url: Annotated[str, AfterValidator(uri)]
    headers: dict[str, str] | list[str] | None = None


class Toggle(_Object):
    """On or off."""

    enable: bool | None = None


class Reduction(Toggle):
    """How much."""

    amount: Literal["low", "medium", "high", "max"] | None = None


class ReductionHolder(_Object):
    """A reduction."""

    reduction: Reduction | None = None


class Loudness(Toggle):
    """How loud."""

    target_level: Number | None = None
    peak_limit: Number | None = None
    dialog_intelligence: bool | None = None


class Dynamics(_Object):
    """Its range."""

    range_control: Reduction | None = None


class Filter(_Object):
    """Filters."""

    dynamic_eq: Toggle | None = None
    high_pass: Toggle | None = None
    hum: Toggle | None = None


class Isolation(Toggle):
    """Speech apart from the rest."""

    amount: Annotated[Count, AfterValidator(_per_cent)] | None = None


class Speech(_Object):
    """What is done to speech."""

    isolation: Isolation | None = None
    sibilance: ReductionHolder | None = None
    plosive: ReductionHolder | None = None
    click: ReductionHolder | None = None


class Music(_Object):
    """What is done to music."""

    detection: Toggle | None = None


class Audio(_Object):
    """What is done to the audio."""

    loudness: Loudness | None = None
    dynamics: Dynamics | None = None
    noise: ReductionHolder | None = None
    filter: Filter | None = None
    speech: Speech | None = None
    music: Music | None = None


class Content(_Object):
    """What it is."""

    type: Literal[
        "conference",
        "interview",
        "lecture",
        "meeting",
        "mobile_phone",
        "music",
        "podcast",
        "studio",
        "voice_over",
        "voice_recording",
        "other",
    ]


def _object_or_url(value: object) -> object:
    return {"url": value} if isinstance(value, str) else value


Input = Annotated[InputObject, BeforeValidator(_object_or_url)]
Output = Annotated[LocationObject, BeforeValidator(_object_or_url)]


class DiagnoseRequest(_Object):
    """The body of POST /media/diagnose."""

    input: Input
    on_complete: OnComplete | None = None


class EnhanceRequest(DiagnoseRequest):
    """The body of POST /media/enhance."""

    output: Output
    content: Content | None = None
    audio: Audio | None = None


def read_job(path: str, content_type: str, raw: bytes) -> dict[str, Any]:
    """Parse and validate the body of a job's POST. Raises BadRequestError."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise BadRequestError("Content-Type must be application/json")
    body: dict[str, Any] = parse_json(raw)
    model = EnhanceRequest if path == "/media/enhance" else DiagnoseRequest
    try:
        model.model_validate(body)
    except ValidationError as error:
        raise BadRequestError(explain(error)) from None
    return body


def read_grant(content_type: str, raw: bytes) -> int:
    """The life in seconds that a token is asked for. Raises BadRequestError."""
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise BadRequestError("Content-Type must be application/x-www-form-urlencoded")
    form = parse_qs(raw.decode(errors="replace"), keep_blank_values=True)
    if unknown := sorted(form.keys() - {"grant_type", "expires_in", "scope"}):
        raise BadRequestError(f"unknown fields: {', '.join(unknown)}")
    if single(form, "grant_type") != "client_credentials":
        raise BadRequestError("grant_type must be client_credentials")
    life, _scope = single(form, "expires_in"), single(form, "scope")
    if life is None:
        return DEFAULT_LIFE
    if not _LIFE.fullmatch(life) or not 1 <= int(life) <= LONGEST_LIFE:
        raise BadRequestError(f"expires_in must be a whole number from 1 to {LONGEST_LIFE}")
    return int(life)


def check_version(headers: Message) -> None:
    """Check the header x-api-version. Raises BadRequestError."""
    version = headers["x-api-version"]
    if version is not None and not _VERSION.fullmatch(version):
        raise BadRequestError("x-api-version must look like v1.1")


def check_job_id(query: Query) -> str:
    """The job that is asked for. Raises BadRequestError."""
    job_id = single(query, "job_id")
    if not job_id:
        raise BadRequestError("job_id must be given")
    return job_id


def check_list(query: Query) -> Mapping[str, str | None]:
    """The parameters of a list of jobs. Raises BadRequestError."""
    names = ("submitted_after", "submitted_before", "status", "next_token", "job_id")
    found = {name: single(query, name) for name in names}
    if found["status"] not in (None, *STATUSES):
        raise BadRequestError(f"status must be one of {', '.join(STATUSES)}")
    if "" in (found["next_token"], found["job_id"]):
        raise BadRequestError("next_token and job_id must not be empty")
    return found


def basic_login(headers: Message) -> str | None:
    """User and password of HTTP Basic, with a colon between them; None if it is none."""
    scheme, _, text = (headers["Authorization"] or "").partition(" ")
    try:
        return base64.b64decode(text, validate=True).decode() if scheme == "Basic" else None
    except (binascii.Error, UnicodeDecodeError):
        return None
