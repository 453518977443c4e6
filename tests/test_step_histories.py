"""Whatever happens on the way through several steps, each is paid for once unless a person asks.

Both APIs, the network, the process, the database's file, the config and a person do what they like,
in any order. What is counted are the POSTs that reached an API and were taken, or may have been.
"""

import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

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
from feedwatch.core.pipeline import Step, steps_from
from feedwatch.processors.inlet import Inlet
from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.server import Sandbox
from feedwatch.store.claims import ClaimStore
from feedwatch.store.episodes import EpisodeStore
from feedwatch.store.journal import Journal
from feedwatch.watcher import decisions
from feedwatch.watcher.decisions import Proposal
from feedwatch.watcher.errors import RequestError
from feedwatch.watcher.repetitions import passing_over, repetition
from tests.helper_api import Helper, HelperApi
from tests.support import KEY, PODCAST, FeedServer, one_in
from tests.test_steps import Piped
from tests.world import World

PIPELINES = ("enhance,ads", "enhance?,ads", "diagnose,enhance,ads", "diagnose?,enhance?,ads", "ads")
MOST = 4  # episodes
# Where the process dies: in the transaction's place, before what is named or right after it.
POINTS = [
    (owner, method, side)
    for owner, method in (
        (Helper, "submit"),
        (Inlet, "submit"),
        (ClaimStore, "settle"),
        (EpisodeStore, "save"),
        (Journal, "append_outcome"),
    )
    for side in ("before", "after")
]


class CrashError(BaseException):
    """Here the process dies; no bug's handler may catch it."""


@contextmanager
def dying(owner: Any, method: str, side: str) -> Iterator[None]:
    """Die before or after this function; nothing more is done by then."""
    original = getattr(owner, method)

    def dies(*arguments: Any, **named: Any) -> None:
        if side == "after":
            original(*arguments, **named)
        raise CrashError

    with mock.patch.object(owner, method, dies):
        yield


def refusing(how: str) -> Callable[[dict[str, Any]], bool]:
    """Whether the helper API refuses what it is sent."""
    return lambda _: how == "refuses"


class Steps(RuleBasedStateMachine):
    """A feed with a pipeline, two APIs, and all that may go wrong between them."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.ends = ExitStack()
        self.sandbox = self.ends.enter_context(
            Sandbox(api_key=KEY, podcasts={PODCAST: "The show"}, job_seconds=0.0)
        )
        self.api = self.ends.enter_context(HelperApi())
        self.feeds = self.ends.enter_context(FeedServer())
        self.pipeline = "enhance,ads"
        self.count = 0
        self.asked: Counter[tuple[str, str]] = Counter()  # by a person, by title and step
        self.copy: Path | None = None
        self.database = self.folder / "a.db"
        self.begin(World(self.database, self.sandbox, self.feeds))

    def teardown(self) -> None:
        self.end()
        self.ends.close()
        shutil.rmtree(self.folder)

    # The process

    def begin(self, world: World) -> None:
        self.world = world
        self.one = Piped(world, self.api)
        self.started()

    def started(self) -> None:
        """What a process does at its start."""
        world = self.world
        self.one.attach()
        self.one.configure(self.pipeline)
        places = [self.folder / "claims"]
        world.context.journal = Journal(places, world.store.claims.database_id().id)
        world.submissions.recover()

    def end(self) -> None:
        self.one.close()
        self.world.end()
        self.world.store.close()

    def restart(self) -> None:
        self.world.restart()
        self.started()

    # What the world does

    @initialize(pipeline=st.sampled_from(PIPELINES))
    def begins(self, pipeline: str) -> None:
        self.pipeline = pipeline
        self.one.configure(pipeline)
        self.publishes()

    @precondition(lambda self: self.count < MOST)
    @rule()
    def publishes(self) -> None:
        self.count += 1
        self.feeds.publish(*range(self.count, 0, -1))
        self.world.later(hours=1)
        self.world.check()

    @rule(rounds=st.integers(1, 3))
    def all_goes_well(self, rounds: int) -> None:
        for job in self.api.jobs:
            if job.state["status"] == "Running":
                job.state = {"status": "Success"}
        for _ in range(rounds):
            self.goes_on(hours=7)  # so that no breaker is tripped any more

    def goes_on(self, hours: int) -> None:
        self.world.submit()
        self.world.later(hours=hours)
        self.world.poll()

    @rule(how=st.sampled_from(["down", "forgets", "refuses", "Failed", "Running"]))
    def the_helper_fails(self, how: str) -> None:
        api = self.api
        api.is_down, api.forgets, api.refuses = how == "down", how == "forgets", refusing(how)
        api.next_state = {"status": how if how in ("Failed", "Running") else "Success"}
        self.goes_on(hours=1)
        api.is_down, api.forgets, api.refuses = False, False, refusing("")
        api.next_state = {"status": "Success"}

    @rule(kind=st.sampled_from(["drop_after", "drop_before", "junk", "refuse"]))
    def the_other_api_fails(self, kind: Any) -> None:
        self.sandbox.faults.add(Fault("submit", kind, api="inlet"))
        self.goes_on(hours=1)
        self.sandbox.faults.clear()

    @rule(point=st.sampled_from(POINTS))
    def the_process_dies(self, point: tuple[Any, str, str]) -> None:
        try:
            with dying(*point):
                self.goes_on(hours=1)
        except CrashError:
            pass
        self.restart()

    @rule(pipeline=st.sampled_from(PIPELINES))
    def the_config_changes(self, pipeline: str) -> None:
        self.pipeline = pipeline
        self.one.configure(pipeline)

    @rule()
    def the_database_is_copied(self) -> None:
        self.copy = self.folder / f"copy-{self.count}.db"
        self.copy.unlink(missing_ok=True)
        with closing(sqlite3.connect(self.database)) as db:
            db.execute("VACUUM INTO ?", (str(self.copy),))

    @precondition(lambda self: self.copy is not None)
    @rule()
    def an_earlier_copy_is_put_back(self) -> None:
        now, sources = self.world.now, self.world.sources
        self.end()
        for suffix in ("-wal", "-shm"):
            Path(f"{self.database}{suffix}").unlink(missing_ok=True)
        shutil.copy(str(self.copy), self.database)
        world = World(self.database, self.sandbox, self.feeds)
        world.now, world.sources = now, sources
        self.begin(world)

    # What a person decides; what is paid for by it is counted as asked for

    numbers = st.integers(0, 9)

    def chosen(self, number: int, *states: State) -> Episode | None:
        found = self.world.store.episodes.find(states=states)
        return found[number % len(found)] if found else None

    def decide(self, proposal: Proposal, *, asks: bool) -> None:
        for before, after in proposal.moves if asks else ():
            if after.state is State.QUEUED:
                self.asked[before.title, after.step] += 1
        self.one.decide(proposal)

    @rule(number=numbers)
    def retries(self, number: int) -> None:
        one = self.chosen(number, State.FAILED, State.UNKNOWN, State.SKIPPED)
        if one is None:
            return
        world, context = self.world, self.world.context
        targets_of = lambda episode: context.plan.targets(episode, context.apis)  # noqa: E731
        arguments = ([one.id], None, world.now, targets_of)
        try:
            found = decisions.retrial(world.store, context.plan, context.processors, *arguments)
        except RequestError:
            return
        self.decide(found, asks=True)

    @rule(number=numbers, start=st.sampled_from(Step))
    def repeats_from_a_step_on(self, number: int, start: Step) -> None:
        one = self.chosen(number, State.READY, State.FAILED)
        if one is None:
            return
        world, plan, apis = self.world, self.world.context.plan, self.world.context.apis
        try:
            found = repetition(
                world.store, plan, [one.id], world.now, lambda e: plan.targets(e, apis), start
            )
            self.one.decide(found)
        except RequestError:
            return
        for step in steps_from(plan.sources["show"].pipeline, start):
            self.asked[one.title, step] += 1

    @rule(number=numbers)
    def passes_over_a_step(self, number: int) -> None:
        one = self.chosen(number, State.UNKNOWN, State.FAILED, State.QUEUED)
        if one is None:
            return
        try:
            found = passing_over(
                self.world.store, self.world.context.plan, [one.id], self.world.now
            )
        except RequestError:
            return
        self.decide(found, asks=False)

    # What always holds

    @invariant()
    def each_step_is_paid_for_once_unless_a_person_asked(self) -> None:
        sent: Counter[tuple[str, str]] = Counter(
            (task["name"], task["step"]) for task in self.api.perhaps_taken
        )
        sent += Counter(
            (one.body["name"], "ads")
            for one in self.sandbox.submissions
            if isinstance(one.body, dict) and (one.status is None or one.status < 400)
        )
        twice = {what: n for what, n in sent.items() if n > 1 + self.asked[what]}
        assert not twice, f"{twice}, asked for: {dict(self.asked)}"


@pytest.mark.parametrize("examples", one_in(2, [6, 60]))
def test_in_any_history_each_step_is_paid_for_once_unless_a_person_asked(examples: int) -> None:
    run_state_machine_as_test(
        Steps,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
