"""Pipeline: the steps that the episodes of a feed go through, one after another. Pure.

Each step is a task for one media API, paid for by itself. An episode's row describes the step that
is under way or next, and `source_url` what that step is given: None until the first step of the
episode has ended, which means the enclosure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, Protocol


class Step(StrEnum):
    """Step: what is done to an episode's audio. They come in this order."""

    DIAGNOSE = "diagnose"
    ENHANCE = "enhance"
    ADS = "ads"


ORDER = tuple(Step)
# The names of the processors, as the database and the config have them.
PROCESSOR_OF: Mapping[Step, str] = {
    Step.DIAGNOSE: "mediaapis",
    Step.ENHANCE: "mediaapis",
    Step.ADS: "inlet",
}
PROCESSORS = tuple(dict.fromkeys(PROCESSOR_OF[step] for step in reversed(ORDER)))
# The keys of the config that have the addresses of their APIs.
_ADDRESS_KEYS = {"mediaapis": "FEEDWATCH_MEDIAAPIS_URL", "inlet": "FEEDWATCH_API_URL"}


class PipelineStep(NamedTuple):
    """A step of a pipeline; an optional one may fail, and the next goes on with its input."""

    step: Step
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.step}{'?' * self.optional}"


Pipeline = tuple[PipelineStep, ...]
ADS_ALONE: Pipeline = (PipelineStep(Step.ADS),)


class Piped(Protocol):
    """What has a pipeline, and a podcast that its targets are named after: a feed's config."""

    @property
    def name(self) -> str:
        """The feed's."""

    @property
    def podcast_id(self) -> str:
        """The podcast's; "" without one."""

    @property
    def pipeline(self) -> Pipeline:
        """Its steps."""


class StepOutcome(StrEnum):
    """What came of a step."""

    DONE = "done"
    PASSED_OVER = "passed_over"  # it failed and was optional, or a person has passed it over
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class EndedStep:
    """A step that has ended, as it is kept."""

    step: Step
    processor: str
    target: str | None
    claim: int | None  # None: it was never submitted
    job_id: str | None
    outcome: StepOutcome
    remote_status: str | None = None
    url: str | None = None  # of the media file that it has made
    result: Any = None  # the data that it has given, as JSON has it
    submitted_at: datetime | None = None
    finished_at: datetime | None = None


def target_id(step: Step, feed: Piped) -> str:
    """What a POST for this step of this feed is for, as the ledger has it.

    The helper steps of a podcast are paid for once, whatever its feeds are.
    """
    if step is Step.ADS:
        return feed.podcast_id
    return f"{step}:{feed.podcast_id or feed.name}"


def step_of(target: str, processor: str) -> Step:
    """The step that a target is of."""
    if processor == PROCESSOR_OF[Step.ADS]:
        return Step.ADS
    return Step(target.partition(":")[0])


def address_key(processor: str) -> str:
    """The key of the config that has the address of a processor's API, for messages."""
    return _ADDRESS_KEYS.get(processor, f"the address of {processor}")  # a journal may have any


def steps_of(processor: str) -> list[Step]:
    """The steps that a processor takes care of."""
    return [step for step in ORDER if PROCESSOR_OF[step] == processor]


def processors_of(feeds: Iterable[Piped]) -> tuple[str, ...]:
    """The names of the processors that the feeds' pipelines need."""
    steps = {one.step for feed in feeds for one in feed.pipeline}
    needed = {PROCESSOR_OF[step] for step in steps}
    return tuple(name for name in PROCESSORS if name in needed)


class Course(NamedTuple):
    """Course: what comes of an episode once its step has ended."""

    following: Step | None = None  # None: the step is the last
    optional: bool = False  # the episode goes on if the step fails


LAST = Course()


def course_of(pipeline: Pipeline, step: Step) -> Course:
    """The course of an episode at `step`, by what the config says now."""
    following = next_after(pipeline, step)
    is_optional = PipelineStep(step, optional=True) in pipeline
    return Course(following, is_optional and following is not None)


def next_after(pipeline: Pipeline, step: Step) -> Step | None:
    """The step that follows once `step` has ended; None after the last."""
    return next((one for one in steps_from(pipeline, step) if one is not step), None)


def step_to_claim(pipeline: Pipeline, step: Step, source_url: str | None) -> Step | None:
    """The step that a queued episode is submitted for, by what the config says now.

    One that has come to `step` goes on from there, however the pipeline has changed, since what is
    paid is kept; one that was not begun begins with the first. None: the pipeline has nothing left.
    """
    if source_url is None:
        return pipeline[0].step
    return next(iter(steps_from(pipeline, step)), None)


def in_words(pipeline: Pipeline) -> str:
    """A pipeline as the config has it."""
    return ",".join(map(str, pipeline))


def feeds_by_target(feeds: Iterable[Piped]) -> dict[str, list[str]]:
    """The names of the feeds for each target that they may ever have had."""
    found: dict[str, list[str]] = {}
    for feed in feeds:
        for step in ORDER:
            found.setdefault(target_id(step, feed), []).append(feed.name)
    return found


def steps_from(pipeline: Pipeline, start: Step) -> list[Step]:
    """The steps of a pipeline from `start` on."""
    later = ORDER[ORDER.index(start) :]
    return [one.step for one in pipeline if one.step in later]
