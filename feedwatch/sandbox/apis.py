"""All APIs of the sandbox, on one port. What belongs to none of them is answered as by Inlet."""

from email.message import Message

from feedwatch.sandbox import inlet, mediaapis
from feedwatch.sandbox.answers import Refuse, Reply, problem, refusal
from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.routes import Call, parse_call
from feedwatch.sandbox.state import SandboxState

ROUTES = (*inlet.ROUTES, *mediaapis.ROUTES)


class Apis:
    """Hands each request to its API."""

    def __init__(self, state: SandboxState, api: inlet.Api, media: mediaapis.MediaApi) -> None:
        self.state = state
        self._inlet = api
        self._media = media

    def parse(self, method: str, target: str) -> Call:
        """A request by its method, path and query."""
        return parse_call(ROUTES, method, target)

    def refuse(self, call: Call) -> Refuse:
        """How the API that is called refuses."""
        return problem if self._is_for_media(call) else refusal

    def answer(self, call: Call, headers: Message, body: bytes, fault: Fault | None) -> Reply:
        """Carry out a request, as far as the fault leaves it to the API."""
        if self._is_for_media(call):
            return self._media.answer(call, headers, body, fault)
        return self._inlet.answer(call, headers, body, fault)

    def _is_for_media(self, call: Call) -> bool:
        return call.route is not None and call.route.api == "mediaapis"
