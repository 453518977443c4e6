"""The fixtures of the acceptance tests. What they are made of is in support.py."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from flask import Flask
from hypothesis import settings
from jinja2 import FileSystemBytecodeCache
from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache

from feedwatch.sandbox.server import Sandbox
from feedwatch.store import database
from feedwatch.store import postgresql as postgresql_database
from feedwatch.store.store import Store
from tests.databases import POSTGRESQL, SQLITE, Server, in_use, missing, shared_server
from tests.support import FeedServer, Feedwatch, Scene, Workspace, scene
from tests.test_store import NOW, SOURCE, opened

if importlib.util.find_spec("tests.feeds_corpus") is not None:
    real_feeds = importlib.import_module("tests.feeds_corpus").real_feeds


# Machines are busy: an example may take any time, and the same ones are tried everywhere.
settings.register_profile("feedwatch", deadline=None, derandomize=True, database=None)
settings.load_profile("feedwatch")


@pytest.fixture(autouse=True, scope="session")
def _passwords_are_cheap_to_try() -> Iterator[None]:
    """A login, or a mark of a config, at its real cost takes longer than most tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("feedwatch.web.auth.SCRYPT_COST", 2)
        patch.setattr("feedwatch.config.mark.SCRYPT_COST", 2)
        yield


@pytest.fixture(autouse=True, scope="session")
def _statements_are_compiled_once() -> Iterator[None]:
    """Not once for each database: that takes a good part of many tests.

    SQLAlchemy's cache is an engine's own, and knows a statement by its dialect, too.
    """
    compiled: LRUCache[Any, Any] = LRUCache(5000)

    def create_engine(*args: Any, **options: Any) -> Engine:
        engine = sqlalchemy.create_engine(*args, **options)
        engine._compiled_cache = compiled
        return engine

    with pytest.MonkeyPatch.context() as patch:
        for module in (database, postgresql_database):
            patch.setattr(module, "create_engine", create_engine)
        for dialect in (SQLiteDialect_pysqlite, PGDialect_psycopg):
            patch.setattr(dialect, "__eq__", lambda one, other: type(one) is type(other))
            patch.setattr(dialect, "__hash__", lambda one: hash(type(one)))
        yield


@pytest.fixture(autouse=True, scope="session")
def _templates_are_compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Not once for each application."""
    with pytest.MonkeyPatch.context() as patch:
        cache = FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))
        patch.setattr(Flask, "jinja_options", {"bytecode_cache": cache})
        yield


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A PostgreSQL server. Where none is installed a test that needs one is skipped, but in CI."""
    if (package := missing()) is not None:
        say = pytest.fail if "CI" in os.environ else pytest.skip
        say(f"{package} is not installed: apt install {package}")
    base = tmp_path_factory.getbasetemp()
    with shared_server(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) as server:
        yield server


@pytest.fixture(params=[SQLITE, POSTGRESQL])
def both_databases(request: pytest.FixtureRequest) -> Iterator[str]:
    """Have a test run twice: `databases.url_of` gives the one kind, then the other."""
    if request.param == SQLITE:
        yield SQLITE
        return
    with in_use(request.getfixturevalue("postgresql")):
        yield POSTGRESQL


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Scene]:
    """All of the fixtures below."""
    with scene(tmp_path) as world:
        yield world


@pytest.fixture
def sandbox(world: Scene) -> Sandbox:
    """The media API. Its jobs take a moment."""
    return world.sandbox


@pytest.fixture
def feed_server(world: Scene) -> FeedServer:
    """A publisher, whose /feed.xml holds episode 1."""
    return world.feeds


@pytest.fixture
def workspace(world: Scene) -> Workspace:
    """A config with the feed `show`, all of whose items are submitted at the first run."""
    return world.workspace


@pytest.fixture
def feedwatch(world: Scene) -> Feedwatch:
    """feedwatch with that config; call it to run a verb."""
    return world.feedwatch


@pytest.fixture
def store(tmp_path: Path, both_databases: str) -> Iterator[Store]:
    """A database that knows the feed `show` and no episode, once of either kind."""
    store = opened(tmp_path / "feedwatch.db")
    store.feeds.sync([SOURCE], {"show": NOW})
    yield store
    store.close()
