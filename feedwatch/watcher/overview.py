"""Overview: the state of everything, for `status`, the page and the API."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from feedwatch.core.episode import State
from feedwatch.core.feed import Feed
from feedwatch.core.feed_lifecycle import feed_state
from feedwatch.core.health import LOOPS, problems, record_of
from feedwatch.core.json_forms import episode_json, remark, stamp, totals
from feedwatch.core.printable import printable
from feedwatch.core.schedule import DAY
from feedwatch.core.settings import FeedConfig, Policy
from feedwatch.notify.alert_rules import FAILED_FOR, current_troubles
from feedwatch.store.store import Store

AT_MOST = 20  # episodes of one kind that `status` lists


def status_json(
    store: Store, processor: str, sources: Collection[FeedConfig], policy: Policy
) -> dict[str, Any]:
    """The whole of `status`, for programs."""
    now = datetime.now(UTC)
    breaker, tallies, beats = (
        store.breakers.get(processor),
        store.statistics.by_feed(),
        store.heartbeats.read(),
    )
    oldest = min((beats[name] for name in LOOPS if name in beats), default=None)
    wrong = ailments(store, now)
    needing = store.episodes.find(states=[State.HELD, State.UNKNOWN], limit=AT_MOST)
    overdue = [
        episode for episode in store.episodes.find(states=[State.PROCESSING]) if episode.overdue
    ]
    current = current_troubles(
        store.feeds.failing_or_silent(), breaker, store.statistics.waiting(now - FAILED_FOR)
    )
    return {
        "daemon": {
            "running": not wrong,
            "problems": wrong,
            "last_progress_at": stamp(oldest),
        },
        "paused": breaker.paused,
        "submissions": {
            "open": not breaker.paused and breaker.tripped_until is None,
            "reason": "paused by a person" if breaker.paused else breaker.reason,
            "last_24_hours": store.claims.submitted_since(now - DAY),
            "per_day": policy.max_submissions_per_day,
            "live_jobs": store.claims.in_flight(),
            "max_concurrent_jobs": policy.max_concurrent_jobs,
        },
        "episodes": totals(tallies),
        "feeds": [
            {
                "name": feed.name,
                "state": feed_state(feed, breaker),
                "error": feed.error,
                "silent_since": stamp(feed.silent_since),
                "remark": remark(feed),
            }
            for feed in remembered(store, sources).values()
        ],
        "troubles": [
            {
                "key": str(trouble.key),
                "kind": trouble.kind,
                "feed": trouble.feed,
                "episodes": trouble.episodes,
                "text": printable(trouble.text),
            }
            for trouble in current
        ],
        "untold": [
            {"channel": one.channel, "events": one.events, "error": one.error}
            for one in store.outbox.stuck()
        ],
        "waiting": [episode_json(episode) for episode in needing],
        "overdue": [episode_json(episode) for episode in overdue],
    }


def ailments(store: Store, now: datetime) -> list[str]:
    """Why the daemon, another process, makes no progress by what the database shows."""
    record = record_of(store.heartbeats.read(), store.statistics.snapshot(now))
    in_use = store.is_in_use()
    if in_use is False or (record is None and in_use is None):
        return ["not running: no daemon has this database"]
    return ["starting"] if record is None else problems(record)


def remembered(store: Store, sources: Collection[FeedConfig]) -> dict[str, Feed]:
    """What is known of each configured feed; of one never seen, only its name and URL."""
    known = {feed.name: feed for feed in store.feeds.all()}
    return {
        source.name: known.get(source.name, Feed(name=source.name, url=source.url))
        for source in sources
    }
