"""A program of the operator's, started once for each event, without a shell."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field

from feedwatch.core.events import Event, to_json
from feedwatch.net.client import Cancellation
from feedwatch.notify import process
from feedwatch.notify.names import COMMAND


@dataclass(frozen=True, kw_only=True)
class Command:
    """The event's JSON is on its standard input, the main things in its environment too."""

    words: Sequence[str] = field(repr=False)  # may hold a token
    cancellation: Cancellation
    name: str = COMMAND

    def complaint(self) -> str | None:
        """Whether there is such a program."""
        found = shutil.which(self.words[0])
        return None if found else f"there is no program {self.words[0]!r} that can be started"

    def deliver(self, event: Event) -> str | None:
        """Run the program."""
        variables = {
            "FEEDWATCH_EVENT_ID": event.id,
            "FEEDWATCH_EVENT_TYPE": event.type,
            "FEEDWATCH_EVENT_TEXT": event.text,
        }
        env = process.environment(os.environ) | variables
        return process.run(self.words, to_json(event).encode(), env, self.cancellation)
