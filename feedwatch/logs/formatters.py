"""Log formatters: text, JSON, and for systemd's journal; each masks secrets."""

import json
import logging
import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from feedwatch.core.masking import masked
from feedwatch.core.printable import printable

NOISY = {
    "httpx": logging.WARNING,  # every URL at INFO, private feeds' tokens among them
    "httpcore": logging.WARNING,
    "apscheduler": logging.ERROR,  # two lines for each tick, and one for each late tick
    "alembic": logging.WARNING,
}

FIELDS = ("feed", "episode", "media_id", "attempt")  # given by `extra=`
PRIORITIES = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}  # sd-daemon(3)


def set_up(*, as_json: bool, level: str) -> None:
    """Log to standard error, one line for each record, with all secrets masked."""
    handler = logging.StreamHandler()
    formatter: logging.Formatter = JsonLines() if as_json else TextLines()
    with suppress(OSError):  # no standard error
        error = os.fstat(2)
        if os.environ.get("JOURNAL_STREAM") == f"{error.st_dev}:{error.st_ino}":
            formatter = ForJournal(JsonLines() if as_json else BareLines())
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name, least in NOISY.items():
        logging.getLogger(name).setLevel(least)


class TextLines(logging.Formatter):
    """For people: time, level, message; a traceback below."""

    layout = "{asctime} {levelname:<8} {message}"
    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__(self.layout, "%Y-%m-%dT%H:%M:%SZ", style="{")

    def format(self, record: logging.LogRecord) -> str:
        """A record as text, masked as a whole, so that tracebacks are masked, too."""
        return masked(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """The message on one line, so that a feed or an API can't forge a second one."""
        record.message = printable(record.message)
        return super().formatMessage(record)


class BareLines(TextLines):
    """As `TextLines`, without time and level, which the journal keeps itself."""

    layout = "{message}"


class ForJournal(logging.Formatter):
    """The lines of another formatter, each with its level as the journal reads it."""

    def __init__(self, lines: logging.Formatter) -> None:
        super().__init__()
        self._lines = lines

    def format(self, record: logging.LogRecord) -> str:
        """A record, with the level before each line, since the journal splits tracebacks."""
        priority = f"<{PRIORITIES.get(record.levelname, 6)}>"
        return "\n".join(priority + line for line in self._lines.format(record).splitlines())


class JsonLines(logging.Formatter):
    """For programs: one object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """A record as one JSON object."""
        fields: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": masked(printable(record.getMessage())),
        }
        fields |= {
            name: masked(value) if isinstance(value, str) else value
            for name in FIELDS
            if (value := getattr(record, name, None)) is not None
        }
        if record.exc_info:
            fields["traceback"] = masked(self.formatException(record.exc_info))
        # Masked before, since JSON's escapes would hide a secret.
        return json.dumps(fields, ensure_ascii=False)
