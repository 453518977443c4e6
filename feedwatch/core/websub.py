"""WebSub: what a hub is to be asked for and when, and which of its pushes count. Pure.

By the W3C Recommendation of 23 January 2018 (https://www.w3.org/TR/websub/). A push is believed in
nothing but that the feed is worth a look.
"""

import hashlib
import hmac
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, StrEnum, auto

from feedwatch.core.schedule import DAY, MINUTE, backoff

LEASE = 10 * DAY  # that a hub is asked for
SHORTEST_LEASE, LONGEST_LEASE = 5 * MINUTE, 90 * DAY  # that is believed of it
VERIFY_WITHIN = 10 * MINUTE  # a hub may ask back later than it answers
FIRST_RETRY = 10 * MINUTE  # after a hub that refuses or keeps silent; at last daily
MOST_UNSUBSCRIBE = 3  # requests: a lease that nobody renews ends by itself
REMEMBERED_PUSHES = 50
DIGEST = 16  # hexadecimal digits, of a push that is remembered
ALGORITHMS = (
    "sha1",
    "sha256",
    "sha384",
    "sha512",
)  # of a signature, as the Recommendation has them


class Mode(StrEnum):
    """What a hub is asked for; the words are WebSub's."""

    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"


@dataclass(frozen=True, kw_only=True)
class Topic:
    """What a feed's last good document names: a hub, and the address that it knows the feed by."""

    feed: str  # its name
    hub: str
    url: str
    scope: int  # the address scope of the feed itself: a hub may be no more private

    def is_of(self, one: "Subscription") -> bool:
        """Whether the subscription is to this topic at this hub."""
        return (self.hub, self.url) == (one.hub, one.topic)


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """A subscription, asked for, verified or about to end."""

    id: int = 0  # 0: not stored yet
    feed_id: int
    hub: str
    topic: str
    scope: int
    token: str = field(repr=False)  # the unguessable part of its callback
    secret: str = field(repr=False)
    due_at: datetime  # of the next step
    pending: Mode | None = None  # what the hub was asked for and has not verified
    lease_until: datetime | None = None  # verified, and pushes count so long
    failures: int = 0  # requests in a row
    error: str | None = None  # why the last one failed, for people
    pushed_at: datetime | None = None  # the last push that counted
    pushes: str = ""  # the digests of the last ones, so that none counts twice
    version: int = 0  # counts writes

    def holds(self, now: datetime) -> bool:
        """Whether it is verified and its lease is not over."""
        return self.lease_until is not None and now < self.lease_until


@dataclass(frozen=True, kw_only=True)
class Push:
    """What there is of WebSub over all feeds."""

    named: int  # feeds that name a hub
    subscribed: int
    errors: tuple[str, ...]  # of hubs that do not take or keep a subscription


class Step(Enum):
    """What is to be done about a subscription now."""

    SUBSCRIBE = auto()  # for the first time, or to renew it
    UNVERIFIED = auto()  # the hub did not ask back in time: it is asked again later
    UNSUBSCRIBE = auto()
    DROP = auto()


def next_step(
    one: Subscription, topic: Topic | None, now: datetime, *, is_replaced: bool
) -> Step | None:
    """What is to be done about a subscription; None: nothing now.

    `topic` is what its feed names now; `is_replaced` is whether another subscription to that holds.
    Until it does, the old one is kept: a hub that has changed must lose no push.
    """
    if topic is not None and topic.is_of(one):
        if one.due_at > now:
            return None
        return Step.UNVERIFIED if one.pending is Mode.SUBSCRIBE else Step.SUBSCRIBE
    if not one.holds(now):
        return Step.DROP
    if topic is not None and not is_replaced:
        return None
    if one.pending is not Mode.UNSUBSCRIBE:
        return Step.UNSUBSCRIBE
    if one.due_at > now:
        return None
    return Step.DROP if one.failures >= MOST_UNSUBSCRIBE else Step.UNSUBSCRIBE


def asked(one: Subscription, mode: Mode, now: datetime) -> Subscription:
    """The subscription when its hub is about to be asked: it may verify before it answers."""
    failures = one.failures
    if mode is Mode.UNSUBSCRIBE:
        failures = failures + 1 if one.pending is mode else 1
    return replace(one, pending=mode, failures=failures, due_at=now + VERIFY_WITHIN)


def failed(one: Subscription, error: str, now: datetime) -> Subscription:
    """The subscription after a request that came to nothing. What holds goes on to hold."""
    failures = one.failures + 1
    if one.pending is Mode.UNSUBSCRIBE:
        return replace(one, error=error)
    wait = backoff(failures, first=FIRST_RETRY, most=DAY, key=one.token)
    return replace(one, pending=None, failures=failures, error=error, due_at=now + wait)


def may_verify(one: Subscription, mode: str, topic: str) -> bool:
    """Whether a hub that asks back is answered: only about what it was asked for."""
    return one.pending is not None and one.pending.value == mode and one.topic == topic


def verified(one: Subscription, lease_seconds: int | None, now: datetime) -> Subscription:
    """The subscription once its hub has asked back; it is renewed after two thirds of the lease."""
    lease = LEASE if lease_seconds is None else timedelta(seconds=min(lease_seconds, 10**9))
    lease = min(max(lease, SHORTEST_LEASE), LONGEST_LEASE)
    return replace(
        one,
        pending=None,
        lease_until=now + lease,
        due_at=now + lease * 2 / 3,
        failures=0,
        error=None,
    )


def counts(one: Subscription, signature: str | None, body: bytes, now: datetime) -> bool:
    """Whether a push makes the feed due: signed with our secret, in time, and not seen before."""
    algorithm, _, given = (signature or "").strip().partition("=")
    if algorithm not in ALGORITHMS or not one.holds(now):
        return False
    expected = hmac.new(one.secret.encode(), body, algorithm).hexdigest()
    is_ours = hmac.compare_digest(expected.encode(), given.strip().lower().encode())
    return is_ours and digest(body) not in one.pushes.split()


def pushed(one: Subscription, body: bytes, now: datetime) -> Subscription:
    """The subscription after a push that counted."""
    last = [*one.pushes.split(), digest(body)][-REMEMBERED_PUSHES:]
    return replace(one, pushed_at=now, pushes=" ".join(last))


def digest(body: bytes) -> str:
    """By what a push is recognised."""
    return hashlib.sha256(body).hexdigest()[:DIGEST]
