"""`feeds`, `episodes`, `show` and `status`: what feedwatch knows."""

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
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
from feedwatch.cli.screen import HEAD, painted
from feedwatch.cli.settings import journal_places, opened, read_settings
from feedwatch.cli.times import Times, local_times
from feedwatch.core import daemons
from feedwatch.core.circuit_breaker import as_one
from feedwatch.core.episode import Episode, State, is_lost
from feedwatch.core.feed import Feed, FeedState
from feedwatch.core.feed_lifecycle import feed_state
from feedwatch.core.health import Pass, pass_interval, spoken
from feedwatch.core.json_forms import (
    counts,
    episode_json,
    feed_json,
    processor_json,
    remark,
    status_json,
    submissions_in_words,
    totals,
    whole_episode_json,
)
from feedwatch.core.masking import masked_document
from feedwatch.core.pipeline import LAST, PROCESSOR_OF, Course, Step, processors_of
from feedwatch.core.printable import counted, printable
from feedwatch.core.status import Status
from feedwatch.notify.alert_rules import OF_A_FEED
from feedwatch.watcher import overview
from feedwatch.watcher.overview import configured_feeds, find_episode, find_feed

FIELD, LINE = 21, 13  # cells before what is said: of an episode by `show`, by `status`


@click.command()
@local_times
@as_json
@click.pass_obj
def feeds(config: Path | None, *, times: Times, as_json: bool) -> None:
    """List the feeds: state, last success, next check, failures.

    Also when the last new episode came, and how many episodes are held.
    """
    settings, now = read_settings(config), datetime.now(UTC)
    with opened(settings) as store:
        breakers = store.breakers.of(processors_of(settings.sources))
        breaker, by_feed = as_one(breakers), store.statistics.by_feed()
        known, url_changes = configured_feeds(store, settings.sources), store.feeds.url_changes()
        served, subscribed = store.documents.all(), store.subscriptions.by_feed()
        leader = overview.leader_without(store, known.values(), now)
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
            times.column("last success"): times.cell(feed.success_at),
            times.column("last new"): times.cell(feed.last_new_at),
            times.column("next check"): times.cell(feed.due_at),
            "failures": feed.failures,
            "held": counts(by_feed.get(name))["held"],
            "remark": "; ".join(
                filter(None, (_unwatched(feed, leader), remark(feed, times.spoken)))
            ),
        }
        for name, feed in known.items()
    ]
    print_table(rows, "No feed is configured.")


def _unwatched(feed: Feed, leader: str | None) -> str | None:
    """That nobody checks a feed, since the config of the daemon that leads lacks it."""
    if leader is None or not overview.is_unwatched(feed):
        return None
    return (
        f"nobody checks it: the daemon's config ({daemons.spoken(leader)}) has no such feed; let "
        "it have the same config, and reload it"
    )


@click.command()
@click.option("--feed", metavar="FEED", help="Of this feed only.")
@click.option(
    "--state", type=click.Choice([state.value for state in State]), help="In this state only."
)
@click.option("--limit", type=WholeNumber(1, 2**63 - 1), metavar="N", help="At most so many.")
@local_times
@as_json
@click.pass_obj
def episodes(
    config: Path | None,
    *,
    feed: str | None,
    state: str | None,
    limit: int | None,
    times: Times,
    as_json: bool,
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
            times.column("published"): times.cell(episode.published_at),
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
@local_times
@as_json
@click.pass_obj
def show(config: Path | None, *, episode_id: int, times: Times, as_json: bool) -> None:
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
    moments = {name: getattr(episode, name, None) for name in document if name.endswith("_at")}
    told = {name: times.exact(one) for name, one in moments.items() if isinstance(one, datetime)}
    for name, value in document.items():
        if value is not None and name not in ("known_by", "steps", "history", "served"):
            lines = [printable(line) for line in str(told.get(name, value)).split("\n")]
            if name == "state":
                lines = [painted(episode.state, episode.state)]
            _tell_field(name, ("\n" + " " * FIELD).join(lines))
    if placing is not None:
        said = [placing.url or "as published", *([placing.reason] if placing.reason else [])]
        _tell_field("served feed", printable("; ".join(said)))
    tell("known by:")
    for key in document["known_by"]:
        tell(f"  {printable(key)}", 4)
    if ended:
        tell("steps that have ended:")
    for one, step in zip(document["steps"], ended, strict=True):
        tell(printable(f"  {times.exact(step.finished_at)}  {_in_line(one)}"), 4)
    tell("history:")
    several = len({entry.step for entry in history if entry.step}) > 1
    for entry in history:
        at = f"{entry.step or '':<8}  " if several else ""
        state = painted(entry.state, entry.state) + " " * (10 - len(entry.state))
        reason = printable(entry.reason or "")
        tell(f"  {times.exact(entry.at)}  {state}  {at}{reason}".rstrip(), 4)
    if hint := _hint(episode, course):
        tell(f"\n{hint}", 0)


def _tell_field(name: str, value: str) -> None:
    tell(f"{name + ':':<{FIELD - 1}} {value}", FIELD)


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
@local_times
@as_json
@click.pass_obj
def status(config: Path | None, *, times: Times, as_json: bool) -> None:
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
        missing = "" if is_made else ", not there yet: `feedwatch run` makes it"
        _tell_line("config", config_file or "the environment")
        _tell_line("database", f"{place}{missing}")
        _print_status(current, now, times)
    if current.needs_a_person:
        sys.exit(WAITING)


def _tell_line(name: str, value: str) -> None:
    tell(f"{name:<{LINE}}{value}", LINE)


def _last_pass(passes: Sequence[Pass], times: Times) -> str:
    """When it began, what came of it, and how often there is one."""
    last, interval = passes[0], pass_interval(passes)
    how = "not ended"
    if last.status is not None:
        how = f"ended after {last.seconds or 0:.0f} s with status {last.status}"
    every = f", every {spoken(interval)}" if interval is not None else ""
    return f"the last one began {times.exact(last.began_at)}, {how}{every}"


def _tell_health(status: Status, times: Times) -> None:
    """A line, and another one where there are several daemons."""
    health = painted("; ".join(status.problems), FeedState.FAILING)
    if status.passes:
        well = painted("in time", FeedState.OK)
        _tell_line("run --once", f"{health or well}; {_last_pass(status.passes, times)}")
    else:
        progress = f", last progress {times.exact(status.last_progress_at)}"
        well = painted("running", FeedState.OK)
        _tell_line("daemon", (health or well) + progress * (status.last_progress_at is not None))
    if len(status.daemons) > 1:
        led_by = [daemons.spoken(one.daemon.id) for one in status.daemons if one.daemon.leads]
        leader = f"led by {led_by[0]}" if led_by else "none of them leads"
        alive = sum(one.daemon.is_alive for one in status.daemons)
        gone = f", {len(status.daemons) - alive} not seen any more" * (alive < len(status.daemons))
        _tell_line("daemons", f"{alive}{gone}, {leader}: `feedwatch daemons`")


def _tell_submissions(status: Status, now: datetime, times: Times) -> None:
    """A line for each media API."""
    for api in status.processors:
        submissions = processor_json(api)
        name = f"{api.name}: " if len(status.processors) > 1 else ""
        state = submissions_in_words(api.breaker, api.next_due_at, now, times.spoken)
        is_stopped = FeedState.PAUSED if submissions["paused"] else FeedState.FAILING
        state = painted(state, FeedState.OK if submissions["open"] else is_stopped)
        _tell_line(
            "submissions",
            f"{name}{state}; {submissions['last_24_hours']} of "
            f"{submissions['per_day']} in 24 hours, {submissions['live_jobs']} of "
            f"{counted(submissions['max_concurrent_jobs'], 'job')} live",
        )


def _print_status(status: Status, now: datetime, times: Times) -> None:
    _tell_health(status, times)
    _tell_submissions(status, now, times)
    _tell_line("episodes", in_words(totals(status.counts), painted) or "none")
    states = Counter(feed_state(feed, status.breaker) for feed in status.feeds)
    failing = f"{sum(feed.error is not None for feed in status.feeds)} failing"
    paused = f"{states[FeedState.PAUSED]} paused"
    silent = sum(feed.silent_since is not None for feed in status.feeds)
    _tell_line(
        "feeds",
        f"{len(status.feeds)}, of these "
        + (failing if failing[0] == "0" else painted(failing, FeedState.FAILING))
        + ", "
        + (painted(paused, FeedState.PAUSED) if states[FeedState.PAUSED] else paused)
        + (f", {silent} silent" if silent else ""),
    )
    told = {one.feed for one in status.troubles if one.kind in OF_A_FEED}
    for feed in status.feeds:
        is_told = feed.name in told and not feed.paused  # below, and with what to do
        if not is_told and (noted := remark(feed, times.spoken)):
            name = painted(feed.name, feed_state(feed, status.breaker))
            tell(f"  {name}: {noted}", 4)
    if status.unserved is not None and (status.unserved.unplaced or status.unserved.waiting):
        _tell_line(
            "served feeds",
            f"{counted(status.unserved.unplaced, 'ready episode')} without an item, "
            f"{status.unserved.waiting} waiting for the length of the file: `feedwatch show ID`",
        )
    if status.push is not None:
        errors = "".join(f"; {error}" for error in status.push.errors)
        _tell_line(
            "push",
            f"{status.push.subscribed} of "
            f"{counted(status.push.named, 'feed')} with a hub subscribed{errors}",
        )
    for one in status.undelivered:
        _tell_line("undelivered", f"{counted(one.events, 'event')} via {one.channel}: {one.error}")
    if all(status.journal.values()):
        _tell_line(
            "journal",
            "no place of it can be written by this user, so a lost or restored "
            "database would not be noticed: see `feedwatch doctor`",
        )
    if status.troubles:
        tell(painted("\nTroubles:", HEAD))
    for trouble in status.troubles:
        tell(f"- {printable(trouble.text)}")
    if status.waiting:
        tell(painted("\nThese wait for a person (`feedwatch show ID` says more):", HEAD))
        columns = ("id", "feed", "state", "title", "reason")
        print_table([{name: getattr(one, name) for name in columns} for one in status.waiting])
