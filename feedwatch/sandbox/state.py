"""State of the sandbox: its podcasts, jobs and faults, and a record of the requests it got."""

import re
import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

from feedwatch.sandbox.answers import BadRequestError, parse_json
from feedwatch.sandbox.faults import ApiName, Faults

# A job has these statuses one after the other, each for the same share of its time.
STATUSES = ("AD_BREAK_QUEUED", "AD_BREAK_PROCESSING", "AD_BREAK_READY", "PUBLISHING", "READY")
DURATION = 1800  # seconds, of every processed file
_MIN_STEP = 0.001  # seconds: two updates must differ in a time stamp of milliseconds
_FAILURE = re.compile("ERROR$|^UNAVAILABLE$")


@dataclass
class Received:
    """One submission whose body arrived in full."""

    time: float  # seconds since the epoch
    api: ApiName
    podcast_id: str  # "" where the API has none
    body: dict[str, Any] | str  # the text, if it is not a JSON object
    status: int | None = None  # HTTP status of the answer; None: no answer was sent
    media_id: str | None = None  # None: no job was created


class Job:
    """One job. Its status advances by the clock, or by a script: one status at each poll."""

    statuses: Sequence[str]  # one after the other, each for the same share of its time

    def __init__(
        self, media_id: str, body: dict[str, Any], seconds: float, script: Sequence[str]
    ) -> None:
        self.media_id = media_id
        self.body = body
        self.status = self.statuses[0]
        self._step = seconds / (len(self.statuses) - 1)
        self._script = list(script)
        self._is_clocked = not script
        self._started = time.monotonic()
        self.created_at = self.updated_at = datetime.now(UTC)

    def poll(self) -> dict[str, Any]:
        """The job's record for a client; advances the script by one status."""
        if self._script:
            self.set_status(self._script.pop(0))
        return self.record()

    def set_statuses(self, statuses: Sequence[str]) -> None:
        """Replace the clock by a script, whose first status is set at once."""
        self.advance_by_clock()
        self._is_clocked = False
        self._script = list(statuses)
        self.set_status(statuses[0])

    def record(self) -> dict[str, Any]:
        """The job as the contract's JSON object, without advancing the script."""
        raise NotImplementedError

    def advance_by_clock(self) -> None:
        """Take the status that it is time for."""
        if not self._is_clocked:
            return
        age = time.monotonic() - self._started
        last = len(self.statuses) - 1
        stage = min(int(age / self._step), last) if self._step else last
        self.status = self.statuses[stage]
        self.updated_at = self.created_at + timedelta(seconds=stage * max(self._step, _MIN_STEP))

    def set_status(self, status: str) -> None:
        """Take this status."""
        if status == self.status:
            return
        self.status = status
        self.updated_at = max(datetime.now(UTC), self.updated_at + timedelta(seconds=_MIN_STEP))


class InletJob(Job):
    """A job of Inlet's."""

    statuses = STATUSES

    def __init__(
        self, podcast_id: str, body: dict[str, Any], seconds: float, script: Sequence[str]
    ) -> None:
        super().__init__(secrets.token_hex(12), body, seconds, script)
        self.podcast_id = podcast_id
        self._failures = 0

    def record(self) -> dict[str, Any]:
        """The job as the contract's JSON object, without advancing the script."""
        self.advance_by_clock()
        ready = self.status == STATUSES[-1]
        return {
            "mediaId": self.media_id,
            "name": self.body["name"],
            "status": self.status,
            "originUrl": self.body["url"],
            "url": f"https://processed.sandbox.example/{self.media_id}.mp3" if ready else None,
            "duration": DURATION if ready else None,
            "publishedDate": self.body.get("publishedDate"),
            "createdAt": stamp(self.created_at),
            "updatedAt": stamp(self.updated_at),
            "failedAttempts": self._failures,
            "adRemovalMarkers": [],
        }

    def set_status(self, status: str) -> None:
        """Take this status, and count it if it is a failure."""
        self._failures += status != self.status and bool(_FAILURE.search(status))
        super().set_status(status)


class SandboxState:
    """All state of a sandbox. Thread-safe."""

    def __init__(self, podcasts: Mapping[str, str], job_seconds: float) -> None:
        self.podcasts = dict(podcasts)
        self.job_seconds = job_seconds
        self.faults = Faults()
        self._lock = Lock()
        self._clear()

    def _clear(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._received: list[Received] = []
        self._files: dict[str, bytes] = {}
        self._requests: Counter[tuple[str, str]] = Counter()
        self._polls: dict[str, list[float]] = {}

    def reset(self) -> None:
        """Remove jobs, counts and faults; the podcasts stay."""
        self.faults.clear()
        with self._lock:
            self._clear()

    def count(self, method: str, route: str, polled: str | None) -> None:
        """Count a request, and note the time if it polls the media id `polled`."""
        with self._lock:
            self._requests[method, route] += 1
            if polled is not None:
                self._polls.setdefault(polled, []).append(time.time())

    def record_submission(self, api: ApiName, podcast_id: str, raw: bytes) -> Received:
        """Record a submission before it is carried out; `record_outcome` completes the record."""
        body: dict[str, Any] | str = raw.decode(errors="replace")
        if (document := json_object(raw)) is not None:
            body = document
        submission = Received(time=time.time(), api=api, podcast_id=podcast_id, body=body)
        with self._lock:
            self._received.append(submission)
        return submission

    def record_outcome(self, record: Received, status: int | None, media_id: str | None) -> None:
        """Add the answer's status and the job's media id to a submission's record."""
        with self._lock:
            record.status = status
            record.media_id = media_id

    def add(self, job: Job) -> dict[str, Any]:
        """Take a job over, and return its first record, even if jobs take no time."""
        with self._lock:
            self._jobs[job.media_id] = job
            return job.record() | {"status": job.statuses[0]}

    def job(self, media_id: str) -> Job | None:
        """The job with this id."""
        with self._lock:
            return self._jobs.get(media_id)

    def all_jobs(self) -> list[Job]:
        """Every job, oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def put_file(self, name: str, content: bytes) -> None:
        """Keep a file."""
        with self._lock:
            self._files[name] = content

    def file(self, name: str) -> bytes | None:
        """A file that was kept."""
        with self._lock:
            return self._files.get(name)

    def poll(self, media_id: str) -> dict[str, Any]:
        """Answer a poll: the job's record, after its script has advanced."""
        with self._lock:
            return self._jobs[media_id].poll()

    def set_statuses(self, media_id: str, statuses: Sequence[str]) -> dict[str, Any]:
        """Set a job's script, and return its record. Raises KeyError for an unknown job."""
        with self._lock:
            self._jobs[media_id].set_statuses(statuses)
            return self._jobs[media_id].record()

    def submissions(self) -> list[Received]:
        """A copy of every submission's record, oldest first."""
        with self._lock:
            return [replace(submission) for submission in self._received]

    def requests(self) -> Counter[tuple[str, str]]:
        """How many requests each (method, path template) got."""
        with self._lock:
            return self._requests.copy()

    def polls(self) -> dict[str, list[float]]:
        """The times of the polls of each media id, in seconds since the epoch."""
        with self._lock:
            return {media_id: list(times) for media_id, times in self._polls.items()}

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Every job's record by media id, without advancing a script."""
        with self._lock:
            return {job.media_id: job.record() for job in self._jobs.values()}

    def snapshot(self) -> dict[str, Any]:
        """The whole state as a JSON object (docs/sandbox.md)."""
        submissions = self.submissions()
        return {
            "submissions": [asdict(submission) for submission in submissions],
            "received": len(submissions),
            "taken": sum(submission.media_id is not None for submission in submissions),
            "jobs": self.jobs(),
            "polls": self.polls(),
            "requests": {" ".join(key): count for key, count in self.requests().items()},
            "faults": self.faults.snapshot(),
        }


def json_object(raw: bytes) -> dict[str, Any] | None:
    """The body of a request, if it is a JSON object."""
    with suppress(BadRequestError):
        document = parse_json(raw)
        return document if isinstance(document, dict) else None
    return None


def stamp(moment: datetime) -> str:
    """UTC with three decimals and Z."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
