"""The loop `checks`: fetch the feeds that are due, and record what is new in them.

    tick → due feeds → wait for their host → taken → fetch ── unchanged ───────→ recorded in batches
                                                       └── a document → evaluate ──→ recorded

One thread takes one event after another: it alone starts requests and evaluations, decides, and
writes. Requests and evaluations run in pools of threads, so that no server and no document keeps
the others waiting.

Where several daemons share a database, each leaves the hosts of the others to them, and no other
daemon gets a feed from when it is taken until its check is recorded, or given up.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from queue import Empty, SimpleQueue
from threading import Thread

import httpx

from feedwatch.core import feed_lifecycle, redirects
from feedwatch.core.feed import Document, Failed, Fetched, Same
from feedwatch.core.schedule import horizon
from feedwatch.core.served import KeptDocument
from feedwatch.feeds.document_parser import PackingParser
from feedwatch.feeds.fetch import fetch
from feedwatch.feeds.hashes import hashed, is_same_body
from feedwatch.feeds.pages import with_pages
from feedwatch.store.errors import StoreError
from feedwatch.watcher.context import RETRY_AFTER_BUG, Check, Context
from feedwatch.watcher.due_feeds import due_feeds
from feedwatch.watcher.evaluate import Evaluator, feed_after, record
from feedwatch.watcher.evaluation import Evaluation
from feedwatch.watcher.host_limiter import HostLimiter
from feedwatch.watcher.idle import Idleness
from feedwatch.watcher.unchanged import UnchangedBatch

log = logging.getLogger(__name__)

MAX_CONCURRENT_FETCHES = 48  # a host that never answers takes two of them
MAX_CONCURRENT_EVALUATIONS = 4  # two of them may wait for slow documents
MAX_DOCUMENTS = 24  # in memory, to be evaluated
MANY_QUEUED_CHECKS = 64  # with so many, the database is asked for others less often
QUERY_INTERVAL = 10.0  # seconds between two of these queries
START_INTERVAL = 0.02  # seconds in which feeds wait for others: one statement takes them all


@dataclass(frozen=True, kw_only=True)
class QueuedCheck:
    """A feed that waits for its host. What is known of it is read when its turn has come."""

    feed: int  # its id
    name: str
    host: str


# The events


@dataclass(frozen=True)
class Tick:
    """The feeds that are due are to be checked; with `due_by`, those that were due then."""

    due_by: datetime | None


@dataclass(frozen=True)
class FetchEnded:
    """The request of a check has ended."""

    check: Check
    answer: Future[Fetched | Same]


@dataclass(frozen=True)
class EvaluationEnded:
    """The document of a check was evaluated."""

    check: Check
    document: Document
    evaluation: Future[Evaluation]


@dataclass(frozen=True)
class Stop:
    """All requests have ended, and no other one will begin."""


Event = Tick | FetchEnded | EvaluationEnded | Stop


class Checks:
    """Checks the feeds that are due. `tick` asks for it and returns at once."""

    def __init__(self, context: Context, client: httpx.Client, parser: PackingParser) -> None:
        self._context = context
        self._client = client
        self._parser = parser
        self._evaluator = Evaluator(context.store, parser, lambda: context.clock())
        self._hosts: HostLimiter[QueuedCheck] = HostLimiter()
        self._next_query = 0.0  # for due feeds, while many are queued; by the monotonic clock
        self._next_start = 0.0  # of requests, by the monotonic clock
        self._under_way: set[int] = set()  # ids of feeds, from queued to recorded
        self._given_up: set[int] = set()  # taken perhaps, not recorded, and not given back yet
        self._peers: frozenset[str] = frozenset()  # when the due feeds were last queued
        self._fetching = self._evaluating = 0
        self._fetches = ThreadPoolExecutor(MAX_CONCURRENT_FETCHES, "fetch")
        self._evaluations = ThreadPoolExecutor(MAX_CONCURRENT_EVALUATIONS, "evaluate")
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._unchanged = UnchangedBatch(context)
        self._idle = Idleness(context)
        self._tick_pending = False
        self._store_error: StoreError | None = None  # not raised by `tick` yet
        self._recovering = False  # the store has failed, and nothing was written since
        self._closing = False
        self._thread = Thread(target=self._work, name="checks", daemon=True)
        self._thread.start()

    def tick(self, due_by: datetime | None = None) -> bool:
        """Have the feeds checked that are due; with `due_by`, those that were due then.

        False if the last tick has not been taken up yet, as something takes its time, or if it is
        not certain yet that a failure of the store is over. Raises the `StoreError` that has
        stopped the work since.
        """
        error, self._store_error = self._store_error, None
        if error is not None:
            raise error
        if self._tick_pending:
            return False
        self._tick_pending = True
        self._events.put(Tick(due_by))
        return not self._recovering

    def is_idle(self, due_by: datetime | None = None) -> bool:
        """Whether no check is under way and none is due."""
        # What is under way is due until it is recorded, and may begin while this looks: what is
        # due is read first.
        return not due_feeds(self._context, due_by, 1) and not self._under_way

    def close(self) -> None:
        """End the checks that are under way, and record what they gave."""
        if not self._thread.is_alive():
            return
        self._closing = True
        self._evaluator.close()
        self._fetches.shutdown(wait=True, cancel_futures=True)
        self._events.put(Stop())  # behind all that was fetched
        self._thread.join()

    # In the one thread

    def _work(self) -> None:
        """The checks' thread: handle one message after another, and start fetches.

        A message is a tick, a fetched answer, an evaluation or the stop; fetches are started for
        which there is room.
        """
        stopped = False
        while not (stopped and self._events.empty()):
            event = self._next_event()
            try:
                match event:
                    case Tick():
                        self._tick_pending = False
                        self._queue_due(event.due_by)
                    case FetchEnded():
                        self._take_answer(event)
                    case EvaluationEnded():
                        self._take_evaluation(event)
                    case Stop():
                        self._evaluations.shutdown(wait=True, cancel_futures=True)
                        stopped = True
                if self._unchanged and (stopped or self._unchanged.is_due(len(self._under_way))):
                    self._under_way.difference_update(self._unchanged.write())
                    self._recovering = False
                if self._given_up:
                    self._context.store.feeds.give_back(self._given_up)
                    self._given_up.clear()
                self._start_fetches()
            except StoreError as error:
                self._store_error, self._recovering = error, True
                self._give_up()
            except Exception:
                log.exception("checks: a bug has stopped them; they start again at the next tick")
                self._give_up()

    def _next_event(self) -> Event | None:
        """Wait for an event; None once a host may be asked or a batch must be written."""
        now = time.monotonic()
        start = self._hosts.wait(now) if self._has_room() else None
        start = max(start, self._next_start - now) if start is not None else None
        waits = (start, self._unchanged.wait(now))
        try:
            return self._events.get(timeout=min((w for w in waits if w is not None), default=None))
        except Empty:
            return None

    def _give_up(self) -> None:
        """Start nothing more until the next tick. What was not written is still due."""
        self._forget_queue()
        self._end_unrecorded(*self._unchanged.clear())

    def _forget_queue(self) -> None:
        self._under_way.difference_update(queued.feed for queued in self._hosts.clear())

    def _end_unrecorded(self, *feeds: int) -> None:
        """End the checks of these feeds, which are still due."""
        self._under_way.difference_update(feeds)
        self._given_up.update(feeds)

    def _queue_due(self, due_by: datetime | None) -> None:
        """Queue the feeds that are due behind those that wait for the same host."""
        now = time.monotonic()
        if self._context.stopping.is_set():
            return
        if (peers := frozenset(self._context.peers)) != self._peers:
            self._peers = peers
            self._forget_queue()  # some of their hosts are another daemon's now
        is_early = len(self._hosts) >= MANY_QUEUED_CHECKS and now < self._next_query
        if is_early or (due_by is None and not self._recovering and self._idle.lasts()):
            return
        self._next_query = now + QUERY_INTERVAL
        for due in due_feeds(self._context, due_by, but=self._under_way):
            queued = QueuedCheck(feed=due.id, name=due.name, host=due.host)
            self._under_way.add(queued.feed)
            self._hosts.add(queued.host, queued)
        if not self._under_way:
            self._recovering = False
            self._idle.begin(self._context.store.feeds.next_due)

    def _has_room(self) -> bool:
        """Whether another feed may be fetched."""
        room = self._fetching < MAX_CONCURRENT_FETCHES and self._evaluating < MAX_DOCUMENTS
        return room and not self._closing and not self._context.stopping.is_set()

    def _start_fetches(self) -> None:
        """Start the checks of all feeds whose turn has come, and that are still to be checked."""
        now = time.monotonic()
        if not self._has_room() or now < self._next_start:
            return
        turn = self._hosts.take(now, MAX_CONCURRENT_FETCHES - self._fetching)
        self._next_start = now + START_INTERVAL if turn else 0.0
        left = {queued.feed: queued.host for queued in turn}
        try:
            for check in self._taken(turn) if turn else ():
                with self._isolated(check.feed.id, check.feed.name):
                    if self._start_fetch(check):
                        del left[check.feed.id]
        finally:
            for host in left.values():
                self._hosts.done(host, time.monotonic())
            self._end_unrecorded(*left)

    def _taken(self, turn: Sequence[QueuedCheck]) -> list[Check]:
        """The checks of those feeds that no other daemon checks, by what is known of them now."""
        try:
            with self._context.steady:
                now, plan = self._context.clock(), self._context.plan
                ids, longest = [one.feed for one in turn], horizon(plan.longest_interval)
                feeds = {one.id: one for one in self._context.store.feeds.take(ids, now, longest)}
        except StoreError:
            raise
        except Exception:  # a row that cannot be read must not keep the others waiting
            if len(turn) > 1:
                return [check for one in turn for check in self._taken([one])]
            with self._isolated(turn[0].feed, turn[0].name):
                raise
            return []
        return [
            Check(
                feed=feed_lifecycle.read_by(feed, source.rules.media_types, now),
                source=source,
                host=queued.host,
                began=time.monotonic(),
            )
            for queued in turn
            if (feed := feeds.get(queued.feed)) is not None
            and (source := plan.sources.get(feed.name)) is not None
            and source.url == feed.url
        ]

    def _start_fetch(self, check: Check) -> bool:
        """Start the request of a check; False if no other one begins any more."""
        try:
            answer = self._fetches.submit(self._fetch, check)
        except RuntimeError:  # the pool's word for "shut down", which may come since `_has_room`
            if self._closing:
                return False
            raise
        self._fetching += 1
        answer.add_done_callback(lambda done: self._events.put(FetchEnded(check, done)))
        return True

    def _take_answer(self, event: FetchEnded) -> None:
        """Have a document evaluated; add any other answer to the batch."""
        check, feed = event.check, event.check.feed
        if event.answer.cancelled():  # by `close`
            self._end_unrecorded(feed.id)
            return
        with self._isolated(feed.id, feed.name):
            self._fetching -= 1
            self._hosts.done(check.host, time.monotonic())
            answer = event.answer.result()
            if isinstance(answer, Document):
                self._evaluating += 1
                evaluation = self._evaluations.submit(self._evaluate, check, answer)
                evaluation.add_done_callback(
                    lambda done: self._events.put(EvaluationEnded(check, answer, done))
                )
            elif self._context.count_check(check, answer):
                now, interval = self._context.clock(), check.source.check_interval
                is_pushed = feed.name in self._context.pushed
                after = feed_lifecycle.checked(
                    feed, answer, None, now, interval, is_pushed=is_pushed
                )
                self._unchanged.add(feed, after)
            else:
                self._end_unrecorded(feed.id)

    def _take_evaluation(self, event: EvaluationEnded) -> None:
        """Record what a document means; add it to the batch if that is nothing new."""
        check, document, feed = event.check, event.document, event.check.feed
        if event.evaluation.cancelled():  # by `close`
            self._end_unrecorded(feed.id)
            return
        with self._isolated(feed.id, feed.name):
            self._evaluating -= 1
            evaluation = event.evaluation.result()
            if not self._context.count_check(check, evaluation.outcome):
                self._end_unrecorded(feed.id)
            elif evaluation.is_nothing_new and feed.expected_by is not None:
                after = feed_after(self._context, check, document, evaluation)
                self._unchanged.add(feed, after, evaluation.kept)
            else:
                record(self._context, check, document, evaluation)
                self._recovering = False
                self._under_way.discard(feed.id)

    @contextmanager
    def _isolated(self, feed_id: int, name: str) -> Iterator[None]:
        """Keep a bug that one feed brings out from the others.

        The feed is checked again only after a while, so that the bug does not repeat at once.
        """
        try:
            yield
        except StoreError:
            self._end_unrecorded(feed_id)
            raise
        except Exception as error:
            self._end_unrecorded(feed_id)
            log.exception("feed %s: a bug has ended the check", name, extra={"feed": name})
            reason = f"a bug in feedwatch: {type(error).__name__}"
            again = self._context.clock() + RETRY_AFTER_BUG
            self._context.store.feeds.put_off(feed_id, again, reason)

    # In the threads of the pools

    def _evaluate(self, check: Check, document: Document) -> Evaluation:
        """Evaluate a document, and pack it to be kept where the feed is served."""
        evaluation = self._evaluator.evaluate(check.feed, check.source, document)
        is_served = self._context.plan.serves(check.source)
        if not is_served or isinstance(evaluation.outcome, Failed):
            return evaluation
        packed, name = self._parser.pack(document), check.feed.name
        if self._closing:
            return Evaluation(outcome=Failed("feedwatch stopped"))  # it may be broken off
        kept = KeptDocument(body=None, url=document.url, at=self._context.clock())
        if isinstance(packed, Failed):
            problem = f"{packed.reason}: the last one that was good is served on"
            log.warning("feed %s: %s", name, problem, extra={"feed": name})
            kept = replace(kept, problem=problem)
        else:
            kept = replace(kept, body=packed)
        return replace(evaluation, kept=kept)

    def _fetch(self, check: Check) -> Fetched | Same:
        """One GET, conditional where possible; `Same` if the document is the last one again."""
        feed = check.feed
        conditional = feed_lifecycle.may_ask_conditionally(feed, self._context.clock())
        known, moved = feed if conditional else None, redirects.address_of(feed)
        needed_again = feed.full_reads_requested != feed.full_reads_done
        last = feed if not needed_again else None
        fetched = fetch(self._client, check.source, known, moved, last)
        if isinstance(fetched, Document) and feed.baseline_at is None:
            fetched = with_pages(self._client, check.source, fetched, feed.failures)
        if not isinstance(fetched, Document):
            return fetched
        if fetched.unread_page is not None and self._context.stopping.is_set():
            return Failed("feedwatch stopped")  # we broke it off: the first run is not over yet
        document = hashed(fetched, check.source.rules)
        if needed_again or not is_same_body(document.body_hash, feed.body_hash):
            return document
        return Same(document=document)
