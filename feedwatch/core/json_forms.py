"""JSON forms of episodes and feeds: what `--json`, events and the API give to programs."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from feedwatch.core.circuit_breaker import CircuitBreaker, next_read
from feedwatch.core.daemons import DaemonHealth
from feedwatch.core.episode import Episode, EpisodeCounts, Event, HistoryEntry, State
from feedwatch.core.feed import Feed, UrlChange
from feedwatch.core.feed_lifecycle import feed_state
from feedwatch.core.health import Pass, pass_interval
from feedwatch.core.identity import Key
from feedwatch.core.pipeline import EndedStep
from feedwatch.core.printable import printable
from feedwatch.core.remarks import in_words, missing_podcast_in_words
from feedwatch.core.served import Placing, ServedDocument
from feedwatch.core.settings import feed_key
from feedwatch.core.status import ProcessorStatus, Status
from feedwatch.core.websub import Subscription


def episode_json(episode: Episode) -> dict[str, Any]:
    """An episode, with the fields that the interface promises."""
    return {
        "id": episode.id,
        "feed": episode.feed,
        "guid": episode.guid,
        "title": episode.title,
        "enclosure_url": episode.enclosure_url,
        "published_at": stamp(episode.published_at),
        "state": episode.state.value,
        "step": episode.step.value,
        "reason": episode.reason,
        "media_id": episode.media_id,
        "remote_status": episode.remote_status,
        "processed_url": episode.processed_url,
        "duration": episode.duration,
        "attempts": episode.attempts,
        "first_seen_at": stamp(episode.first_seen_at),
        "submitted_at": stamp(episode.submitted_at),
        "finished_at": stamp(episode.finished_at),
    }


def stamp(moment: datetime | None) -> str | None:
    """A time in ISO 8601 with Z, as in all JSON."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment is not None else None


def short(moment: datetime | None) -> str:
    """A time for tables: to the minute, in UTC."""
    return moment.strftime("%Y-%m-%d %H:%M") if moment is not None else "-"


def utc(moment: datetime | None) -> str:
    """A time in a sentence: to the minute, in UTC, and saying so."""
    return f"{short(moment)}Z" if moment is not None else "-"


# How a sentence for people writes a time.
Spoken = Callable[[datetime | None], str]


def whole_episode_json(
    episode: Episode,
    keys: Sequence[Key],
    history: Sequence[HistoryEntry],
    placing: Placing | None,
    ended: Sequence[EndedStep],
) -> dict[str, Any]:
    """An episode with all that is kept of it: its keys, its history, its steps that have ended.

    placing: what it is in its served feed; None where it is not to be in one.
    """
    return episode_json(episode) | {
        "description": episode.description,
        "podcast_id": episode.podcast_id,
        "progress": episode.remote_progress,
        "remote_created_at": episode.remote_created_at,
        "remote_updated_at": episode.remote_updated_at,
        "ad_removal_markers": episode.ad_removal_markers,
        "failed_attempts": episode.failed_attempts,
        "overdue": episode.overdue,
        "due_at": stamp(episode.due_at),
        "served": {"url": placing.url, "reason": placing.reason} if placing else None,
        "known_by": [str(key) for key in keys],
        "steps": [step_json(one) for one in ended],
        "history": [history_json(entry) for entry in history],
    }


def step_json(ended: EndedStep) -> dict[str, Any]:
    """A step of an episode that has ended."""
    return {
        "step": ended.step.value,
        "processor": ended.processor,
        "outcome": ended.outcome.value,
        "job_id": ended.job_id,
        "remote_status": ended.remote_status,
        "url": ended.url,
        "result": ended.result,
        "submitted_at": stamp(ended.submitted_at),
        "finished_at": stamp(ended.finished_at),
    }


def history_json(entry: HistoryEntry) -> dict[str, Any]:
    """An entry of an episode's history."""
    return {
        "at": stamp(entry.at),
        "state": entry.state.value,
        "reason": entry.reason,
        "actor": entry.actor,
        "step": entry.step.value if entry.step is not None else None,
    }


def event_json(event: Event) -> dict[str, Any]:
    """An entry of the history, with its episode."""
    return {
        "id": event.id,
        "episode": event.episode_id,
        "feed": event.feed,
        "title": event.title,
        "previous": event.previous.value if event.previous is not None else None,
        **history_json(event.entry),
    }


def counts(counted: EpisodeCounts | None) -> dict[str, int]:
    """How many episodes of a feed are in each state, all states."""
    by_state = counted.by_state if counted is not None else {}
    return {state.value: by_state.get(state, 0) for state in State}


def totals(counted: Mapping[str, EpisodeCounts]) -> dict[str, int]:
    """How many episodes of all feeds are in each state, all states."""
    by_feed = [counts(one) for one in counted.values()]
    return {state.value: sum(one[state] for one in by_feed) for state in State}


def feed_json(
    feed: Feed,
    breaker: CircuitBreaker,
    counted: EpisodeCounts | None,
    url_changes: Sequence[UrlChange] = (),
    served: ServedDocument | None = None,
    subscription: Subscription | None = None,
) -> dict[str, Any]:
    """A feed, with the fields that the interface promises."""
    return {
        "name": feed.name,
        "url": feed.url,
        "state": feed_state(feed, breaker).value,
        "last_checked_at": stamp(feed.checked_at),
        "last_success_at": stamp(feed.success_at),
        "last_new_at": stamp(feed.last_new_at),
        "next_check_at": stamp(feed.due_at),
        "failures": feed.failures,
        "error": feed.error,
        "episodes": counts(counted),
        "address": feed.moved_url,
        "addresses": [
            {"at": stamp(one.at), "url": one.url, "reason": one.reason} for one in url_changes
        ],
        "expected_by": stamp(feed.expected_by),
        "silent_since": stamp(feed.silent_since),
        "remarks": in_words(feed),
        "repaired": bool(feed.repaired),
        "served": {
            "document_at": stamp(served.at),
            "unplaced": served.unplaced,
            "problem": served.problem,
        }
        if served is not None
        else None,
        "push": {
            "hub": feed.hub,
            "subscribed_until": stamp(subscription.lease_until) if subscription else None,
            "last_push_at": stamp(subscription.pushed_at) if subscription else None,
            "error": subscription.error if subscription else None,
        }
        if feed.hub is not None
        else None,
    }


def remark(feed: Feed, spoken: Spoken = utc) -> str | None:
    """What a person should know of a feed, in a sentence or two; None if nothing."""
    pause = pause_in_words(feed, spoken) if feed.paused else None
    return "; ".join([*filter(None, (pause, _condition(feed, spoken))), *in_words(feed)]) or None


def _condition(feed: Feed, spoken: Spoken) -> str | None:
    if feed.error is not None:
        return feed.error
    if feed.missing_podcast is not None:
        return missing_podcast_in_words(feed.name, feed.missing_podcast)
    if feed.silent_since is not None:
        expected = spoken(feed.expected_by)
        return f"answers, but has brought nothing new for long: expected by {expected}"
    if feed.moved_url is not None:
        return f"moved for good to {feed.moved_url}: set {feed_key(feed.name, 'URL')} to it"
    if feed.repaired:
        return "its document is damaged (no well-formed XML, or bad bytes), and was repaired"
    return None


def pause_in_words(paused: Feed | CircuitBreaker, spoken: Spoken = utc) -> str:
    """Since when and by whom, and what ends it."""
    since = f" since {spoken(paused.paused_at)}" if paused.paused_at is not None else ""
    option = f" --feed {paused.name}" if isinstance(paused, Feed) else ""
    return f"paused{since} by {paused.paused_by or 'a person'}; `feedwatch resume{option}` ends it"


def submissions_in_words(
    breaker: CircuitBreaker, due_at: datetime | None, now: datetime, spoken: Spoken = utc
) -> str:
    """Whether submissions may leave, and if not: why, and what ends that.

    `due_at`: when an episode is to be submitted next; None if none is.
    """
    if breaker.paused:
        return pause_in_words(breaker, spoken)
    if (when := next_read(breaker, due_at, now)) is None:
        return "open"
    if breaker.blocked:
        return (
            f"stopped until somebody acts: {breaker.reason}; see `feedwatch doctor`; a read is "
            f"tried {when}"
        )
    return f"stopped until a read succeeds, tried {when}: {breaker.reason}"


def _pass_json(passes: Sequence[Pass]) -> dict[str, Any] | None:
    """The last `run --once`; None where feedwatch runs as a daemon, or never ran."""
    if not passes:
        return None
    interval, last = pass_interval(passes), passes[0]
    return {
        "began_at": stamp(last.began_at),
        "seconds": last.seconds,
        "status": last.status,
        "interval_seconds": interval.total_seconds() if interval is not None else None,
    }


def processor_json(one: ProcessorStatus) -> dict[str, Any]:
    """One media API: whether submissions to it are open, and how near they are to its limits."""
    breaker = one.breaker
    return {
        "name": one.name,
        "paused": breaker.paused,
        "open": not breaker.paused and breaker.tripped_until is None,
        "reason": pause_in_words(breaker) if breaker.paused else breaker.reason,
        "last_24_hours": one.submitted_last_24_hours,
        "per_day": one.policy.max_submissions_per_day,
        "live_jobs": one.jobs_in_flight,
        "max_concurrent_jobs": one.policy.max_concurrent_jobs,
    }


def daemon_json(one: DaemonHealth) -> dict[str, Any]:
    """One of the daemons, for programs."""
    daemon = one.daemon
    return {
        "id": daemon.id,
        "host": daemon.host,
        "role": "leader" if daemon.leads else "watcher",
        "version": daemon.version,
        "config_mark": daemon.config_mark,
        "started_at": stamp(daemon.started_at),
        "last_progress_at": stamp(one.last_progress_at),
        "seen_seconds_ago": daemon.unseen_for.total_seconds(),
        "clock_offset_seconds": daemon.clock_offset,
        "problems": one.problems,
    }


def status_json(status: Status) -> dict[str, Any]:
    """The whole status, for programs."""
    breaker, unserved = status.breaker, status.unserved
    processors = [processor_json(one) for one in status.processors]
    limits = ("last_24_hours", "per_day", "live_jobs", "max_concurrent_jobs")
    return {
        "daemon": {
            "running": not status.problems and not status.passes,  # passes: by a timer
            "problems": list(status.problems),
            "last_progress_at": stamp(status.last_progress_at),
        },
        "daemons": [daemon_json(one) for one in status.daemons],
        "last_pass": _pass_json(status.passes),
        "paused": breaker.paused,
        "submissions": {
            "open": not breaker.paused and breaker.tripped_until is None,
            "reason": pause_in_words(breaker) if breaker.paused else breaker.reason,
            **{name: sum(one[name] for one in processors) for name in limits},
        },
        "processors": processors,
        "episodes": totals(status.counts),
        "feeds": [
            {
                "name": feed.name,
                "state": feed_state(feed, breaker),
                "error": feed.error,
                "silent_since": stamp(feed.silent_since),
                "remark": remark(feed),
            }
            for feed in status.feeds
        ],
        "troubles": [
            {
                "key": str(trouble.key),
                "kind": trouble.kind,
                "feed": trouble.feed,
                "episodes": trouble.episodes,
                "text": printable(trouble.text),
            }
            for trouble in status.troubles
        ],
        "untold": [
            {"channel": one.channel, "events": one.events, "error": one.error}
            for one in status.undelivered
        ],
        "served": {"unplaced": unserved.unplaced, "waiting": unserved.waiting}
        if unserved is not None
        else None,
        "push": {
            "named": status.push.named,
            "subscribed": status.push.subscribed,
            "errors": list(status.push.errors),
        }
        if status.push is not None
        else None,
        "waiting": [episode_json(episode) for episode in status.waiting],
        "overdue": [episode_json(episode) for episode in status.overdue],
        "journal": [
            {"place": place, "problem": problem} for place, problem in status.journal.items()
        ],
    }
