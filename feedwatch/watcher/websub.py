"""The loop `websub`: subscribes feeds to the hubs that they name; and what their pushes do.

    feed names a hub → asked → verified by the hub → renewed … → unsubscribed
                                  └── a push, signed → the feed is due: it is checked as ever

Only where there is a public side, as hubs come to us. A hub's address is a stranger's word: nothing
is sent to one that is more private than the feed itself, and no credentials to any.
"""

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from urllib.parse import urlsplit

import httpx

from feedwatch.core import websub
from feedwatch.core.masking import shortened
from feedwatch.core.settings import FeedConfig
from feedwatch.core.websub import Mode, Step, Subscription, Topic
from feedwatch.net.address_scope import Scope
from feedwatch.net.client import TooPrivateError, deadline, described, limit_scope
from feedwatch.store.store import Store
from feedwatch.watcher import overview
from feedwatch.watcher.check_requests import request_check
from feedwatch.watcher.context import Context
from feedwatch.watcher.errors import NotFoundError

log = logging.getLogger(__name__)

ROUND_SECONDS = 5.0
SECONDS = 10.0  # for a request to a hub, redirects included
MAX_CONCURRENT_REQUESTS = 4
PER_ROUND = 20
MAX_REDIRECTS = 3
PATH = "/websub/"  # of the callbacks, on the public side
SAME_METHOD = (307, 308)  # redirects that a POST follows
DENIED = "denied"  # a hub's word


class WebSub:
    """Keeps the subscriptions as the feeds want them. `client` must not follow redirects."""

    def __init__(self, context: Context, client: httpx.Client, public_url: str) -> None:
        self._context = context
        self._client = client
        self._callback = f"{public_url}{PATH}"
        self._next_round = 0.0  # by the monotonic clock

    def tick(self) -> bool:
        """Take the steps that are due; between two rounds, none, nor where another daemon leads."""
        if time.monotonic() < self._next_round:
            return True
        self._next_round = time.monotonic() + ROUND_SECONDS
        store, now = self._context.store, self._context.clock()
        topics = overview.topics(store, self._context.plan.sources.values())
        known = store.subscriptions.all()
        leads = self._context.term() is not None
        for feed_id, topic in topics.items() if leads else ():
            if not any(one.feed_id == feed_id and topic.is_of(one) for one in known):
                known.append(store.subscriptions.add(_new(feed_id, topic, now)))
        asks: list[tuple[Subscription, Mode]] = []
        for one in known if leads else ():
            topic_now = topics.get(one.feed_id)
            is_replaced = topic_now is not None and any(
                other.feed_id == one.feed_id and topic_now.is_of(other) and other.holds(now)
                for other in known
            )
            match websub.next_step(one, topic_now, now, is_replaced=is_replaced):
                case Step.SUBSCRIBE:
                    asks.append((one, Mode.SUBSCRIBE))
                case Step.UNSUBSCRIBE:
                    asks.append((one, Mode.UNSUBSCRIBE))
                case Step.UNVERIFIED:
                    self._failed(one, "the hub did not verify the subscription")
                case Step.DROP:
                    store.subscriptions.drop(one)
        self._context.pushed = {
            topics[one.feed_id].feed
            for one in known
            if one.feed_id in topics and one.holds(now) and one.pushed_at is not None
        }
        if asks:
            with ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS, "websub") as pool:
                list(pool.map(self._ask, *zip(*asks[:PER_ROUND], strict=True)))
        return True

    def _ask(self, one: Subscription, mode: Mode) -> None:
        """Ask a hub, which verifies by asking back: perhaps before it has answered."""
        if self._context.stopping.is_set():
            return
        store, now = self._context.store, self._context.clock()
        pending = store.subscriptions.save(one, websub.asked(one, mode, now))
        if pending is None:
            return
        error = self._post(pending, mode)
        if error is not None and not self._context.stopping.is_set():
            self._failed(pending, error)

    def _failed(self, one: Subscription, error: str) -> None:
        store = self._context.store
        after = websub.failed(one, error, self._context.clock())
        if store.subscriptions.save(one, after) is not None and one.error != error:
            log.warning("hub %s: %s", urlsplit(one.hub).hostname, error)

    def _post(self, one: Subscription, mode: Mode) -> str | None:
        """Send the request; why it came to nothing, or None."""
        fields = {
            "hub.mode": mode.value,
            "hub.topic": one.topic,
            "hub.callback": f"{self._callback}{one.token}",
        }
        if mode is Mode.SUBSCRIBE:
            seconds = int(websub.LEASE.total_seconds())
            fields |= {"hub.secret": one.secret, "hub.lease_seconds": str(seconds)}
        try:
            at = httpx.URL(one.hub)
            with deadline(SECONDS), limit_scope(Scope(one.scope)):
                for _ in range(MAX_REDIRECTS + 1):
                    with self._client.stream("POST", at, data=fields) as response:
                        if response.is_success:
                            return None
                        is_moved = response.has_redirect_location
                        if not is_moved or response.status_code not in SAME_METHOD:
                            return f"the hub answered {response.status_code}"
                        at = at.join(response.headers["location"])
        except TooPrivateError as error:
            return f"the hub is at a private address ({error}), refused"
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            return f"the hub could not be asked ({shortened(described(error))})"
        return "the hub redirects too often"


def _new(feed_id: int, topic: Topic, now: datetime) -> Subscription:
    return Subscription(
        feed_id=feed_id,
        hub=topic.hub,
        topic=topic.url,
        scope=topic.scope,
        token=secrets.token_hex(16),
        secret=secrets.token_hex(32),
        due_at=now,
    )


class Callback:
    """What hubs say to us, on the public side."""

    def __init__(
        self,
        store: Store,
        sources: Callable[[], Mapping[str, FeedConfig]],
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._sources = sources
        self._clock = clock

    def verify(self, token: str, mode: str, topic: str, lease_seconds: int | None) -> bool:
        """A hub asks back; whether we had asked it. Raises `StoreError`."""
        store, now = self._store.subscriptions, self._clock()
        one = store.find(token)
        if one is None:
            return False
        if mode == DENIED and topic == one.topic and one.pending is not None:
            return store.save(one, websub.failed(one, "the hub has denied it", now)) is not None
        if not websub.may_verify(one, mode, topic):
            return False
        if one.pending is Mode.UNSUBSCRIBE:
            store.drop(one)
            return True
        if store.save(one, websub.verified(one, lease_seconds, now)) is None:
            return False
        log.info("hub %s: subscribed", urlsplit(one.hub).hostname)
        return True

    def push(self, token: str, signature: str | None, body: bytes) -> bool:
        """A hub says that a feed has changed; False if there is no such subscription.

        The feed is due then, a minute after its last check at the earliest. A push that is forged,
        unsigned, late or not the first of its kind does nothing. Raises `StoreError`.
        """
        store, now = self._store, self._clock()
        one = store.subscriptions.find(token)
        if one is None:
            return False
        if not websub.counts(one, signature, body, now):
            return True
        name = store.subscriptions.feed_of(one)
        if store.subscriptions.save(one, websub.pushed(one, body, now)) is None or name is None:
            return True  # another push of the same moment counts
        try:
            due_at = request_check(store, self._sources(), name, now)
        except NotFoundError:
            return True  # the config has just lost it
        log.info("feed %s: pushed, due at %s", name, f"{due_at:%H:%M:%S}", extra={"feed": name})
        return True
