"""Alert rules: what needs a person now, and which of it is announced. Pure.

`status` shows the troubles; an alert announces each when it begins, grows and is over.
docs/notifications.md lists them.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from feedwatch.core.alert import Alert, AlertKey, LostPodcast, Trouble, Waiting
from feedwatch.core.circuit_breaker import CircuitBreaker
from feedwatch.core.daemons import DIFFERS_FOR, OFFSET_WRONG, Daemon, spoken
from feedwatch.core.episode import State
from feedwatch.core.events import Change, Event, event
from feedwatch.core.feed import ErrorKind, Feed, RemarkKind
from feedwatch.core.json_forms import stamp
from feedwatch.core.masking import masked, shortened
from feedwatch.core.pipeline import PROCESSOR_OF, Step
from feedwatch.core.printable import counted
from feedwatch.core.remarks import missing_podcast_in_words, remark_in_words
from feedwatch.core.settings import feed_key

FAILED_FOR = timedelta(days=7)  # for so long a failed episode counts; nobody has to settle it
FAILED_CHECKS = 3  # in a row: one or two happen to every server
FAILED_SUBMISSIONS = 12  # in a row, about three quarters of an hour: an outage that lasts
AGAIN = timedelta(hours=1)  # between two events about one trouble that grows
# What ends by itself may come again by itself: it is over only once it has not come for so long.
ENDS_BY_ITSELF = ("failing", "gone", "blocked", "stopped", "podcast", "lost")
# What a rollout, or a step of a clock, brings for a moment is announced only once it has lasted.
ANNOUNCED_AFTER = {"config": DIFFERS_FOR, "clock": DIFFERS_FOR}  # seconds
CALM = {kind: timedelta(minutes=10) for kind in ENDS_BY_ITSELF}
# Troubles of a feed itself, rather than of its episodes.
OF_A_FEED = {"failing", "gone", "silent", *(kind.value for kind in RemarkKind)}
OVER = {
    "held": "no episode is held any more",
    "unknown": "no submission is in doubt any more",
    "failed": f"no episode has failed in the last {FAILED_FOR.days} days",
    "overdue": "no job is overdue any more",
    "failing": "its checks no longer fail",
    "silent": "a new episode has come",
    "gone": "it is no longer said to be gone",
    RemarkKind.NO_ENCLOSURES.value: "it has enclosures now",
    RemarkKind.FIXED_ADDRESS.value: "its episodes have addresses of their own",
    RemarkKind.PAGES.value: "it names no further page any more",
    RemarkKind.NEW_FEED_URL.value: "it names no other address any more",
    RemarkKind.UNREAD.value: "all its items can be read again",
    "podcast": "the API key reaches its podcast",
    "lost": "the API knows its jobs again",
    "blocked": "submissions are possible again",
    "stopped": "submissions are possible again",
    "config": "all daemons have the leader's config",
    "clock": "the clocks of all daemons are right",
}


def current_troubles(
    feeds: Collection[Feed],
    breakers: Mapping[str, CircuitBreaker],
    waiting: Collection[Waiting],
    lost: Collection[LostPodcast] = (),
    daemons: Collection[Daemon] = (),
) -> list[Trouble]:
    """Everything that needs a person, the gravest first; `breakers` by their processors' names."""
    found: list[Trouble | None] = []
    found += [_of_breaker(name, breaker) for name, breaker in breakers.items()]
    found += [*_of_daemons([one for one in daemons if one.is_alive])]
    active = [feed for feed in feeds if feed.active]
    found += [*map(_of_podcast, active), *map(_of_lost, lost)]
    found += [*map(_of_waiting, waiting), *map(_of_feed, active)]
    silent = "no new episode for much longer than it ever took; has it moved, or ended?"
    found += [
        Trouble(kind="silent", feed=feed.name, text=f"feed {feed.name}: {silent}")
        for feed in active
        if feed.silent_since is not None
    ]
    found += [
        Trouble(
            kind=remark.kind.value,
            feed=feed.name,
            text=f"feed {feed.name}: {remark_in_words(remark, feed.name)}",
        )
        for feed in active
        for remark in feed.remarks or ()
    ]
    return [trouble for trouble in found if trouble is not None]


def transitions(
    current: Collection[Trouble], alerts: Mapping[AlertKey, Alert], now: datetime
) -> Iterator[Change]:
    """What becomes of `alerts`, now that the troubles are `current`, and what is announced."""
    for trouble in current:
        alert = alerts.get(trouble.key)
        if alert is None:
            begun = Alert(
                key=trouble.key, version=trouble.version, since=now, told_at=now, gone_at=None
            )
            yield Change(alert=begun, event=_event("trouble.began", trouble, begun, now))
            continue
        # An announcement in the future means that the clock was set back since.
        may_announce = not timedelta() <= now - alert.told_at < AGAIN
        if trouble.version > alert.version and may_announce:
            grown = replace(alert, version=trouble.version, told_at=now, gone_at=None)
            yield Change(alert=grown, event=_event("trouble.grew", trouble, grown, now))
        elif alert.gone_at is not None:  # it was over for a moment only
            yield Change(alert=replace(alert, gone_at=None))
    for key in alerts.keys() - {trouble.key for trouble in current}:
        alert, feed = alerts[key], key.feed
        kind, _, processor = key.kind.partition(":")
        calm = CALM.get(kind, timedelta())
        if alert.gone_at is None and calm:
            yield Change(alert=replace(alert, gone_at=now))
        elif alert.gone_at is None or not timedelta() <= now - alert.gone_at < calm:
            of = f"feed {feed}: " if feed else f"{processor}: " if processor else ""
            text = f"over: {of}{OVER.get(kind, kind)}"
            over = Trouble(kind=kind, feed=feed, text=text, processor=processor or None)
            ended = _event("trouble.ended", over, alert, now)
            yield Change(alert=alert, over=True, event=ended)


def _of_breaker(name: str, breaker: CircuitBreaker) -> Trouble | None:
    # Inlet's keep the names that they were released with.
    processor = name if name != PROCESSOR_OF[Step.ADS] else None
    what = f"{processor}: submissions" if processor is not None else "submissions"
    if breaker.tripped_until is None:
        return None
    if breaker.blocked:
        text = f"{what} stop until somebody acts: {breaker.reason}; see `feedwatch doctor`"
        return Trouble(kind="blocked", feed=None, text=text, processor=processor)
    if breaker.failures >= FAILED_SUBMISSIONS:
        text = f"{what} stop, {breaker.failures} attempts in a row failed: {breaker.reason}"
        return Trouble(kind="stopped", feed=None, text=text, processor=processor)
    return None


def _of_daemons(daemons: Collection[Daemon]) -> Iterator[Trouble]:
    leader = next((one for one in daemons if one.leads), None)
    others = [one for one in daemons if leader and one.config_mark != leader.config_mark]
    if leader and others:
        yield Trouble(
            kind="config",
            feed=None,
            text=f"{_named(others)} and {spoken(leader.id)}, which leads, have two configs: a feed "
            "that only one of them has is checked by that one alone, and submitted as the leader "
            "has it; put one config everywhere and reload it, see `feedwatch daemons`",
            version=f"{len(others):05}",
        )
    wrong = [one for one in daemons if abs(one.clock_offset or 0.0) > OFFSET_WRONG]
    if wrong:
        seconds = max(abs(one.clock_offset or 0.0) for one in wrong)
        yield Trouble(
            kind="clock",
            feed=None,
            text=f"the clock of {_named(wrong)} is {seconds:.0f} s off the database's; set the one "
            "that is wrong, by NTP for example, see `feedwatch daemons`",
            version=f"{len(wrong):05}",
        )


def _named(daemons: Collection[Daemon]) -> str:
    return ", ".join(spoken(one.id) for one in daemons)


def _of_podcast(feed: Feed) -> Trouble | None:
    if feed.missing_podcast is None:
        return None
    text = missing_podcast_in_words(feed.name, feed.missing_podcast)
    return Trouble(kind="podcast", feed=feed.name, text=f"feed {feed.name}: {text}")


def _of_lost(lost: LostPodcast) -> Trouble:
    who, whose, what = "the API", f"podcast {lost.podcast_id}", "the podcast or the API key"
    if lost.step is not Step.ADS:
        who, whose, what = PROCESSOR_OF[lost.step], lost.podcast_id, "its key"
    text = (
        f"feed {lost.feed}: {who} knows none of the {counted(lost.jobs, 'job')} of {whose}; was "
        f"{what} changed? They are polled on"
    )
    return Trouble(kind="lost", feed=lost.feed, text=text, episodes=lost.jobs)


def _of_feed(feed: Feed) -> Trouble | None:
    key = feed_key(feed.name, "URL")
    if feed.error_kind is ErrorKind.GONE:
        text = f"{feed.error}; if it has moved, set {key}, else take the feed out of the config"
        return Trouble(kind="gone", feed=feed.name, text=f"feed {feed.name}: {text}")
    if feed.error is None or feed.failures < FAILED_CHECKS:
        return None
    text = f"{feed.failures} checks in a row failed: {feed.error}; is {key} right?"
    return Trouble(kind="failing", feed=feed.name, text=f"feed {feed.name}: {text}")


def _of_waiting(waiting: Waiting) -> Trouble | None:
    name, number, newest = waiting.feed, waiting.episodes, waiting.newest_id
    those = counted(number, "episode")
    one = f"episode {newest}, {shortened(waiting.newest_title, 80)!r}"
    why = f"{one if number == 1 else f'the newest is {one}'}: {waiting.newest_reason}"
    step, at, past = waiting.newest_step, "the media API", ""
    if step is not Step.ADS:
        at = f"{PROCESSOR_OF[step]}, for its step {step}"
        past = f"; `feedwatch skip --step {newest}` goes on without it, where a step follows"
    match waiting.state:
        case State.HELD:
            kind, text = "held", f"{those} held ({why})"
            todo = f"`feedwatch approve --feed {name}` or `feedwatch skip --feed {name}` settles it"
            todo += past
        case State.UNKNOWN:
            kind, text = "unknown", f"{those} in doubt ({why})"
            todo = (
                f"look for it at {at}, then `feedwatch adopt {newest} MEDIA_ID`, "
                f"`feedwatch retry {newest}` or `feedwatch skip {newest}`{past}"
            )
        case State.FAILED:
            kind, text = "failed", f"{those} failed in the last {FAILED_FOR.days} days ({why})"
            todo = f"`feedwatch retry {newest}` submits it again{past}"
        case State.PROCESSING:
            kind, text = "overdue", f"{those} overdue at the media API ({why})"
            todo = f"ask {at}; it is polled on and never submitted again by itself{past}"
        case _:
            return None
    return Trouble(
        kind=kind,
        feed=name,
        text=f"feed {name}: {text}; {todo}",
        episodes=number,
        version=waiting.version,
    )


def _event(what: str, trouble: Trouble, alert: Alert, now: datetime) -> Event:
    key = str(trouble.key)
    data = {
        "key": key,
        "kind": trouble.kind,
        "feed": trouble.feed,
        "episodes": trouble.episodes,
        "since": stamp(alert.since),
    }
    return event(what, key, now, masked(trouble.text), data)
