"""Text made fit for a terminal or a log line."""


def counted(number: int, noun: str) -> str:
    """1 feed, 2 feeds."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def printable(text: str) -> str:
    """`text` with a space in place of each line end and control code."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
