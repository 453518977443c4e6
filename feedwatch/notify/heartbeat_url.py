"""Heartbeat URL: a request that tells a service outside that feedwatch works, or how a pass ended.

When none comes for some time, the service tells somebody. Each has its own way to say more: by the
end of the path and the body of a POST (Healthchecks, which keeps 100 kB of it, and Better Stack),
or by the query of a GET (Uptime Kuma and Cronitor).
"""

from dataclasses import dataclass, field
from enum import Enum, auto

import httpx

from feedwatch.core.masking import shortened
from feedwatch.net.client import deadline, described

SECONDS = 10.0
LONGEST_MESSAGE = 200
GET_ALONE = {*range(400, 500), 501}  # what a server answers to a POST that it does not expect


class Signal(Enum):
    """What is told."""

    START = auto()  # a pass begins
    UP = auto()
    DOWN = auto()


HEALTHCHECKS = {Signal.START: "/start", Signal.UP: "", Signal.DOWN: "/fail"}
CRONITOR = {Signal.START: "run", Signal.UP: "complete", Signal.DOWN: "fail"}
KUMA = {Signal.UP: "up", Signal.DOWN: "down"}


@dataclass(frozen=True, kw_only=True)
class HeartbeatUrl:
    """The operator's heartbeat URL. It is a secret: whoever knows it can say that all is well."""

    http: httpx.Client = field(repr=False)
    url: str = field(repr=False)

    def tell(self, signal: Signal, message: str = "") -> str | None:
        """Ask for the URL, within ten seconds. None if it was taken, else why not."""
        asked = request(self.url, signal, message)
        if asked is None:
            return None
        try:
            with deadline(SECONDS):
                status = self._status(asked)
                if asked.method == "POST" and status in GET_ALONE:
                    status = self._status(httpx.Request("GET", asked.url))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return shortened(described(error))
        return None if 200 <= status < 300 else f"the server answered {status}"

    def _status(self, asked: httpx.Request) -> int:
        body = asked.content or None
        with self.http.stream(asked.method, asked.url, content=body) as response:
            return response.status_code


def request(url: str, signal: Signal, message: str = "") -> httpx.Request | None:
    """What to ask for, by the convention of the service; None where it has none for `signal`."""
    base, message = httpx.URL(url), shortened(message, LONGEST_MESSAGE)
    if "/api/push/" in base.path:
        if signal not in KUMA:
            return None
        said = {"status": KUMA[signal], "msg": message or "OK"}
        return httpx.Request("GET", base.copy_merge_params(said))
    if base.host == "cronitor.link" or base.host.endswith((".cronitor.link", "cronitor.io")):
        said = {"state": CRONITOR[signal]} | ({"message": message} if message else {})
        return httpx.Request("GET", base.copy_merge_params(said))
    if ending := HEALTHCHECKS[signal]:
        base = base.copy_with(path=base.path.rstrip("/") + ending)
    if not message:
        return httpx.Request("GET", base)
    return httpx.Request("POST", base, content=message.encode("utf-8", "replace"))
