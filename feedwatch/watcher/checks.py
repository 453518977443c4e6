"""The first duty: look at the feeds that are due and take in what is new."""

import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

import httpx

from feedwatch import lifecycle
from feedwatch.admission import Decision, Verdict, admitted, decide
from feedwatch.fetch import fetch
from feedwatch.health import CHECKS
from feedwatch.identity import edited, keys_of, sightings, title_key
from feedwatch.model import (
    Document,
    Failed,
    Feed,
    Gone,
    NotModified,
    ParsedFeed,
    Source,
    State,
)
from feedwatch.store import Admission, Store, StoreError
from feedwatch.timing import horizon
from feedwatch.watcher.context import Context
from feedwatch.watcher.tasks import Tasks

log = logging.getLogger(__name__)

FETCHES_AT_ONCE = 8
PUT_OFF = timedelta(minutes=5)  # a feed whose check failed in a way that nobody foresaw


class DocumentParser(Protocol):
    """What turns a document into items; see `isolation.Parser`."""

    def parse(self, document: Document, media_types: Sequence[str]) -> ParsedFeed | Failed:
        """Items, or why there are none."""

    def close(self) -> None:
        """Break off what is being parsed."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one look at a feed gave: the document, if one came, and what it means."""

    document: Document | None
    outcome: ParsedFeed | NotModified | Gone | Failed


class Checks:
    """Checks what is due, several feeds at once; decides and writes one after another."""

    def __init__(self, context: Context, client: httpx.Client, parser: DocumentParser) -> None:
        self._context = context
        self._client = client
        self._parser = parser
        self._looks: Tasks[Feed, Look] = Tasks(FETCHES_AT_ONCE, "fetch")

    def tick(self, due_by: datetime | None = None) -> None:
        """Write down what the looks gave that have ended, and begin those that are due.

        With `due_by`, only those that were due then.
        """
        for feed, future in self._looks.finished():
            self._conclude(feed, future)
            self._context.worked(CHECKS)
        if self._context.stopping.is_set():
            return
        for feed in self._due(due_by, self._looks.free):
            source = self._context.plan.sources.get(feed.name)
            if source is not None:
                now = self._context.clock()
                asked = lifecycle.read_by(feed, source.rules.media_types, now)
                self._looks.start(feed.id, asked, partial(self._look_at, source))

    def is_idle(self, due_by: datetime | None = None) -> bool:
        """Whether nothing is under way and nothing is due."""
        return not self._looks.ids and not self._due(due_by, 1)

    def close(self) -> None:
        """End the looks that are under way."""
        self._parser.close()
        self._looks.close()

    def _due(self, due_by: datetime | None, limit: int) -> list[Feed]:
        sources = self._context.plan.sources.values()
        longest = max((one.check_interval for one in sources), default=timedelta())
        now = due_by or self._context.clock()
        return self._context.store.due_feeds(now, horizon(longest), limit, but=self._looks.ids)

    def _look_at(self, source: Source, feed: Feed) -> Look:
        conditional = lifecycle.may_ask_conditionally(feed, self._context.clock())
        begun = time.monotonic()
        found = look(self._client, self._parser, source, feed if conditional else None)
        self._context.checked(found.outcome, time.monotonic() - begun)
        return found

    def _conclude(self, feed: Feed, future: Future[Look]) -> None:
        """The one broad `except` of this duty: a bad feed must not stop the others, nor spin."""
        try:
            self._record(feed, future.result())
        except StoreError:
            raise
        except Exception as error:
            log.exception(
                "feed %s: the check failed in a way that was not foreseen",
                feed.name,
                extra={"feed": feed.name},
            )
            due_at = self._context.clock() + PUT_OFF
            reason = f"a fault of feedwatch's own: {type(error).__name__}"
            broken = replace(feed, due_at=due_at, failures=feed.failures + 1, error=reason)
            self._context.store.put_off(broken)

    def _record(self, feed: Feed, look: Look) -> None:
        source = self._context.plan.sources.get(feed.name)
        if source is None:  # taken out of the config meanwhile
            return
        now, outcome = self._context.clock(), look.outcome
        if isinstance(outcome, Failed) and self._context.stopping.is_set():
            return  # broken off by us: the feed is not to blame
        decisions = (
            decisions_on(self._context.store, feed, source, outcome)
            if isinstance(outcome, ParsedFeed)
            else []
        )
        new, learned = _outcome_of(decisions, feed.name, now)
        after = lifecycle.checked(
            feed,
            outcome,
            look.document,
            now,
            source.check_interval,
            found_new=any(admission.episode.state is not State.SKIPPED for admission in new),
            shown=sum(decision.is_episode for decision in decisions),
        )
        changed = [one for decision in decisions if (one := edited(decision.sighting)) is not None]
        recorded = self._context.store.record_check(after, new, learned, now, changed)
        if recorded is None:
            log.warning(
                "feed %s: changed by someone else meanwhile; checked again",
                feed.name,
                extra={"feed": feed.name},
            )
            return
        _log_check(feed, after, decisions)


def look(client: httpx.Client, parser: DocumentParser, source: Source, known: Feed | None) -> Look:
    """Fetch and read one feed; with `known`, only if it has changed since."""
    fetched = fetch(client, source, known)
    if not isinstance(fetched, Document):
        return Look(document=None, outcome=fetched)
    return Look(document=fetched, outcome=parser.parse(fetched, source.rules.media_types))


def decisions_on(store: Store, feed: Feed, source: Source, parsed: ParsedFeed) -> list[Decision]:
    """What becomes of each item, by what the database knows now."""
    all_keys = keys_of(parsed.items)
    known = store.known(feed.id, [key for keys in all_keys for key in keys])
    titles = {
        title_key(item.title)
        for item, keys in zip(parsed.items, all_keys, strict=True)
        if any(key.startswith("file:") and key not in known for key in keys)
    }
    namesakes = store.namesakes(feed.id, titles)
    found = sightings(parsed.items, all_keys, known, namesakes, shown_before=feed.shown)
    return decide(found, feed, source.rules)


def _outcome_of(
    decisions: Sequence[Decision], feed: str, now: datetime
) -> tuple[list[Admission], dict[str, int]]:
    """The new episodes, the oldest first, and the new keys of known ones.

    An item that repeats one further up gives that one its keys.
    """
    keys: dict[int, list[str]] = defaultdict(list)
    for place, decision in enumerate(decisions):
        twin = decision.sighting.twin
        keys[place if twin is None else twin] += decision.sighting.keys
    admissions: list[Admission] = []
    learned: dict[str, int] = {}
    for place, decision in enumerate(decisions):
        episode = admitted(decision, feed, now)
        known = decision.sighting.known
        if episode is not None:
            admissions.append(
                Admission(episode=episode, keys=keys[place], title_key=title_key(episode.title))
            )
        elif decision.verdict is Verdict.KNOWN and known is not None:
            learned |= dict.fromkeys(keys[place], known.id)
    admissions.sort(key=lambda admission: admission.episode.published_at or now)
    return admissions, learned


def _log_check(before: Feed, after: Feed, decisions: Sequence[Decision]) -> None:
    """One line where there is something to say, and none for a check like the one before."""
    if after.error is not None:
        if after.error != before.error:
            log.warning("feed %s: %s", after.name, after.error, extra={"feed": after.name})
        return
    if before.error is not None:
        log.info("feed %s: works again", after.name, extra={"feed": after.name})
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
