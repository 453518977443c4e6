"""Stuck jobs: those for whose end `run --once` waits no longer.

They show an error, or are done and their file cannot be read; or nobody can be asked about them.
"""

from datetime import datetime, timedelta

from feedwatch.core import job_lifecycle
from feedwatch.core.episode import Cause, LiveJob
from feedwatch.core.pipeline import PROCESSOR_OF
from feedwatch.watcher.context import Context

# A doubt hides what the API says of the job; a pass that does not wait for one loses nothing.
MAY_BE_STUCK = (Cause.ERROR, Cause.LOST, Cause.NO_FILE, Cause.DOUBTED)


class StuckJobs:
    """For how long jobs have been wrong: by the database, and as one pass has seen it.

    The database knows since when the API says the very same; where the time stamp of an error is
    renewed again and again, only the pass knows.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._first_seen: dict[int, float] = {}  # by job: when the pass first saw its error

    def are_all(self) -> bool:
        """Whether every job that is not final is stuck; also where there is none."""
        now = self._context.clock()
        live = [
            one
            for one in self._context.store.claims.live_jobs()
            if PROCESSOR_OF[one.step] in self._context.processors  # else nothing can end it
        ]
        wrong = {one.episode for one in live if one.cause in MAY_BE_STUCK}
        seen = {number: self._first_seen.get(number, self._context.elapsed()) for number in wrong}
        self._first_seen = seen
        return all(one.episode in wrong and self._is_stuck(one, now) for one in live)

    def _is_stuck(self, one: LiveJob, now: datetime) -> bool:
        in_this_pass = self._context.elapsed() - self._first_seen[one.episode]
        stands_for = max(timedelta(seconds=in_this_pass), now - (one.stands_since or now))
        return job_lifecycle.is_stuck(
            stands_for, self._context.plan.policy_of(PROCESSOR_OF[one.step])
        )
