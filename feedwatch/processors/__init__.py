"""Processors: the protocol that each media API's file implements."""

from typing import Protocol

from feedwatch.core.job import Answer, Later, Progress, Task
from feedwatch.core.post_deadline import Moment

INLET = "inlet"  # the name of `inlet.Inlet`
MEDIAAPIS = "mediaapis"  # the name of `mediaapis.MediaApis`


class Processor(Protocol):
    """A media API: takes a task now, has a result later. Its answers are values of `core.job`."""

    @property
    def name(self) -> str:
        """The processor's name in the database, for example of its circuit breaker."""

    @property
    def api(self) -> str:
        """The API's scheme, host and port."""

    def prepare(self) -> Later | None:
        """Fetch what a POST needs besides its body, such as a token, ahead of its claim.

        Between a claim and its POST nothing else is asked for. Why nothing should be claimed now;
        None once all is there.
        """

    def submit(self, submission: Task, claimed: Moment) -> Answer:
        """Submit a task by one POST, which is never repeated: a second one may be paid again.

        `claimed` is when its claim was committed; past its deadline no byte leaves.
        """

    def poll(self, task: Task, media_id: str) -> Progress:
        """Ask for the state of a job, which `submit` was given for this task.

        Only its target, token, feed and episode need be right: a result may lie where they say.
        """

    def probe(self, target: str, media_id: str | None) -> Later | None:
        """Safe read: a GET that costs nothing. None if the API works and accepts our key.

        Where the API can only be asked for a job, it is asked for this one.
        """

    def has_target(self, target: str) -> bool | Later | None:
        """Whether the API has this target (Inlet: podcast) for our key. None: it cannot be told."""
