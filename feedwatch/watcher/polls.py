"""The third duty: ask after the jobs that are due."""

import logging
from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta

from feedwatch.core import episode_lifecycle
from feedwatch.core.episode import Episode, State
from feedwatch.core.health import POLLS
from feedwatch.core.job import Progress, Running, Unreachable
from feedwatch.store.errors import StoreError
from feedwatch.watcher.context import Context, about, named
from feedwatch.watcher.worker_pool import WorkerPool

log = logging.getLogger(__name__)

MAX_CONCURRENT_POLLS = 4
PUT_OFF = timedelta(minutes=5)  # a job whose poll failed in a way that nobody foresaw


class Polls:
    """Polls what is due, several jobs at once; decides and writes one after another."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._polls: WorkerPool[Episode, Progress] = WorkerPool(MAX_CONCURRENT_POLLS, "poll")

    def tick(self) -> bool:
        """Write down what the polls gave that have ended, and begin those that are due."""
        for episode, future in self._polls.finished():
            self._conclude(episode, future)
            self._context.worked(POLLS)
        if self._context.stopping.is_set():
            return True
        now, store = self._context.clock(), self._context.store
        for episode in store.episodes.due(
            State.PROCESSING, now, self._polls.free, but=self._polls.ids
        ):
            self._polls.start(episode.id, episode, self._ask)
        return True

    def close(self) -> None:
        """Wait for the polls that are under way."""
        self._polls.close()

    def _ask(self, episode: Episode) -> Progress:
        return self._context.processor.poll(episode.podcast_id or "", episode.media_id or "")

    def _conclude(self, episode: Episode, future: Future[Progress]) -> None:
        """The one broad `except` of this duty: a bad job must not stop the others, nor spin."""
        context = self._context
        try:
            progress = future.result()
            if isinstance(progress, Unreachable) and context.stopping.is_set():
                return  # broken off by us: the API is not to blame
            now = context.clock()
            after = episode_lifecycle.polled(episode, progress, now, context.plan.policy)
            _warn_of_new_words(episode, progress)
            context.move(episode, after)
        except StoreError:
            raise
        except Exception:
            log.exception(
                "%s: the poll failed in a way that was not foreseen",
                named(episode),
                extra=about(episode),
            )
            context.move(episode, replace(episode, due_at=context.clock() + PUT_OFF))


def _warn_of_new_words(episode: Episode, progress: Progress) -> None:
    if (
        isinstance(progress, Running)
        and not progress.known
        and progress.remote_status != episode.remote_status
    ):
        log.warning(
            "%s: the API says %r, which its document does not list; polled on",
            *(named(episode), progress.remote_status),
            extra=about(episode),
        )
