"""What a terminal shows: in which colours, and in lines that fit it.

rich is imported where a terminal is, since verbs that write into a pipe start faster without it.
"""

import os
import re
import sys
from collections.abc import Mapping
from typing import NamedTuple, TextIO

import click

GOOD, UNDER_WAY, WAITS, BAD, PAST = "green", "cyan", "yellow", "bold red", "dim"
HEAD = "head"  # of a table

# The style of each state, by its word: of episodes, of feeds, what `check` decides, what `doctor`
# finds. It only repeats what the word says.
STYLES: Mapping[str, str] = {
    "held": WAITS,
    "unknown": WAITS,
    "queued": UNDER_WAY,
    "submitting": UNDER_WAY,
    "processing": UNDER_WAY,
    "ready": GOOD,
    "failed": BAD,
    "skipped": PAST,
    "ok": GOOD,
    "failing": BAD,
    "paused": WAITS,
    "new": UNDER_WAY,
    "submit": GOOD,
    "hold": WAITS,
    "skip": PAST,
    "known": PAST,
    "warn": WAITS,
    "FAIL": BAD,
    HEAD: "bold",
}

ANSI = re.compile(r"\x1b\[[\d;]*m")
# Signs of two cells, which a line may end after: CJK, Hangul, emoji with what modifies them.
WIDE = "\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6"
WIDE += "\U0001f000-\U0001faff\U00020000-\U0003fffd"
MODIFIES = "\u200d\ufe0f\U0001f3fb-\U0001f3ff"
WORD = re.compile(rf"\s*(?:[{WIDE}][{MODIFIES}]*|[^\s{WIDE}]+)")


class Painted(NamedTuple):
    """A text in the style of a word of `STYLES`."""

    text: str
    like: str


def paints(stream: TextIO) -> bool:
    """Whether it is a terminal that may be given colours, and lines that change."""
    is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not is_plain


def width_of(stream: TextIO) -> int | None:
    """How many cells a line of the terminal has; None where there is none."""
    if not stream.isatty():
        return None
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def painted(text: str, like: str) -> str:
    """The text in this style, if standard output is shown in colour."""
    words = STYLES.get(like, "").split()
    if not text or not words or not paints(sys.stdout):
        return text
    colour = next((word for word in words if word not in ("bold", "dim")), None)
    return click.style(text, fg=colour, bold="bold" in words or None, dim="dim" in words or None)


def cells(text: str) -> int:
    """How many cells of a terminal it takes."""
    from rich.cells import cell_len

    return cell_len(ANSI.sub("", text))


def folded(line: str, width: int | None, hang: int = 2) -> str:
    """The line in several of `width` cells, broken between words; all but the first are indented.

    A word that is wider than that, such as an address, stands in a line of its own and in one
    piece, so that it can be copied. Without a width, the line as it is.
    """
    if width is None or cells(line) <= width:
        return line
    lines, indent = [""], " " * min(hang, width // 2)
    for word in WORD.findall(line):
        if cells(lines[-1] + word) <= width or not lines[-1]:
            lines[-1] += word
        else:
            bare = word.lstrip()
            lines.append(indent + bare if cells(indent + bare) <= width else bare)
    return "\n".join(lines)
