"""What is fit for a terminal or a log line, and for JSON that all can write."""

from collections.abc import Sequence
from math import isfinite

DEEPEST = 30  # lists and objects within each other
MAX_LISTED = 10  # by their ids


def counted(number: int, noun: str) -> str:
    """1 feed, 2 feeds."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(noun: str, ids: Sequence[int]) -> str:
    """Episode 3; episodes 3, 4. Of many, the first ones and how many more there are."""
    more = f" and {len(ids) - MAX_LISTED} more" if len(ids) > MAX_LISTED else ""
    return f"{noun}{'s' * (len(ids) > 1)} {', '.join(map(str, ids[:MAX_LISTED]))}{more}"


def printable(text: str) -> str:
    """`text` with a space in place of each line end and control code."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def is_flat(value: object, most: int = DEEPEST) -> bool:
    """Whether all can write it: JSON nested no deeper than anybody would, with numbers alone.

    Python reads NaN and 1e999 as numbers, which are none in JSON, and PostgreSQL refuses them.
    """
    if isinstance(value, float):
        return isfinite(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return most > 0 and all(is_flat(one, most - 1) for one in inner)
