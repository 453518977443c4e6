"""Channels: how events reach people and programs. One file for each kind of channel."""

from typing import Protocol

from feedwatch.core.events import Event


class Channel(Protocol):
    """A way to deliver events. It holds secrets, so nothing but its `name` is ever shown."""

    @property
    def name(self) -> str:
        """The channel's name in the outbox; the same after a restart."""

    def complaint(self) -> str | None:
        """What is wrong with the channel, as far as can be seen without an event."""

    def deliver(self, event: Event) -> str | None:
        """Deliver an event within a minute. None once it has arrived, else why it has not."""
