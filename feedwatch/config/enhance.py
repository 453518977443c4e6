"""The options of the Media APIs' enhance (contract: EnhanceRequest, content and audio).

Closed, as the contract is: a misspelt field would pass unseen and cost money.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from feedwatch.config.values import expected


def level(value: object) -> int | float:
    """A level, in decibels."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1000:
        expected("a number")
    return value


def per_cent(value: object) -> int:
    """A share."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 100:
        expected("a whole number from 0 to 100")
    return value


Level = Annotated[int | float, BeforeValidator(level)]
PerCent = Annotated[int, BeforeValidator(per_cent)]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Toggle(_Options):
    """On or off."""

    enable: bool | None = None


class Reduction(Toggle):
    """How much of it goes."""

    amount: Literal["low", "medium", "high", "max"] | None = None


class ReductionHolder(_Options):
    """A reduction."""

    reduction: Reduction | None = None


class Loudness(Toggle):
    """How loud the result is."""

    target_level: Level | None = None
    peak_limit: Level | None = None
    dialog_intelligence: bool | None = None


class Dynamics(_Options):
    """How far loud and quiet are apart."""

    range_control: Reduction | None = None


class Filter(_Options):
    """Filters."""

    dynamic_eq: Toggle | None = None
    high_pass: Toggle | None = None
    hum: Toggle | None = None


class Isolation(Toggle):
    """Speech apart from all else."""

    amount: PerCent | None = None


class Speech(_Options):
    """What is done to speech."""

    isolation: Isolation | None = None
    sibilance: ReductionHolder | None = None
    plosive: ReductionHolder | None = None
    click: ReductionHolder | None = None


class Music(_Options):
    """What is done to music."""

    detection: Toggle | None = None


class Audio(_Options):
    """What is done to the audio."""

    loudness: Loudness | None = None
    dynamics: Dynamics | None = None
    noise: ReductionHolder | None = None
    filter: Filter | None = None
    speech: Speech | None = None
    music: Music | None = None


class Content(_Options):
    """What the file is."""

    type: Literal[
        "conference",
        "interview",
        "lecture",
        "meeting",
        "mobile_phone",
        "music",
        "podcast",
        "studio",
        "voice_over",
        "voice_recording",
        "other",
    ]


class Enhance(_Options):
    """The options of one feed."""

    content: Content | None = None
    audio: Audio | None = None

    def as_sent(self) -> dict[str, Any]:
        """What stands in the request: what was set."""
        return self.model_dump(exclude_none=True)
