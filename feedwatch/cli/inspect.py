"""`feeds`, `episodes`, `show` and `status`: what feedwatch knows."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from feedwatch.cli.output import (
    EPISODE_ID,
    WAITING,
    Exact,
    WholeNumber,
    as_json,
    in_words,
    print_json,
    print_table,
    tell,
)
from feedwatch.cli.reload import plan_of
from feedwatch.cli.settings import journal_places, opened, read_settings
from feedwatch.core import daemons
from feedwatch.core.circuit_breaker import as_one
from feedwatch.core.episode import Episode, State, is_lost
from feedwatch.core.feed_lifecycle import feed_state
from feedwatch.core.health import Pass, pass_interval, spoken
from feedwatch.core.json_forms import (
    counts,
    episode_json,
    feed_json,
    processor_json,
    remark,
    short,
    stamp,
    status_json,
    submissions_in_words,
    totals,
    whole_episode_json,
)
from feedwatch.core.masking import masked_document
from feedwatch.core.pipeline import LAST, PROCESSOR_OF, Course, Step, processors_of
from feedwatch.core.printable import counted, printable
from feedwatch.core.status import Status
from feedwatch.watcher import overview
from feedwatch.watcher.overview import configured_feeds, find_episode, find_feed


@click.command()
@as_json
@click.pass_obj
def feeds(config: Path | None, *, as_json: bool) -> None:
    """List the feeds: state, last success, next check, failures.

    Also when the last new episode came, and how many episodes are held.
    """
    settings = read_settings(config)
    with opened(settings) as store:
        breakers = store.breakers.of(processors_of(settings.sources))
        breaker, by_feed = as_one(breakers), store.statistics.by_feed()
        known, url_changes = configured_feeds(store, settings.sources), store.feeds.url_changes()
        served, subscribed = store.documents.all(), store.subscriptions.by_feed()
    if as_json:
        print_json(
            [
                feed_json(
                    *(feed, breaker, by_feed.get(name)),
                    *(url_changes.get(name, ()), served.get(name), subscribed.get(feed.id)),
                )
                for name, feed in known.items()
            ]
        )
        return
    rows = [
        {
            "feed": name,
            "state": feed_state(feed, breaker),
            "last success": short(feed.success_at),
            "last new": short(feed.last_new_at),
            "next check": short(feed.due_at),
            "failures": feed.failures,
            "held": counts(by_feed.get(name))["held"],
            "remark": remark(feed),
        }
        for name, feed in known.items()
    ]
    print_table(rows, "No feed is configured.")


@click.command()
@click.option("--feed", metavar="FEED", help="Of this feed only.")
@click.option(
    "--state", type=click.Choice([state.value for state in State]), help="In this state only."
)
@click.option("--limit", type=WholeNumber(1, 2**63 - 1), metavar="N", help="At most so many.")
@as_json
@click.pass_obj
def episodes(
    config: Path | None, *, feed: str | None, state: str | None, limit: int | None, as_json: bool
) -> None:
    """List the episodes, newest first."""
    settings = read_settings(config)
    with opened(settings) as store:
        found = store.episodes.find(
            feed=find_feed(store, settings.sources, feed) if feed else None,
            states=[State(state)] if state else [],
            limit=limit,
        )
    if as_json:
        print_json([episode_json(episode) for episode in found])
        return
    rows = [
        {
            "id": episode.id,
            "feed": episode.feed,
            "state": episode.state,
            "published": short(episode.published_at),
            "title": episode.title,
            "reason or processed URL": (
                Exact(episode.processed_url or "")
                if episode.state is State.READY
                else episode.reason
            ),
        }
        for episode in found
    ]
    print_table(rows, "No episodes.")


@click.command()
@click.argument("episode_id", type=EPISODE_ID, metavar="ID")
@as_json
@click.pass_obj
def show(config: Path | None, *, episode_id: int, as_json: bool) -> None:
    """Show an episode: every field, and every decision about it.

    Each decision with its time and reason.
    """
    settings = read_settings(config)
    with opened(settings) as store:
        episode = find_episode(store, episode_id)
        plan = plan_of(settings)
        placing, course = overview.placing_of(store, plan, episode), plan.course(episode)
        keys, history = store.episodes.keys(episode_id), store.episodes.history(episode_id)
        ended = store.episodes.ended_steps(episode_id)
        document = masked_document(whole_episode_json(episode, keys, history, placing, ended))
    if as_json:
        print_json(document)
        return
    for name, value in document.items():
        if value is not None and name not in ("known_by", "steps", "history", "served"):
            lines = [printable(line) for line in str(value).split("\n")]
            click.echo(f"{name + ':':<20} " + ("\n" + " " * 21).join(lines))
    if placing is not None:
        said = [placing.url or "as published", *([placing.reason] if placing.reason else [])]
        tell(f"{'served feed:':<20} {printable('; '.join(said))}")
    tell("known by:")
    for key in document["known_by"]:
        tell(f"  {printable(key)}")
    if document["steps"]:
        tell("steps that have ended:")
    for one in document["steps"]:
        tell(printable(f"  {one['finished_at'] or '-'}  {_in_line(one)}"))
    tell("history:")
    several = len({entry["step"] for entry in document["history"] if entry["step"]}) > 1
    for entry in document["history"]:
        at = f"{entry['step'] or '':<8}  " if several else ""
        tell(f"  {entry['at']}  {entry['state']:<10}  {at}{entry['reason'] or ''}".rstrip())
    if hint := _hint(episode, course):
        tell(f"\n{hint}")


def _in_line(step: Mapping[str, Any]) -> str:
    """A step that has ended, with what it has given."""
    result = json.dumps(step["result"], ensure_ascii=False) if step["result"] is not None else None
    facts = (step["job_id"], step["url"], result)
    told = "  ".join(str(fact) for fact in facts if fact is not None)
    return f"{step['step']:<8}  {step['outcome']:<11}  {told}".rstrip()


def _hint(episode: Episode, course: Course = LAST) -> str | None:
    """What a person can do about an episode in its state, as commands; None: nothing to decide."""
    number, step = episode.id, episode.step
    is_helper = step is not Step.ADS
    what = f"the job of its step {step} at {PROCESSOR_OF[step]}" if is_helper else "it"
    past = f" To go on without this step: feedwatch skip --step {number}."
    past = past if is_helper and course.following is not None else ""
    match episode.state:
        case State.HELD:
            return (
                f"To submit {f'it for its step {step}' if is_helper else 'it'}: feedwatch approve "
                f"{number}. To leave it: feedwatch skip {number}.{past}"
            )
        case State.UNKNOWN if is_helper:
            return (
                f"Look for {what}. If it is there: feedwatch adopt {number} MEDIA_ID. If it is "
                f"surely not: feedwatch retry {number} (this submits it again).{past} To leave the "
                f"episode for good: feedwatch skip {number}. If you are not sure, leave it."
            )
        case State.UNKNOWN:
            return (
                "Look for this episode in the media API's studio. If it is there: feedwatch adopt "
                f"{number} MEDIA_ID or, if its media id cannot be had, feedwatch skip "
                f"{number}. If it is surely not: feedwatch retry {number} (this submits it "
                "again). If you are not sure, leave it."
            )
        case State.FAILED if is_lost(episode):
            another = f"{what} has another id" if is_helper else "its media id is another one"
            return (
                f"It was submitted. If {another}: "
                f"feedwatch adopt {number} MEDIA_ID. To pay for it once more: feedwatch retry "
                f"{number}.{past}"
            )
        case State.FAILED | State.SKIPPED:
            again = f"it for its step {step} again" if is_helper else "it"
            past = past if episode.state is State.FAILED else ""
            return f"To submit {again}: feedwatch retry {number}.{past}"
        case State.PROCESSING if episode.overdue and past:
            return past.strip()
    return None


@click.command()
@as_json
@click.pass_obj
def status(config: Path | None, *, as_json: bool) -> None:
    """Show the daemon's health, counts by state, what needs a person.

    Ends with status 4 if something waits for a person: an episode, or all that a feed or everybody
    would submit, as where the API refuses the key. Whether the daemon runs: `healthcheck`.
    """
    settings, now = read_settings(config), datetime.now(UTC)
    with opened(settings) as store:
        places = journal_places(settings, store.path)
        current = overview.status(store, plan_of(settings), now, places)
        place, is_made = store.place, store.is_made
    config_file = str(settings.path) if settings.path is not None else None
    if as_json:
        where = {"config": config_file, "database": {"place": place, "exists": is_made}}
        print_json(status_json(current) | where)
    else:
        tell(f"config       {config_file or 'the environment'}")
        tell(
            f"database     {place}{'' if is_made else ', not there yet: `feedwatch run` makes it'}"
        )
        _print_status(current, now)
    if current.needs_a_person:
        sys.exit(WAITING)


def _last_pass(passes: Sequence[Pass]) -> str:
    """When it began, what came of it, and how often there is one."""
    last, interval = passes[0], pass_interval(passes)
    how = "not ended"
    if last.status is not None:
        how = f"ended after {last.seconds or 0:.0f} s with status {last.status}"
    every = f", every {spoken(interval)}" if interval is not None else ""
    return f"the last one began {stamp(last.began_at)}, {how}{every}"


def _health_in_words(status: Status) -> Iterator[str]:
    """A line, and another one where there are several daemons."""
    health = "; ".join(status.problems)
    if status.passes:
        yield f"run --once   {health or 'in time'}; {_last_pass(status.passes)}"
    else:
        progress = stamp(status.last_progress_at)
        yield f"daemon       {health or 'running'}" + f", last progress {progress}" * bool(progress)
    if len(status.daemons) > 1:
        led_by = [daemons.spoken(one.daemon.id) for one in status.daemons if one.daemon.leads]
        leader = f"led by {led_by[0]}" if led_by else "none of them leads"
        alive = sum(one.daemon.is_alive for one in status.daemons)
        gone = f", {len(status.daemons) - alive} not seen any more" * (alive < len(status.daemons))
        yield f"daemons      {alive}{gone}, {leader}: `feedwatch daemons`"


def _print_status(status: Status, now: datetime) -> None:
    for line in _health_in_words(status):
        tell(line)
    for api in status.processors:
        submissions = processor_json(api)
        name = f"{api.name}: " if len(status.processors) > 1 else ""
        state = submissions_in_words(api.breaker, api.next_due_at, now)
        tell(
            f"submissions  {name}{state}; {submissions['last_24_hours']} of "
            f"{submissions['per_day']} in 24 hours, {submissions['live_jobs']} of "
            f"{counted(submissions['max_concurrent_jobs'], 'job')} live"
        )
    tell(f"episodes     {in_words(totals(status.counts)) or 'none'}")
    failing = sum(feed.error is not None for feed in status.feeds)
    paused = sum(feed_state(feed, status.breaker) == "paused" for feed in status.feeds)
    silent = sum(feed.silent_since is not None for feed in status.feeds)
    tell(
        f"feeds        {len(status.feeds)}, of these {failing} failing, {paused} paused"
        + (f", {silent} silent" if silent else "")
    )
    for feed in status.feeds:
        if noted := remark(feed):
            tell(f"  {feed.name}: {noted}")
    if status.unserved is not None and (status.unserved.unplaced or status.unserved.waiting):
        tell(
            f"served feeds {counted(status.unserved.unplaced, 'ready episode')} without an item, "
            f"{status.unserved.waiting} waiting for the length of the file: `feedwatch show ID`"
        )
    if status.push is not None:
        errors = "".join(f"; {error}" for error in status.push.errors)
        tell(
            f"push         {status.push.subscribed} of "
            f"{counted(status.push.named, 'feed')} with a hub subscribed{errors}"
        )
    for one in status.undelivered:
        tell(f"undelivered  {counted(one.events, 'event')} via {one.channel}: {one.error}")
    if all(status.journal.values()):
        tell(
            "journal      no place of it can be written by this user, so a lost or restored "
            "database would not be noticed: see `feedwatch doctor`"
        )
    if status.troubles:
        tell("\nTroubles:")
    for trouble in status.troubles:
        tell(f"- {printable(trouble.text)}")
    if status.waiting:
        tell("\nThese wait for a person (`feedwatch show ID` says more):")
        columns = ("id", "feed", "state", "title", "reason")
        print_table([{name: getattr(one, name) for name in columns} for one in status.waiting])
