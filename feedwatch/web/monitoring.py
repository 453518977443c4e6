"""What the HTTP side shows of the daemon."""

import logging
from collections.abc import Callable
from functools import partial

from feedwatch.core.health import problems, unready
from feedwatch.daemon.loop import Daemon
from feedwatch.daemon.metrics import CONTENT_TYPE, Metrics
from feedwatch.watcher.context import Context
from feedwatch.web.http_server import Page, verdict

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
        self._metrics.read_from(
            daemon.health,
            lambda: context.plan.policy,
            partial(context.store.statistics.figures, context.processor.name),
        )

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
