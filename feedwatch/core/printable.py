"""Text made fit for a terminal or a log line."""


def printable(text: str) -> str:
    """`text` without line ends and control codes."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
