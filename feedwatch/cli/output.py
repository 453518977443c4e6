"""What people and programs get to see: tables, JSON, questions and exit statuses."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from itertools import accumulate, takewhile
from typing import Any, NamedTuple, NoReturn, Self

import click

from feedwatch.cli.screen import (
    HEAD,
    STYLES,
    Painted,
    cells,
    folded,
    painted,
    paints,
    width_of,
)
from feedwatch.core.masking import masked, masked_document
from feedwatch.core.printable import printable

FAILED, USAGE, PARTLY, WAITING = 1, 2, 3, 4  # 5: see `health.UNHEALTHY`

GAP = "  "  # between the columns of a table
PROSE = 20  # cells; a column that wants more is text, which may be folded
MAX_BESIDE = 32  # cells of a column that stands before others where not all have room
BELOW = 4  # cells that the others are indented by
WIDTH_IN_A_PIPE = 200
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
    """A table for people, or `empty`: on a terminal as wide as that, elsewhere as needed.

    Each row maps the names of all columns to its cells. A state has its style in it. On a terminal
    that is too narrow for all columns, the last ones stand below each row, with their names.
    """
    if not rows:
        tell(empty)
        return
    width = width_of(sys.stdout)
    table = [[_shown(cell) for cell in row.values()] for row in rows]
    columns = [
        _Column.of(name, cells)
        for name, cells in zip(rows[0], zip(*table, strict=True), strict=True)
    ]
    beside = _beside(columns, width or WIDTH_IN_A_PIPE)
    if width is not None and beside < len(columns):
        _print_stacked(columns, table, beside, width)
    else:
        _print_grid(columns, table, width or WIDTH_IN_A_PIPE)


class _Column(NamedTuple):
    """A column, and how many cells it takes."""

    name: str
    plain: int  # for the longest of its words that is no address
    word: int  # for the longest of its words
    least: int  # to be read with ease
    whole: int  # for the longest of its texts, its name among them

    @classmethod
    def of(cls, name: str, shown: Iterable[Painted]) -> Self:
        texts = [one.text for one in shown]
        words = [word for text in (name, *texts) for word in text.split()]
        word, text = max(map(cells, words)), max(map(cells, texts))
        if text <= PROSE:  # a date and its time stay together
            word = max(word, text)
            return cls(name, word, word, word, max(text, cells(name)))
        plain = max((cells(word) for word in words if "://" not in word), default=0)
        return cls(name, plain, word, max(word, PROSE), max(text, cells(name)))


def _shown(cell: object) -> Painted:
    """What stands in a cell: data, in which neither markup nor control codes work."""
    text, like = cell if isinstance(cell, Painted) else (cell, cell)
    text = text if isinstance(text, Exact) else masked("" if text is None else str(text))
    style = like if isinstance(like, Enum) or isinstance(cell, Painted) else None
    return Painted(printable(text), str(style or ""))


def _beside(columns: Sequence[_Column], width: int) -> int:
    """How many columns stand beside each other, the first ones; at least one."""
    gaps = len(GAP) * (len(columns) - 1)
    if gaps + sum(one.least for one in columns) <= width:
        return len(columns)
    taken = accumulate(one.whole + len(GAP) for one in columns)
    fit = takewhile(
        lambda one: one[0].whole <= MAX_BESIDE and one[1] <= width + len(GAP),
        zip(columns, taken, strict=True),
    )
    return max(1, sum(1 for _ in fit))


def _print_stacked(
    columns: Sequence[_Column], table: Sequence[Sequence[Painted]], beside: int, width: int
) -> None:
    """Some columns as a table, the others below each row."""
    head = [Painted(one.name, HEAD) for one in columns]
    for row in [head[:beside], *table]:
        texts = [
            painted(cell.text, cell.like) + " " * (column.whole - cells(cell.text))
            for cell, column in zip(row[:beside], columns, strict=False)
        ]
        click.echo(folded(GAP.join(texts).rstrip(), width, BELOW))
        for cell, column in zip(row[beside:], columns[beside:], strict=False):
            if cell.text:
                line = f"{' ' * BELOW}{column.name}: {painted(cell.text, cell.like)}"
                click.echo(folded(line, width, BELOW + len(GAP)))


def _print_grid(columns: Sequence[_Column], table: Sequence[Sequence[Painted]], width: int) -> None:
    """All columns beside each other, each folded where it has to be."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    room = width - len(GAP) * (len(columns) - 1)
    tiers = [
        [one.plain for one in columns],
        [one.word for one in columns],
        [one.whole for one in columns],
    ]
    grid = Table(box=None, header_style=STYLES[HEAD], pad_edge=False)
    for column, wide in zip(columns, column_widths(tiers, room), strict=True):
        grid.add_column(column.name, overflow="fold", width=wide)
    for row in table:
        grid.add_row(*(Text(cell.text, STYLES.get(cell.like, "")) for cell in row))
    in_colour = paints(sys.stdout)
    console = Console(
        width=width,
        highlight=False,
        force_terminal=in_colour,
        color_system="auto" if in_colour else None,
    )
    console.print(grid, markup=False)


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


def in_words(
    numbers: Mapping[Any, int], paint: Callable[[str, str], str] = lambda text, _: text
) -> str:
    """How many episodes are in each state, states with none left out; `paint`: by their states."""
    return ", ".join(
        paint(f"{number} {state}", state) for state, number in numbers.items() if number
    )


def tell(text: str, hang: int = len(GAP)) -> None:
    """Print a line of data on standard output, secrets masked.

    On a terminal it is folded between words, with an indent of `hang`.
    """
    width = width_of(sys.stdout)
    click.echo("\n".join(folded(line, width, hang) for line in masked(text).split("\n")))


def say(text: str) -> None:
    """Print progress or a remark on standard error, secrets masked.

    What strangers wrote stands in many of them, so no control code works in any.
    """
    click.echo("\n".join(map(printable, masked(text).split("\n"))), err=True)


def shows_progress() -> bool:
    """Whether somebody looks on who wants more than the log."""
    return paints(sys.stderr)


def stop(text: str, status: int = FAILED) -> NoReturn:
    """End with a sentence that says what is wrong."""
    say(f"Error: {text}")
    sys.exit(status)


def confirm(question: str, *, given: bool) -> None:
    """Ask on a terminal; elsewhere want --yes. Ends the program where the answer is no."""
    if given:
        return
    if not sys.stdin.isatty():
        stop("nothing was done: there is no terminal to ask on; add --yes", USAGE)
    if not click.confirm(masked(question), err=True):
        say("Nothing was done.")
        sys.exit(FAILED)
