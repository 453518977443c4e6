"""How log lines look, and that no secret gets into one."""

import json
import logging
import os
from datetime import UTC, datetime
from typing import Any

from feedwatch.core.printable import printable
from feedwatch.logs.masking import masked

NOISY = {
    "httpx": logging.WARNING,  # every URL at INFO, private feeds' tokens among them
    "httpcore": logging.WARNING,
    "apscheduler": logging.ERROR,  # two lines a tick; a tick that is late is made up for
    "alembic": logging.WARNING,
}

FIELDS = ("feed", "episode", "media_id", "attempt")  # what an event is about, by `extra=`
PRIORITIES = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}  # sd-daemon(3)


def set_up(*, as_json: bool, level: str) -> None:
    """Send everything to standard error, one line an event, with all secrets masked."""
    handler = logging.StreamHandler()
    formatter: logging.Formatter = JsonLines() if as_json else TextLines()
    if _goes_to_the_journal():
        formatter = ForJournal(JsonLines() if as_json else BareLines())
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name, least in NOISY.items():
        logging.getLogger(name).setLevel(least)


def _goes_to_the_journal() -> bool:
    """Whether standard error is what systemd has connected to its journal."""
    try:
        error = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{error.st_dev}:{error.st_ino}"


class TextLines(logging.Formatter):
    """For people: time, level, message; a traceback below."""

    layout = "{asctime} {levelname:<8} {message}"

    def __init__(self) -> None:
        super().__init__(self.layout, "%Y-%m-%dT%H:%M:%SZ", style="{")
        self.converter = lambda seconds: datetime.fromtimestamp(seconds or 0, UTC).timetuple()

    def format(self, record: logging.LogRecord) -> str:
        """The finished text is masked, so that tracebacks are too."""
        return masked(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """One line: what a feed or an API says can't forge another one, nor move the cursor."""
        record.message = printable(record.message)
        return super().formatMessage(record)


class BareLines(TextLines):
    """As `TextLines`, where time and level are kept beside the text."""

    layout = "{message}"


class ForJournal(logging.Formatter):
    """Another formatter's lines, each with its level as the journal reads it."""

    def __init__(self, lines: logging.Formatter) -> None:
        super().__init__()
        self._lines = lines

    def format(self, record: logging.LogRecord) -> str:
        """Each line: the journal takes those of a traceback one by one."""
        sign = f"<{PRIORITIES.get(record.levelname, 6)}>"
        return "\n".join(sign + line for line in self._lines.format(record).splitlines())


class JsonLines(logging.Formatter):
    """For programs: one object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """As `TextLines`."""
        event: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": masked(printable(record.getMessage())),
        }
        event |= {
            name: masked(value) if isinstance(value, str) else value
            for name in FIELDS
            if (value := getattr(record, name, None)) is not None
        }
        if record.exc_info:
            event["traceback"] = masked(self.formatException(record.exc_info))
        return json.dumps(event, ensure_ascii=False)  # masked before: quoting would hide a secret
