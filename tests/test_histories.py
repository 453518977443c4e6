"""What may happen to a feed over time, in any order: nothing is submitted twice and nothing lost.

Each change of the feed is followed by a check, which a crash may interrupt. The test knows the
episodes by numbers of its own, which are in the descriptions: feedwatch looks at those for nothing.
"""

import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from feedwatch.core.episode import Episode, State
from feedwatch.core.feed import Document, Failed, Feed, Item, ParsedFeed
from feedwatch.core.feed_lifecycle import checked
from feedwatch.core.identity import Key, KeyKind
from feedwatch.core.settings import FeedConfig, FirstRun, OnReplaced, Policy, Rules
from feedwatch.processors.inlet import Inlet
from feedwatch.store.checks import CheckStore
from feedwatch.store.store import Store
from feedwatch.watcher.context import Check, Context, Plan
from feedwatch.watcher.evaluate import decisions_for, record
from feedwatch.watcher.evaluation import Evaluation
from feedwatch.watcher.restore import NextImport
from feedwatch.watcher.unchanged import UnchangedBatch
from tests.empty_database import empty_database
from tests.support import one_in

START = datetime(2026, 1, 1, 6, 30, tzinfo=UTC)
CHAINS = ("", "pdst.fm/e/", "dts.podtrac.com/redirect.mp3/chrt.fm/track/AB12/", "op3.dev/e/")
FLOOD_LIMIT = 5
MOST = 12  # items that a feed starts with


@dataclass(frozen=True, kw_only=True)
class Publication:
    """An episode as its feed shows it now; the number is the test's, and never changes."""

    number: int
    guid: str | None
    title: str
    about: str
    host: str
    name: str
    when: datetime
    seconds: int | None
    chain: str = ""
    scheme: str = "https"

    def item(self) -> Item:
        return Item(
            guid=self.guid,
            title=self.title,
            description=f"#{self.number} {self.about}",
            enclosure_url=f"{self.scheme}://{self.chain}{self.host}/e{self.number}-{self.name}.mp3",
            published_at=self.when,
            duration=self.seconds,
        )


APIS = {"inlet": "https://api.example:443"}


class CrashError(Exception):
    """Here the process dies."""


class Histories(RuleBasedStateMachine):
    """A publisher, a feed, and the checks of it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "feedwatch.db"
        shutil.copy(empty_database(), self.path)
        self.now = START + timedelta(days=400)
        self.shown: list[Publication] = []
        self.gone: list[Publication] = []
        self.older: list[list[Publication]] = []
        self.looked_at: set[int] = set()  # numbers that were in a document that was taken in
        self.etags = 0
        self.etag: str | None = None  # of the last document that was taken in
        self.count = 0
        self.fresh = 0  # makes names that were never used
        self.with_guids = True
        self.source = FeedConfig(
            name="show",
            url="https://h.example/feed",
            podcast_id="podcast-1",
            check_interval=timedelta(minutes=15),
            rules=Rules(
                first_run=FirstRun(everything=True),
                flood_limit=FLOOD_LIMIT,
                on_replaced=OnReplaced.HOLD,
            ),
        )
        self.begin()

    def teardown(self) -> None:
        self.end()
        shutil.rmtree(self.folder)

    # The process

    def begin(self) -> None:
        self.store = Store(f"sqlite:///{self.path}", processor="inlet", may_create=True)
        self.store.feeds.sync([self.source], {"show": self.now})
        http = httpx.Client(verify=False)
        plan = Plan(sources={"show": self.source}, policy=Policy())
        context = Context(
            store=self.store, processors={"inlet": Inlet(http)}, plan=plan, clock=lambda: self.now
        )
        self.http, self.context = http, context

    def end(self) -> None:
        self.http.close()
        self.store.close()

    @property
    def feed(self) -> Feed:
        return self.store.feeds.all()[0]

    def rows(self) -> dict[int, list[Episode]]:
        """The episodes by the test's numbers."""
        rows: dict[int, list[Episode]] = {}
        for episode in self.store.episodes.find():
            rows.setdefault(number_in(episode.description or ""), []).append(episode)
        return rows

    def check(self, shown: list[Publication] | None = None) -> None:
        """One check of what the feed shows, in one piece."""
        shown = self.shown if shown is None else shown
        self.now += timedelta(hours=1)
        self.etags += 1
        items = tuple(one.item() for one in shown)
        etag = f'"{self.etags}"'
        document = Document(body=b"", url=self.source.url, etag=etag)
        before = self.rows()
        parsed = ParsedFeed(title="A show", items=items)
        check = Check(feed=self.feed, source=self.source, host="")
        decisions = decisions_for(
            self.store, check.feed, self.source, parsed, APIS, self.now, NextImport()
        )
        reading = Evaluation(outcome=parsed, decisions=decisions)
        record(self.context, check, document, reading)
        if items:
            self.etag = etag
        numbers = {one.number for one in shown}
        self.judge(before, numbers - self.looked_at)
        self.looked_at |= numbers

    def judge(self, before: dict[int, list[Episode]], fresh: set[int]) -> None:
        """What is truly new is there now, queued or held; what is not is not queued."""
        after = self.rows()
        queued = set()
        for number, rows in after.items():
            old = {one.id for one in before.get(number, ())}
            for one in (one for one in rows if one.id not in old):
                assert one.state in (State.QUEUED, State.HELD), one
                if one.state is State.QUEUED:
                    assert number in fresh, f"{one.title} is not new: {one.reason}"
                    queued.add(number)
        assert fresh <= after.keys(), "a new episode is lost"
        if self.looked_at:
            assert len(queued) <= FLOOD_LIMIT

    def change(self, *changed: Publication) -> None:
        """Some items of the feed are not what they were."""
        self.older.append(self.shown)
        new = {one.number: one for one in changed}
        self.shown = [new.get(one.number, one) for one in self.shown]
        self.check()

    # What a publisher does

    def new_name(self) -> str:
        self.fresh += 1
        return f"x{self.fresh}"

    def publication(self, days: int, seconds: int | None) -> Publication:
        self.count += 1
        return Publication(
            number=self.count,
            guid=self.new_name() if self.with_guids else None,
            title=f"Episode {self.count}",
            about="",
            host="m.example",
            name="a",
            when=START + timedelta(days=days, minutes=7 * self.count, seconds=self.count),
            seconds=None if seconds is None else seconds + 700 * self.count,
        )

    lengths = st.sampled_from([None, 900])

    @initialize(size=st.integers(1, MOST), with_guids=st.booleans(), seconds=lengths)
    def begins(self, size: int, *, with_guids: bool, seconds: int | None) -> None:
        self.with_guids = with_guids
        self.shown = [self.publication(days, seconds) for days in range(size)]
        self.check()
        states = {one.state for rows in self.rows().values() for one in rows}
        assert states == {State.QUEUED}

    @rule(days=st.integers(0, 60), seconds=lengths, number=st.sampled_from([1, 1, 1, 2, 5, 6, 9]))
    def publishes(self, days: int, seconds: int | None, number: int) -> None:
        """Also what is dated back."""
        self.older.append(self.shown)
        self.shown = [self.publication(days, seconds) for _ in range(number)] + self.shown
        self.check()

    @rule(days=st.integers(0, 60))
    @precondition(lambda self: len(self.shown) > 1)
    def rolls_on(self, days: int) -> None:
        """One comes and the last one goes."""
        self.older.append(self.shown)
        self.gone.append(self.shown[-1])
        self.shown = [self.publication(days, 900), *self.shown[:-1]]
        self.check()

    def one(self, place: int) -> Publication:
        return self.shown[place % len(self.shown)]

    places = st.integers(0, 20)
    has_items = precondition(lambda self: bool(self.shown))

    @has_items
    @rule(place=places)
    def edits_a_description(self, place: int) -> None:
        self.change(replace(self.one(place), about=self.new_name()))

    @has_items
    @rule(place=places)
    def edits_a_title(self, place: int) -> None:
        self.change(replace(self.one(place), title=f"Edited {self.new_name()}"))

    @has_items
    @rule(place=places, hours=st.integers(-50, 50))
    def edits_a_date(self, place: int, hours: int) -> None:
        one = self.one(place)
        self.change(replace(one, when=one.when + timedelta(hours=hours, seconds=one.number)))

    @has_items
    @rule(place=places)
    def gives_another_guid(self, place: int) -> None:
        if self.with_guids:
            self.change(replace(self.one(place), guid=self.new_name()))

    @precondition(lambda self: len(self.shown) > 1)
    @rule(place=places)
    def deletes(self, place: int) -> None:
        one = self.one(place)
        self.older.append(self.shown)
        self.gone.append(one)
        self.shown = [other for other in self.shown if other is not one]
        self.check()

    @precondition(lambda self: bool(self.gone))
    @rule(place=places)
    def restores(self, place: int) -> None:
        one = self.gone.pop(place % len(self.gone))
        if one.number not in {other.number for other in self.shown}:
            self.older.append(self.shown)
            self.shown = [*self.shown, one]
            self.check()

    @rule(shuffled=st.randoms(use_true_random=False))
    def reorders(self, shuffled: object) -> None:
        shown = list(self.shown)
        shuffled.shuffle(shown)  # type: ignore[attr-defined]
        self.shown = shown
        self.check()

    @rule(same_names=st.booleans())
    def moves_to_another_host(self, *, same_names: bool) -> None:
        host = f"{self.new_name()}.example"
        self.change(
            *(
                replace(one, host=host, name=one.name if same_names else self.new_name())
                for one in self.shown
            )
        )

    @rule(chain=st.sampled_from(CHAINS), scheme=st.sampled_from(["http", "https"]))
    def is_counted_by_another_service(self, chain: str, scheme: str) -> None:
        self.change(*(replace(one, chain=chain, scheme=scheme) for one in self.shown))

    @precondition(lambda self: self.may_be_issued_anew)
    @rule(days=st.integers(100, 300))
    def is_issued_anew(self, days: int) -> None:
        """Guids, addresses and dates are new; the titles are kept."""
        host = f"{self.new_name()}.example"
        self.change(
            *(
                replace(
                    one,
                    guid=self.new_name() if self.with_guids else None,
                    host=host,
                    name=self.new_name(),
                    when=one.when + timedelta(days=days, seconds=17 * one.number),
                )
                for one in self.shown
            )
        )

    @property
    def may_be_issued_anew(self) -> bool:
        """Whether feedwatch can tell it: a feed of one item rolls."""
        return len(self.shown) == self.feed.item_count > 1

    # What the network and the machine do

    @precondition(lambda self: bool(self.older))
    @rule(back=st.integers(0, 8))
    def an_older_copy_is_served(self, back: int) -> None:
        older = self.older[-1 - back % len(self.older)]
        before = self.rows()
        self.check(older)
        assert self.rows().keys() == before.keys()

    @rule()
    def an_error_page_is_served(self) -> None:
        before, etag = self.rows(), self.feed.etag
        interval, batch = self.source.check_interval, UnchangedBatch(self.context)
        batch.add(self.feed, checked(self.feed, Failed("no feed"), None, self.now, interval))
        batch.write()
        assert (self.rows(), self.feed.etag) == (before, etag)

    @rule()
    def the_process_is_restarted(self) -> None:
        self.end()
        self.begin()
        self.check()

    @rule(days=st.integers(0, 60), point=st.sampled_from(["before", "within", "after"]))
    def the_process_dies_as_an_episode_is_published(self, days: int, point: str) -> None:
        self.older.append(self.shown)
        self.shown = [self.publication(days, 900), *self.shown]
        before, etag = self.rows(), self.feed.etag
        looked_at, last = set(self.looked_at), self.etag
        try:
            with dying(point):
                self.check()
        except CrashError:
            self.looked_at, self.etag = looked_at, last
        if point != "after":
            assert (self.rows(), self.feed.etag) == (before, etag), "all of it or nothing"
        else:
            assert self.feed.etag == f'"{self.etags}"'
            assert self.shown[0].number in self.rows()
            self.looked_at |= {one.number for one in self.shown}
            self.etag = self.feed.etag
        self.end()
        self.begin()
        self.check()

    # What always holds

    @invariant()
    def no_episode_is_queued_twice(self) -> None:
        queued = Counter(
            number
            for number, rows in self.rows().items()
            for one in rows
            if one.state is State.QUEUED
        )
        assert [number for number, count in queued.items() if count > 1] == []

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.rows().keys() == self.looked_at

    @invariant()
    def the_validators_are_those_of_the_last_document_taken_in(self) -> None:
        assert self.feed.etag == self.etag

    @invariant()
    def every_key_leads_to_the_episode_that_has_it(self) -> None:
        seen: dict[Key, int] = {}
        for number, rows in self.rows().items():
            for one in rows:
                for key in self.store.episodes.keys(one.id):
                    assert seen.setdefault(key, one.id) == one.id
                    if key.kind is KeyKind.FILE:
                        found = re.search(r"/e(\d+)-", key.value)
                        assert found is not None
                        assert int(found[1]) == number, key
        for shown in self.shown:
            if shown.guid is not None and shown.number in self.looked_at:
                assert Key(KeyKind.GUID, shown.guid) in seen


def number_in(description: str) -> int:
    found = re.match(r"#(\d+)", description)
    assert found is not None
    return int(found[1])


@contextmanager
def dying(point: str) -> Iterator[None]:
    """Die before the transaction of a check, in the middle of it, or once it is committed."""
    record = CheckStore.record

    def dies(*_: object, **__: object) -> None:
        raise CrashError

    def commits_and_dies(store: CheckStore, *arguments: object, **named: object) -> None:
        record(store, *arguments, **named)  # type: ignore[arg-type]
        raise CrashError

    target, instead = {
        "before": ("feedwatch.store.checks.CheckStore.record", dies),
        "within": ("feedwatch.store.checks._admit", dies),
        "after": ("feedwatch.store.checks.CheckStore.record", commits_and_dies),
    }[point]
    with mock.patch(target, instead):
        yield


@pytest.mark.parametrize("examples", one_in(2, [6, 40]))
def test_in_any_history_nothing_is_submitted_twice_and_nothing_is_lost(examples: int) -> None:
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],  # an example found is short enough; to shrink it is slow
            suppress_health_check=list(HealthCheck),
        ),
    )
