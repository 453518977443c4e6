"""The pages for monitoring: health, readiness, metrics. They take any host and need no login."""

import json
from collections.abc import Callable, Mapping

from flask import Blueprint, Response

from feedwatch.core.health import HealthRecord, problems, unready
from feedwatch.daemon.loop import Daemon
from feedwatch.daemon.metrics import CONTENT_TYPE, Metrics
from feedwatch.watcher.context import Context


class Monitored:
    """What the pages read. They are served from the start, before there is a daemon."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self._term: Callable[[], int | None] = lambda: None
        self._record: Callable[[], HealthRecord] | None = None

    def begin(self, daemon: Daemon, context: Context) -> None:
        """From now on there is a daemon, about to run on an open database."""
        self._record, self._term = daemon.health, context.term
        self.metrics.read_from(
            daemon.health,
            context.term,
            lambda name: context.plan.policy_of(name),
            lambda *args, **named: context.store.statistics.figures(
                context.plan.processors, *args, **named
            ),
            lambda: context.clock(),
            lambda: (context.config_mark, context.store.heartbeats.clock_offset),
        )

    def health(self) -> list[str]:
        """Why the daemon makes no progress. A start is healthy, however long it takes."""
        return problems(self._record()) if self._record is not None else []

    def role(self) -> dict[str, object]:
        """Whether it leads, and in which term; nothing before there is a daemon."""
        if self._record is None:
            return {}
        term = self._term()
        return {"role": "leader" if term is not None else "watcher", "term": term}

    def unready(self) -> list[str]:
        """Why the daemon does not do its work just now."""
        return unready(self._record()) if self._record is not None else ["starting"]


class Serving:
    """What the pages read where there is no daemon in this process, only page and API."""

    def __init__(self, metrics: Metrics, is_working: Callable[[], list[str]]) -> None:
        """`is_working` says what is wrong with the database."""
        self.metrics = metrics
        self.unready = is_working

    def health(self) -> list[str]:
        """Nothing: who gets an answer has a process that works."""
        return []


def monitoring(source: Monitored | Serving) -> Blueprint:
    """`/healthz`, `/readyz` and `/metrics`."""
    pages = Blueprint("monitoring", __name__)

    @pages.get("/healthz")
    def healthz() -> Response:
        return verdict("ok", source.health())

    @pages.get("/readyz")
    def readyz() -> Response:
        role = source.role() if isinstance(source, Monitored) else {}
        return verdict("ready", source.unready(), role)

    @pages.get("/metrics")
    def metrics() -> Response:
        return Response(source.metrics.page(), content_type=CONTENT_TYPE)

    return pages


def verdict(word: str, wrong: list[str], facts: Mapping[str, object] = {}) -> Response:
    """200 and `word`, or 503 and what is wrong; and further facts."""
    body = json.dumps({"status": word if not wrong else "unavailable", "problems": wrong, **facts})
    status = 503 if wrong else 200
    return Response(f"{body}\n", status=status, content_type="application/json")
