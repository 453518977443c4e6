"""Control of a running sandbox over HTTP: paths under /_sandbox/, which need no API key."""

from http import HTTPStatus
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from feedwatch.sandbox.answers import Reply, explain, refusal, reply
from feedwatch.sandbox.faults import parse_faults
from feedwatch.sandbox.state import SandboxState

PREFIX = "/_sandbox/"
_METHODS = {"state": "GET", "faults": "POST, DELETE", "jobs": "POST", "reset": "POST"}


class _StatusOrder(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    status: Annotated[str, Field(min_length=1)]


def answer_control(state: SandboxState, method: str, target: str, body: bytes) -> Reply:
    """Carry out a control request: show the state, order faults, set a job's status, reset."""
    name, slash, media_id = target.partition("?")[0].removeprefix(PREFIX).partition("/")
    if name not in _METHODS or bool(slash) != (name == "jobs"):
        return refusal(HTTPStatus.NOT_FOUND, "no such path")
    if method not in _METHODS[name].split(", "):
        allow = {"Allow": _METHODS[name]}
        return refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"{method} is not allowed", allow)
    try:
        match name, method:
            case "jobs", _:
                status = _StatusOrder.model_validate_json(body).status
                return reply(HTTPStatus.OK, state.set_statuses(media_id, [status]))
            case "faults", "POST":
                state.faults.add(*parse_faults(body))
                return reply(HTTPStatus.CREATED, {"faults": state.faults.snapshot()})
            case "faults", _:
                state.faults.clear()
            case "reset", _:
                state.reset()
    except ValidationError as error:
        return refusal(HTTPStatus.BAD_REQUEST, explain(error))
    except KeyError:
        return refusal(HTTPStatus.NOT_FOUND, "media not found")
    return reply(HTTPStatus.OK, state.snapshot())
