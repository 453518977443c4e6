"""What people and programs get to see: tables, JSON, questions and exit statuses."""

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import click

from feedwatch.core.masking import masked, masked_document
from feedwatch.core.printable import printable

FAILED, USAGE, PARTLY, WAITING = 1, 2, 3, 4  # 5: see `health.UNHEALTHY`

GAP = "  "  # between the columns of a table
SURROGATE = re.compile("[\ud800-\udfff]")

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
yes = click.option("--yes", is_flag=True, help="Do it without asking.")


class WholeNumber(click.IntRange):
    """A whole number; click's own error calls it an "integer range"."""

    name = "whole number"


class Number(click.FloatRange):
    """A number; click's own error calls it a "float range"."""

    name = "number"


class EpisodeId(WholeNumber):
    """An episode's id; what is none is told where the ids are."""

    name = "episode's id, which is a number: `feedwatch episodes` lists them"


EPISODE_ID = EpisodeId(0, 2**63 - 1)  # what a database takes for one


class Exact(str):
    """A cell that is shown as it is, whatever it looks like."""

    __slots__ = ()


def print_json(document: Any) -> None:
    """One document on standard output."""
    _print_json(document, indent=2)


def print_json_line(document: Any) -> None:
    """One of a stream of documents, each of them a line."""
    _print_json(document, indent=None)


def _print_json(document: Any, indent: int | None) -> None:
    text = json.dumps(masked_document(document), ensure_ascii=False, indent=indent)
    # Half a surrogate pair is JSON as an escape only.
    click.echo(SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text))


def print_table(rows: Sequence[Mapping[str, object]], empty: str = "") -> None:
    """A table for people, or `empty`: in colour on a terminal, as wide as needed elsewhere.

    Each row maps the names of all columns to its cells.
    """
    if not rows:
        tell(empty)
        return
    # Here, since verbs and `--help` that print no table start faster without it.
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    lines = [list(rows[0])]
    for row in rows:
        cells = ["" if cell is None else cell for cell in row.values()]
        texts = [cell if isinstance(cell, Exact) else masked(str(cell)) for cell in cells]
        lines.append([printable(text) for text in texts])
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    columns = list(zip(*lines, strict=True))
    words = [[word for cell in column for word in cell.split()] for column in columns]
    plain = [[word for word in column if "://" not in word] for column in words]
    tiers = [
        [max(map(cell_len, texts), default=0) for texts in tier] for tier in (plain, words, columns)
    ]
    room = console.width - len(GAP) * (len(columns) - 1)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, width in zip(rows[0], column_widths(tiers, room), strict=True):
        table.add_column(name, overflow="fold", width=width)
    for line in lines[1:]:
        # What stands in a cell is data: neither rich's markup nor control codes work in it.
        table.add_row(*map(Text, line))
    console.print(table, markup=False)


def column_widths(tiers: Sequence[Sequence[int]], room: int) -> list[int]:
    """How wide each column is. A tier is what each of them wants; the first is served first.

    The tiers are the longest plain words, the longest addresses, and the longest cells: so a word
    is folded in its middle only where there is no room for it, and an address before a word.
    """
    widths = [0] * len(tiers[0])
    for tier in tiers:
        more = [max(0, want - width) for want, width in zip(tier, widths, strict=True)]
        left = max(0, room - sum(widths))
        most = min(max(more), left)
        while sum(min(want, most) for want in more) > left:
            most -= 1
        widths = [width + min(want, most) for width, want in zip(widths, more, strict=True)]
    return [max(1, width) for width in widths]


def in_words(numbers: Mapping[Any, int]) -> str:
    """How many episodes are in each state, states with none left out."""
    return ", ".join(f"{number} {state}" for state, number in numbers.items() if number)


def tell(text: str) -> None:
    """Print a line of data on standard output, secrets masked."""
    click.echo(masked(text))


def say(text: str) -> None:
    """Print progress or a remark on standard error, secrets masked."""
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
