"""What a media API is to feedwatch: it takes a URL now and has a result later."""

from typing import Protocol

from feedwatch.core.job import Answer, Later, Progress, Task


class Processor(Protocol):
    """A media API. What the far side may do is answered with a value of `model`, never raised."""

    @property
    def name(self) -> str:
        """Under which the store keeps what concerns the API as a whole."""

    def submit(self, submission: Task) -> Answer:
        """Ask for one job, with one request. Never tries again: that may cost money twice."""

    def poll(self, podcast_id: str, media_id: str) -> Progress:
        """Ask how a job is doing."""

    def probe(self) -> Later | None:
        """A read that costs nothing: None if the API works and takes our key, else why not."""
