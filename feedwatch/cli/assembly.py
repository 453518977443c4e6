"""The one place where the parts are put together."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from feedwatch import __version__, lifecycle, logs
from feedwatch.config import ConfigError, Settings, find_file, load
from feedwatch.daemon import Daemon
from feedwatch.health import problems
from feedwatch.heart import record_of
from feedwatch.isolation import Parser
from feedwatch.marker import Marker, is_behind, places
from feedwatch.model import Feed
from feedwatch.processors.inlet import Inlet
from feedwatch.store import Store
from feedwatch.timing import fraction
from feedwatch.watcher import Checks, Context, Plan, Polls, Submissions
from feedwatch.wire import Brake, client

log = logging.getLogger("feedwatch")

FIRST_CHECKS_WITHIN = 60.0  # seconds
SHORTEST_SECRET = 4  # characters
USER_AGENT = f"feedwatch/{__version__} (podcast feed watcher)"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What stands before the verb."""

    config: Path | None

    def settings(self, *, needs_key: bool = False, needs_feeds: bool = True) -> Settings:
        """The configuration, read now, with the logs set up as it says. Raises `ConfigError`."""
        path = find_file(self.config, os.environ)
        settings = load(path, os.environ, needs_key=needs_key, needs_feeds=needs_feeds)
        logs.set_up(
            as_json=settings.log_format == "json",
            level=settings.log_level,
            secrets=secrets_of(settings),
        )
        for warning in settings.warnings:
            log.warning("%s", warning)
        return settings


def secrets_of(settings: Settings) -> list[str]:
    """What must never be shown. What is shorter is no secret, and would mask half of every line."""
    found = [settings.api_key.get_secret_value()] if settings.api_key is not None else []
    for source in settings.sources:
        found += [source.password or "", *source.headers.values()]
    return [secret for secret in found if len(secret) >= SHORTEST_SECRET]


@contextmanager
def opened(settings: Settings, *, may_create: bool = False, alone: bool = False) -> Iterator[Store]:
    """The database. Raises `StoreError`."""
    store = Store(settings.database_url, processor=Inlet.name, may_create=may_create, alone=alone)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def api(settings: Settings, brake: Brake) -> Iterator[Inlet]:
    """The media API."""
    if settings.api_key is None:
        raise ConfigError(["FEEDWATCH_API_KEY is missing"])
    headers = {
        "authorization": f"Token {settings.api_key.get_secret_value()}",
        "accept": "application/json",
        "user-agent": USER_AGENT,
    }
    with client(brake, base_url=settings.api_url, headers=headers) as http:
        yield Inlet(http)


@contextmanager
def feed_client(brake: Brake) -> Iterator[httpx.Client]:
    """The client for feeds, which never sees the API's key."""
    with client(brake, headers={"user-agent": USER_AGENT}) as http:
        yield http


@contextmanager
def assembled(settings: Settings) -> Iterator[tuple[Daemon, Context]]:
    """A daemon that is ready to run, with its database up to date. Raises `StoreError`."""
    brake = Brake()
    with (
        opened(settings, may_create=True, alone=True) as store,
        api(settings, brake) as processor,
        feed_client(brake) as http,
        Parser() as parser,
    ):
        sources = {source.name: source for source in settings.sources}
        plan = Plan(sources=sources, policy=settings.policy)
        now = datetime.now(UTC)
        store.sync_feeds(settings.sources, first_checks(settings, now))
        marker = Marker(places(settings.path, store.path, os.environ))
        _compare(store, marker, now)
        context = Context(
            store=store,
            processor=processor,
            plan=plan,
            before_post=lambda: marker.write(store.imprint()),
        )
        daemon = Daemon(
            context,
            Checks(context, http, parser),
            Submissions(context),
            Polls(context),
            brake,
        )
        yield daemon, context


def _compare(store: Store, marker: Marker, now: datetime) -> None:
    """Notice a database that was lost or restored, and leave the mark that it is noticed by."""
    if is_behind(store.imprint(), marker.read()):
        queued = store.suspect(now, lifecycle.doubted)
        log.error(
            "more was submitted than this database knows of: it is new, another one or restored "
            "from a copy (the mark is in %s). %d queued episodes and all that the next check of "
            "each feed finds new are held. `feedwatch approve --feed NAME` or `skip --feed NAME` "
            "settles it; if you mean to start anew, delete the mark and the database",
            *(marker.places, queued),
        )
    marker.write(store.imprint())


def first_checks(settings: Settings, now: datetime) -> dict[str, datetime]:
    """When feeds that are new to us are checked first: not all at once, and within a minute."""
    span = timedelta(seconds=min(len(settings.sources) / 10, FIRST_CHECKS_WITHIN))
    return {source.name: now + span * fraction(source.name) for source in settings.sources}


def ailments(store: Store, now: datetime) -> list[str]:
    """Why the daemon, another process, makes no progress by what the database shows."""
    record = record_of(store.heartbeats(), store.vitals(now))
    in_use = store.is_in_use()
    if in_use is False or (record is None and in_use is None):
        return ["not running: no daemon has this database"]
    return ["starting"] if record is None else problems(record)


def remembered(store: Store, settings: Settings) -> dict[str, Feed]:
    """What is known of each configured feed; of one never seen, only its name and URL."""
    known = {feed.name: feed for feed in store.feeds()}
    return {
        source.name: known.get(source.name, Feed(name=source.name, url=source.url))
        for source in settings.sources
    }
