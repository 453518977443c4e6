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

from feedwatch.core.events import episode_json, stamp
from feedwatch.core.feed import Departure, Episode, Feed, Gate, Move, State
from feedwatch.logs.formatters import printable
from feedwatch.logs.masking import masked, masked_content
from feedwatch.store.store import Tally

NUMBER = click.IntRange(0, 2**63 - 1)  # what a database takes for one
FAILED, USAGE, PARTLY, WAITING, UNHEALTHY = 1, 2, 3, 4, 5

# Of an episode: what others must find as it was submitted, and what is the publisher's own words.
EXACT = {"enclosure_url", "processed_url"}
CONTENT = {"guid", "title", "description", "known_by", "ad_removal_markers", "media_id"}

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
yes = click.option("--yes", is_flag=True, help="Do it without asking.")


class Exact(str):
    """A cell that is shown as it is, whatever it looks like."""

    __slots__ = ()


def console() -> Console:
    """Standard output: in colour on a terminal, as wide as needed elsewhere."""
    return Console(soft_wrap=False, width=None if sys.stdout.isatty() else 200, highlight=False)


def print_json(document: Any) -> None:
    """One document on standard output."""
    click.echo(json.dumps(shown(document), ensure_ascii=False, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """A table for people, or `empty`."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in ("id", "state", "published"))
    for row in rows:
        table.add_row(*("" if cell is None else _plain(cell) for cell in row))
    if table.row_count:
        console().print(table, markup=False)
    else:
        tell(empty)


def _plain(cell: object) -> Text:
    """A title is data: neither rich's markup nor a terminal's control codes work in it."""
    text = str(cell)
    return Text(printable(text if isinstance(cell, Exact) else masked(text)))


def shown(document: Any, name: str = "") -> Any:
    """A document as it may be shown: no secret in it, and what was submitted as it was."""
    match document:
        case dict():
            return {
                key: shown(value, name if name in CONTENT else key)
                for key, value in document.items()
            }
        case list():
            return [shown(value, name) for value in document]
        case str() if name in EXACT:
            return document
        case str() if name in CONTENT:
            return masked_content(document)
        case str():
            return masked(document)
    return document


def tell(text: str) -> None:
    """A line of data, on standard output."""
    click.echo(masked(text))


def say(text: str) -> None:
    """Progress and remarks, on standard error."""
    click.echo(masked(text), err=True)


def shows_progress() -> bool:
    """Whether somebody looks on who wants more than the log."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")


def stop(text: str, status: int = FAILED) -> NoReturn:
    """End with a sentence that says what is wrong."""
    say(f"Error: {text}")
    sys.exit(status)


def confirm(question: str, *, given: bool) -> None:
    """Ask on a terminal; elsewhere want --yes. Ends the program where the answer is no."""
    if given:
        return
    if not sys.stdin.isatty():
        stop("this can't be undone and there is no terminal to ask on: add --yes", USAGE)
    if not click.confirm(masked(question), err=True):
        say("Nothing was done.")
        sys.exit(FAILED)


def short(moment: datetime | None) -> str:
    """For tables."""
    return moment.strftime("%Y-%m-%d %H:%M") if moment is not None else "-"


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


def feed_json(
    feed: Feed, gate: Gate, tally: Tally | None, departures: Sequence[Departure] = ()
) -> dict[str, Any]:
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
        "address": feed.address,
        "addresses": [
            {"at": stamp(left.at), "url": left.url, "reason": left.reason} for left in departures
        ],
        "expected_by": stamp(feed.expected_by),
        "silent_since": stamp(feed.silent_since),
    }


def remark(feed: Feed) -> str | None:
    """What a person should know of a feed, if anything."""
    if feed.error is not None:
        return feed.error
    if feed.silent_since is not None:
        return (
            f"answers, but has brought nothing new for long: expected by {short(feed.expected_by)}"
        )
    return f"moved for good to {feed.address}: mend its URL" if feed.address is not None else None


def feed_state(feed: Feed, gate: Gate) -> str:
    """One word for a feed."""
    if feed.paused or gate.paused:
        return "paused"
    if feed.failures:
        return "failing"
    return "ok" if feed.checked_at is not None else "new"
