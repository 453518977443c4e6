"""How events reach people and programs: one file for each kind of channel, all alike."""

from typing import Protocol

from feedwatch.core.events import Event


class Channel(Protocol):
    """One way to tell. It holds secrets, so nothing of it but `name` is ever shown."""

    @property
    def name(self) -> str:
        """The same after a restart: what is under way through it is kept under this name."""

    def complaint(self) -> str | None:
        """What is wrong with it, as far as can be seen without telling anything."""

    def deliver(self, event: Event) -> str | None:
        """Tell. None once it has arrived, else why it has not; never takes longer than a minute."""
