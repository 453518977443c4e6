"""`web`, and the HTTP side of `run`: page, API and monitoring."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from errno import EADDRINUSE
from pathlib import Path
from urllib.parse import urlsplit

import click

from feedwatch.cli.assembly import Surroundings, apis_of, feed_client, processors, targets_by
from feedwatch.cli.check import coming_import, result_of
from feedwatch.cli.doctor import findings_of
from feedwatch.cli.output import stop
from feedwatch.cli.reload import plan_of
from feedwatch.cli.settings import journal_places, opened, read_settings
from feedwatch.config.errors import ConfigError
from feedwatch.config.keys import Settings
from feedwatch.config.values import Listen
from feedwatch.core.episode import Episode
from feedwatch.core.ledger import Target
from feedwatch.core.redirects import address_of
from feedwatch.core.settings import FeedConfig
from feedwatch.core.status import Finding
from feedwatch.daemon.loop import Daemon
from feedwatch.daemon.metrics import Metrics
from feedwatch.feeds.parser_process import Parser
from feedwatch.net.address_scope import Scope, address_scope
from feedwatch.net.client import Cancellation
from feedwatch.processors import INLET
from feedwatch.store.errors import StoreError
from feedwatch.store.store import Store
from feedwatch.watcher import decisions
from feedwatch.watcher.callbacks import Callbacks
from feedwatch.watcher.context import Context, Plan
from feedwatch.watcher.decisions import Proposal, TargetsOf
from feedwatch.watcher.look import look
from feedwatch.watcher.overview import configured_feeds
from feedwatch.watcher.processed_files import ProcessedFiles
from feedwatch.watcher.served_feeds import ServedFeeds
from feedwatch.watcher.websub import Callback
from feedwatch.web.app import application
from feedwatch.web.monitoring import Monitored, Serving
from feedwatch.web.public import public_application
from feedwatch.web.public_side import PublicSide
from feedwatch.web.server import MAX_CONNECTIONS, MAX_PUBLIC_CONNECTIONS, MAX_PUSH, HttpSide
from feedwatch.web.site import Access, DryRun, Parts, Site

log = logging.getLogger("feedwatch")


@click.command()
@click.pass_obj
def web(config: Path | None) -> None:
    """Serve page, API and feeds alone, on the same database.

    For a daemon that runs elsewhere. Watches no feed and submits nothing by itself.
    """
    settings = read_settings(config)
    if settings.listen is None and settings.public_listen is None:
        missing = "FEEDWATCH_LISTEN is missing: HOST:PORT to serve the page on"
        raise ConfigError([f"{missing}; or FEEDWATCH_PUBLIC_LISTEN, to serve feeds on"])
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    with opened(settings) as store:
        if not store.is_made:
            stop(f"there is no database {store.place} yet: start `feedwatch run` first")

        def complaints() -> list[str]:
            try:
                store.heartbeats.read(datetime.now(UTC))
            except StoreError as error:
                return [str(error)]
            return []

        source = Serving(Metrics(), complaints)
        plan = plan_of(settings)
        with (
            served(settings, source) as site,
            public(settings) as side,
            feeds_served(settings, side, store, lambda: plan, lambda: datetime.now(UTC)),
        ):
            if site is not None:
                site.parts = parts_alone(settings, store)
            stopping.wait()


# What the daemon is given, and what is to be entered with it once there is one.
BesideDaemon = tuple[Surroundings, Callable[[Daemon, Context], AbstractContextManager[object]]]


@contextmanager
def beside_daemon(settings: Settings) -> Iterator[BesideDaemon]:
    """Both sides, as the config wants them, from before there is a daemon: it may have to migrate.

    Raises `ConfigError`.
    """
    metrics = Metrics()
    monitored = Monitored(metrics)
    with served(settings, monitored) as site, public(settings) as side:
        callbacks = None
        if side is not None and settings.public_url is not None:
            callbacks = Callbacks(settings.public_url)

        @contextmanager
        def show(daemon: Daemon, context: Context) -> Iterator[None]:
            def clock() -> datetime:
                return context.clock()

            with feeds_served(settings, side, context.store, lambda: context.plan, clock):
                if side is not None and callbacks is not None:
                    callbacks.begin(context.store, clock)
                    side.callbacks = callbacks
                monitored.begin(daemon, context)
                if site is not None:
                    site.parts, site.clock = parts_of_daemon(settings, context), clock
                yield

        yield Surroundings(metrics, callbacks.address if callbacks is not None else None), show


@contextmanager
def served(settings: Settings, source: Monitored | Serving) -> Iterator[Site | None]:
    """Page, API and monitoring, if the config wants them. Raises `ConfigError`."""
    if settings.listen is None:
        yield None
        return
    side = listening("FEEDWATCH_LISTEN", settings.listen)
    site = Site(access=access_of(settings, side.url))
    with side.serve(application(site, source), site.access.prefix):
        log.info("http: listening on %s", side.url)
        if site.access.has_page:
            log.info("http: the page is %s", site.access.url)
        yield site


def listening(key: str, listen: Listen, connections: int = MAX_CONNECTIONS) -> HttpSide:
    """A side that listens where the config says. Raises `ConfigError`."""
    try:
        return HttpSide(*listen, connections)
    except OSError as error:
        problem = f"{key}={listen.host}:{listen.port}: cannot listen there: {error.strerror}"
        if error.errno == EADDRINUSE:  # it may be free soon: service managers try again after this
            stop(f"{problem}; another program has it, or another feedwatch")
        raise ConfigError([problem]) from error


@contextmanager
def public(settings: Settings) -> Iterator[PublicSide | None]:
    """The public side, if the config wants one. Raises `ConfigError`."""
    if settings.public_listen is None:
        yield None
        return
    side = listening("FEEDWATCH_PUBLIC_LISTEN", settings.public_listen, MAX_PUBLIC_CONNECTIONS)
    what = PublicSide(serves_feeds=settings.serve_feeds, hears_hubs=settings.hears_hubs)
    prefix = urlsplit(settings.public_url or "").path.rstrip("/")
    with side.serve(public_application(what), prefix, MAX_PUSH):
        log.info("http: the public side listens on %s", side.url)
        yield what


@contextmanager
def feeds_served(
    settings: Settings,
    side: PublicSide | None,
    store: Store,
    plan: Callable[[], Plan],
    clock: Callable[[], datetime],
) -> Iterator[None]:
    """Answer on the public side: render the feeds that are served, and hear the hubs."""
    if side is not None and settings.hears_hubs:
        side.callback = Callback(store, lambda: plan().sources, clock)
    if side is None or settings.public_url is None or not settings.serve_feeds:
        yield
        return
    cancellation = Cancellation()
    with feed_client(settings, cancellation) as http:

        def most() -> Scope:
            return max(map(files_scope, plan().file_addresses), default=Scope.PUBLIC)

        files = ProcessedFiles(http, most, clock)
        feeds = ServedFeeds(store, plan, files, settings.public_url, clock)
        with feeds:
            side.feeds = feeds
            try:
                yield
            finally:
                cancellation.stop_in(0)


def files_scope(address: str) -> Scope:
    """How private a processed file may be for this address of an API or its output in the config.

    As private as the address says by itself; a name, whatever it leads to, is a public one.
    """
    host = urlsplit(address).hostname or ""
    if host == "localhost":
        return Scope.LOOPBACK
    try:
        return min(address_scope(host), Scope.LOOPBACK)
    except ValueError:
        return Scope.PUBLIC


def access_of(settings: Settings, url: str) -> Access:
    """Who may see the page; `url` is its address unless the config has another one."""
    secrets = (settings.web_password, settings.web_token, settings.web_decide_token)
    password, read_token, decide_token = (
        secret.get_secret_value() if secret is not None else None for secret in secrets
    )
    return Access(
        url=settings.web_url or url,
        password=password,
        user_header=settings.web_user_header,
        trusted_proxies=settings.web_trusted_proxies,
        read_token=read_token,
        decide_token=decide_token,
    )


def parts_of_daemon(settings: Settings, context: Context) -> Parts:
    """What the page works with beside a daemon: the plan and the API as they are at any time."""
    store = context.store

    def adopt(number: int, media_id: str, now: datetime) -> Proposal:
        return decisions.adoption(store, context.plan, context.processors, number, media_id, now)

    def targets_of(episode: Episode) -> list[Target]:
        return context.plan.targets(episode, context.apis)

    def retry(number: int, now: datetime) -> Proposal:
        plan, processors = context.plan, context.processors
        return decisions.retrial(store, plan, processors, [number], None, now, targets_of)

    return _parts(settings, store, lambda: context.plan, targets_of, adopt, retry)


def parts_alone(settings: Settings, store: Store) -> Parts:
    """What the page works with where there is no daemon in this process."""
    plan = plan_of(settings)

    def adopt(number: int, media_id: str, now: datetime) -> Proposal:
        with processors(settings) as apis:
            return decisions.adoption(store, plan, apis, number, media_id, now)

    def retry(number: int, now: datetime) -> Proposal:
        targets_of = targets_by(settings)
        with processors(settings) as apis:
            return decisions.retrial(store, plan, apis, [number], None, now, targets_of)

    return _parts(settings, store, lambda: plan, targets_by(settings), adopt, retry)


def _parts(
    settings: Settings,
    store: Store,
    plan: Callable[[], Plan],
    targets_of: TargetsOf,
    adopt: Callable[[int, str, datetime], Proposal],
    retry: Callable[[int, datetime], Proposal],
) -> Parts:
    def dry_run(source: FeedConfig, now: datetime) -> DryRun:
        known = configured_feeds(store, [source])[source.name]
        with feed_client(settings, Cancellation()) as http, Parser() as parser:
            looked = look(
                http,
                parser,
                source,
                address_of(known),
                is_first=known.baseline_at is None,
            )
        coming = coming_import(settings, store)
        _, found, error = result_of(settings, store, known, source, looked, coming, now)
        return DryRun(decisions=found, error=error)

    def diagnose() -> Sequence[Finding]:
        if settings.api_key is None and INLET in apis_of(settings):
            why = "doctor needs the API key, which this process does not have"
            return [Finding("doctor", why, "set FEEDWATCH_API_KEY for `feedwatch web`, too")]
        return list(findings_of(settings, notify=False))

    return Parts(
        store=store,
        plan=plan,
        targets_of=targets_of,
        adopt=adopt,
        retry=retry,
        dry_run=dry_run,
        diagnose=diagnose,
        journal=journal_places(settings, store.path),
        public_url=settings.public_url if settings.serve_feeds else None,
        facts=[
            ("Config", str(settings.path or "the environment")),
            ("Database", store.place),
            ("Media API", settings.api_url),
            ("Page", access_of(settings, "by FEEDWATCH_LISTEN").url),
            ("Log", f"{settings.log_format}, {settings.log_level}"),
        ],
    )
