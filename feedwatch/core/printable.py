"""Text made fit for a terminal or a log line."""

from collections.abc import Sequence

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
