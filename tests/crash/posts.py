"""What the sandbox was sent, by episode and step, whichever of its APIs a step belongs to."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from feedwatch.sandbox.server import Sandbox


class Paid(NamedTuple):
    """What one POST pays for."""

    title: str  # of the episode
    step: str


@dataclass(frozen=True, kw_only=True)
class Post:
    """A submission that has reached the API as a whole."""

    what: Paid
    given: str  # the address of the audio
    made: str | None  # where the world reads the file that is made of it, if that is known before
    job: str | None  # None: it was not taken
    is_answered: bool  # else the API is at work on it, though its sender may be dead


def posts(sandbox: Sandbox) -> Iterator[Post]:
    """All of them, the oldest first."""
    for one in sandbox.submissions:
        body = one.body
        if not isinstance(body, dict):
            continue
        job, is_answered = one.media_id, one.status is not None
        if one.api == "inlet":
            what = Paid(body["name"], "ads")
            yield Post(what=what, given=body["url"], made=None, job=job, is_answered=is_answered)
        else:
            what = Paid(title_of(body["input"]), "enhance")
            made = body["output"].replace("/out/", "/public/")
            yield Post(what=what, given=body["input"], made=made, job=job, is_answered=is_answered)


def title_of(audio: str) -> str:
    """The title of the episode whose audio is at this address, as `tests.support.item` has it."""
    return f"Episode {audio.rpartition('/')[2].removesuffix('.mp3')}"
