"""What people and programs get to see: tables, JSON, questions and exit statuses."""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from feedwatch.logs import printable
from feedwatch.model import Episode, Feed, Gate, Move, State
from feedwatch.store import Tally

FAILED, USAGE, PARTLY, WAITING, UNHEALTHY = 1, 2, 3, 4, 5

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
yes = click.option("--yes", is_flag=True, help="Do it without asking.")


def console() -> Console:
    """Standard output: in colour on a terminal, as wide as needed elsewhere."""
    return Console(soft_wrap=False, width=None if sys.stdout.isatty() else 200, highlight=False)


def print_json(document: Any) -> None:
    """One document on standard output."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """A table for people, or `empty`."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in ("id", "state", "published"))
    for row in rows:
        table.add_row(*("" if cell is None else _plain(str(cell)) for cell in row))
    if table.row_count:
        console().print(table, markup=False)
    else:
        click.echo(empty)


def _plain(text: str) -> Text:
    """A title is data: neither rich's markup nor a terminal's control codes work in it."""
    return Text(printable(text))


def say(text: str) -> None:
    """Progress and remarks, on standard error."""
    click.echo(text, err=True)


def shows_progress() -> bool:
    """Whether somebody looks on who wants more than the log."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")


def stop(text: str, status: int = FAILED) -> NoReturn:
    """End with a sentence that says what is wrong."""
    click.echo(f"Error: {text}", err=True)
    sys.exit(status)


def confirm(question: str, *, given: bool) -> None:
    """Ask on a terminal; elsewhere want --yes. Ends the program where the answer is no."""
    if given:
        return
    if not sys.stdin.isatty():
        stop("this can't be undone and there is no terminal to ask on: add --yes", USAGE)
    if not click.confirm(question, err=True):
        say("Nothing was done.")
        sys.exit(FAILED)


def stamp(moment: datetime | None) -> str | None:
    """ISO 8601 with Z, as in all JSON."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment is not None else None


def short(moment: datetime | None) -> str:
    """For tables."""
    return moment.strftime("%Y-%m-%d %H:%M") if moment is not None else "-"


def episode_json(episode: Episode) -> dict[str, Any]:
    """An episode, as interface and scripts have it."""
    return {
        "id": episode.id,
        "feed": episode.feed,
        "guid": episode.guid,
        "title": episode.title,
        "enclosure_url": episode.enclosure_url,
        "published_at": stamp(episode.published_at),
        "state": episode.state.value,
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


def whole_episode_json(
    episode: Episode, keys: Sequence[str], history: Sequence[Move]
) -> dict[str, Any]:
    """An episode with all that is known of it, and the keys by which it is."""
    return episode_json(episode) | {
        "description": episode.description,
        "podcast_id": episode.podcast_id,
        "remote_created_at": episode.remote_created_at,
        "remote_updated_at": episode.remote_updated_at,
        "ad_removal_markers": episode.ad_removal_markers,
        "failed_attempts": episode.failed_attempts,
        "overdue": episode.overdue,
        "due_at": stamp(episode.due_at),
        "known_by": list(keys),
        "history": [
            {"at": stamp(move.at), "state": move.state.value, "reason": move.reason}
            for move in history
        ],
    }


def counts(tally: Tally | None) -> dict[str, int]:
    """Episodes by state, all states."""
    by_state = tally.by_state if tally is not None else {}
    return {state.value: by_state.get(state, 0) for state in State}


def totals(tallies: Mapping[str, Tally]) -> dict[str, int]:
    """Episodes by state over all feeds, all states."""
    by_feed = [counts(tally) for tally in tallies.values()]
    return {state.value: sum(tally[state] for tally in by_feed) for state in State}


def feed_json(feed: Feed, gate: Gate, tally: Tally | None) -> dict[str, Any]:
    """A feed, as interface and scripts have it."""
    return {
        "name": feed.name,
        "url": feed.url,
        "state": feed_state(feed, gate),
        "last_checked_at": stamp(feed.checked_at),
        "last_success_at": stamp(feed.success_at),
        "last_new_at": stamp(feed.new_at),
        "next_check_at": stamp(feed.due_at),
        "failures": feed.failures,
        "error": feed.error,
        "episodes": counts(tally),
    }


def feed_state(feed: Feed, gate: Gate) -> str:
    """One word for a feed."""
    if feed.paused or gate.paused:
        return "paused"
    if feed.failures:
        return "failing"
    return "ok" if feed.checked_at is not None else "new"
