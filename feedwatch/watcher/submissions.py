"""The loop `submissions`: submit what is queued. The one place from which money is spent."""

import logging
from collections import defaultdict, deque
from datetime import datetime
from typing import NamedTuple

from feedwatch.core import circuit_breaker, episode_lifecycle
from feedwatch.core.episode import Episode, State
from feedwatch.core.health import SUBMISSIONS
from feedwatch.core.job import Answer, Later, Unknown
from feedwatch.core.json_forms import stamp
from feedwatch.core.ledger import Claim, Target
from feedwatch.core.pipeline import processors_of, steps_of, target_id
from feedwatch.core.post_deadline import Moment
from feedwatch.core.schedule import DAY
from feedwatch.core.settings import FeedConfig, OnUnknown
from feedwatch.core.submit_waits import wait_of
from feedwatch.processors import Processor
from feedwatch.store.errors import StoreError
from feedwatch.store.lock import REPLACED
from feedwatch.watcher.answers import BLOCKED, PAUSED, Answers, was_sent
from feedwatch.watcher.claim_plan import ClaimPlan
from feedwatch.watcher.context import Context, Plan, about
from feedwatch.watcher.idle import Idleness
from feedwatch.watcher.podcast_lookups import PodcastLookups
from feedwatch.watcher.restore import compare
from feedwatch.watcher.tasks import task_of

log = logging.getLogger(__name__)

BATCH = 100  # episodes
FAILOVER_SECONDS = 15.0  # other daemons notice one within five, and look at their journals then


class Claimed(NamedTuple):
    """A committed claim, and what its POST needs."""

    episode: Episode
    claim: Claim
    source: FeedConfig
    at: Moment
    processor: Processor  # whose API the claim names, whatever the config says by now


class Submissions:
    """Submits one episode after another. Each answer is recorded before the next POST."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._proven: dict[str, Processor] = {}  # those whose safe reads have succeeded here
        self._tried: dict[str, Processor] = {}  # the last ones of which safe reads were tried
        self._podcasts = PodcastLookups(context)
        self._answers = Answers(context)
        self._idle = Idleness(context)
        self._plan: Plan | None = None  # by which what waits was last asked for
        self._last: str | None = None  # the token of the last claim that the database must have
        self._passed_over: set[str] = set()  # feeds that the config lacks, as logged
        # When our POSTs left for each processor, by `Context.elapsed`.
        self._sent: defaultdict[str, deque[float]] = defaultdict(deque)
        self._stands_still = False  # since the database's file was replaced
        self._compared_on: datetime | None = None  # the server, by when that was started
        self._not_before = 0.0  # nothing is submitted, by `Context.elapsed`
        self._is_confirmed = True  # the server, once that is over

    def tick(self) -> bool:
        """Submit as many episodes as may be submitted now."""
        context, store, now = self._context, self._context.store, self._context.clock()
        if store.is_replaced():
            self._alert_of_replacement(now)
            raise StoreError(REPLACED)
        self.save_answers()
        self._notice_another_server()
        if context.term() is None:
            return True
        if self._idle.lasts() and not context.journal.was_changed():
            return True
        self._notice_another_database()  # also where nothing is queued, so that no claim would
        if store.episodes.due(State.SUBMITTING, now, 1):
            self._last = compare(context, self._last)  # the journal may have the answers
            self._answers.presume_lost(store.episodes.due(State.SUBMITTING, now, BATCH))
        if context.plan.policy.on_unknown is OnUnknown.RESUBMIT:
            for episode in store.episodes.due(State.UNKNOWN, now, BATCH):
                if self._answers.is_doubted_long_enough(episode):
                    context.move(episode, episode_lifecycle.resubmitted(episode, now))
        plan = context.plan
        if plan is not self._plan:
            store.episodes.look_again(now)
            self._plan = plan
        for episode in store.episodes.misplaced(plan.pipelines):
            pipeline = plan.pipelines[episode.feed]
            context.move(episode, episode_lifecycle.placed(episode, pipeline, now))
        self._podcasts.begin_round()
        # Another one, whose keys are here all the same, is asked for its jobs alone.
        processors = [one for name, one in context.processors.items() if name in plan.processors]
        while processors:  # one after another in turn, each until it takes nothing more
            processors = [one for one in processors if self._submit_next(one)]
        self._idle.begin(self._next_due)
        return True

    def _next_due(self) -> datetime | None:
        """When there is something to do again, if nobody writes; now, while a breaker is tripped.

        A tripped one is probed in time.
        """
        context = self._context
        breakers = context.store.breakers.of(context.plan.processors).values()
        if any(one.tripped_until is not None for one in breakers):
            return context.clock()
        states = [State.QUEUED, State.SUBMITTING]
        if context.plan.policy.on_unknown is OnUnknown.RESUBMIT:
            states.append(State.UNKNOWN)
        return context.store.episodes.next_due(states)

    def save_answers(self) -> None:
        """Record the answers to our POSTs, before anything else is sent. Raises `StoreError`."""
        self._answers.save()

    def _submit_next(self, processor: Processor) -> bool:
        """Submit an episode to a processor; False if none may be submitted to it now."""
        context, name = self._context, processor.name
        if context.stopping.is_set() or not self._may_submit(processor) or not self._has_room(name):
            return False
        if context.elapsed() < self._not_before:
            return False
        if not self._is_confirmed:
            context.store.confirm_server()
            self._is_confirmed = True
        if not context.store.episodes.due(State.QUEUED, context.clock(), 1, steps=steps_of(name)):
            return False  # what a POST needs is fetched for one alone
        failure = processor.prepare()
        context.worked(SUBMISSIONS)  # a safe read, which may have taken long
        if failure is not None:
            if not context.stopping.is_set():  # else we have broken it off
                self._record_read(name, failure)
            return False
        claimed = self._claim(processor)
        if claimed is None:
            return False
        self._submit(*claimed)
        context.worked(SUBMISSIONS)
        return True

    def recover(self, *, after_failover: bool = False) -> None:
        """When we begin to lead: compare ledger and journal, and give up the POSTs of others.

        No other process submits: one whose POST is under way all the same records the answer, which
        settles the doubt. `after_failover`: other daemons first get time to bring in what their
        journals have and this server lacks.
        """
        server = self._context.store.server
        started_at = server.started_at if server is not None else None
        self._last = compare(self._context)
        self._compared_on = started_at
        self._answers.presume_lost(self._context.store.episodes.find(states=[State.SUBMITTING]))
        if after_failover:
            log.warning(
                "the database's server is another one, or was restarted: submissions wait for "
                "%.0f s, in which other daemons bring in what their journals have",
                FAILOVER_SECONDS,
            )
            self._not_before = self._context.elapsed() + FAILOVER_SECONDS
            self._is_confirmed = False

    def _notice_another_server(self) -> None:
        """Compare ledger and journal at a watcher's start, and after a failover of the server.

        The last commits may be lost, or an earlier copy put back, and the leader has another
        journal than this one.
        """
        context = self._context
        server = context.store.server
        if server is None:
            return
        started_at = server.started_at
        if self._compared_on != started_at:
            if self._compared_on is not None:
                log.warning("the database's server is another one, or was restarted: comparing it")
            self._last = compare(context, self._last if context.term() is not None else None)
        self._compared_on = started_at

    def _notice_another_database(self) -> None:
        """Compare ledger and journal, where another process has written or our claim is missing."""
        context, last = self._context, self._last
        is_missing = last is not None and not context.store.claims.by_token([last])
        if is_missing:
            log.error("this is not the database of the last submission: comparing it again")
        if is_missing or context.journal.was_changed():
            self._last = compare(context, last)

    def _alert_of_replacement(self, now: datetime) -> None:
        """Have it alerted once that the database's file was replaced, by what is still open."""
        if self._stands_still:
            return
        for name in self._context.processors:
            self._context.store.breakers.change(
                name,
                lambda breaker: circuit_breaker.breaker_after_block(breaker, REPLACED, now),
            )
        self._stands_still = True

    def _may_submit(self, processor: Processor) -> bool:
        """Whether the circuit breaker lets submissions through; a safe read may reset it in time.

        A process also reads before its first POST, and after a change of key or URL: a wrong one is
        found out by something that costs nothing.
        """
        context, store, now = self._context, self._context.store, self._context.clock()
        name, breaker = processor.name, store.breakers.get(processor.name)
        if store.is_replaced():
            return False
        if breaker.tripped_until is None and self._proven.get(name) is processor:
            return True
        if breaker.paused:
            return False
        self._put_off_what_waits(name, now)
        # Another key or URL may mend what blocks, and is tried at once: a request by the one before
        # may have ended after the reload, and tripped the breaker again.
        is_tried = not breaker.blocked or self._tried.get(name) is processor
        if is_tried and circuit_breaker.is_tripped(breaker, now):
            return False
        # Nothing else notices that what blocks us was mended, if nothing is to be submitted.
        steps = steps_of(name)
        if not breaker.blocked and not store.episodes.due(State.QUEUED, now, 1, steps=steps):
            return False
        feeds = [one for one in context.plan.sources.values() if name in processors_of([one])]
        some_target = target_id(steps[-1], feeds[0]) if feeds else ""
        job = store.claims.latest_job(name) or (some_target, None)
        self._tried[name] = processor
        failure = processor.probe(*job)
        context.worked(SUBMISSIONS)  # it may have taken long, and so may the next API's
        if failure is not None and context.stopping.is_set():
            return False  # broken off by us: it proves nothing
        self._record_read(name, failure)
        if failure is None:
            self._proven[name] = processor
        else:
            self._proven.pop(name, None)
        return failure is None

    def _put_off_what_waits(self, name: str, now: datetime) -> None:
        """Have what waits for its date due then: no claim, which would, is made now.

        Only what may be early is looked at, and mostly that is little, however long the queue is.
        """
        context, steps, ripe = self._context, steps_of(name), set[int]()
        due, longest = context.store.episodes.due, context.plan.longest_delay
        while found := due(State.QUEUED, now, BATCH, but=ripe, steps=steps, early=longest):
            for episode in found:
                source = context.plan.sources.get(episode.feed)
                seen = episode.first_seen_at
                wait = wait_of(episode.published_at, seen, source, now) if source else None
                if wait is None or (
                    context.move(episode, episode_lifecycle.put_off(episode, wait, now)) is None
                ):
                    ripe.add(episode.id)
            context.worked(SUBMISSIONS)

    def _has_room(self, name: str) -> bool:
        """Whether the daily limit has room by our own count, which no clock set ahead empties."""
        since, sent = self._context.elapsed() - DAY.total_seconds(), self._sent[name]
        while sent and sent[0] <= since:
            sent.popleft()
        return len(sent) < self._context.plan.policy_of(name).max_submissions_per_day

    def _record_read(self, name: str, failure: Later | None) -> None:
        """Record a safe read, or a look-up that failed, in the circuit breaker."""
        context = self._context
        before = context.store.breakers.get(name)
        after = context.store.breakers.change(
            name,
            lambda breaker: circuit_breaker.breaker_after_read(
                breaker, failure, context.clock(), context.plan.policy_of(name)
            ),
        )
        if failure is not None and before.reason != failure.reason:
            said = BLOCKED if after.blocked else PAUSED
            until = stamp(after.tripped_until)
            log.error(said, context.submissions_to(name), failure.reason, until)

    def _claim(self, processor: Processor) -> Claimed | None:
        """Claim an episode for a processor, and read the config of its feed at the same moment.

        The podcast is looked up before its first POST, outside of the transaction of the claim.
        None, too, if a reload has put another processor in its place.
        """
        context, name = self._context, processor.name
        if context.journal.was_changed():
            self._last = compare(context, self._last)
        asked: set[Target] = set()
        while True:
            with context.steady:
                if context.processors.get(name) is not processor:
                    return None
                plan = ClaimPlan(context, self._podcasts, processor)
                result = context.store.claims.claim(
                    name, plan.now, context.plan.policy_of(name), plan, self._last
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
                context.log_move(before, after)
            if result.episode is not None and result.claim is not None:
                self._last = result.claim.token
                source = plan.sources[result.episode.feed]
                return Claimed(result.episode, result.claim, source, plan.at, processor)
            if plan.unasked is None or plan.unasked in asked:
                return None  # nothing is due, or a missing podcast's feed is not left out
            asked.add(plan.unasked)
            failure = self._podcasts.look_up(plan.unasked, processor)
            if failure is not None:
                if not context.stopping.is_set():  # else we have broken it off
                    self._record_read(name, failure)
                return None

    def _submit(
        self,
        claimed: Episode,
        claim: Claim,
        source: FeedConfig,
        at: Moment,
        processor: Processor,
    ) -> None:
        """POST, and record the answer. The claim is committed already."""
        context = self._context
        answer: Answer
        if not context.journal.append_claim(claim):
            problems = "; ".join(f"{path}: {why}" for path, why in context.journal.problems.items())
            answer = Later(f"the journal cannot be written any more: {problems}", sent=False)
        else:
            try:
                answer = processor.submit(task_of(claimed, claim, source), at)
            except Exception as error:
                # The request may have left before the bug, so `unknown` is the safe state.
                log.exception(
                    "%s: a bug has ended the submission",
                    context.named(claimed),
                    extra=about(claimed),
                )
                answer = Unknown(f"a bug in feedwatch: {type(error).__name__}: {error}")
        if was_sent(answer):
            self._sent[processor.name].append(context.elapsed())
        self._answers.take(claimed, claim, answer)
