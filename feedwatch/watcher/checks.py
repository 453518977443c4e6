"""The first duty: look at the feeds that are due and take in what is new.

    tick → the feeds that are due → wait for their host → fetch ── as it was → written, many at once
                                                             └── a document → read → written

One thread starts and writes everything. Requests and documents are in threads of their own, so
that no server and no document keeps the others waiting.
"""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TypeVar
from urllib.parse import urlsplit

import httpx

from feedwatch import lifecycle, moving
from feedwatch.admission import Decision, Verdict
from feedwatch.digest import body_mark
from feedwatch.fetch import fetch
from feedwatch.health import CHECKS
from feedwatch.model import (
    Address,
    Document,
    Failed,
    Feed,
    Fetched,
    Gone,
    NotModified,
    ParsedFeed,
    Same,
    Source,
    State,
)
from feedwatch.store import Admission, Due, StoreError
from feedwatch.timing import horizon
from feedwatch.watcher.context import Context, Outcome
from feedwatch.watcher.pace import Pace
from feedwatch.watcher.reading import DocumentParser, Reader, Reading

log = logging.getLogger(__name__)

Found = TypeVar("Found")

FETCHES_AT_ONCE = 48  # a host that never answers takes two of them
READS_AT_ONCE = 4  # two of them may wait for slow documents
WAIT_AT_MOST = 50_000  # feeds; each is but a name and a host until its turn has come
MANY = 64  # wait: others that are due are looked for less often
LOOK_AGAIN = 10.0  # seconds
DOCUMENTS_AT_ONCE = 24  # in memory, to be read
WRITE_AT_ONCE = 100  # checks that found nothing new, in one transaction
WRITE_WITHIN = 1.0  # seconds that the first of them waits for others
PUT_OFF = timedelta(minutes=5)  # a feed whose check failed in a way that nobody foresaw


@dataclass(frozen=True, kw_only=True)
class _Turn:
    """A feed that waits for its host. What is known of it is read when its turn has come."""

    feed: int  # its id
    name: str
    host: str


@dataclass(frozen=True, kw_only=True)
class _Check:
    """One feed on its way, and the settings by which it is checked, whatever these become."""

    feed: Feed
    source: Source
    host: str
    begun: float = 0.0  # by the monotonic clock


class Checks:
    """Checks what is due. `tick` asks for it and returns at once."""

    def __init__(self, context: Context, client: httpx.Client, parser: DocumentParser) -> None:
        self._context = context
        self._client = client
        self._reader = Reader(context.store, parser)
        self._pace: Pace[_Turn] = Pace()
        self._look_again = 0.0  # for others that are due, while many wait; by the monotonic clock
        self._under_way: set[int] = set()  # ids of feeds, from waiting to written
        self._fetching = self._reading = 0
        self._fetches = ThreadPoolExecutor(FETCHES_AT_ONCE, thread_name_prefix="fetch")
        self._reads = ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="read")
        self._events: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._unchanged: list[tuple[Feed, Feed]] = []  # before and after, not written yet
        self._write_by = 0.0  # these, by the monotonic clock
        self._asked = self._answered = 0  # ticks
        self._trouble: StoreError | None = None  # not told yet
        self._closing = False
        self._ailing = False  # there was trouble, and nothing could be written since
        self._thread = Thread(target=self._work, name="checks", daemon=True)
        self._thread.start()

    def tick(self, due_by: datetime | None = None) -> bool:
        """Have what is due checked; with `due_by`, what was due then.

        False if what was asked before is not even begun, as something takes its time, or if it is
        not certain yet that a trouble is over. Raises the `StoreError` that has stopped the work
        since.
        """
        trouble, self._trouble = self._trouble, None
        if trouble is not None:
            raise trouble
        if self._answered < self._asked:
            return False
        self._asked += 1
        self._events.put(lambda: self._begin(due_by))
        return not self._ailing

    def is_idle(self, due_by: datetime | None = None) -> bool:
        """Whether nothing is under way and nothing is due."""
        # What is under way is due until it is written. It may begin while this looks, so it is
        # looked for among what is due first.
        return not self._due(due_by, 1, but=set()) and not self._under_way

    def close(self) -> None:
        """End what is under way, and write down what it gave."""
        if not self._thread.is_alive():
            return
        self._closing = True
        self._reader.close()
        self._fetches.shutdown(wait=True, cancel_futures=True)
        passed_on = Event()
        self._events.put(passed_on.set)  # what was fetched last is with the readers then
        passed_on.wait()
        self._reads.shutdown(wait=True, cancel_futures=True)
        self._events.put(None)
        self._thread.join()

    # The one thread

    def _work(self) -> None:
        going_on = True
        while going_on:
            events = self._next_events()
            going_on = None not in events
            for step in filter(None, events):
                self._take(step)
            if not going_on or self._is_time_to_write():
                self._take(self._write_unchanged)
            self._take(self._start)

    def _take(self, step: Callable[[], None]) -> None:
        try:
            step()
        except StoreError as error:
            self._trouble, self._ailing = error, True
            self._give_up()
        except Exception:
            log.exception("checks: something failed that was not foreseen; begun anew")
            self._give_up()

    def _give_up(self) -> None:
        """Begin nothing more until the next tick. What is not written down is still due."""
        self._under_way.difference_update(turn.feed for turn in self._pace.clear())
        self._under_way.difference_update(after.id for _, after in self._unchanged)
        self._unchanged = []

    def _next_events(self) -> list[Callable[[], None] | None]:
        """All that has happened; waits for it until another host may be asked."""
        now = time.monotonic()
        wait = self._pace.wait(now) if self._is_free() else None
        if self._unchanged:
            write_in = max(self._write_by - now, 0.0)
            wait = write_in if wait is None else min(wait, write_in)
        events: list[Callable[[], None] | None] = []
        with suppress(Empty):
            events.append(self._events.get(timeout=wait))
            while True:
                events.append(self._events.get_nowait())
        return events

    def _begin(self, due_by: datetime | None) -> None:
        """Have what is due wait for its turn."""
        self._answered += 1
        now = time.monotonic()
        if self._context.stopping.is_set():
            return
        if len(self._pace) >= MANY and now < self._look_again:
            return
        self._look_again = now + LOOK_AGAIN
        for due in self._due(due_by, WAIT_AT_MOST, but=self._under_way):
            turn = _Turn(feed=due.id, name=due.name, host=urlsplit(due.url).netloc)
            self._under_way.add(turn.feed)
            self._pace.add(turn.host, turn)
        if not self._under_way:
            self._ailing = False

    def _due(self, due_by: datetime | None, limit: int, *, but: set[int]) -> list[Due]:
        now = due_by or self._context.clock()
        longest = horizon(self._context.plan.longest_interval)
        return self._context.store.due_feeds(now, longest, limit, but=but)

    def _is_free(self) -> bool:
        """Whether another feed may be asked for."""
        room = self._fetching < FETCHES_AT_ONCE and self._reading < DOCUMENTS_AT_ONCE
        return room and not self._closing and not self._context.stopping.is_set()

    def _start(self) -> None:
        while self._is_free():
            turn = self._pace.take(time.monotonic())
            if turn is None:
                return
            begun = False
            try:
                begun = self._launch(turn)
            except StoreError:
                raise
            except Exception as error:  # noqa: BLE001 - logged by `_put_off`
                self._put_off(turn.feed, turn.name, error)
            finally:
                if not begun:
                    self._pace.done(turn.host, time.monotonic())
                    self._under_way.discard(turn.feed)

    def _launch(self, turn: _Turn) -> bool:
        """Begin a check, by what is known of the feed now; False if there is no such feed."""
        with self._context.steady:
            feed = self._context.store.feed(turn.feed)
            source = self._context.plan.sources.get(turn.name)
        if feed is None or not feed.active or source is None:
            return False
        feed = lifecycle.read_by(feed, source.rules.media_types, self._context.clock())
        check = _Check(feed=feed, source=source, host=turn.host, begun=time.monotonic())
        try:
            future = self._fetches.submit(self._fetch, check)
        except RuntimeError:
            if self._closing:  # since it was seen that there is room
                return False
            raise
        self._fetching += 1
        self._then(future, check, self._fetched)
        return True

    def _then(
        self,
        future: Future[Found],
        check: _Check,
        conclude: Callable[[_Check, Future[Found]], None],
    ) -> None:
        """Once `future` is done, have the one thread conclude the check with it."""

        def concluded(done: Future[Found]) -> None:
            # A broad `except`: a bad feed must not stop the others, nor spin.
            try:
                conclude(check, done)
            except StoreError:
                self._under_way.discard(check.feed.id)
                raise
            except Exception as error:  # noqa: BLE001 - logged by `_put_off`
                self._put_off(check.feed.id, check.feed.name, error)

        def ended(done: Future[Found]) -> None:  # must not hold it: they would hold each other
            if not done.cancelled():  # by `close`: nobody's fault
                self._events.put(partial(concluded, done))

        future.add_done_callback(ended)

    def _fetched(self, check: _Check, fetched: Future[Fetched | Same]) -> None:
        self._fetching -= 1
        self._pace.done(check.host, time.monotonic())
        outcome = fetched.result()
        if isinstance(outcome, Document):
            self._reading += 1
            future = self._reads.submit(self._reader.read, check.feed, check.source, outcome)
            self._then(future, check, partial(self._read, document=outcome))
        else:
            self._conclude(check, outcome)

    def _read(self, check: _Check, reading: Future[Reading], document: Document) -> None:
        self._reading -= 1
        self._record(check, document, reading.result())

    def _conclude(self, check: _Check, outcome: NotModified | Same | Gone | Failed) -> None:
        """Take in a check that found nothing new. It is written together with others."""
        if self._is_void(check, outcome):
            return
        now = self._context.clock()
        after = lifecycle.checked(check.feed, outcome, None, now, check.source.check_interval)
        self._keep(check, after)

    def _keep(self, check: _Check, after: Feed) -> None:
        if not self._unchanged:
            self._write_by = time.monotonic() + WRITE_WITHIN
        self._unchanged.append((check.feed, after))

    def _is_void(self, check: _Check, outcome: Outcome) -> bool:
        """Whether a check is not to be written down. Otherwise it is counted."""
        broken_off = isinstance(outcome, Failed) and self._context.stopping.is_set()  # by us
        if broken_off or check.feed.name not in self._context.plan.sources:
            self._under_way.discard(check.feed.id)
            return True
        self._context.checked(outcome, time.monotonic() - check.begun)
        self._context.worked(CHECKS)
        return False

    def _is_time_to_write(self) -> bool:
        """Whether no others are to be waited for that could be written together with these."""
        alone = len(self._under_way) == len(self._unchanged)
        return alone or len(self._unchanged) >= WRITE_AT_ONCE or time.monotonic() >= self._write_by

    def _write_unchanged(self) -> None:
        if not self._unchanged:
            return
        now = self._context.clock()
        left = {
            after.id: departure
            for before, after in self._unchanged
            if (departure := moving.departure(before, after, now)) is not None
        }
        self._context.store.record_unchanged([after for _, after in self._unchanged], left)
        self._ailing = False
        for before, after in self._unchanged:
            _log_check(before, after, [])
            self._under_way.discard(after.id)
        self._unchanged = []

    def _record(self, check: _Check, document: Document, reading: Reading) -> None:
        """Take in a check that brought a document."""
        feed, now = check.feed, self._context.clock()
        if self._is_void(check, reading.outcome):
            return
        if reading.is_nothing_new and feed.expected_by is not None:
            self._keep(check, self._checked(check, document, reading, [], now))
            return
        new, learned = reading.admissions(feed.name, now)
        after = self._checked(check, document, reading, new, now)
        recorded = self._context.store.record_check(
            after,
            new,
            learned,
            now,
            reading.edited,
            left=moving.departure(feed, after, now),
            descriptions=reading.descriptions if after.answered != feed.answered else None,
            digest=reading.digest,
        )
        self._ailing = False
        if recorded is None:
            self._check_again(feed)
        else:
            _log_check(feed, after, reading.decisions)
        self._under_way.discard(feed.id)

    def _check_again(self, feed: Feed) -> None:
        """Nothing was written. With another address it is due at once, else it must not spin."""
        log.warning(
            "feed %s: changed by someone else meanwhile; checked again",
            feed.name,
            extra={"feed": feed.name},
        )
        current = self._context.store.feed(feed.id)
        if current is not None and current.url == feed.url:
            reason = "another process took in its episodes at the same time"
            self._context.store.put_off(feed.id, self._context.clock() + PUT_OFF, reason)

    def _checked(
        self,
        check: _Check,
        document: Document,
        reading: Reading,
        new: Sequence[Admission],
        now: datetime,
    ) -> Feed:
        unheard = check.feed.expected_by is None and isinstance(reading.outcome, ParsedFeed)
        return lifecycle.checked(
            check.feed,
            reading.outcome,
            document,
            now,
            check.source.check_interval,
            found_new=any(admission.episode.state is not State.SKIPPED for admission in new),
            shown=reading.shown,
            # Of a feed from before there were rhythms, it may be learned now.
            published=self._published(check.feed, new) if new or unheard else None,
        )

    def _published(self, feed: Feed, new: Sequence[Admission]) -> list[datetime]:
        """When the feed's latest episodes were published, those about to be written among them."""
        dates = [one for new_one in new if (one := new_one.episode.published_at) is not None]
        return dates if feed.baseline_at is None else dates + self._context.store.published(feed.id)

    def _put_off(self, feed_id: int, name: str, error: Exception) -> None:
        """A check has failed in a way that nobody foresaw: it must not spin."""
        log.error(
            "feed %s: the check failed in a way that was not foreseen",
            name,
            exc_info=error,
            extra={"feed": name},
        )
        reason = f"a fault of feedwatch's own: {type(error).__name__}"
        self._context.store.put_off(feed_id, self._context.clock() + PUT_OFF, reason)
        self._under_way.discard(feed_id)

    # In threads of their own

    def _fetch(self, check: _Check) -> Fetched | Same:
        """GET the feed, only if it has changed where that may be asked, and compare what comes."""
        feed = check.feed
        conditional = lifecycle.may_ask_conditionally(feed, self._context.clock())
        known, moved = feed if conditional else None, moving.address_of(feed)
        fetched = fetch(self._client, check.source, known, moved)
        if not isinstance(fetched, Document):
            return fetched
        marked = replace(fetched, mark=body_mark(fetched.body, check.source.rules))
        same = feed.asked == feed.answered and feed.body_mark == marked.mark
        return Same(document=marked) if same else marked


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one look at a feed gave: the document, if one came, and what it means."""

    document: Document | None
    outcome: ParsedFeed | NotModified | Gone | Failed


def look(
    client: httpx.Client, parser: DocumentParser, source: Source, moved: Address | None = None
) -> Look:
    """Fetch and read one feed, at `moved` if it has, all of it, whatever is known of it."""
    fetched = fetch(client, source, None, moved)
    if not isinstance(fetched, Document):
        return Look(document=None, outcome=fetched)
    return Look(document=fetched, outcome=parser.parse(fetched, source.rules.media_types))


def _log_check(before: Feed, after: Feed, decisions: Sequence[Decision]) -> None:
    """One line where there is something to say, and none for a check like the one before."""
    _log_address(before, after)
    if after.error is not None:
        if after.error != before.error:
            log.warning("feed %s: %s", after.name, after.error, extra={"feed": after.name})
        return
    if before.error is not None:
        log.info("feed %s: works again", after.name, extra={"feed": after.name})
    _log_silence(before, after)
    counts = {
        verdict: sum(decision.verdict is verdict and decision.is_episode for decision in decisions)
        for verdict in (Verdict.SUBMIT, Verdict.HOLD, Verdict.SKIP)
    }
    if not any(counts.values()):
        return
    log.log(
        logging.WARNING if counts[Verdict.HOLD] else logging.INFO,
        "feed %s: %d new to submit, %d held, %d skipped",
        after.name,
        *counts.values(),
        extra={"feed": after.name},
    )
    if counts[Verdict.HOLD]:
        reason = next(d.reason for d in decisions if d.verdict is Verdict.HOLD)
        log.warning(
            "feed %s: %s; `feedwatch approve --feed %s` or `skip --feed %s` settles it",
            *(after.name, reason, after.name, after.name),
            extra={"feed": after.name},
        )


def _log_address(before: Feed, after: Feed) -> None:
    if before.address == after.address:
        return
    if after.address is None:
        log.warning(
            "feed %s: no more at the address it had moved to, %s; asked for again where the config "
            "says",
            *(after.name, before.address),
            extra={"feed": after.name},
        )
    else:
        log.warning(
            "feed %s: has moved for good and is asked for at %s from now on; set "
            "FEEDWATCH_FEEDS__%s__URL to it",
            *(after.name, after.address, after.name.upper()),
            extra={"feed": after.name},
        )


def _log_silence(before: Feed, after: Feed) -> None:
    if after.silent_since is not None and before.silent_since is None:
        log.warning(
            "feed %s: answers, but nothing new has come for much longer than is usual for it; has "
            "it ended or moved?",
            after.name,
            extra={"feed": after.name},
        )
    elif before.silent_since is not None and after.silent_since is None:
        log.info("feed %s: brings episodes again", after.name, extra={"feed": after.name})
