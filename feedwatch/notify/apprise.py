"""One of the services that Apprise knows: mail, chats, telephones (github.com/caronc/apprise).

Apprise runs in a child process, since some of its services have no time-out and a process can be
killed. The child is this very module. It reads the address from its standard input, where no other
user of the machine sees it.
"""

import json
import os
import sys
from dataclasses import dataclass, field

from feedwatch.core.events import Event
from feedwatch.net.client import Cancellation
from feedwatch.notify import process
from feedwatch.notify.names import apprise_name

LOOK = {"episode.ready": "success", "trouble.ended": "success", "test": "info"}  # else "warning"


@dataclass(frozen=True, kw_only=True)
class Apprise:
    """One address of Apprise's. Each is a channel, so that a retry of one repeats no other."""

    url: str = field(repr=False)  # made of secrets
    cancellation: Cancellation

    @property
    def name(self) -> str:
        """By its address."""
        return apprise_name(self.url)

    def complaint(self) -> str | None:
        """Whether Apprise can read the address."""
        return self._ask({"url": self.url})

    def deliver(self, event: Event) -> str | None:
        """Send an event through Apprise."""
        look = LOOK.get(event.type, "warning")
        message = {"title": f"feedwatch: {event.type}", "body": event.text, "notify_type": look}
        return self._ask({"url": self.url, "message": message})

    def _ask(self, what: object) -> str | None:
        command = [sys.executable, "-P", "-m", __name__]
        env = process.environment(os.environ)
        return process.run(command, json.dumps(what).encode(), env, self.cancellation)


def _answer() -> str | None:
    """In the child: check the address or send; why that failed, without any secret."""
    import apprise  # an extra, and heavy: only the child has it

    asked = json.load(sys.stdin)
    service = apprise.Apprise.instantiate(asked["url"])
    if service is None:
        return "Apprise cannot read this address"
    if "message" in asked and not service.notify(**asked["message"]):
        return f"{service.service_name} did not take it; `apprise -vv` with this address says why"
    return None


if __name__ == "__main__":
    sys.exit(_answer())
