"""Feed lifecycle: what a feed becomes once it has been checked, and when it is due again. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from feedwatch.core import redirects, schedule
from feedwatch.core.circuit_breaker import CircuitBreaker
from feedwatch.core.feed import (
    CheckMark,
    Document,
    ErrorKind,
    Failed,
    Feed,
    FeedState,
    Gone,
    NotModified,
    ParsedFeed,
    Remark,
    Same,
)
from feedwatch.core.schedule import DAY, HOUR

RECENT_CHECKS = 48  # whose outcomes are kept
MARKS = {
    ParsedFeed: CheckMark.CHANGED,
    Same: CheckMark.SAME,
    NotModified: CheckMark.NOT_MODIFIED,
    Gone: CheckMark.FAILED,
    Failed: CheckMark.FAILED,
}


def checked(
    feed: Feed,
    outcome: ParsedFeed | NotModified | Same | Gone | Failed,
    document: Document | None,
    now: datetime,
    interval: timedelta,
    *,
    found_new: bool = False,
    item_count: int = 0,
    published: Sequence[datetime] | None = None,
    remarks: tuple[Remark, ...] | None = None,
    is_pushed: bool = False,
) -> Feed:
    """The feed after a check.

    `document`: what a `ParsedFeed` was read from; None of any other outcome.
    `interval`: the check interval of the config.
    `found_new`, `item_count`: whether any of its episodes is new, and how many it has.
    `remarks`: those on a `ParsedFeed`.
    `is_pushed`: its hub tells of its changes, so it is checked less often.
    `published`: when the latest episodes were published, where this may have changed.
    """
    recent = ((feed.recent_checks or "") + MARKS[type(outcome)])[-RECENT_CHECKS:]
    feed = replace(feed, recent_checks=recent)
    match outcome:
        case Failed(reason, retry_after):
            return _check_failed(feed, reason, now, interval, retry_after)
        case Gone():
            reason = "gone: the server answered 410"
            return _check_failed(feed, reason, now, interval, DAY, ErrorKind.GONE)
        case ParsedFeed(items=(), unchanged=0):
            # A show that has not begun is no fault, but a show that has lost all its episodes looks
            # the same. A person should know of either; what is published next is new.
            failed = _check_failed(feed, "the feed has no items", now, interval, None)
            if feed.baseline_at is not None:
                return failed
            return replace(failed, baseline_at=now, hold_if_published_before=now, doubted_at=now)
    after = replace(
        _with_rhythm(feed, published, now, found_new=found_new),
        checked_at=now,
        success_at=now,
        failures=0,
        error=None,
        error_kind=None,
        # Later than now: the clock was set back since, and nobody could decide until that time.
        doubted_at=min(feed.doubted_at, now) if feed.doubted_at is not None else None,
    )
    answer = outcome.document if isinstance(outcome, Same) else document or outcome
    if isinstance(answer, Document | NotModified):
        after = redirects.observed(after, answer.moved, now)
        after = replace(after, http_max_age=_seconds(answer.http_max_age) or after.http_max_age)
    if isinstance(answer, Document):
        hub, topic = answer.links.hub, answer.links.itself or answer.url
        named = (hub, topic, answer.scope or 0) if hub is not None else (None, None, None)
        after = replace(after, hub=named[0], hub_topic=named[1], hub_scope=named[2])
    if isinstance(outcome, Same):
        after = replace(
            after,
            etag=outcome.document.etag,
            last_modified=outcome.document.last_modified,
            last_full_fetch_at=now,
            body_hash=outcome.document.body_hash,
        )
    elif isinstance(outcome, ParsedFeed) and document is not None:
        unread = bool(outcome.unchanged)  # items of which no description was read
        after = replace(
            after,
            etag=document.etag,
            last_modified=document.last_modified,
            last_full_fetch_at=now,
            body_hash=document.body_hash,
            full_reads_done=feed.full_reads_done if unread else feed.full_reads_requested,
            baseline_at=feed.baseline_at or now,
            last_new_at=now if found_new else feed.last_new_at,
            item_count=item_count,
            remarks=remarks,
            repaired=outcome.repaired,
            http_max_age=_seconds(document.http_max_age),
            feed_ttl=_seconds(document.hints.every),
            skip_hours=document.hints.skip_hours,
            skip_days=document.hints.skip_days,
        )
    return replace(after, due_at=_due_after_success(after, now, interval, is_pushed=is_pushed))


def read_by(feed: Feed, media_types: Sequence[str], now: datetime) -> Feed:
    """The feed, about to be read with `media_types` counting as episodes.

    Where these have changed, old items may turn up that were no episodes before: they are held.
    """
    stated = ",".join(media_types)
    if feed.media_types in (None, stated):
        return replace(feed, media_types=stated)
    return replace(
        feed,
        media_types=stated,
        hold_if_published_before=now,
        doubted_at=now,
        last_full_fetch_at=None,
    )


def may_ask_conditionally(feed: Feed, now: datetime) -> bool:
    """Whether a conditional GET is in order: never after an error, nor for a whole day on end."""
    if (
        feed.failures
        or feed.last_full_fetch_at is None
        or feed.full_reads_requested != feed.full_reads_done
    ):
        return False
    return timedelta() <= now - feed.last_full_fetch_at < DAY  # a time to come is a clock's error


def may_settle(feed: Feed) -> bool:
    """Whether a person can decide about a feed in doubt: only after a good check since it began."""
    if feed.hold_if_published_before is None or feed.doubted_at is None:
        return True
    return feed.success_at is not None and feed.success_at > feed.doubted_at


def feed_state(feed: Feed, breaker: CircuitBreaker) -> FeedState:
    """The one word for a feed, as CLI, page and JSON have it."""
    return state_of(breaker, feed.paused, feed.failures > 0, feed.checked_at is not None)


def state_of(breaker: CircuitBreaker, paused: bool, failing: bool, checked: bool) -> FeedState:
    """The rule of `feed_state`, also for who counts the feeds by these facts in SQL."""
    if paused or breaker.paused:
        return FeedState.PAUSED
    if failing:
        return FeedState.FAILING
    return FeedState.OK if checked else FeedState.NEW


def _with_rhythm(
    feed: Feed, published: Sequence[datetime] | None, now: datetime, *, found_new: bool
) -> Feed:
    """The feed after a good answer, which may end a silence or show that there is one."""
    if published is not None:
        # Of a feed that was not followed so far, the silence began with its latest episode.
        latest = max((moment for moment in published if moment <= now), default=now)
        followed = feed.expected_by is not None or (found_new and feed.baseline_at is not None)
        expected_by = schedule.expected_by(published, now if followed else latest)
        feed = replace(feed, expected_by=expected_by, silent_since=None)
    if feed.silent_since is None and feed.expected_by is not None and now > feed.expected_by:
        return replace(feed, silent_since=now)
    return feed


def _due_after_success(
    feed: Feed, now: datetime, interval: timedelta, *, is_pushed: bool
) -> datetime:
    """When the config says, or later if the polling hints ask for that, or a hub pushes."""
    hints = [timedelta(seconds=one or 0) for one in (feed.feed_ttl, feed.http_max_age)]
    hints += [DAY] if is_pushed else []
    plain = schedule.jittered(interval, feed.name)
    lengthened = schedule.jittered(schedule.lengthened(interval, *hints), feed.name)
    due_at = now + min(lengthened, max(plain, DAY))
    # What is due beyond the horizon would count as due now.
    at_most = min(DAY, now + schedule.horizon(interval) - due_at - HOUR)
    hours, days = feed.skip_hours or 0, feed.skip_days or 0
    return schedule.past_skips(due_at, hours, days, at_most=at_most, key=feed.name)


def _check_failed(
    feed: Feed,
    reason: str,
    now: datetime,
    interval: timedelta,
    retry_after: timedelta | None,
    kind: ErrorKind | None = None,
) -> Feed:
    failures = feed.failures + 1
    failed = replace(feed, checked_at=now, failures=failures, error=reason, error_kind=kind)
    after = redirects.failed(failed)
    if after.moved_url != feed.moved_url:  # another URL, which has not failed yet
        return replace(after, due_at=now + schedule.jittered(interval, feed.name))
    due_at = schedule.next_try(
        now, interval, key=feed.name, failures=failures, retry_after=retry_after
    )
    return replace(after, due_at=due_at)


def _seconds(length: timedelta | None) -> int | None:
    return int(length.total_seconds()) if length is not None else None
