"""What is said of a feed before it is added or removed."""

from datetime import UTC, datetime

from feedwatch.cli.check import coming_import, result_of
from feedwatch.cli.output import in_words, print_table, tell
from feedwatch.config.keys import Settings
from feedwatch.core.admission import Verdict
from feedwatch.core.episode import LIVE, State
from feedwatch.core.feed import Feed, ParsedFeed
from feedwatch.core.json_forms import short
from feedwatch.core.printable import counted, printable
from feedwatch.core.rhythm import Published, rhythm_in_words
from feedwatch.core.settings import FeedConfig
from feedwatch.store.store import Store
from feedwatch.watcher.look import Look
from feedwatch.watcher.overview import configured_feeds

MAX_LISTED = 10  # episodes that the first check submits


def describe(source: FeedConfig, parsed: ParsedFeed, name: str) -> None:
    """What the feed is, in a few lines."""
    now = datetime.now(UTC)
    playable = [one for one in parsed.items if one.enclosure_url is not None]
    dates = sorted(one.published_at for one in playable if one.published_at is not None)
    rhythm = rhythm_in_words(
        [Published(at=at, state=State.SKIPPED) for at in dates],
        Feed(name=name, url=source.url),
        now,
    )
    others = len(parsed.items) - len(playable)
    beside = f", and {counted(others, 'item')} without audio or video" if others else ""
    tell(f"title     {printable(parsed.title) or '(none)'}")
    tell(f"name      {name.lower()}")
    tell(f"feed      {source.url}")
    tell(f"episodes  {len(playable)}{beside}")
    tell(f"rhythm    {rhythm}")


def foretell(settings: Settings, store: Store, source: FeedConfig, looked: Look) -> None:
    """Say what the first check would submit, by the rules of `check`."""
    feed, now = configured_feeds(store, [source])[source.name], datetime.now(UTC)
    coming = coming_import(settings, store)
    decisions = result_of(settings, store, feed, source, looked, coming, now)[1]
    due = [one for one in decisions if one.verdict is Verdict.SUBMIT]
    held = sum(one.verdict is Verdict.HOLD for one in decisions)
    if feed.baseline_at is not None:
        tell("\nA feed of this name was watched before: what it has seen stays known.")
    tell(
        f"\nIts first check submits {counted(len(due), 'episode')}, each of which is paid for."
        if due
        else "\nIts first check submits nothing: only what is published from now on is submitted. "
        "With --first-run latest:1 so is the latest episode."
    )
    if held:
        tell(f"It holds {counted(held, 'episode')} until you approve them.")
    rows = [
        {
            "published (UTC)": short(one.item.published_at),
            "title": one.item.title,
            "reason": one.reason,
        }
        for one in due[:MAX_LISTED]
    ]
    print_table(rows)
    if len(due) > MAX_LISTED:
        tell(f"and {len(due) - MAX_LISTED} more")


def fate_of_episodes(store: Store, feed: str) -> str:
    """What becomes of the episodes of a feed that the config no longer has."""
    counts = store.statistics.by_feed().get(feed)
    if counts is None:
        return "No episode of it is known."
    states = counts.by_state
    total = sum(states.values())
    stay = "stay" if total > 1 else "stays"
    kept = f"Its {counted(total, 'episode')} ({in_words(states)}) {stay} known"
    queued, live = states.get(State.QUEUED, 0), sum(states.get(one, 0) for one in LIVE)
    told = [f"those queued ({queued}) are not submitted"] if queued else []
    told += [f"jobs under way ({live}), which are paid for, are polled on"] if live else []
    return "; ".join([kept, *told]) + "."
