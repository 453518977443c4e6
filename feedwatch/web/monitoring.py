"""What the HTTP side shows of the daemon."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EADDRINUSE

from feedwatch.cli.output import stop
from feedwatch.config.load import ConfigError, Settings
from feedwatch.core.health import problems, unready
from feedwatch.daemon.loop import Daemon
from feedwatch.daemon.metrics import CONTENT_TYPE, Metrics
from feedwatch.watcher.context import Context
from feedwatch.web.http_server import HttpSide, Page, verdict

log = logging.getLogger("feedwatch")


class Monitored:
    """What the HTTP side and the metrics read: there from the first moment, the daemon later."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._daemon: Daemon | None = None
        self._context: Context | None = None

    def begin(self, daemon: Daemon, context: Context) -> None:
        """The database is open, and the daemon about to run."""
        self._daemon, self._context = daemon, context
        self._metrics.read_from(daemon.health, lambda: context.plan.policy, context.store.figures)

    def pages(self) -> dict[str, Callable[[], Page]]:
        """By path."""
        return {"/healthz": self._healthz, "/readyz": self._readyz, "/metrics": self._page}

    def _healthz(self) -> Page:
        """A start takes the time that a migration takes, and is no ill health."""
        return verdict("ok", problems(self._daemon.health()) if self._daemon else [])

    def _readyz(self) -> Page:
        return verdict("ready", unready(self._daemon.health()) if self._daemon else ["starting"])

    def _page(self) -> Page:
        return Page(body=self._metrics.page(), content_type=CONTENT_TYPE)


@contextmanager
def http_side(settings: Settings, monitored: Monitored) -> Iterator[None]:
    """The HTTP side, if the config wants one. Raises `ConfigError` where it cannot be."""
    if settings.listen is None:
        yield
        return
    try:
        side = HttpSide(*settings.listen, monitored.pages())
    except OSError as error:
        where = f"{settings.listen.host}:{settings.listen.port}"
        problem = f"FEEDWATCH_LISTEN={where}: cannot listen there: {error.strerror}"
        if error.errno == EADDRINUSE:  # it may be free soon: service managers try again after this
            stop(f"{problem}; another program has it, or another feedwatch")
        raise ConfigError([problem]) from error
    with side:
        log.info("http: listening on %s", side.url)
        yield
