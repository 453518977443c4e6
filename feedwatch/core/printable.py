"""Text made fit for a terminal or a log line."""


def printable(text: str) -> str:
    """`text` with a space in place of each line end and control code."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
