"""The loop `submissions`: submit what is queued. The one place from which money is spent."""

import logging
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from feedwatch.core import circuit_breaker, episode_lifecycle
from feedwatch.core.episode import Episode, State
from feedwatch.core.episode_lifecycle import RESUBMIT_AFTER
from feedwatch.core.health import SUBMISSIONS
from feedwatch.core.job import Accepted, Answer, Later, Refused, Task, Unknown
from feedwatch.core.json_forms import stamp
from feedwatch.core.ledger import Claim, Outcome, outcome_of
from feedwatch.core.post_deadline import Moment
from feedwatch.core.schedule import DAY
from feedwatch.core.settings import FeedConfig, OnUnknown
from feedwatch.core.submit_waits import believed, wait_of
from feedwatch.processors import Processor
from feedwatch.store.errors import StoreError
from feedwatch.store.lock import REPLACED
from feedwatch.watcher.claim_plan import ClaimPlan
from feedwatch.watcher.context import Context, Plan, about, log_move, named
from feedwatch.watcher.podcast_lookups import PodcastLookups
from feedwatch.watcher.restore import compare
from feedwatch.watcher.set_asides import set_others_aside

log = logging.getLogger(__name__)

BATCH = 100  # episodes
PAUSED = "submissions paused, queued episodes will wait: %s; tried again at %s"
# Submitting is not tried again before somebody has acted, only read.
BLOCKED = (
    "submissions paused until somebody acts, queued episodes will wait: %s; a read, which shows "
    "whether it is mended, is tried at %s"
)


class Answered(NamedTuple):
    """A claim, and the answer to its POST."""

    episode: Episode  # as claimed
    claim: Claim
    answer: Answer


class Claimed(NamedTuple):
    """A committed claim, and what its POST needs."""

    episode: Episode
    claim: Claim
    source: FeedConfig
    at: Moment


class Submissions:
    """Submits one episode after another. Each answer is recorded before the next POST."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._proven: Processor | None = None  # the one whose safe read has succeeded here
        self._podcasts = PodcastLookups(context)
        self._unsaved: list[Answered] = []  # answers that are not in the database yet
        self._plan: Plan | None = None  # by which what waits was last asked for
        self._last: str | None = None  # the token of the last claim that the database must have
        self._passed_over: set[str] = set()  # feeds that the config lacks, as logged
        self._sent: deque[float] = deque()  # when our POSTs left, by `Context.elapsed`
        self._doubted: dict[int, float] = {}  # when ours ended in doubt, by `Context.elapsed`
        self._stands_still = False  # since the database's file was replaced

    def tick(self) -> bool:
        """Submit as many episodes as may be submitted now."""
        context, store, now = self._context, self._context.store, self._context.clock()
        if store.is_replaced():
            self._alert_of_replacement(now)
            raise StoreError(REPLACED)
        self.save_answers()
        if store.episodes.due(State.SUBMITTING, now, 1):
            self._last = compare(context, self._last)  # the journal may have the answers
            self._presume_lost(store.episodes.due(State.SUBMITTING, now, BATCH))
        if context.plan.policy.on_unknown is OnUnknown.RESUBMIT:
            for episode in store.episodes.due(State.UNKNOWN, now, BATCH):
                if self._is_doubted_long_enough(episode):
                    context.move(episode, episode_lifecycle.resubmitted(episode, now))
        if context.plan is not self._plan:
            store.episodes.look_again(now)
            self._plan = context.plan
        self._podcasts.begin_round()
        while not context.stopping.is_set() and self._may_submit() and self._has_room():
            context.worked(SUBMISSIONS)  # a safe read, which may have taken long
            claimed = self._claim()
            if claimed is None:
                break
            self._submit(*claimed)
            context.worked(SUBMISSIONS)
        return True

    def recover(self) -> None:
        """At the start: compare ledger and journal, and give up the POSTs of the last process.

        No other process submits, so none of them is under way any more.
        """
        self._last = compare(self._context)
        self._presume_lost(self._context.store.episodes.find(states=[State.SUBMITTING]))

    def _presume_lost(self, episodes: Sequence[Episode]) -> None:
        """Have episodes `unknown` whose POST has no answer: the process that sent it has died."""
        context, now = self._context, self._context.clock()
        for episode in episodes:
            lost = episode_lifecycle.presumed_lost(episode, now, context.plan.policy)
            if self._settle(episode, lost, Outcome.UNKNOWN) is not None:
                context.store.breakers.change(
                    context.processor.name,
                    lambda breaker: circuit_breaker.breaker_after_doubt(
                        breaker, "a submission was interrupted", now, context.plan.policy
                    ),
                )

    def _alert_of_replacement(self, now: datetime) -> None:
        """Have it alerted once that the database's file was replaced, by what is still open."""
        if self._stands_still:
            return
        self._context.store.breakers.change(
            self._context.processor.name,
            lambda breaker: circuit_breaker.breaker_after_block(breaker, REPLACED, now),
        )
        self._stands_still = True

    def _is_doubted_long_enough(self, episode: Episode) -> bool:
        """Whether the wait for a job that was taken after all is over by the boot clock, too.

        A time in the database that is written while the wall clock is being set may be off.
        """
        since = self._doubted.get(episode.id)
        if since is None:
            return True
        return self._context.elapsed() - since >= RESUBMIT_AFTER.total_seconds()

    def _may_submit(self) -> bool:
        """Whether the circuit breaker lets submissions through; a safe read may reset it in time.

        A process also reads before its first POST, and after a change of key or URL: a wrong one is
        found out by something that costs nothing.
        """
        context, processor, now = self._context, self._context.processor, self._context.clock()
        breaker = context.store.breakers.get(processor.name)
        if context.store.is_replaced():
            return False
        if breaker.tripped_until is None and self._proven is processor:
            return True
        if breaker.paused:
            return False
        self._put_off_what_waits(now)
        if circuit_breaker.is_tripped(breaker, now):
            return False
        # Nothing else notices that what blocks us was mended, if nothing is to be submitted.
        if not breaker.blocked and not context.store.episodes.due(State.QUEUED, now, 1):
            return False
        job = context.store.episodes.latest_job()
        podcast_id = job.podcast_id if job is not None else None
        podcast_id = podcast_id or next(iter(context.plan.sources.values())).podcast_id
        failure = processor.probe(podcast_id, job.media_id if job is not None else None)
        if failure is not None and context.stopping.is_set():
            return False  # broken off by us: it proves nothing
        self._record_read(processor, failure)
        self._proven = processor if failure is None else None
        return failure is None

    def _put_off_what_waits(self, now: datetime) -> None:
        """Have what waits for its date due then: no claim, which would, is made now."""
        context = self._context
        for episode in context.store.episodes.due(State.QUEUED, now, BATCH):
            source = context.plan.sources.get(episode.feed)
            if source is None:
                continue
            wait = wait_of(episode.published_at, episode.first_seen_at, source, now)
            if wait is not None:
                context.move(episode, episode_lifecycle.put_off(episode, wait, now))

    def _has_room(self) -> bool:
        """Whether the daily limit has room by our own count, which no clock set ahead empties."""
        since = self._context.elapsed() - DAY.total_seconds()
        while self._sent and self._sent[0] <= since:
            self._sent.popleft()
        return len(self._sent) < self._context.plan.policy.max_submissions_per_day

    def _record_read(self, processor: Processor, failure: Later | None) -> None:
        """Record a safe read, or a look-up that failed, in the circuit breaker."""
        context = self._context
        before = context.store.breakers.get(processor.name)
        after = context.store.breakers.change(
            processor.name,
            lambda breaker: circuit_breaker.breaker_after_read(
                breaker, failure, context.clock(), context.plan.policy
            ),
        )
        if failure is not None and before.reason != failure.reason:
            said = BLOCKED if after.blocked else PAUSED
            log.error(said, failure.reason, stamp(after.tripped_until))

    def _claim(self) -> Claimed | None:
        """Claim an episode, and read the config of its feed at the same moment.

        The podcast is looked up before its first POST, outside of the transaction of the claim.
        """
        context, processor = self._context, self._context.processor
        if context.journal.was_changed():
            self._last = compare(context, self._last)
        asked: set[str] = set()
        while True:
            with context.steady:
                plan = ClaimPlan(context, self._podcasts)
                result = context.store.claims.claim(
                    processor.name, plan.now, context.plan.policy, plan, self._last
                )
            context.worked(SUBMISSIONS)
            if result.ledger_differs:
                log.error("this is not the database of the last submission: comparing it again")
                self._last = compare(context, self._last)
                return None
            for feed in plan.passed_over - self._passed_over:
                log.warning("feed %s: its queued episodes wait, the config has no such feed", feed)
            self._passed_over |= plan.passed_over
            for before, after in result.others:
                log_move(before, after)
            if result.episode is not None and result.claim is not None:
                self._last = result.claim.token
                source = plan.sources[result.episode.feed]
                return Claimed(result.episode, result.claim, source, plan.at)
            if plan.unasked is None or plan.unasked in asked:
                return None  # nothing is due, or a missing podcast's feed is not left out
            asked.add(plan.unasked)
            failure = self._podcasts.look_up(plan.unasked)
            if failure is not None:
                if not context.stopping.is_set():  # else we have broken it off
                    self._record_read(processor, failure)
                return None

    def _submit(self, claimed: Episode, claim: Claim, source: FeedConfig, at: Moment) -> None:
        """POST, and record the answer. The claim is committed already."""
        context = self._context
        answer: Answer
        if not context.journal.append_claim(claim):
            problems = "; ".join(f"{path}: {why}" for path, why in context.journal.problems.items())
            answer = Later(f"the journal cannot be written any more: {problems}", sent=False)
        else:
            try:
                answer = context.processor.submit(task_of(claimed, claim, source), at)
            except Exception as error:
                # The request may have left before the bug, so `unknown` is the safe state.
                log.exception(
                    "%s: a bug has ended the submission", named(claimed), extra=about(claimed)
                )
                answer = Unknown(f"a bug in feedwatch: {type(error).__name__}: {error}")
        media_id = answer.media_id if isinstance(answer, Accepted) else None
        if media_id is not None:
            # The log comes first: should all else fail now, the media id is not lost.
            log.info(
                "%s: accepted as media id %s",
                *(named(claimed), media_id),
                extra=about(claimed) | {"media_id": media_id},
            )
        context.journal.append_outcome(claim.token, outcome_of(answer), media_id, context.clock())
        if was_sent(answer):
            self._sent.append(context.elapsed())
        self._unsaved.append(Answered(claimed, claim, answer))
        self.save_answers()

    def save_answers(self) -> None:
        """Record the answers to our POSTs, before anything else is sent.

        Raises `StoreError` where the database fails; the answers are kept for the next time.
        """
        while self._unsaved:
            claimed, claim, answer = self._unsaved[0]
            try:
                with self._context.steady:
                    self._record(claimed, claim, answer)
            except StoreError:
                raise
            except Exception as error:
                # One answer must not stop the others; the lease of its claim leads to `unknown`.
                log.exception(
                    "%s: the answer could not be recorded: %r",
                    *(named(claimed), answer),
                    extra=about(claimed),
                )
                reason = f"a bug in feedwatch: {type(error).__name__}"
                with self._context.steady:
                    self._record(claimed, claim, Unknown(reason))
            self._unsaved.pop(0)

    def _record(self, claimed: Episode, claim: Claim, answer: Answer) -> None:
        """Record an answer in its claim, its episode, others that it is about, and the breaker."""
        context, store, name = self._context, self._context.store, self._context.processor.name
        now, policy = context.clock(), context.plan.policy
        if isinstance(answer, Accepted):
            owner = store.episodes.by_media_id(answer.media_id)
            if owner is not None and owner.id != claimed.id:
                answer = Unknown(
                    f"the API answered with the media id {answer.media_id}, which is that of "
                    f"episode {owner.id}"
                )
        before = store.breakers.get(name)
        after = circuit_breaker.breaker_after_answer(before, claimed.id, answer, now, policy)
        moved = episode_lifecycle.answered(claimed, answer, now, policy, after.odd_answers)
        if moved.state is State.UNKNOWN:
            self._doubted[claimed.id] = self._context.elapsed()
        saved = store.claims.settle(
            claim.token,
            outcome_of(answer),
            claimed,
            moved,
            now,
            sent=was_sent(answer),
        )
        if saved is None:
            self._record_late(claimed, claim, answer)
        elif not isinstance(answer, Accepted):  # that was logged with its media id, by `_submit`
            log_move(claimed, saved)
        set_others_aside(context, before, claimed, answer)
        store.breakers.change(
            name,
            lambda breaker: circuit_breaker.breaker_after_answer(
                breaker, claimed.id, answer, now, policy
            ),
        )
        if isinstance(answer, Accepted | Refused):
            if before.reason is not None:
                log.info("submissions go on")
        elif after.tripped_until is not None and before.reason != answer.reason:
            needs_person = isinstance(answer, Later) and answer.blocked
            log.log(
                logging.ERROR if needs_person else logging.WARNING,
                BLOCKED if needs_person else PAUSED,
                answer.reason,
                stamp(after.tripped_until),
            )

    def _settle(self, before: Episode, after: Episode, outcome: Outcome) -> Episode | None:
        """Record what came of an episode's last claim, of which no answer is at hand."""
        context, now = self._context, self._context.clock()
        claim = context.store.claims.latest_of(before.id)
        if claim is None:
            return context.move(before, after)
        context.journal.append_outcome(claim.token, outcome, after.media_id, now)
        saved = context.store.claims.settle(claim.token, outcome, before, after, now)
        if saved is not None:
            log_move(before, saved)
        return saved

    def _record_late(self, claimed: Episode, claim: Claim, answer: Answer) -> None:
        """The episode has changed since the claim. A job that exists must not be forgotten."""
        context = self._context
        if not context.store.claims.by_token([claim.token]):
            # A restored copy, in which the id may be another episode's. The journal has the answer,
            # and the next claim finds both.
            return
        episode = context.store.episodes.get(claimed.id)
        if not isinstance(answer, Accepted) or episode is None:
            return
        if episode.media_id == answer.media_id:
            return  # recorded by a first attempt that failed afterwards
        if episode.state is State.UNKNOWN:
            adopted = episode_lifecycle.adopted(episode, answer.media_id, context.clock())
            if self._settle(episode, adopted, Outcome.ACCEPTED) is not None:
                return
        log.critical(
            "%s: was accepted as media id %s, but is %s by now: see `feedwatch show %d`",
            *(named(episode), answer.media_id, episode.state, episode.id),
            extra=about(episode) | {"media_id": answer.media_id},
        )


def was_sent(answer: Answer) -> bool:
    """Whether the POST has left, or may have."""
    return not isinstance(answer, Later) or answer.sent


def task_of(episode: Episode, claim: Claim, source: FeedConfig) -> Task:
    """The task for an episode. The API demands a name: without a title it is the file's."""
    path = PurePosixPath(urlsplit(episode.enclosure_url).path)
    now = episode.submitted_at or episode.first_seen_at
    return Task(
        target=claim.target.id,
        token=claim.token,
        feed=episode.feed,
        episode_id=episode.id,
        url=episode.enclosure_url,
        name=episode.title or unquote(path.stem).strip() or "Untitled episode",
        description=episode.description or "",
        published_at=believed(episode.published_at, now),
        options=source.ad_options,
    )
