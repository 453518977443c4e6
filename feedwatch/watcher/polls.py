"""The loop `polls`: ask the media API about the jobs that are due."""

import logging
from collections import Counter
from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta
from functools import partial

from feedwatch.core import circuit_breaker, job_lifecycle
from feedwatch.core.episode import Episode, State
from feedwatch.core.health import POLLS
from feedwatch.core.job import Lost, Progress, Running, Task, Unreachable
from feedwatch.core.pipeline import PROCESSOR_OF
from feedwatch.processors import Processor
from feedwatch.store.errors import StoreError
from feedwatch.watcher.context import RETRY_AFTER_BUG, Context, about
from feedwatch.watcher.idle import Idleness
from feedwatch.watcher.tasks import polled_task
from feedwatch.watcher.worker_pool import WorkerPool

log = logging.getLogger(__name__)

MAX_CONCURRENT_POLLS = 4
Polled = tuple[Processor | None, Progress]  # who was asked, and the answer
SECOND = timedelta(seconds=1)  # what a daemon's loops wait between two rounds


class Polls:
    """Polls several jobs at once; decides and writes one after another."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._polls: WorkerPool[Episode, Polled] = WorkerPool(MAX_CONCURRENT_POLLS, "poll")
        self._idle = Idleness(context)
        self._failures: Counter[int] = Counter()  # polls in a row that said nothing, by episode

    def tick(self) -> bool:
        """Record the polls that have ended, and start those that are due."""
        context = self._context
        for episode, poll in self._polls.finished():
            self._record(episode, poll)
            context.worked(POLLS)
        if context.stopping.is_set() or context.term() is None or self._idle.lasts():
            return True
        now, free, running = context.clock(), self._polls.free, self._polls.ids
        due = context.store.episodes.due(State.PROCESSING, now, free, but=running)
        due += context.store.episodes.due(State.FAILED, now, free - len(due), but=running)
        if not due:
            states = [State.PROCESSING, State.FAILED]
            self._idle.begin(lambda: context.store.episodes.next_due(states))
        tasks = {episode.id: polled_task(context.store, episode) for episode in due}
        for episode in due:
            self._polls.start(episode.id, episode, partial(self._poll, tasks[episode.id]))
        return True

    def pause(self, least: float) -> float:
        """Seconds between two rounds of a pass: `least` while a poll is under way.

        Else the next poll is what it waits for, and a round that comes early is work for nothing.
        """
        if self._polls.ids:
            return least
        plan, names = self._context.plan, self._context.processors
        interval = min((plan.policy_of(name).poll_interval for name in names), default=SECOND)
        return max(least, min(interval / 10, SECOND).total_seconds())

    def close(self) -> None:
        """Wait for the polls that are under way."""
        self._polls.close()

    def _poll(self, task: Task, job: Episode) -> Polled:
        name = PROCESSOR_OF[job.step]
        processor = self._context.processors.get(name)
        if processor is None:
            return None, Unreachable(f"the config has no {name} any more")
        return processor, processor.poll(task, job.media_id or "")

    def _record(self, episode: Episode, poll: Future[Polled]) -> None:
        """Record a poll. A bug that one job brings out must not stop the others, nor repeat."""
        context, name = self._context, PROCESSOR_OF[episode.step]
        try:
            processor, progress = poll.result()
            if isinstance(progress, Unreachable) and context.stopping.is_set():
                return  # broken off by us: the API is not to blame
            after = self._polled(episode, progress)
            if (
                isinstance(progress, Running)
                and not progress.known
                and progress.remote_status != episode.remote_status
            ):
                log.warning(
                    "%s: the API answers with the status %r, which its document does not list; "
                    "the job is polled on",
                    *(context.named(episode), progress.remote_status),
                    extra=about(episode),
                )
            # Of another key or URL that a reload has given meanwhile a refusal says nothing.
            is_ours = context.processors.get(name) is processor
            if isinstance(progress, Unreachable) and progress.blocked and is_ours:
                self._block(name, progress.reason)
            ended = job_lifecycle.ended_step(episode, after, context.clock(), progress)
            saved = context.move(episode, after, ended)
            if saved is not None and saved.state is State.READY and saved.reason is not None:
                log.warning("%s: %s", context.named(saved), saved.reason, extra=about(saved))
        except StoreError:
            raise
        except Exception:
            named = context.named(episode)
            log.exception("%s: a bug has ended the poll", named, extra=about(episode))
            context.move(episode, replace(episode, due_at=context.clock() + RETRY_AFTER_BUG))

    def _polled(self, episode: Episode, progress: Progress) -> Episode:
        """The episode after its poll, and after those before that said nothing."""
        context, plan = self._context, self._context.plan
        if isinstance(progress, Unreachable):
            self._failures[episode.id] += 1
        else:
            self._failures.pop(episode.id, None)
        all_lost = False
        if isinstance(progress, Lost):
            others = context.store.episodes.other_jobs(episode)
            all_lost = bool(others) and all(map(job_lifecycle.seems_lost, others))
        return job_lifecycle.polled(
            episode,
            progress,
            context.clock(),
            plan.policy_of(PROCESSOR_OF[episode.step]),
            failures=self._failures[episode.id],
            all_lost=all_lost,
            course=plan.course(episode),
        )

    def _block(self, name: str, reason: str) -> None:
        """Trip the circuit breaker: the API refused us, and would refuse a submission as well."""
        context = self._context
        now, policy = context.clock(), context.plan.policy_of(name)
        before = context.store.breakers.get(name)
        after = context.store.breakers.change(
            name,
            lambda breaker: circuit_breaker.breaker_after_refused_poll(
                breaker, reason, now, policy
            ),
        )
        if after.reason != before.reason:
            what = context.submissions_to(name)
            log.error("%s paused, queued episodes will wait: %s", what, reason)
