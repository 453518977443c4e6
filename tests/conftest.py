"""The fixtures of the acceptance tests. What they are made of is in support.py."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from feedwatch.sandbox import Sandbox
from tests.support import KEY, PODCAST, FeedServer, Feedwatch, Workspace

if importlib.util.find_spec("tests.feeds_corpus") is not None:
    real_feeds = importlib.import_module("tests.feeds_corpus").real_feeds


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """The media API. Its jobs take a moment."""
    shows = {PODCAST: "The show", "podcast-2": "Another show"}
    with Sandbox(api_key=KEY, podcasts=shows, job_seconds=0.05) as running:
        yield running


@pytest.fixture
def feed_server() -> Iterator[FeedServer]:
    """A publisher, whose /feed.xml holds episode 1."""
    with FeedServer() as server:
        server.publish(1)
        yield server


@pytest.fixture
def workspace(tmp_path: Path, sandbox: Sandbox, feed_server: FeedServer) -> Workspace:
    """A config with the feed `show`, all of whose items are submitted at the first run."""
    workspace = Workspace(tmp_path, sandbox.url)
    workspace.add_feed("show", feed_server.url, FIRST_RUN="all")
    return workspace


@pytest.fixture
def feedwatch(workspace: Workspace) -> Iterator[Feedwatch]:
    """feedwatch with that config; call it to run a verb."""
    feedwatch = Feedwatch(workspace)
    yield feedwatch
    feedwatch.end()
