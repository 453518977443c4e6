"""The pages for monitoring: health, readiness, metrics."""

import logging
from collections.abc import Callable
from functools import partial

from feedwatch.core.health import HealthRecord, problems, unready
from feedwatch.daemon.loop import Daemon
from feedwatch.daemon.metrics import CONTENT_TYPE, Metrics
from feedwatch.watcher.context import Context
from feedwatch.web.http_server import Page, verdict

log = logging.getLogger("feedwatch")


class Monitored:
    """What the pages read. They are served from the start, before there is a daemon."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._daemon: Daemon | None = None
        self._context: Context | None = None

    def begin(self, daemon: Daemon, context: Context) -> None:
        """From now on there is a daemon, about to run on an open database."""
        self._daemon, self._context = daemon, context
        self._metrics.read_from(
            daemon.health,
            lambda: context.plan.policy,
            partial(context.store.statistics.figures, context.processor.name),
        )

    def pages(self) -> dict[str, Callable[[], Page]]:
        """The pages by path. A start is healthy, however long a migration takes, but not ready."""

        def found(read: Callable[[HealthRecord], list[str]], starting: list[str]) -> list[str]:
            return read(self._daemon.health()) if self._daemon is not None else starting

        return {
            "/healthz": lambda: verdict("ok", found(problems, [])),
            "/readyz": lambda: verdict("ready", found(unready, ["starting"])),
            "/metrics": lambda: Page(body=self._metrics.page(), content_type=CONTENT_TYPE),
        }
