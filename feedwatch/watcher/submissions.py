"""The second duty: submit what is queued. The one place from which money is spent."""

import logging
from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from feedwatch.core import circuit_breaker, episode_lifecycle
from feedwatch.core.circuit_breaker import CircuitBreaker
from feedwatch.core.episode import Episode, State
from feedwatch.core.health import SUBMISSIONS
from feedwatch.core.job import Accepted, Answer, Later, Task, Unknown
from feedwatch.core.settings import FeedConfig, OnUnknown
from feedwatch.processors import Processor
from feedwatch.store.errors import StoreError
from feedwatch.watcher.context import Context, about, log_move, named

log = logging.getLogger(__name__)

BATCH = 100


class Submissions:
    """One POST after another. What was in doubt is never in doubt about a second one."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._proven: Processor | None = None  # the one that a safe read of ours has succeeded at
        self._unsaved: list[tuple[Episode, Answer]] = []  # answers that the database did not take

    def tick(self) -> bool:
        """Submit as many episodes as may be submitted now."""
        self.save_answers()
        store = self._context.store
        self._presume_lost(store.episodes.due(State.SUBMITTING, self._context.clock(), BATCH))
        self._resubmit()
        while not self._context.stopping.is_set() and self._may_submit():
            self._context.worked(SUBMISSIONS)  # a read, which may have taken its time
            claimed = self._claim()
            if claimed is None:
                break
            self._submit(*claimed)
            self._context.worked(SUBMISSIONS)
        return True

    def recover(self) -> None:
        """Take stock at the start. No other process submits, so no POST is under way."""
        self._presume_lost(self._context.store.episodes.find(states=[State.SUBMITTING]))

    def _presume_lost(self, episodes: Sequence[Episode]) -> None:
        """Episodes whose POST was never concluded: the process died in between."""
        context = self._context
        now = context.clock()
        for episode in episodes:
            lost = episode_lifecycle.presumed_lost(episode, now, context.plan.policy)
            if context.move(episode, lost) is not None:
                context.store.breakers.change(
                    context.processor.name,
                    lambda breaker: circuit_breaker.breaker_after_doubt(
                        breaker, "a submission was interrupted", now, context.plan.policy
                    ),
                )

    def _resubmit(self) -> None:
        context = self._context
        if context.plan.policy.on_unknown is not OnUnknown.RESUBMIT:
            return
        now = context.clock()
        for episode in context.store.episodes.due(State.UNKNOWN, now, BATCH):
            context.move(episode, episode_lifecycle.resubmitted(episode, now))

    def _may_submit(self) -> bool:
        """Whether the gate is open; where it is shut and it is time, a safe read may open it.

        A process also reads once before its first POST, and after a change of key or address: a
        wrong one is found out by something that costs nothing.
        """
        context, processor = self._context, self._context.processor
        breaker, now = context.store.breakers.get(context.processor.name), context.clock()
        if breaker.tripped_until is None and self._proven is processor:
            return True
        if breaker.paused or circuit_breaker.is_tripped(breaker, now):
            return False
        if not context.store.episodes.due(State.QUEUED, now, 1):
            return False
        failure = processor.probe()
        context.store.breakers.change(
            context.processor.name,
            lambda breaker: circuit_breaker.breaker_after_read(
                breaker, failure, context.clock(), context.plan.policy
            ),
        )
        self._proven = processor if failure is None else None
        if failure is not None and breaker.reason != failure.reason:
            log.error("submissions stop, episodes wait: %s", failure.reason)
        return failure is None

    def _claim(self) -> tuple[Episode, FeedConfig] | None:
        """Claim an episode, and take what the config says of its feed at that moment."""
        context = self._context
        now = context.clock()
        with context.steady:
            claimed = context.store.claims.claim(
                context.processor.name,
                now,
                context.plan.policy,
                lambda episode: episode_lifecycle.claimed(
                    episode, context.plan.sources[episode.feed].podcast_id, now
                ),
            )
            if claimed is None:
                return None
            source = context.plan.sources[claimed.feed]
        try:
            context.before_post()
        except StoreError as error:
            log.warning("no mark was left of a submission: %s", error)
        return claimed, source

    def _submit(self, claimed: Episode, source: FeedConfig) -> None:
        """POST, and write down what came of it. The intent is committed already."""
        context = self._context
        try:
            answer: Answer = context.processor.submit(submission_of(claimed, source))
        except Exception as error:
            # A fault of our own, but the request may have left: doubt is the safe reading.
            log.exception(
                "%s: the submission failed in a way not foreseen",
                named(claimed),
                extra=about(claimed),
            )
            answer = Unknown(f"a fault of feedwatch's own: {type(error).__name__}: {error}")
        if isinstance(answer, Accepted):
            # First of all into the log: should the database fail now, the id is not lost.
            log.info(
                "%s: accepted as media id %s",
                *(named(claimed), answer.media_id),
                extra=about(claimed) | {"media_id": answer.media_id},
            )
        self._unsaved.append((claimed, answer))
        self.save_answers()

    def save_answers(self) -> None:
        """Write down what came of our POSTs, before anything else is sent.

        Raises `StoreError` where the database fails; the answers are kept for the next time.
        """
        while self._unsaved:
            claimed, answer = self._unsaved[0]
            try:
                self._record(claimed, answer)
            except StoreError:
                raise
            except Exception as error:
                # One answer must not stop the others; its lease leads to `unknown`.
                log.exception(
                    "%s: the answer could not be recorded: %r",
                    *(named(claimed), answer),
                    extra=about(claimed),
                )
                reason = f"a fault of feedwatch's own: {type(error).__name__}"
                self._record(claimed, Unknown(reason))
            self._unsaved.pop(0)

    def _record(self, claimed: Episode, answer: Answer) -> None:
        context = self._context
        now, policy = context.clock(), context.plan.policy
        saved = context.store.episodes.save(
            claimed, episode_lifecycle.answered(claimed, answer, now, policy), now
        )
        if saved is None:
            self._record_late(claimed, answer)
        else:
            log_move(claimed, saved)
        before = context.store.breakers.get(context.processor.name)
        context.store.breakers.change(
            context.processor.name,
            lambda breaker: circuit_breaker.breaker_after_answer(breaker, answer, now, policy),
        )
        _tell(before, answer)

    def _record_late(self, claimed: Episode, answer: Answer) -> None:
        """The episode has moved since the claim. A job that exists must not be forgotten."""
        context = self._context
        episode = context.store.episodes.get(claimed.id)
        if not isinstance(answer, Accepted) or episode is None:
            return
        if episode.media_id == answer.media_id:
            return  # written down before, by a first attempt that failed afterwards
        if episode.state is State.UNKNOWN:
            adopted = episode_lifecycle.adopted(episode, answer.media_id, context.clock())
            if context.move(episode, adopted) is not None:
                return
        log.critical(
            "%s: was accepted as media id %s, but is %s by now: see `feedwatch show %d`",
            *(named(episode), answer.media_id, episode.state, episode.id),
            extra=about(episode) | {"media_id": answer.media_id},
        )


def _tell(before: CircuitBreaker, answer: Answer) -> None:
    """One line when submissions stop, and one when they go on."""
    if not isinstance(answer, Later | Unknown):
        if before.reason is not None:
            log.info("submissions go on")
    elif before.reason != answer.reason:
        blocked = isinstance(answer, Later) and answer.blocked
        level = logging.ERROR if blocked else logging.WARNING
        log.log(level, "submissions stop, episodes wait: %s", answer.reason)


def submission_of(episode: Episode, source: FeedConfig) -> Task:
    """What is asked of the API for an episode."""
    return Task(
        podcast_id=episode.podcast_id or source.podcast_id,
        url=episode.enclosure_url,
        name=episode.title or _file_name(episode.enclosure_url),
        description=episode.description or "",
        published_at=episode.published_at,
        ad_options=source.ad_options,
    )


def _file_name(url: str) -> str:
    """A name for an item without a title: the API demands one."""
    return unquote(PurePosixPath(urlsplit(url).path).stem).strip() or "Untitled episode"
