"""Feeds served to listeners, in this process: the loops, the renderings, and a server of files."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import feedparser
from flask.testing import FlaskClient

from feedwatch.core.served import FileAnswer
from feedwatch.core.settings import FeedConfig, ServeRules
from feedwatch.feeds.feedparser_patches import CANDIDATES
from feedwatch.net.address_scope import Scope
from feedwatch.net.client import Cancellation, client
from feedwatch.sandbox.server import Sandbox
from feedwatch.watcher.context import Plan
from feedwatch.watcher.processed_files import ProcessedFiles
from feedwatch.watcher.served_feeds import ServedFeeds
from feedwatch.web.public import public_application
from feedwatch.web.public_side import PublicSide
from tests.support import KEY, PODCAST, FeedServer
from tests.world import World

LENGTH = 4321  # bytes, of each processed file unless a test says otherwise
URL = "https://feeds.example.org"


class KnownFiles(ProcessedFiles):
    """The servers of the sandbox's files, which there are not: each tells the same length."""

    length: int | None = LENGTH
    is_silent = False
    asked = 0

    def _ask(self, url: str) -> FileAnswer | None:  # noqa: ARG002
        self.asked += 1
        return None if self.is_silent else FileAnswer(length=self.length, type="audio/mpeg")


class ServedWorld(World):
    """A world whose feed is served. Nothing is rendered but by `render`."""

    def __init__(self, path: Path, sandbox: Sandbox, feeds: FeedServer) -> None:
        self.serving = ServeRules()
        self.is_private = False
        super().__init__(path, sandbox, feeds)

    def source(self, name: str, path: str = "/feed.xml") -> FeedConfig:
        made = super().source(name, path)
        return replace(made, serving=self.serving, is_private=self.is_private)

    def restart(self) -> None:
        super().restart()
        self.sources = [self.source("show")]
        plan = Plan(
            sources={one.name: one for one in self.sources}, policy=self.policy, serves_feeds=True
        )
        self.context.plan = plan
        served = {name for name, source in plan.sources.items() if plan.serves(source)}
        self.store.documents.keep_only(served, self.now)
        http = client(Cancellation())
        self._ends.append(http.close)
        self.files = files = KnownFiles(http, lambda: Scope.LOOPBACK, lambda: self.now)
        self.served = ServedFeeds(
            self.store, lambda: self.context.plan, files, URL, lambda: self.now
        )

    def configure(self, *, is_private: bool = False, **serving: object) -> None:
        """Serve it by other rules from now on, as after a restart."""
        self.serving = ServeRules(**serving)  # type: ignore[arg-type]
        self.is_private = is_private
        self.restart()

    def settle(self) -> None:
        """Check, submit, and follow the jobs to their end."""
        self.check()
        self.submit()
        while self.store.claims.in_flight():
            self.later(minutes=1)
            self.poll()
            self.submit()

    def render(self) -> bytes:
        """The feed as it is served now, once all files were asked for: each round asks for some."""
        for _ in range(20):
            self.served.refresh()
        found = self.served.find("show")
        assert found is not None
        return found.body

    def listener(self) -> FlaskClient:
        """Somebody who asks the public side."""
        side = PublicSide()
        side.feeds = self.served
        return public_application(side).test_client()


@contextmanager
def served_world(path: Path) -> Iterator[ServedWorld]:
    """A world with one feed at /feed.xml, which is served; its jobs are done at once."""
    with (
        Sandbox(api_key=KEY, podcasts={PODCAST: "The show"}, job_seconds=0.0) as sandbox,
        FeedServer() as feeds,
    ):
        one = ServedWorld(path, sandbox, feeds)
        try:
            yield one
        finally:
            one.end()
            one.store.close()


@dataclass
class Subscriber:
    """What a listener's app remembers: every guid, and the address that came with it."""

    addresses: dict[str, list[str]] = field(default_factory=dict)

    def read(self, document: bytes, *, is_ours: bool = True) -> list[str]:
        """The guids that are new to it. Of what is ours nothing may be complained."""
        feed = feedparser.parse(io.BytesIO(document.strip()))
        assert not feed.bozo or not is_ours, feed.bozo_exception
        new = []
        for entry in feed.entries:
            known = self.addresses.setdefault(entry.id, [])
            if not known:
                new.append(entry.id)
            media = [one.url for one in entry.get(CANDIDATES, ())]
            known += [url for url in media if url not in known]
        return new
