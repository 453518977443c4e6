"""What Prometheus may ask: what this process has counted, and what the database shows.

How many series there are does not grow with the feeds, beyond MOST_FEEDS. What the figures out of
the database cost is bounded, too: they are looked up again only after SHARE times that.
"""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from feedwatch import __version__
from feedwatch.core.episode import State
from feedwatch.core.feed import Failed, Gone, NotModified, ParsedFeed, Same
from feedwatch.core.health import HealthRecord, problems
from feedwatch.core.job import Answer, Later, Progress, Task
from feedwatch.core.post_deadline import Moment
from feedwatch.core.settings import Policy
from feedwatch.processors import Processor
from feedwatch.store.errors import StoreError
from feedwatch.store.statistics import Figures

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MOST_FEEDS = 200  # each with series of its own; where there are more, only
OLDEST_FEEDS = 50  # those that have been without success for longest
SHARE = 100  # the database may be busy with our questions for one part in so many
FRESH_SECONDS = 1.0
CHECK_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
RESULTS = {
    ParsedFeed: "items",
    NotModified: "not_modified",
    Same: "same",
    Gone: "gone",
    Failed: "failed",
}


# They would double the counters' series. The library has no types for this one function.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """All metrics of this process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._checks = Counter(
            "feedwatch_checks",
            "Checks of feeds, by what came of them.",
            ["result"],
            registry=self._registry,
        )
        self._check_seconds = Histogram(
            "feedwatch_check_seconds",
            "How long a check takes, from the request to the items.",
            buckets=CHECK_BUCKETS,
            registry=self._registry,
        )
        self._responses = Counter(
            "feedwatch_api_responses",
            "Responses of the media API, by their HTTP status.",
            ["processor", "method", "code"],
            registry=self._registry,
        )
        self._answers = Counter(
            "feedwatch_api_answers",
            "What the media API was taken to say, no answer at all included.",
            ["processor", "request", "answer"],
            registry=self._registry,
        )
        for result in RESULTS.values():
            self._checks.labels(result)  # so that a rate is known from the first one on

    def counting(self, processor: Processor) -> "Counted":
        """The media API, its answers counted."""
        return Counted(processor, self)

    def checked(
        self, outcome: ParsedFeed | NotModified | Same | Gone | Failed, seconds: float
    ) -> None:
        """Count a look at a feed."""
        self._checks.labels(RESULTS[type(outcome)]).inc()
        self._check_seconds.observe(seconds)

    def responded(self, processor: str, method: str, code: int) -> None:
        """Count a response of a media API."""
        self._responses.labels(processor, method, str(code)).inc()

    def answered(self, processor: str, request: str, answer: str) -> None:
        """Count what an answer of a media API means."""
        self._answers.labels(processor, request, answer).inc()

    def read_from(
        self,
        record: Callable[[], HealthRecord],
        term: Callable[[], int | None],
        policy_of: Callable[[str], Policy],
        figures: Callable[..., Figures],
        clock: Callable[[], datetime],
        identity: Callable[[], tuple[str, float | None]],
    ) -> None:
        """From now on there are gauges, too: of the loops, the limits, and `Store.figures`.

        `identity` has the config mark, and how many seconds the clock is ahead of the database's.

        Figures of the whole database come only from the daemon that leads, so that sums are right.
        """
        self._registry.register(_Gauges(record, term, policy_of, figures, clock, identity))

    def page(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self._registry)


class Counted:
    """A media API whose answers are counted."""

    def __init__(self, processor: Processor, metrics: Metrics) -> None:
        self._processor = processor
        self._metrics = metrics

    @property
    def name(self) -> str:
        """As the API's own."""
        return self._processor.name

    @property
    def api(self) -> str:
        """As the API's own."""
        return self._processor.api

    def submit(self, submission: Task, claimed: Moment) -> Answer:
        """Submit, and count the answer."""
        answer = self._processor.submit(submission, claimed)
        self._metrics.answered(self.name, "submit", _word(answer))
        return answer

    def prepare(self) -> Later | None:
        """As the API's own; not counted."""
        return self._processor.prepare()

    def poll(self, task: Task, media_id: str) -> Progress:
        """Poll, and count the answer."""
        progress = self._processor.poll(task, media_id)
        self._metrics.answered(self.name, "poll", _word(progress))
        return progress

    def probe(self, target: str, media_id: str | None) -> Later | None:
        """Probe, and count the answer."""
        failure = self._processor.probe(target, media_id)
        self._metrics.answered(self.name, "probe", "works" if failure is None else _word(failure))
        return failure

    def has_target(self, target: str) -> bool | Later | None:
        """As the API's own; a look-up is not counted."""
        return self._processor.has_target(target)


def _word(answer: Answer | Progress) -> str:
    return type(answer).__name__.lower()


class _Gauges:
    """Collected when they are asked for."""

    def __init__(
        self,
        record: Callable[[], HealthRecord],
        term: Callable[[], int | None],
        policy_of: Callable[[str], Policy],
        figures: Callable[..., Figures],
        clock: Callable[[], datetime],
        identity: Callable[[], tuple[str, float | None]],
    ) -> None:
        self._record = record
        self._term = term
        self._policy_of = policy_of
        self._clock = clock
        self._identity = identity
        self._count = figures
        self._lock = threading.Lock()
        self._figures: Figures | None = None
        self._fresh_until = 0.0

    def describe(self) -> list[Metric]:
        """Nothing: to ask the database for names alone would be a waste."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All gauges; without a database that works, those of the process alone."""
        record = self._record()
        yield _gauge("build_info", "1, with the version.", 1, version=__version__)
        yield _gauge("healthy", "1 if the daemon makes progress.", int(not problems(record)))
        mark, ahead = self._identity()
        yield _gauge("config_info", "1, with the mark of the config.", 1, mark=mark[:8])
        if ahead is not None:
            text = "How far this machine's clock is ahead of the database's."
            yield _gauge("clock_offset_seconds", text, ahead)
        ages = _family(
            "loop_finished_age_seconds", "Since each loop last finished a round.", "loop"
        )
        waits = _family("loop_oldest_due_seconds", "How long the oldest work has been due.", "loop")
        for loop in record.loops:
            ages.add_metric([loop.name], (loop.finished or record.up).total_seconds())
            waits.add_metric([loop.name], (loop.waiting or timedelta()).total_seconds())
        yield from (ages, waits)
        term = self._term()
        yield _gauge("leader", "1 if this daemon leads, and so submits.", int(term is not None))
        if term is not None:
            yield _gauge("leader_term", "How many elections there were; 0 with SQLite.", term)
        with self._lock:
            begun = time.monotonic()
            if begun >= self._fresh_until:
                try:
                    self._figures = self._count(
                        self._clock(), most_feeds=MOST_FEEDS, but_at_most=OLDEST_FEEDS
                    )
                except StoreError:
                    self._figures = None
                ended = time.monotonic()
                self._fresh_until = ended + max(FRESH_SECONDS, SHARE * (ended - begun))
            figures = self._figures
        works = figures is not None and not any(loop.trouble for loop in record.loops)
        yield _gauge("database_up", "1 if the database could be read and written.", int(works))
        if figures is not None and term is not None:
            yield from _of_episodes(figures, self._clock())
            yield from _of_processors(figures, self._policy_of)
            yield from _of_feeds(figures)


def _of_episodes(figures: Figures, now: datetime) -> Iterator[Metric]:
    states = _family("episodes", "Episodes, by state.", "state")
    for state in State:
        states.add_metric([state], figures.by_state.get(state, 0))
    yield states
    oldest = figures.oldest_queued_at
    age = (now - oldest).total_seconds() if oldest is not None else 0
    yield _gauge("oldest_queued_age_seconds", "Since the oldest queued episode was seen.", age)


def _of_processors(figures: Figures, policy_of: Callable[[str], Policy]) -> Iterator[Metric]:
    ours = {name: (one, policy_of(name)) for name, one in figures.processors.items()}
    for name, text, number in (
        ("submissions_24h", "Submissions within 24 hours.", lambda one, _: one.submitted),
        (
            "submissions_24h_limit",
            "How many there may be.",
            lambda _, policy: policy.max_submissions_per_day,
        ),
        (
            "submissions_open",
            "1 unless paused or stopped by trouble.",
            lambda one, _: one.submissions_open,
        ),
        ("jobs_live", "Jobs accepted and not final.", lambda one, _: one.live_jobs),
        ("jobs_live_limit", "How many there may be.", lambda _, policy: policy.max_concurrent_jobs),
        ("jobs_overdue", "Jobs not final by their deadline.", lambda one, _: one.overdue_jobs),
    ):
        family = _family(name, text, "processor")
        for processor, facts in ours.items():
            family.add_metric([processor], number(*facts))
        yield family


def _of_feeds(figures: Figures) -> Iterator[Metric]:
    states = _family("feeds", "Feeds, by state.", "state")
    for state, number in figures.feeds_by_state.items():
        states.add_metric([state], number)
    text = f"0: never. Beyond {MOST_FEEDS} feeds only of the {OLDEST_FEEDS} oldest."
    success = _family("feed_last_success_timestamp_seconds", f"The last success; {text}", "feed")
    failures = _family("feed_failures", "Failed checks in a row, of the same feeds.", "feed")
    for feed in figures.feeds:
        at = feed.success_at.timestamp() if feed.success_at is not None else 0
        success.add_metric([feed.name], at)
        failures.add_metric([feed.name], feed.failures)
    yield from (states, success, failures)


def _family(name: str, text: str, label: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"feedwatch_{name}", text, labels=[label])


def _gauge(name: str, text: str, value: float, **labels: str) -> Metric:
    family = GaugeMetricFamily(f"feedwatch_{name}", text, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family
