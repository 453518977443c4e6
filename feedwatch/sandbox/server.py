"""The sandbox as an object: started, stopped and inspected by tests, the demo and the CLI."""

from collections import Counter
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from threading import Thread
from typing import Any, Self

from feedwatch.sandbox import inlet_contract
from feedwatch.sandbox.apis import Apis
from feedwatch.sandbox.faults import ApiName
from feedwatch.sandbox.handler import Handler
from feedwatch.sandbox.http_server import HttpServer
from feedwatch.sandbox.inlet import Api
from feedwatch.sandbox.mediaapis import MediaApi
from feedwatch.sandbox.state import Received, SandboxState

APP_KEY, APP_SECRET = "sandbox-app-key", "sandbox-app-secret"


class Sandbox:
    """A sandbox that listens on a port of this machine.

    Use it as a context manager, or call `start` and `stop`. Its state survives a stop.
    Control requests under /_sandbox/ need no API key, so an address other than loopback takes
    `allow_remote`. `podcasts` are names by id; `job_seconds` is how long a job takes; `log` is
    called with a line for each request. `api_key` is Inlet's, `app_key` and `app_secret` are those
    of the Media APIs. Raises ValueError for a bad address or podcast id.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str = "sandbox-key",
        app_key: str = APP_KEY,
        app_secret: str = APP_SECRET,
        podcasts: Mapping[str, str] | None = None,
        job_seconds: float = 2.0,
        log: Callable[[str], object] | None = None,
        allow_remote: bool = False,
    ) -> None:
        if not (allow_remote or IPv4Address(host).is_loopback):
            raise ValueError(f"{host} is not a loopback address, and allow_remote is not set")
        names = {"podcast-1": "Sandbox Podcast"} if podcasts is None else podcasts
        for podcast_id in names:
            inlet_contract.check_id("podcast id", podcast_id)
        self._state = SandboxState(names, job_seconds)
        self._media = MediaApi(self._state, app_key, app_secret)
        self._api = Apis(self._state, Api(self._state, api_key), self._media)
        self._log = log or (lambda _line: None)
        self.faults = self._state.faults
        self.host = host
        self.port = port  # 0: the first start chooses a free one
        self._server: HttpServer | None = None

    def start(self) -> None:
        """Listen, on the same port at each start. Raises OSError if the port cannot be used."""
        if self._server is None:
            self._server = HttpServer((self.host, self.port), Handler, self._api, self._log)
            self.port = self._server.server_address[1]
            Thread(
                target=self._server.serve_forever,
                kwargs={"poll_interval": 0.02},  # seconds, which a stop may take
                name="sandbox",
                daemon=True,
            ).start()

    def stop(self) -> None:
        """Close the listening socket and every connection, as a machine that shuts down would."""
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
    def tokens(self) -> int:
        """How many tokens were given."""
        return self._state.requests()["POST", "/v1/auth/token"]

    def use_clock(self, clock: Callable[[], float]) -> None:
        """Let tokens end by this clock, which tells seconds."""
        self._media.clock = clock

    def expire_tokens(self) -> None:
        """Let every token end that was given until now."""
        self._media.expire_tokens()

    @property
    def submissions(self) -> list[Received]:
        """Every submission whose body arrived in full, oldest first."""
        return self._state.submissions()

    @property
    def taken(self) -> list[dict[str, Any]]:
        """The bodies of the submissions for which a job was created, oldest first."""
        return [
            submission.body
            for submission in self._state.submissions()
            if submission.media_id is not None and isinstance(submission.body, dict)
        ]

    def taken_by(self, api: ApiName) -> int:
        """For how many submissions to one of the APIs a job was created."""
        return sum(one.media_id is not None for one in self._state.submissions() if one.api == api)

    @property
    def requests(self) -> Counter[tuple[str, str]]:
        """How many requests each (method, path template) got; "other" stands for unknown paths."""
        return self._state.requests()

    @property
    def polls(self) -> dict[str, list[float]]:
        """The times of the polls of each media id, in seconds since the epoch."""
        return self._state.polls()

    @property
    def jobs(self) -> dict[str, dict[str, Any]]:
        """Every job by media id, in the form that a poll would get now."""
        return self._state.jobs()

    def set_status(self, media_id: str, *statuses: str) -> None:
        """Set a job's status; each poll then moves on to the next one, and the last one stays."""
        self._state.set_statuses(media_id, statuses)

    def reset(self) -> None:
        """Remove jobs, counts and faults; the podcasts stay."""
        self._state.reset()
