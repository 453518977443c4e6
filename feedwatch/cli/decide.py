"""`approve`, `skip`, `retry`, `adopt`, `pause` and `resume`: what a person decides."""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import click

from feedwatch.cli.assembly import Options, api, opened
from feedwatch.cli.output import (
    NUMBER,
    USAGE,
    confirm,
    say,
    stop,
    tell,
    yes,
)
from feedwatch.cli.reload import first_checks
from feedwatch.config.load import Settings
from feedwatch.core import episode_lifecycle
from feedwatch.core.episode import Episode, State
from feedwatch.core.job import Lost, Unreachable
from feedwatch.net.client import Cancellation
from feedwatch.processors.inlet import Inlet
from feedwatch.store.store import Store
from feedwatch.watcher.overview import find_episode, find_feed

PREVIEW = 20  # episodes listed before a question

ids_argument = click.argument("ids", type=NUMBER, nargs=-1, metavar="[ID]...")
# `skip` and `adopt` ask nothing; scripts that say --yes to everything may say it to them, too.
ignored_yes = click.option("--yes", is_flag=True, hidden=True)
feed_option = click.option("--feed", metavar="FEED", help="All held episodes of this feed.")


@click.command()
@ids_argument
@feed_option
@yes
@click.pass_obj
def approve(options: Options, *, ids: Sequence[int], feed: str | None, yes: bool) -> None:
    """Let held episodes be submitted. `feedwatch episodes --state held` lists their ids."""
    now = datetime.now(UTC)
    settings = options.settings()
    with opened(settings) as store:
        chosen = _held(store, settings, ids, feed)
        _require_configured(settings, chosen)
        moves = _moves(chosen, lambda episode: episode_lifecycle.approved(episode, now))
        _preview(chosen, "will be submitted; each submission costs money and is published")
        confirm("Approve?", given=yes)
        _carry_out(store, moves, now, "approved")
        if feed is not None:
            store.feeds.clear_doubt(feed.lower())


@click.command()
@ids_argument
@feed_option
@ignored_yes
@click.pass_obj
def skip(options: Options, *, ids: Sequence[int], feed: str | None, yes: bool) -> None:  # noqa: ARG001
    """Never submit these episodes, by their ids in `feedwatch episodes`. `retry` takes it back."""
    now = datetime.now(UTC)
    settings = options.settings()
    with opened(settings) as store:
        chosen = _held(store, settings, ids, feed)
        _carry_out(store, _moves(chosen, episode_lifecycle.skipped), now, "skipped")
        if feed is not None:
            store.feeds.clear_doubt(feed.lower())


@click.command()
@ids_argument
@click.option(
    "--state",
    type=click.Choice([State.FAILED.value]),
    help="All episodes in this state.",
)
@yes
@click.pass_obj
def retry(options: Options, *, ids: Sequence[int], state: str | None, yes: bool) -> None:
    """Submit failed, unknown or skipped episodes, by their ids in `feedwatch episodes`."""
    now = datetime.now(UTC)
    settings = options.settings()
    with opened(settings) as store:
        if bool(ids) == bool(state):
            stop("say which episodes: either ids or --state failed", USAGE)
        chosen = store.episodes.find(states=[State(state)]) if state else _by_id(store, ids)
        _require_configured(settings, chosen)
        moves = _moves(chosen, lambda episode: episode_lifecycle.retried(episode, now))
        _preview(chosen, "will be submitted; each submission costs money and is published")
        doubtful = [one for one in chosen if episode_lifecycle.may_be_taken(one)]
        if doubtful:
            say(
                f"{len(doubtful)} of them may have been taken already: look at the media API "
                "first, or they are paid and published twice (`feedwatch adopt` is for those)."
            )
        unread = sum(one.description is None for one in chosen)
        if unread:
            say(
                f"{unread} of them were skipped at sight: the feed is read once more for their "
                "descriptions first; what it no longer has is submitted without one."
            )
        confirm("Submit?", given=yes)
        _carry_out(store, moves, now, "queued")


@click.command()
@click.argument("episode_id", type=NUMBER, metavar="ID")
@click.argument("media_id", metavar="MEDIA_ID")
@ignored_yes
@click.pass_obj
def adopt(options: Options, *, episode_id: int, media_id: str, yes: bool) -> None:  # noqa: ARG001
    """Say that an unknown submission was taken, and that MEDIA_ID is its job.

    ID is feedwatch's, MEDIA_ID the media API's own. The API is asked whether it knows the job, if
    the API key is at hand.
    """
    now = datetime.now(UTC)
    settings = options.settings()
    with opened(settings) as store:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", media_id):
            stop(f"{media_id!r} is no media id: letters, digits, - and _", USAGE)
        episode = find_episode(store, episode_id)
        owner = store.episodes.by_media_id(media_id)
        if owner is not None and owner.id != episode_id:
            stop(f"the media id {media_id} belongs to episode {owner.id} ({owner.title}) already")
        moves = _moves([episode], lambda episode: episode_lifecycle.adopted(episode, media_id, now))
        if settings.api_key is not None:
            with api(settings, Cancellation()) as inlet:
                found = inlet.poll(episode.podcast_id or "", media_id)
            if isinstance(found, Lost):
                stop(f"nothing was done: the API knows no job {media_id} of this podcast")
            if isinstance(found, Unreachable):
                say(f"not checked, {found.reason}; the next polls will show")
        _carry_out(store, moves, now, "adopted")


@click.command()
@click.option("--feed", metavar="FEED", help="Of this feed only; else of all.")
@click.pass_obj
def pause(options: Options, *, feed: str | None) -> None:
    """Stop new submissions. Jobs already accepted are polled on; a restart changes nothing."""
    _set_paused(options, feed, paused=True)


@click.command()
@click.option("--feed", metavar="FEED", help="Of this feed only; else of all.")
@click.pass_obj
def resume(options: Options, *, feed: str | None) -> None:
    """Restart new submissions."""
    _set_paused(options, feed, paused=False)


def _set_paused(options: Options, feed: str | None, *, paused: bool) -> None:
    settings = options.settings()
    with opened(settings) as store:
        name = find_feed(store, settings.sources, feed) if feed is not None else None
    # Only now: a pause may come before the first run, but a mistake must leave no database behind.
    with opened(settings, may_create=True) as store:
        if name is None:
            store.breakers.change(Inlet.name, lambda breaker: replace(breaker, paused=paused))
        elif not store.feeds.set_paused(name, paused=paused):
            now = datetime.now(UTC)
            store.feeds.sync(settings.sources, first_checks(settings, now))
            store.feeds.set_paused(name, paused=paused)
    say(f"{name or 'all feeds'}: new submissions are {'paused' if paused else 'on'}")


def _held(store: Store, settings: Settings, ids: Sequence[int], feed: str | None) -> list[Episode]:
    """The episodes with these ids, or all held ones of a feed."""
    if bool(ids) == bool(feed):
        stop("say which episodes: either ids or --feed FEED", USAGE)
    if feed is None:
        return _by_id(store, ids)
    name = find_feed(store, settings.sources, feed)
    held = store.episodes.find(feed=name, states=[State.HELD])
    if not held:
        store.feeds.clear_doubt(name)
        say(f"{feed} has no held episodes")
        sys.exit(0)
    return held


def _require_configured(settings: Settings, episodes: Sequence[Episode]) -> None:
    """Nothing would ever submit the episodes of a feed that is no longer in the config."""
    gone = sorted({one.feed for one in episodes if settings.source(one.feed) is None})
    if gone:
        stop(f"nothing was done: the config has no feed {', '.join(gone)} any more")


def _by_id(store: Store, ids: Sequence[int]) -> list[Episode]:
    return [find_episode(store, episode_id) for episode_id in dict.fromkeys(ids)]


def _moves(
    episodes: Sequence[Episode], move: Callable[[Episode], Episode]
) -> list[tuple[Episode, Episode]]:
    """All of them, or the end with every reason: half a command done helps nobody."""
    moves, objections = [], []
    for episode in episodes:
        try:
            moves.append((episode, move(episode)))
        except episode_lifecycle.IllegalMoveError as error:
            objections.append(str(error))
    if objections:
        stop("nothing was done:\n  " + "\n  ".join(objections))
    return moves


def _preview(episodes: Sequence[Episode], what: str) -> None:
    say(f"{len(episodes)} episodes {what}:" if len(episodes) != 1 else f"1 episode {what}:")
    for episode in episodes[:PREVIEW]:
        say(f"  {episode.id}  {episode.feed}  {episode.title}")
    if len(episodes) > PREVIEW:
        say(f"  and {len(episodes) - PREVIEW} more")


def _carry_out(
    store: Store, moves: Sequence[tuple[Episode, Episode]], now: datetime, what: str
) -> None:
    raced = [
        before.id for before, after in moves if store.episodes.save(before, after, now) is None
    ]
    tell(f"{len(moves) - len(raced)} {what}")
    if raced:
        stop(f"changed by someone else meanwhile, look again: {', '.join(map(str, raced))}")


VERBS = (approve, skip, retry, adopt, pause, resume)
