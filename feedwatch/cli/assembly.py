"""The one place where the parts are put together."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from feedwatch import __version__
from feedwatch.config.changes import NEEDS_RESTART, changes
from feedwatch.config.load import PREFIX, ConfigError, Settings, find_file, load
from feedwatch.core import episode_lifecycle
from feedwatch.core.feed import Feed
from feedwatch.core.health import problems
from feedwatch.core.schedule import fraction
from feedwatch.daemon.heartbeat import record_of
from feedwatch.daemon.loop import Daemon
from feedwatch.daemon.metrics import Counted, Metrics
from feedwatch.feeds.parser_process import Parsers
from feedwatch.logs import formatters
from feedwatch.logs.masking import know
from feedwatch.net.client import Brake, client
from feedwatch.notify import Channel
from feedwatch.notify.apprise import Apprise
from feedwatch.notify.command import Command
from feedwatch.notify.webhook import Webhook
from feedwatch.processors import Processor
from feedwatch.processors.inlet import Inlet
from feedwatch.store.errors import StoreError
from feedwatch.store.journal import Marker, is_behind, places
from feedwatch.store.store import Store
from feedwatch.watcher.alerts import Alerts
from feedwatch.watcher.checks import Checks
from feedwatch.watcher.context import Context, Plan
from feedwatch.watcher.polls import Polls
from feedwatch.watcher.submissions import Submissions
from feedwatch.web.monitoring import Monitored, http_side

log = logging.getLogger("feedwatch")

FIRST_CHECKS_A_SECOND = 10  # on the average
USER_AGENT = f"feedwatch/{__version__} (podcast feed watcher)"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What stands before the verb."""

    config: Path | None

    def settings(self, *, needs_key: bool = False, needs_feeds: bool = True) -> Settings:
        """The configuration, read now, with the logs set up as it says. Raises `ConfigError`."""
        path = find_file(self.config, os.environ)
        settings = load(path, os.environ, needs_key=needs_key, needs_feeds=needs_feeds)
        know(settings.secrets())
        formatters.set_up(as_json=settings.log_format == "json", level=settings.log_level)
        for warning in settings.warnings:
            log.warning("%s", warning)
        return settings


@contextmanager
def opened(settings: Settings, *, may_create: bool = False, alone: bool = False) -> Iterator[Store]:
    """The database. Raises `StoreError`."""
    store = Store(settings.database_url, processor=Inlet.name, may_create=may_create, alone=alone)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def api(settings: Settings, brake: Brake, metrics: Metrics | None = None) -> Iterator[Inlet]:
    """The media API; with `metrics`, its responses are counted."""
    if settings.api_key is None:
        raise ConfigError(["FEEDWATCH_API_KEY is missing"])
    headers = {
        "authorization": f"Token {settings.api_key.get_secret_value()}",
        "accept": "application/json",
        "user-agent": USER_AGENT,
    }
    hooks = []
    if metrics is not None:
        hooks.append(lambda got: metrics.responded(got.request.method, got.status_code))
    with client(
        brake, base_url=settings.api_url, headers=headers, event_hooks={"response": hooks}
    ) as http:
        yield Inlet(http)


@contextmanager
def feed_client(brake: Brake) -> Iterator[httpx.Client]:
    """The client for feeds, which never sees the API's key."""
    with client(brake, headers={"user-agent": USER_AGENT}) as http:
        yield http


@contextmanager
def notify_channels(settings: Settings, brake: Brake) -> Iterator[list[Channel]]:
    """The ways to tell that the config has."""
    channels: list[Channel] = []
    if settings.notify_command:
        channels.append(Command(words=settings.notify_command, brake=brake))
    channels += [Apprise(url=url, brake=brake) for url in settings.notify_apprise_urls]
    url, secret = settings.notify_webhook_url, settings.notify_webhook_secret
    with client(brake, headers={"user-agent": USER_AGENT}) as http:
        if url is not None and secret is not None:
            channels.append(Webhook(http=http, url=url, secret=secret.get_secret_value()))
        yield channels


@contextmanager
def assembled(settings: Settings, *, serves: bool = False) -> Iterator[tuple[Daemon, Context]]:
    """A daemon that is ready to run, with its database up to date. Raises `StoreError`.

    With `serves`, it has its HTTP side if the config wants one.
    """
    brake, telling, metrics = Brake(), Brake(), Metrics()
    monitored = Monitored(metrics)
    with (
        http_side(settings, monitored) if serves else nullcontext(),
        opened(settings, may_create=True, alone=True) as store,
        feed_client(brake) as http,
        closing(Parsers()) as parser,
        notify_channels(settings, telling) as channels,
        ExitStack() as clients,
    ):
        _open(store, channels)

        def connect(settings: Settings) -> Processor:
            return Counted(clients.enter_context(api(settings, brake, metrics)), metrics)

        now = datetime.now(UTC)
        store.sync_feeds(settings.sources, first_checks(settings, now))
        marker = Marker(places(settings.path, store.path, os.environ))
        _compare(store, marker, now)
        context = Context(
            store=store,
            processor=connect(settings),
            plan=plan_of(settings),
            before_post=lambda: marker.write(store.imprint()),
            checked=metrics.checked,
        )
        daemon = Daemon(
            context,
            Checks(context, http, parser),
            Submissions(context),
            Polls(context),
            brake,
            Reload(settings, context, connect),
            alerts=Alerts(context, channels, telling) if channels else None,
        )
        monitored.begin(daemon, context)
        yield daemon, context


def _open(store: Store, channels: Sequence[Channel]) -> None:
    """Announce by these channels from now on, and say what is wrong with them at once."""
    dropped = store.outbox.open([channel.name for channel in channels])
    if dropped:
        log.warning("%d events are not told: the config no longer has their channel", dropped)
    for channel in channels:
        complaint = channel.complaint()
        if complaint is not None:
            log.error("notifications by %s will not work: %s", channel.name, complaint)


def plan_of(settings: Settings) -> Plan:
    """What the duties need of the config."""
    sources = {source.name: source for source in settings.sources}
    return Plan(sources=sources, policy=settings.policy)


class Reload:
    """The config read anew, and put in the place of the old one as a whole or not at all."""

    def __init__(
        self, settings: Settings, context: Context, connect: Callable[[Settings], Processor]
    ) -> None:
        """`connect` makes a client; earlier ones stay open for the requests under way in them."""
        self._settings = settings
        self._context = context
        self._connect = connect

    def __call__(self) -> bool:
        """Read, compare, replace; whether it was taken. One call at a time."""
        before = self._settings
        try:
            fresh = load(before.path, os.environ)
            require_feeds(fresh)
            told = changes(before, fresh)
            self._take(_but_what_needs_a_restart(before, fresh))
        except (ConfigError, StoreError) as error:
            wrong = error.problems if isinstance(error, ConfigError) else [str(error)]
        else:
            for line in told:
                log.info("config: %s", line)
            for line in fresh.warnings:
                log.warning("config: %s", line)
            log.info("config: read anew, %d changes", len(told))
            return True
        for problem in wrong:
            log.error("config: %s", problem)
        log.error("config: not taken, what held before holds on")
        return False

    def _take(self, fresh: Settings) -> None:
        before, context = self._settings, self._context
        old = context.processor
        if (fresh.api_url, fresh.api_key) != (before.api_url, before.api_key):
            context.processor = self._connect(fresh)
        try:
            self._take_feeds(before, fresh, new_access=context.processor is not old)
        except StoreError:
            context.processor = old
            raise
        self._settings = fresh

    def _take_feeds(self, before: Settings, fresh: Settings, *, new_access: bool) -> None:
        """The last thing that can fail is the one transaction that takes over the feeds."""
        context, now = self._context, datetime.now(UTC)
        if new_access:
            context.store.change_gate(
                lambda gate: episode_lifecycle.gate_after_new_access(gate, now)
            )
        context.store.make_feeds_due(
            now, [one.name for one in fresh.sources if before.source(one.name) not in (None, one)]
        )
        with context.steady:
            context.store.sync_feeds(fresh.sources, first_checks(fresh, now))
            formatters.set_up(
                as_json=fresh.log_format == "json",
                level=fresh.log_level,
            )
            know({*before.secrets(), *fresh.secrets()})  # of requests under way, too
            context.plan = plan_of(fresh)


def _but_what_needs_a_restart(before: Settings, fresh: Settings) -> Settings:
    """`fresh`, but for the values that a running process can't change."""
    keys = {f"{PREFIX}{name.upper()}" for name in NEEDS_RESTART}
    given = {key: text for key, text in fresh.given.items() if key not in keys}
    given |= {key: text for key, text in before.given.items() if key in keys}
    kept = {name: getattr(before, name) for name in NEEDS_RESTART}
    return replace(fresh, given=given, **kept)


def require_feeds(settings: Settings) -> None:
    """Raise `ConfigError` where there is nothing to watch."""
    if not settings.sources:
        missing = "no feed is configured: set FEEDWATCH_FEEDS__NAME__URL and "
        missing += "FEEDWATCH_FEEDS__NAME__PODCAST_ID (see config.example.env)"
        raise ConfigError([missing])


def _compare(store: Store, marker: Marker, now: datetime) -> None:
    """Notice a database that was lost or restored, and leave the mark that it is noticed by."""
    if is_behind(store.imprint(), marker.read()):
        queued = store.suspect(now, episode_lifecycle.doubted)
        log.error(
            "more was submitted than this database knows of: it is new, another one or restored "
            "from a copy (the mark is in %s). %d queued episodes and all that the next check of "
            "each feed finds new are held. `feedwatch approve --feed NAME` or `skip --feed NAME` "
            "settles it; if you mean to start anew, delete the mark and the database",
            *(marker.places, queued),
        )
    marker.write(store.imprint())


def first_checks(settings: Settings, now: datetime) -> dict[str, datetime]:
    """When feeds that are new to us are checked first: soon, but not all at once."""
    span = timedelta(seconds=len(settings.sources) / FIRST_CHECKS_A_SECOND)
    return {
        source.name: now + min(span, source.check_interval) * fraction(source.name)
        for source in settings.sources
    }


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
