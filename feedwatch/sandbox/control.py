"""The way to steer a running stand-in over HTTP, under /_sandbox/ and without a key."""

from http import HTTPStatus
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from feedwatch.sandbox.answers import BadRequestError, Reply, explain, refusal, reply
from feedwatch.sandbox.faults import Faults, read_order
from feedwatch.sandbox.state import SandboxState

PREFIX = "/_sandbox/"
_METHODS = {"state": "GET", "faults": "POST, DELETE", "jobs": "POST", "reset": "POST"}


class _NewStatus(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    status: Annotated[str, Field(min_length=1)]


class Control:
    """Shows the state, and changes it."""

    def __init__(self, state: SandboxState, faults: Faults) -> None:
        self._state = state
        self._faults = faults

    def answer(self, method: str, target: str, body: bytes) -> Reply:
        """Do what a request asks for."""
        name, slash, media_id = target.partition("?")[0].removeprefix(PREFIX).partition("/")
        if name not in _METHODS or bool(slash) != (name == "jobs"):
            return refusal(HTTPStatus.NOT_FOUND, "no such path")
        if method not in _METHODS[name].split(", "):
            allow = {"Allow": _METHODS[name]}
            return refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"{method} is not allowed", allow)
        try:
            return self._operate(name, method, media_id, body)
        except BadRequestError as error:
            return refusal(HTTPStatus.BAD_REQUEST, str(error))

    def _operate(self, name: str, method: str, media_id: str, body: bytes) -> Reply:
        match name, method:
            case "faults", "POST":
                self._faults.add(*read_order(body))
                return reply(HTTPStatus.CREATED, {"faults": self._faults.picture()})
            case "faults", _:
                self._faults.clear()
            case "jobs", _:
                return self._force(media_id, body)
            case "reset", _:
                self._faults.clear()
                self._state.reset()
        return reply(HTTPStatus.OK, self._state.picture() | {"faults": self._faults.picture()})

    def _force(self, media_id: str, body: bytes) -> Reply:
        try:
            status = _NewStatus.model_validate_json(body).status
        except ValidationError as error:
            raise BadRequestError(explain(error)) from None
        try:
            self._state.force(media_id, [status])
        except KeyError:
            return refusal(HTTPStatus.NOT_FOUND, "media not found")
        return reply(HTTPStatus.OK, self._state.jobs()[media_id])
