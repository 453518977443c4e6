"""The one place where the parts are put together."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import httpx

from feedwatch import __version__
from feedwatch.cli.reload import Reload, plan_of
from feedwatch.cli.settings import journal_places, opened
from feedwatch.config.errors import ConfigError
from feedwatch.config.keys import Settings
from feedwatch.config.mark import config_mark
from feedwatch.config.mediaapis import missing_for
from feedwatch.core.episode import Episode
from feedwatch.core.ledger import Target, origin
from feedwatch.core.pipeline import Step, processors_of
from feedwatch.core.printable import counted
from feedwatch.core.settings import Policy
from feedwatch.daemon.loop import Daemon
from feedwatch.daemon.outward_heartbeat import OutwardHeartbeat
from feedwatch.feeds.parser_process import Parsers
from feedwatch.net.client import Cancellation, client
from feedwatch.notify import Channel
from feedwatch.notify.apprise import Apprise
from feedwatch.notify.command import Command
from feedwatch.notify.heartbeat_url import HeartbeatUrl, Signal
from feedwatch.notify.webhook import Webhook
from feedwatch.processors import Processor
from feedwatch.processors.bearer import Bearer
from feedwatch.processors.inlet import Inlet
from feedwatch.processors.mediaapis import TOKEN_PATH, MediaApis, Output
from feedwatch.store.journal import Journal
from feedwatch.store.store import Store
from feedwatch.watcher.alerts import Alerts
from feedwatch.watcher.checks import Checks
from feedwatch.watcher.context import Context
from feedwatch.watcher.overview import OWN_DATABASE, only_at_a_sandbox
from feedwatch.watcher.polls import Polls
from feedwatch.watcher.restore import replace_marker
from feedwatch.watcher.submissions import Submissions
from feedwatch.watcher.websub import WebSub

log = logging.getLogger("feedwatch")

if TYPE_CHECKING:
    from feedwatch.daemon.metrics import Metrics

USER_AGENT = f"feedwatch/{__version__} (podcast feed watcher)"


class Surroundings(NamedTuple):
    """What a processor is given besides its config."""

    metrics: "Metrics | None" = None  # its responses are counted by
    callback: Callable[[str, str], str] | None = None  # an address for a processor and a token


NOTHING = Surroundings()


class Api(NamedTuple):
    """How a processor is made of the config."""

    connect: Callable[[Settings, Cancellation, Surroundings], AbstractContextManager[Processor]]
    address: Callable[[Settings], str]  # of the API
    access: Callable[[Settings], object]  # with another one, it takes another client
    has_keys: Callable[[Settings], bool]


def _counted(name: str, around: Surroundings) -> dict[str, list[Callable[[httpx.Response], None]]]:
    """The hooks that count the responses of a processor's API."""
    if around.metrics is None:
        return {}
    count = partial(around.metrics.responded, name)
    return {"response": [lambda got: count(got.request.method, got.status_code)]}


@contextmanager
def api(
    settings: Settings, cancellation: Cancellation, around: Surroundings = NOTHING
) -> Iterator[Inlet]:
    """Inlet. Raises `ConfigError` without its key."""
    if settings.api_key is None:
        raise ConfigError(["FEEDWATCH_API_KEY is missing"])
    headers = {
        "authorization": f"Token {settings.api_key.get_secret_value()}",
        "accept": "application/json",
        "user-agent": USER_AGENT,
    }
    with client(
        cancellation,
        settings.proxy,
        base_url=settings.api_url,
        headers=headers,
        event_hooks=_counted(Inlet.name, around),
    ) as http:
        yield Inlet(http)


@contextmanager
def mediaapis(
    settings: Settings,
    cancellation: Cancellation,
    around: Surroundings = NOTHING,
) -> Iterator[MediaApis]:
    """The Media APIs. Raises `ConfigError` without their key and secret."""
    media, headers = settings.mediaapis, {"user-agent": USER_AGENT}
    if media.key is None or media.secret is None:
        raise ConfigError(missing_for(settings.given, [Step.DIAGNOSE]))
    login = (media.key.get_secret_value(), media.secret.get_secret_value())
    spoken = headers | {"accept": "application/json"}
    with (
        client(
            cancellation, settings.proxy, base_url=media.auth_url, headers=spoken, auth=login
        ) as tokens,
        client(
            cancellation,
            settings.proxy,
            base_url=media.url,
            headers=spoken,
            event_hooks=_counted(MediaApis.name, around),
        ) as http,
        client(cancellation, settings.proxy, headers=headers) as reader,
    ):
        bearer = Bearer(
            tokens,
            path=TOKEN_PATH,
            keys="FEEDWATCH_MEDIAAPIS_KEY, _SECRET and _AUTH_URL",
            lifetime=int(media.token_lifetime.total_seconds()),
        )
        output = None
        if media.output is not None and media.public_url is not None:
            auth = dict(media.output_auth) if media.output_auth else None
            output = Output(url=media.output, public_url=media.public_url, auth=auth)
        yield MediaApis(http, bearer, reader, output, around.callback)


# The media APIs, by the names of their processors.
APIS: Mapping[str, Api] = {
    Inlet.name: Api(
        connect=api,
        address=lambda settings: settings.api_url,
        access=lambda settings: (settings.api_url, settings.api_key),
        has_keys=lambda settings: settings.api_key is not None,
    ),
    MediaApis.name: Api(
        connect=mediaapis,
        address=lambda settings: settings.mediaapis.url,
        access=lambda settings: replace(settings.mediaapis, policy=Policy()),
        has_keys=lambda settings: None not in (settings.mediaapis.key, settings.mediaapis.secret),
    ),
}


def usable(settings: Settings) -> dict[str, Api]:
    """The media APIs that the feeds' pipelines need, and those whose keys are here all the same.

    Of the latter, jobs may be under way whose step is in no pipeline any more.
    """
    needed = processors_of(settings.sources)
    return {name: one for name, one in APIS.items() if name in needed or one.has_keys(settings)}


def apis_of(settings: Settings) -> dict[str, str]:
    """The scheme, host and port of each media API, by its processor's name."""
    return {name: origin(one.address(settings)) for name, one in usable(settings).items()}


@contextmanager
def processors(settings: Settings) -> Iterator[dict[str, Processor]]:
    """The media APIs whose keys this process has, to ask them for jobs."""
    with ExitStack() as stack:
        found: dict[str, Processor] = {}
        for name, one in usable(settings).items():
            with suppress(ConfigError):
                found[name] = stack.enter_context(
                    one.connect(settings, Cancellation(), Surroundings())
                )
        yield found


def targets_by(settings: Settings) -> Callable[[Episode], Sequence[Target]]:
    """What the next POST for an episode would be for, and those after it, by the config."""
    plan, apis = plan_of(settings), apis_of(settings)
    return lambda one: plan.targets(one, apis)


def feed_client(settings: Settings, cancellation: Cancellation) -> httpx.Client:
    """The client for feeds, which never sees the API's key."""
    return client(cancellation, settings.feed_proxy, headers={"user-agent": USER_AGENT})


def plain_client(cancellation: Cancellation) -> httpx.Client:
    """The client for channels and the heartbeat URL, which knows no proxy."""
    return client(cancellation, headers={"user-agent": USER_AGENT})


@contextmanager
def heartbeat_url(settings: Settings, cancellation: Cancellation) -> Iterator[HeartbeatUrl | None]:
    """The heartbeat URL of the config; None without one."""
    if settings.heartbeat_url is None:
        yield None
        return
    with plain_client(cancellation) as http:
        yield HeartbeatUrl(http=http, url=settings.heartbeat_url)


def _outward(context: Context, heartbeat: HeartbeatUrl | None) -> OutwardHeartbeat | None:
    if heartbeat is None:
        return None

    def tell(wrong: Sequence[str]) -> str | None:
        if context.term() is None:
            return None  # of several daemons the leader tells: silence is the alarm
        return heartbeat.tell(Signal.DOWN if wrong else Signal.UP, "; ".join(wrong))

    return OutwardHeartbeat(tell, lambda: context.plan.policy.heartbeat_interval)


@contextmanager
def notify_channels(settings: Settings, cancellation: Cancellation) -> Iterator[list[Channel]]:
    """The channels of the config."""
    channels: list[Channel] = []
    if settings.notify_command:
        channels.append(Command(words=settings.notify_command, cancellation=cancellation))
    channels += [
        Apprise(url=one, cancellation=cancellation) for one in settings.notify_apprise_urls
    ]
    url, secret = settings.notify_webhook_url, settings.notify_webhook_secret
    with plain_client(cancellation) as http:
        if url is not None and secret is not None:
            channels.append(Webhook(http=http, url=url, secret=secret.get_secret_value()))
        yield channels


@contextmanager
def assembled(
    settings: Settings, around: Surroundings = NOTHING, *, must_lead: bool = True
) -> Iterator[tuple[Daemon, Context]]:
    """A daemon that is ready to run, with its database up to date. Raises `StoreError`.

    Without `must_lead` another one may lead, of several on PostgreSQL.

    Where it does not listen, nobody can ask for metrics, and no job can call back.
    """
    metrics = around.metrics
    cancellation, telling = Cancellation(), Cancellation()
    with (
        opened(settings, may_create=True, alone=True, must_lead=must_lead) as store,
        feed_client(settings, cancellation) as http,
        closing(Parsers()) as parser,
        notify_channels(settings, telling) as channels,
        heartbeat_url(settings, cancellation) as heartbeat,
        ExitStack() as clients,
    ):

        def connect(settings: Settings, name: str) -> Processor:
            made = usable(settings)[name].connect(settings, cancellation, around)
            processor = clients.enter_context(made)
            return metrics.counting(processor) if metrics is not None else processor

        context = Context(
            store=store,
            processors={name: connect(settings, name) for name in usable(settings)},
            plan=plan_of(settings),
            journal=Journal(journal_places(settings, store.path), store.claims.database_id().id),
            clock=store.now,
            term=store.term,
        )
        reload, led_in = Reload(settings, context, connect, access_of), None

        def elected() -> None:
            nonlocal led_in
            term = store.term()
            if led_in != term:
                _open(store, channels)
                reload.establish()
                replace_marker(context, journal_places(settings, store.path, name="marker"))
                led_in = term
            elif reload.is_pending:
                reload.establish()

        context.elected = elected
        if store.server is not None:
            context.config_mark = config_mark(settings)
        if store.term() is not None:
            elected()
        if metrics is not None:
            context.checked = metrics.checked
        if (sandboxed := only_at_a_sandbox(store, context.apis)) is not None:
            log.warning("%s; %s", sandboxed, OWN_DATABASE)
        daemon = Daemon(
            context,
            Checks(context, http, parser),
            Submissions(context),
            Polls(context),
            cancellation,
            reload,
            alerts=Alerts(context, channels, telling) if channels else None,
            outward=_outward(context, heartbeat),
            websub=WebSub(context, http, settings.public_url or "")
            if settings.hears_hubs
            else None,
        )
        yield daemon, context


def access_of(settings: Settings) -> dict[str, object]:
    """What each media API is reached by, by its processor's name."""
    return {name: one.access(settings) for name, one in usable(settings).items()}


def _open(store: Store, channels: Sequence[Channel]) -> None:
    """Announce by these channels from now on, and say what is wrong with them at once."""
    dropped = store.outbox.open([channel.name for channel in channels])
    if dropped:
        log.warning(
            "not told, since the config no longer has their channel: %s", counted(dropped, "event")
        )
    for channel in channels:
        complaint = channel.complaint()
        if complaint is not None:
            log.error("notifications by %s will not work: %s", channel.name, complaint)
