"""The stand-in as a server: reads requests off sockets, carries out faults, sends answers."""

from collections import Counter
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from threading import Thread
from typing import Any, Self

from feedwatch.sandbox import inlet_contract
from feedwatch.sandbox.handler import Handler
from feedwatch.sandbox.http_server import HttpServer
from feedwatch.sandbox.inlet import Api
from feedwatch.sandbox.state import Received, SandboxState


class Sandbox:
    """A stand-in for the media API on a port of this machine.

    Use it as a context manager, or call `start` and `stop`. What it remembers survives a stop.
    The control under /_sandbox/ asks for no key: hence other than loopback addresses only if
    `allow_remote` says so.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str = "sandbox-key",
        podcasts: Mapping[str, str] | None = None,
        job_seconds: float = 2.0,
        log: Callable[[str], object] | None = None,
        allow_remote: bool = False,
    ) -> None:
        if not (allow_remote or IPv4Address(host).is_loopback):
            raise ValueError(f"{host} is not a loopback address; allow_remote would allow it")
        shows = {"podcast-1": "Sandbox Podcast"} if podcasts is None else podcasts
        for podcast_id in shows:
            inlet_contract.check_id("podcast id", podcast_id)
        self._state = SandboxState(shows, job_seconds)
        self._api = Api(self._state, api_key)
        self._log = log or (lambda _line: None)
        self.faults = self._state.faults
        self.host = host
        self.port = port  # 0 until the first start, if any free one will do
        self._server: HttpServer | None = None

    def start(self) -> None:
        """Listen; after a stop, on the same port as before."""
        if self._server is None:
            self._server = HttpServer(
                (self.host, self.port),
                Handler,
                state=self._state,
                api=self._api,
                log=self._log,
            )
            self.port = self._server.server_address[1]
            Thread(
                target=self._server.serve_forever,
                kwargs={"poll_interval": 0.02},  # how long a stop may take
                name="sandbox",
                daemon=True,
            ).start()

    def stop(self) -> None:
        """Close the listening socket and every connection, as a machine that goes down would."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The base URL, without a path."""
        return f"http://{self.host}:{self.port}"

    @property
    def submissions(self) -> list[Received]:
        """Every submission that came in whole, in order."""
        return self._state.submissions()

    @property
    def taken(self) -> list[dict[str, Any]]:
        """The bodies of the submissions for which a job was made, in order."""
        return [
            receipt.body
            for receipt in self._state.submissions()
            if receipt.media_id is not None and isinstance(receipt.body, dict)
        ]

    @property
    def requests(self) -> Counter[tuple[str, str]]:
        """How often each (method, path of the contract) was called; "other" for other paths."""
        return self._state.requests()

    @property
    def polls(self) -> dict[str, list[float]]:
        """When each media id was asked for, in seconds since the epoch."""
        return self._state.polls()

    @property
    def jobs(self) -> dict[str, dict[str, Any]]:
        """The record of every job by media id, as a poll would show it now."""
        return self._state.jobs()

    def set_status(self, media_id: str, *statuses: str) -> None:
        """Put a job in a status from now on; further ones follow, one a poll, the last stays."""
        self._state.force(media_id, statuses)

    def reset(self) -> None:
        """Forget everything but the shows, faults included."""
        self._state.reset()
