"""The loop `polls`: ask the media API about the jobs that are due."""

import logging
from concurrent.futures import Future
from dataclasses import replace

from feedwatch.core import episode_lifecycle
from feedwatch.core.episode import Episode, State
from feedwatch.core.health import POLLS
from feedwatch.core.job import Progress, Running, Unreachable
from feedwatch.store.errors import StoreError
from feedwatch.watcher.context import RETRY_AFTER_BUG, Context, about, named
from feedwatch.watcher.worker_pool import WorkerPool

log = logging.getLogger(__name__)

MAX_CONCURRENT_POLLS = 4


class Polls:
    """Polls several jobs at once; decides and writes one after another."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._polls: WorkerPool[Episode, Progress] = WorkerPool(MAX_CONCURRENT_POLLS, "poll")

    def tick(self) -> bool:
        """Record the polls that have ended, and start those that are due."""
        context = self._context
        for episode, poll in self._polls.finished():
            self._record(episode, poll)
            context.worked(POLLS)
        if context.stopping.is_set():
            return True
        now, free, running = context.clock(), self._polls.free, self._polls.ids
        for episode in context.store.episodes.due(State.PROCESSING, now, free, but=running):
            self._polls.start(
                episode.id,
                episode,
                lambda job: context.processor.poll(job.podcast_id or "", job.media_id or ""),
            )
        return True

    def close(self) -> None:
        """Wait for the polls that are under way."""
        self._polls.close()

    def _record(self, episode: Episode, poll: Future[Progress]) -> None:
        """Record a poll. A bug that one job brings out must not stop the others, nor repeat."""
        context = self._context
        try:
            progress = poll.result()
            if isinstance(progress, Unreachable) and context.stopping.is_set():
                return  # broken off by us: the API is not to blame
            after = episode_lifecycle.polled(
                episode, progress, context.clock(), context.plan.policy
            )
            if (
                isinstance(progress, Running)
                and not progress.known
                and progress.remote_status != episode.remote_status
            ):
                log.warning(
                    "%s: the API answers with the status %r, which its document does not list; "
                    "the job is polled on",
                    *(named(episode), progress.remote_status),
                    extra=about(episode),
                )
            context.move(episode, after)
        except StoreError:
            raise
        except Exception:
            log.exception("%s: a bug has ended the poll", named(episode), extra=about(episode))
            context.move(episode, replace(episode, due_at=context.clock() + RETRY_AFTER_BUG))
