"""How log lines look, and that no secret gets into one."""

import json
import logging
from datetime import UTC, datetime

from feedwatch.masking import masked

NOISY = {
    "httpx": logging.WARNING,  # every URL at INFO, private feeds' tokens among them
    "httpcore": logging.WARNING,
    "apscheduler": logging.ERROR,  # two lines a tick; a tick that is late is made up for
    "alembic": logging.WARNING,
}


def set_up(*, as_json: bool, level: str) -> None:
    """Send everything to standard error, one line an event, with all secrets masked."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else TextLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name, least in NOISY.items():
        logging.getLogger(name).setLevel(least)


class TextLines(logging.Formatter):
    """For people: time, level, message; a traceback below."""

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname:<8} {message}", "%Y-%m-%dT%H:%M:%SZ", style="{")
        self.converter = lambda seconds: datetime.fromtimestamp(seconds or 0, UTC).timetuple()

    def format(self, record: logging.LogRecord) -> str:
        """The finished text is masked, so that tracebacks are too."""
        return masked(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """One line: what a feed or an API says can't forge another one, nor move the cursor."""
        record.message = printable(record.message)
        return super().formatMessage(record)


class JsonLines(logging.Formatter):
    """For programs: one object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """As `TextLines`."""
        event = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": masked(printable(record.getMessage())),
        }
        if record.exc_info:
            event["traceback"] = masked(self.formatException(record.exc_info))
        return json.dumps(event, ensure_ascii=False)  # masked before: quoting would hide a secret


def printable(text: str) -> str:
    """`text` without line ends and control codes."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
