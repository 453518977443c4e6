"""feedwatch's loops in this process, with a clock that the test moves: real HTTP, a real file."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from feedwatch.core.episode import Episode, State
from feedwatch.core.ledger import Claim
from feedwatch.core.settings import FeedConfig, FirstRun, Policy, Rules
from feedwatch.net.client import Cancellation, client
from feedwatch.processors.inlet import Inlet
from feedwatch.sandbox.server import Sandbox
from feedwatch.store.journal import Journal
from feedwatch.store.store import Store
from feedwatch.watcher.checks import Checks
from feedwatch.watcher.context import Context, Plan
from feedwatch.watcher.host_limiter import HostLimiter
from feedwatch.watcher.polls import Polls
from feedwatch.watcher.submissions import Submissions
from tests.databases import is_sqlite, url_of
from tests.empty_database import empty_database
from tests.shared_parser import SharedParser
from tests.support import KEY, PODCAST, FeedServer, wait_for


class HookedJournal(Journal):
    """A journal in no place, that does something between a claim and its POST."""

    def __init__(self, hook: Callable[[], object]) -> None:
        super().__init__([])
        self._hook = hook

    def append_claim(self, claim: Claim) -> bool:  # noqa: ARG002
        self._hook()
        return True


class World:
    """A publisher, an API and the three loops of a process between them."""

    begins_at = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def __init__(self, path: Path, sandbox: Sandbox, feeds: FeedServer) -> None:
        self.now = self.begins_at
        self.policy = Policy(poll_interval=timedelta(seconds=30))
        self.sandbox = sandbox
        self.feeds = feeds
        if is_sqlite() and not path.exists():
            shutil.copy(empty_database(), path)
        self.store = Store(url_of(path), processor="inlet", may_create=True)
        self.sources = [self.source("show")]
        self._ends: list[Callable[[], None]] = []
        self.restart()

    def source(self, name: str, path: str = "/feed.xml") -> FeedConfig:
        """A feed that submits all it holds from the start."""
        return FeedConfig(
            name=name,
            url=self.feeds.url_of(path),
            podcast_id=PODCAST,
            check_interval=timedelta(minutes=15),
            rules=Rules(first_run=FirstRun(everything=True)),
        )

    def restart(self) -> None:
        """A new process on the old database."""
        self.end()
        self.cancellation = cancellation = Cancellation()
        api = client(
            cancellation, base_url=self.sandbox.url, headers={"authorization": f"Token {KEY}"}
        )
        http, parser = client(cancellation), SharedParser()
        plan = Plan(sources={one.name: one for one in self.sources}, policy=self.policy)
        self.context = Context(
            store=self.store,
            processors={"inlet": Inlet(api)},
            plan=plan,
            clock=lambda: self.now,
            elapsed=lambda: self.now.timestamp(),
        )
        self.checks = Checks(self.context, http, parser)
        self.checks._hosts = HostLimiter(spacing=0.0)  # everything here is one host's
        self.submissions = Submissions(self.context)
        self.polls = Polls(self.context)
        self.store.feeds.sync(self.sources, {one.name: self.now for one in self.sources})
        self._ends = [self.checks.close, self.polls.close, api.close, http.close]

    def end(self) -> None:
        """End the process, in order."""
        for end in self._ends:
            end()
        self._ends = []

    def later(self, **length: float) -> None:
        """Let time pass."""
        self.now += timedelta(**length)

    def check(self) -> None:
        """Check what is due, to the end."""

        def concluded() -> bool:
            self.checks.tick()
            return self.checks.is_idle()

        wait_for(concluded)

    def poll(self) -> None:
        """Poll what is due, to the end."""
        due = {
            one.id: one.version
            for state in (State.PROCESSING, State.FAILED)
            for one in self.store.episodes.due(state, self.now, 99)
        }

        def concluded() -> bool:
            self.polls.tick()
            return all(
                (self.store.episodes.get(number) or self.episode()).version > version
                for number, version in due.items()
            )

        wait_for(concluded)

    def submit(self) -> None:
        """Submit what may be submitted."""
        self.submissions.tick()

    def episode(self, guid: str = "guid-1") -> Episode:
        """The episode with this guid."""
        return next(one for one in self.store.episodes.find() if one.guid == guid)

    def states(self) -> dict[str | None, State]:
        """Every episode's state, by guid."""
        return {one.guid: one.state for one in self.store.episodes.find()}


@contextmanager
def world(path: Path, **policy: object) -> Iterator[World]:
    """A world with one feed at /feed.xml; its jobs are done at once."""
    shows = {PODCAST: "The show"}
    with (
        Sandbox(api_key=KEY, podcasts=shows, job_seconds=0.0) as sandbox,
        FeedServer() as feeds,
    ):
        world = World(path, sandbox, feeds)
        if policy:
            world.policy = replace(world.policy, **policy)  # type: ignore[arg-type]
            world.restart()
        try:
            yield world
        finally:
            world.end()
            world.store.close()
