"""`approve`, `skip`, `retry`, `adopt`, `pause` and `resume`: what a person decides."""

import getpass
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from feedwatch.cli.assembly import processors, targets_by
from feedwatch.cli.output import EPISODE_ID, USAGE, confirm, say, stop, tell, yes
from feedwatch.cli.progress import progress
from feedwatch.cli.reload import plan_of
from feedwatch.cli.settings import journal_places, opened, read_settings
from feedwatch.config.keys import Settings
from feedwatch.core.episode import State, input_of
from feedwatch.core.pipeline import PROCESSORS, Step
from feedwatch.core.printable import counted
from feedwatch.store.store import Store
from feedwatch.watcher import decisions
from feedwatch.watcher.decisions import Proposal
from feedwatch.watcher.overview import find_feed
from feedwatch.watcher.pauses import pauses, resting, set_paused
from feedwatch.watcher.repetitions import passing_over, repetition

MAX_PREVIEWED = 20  # episodes listed before a question

ids_argument = click.argument("ids", type=EPISODE_ID, nargs=-1, metavar="[ID]...")
# `skip` and `adopt` ask nothing; scripts that say --yes to everything may say it to them, too.
ignored_yes = click.option("--yes", is_flag=True, hidden=True, expose_value=False)
feed_option = click.option("--feed", metavar="FEED", help="All held episodes of this feed.")
paused_feed = click.option("--feed", metavar="FEED", help="Of this feed only; else of all.")
paused_processor = click.option(
    "--processor", type=click.Choice(PROCESSORS), help="To this media API only."
)


@click.command()
@ids_argument
@feed_option
@yes
@click.pass_obj
def approve(config: Path | None, *, ids: Sequence[int], feed: str | None, yes: bool) -> None:
    """Let held episodes be submitted. `feedwatch episodes --state held` lists their ids."""
    settings, now = read_settings(config), datetime.now(UTC)
    with opened(settings) as store:
        _require_one_choice(ids, feed, "--feed FEED")
        proposal = decisions.approval(store, settings.sources, ids, feed, now, targets_by(settings))
        if proposal.moves:
            _preview(proposal)
            _remark(proposal)
            confirm("Approve?", given=yes)
        _carry_out(store, settings, proposal, now, "approved")


@click.command()
@ids_argument
@feed_option
@click.option("--step", "step_alone", is_flag=True, help="Only the helper step that they are at.")
@yes
@click.pass_obj
def skip(
    config: Path | None, *, ids: Sequence[int], feed: str | None, step_alone: bool, yes: bool
) -> None:
    """Never submit these episodes. `feedwatch retry` takes it back.

    With --step, they go on with the next step, which is paid for. `feedwatch episodes` lists their
    ids.
    """
    settings, now = read_settings(config), datetime.now(UTC)
    with opened(settings) as store:
        _require_one_choice(ids, feed, "--feed FEED")
        if step_alone:
            if feed:
                stop("--step is for single episodes: name their ids, without --feed", USAGE)
            proposal = passing_over(store, plan_of(settings), ids, now)
            _remark(proposal)
            _preview(proposal)
            confirm("Go on?", given=yes)
            _carry_out(store, settings, proposal, now, "queued for their next step")
            return
        proposal = decisions.skipping(store, settings.sources, ids, feed)
        _carry_out(store, settings, proposal, now, "skipped")


@click.command()
@ids_argument
@click.option(
    "--state", type=click.Choice([State.FAILED.value]), help="All episodes in this state."
)
@click.option("--again", is_flag=True, help="Ready episodes, by their ids: their last step.")
@click.option(
    "--from",
    "start",
    type=click.Choice([step.value for step in Step]),
    help="Repeat this step and what comes after it, also of ready episodes.",
)
@yes
@click.pass_obj
def retry(
    config: Path | None,
    *,
    ids: Sequence[int],
    state: str | None,
    again: bool,
    start: str | None,
    yes: bool,
) -> None:
    """Submit failed, unknown or skipped episodes again.

    Of several steps only the one that they are at. With --again, ready ones, which pays for them
    and publishes them once more. With --from, from a step on that was paid for. `feedwatch
    episodes` lists their ids.
    """
    settings, now = read_settings(config), datetime.now(UTC)
    with opened(settings) as store, processors(settings) as apis:
        _require_one_choice(ids, state, "--state failed")
        if (again or start) and state:
            option = "--again is for ready episodes" if again else "--from is for single episodes"
            stop(f"{option}: name their ids, without --state", USAGE)
        plan, targets_of = plan_of(settings), targets_by(settings)
        with progress("asking the media API for the jobs that there were"):
            if again or start:
                step = Step(start) if start else None
                proposal = repetition(store, plan, ids, now, targets_of, step)
            else:
                in_state = State(state) if state else None
                proposal = decisions.retrial(store, plan, apis, ids, in_state, now, targets_of)
        _remark(proposal)
        if not proposal.moves and proposal.done:
            _carry_out(store, settings, proposal, now, "queued")
            return
        _preview(proposal)
        confirm("Submit?", given=yes)
        _carry_out(store, settings, proposal, now, "queued")


@click.command()
@click.argument("episode_id", type=EPISODE_ID, metavar="ID")
@click.argument("media_id", metavar="MEDIA_ID")
@ignored_yes
@click.pass_obj
def adopt(config: Path | None, *, episode_id: int, media_id: str) -> None:
    """Say that an unknown submission was taken, and that MEDIA_ID is its job.

    ID is feedwatch's, MEDIA_ID the media API's own. The API is asked whether it knows the job, if
    the API key is at hand.
    """
    settings, now = read_settings(config), datetime.now(UTC)
    with opened(settings) as store, processors(settings) as apis:
        if not decisions.MEDIA_ID.fullmatch(media_id):
            stop(f"{media_id!r} is no media id: letters, digits, - and _", USAGE)
        plan = plan_of(settings)
        proposal = decisions.adoption(store, plan, apis, episode_id, media_id, now)
        _remark(proposal)
        _carry_out(store, settings, proposal, now, "adopted")


@click.command()
@paused_feed
@paused_processor
@click.pass_obj
def pause(config: Path | None, *, feed: str | None, processor: str | None) -> None:
    """Stop new submissions. Jobs already accepted are polled on; a restart changes nothing."""
    _set_paused(config, feed, processor, paused=True)


@click.command()
@paused_feed
@paused_processor
@click.pass_obj
def resume(config: Path | None, *, feed: str | None, processor: str | None) -> None:
    """Restart new submissions."""
    _set_paused(config, feed, processor, paused=False)


def _set_paused(
    config: Path | None, feed: str | None, processor: str | None, *, paused: bool
) -> None:
    settings, now = read_settings(config), datetime.now(UTC)
    if feed and processor:
        stop("say what: either --feed FEED or --processor NAME", USAGE)
    processors = [processor] if processor else PROCESSORS
    with opened(settings) as store:
        name = find_feed(store, settings.sources, feed) if feed is not None else None
    # Only now: a pause may come before the first run, but a mistake must leave no database behind.
    with opened(settings, may_create=True) as store:
        sources, actor = settings.sources, _actor()
        set_paused(store, processors, sources, name, now, actor, paused=paused)
        others = resting(store) if not paused and name is None else []
    of_processor = f"the steps of {processor}" if processor else "all feeds"
    but = f"{of_processor} but {', '.join(others)}" if others else of_processor
    say(f"{name or but}: new submissions are {'paused' if paused else 'on'}")
    if others:
        verbs = ", ".join(f"`feedwatch resume --feed {one}`" for one in others)
        say(f"paused on their own, and still so: {', '.join(others)}; {verbs}")


def _require_one_choice(ids: Sequence[int], other: str | None, option: str) -> None:
    if bool(ids) == bool(other):
        stop(f"say which episodes: either ids or {option}", USAGE)


def _remark(proposal: Proposal) -> None:
    for before, after in proposal.done:
        if after.state is State.READY:
            text = "its job is done, so it becomes ready and is not paid for again"
            say(f"episode {before.id}: {text}: {after.processed_url}")
        else:
            say(f"episode {before.id} goes on, its job is done: {after.reason}")
    for warning in proposal.warnings:
        say(warning)


def _preview(proposal: Proposal) -> None:
    episodes = [after for _, after in proposal.moves]  # with the addresses that will be sent
    number = counted(len(episodes), "episode")
    say(f"{number} will be submitted; each submission costs money and is published:")
    for episode in episodes[:MAX_PREVIEWED]:
        say(f"  {episode.id}  {episode.feed}  {episode.title}  {input_of(episode)}")
    if len(episodes) > MAX_PREVIEWED:
        say(f"  and {len(episodes) - MAX_PREVIEWED} more")


def _actor() -> str:
    """Who decides, and by which way."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user may have no name
        return f"cli:{os.getuid()}"


def _carry_out(
    store: Store, settings: Settings, proposal: Proposal, now: datetime, what: str
) -> None:
    places = journal_places(settings, store.path)
    overtaken = decisions.carry_out(store, proposal, _actor(), now, places)
    if overtaken:
        numbers = ", ".join(map(str, overtaken))
        stop(f"nothing was done: changed by someone else meanwhile, look again: {numbers}")
    if proposal.feed is not None and not proposal.moves:
        say(f"{proposal.feed} has no held episodes")
        return
    if proposal.moves or not proposal.done:
        tell(f"{len(proposal.moves)} {what}")
    coming = [after for _, after in (*proposal.moves, *proposal.done)]
    waiting = [after for after in coming if after.state is State.QUEUED]
    feeds, plan = {one.feed for one in waiting}, plan_of(settings)
    concerned = {plan.targets(one, {})[0].processor for one in waiting}
    for pause in pauses(store, [one for one in settings.sources if one.name in feeds], concerned):
        say(pause)
