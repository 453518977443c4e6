"""Processors: the protocol that each media API's file implements."""

from typing import Protocol

from feedwatch.core.job import Answer, Later, Progress, Task


class Processor(Protocol):
    """A media API: takes a task now, has a result later. Its answers are values of `core.job`."""

    @property
    def name(self) -> str:
        """The processor's name in the database, for example of its circuit breaker."""

    @property
    def api(self) -> str:
        """The API's scheme, host and port."""

    def submit(self, submission: Task) -> Answer:
        """Submit a task by one POST, which is never repeated: a second one may be paid again."""

    def poll(self, podcast_id: str, media_id: str) -> Progress:
        """Ask for the state of a job."""

    def probe(self) -> Later | None:
        """Safe read: a GET that costs nothing. None if the API works and accepts our key."""
