"""`feeds`, `episodes`, `show` and `status`."""

import sys
from datetime import timedelta
from typing import Any

import click

from feedwatch.cli.assembly import Options, opened
from feedwatch.cli.output import (
    NUMBER,
    WAITING,
    Exact,
    as_json,
    print_json,
    print_table,
    shown,
    stop,
    tell,
)
from feedwatch.config.load import Settings
from feedwatch.core.episode import Episode, State
from feedwatch.core.episode_lifecycle import is_lost
from feedwatch.core.feed_lifecycle import feed_state
from feedwatch.core.json_forms import (
    counts,
    episode_json,
    feed_json,
    remark,
    short,
    whole_episode_json,
)
from feedwatch.core.printable import printable
from feedwatch.processors.inlet import Inlet
from feedwatch.store.store import Store
from feedwatch.watcher.overview import remembered, status_json

DAY = timedelta(days=1)


@click.command()
@as_json
@click.pass_obj
def feeds(options: Options, *, as_json: bool) -> None:
    """Each feed: state, last success, last new episode, next check, failures, held episodes."""
    settings = options.settings()
    with opened(settings) as store:
        breaker, tallies = store.breakers.get(Inlet.name), store.statistics.by_feed()
        known, departures = remembered(store, settings.sources), store.feeds.url_changes()
        if as_json:
            print_json(
                [
                    feed_json(feed, breaker, tallies.get(feed.name), departures.get(feed.name, ()))
                    for feed in known.values()
                ]
            )
            return
        print_table(
            (
                "feed",
                "state",
                "last success",
                "last new",
                "next check",
                "failures",
                "held",
                "remark",
            ),
            (
                (
                    feed.name,
                    feed_state(feed, breaker),
                    short(feed.success_at),
                    short(feed.last_new_at),
                    short(feed.due_at),
                    feed.failures,
                    counts(tallies.get(feed.name))["held"],
                    remark(feed),
                )
                for feed in known.values()
            ),
            "No feed is configured.",
        )


@click.command()
@click.option("--feed", metavar="FEED", help="Of this feed only.")
@click.option(
    "--state", type=click.Choice([state.value for state in State]), help="In this state only."
)
@click.option("--limit", type=click.IntRange(1, 2**63 - 1), metavar="N", help="At most so many.")
@as_json
@click.pass_obj
def episodes(
    options: Options, *, feed: str | None, state: str | None, limit: int | None, as_json: bool
) -> None:
    """List the episodes, newest first."""
    settings = options.settings()
    with opened(settings) as store:
        found = store.episodes.find(
            feed=known_feed(store, settings, feed) if feed else None,
            states=[State(state)] if state else [],
            limit=limit,
        )
    if as_json:
        print_json([episode_json(episode) for episode in found])
        return
    print_table(
        ("id", "feed", "state", "published", "title", "reason or processed URL"),
        (
            (
                episode.id,
                episode.feed,
                episode.state,
                short(episode.published_at),
                episode.title,
                Exact(episode.processed_url) if episode.processed_url else episode.reason,
            )
            for episode in found
        ),
        "No episodes.",
    )


@click.command()
@click.argument("episode_id", type=NUMBER, metavar="ID")
@as_json
@click.pass_obj
def show(options: Options, *, episode_id: int, as_json: bool) -> None:
    """One episode: every field, and every decision about it with time and reason."""
    with opened(options.settings()) as store:
        episode = wanted(store, episode_id)
        keys, history = store.episodes.keys(episode_id), store.episodes.history(episode_id)
        document = shown(whole_episode_json(episode, keys, history))
    if as_json:
        print_json(document)
        return
    moves, keys = document.pop("history"), document.pop("known_by")
    for name, value in document.items():
        if value is not None:
            lines = [printable(line) for line in str(value).split("\n")]
            click.echo(f"{name + ':':<20} " + ("\n" + " " * 21).join(lines))
    tell("known by:")
    for key in keys:
        tell(f"  {printable(key)}")
    tell("history:")
    for move in moves:
        tell(f"  {move['at']}  {move['state']:<10}  {move['reason'] or ''}".rstrip())
    if hint := _hint(episode):
        tell(f"\n{hint}")


def _hint(episode: Episode) -> str | None:
    """What a person can do now."""
    match episode.state:
        case State.HELD:
            return (
                f"To submit it: feedwatch approve {episode.id}. "
                f"To leave it: feedwatch skip {episode.id}."
            )
        case State.UNKNOWN:
            return (
                "Look for this episode at the media API. If it is there: feedwatch adopt "
                f"{episode.id} MEDIA_ID. If it is surely not: feedwatch retry {episode.id} (this "
                f"submits it again). To leave it: feedwatch skip {episode.id}."
            )
        case State.FAILED if is_lost(episode):
            return (
                f"It was submitted. If its media id is another one: feedwatch adopt {episode.id} "
                f"MEDIA_ID. To pay for it once more: feedwatch retry {episode.id}."
            )
        case State.FAILED | State.SKIPPED:
            return f"To submit it: feedwatch retry {episode.id}."
    return None


@click.command()
@as_json
@click.pass_obj
def status(options: Options, *, as_json: bool) -> None:
    """One screen: the daemon's health, counts by state, what needs a person.

    Ends with status 4 if an episode waits for a person.
    """
    settings = options.settings()
    with opened(settings) as store:
        document = status_json(store, Inlet.name, settings.sources, settings.policy)
    if as_json:
        print_json(document)
    else:
        _print_status(document)
    if document["episodes"]["held"] or document["episodes"]["unknown"]:
        sys.exit(WAITING)


def _print_status(document: dict[str, Any]) -> None:
    daemon, submissions = document["daemon"], document["submissions"]
    health = "running" if daemon["running"] else "; ".join(daemon["problems"])
    tell(f"daemon       {health}, last progress {daemon['last_progress_at'] or 'never'}")
    state = "open" if submissions["open"] else f"stopped: {submissions['reason']}"
    tell(
        f"submissions  {state}; {submissions['last_24_hours']} of {submissions['per_day']} in 24 "
        f"hours, {submissions['live_jobs']} of {submissions['max_concurrent_jobs']} jobs live"
    )
    numbers = [f"{number} {state}" for state, number in document["episodes"].items() if number]
    tell(f"episodes     {', '.join(numbers) or 'none'}")
    failing = [feed for feed in document["feeds"] if feed["error"]]
    paused = sum(feed["state"] == "paused" for feed in document["feeds"])
    silent = sum(feed["silent_since"] is not None for feed in document["feeds"])
    tell(
        f"feeds        {len(document['feeds'])}, of these {len(failing)} failing, {paused} paused"
        + (f", {silent} silent" if silent else "")
    )
    for feed in document["feeds"]:
        if feed["remark"]:
            tell(f"  {feed['name']}: {feed['remark']}")
    for one in document["untold"]:
        tell(f"untold       {one['events']} events by {one['channel']}: {one['error']}")
    if document["troubles"]:
        tell("\nTroubles:")
    for trouble in document["troubles"]:
        tell(f"- {trouble['text']}")
    if document["waiting"]:
        tell("\nThese wait for a person (`feedwatch show ID` says more):")
        print_table(
            ("id", "feed", "state", "title", "reason"),
            (
                (one["id"], one["feed"], one["state"], one["title"], one["reason"])
                for one in document["waiting"]
            ),
            "",
        )


def wanted(store: Store, episode_id: int) -> Episode:
    """The episode, or the end."""
    episode = store.episodes.get(episode_id)
    if episode is None:
        stop(f"there is no episode {episode_id}; see `feedwatch episodes`")
    return episode


def known_feed(store: Store, settings: Settings, name: str) -> str:
    """A feed of the config, or one that is remembered from an earlier one, or the end."""
    names = sorted({one.name for one in settings.sources} | {one.name for one in store.feeds.all()})
    if name.lower() not in names:
        stop(f"no feed is named {name!r}; known are: {', '.join(names) or 'none yet'}")
    return name.lower()


VERBS = (feeds, episodes, show, status)
