"""Overview: the state of everything, for `status`, the page and the API."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from feedwatch.core.circuit_breaker import CircuitBreaker, as_one
from feedwatch.core.daemons import DaemonHealth, spoken
from feedwatch.core.episode import LIVE, Episode, State
from feedwatch.core.feed import Feed
from feedwatch.core.health import LOOPS, Pass, Use, problems_shown, record_of
from feedwatch.core.ledger import is_loopback
from feedwatch.core.printable import counted, listed
from feedwatch.core.schedule import DAY
from feedwatch.core.served import Placing, Unserved, placing
from feedwatch.core.settings import FeedConfig
from feedwatch.core.status import ProcessorStatus, Status
from feedwatch.core.websub import Push, Topic
from feedwatch.notify.alert_rules import FAILED_FOR, current_troubles
from feedwatch.store.journal import problem_of
from feedwatch.store.store import Store
from feedwatch.watcher.context import Plan
from feedwatch.watcher.errors import NotFoundError, UnknownFeedError

OWN_DATABASE = (
    "to have them submitted, stop feedwatch and set FEEDWATCH_DATABASE_URL to a new file: "
    "FEEDWATCH_FIRST_RUN says which episodes begin it"
)
MAX_WAITING = 20  # episodes that wait for a person and are listed
# What a desk has of each, so that it stays a page that one can look at.
MAX_HELD, MAX_UNKNOWN, MAX_IN_PROGRESS, MAX_READY, MAX_FEEDS_IN_TROUBLE = 40, 10, 30, 10, 30


def status(store: Store, plan: Plan, now: datetime, journal: Iterable[Path] = ()) -> Status:
    """Read the status of the plan's feeds and processors.

    journal: the places where it may be.
    """
    breakers, use = store.breakers.of(plan.processors), store.use()
    daemons = health_of_daemons(store, now, use)
    passes = _passes(store, daemons)
    progress = [one.last_progress_at for one in daemons if one.daemon.is_alive]
    return Status(
        use=use,
        problems=_problems(daemons, passes, use, now),
        last_progress_at=min((at for at in progress if at is not None), default=None),
        daemons=daemons,
        passes=passes,
        processors=[
            ProcessorStatus(
                name=name,
                breaker=breaker,
                policy=plan.policy_of(name),
                submitted_last_24_hours=store.claims.submitted_since(now - DAY, name),
                jobs_in_flight=store.claims.in_flight(name),
                next_due_at=store.statistics.unsent(now, name).due_at,
            )
            for name, breaker in breakers.items()
        ],
        counts=store.statistics.by_feed(),
        feeds=list(configured_feeds(store, plan.sources.values()).values()),
        troubles=current_troubles(
            store.feeds.in_trouble(),
            breakers,
            store.statistics.waiting(now - FAILED_FOR),
            store.statistics.lost_podcasts(),
            store.heartbeats.daemons(),
        ),
        undelivered=store.outbox.stuck(),
        waiting=store.episodes.find(states=[State.HELD, State.UNKNOWN], limit=MAX_WAITING),
        overdue=[one for one in store.episodes.find(states=[State.PROCESSING]) if one.overdue],
        unserved=unserved(store),
        push=push(store, plan.sources.values(), now),
        journal={str(place): problem_of(place) for place in journal},
    )


def unserved(store: Store) -> Unserved | None:
    """How many ready episodes listeners do not get yet; None where no feed is served."""
    kept = store.documents.all()
    if not kept:
        return None
    unplaced = sum(one.unplaced or 0 for one in kept.values())
    return Unserved(unplaced=unplaced, waiting=store.documents.waiting_files())


def topics(store: Store, sources: Collection[FeedConfig]) -> dict[int, Topic]:
    """What the feeds name, but for private ones: their addresses are no hub's business."""
    public = {source.name for source in sources if not source.is_private}
    named = store.subscriptions.topics().items()
    return {number: topic for number, topic in named if topic.feed in public}


def push(store: Store, sources: Collection[FeedConfig], now: datetime) -> Push | None:
    """What there is of WebSub; None where there is no subscription."""
    known = store.subscriptions.all()
    if not known:
        return None
    named = topics(store, sources)
    subscribed = {one.feed_id for one in known if one.holds(now)} & named.keys()
    failing = {f"{urlsplit(one.hub).hostname}: {one.error}" for one in known if one.error}
    return Push(named=len(named), subscribed=len(subscribed), errors=tuple(sorted(failing)))


def placing_of(store: Store, plan: Plan, episode: Episode) -> Placing | None:
    """What a ready episode is in its served feed; None of any other, and of one not served."""
    source, feed = plan.sources.get(episode.feed), store.feeds.named(episode.feed)
    if source is None or feed is None or not plan.serves(source):
        return None
    one = store.documents.episodes(feed.id).get(episode.id)
    if one is None or one.processed_url is None:
        return None
    kept = store.documents.all().get(feed.name)
    return placing(one, kept, store.documents.unplaced(feed.id))


def only_at_a_sandbox(store: Store, apis: Mapping[str, str]) -> str | None:
    """Which episodes were submitted to APIs on this machine alone, and not to those of `apis`.

    None if there are none, or if one of `apis` is on this machine, too.
    """
    if any(map(is_loopback, apis.values())):
        return None
    api = " and ".join(apis.values())
    ids = [
        episode_id
        for episode_id, apis in sorted(store.claims.apis_of_episodes().items())
        if all(map(is_loopback, apis))
    ]
    if not ids:
        return None
    return (
        f"this database has {counted(len(ids), 'episode')} submitted to a sandbox and never to "
        f"{api}, for which that counts as done: {listed('episode', ids)}"
    )


def health_of_daemons(store: Store, now: datetime, use: Use) -> list[DaemonHealth]:
    """How the daemons of the database are doing, as it shows; `use` is that of the store."""
    heartbeats, snapshot = store.heartbeats.read(now), store.statistics.snapshot(now)
    found = []
    for daemon in store.heartbeats.daemons():
        own = heartbeats.get(daemon.id, {})
        progress = [own[name] for name in LOOPS if name in own]
        work = snapshot if daemon.leads else snapshot._replace(job_due_at=None)  # one leads, polls
        found.append(
            DaemonHealth(
                daemon,
                record_of(own, work),
                min(progress, default=None),
                has_ended=store.path is not None and use is Use.NONE,
            )
        )
    return found


def daemon_problems(store: Store, now: datetime, host: str | None = None) -> list[str]:
    """Why the daemon, another process, makes no progress, as the database shows; or none.

    Of several daemons only those on the machine `host`, if any of them is.
    """
    use = store.use()
    daemons = health_of_daemons(store, now, use)
    here = [one for one in daemons if one.daemon.host == host]
    return _problems(here or daemons, _passes(store, daemons), use, now)


def _passes(store: Store, daemons: Sequence[DaemonHealth]) -> list[Pass]:
    """The last runs of `run --once`; none where a daemon is there, beside which one ran."""
    if store.path is None and any(one.daemon.is_alive for one in daemons):
        return []
    return store.passes.last()


def _problems(
    daemons: Sequence[DaemonHealth], passes: Sequence[Pass], use: Use, now: datetime
) -> list[str]:
    hosts = {one.daemon.host for one in daemons if one.daemon.is_alive}
    known = [one for one in daemons if one.daemon.is_alive or one.daemon.host not in hosts]
    if len(known) < 2 and (use is not Use.OPEN or not known or known[0].daemon.is_alive):
        return problems_shown(known[0].record if known else None, passes, now, use)
    if use is not Use.OPEN:
        return problems_shown(None, passes, now, use)
    return [f"{spoken(one.daemon.id)}: {what}" for one in known for what in one.problems]


def configured_feeds(store: Store, sources: Collection[FeedConfig]) -> dict[str, Feed]:
    """Each configured feed by its name; of one that was never seen, only its name and URL."""
    known = {feed.name: feed for feed in store.feeds.all()}
    return {
        source.name: known.get(source.name, Feed(name=source.name, url=source.url))
        for source in sources
    }


def is_unwatched(feed: Feed) -> bool:
    """Whether no daemon on this database checks it: the one that leads has no such feed."""
    return not feed.id or not feed.active


def leader_without(store: Store, feeds: Iterable[Feed], now: datetime) -> str | None:
    """The daemon that leads, where its config lacks one of `feeds`; None where none runs."""
    if not any(map(is_unwatched, feeds)):
        return None
    found = health_of_daemons(store, now, store.use())
    running = (one.daemon for one in found if one.daemon.is_alive and not one.has_ended)
    return next((one.id for one in running if one.leads), None)


def find_feed(store: Store, sources: Collection[FeedConfig], name: str) -> str:
    """The name of a feed that the config has, or had when it was checked.

    Raises `UnknownFeedError`.
    """
    names = {source.name for source in sources} | {feed.name for feed in store.feeds.all()}
    if name.lower() not in names:
        known = ", ".join(sorted(names)) or "none yet"
        raise UnknownFeedError(f"no feed is named {name!r}; known are: {known}")
    return name.lower()


def find_episode(store: Store, episode_id: int) -> Episode:
    """The episode with this id. Raises `NotFoundError`."""
    episode = store.episodes.get(episode_id)
    if episode is None:
        raise NotFoundError(f"there is no episode {episode_id}; see `feedwatch episodes`")
    return episode


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What a person looks at first: what waits for a decision, what is under way, what is wrong.

    Of each list only the newest; `counts` has all episodes by state.
    """

    problems: Sequence[str]  # why the daemon makes no progress; empty while it does
    breaker: CircuitBreaker
    next_due_at: datetime | None  # when an episode is to be submitted next; None if none is
    counts: Mapping[State, int]
    held: Sequence[Episode]
    unknown: Sequence[Episode]
    in_progress: Sequence[Episode]
    ready: Sequence[Episode]
    feeds_in_trouble: Sequence[Feed]


def desk(store: Store, processors: Collection[str], now: datetime) -> Desk:
    """Read the desk, in few queries however many episodes there are."""
    listed = store.listings.episodes
    return Desk(
        problems=daemon_problems(store, now),
        breaker=as_one(store.breakers.of(processors)),
        next_due_at=store.statistics.unsent(now).due_at,
        counts=store.statistics.by_state(),
        held=listed(MAX_HELD, states=[State.HELD]),
        unknown=listed(MAX_UNKNOWN, states=[State.UNKNOWN]),
        in_progress=listed(MAX_IN_PROGRESS, states=[*LIVE, State.QUEUED]),
        ready=store.listings.recently_ready(MAX_READY),
        feeds_in_trouble=store.feeds.in_trouble()[:MAX_FEEDS_IN_TROUBLE],
    )
