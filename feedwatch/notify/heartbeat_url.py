"""Heartbeat URL: a GET that tells a service outside that feedwatch works, or how a pass ended.

When no GET comes for some time, the service tells somebody. Each has its own way to say more:
Healthchecks (and Better Stack) by the end of the path, Uptime Kuma and Cronitor by the query.
"""

from dataclasses import dataclass, field
from enum import Enum, auto

import httpx

from feedwatch.core.masking import shortened
from feedwatch.net.client import deadline, described

SECONDS = 10.0
LONGEST_MESSAGE = 200


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
        url = address(self.url, signal, message)
        if url is None:
            return None
        try:
            with deadline(SECONDS), self.http.stream("GET", url) as response:
                answered = f"the server answered {response.status_code}"
                return None if response.is_success else answered
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return shortened(described(error))


def address(url: str, signal: Signal, message: str = "") -> httpx.URL | None:
    """What to ask for, by the convention of the service; None where it has none for `signal`."""
    base, message = httpx.URL(url), shortened(message, LONGEST_MESSAGE)
    if "/api/push/" in base.path:
        if signal not in KUMA:
            return None
        return base.copy_merge_params({"status": KUMA[signal], "msg": message or "OK"})
    if base.host == "cronitor.link" or base.host.endswith((".cronitor.link", "cronitor.io")):
        said = {"message": message} if message else {}
        return base.copy_merge_params({"state": CRONITOR[signal]} | said)
    ending = HEALTHCHECKS[signal]
    return base.copy_with(path=base.path.rstrip("/") + ending) if ending else base
