"""Answers: what came of each POST, in the journal, the ledger, its episode and the breaker.

Each is written down before the next POST leaves. One that the database does not take is kept, and
one that nobody has heard leaves its episode in doubt.
"""

import logging
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from feedwatch.core import circuit_breaker, episode_lifecycle
from feedwatch.core.episode import Episode, State
from feedwatch.core.episode_lifecycle import RESUBMIT_AFTER
from feedwatch.core.job import Accepted, Answer, Later, Refused, Unknown
from feedwatch.core.job_lifecycle import ended_step
from feedwatch.core.json_forms import stamp
from feedwatch.core.ledger import Claim, Outcome, outcome_of
from feedwatch.core.pipeline import PROCESSOR_OF
from feedwatch.store.errors import StoreError
from feedwatch.watcher.context import Context, about
from feedwatch.watcher.set_asides import set_others_aside

log = logging.getLogger(__name__)

PAUSED = "%s paused, queued episodes will wait: %s; tried again at %s"
# Submitting is not tried again before somebody has acted, only read.
BLOCKED = (
    "%s paused until somebody acts, queued episodes will wait: %s; a read, which shows "
    "whether it is mended, is tried at %s"
)


class Answered(NamedTuple):
    """A claim, and the answer to its POST."""

    episode: Episode  # as claimed
    claim: Claim
    answer: Answer


class Answers:
    """Records the answers to our POSTs."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._unsaved: list[Answered] = []  # that are not in the database yet
        self._doubted: dict[int, float] = {}  # when ours ended in doubt, by `Context.elapsed`

    def take(self, claimed: Episode, claim: Claim, answer: Answer) -> None:
        """Record an answer as soon as it is known. Raises `StoreError`: then it is kept."""
        context = self._context
        media_id = answer.media_id if isinstance(answer, Accepted) else None
        if media_id is not None:
            # The log comes first: should all else fail now, the media id is not lost.
            log.info(
                "%s: accepted as media id %s",
                *(context.named(claimed), media_id),
                extra=about(claimed) | {"media_id": media_id},
            )
        context.journal.append_outcome(claim.token, outcome_of(answer), media_id, context.clock())
        self._unsaved.append(Answered(claimed, claim, answer))
        self.save()

    def save(self) -> None:
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
                    *(self._context.named(claimed), answer),
                    extra=about(claimed),
                )
                reason = f"a bug in feedwatch: {type(error).__name__}"
                with self._context.steady:
                    self._record(claimed, claim, Unknown(reason))
            self._unsaved.pop(0)

    def presume_lost(self, episodes: Sequence[Episode]) -> None:
        """Have episodes `unknown` whose POST has no answer: the process that sent it has died."""
        context, now = self._context, self._context.clock()
        for episode in episodes:
            lost = episode_lifecycle.presumed_lost(episode, now, context.plan.policy)
            if self._settle(episode, lost, Outcome.UNKNOWN) is not None:
                name = PROCESSOR_OF[episode.step]
                policy = context.plan.policy_of(name)
                context.store.breakers.change(
                    name,
                    partial(
                        circuit_breaker.breaker_after_doubt,
                        reason="a submission was interrupted",
                        now=now,
                        policy=policy,
                    ),
                )

    def is_doubted_long_enough(self, episode: Episode) -> bool:
        """Whether the wait for a job that was taken after all is over by the boot clock, too.

        A time in the database that is written while the wall clock is being set may be off.
        """
        since = self._doubted.get(episode.id)
        if since is None:
            return True
        return self._context.elapsed() - since >= RESUBMIT_AFTER.total_seconds()

    def _record(self, claimed: Episode, claim: Claim, answer: Answer) -> None:
        """Record an answer in its claim, its episode, others that it is about, and the breaker."""
        context, store, name = self._context, self._context.store, claim.target.processor
        now, policy = context.clock(), context.plan.policy_of(name)
        if isinstance(answer, Accepted):
            owner = store.episodes.by_media_id(answer.media_id)
            if owner is not None and owner.id != claimed.id:
                answer = Unknown(
                    f"the API answered with the media id {answer.media_id}, which is that of "
                    f"episode {owner.id}"
                )
        before = store.breakers.get(name)
        after = circuit_breaker.breaker_after_answer(before, claimed.id, answer, now, policy)
        course = context.plan.course(claimed)
        moved = episode_lifecycle.answered(claimed, answer, now, policy, after.odd_answers, course)
        if moved.state is State.UNKNOWN:
            self._doubted[claimed.id] = self._context.elapsed()
        saved = store.claims.settle(
            claim.token,
            outcome_of(answer),
            claimed,
            moved,
            now,
            sent=was_sent(answer),
            ended=ended_step(claimed, moved, now),
        )
        if saved is None:
            self._record_late(claimed, claim, answer)
        elif not isinstance(answer, Accepted):  # that was logged with its media id, by `_submit`
            context.log_move(claimed, saved)
        set_others_aside(context, before, claimed, answer)
        store.breakers.change(
            name,
            lambda breaker: circuit_breaker.breaker_after_answer(
                breaker, claimed.id, answer, now, policy
            ),
        )
        if isinstance(answer, Accepted | Refused):
            if before.reason is not None:
                log.info("%s go on", context.submissions_to(name))
        elif after.tripped_until is not None and before.reason != answer.reason:
            needs_person = isinstance(answer, Later) and answer.blocked
            log.log(
                logging.ERROR if needs_person else logging.WARNING,
                BLOCKED if needs_person else PAUSED,
                context.submissions_to(name),
                answer.reason,
                stamp(after.tripped_until),
            )

    def _settle(self, before: Episode, after: Episode, outcome: Outcome) -> Episode | None:
        """Record what came of an episode's last claim, of which no answer is at hand."""
        context, now = self._context, self._context.clock()
        claim = context.store.claims.of(before)
        if claim is None:
            return context.move(before, after)
        context.journal.append_outcome(claim.token, outcome, after.media_id, now)
        saved = context.store.claims.settle(claim.token, outcome, before, after, now)
        if saved is not None:
            context.log_move(before, saved)
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
        if episode.state is State.UNKNOWN and episode.claim == claim.number:
            adopted = episode_lifecycle.adopted(episode, answer.media_id, context.clock())
            if self._settle(episode, adopted, Outcome.ACCEPTED) is not None:
                return
        log.critical(
            "%s: was accepted as media id %s, but is %s by now: see `feedwatch show %d`",
            *(context.named(episode), answer.media_id, episode.state, episode.id),
            extra=about(episode) | {"media_id": answer.media_id},
        )


def was_sent(answer: Answer) -> bool:
    """Whether the POST has left, or may have."""
    return not isinstance(answer, Later) or answer.sent
