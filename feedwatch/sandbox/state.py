"""What the stand-in knows: its shows, the jobs it took, and a count of all it was sent."""

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
from feedwatch.sandbox.faults import Faults

# The way of a job when nobody interferes; the times are spread evenly over it.
PATH = ("AD_BREAK_QUEUED", "AD_BREAK_PROCESSING", "AD_BREAK_READY", "PUBLISHING", "READY")
DURATION = 1800  # of every processed file, in seconds
_TICK = 0.001  # the times we show have milliseconds; a change must be seen in them
_FAILURE = re.compile("ERROR$|^UNAVAILABLE$")


@dataclass
class Received:
    """One submission that came in whole."""

    time: float  # seconds since the epoch
    podcast_id: str
    body: dict[str, Any] | str  # the text as it came where it is no JSON object
    status: int | None = None  # of the answer; None if none was sent
    media_id: str | None = None  # None if no job was made


class Job:
    """One media record. It moves on by the clock, or by a script of statuses, one a poll."""

    def __init__(
        self, podcast_id: str, body: dict[str, Any], seconds: float, script: Sequence[str]
    ) -> None:
        self.media_id = secrets.token_hex(12)
        self.podcast_id = podcast_id
        self._body = body
        self._status = PATH[0]
        self._step = seconds / (len(PATH) - 1)
        self._script = list(script)
        self._by_clock = not script
        self._born = time.monotonic()
        self._created_at = self._updated_at = datetime.now(UTC)
        self._failures = 0

    def poll(self) -> dict[str, Any]:
        """Show the record to a client, which moves a script on."""
        if self._script:
            self._move(self._script.pop(0))
        return self.record()

    def force(self, statuses: Sequence[str]) -> None:
        """Leave the ordinary way: the first status holds from now, the next from the next poll."""
        self._follow_clock()
        self._by_clock = False
        self._script = list(statuses)
        self._move(statuses[0])

    def record(self) -> dict[str, Any]:
        """Show the record as it stands."""
        self._follow_clock()
        ready = self._status == PATH[-1]
        return {
            "mediaId": self.media_id,
            "name": self._body["name"],
            "status": self._status,
            "originUrl": self._body["url"],
            "url": f"https://processed.sandbox.example/{self.media_id}.mp3" if ready else None,
            "duration": DURATION if ready else None,
            "publishedDate": self._body.get("publishedDate"),
            "createdAt": _stamp(self._created_at),
            "updatedAt": _stamp(self._updated_at),
            "failedAttempts": self._failures,
            "adRemovalMarkers": [],
        }

    def _follow_clock(self) -> None:
        if not self._by_clock:
            return
        age = time.monotonic() - self._born
        last = len(PATH) - 1
        stage = min(int(age / self._step), last) if self._step else last
        self._status = PATH[stage]
        self._updated_at = self._created_at + timedelta(seconds=stage * max(self._step, _TICK))

    def _move(self, status: str) -> None:
        if status == self._status:
            return
        self._status = status
        self._updated_at = max(datetime.now(UTC), self._updated_at + timedelta(seconds=_TICK))
        self._failures += bool(_FAILURE.search(status))


class SandboxState:
    """Everything the stand-in remembers. Safe to use from many threads."""

    def __init__(self, podcasts: Mapping[str, str], job_seconds: float) -> None:
        self.podcasts = dict(podcasts)
        self._job_seconds = job_seconds
        self.faults = Faults()
        self._lock = Lock()
        self._clear()

    def _clear(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._received: list[Received] = []
        self._requests: Counter[tuple[str, str]] = Counter()
        self._polls: dict[str, list[float]] = {}

    def reset(self) -> None:
        """Forget everything but the shows, faults included."""
        self.faults.clear()
        with self._lock:
            self._clear()

    def count(self, method: str, route: str, polled: str | None) -> None:
        """Count a request, and note when a job was asked for, whatever the answer."""
        with self._lock:
            self._requests[method, route] += 1
            if polled is not None:
                self._polls.setdefault(polled, []).append(time.time())

    def receive(self, podcast_id: str, raw: bytes) -> Received:
        """Note a submission. What became of it is added by `settle`."""
        body: dict[str, Any] | str = raw.decode(errors="replace")
        with suppress(BadRequestError):
            document = parse_json(raw)
            body = document if isinstance(document, dict) else body
        receipt = Received(time=time.time(), podcast_id=podcast_id, body=body)
        with self._lock:
            self._received.append(receipt)
        return receipt

    def settle(self, receipt: Received, status: int | None, media_id: str | None) -> None:
        """Note what became of a submission."""
        with self._lock:
            receipt.status = status
            receipt.media_id = media_id

    def take(self, podcast_id: str, body: dict[str, Any], script: Sequence[str]) -> dict[str, Any]:
        """Make a job and give its record."""
        job = Job(podcast_id, body, self._job_seconds, script)
        with self._lock:
            self._jobs[job.media_id] = job
            return job.record() | {"status": PATH[0]}  # even where a job takes no time at all

    def owner(self, media_id: str) -> str | None:
        """Say whose job this is, if there is one."""
        with self._lock:
            job = self._jobs.get(media_id)
            return job.podcast_id if job else None

    def poll(self, media_id: str) -> dict[str, Any]:
        """Give the record of a job to a client."""
        with self._lock:
            return self._jobs[media_id].poll()

    def force(self, media_id: str, statuses: Sequence[str]) -> dict[str, Any]:
        """Put a job on a script of statuses. Raises KeyError for an unknown job."""
        with self._lock:
            self._jobs[media_id].force(statuses)
            return self._jobs[media_id].record()

    def submissions(self) -> list[Received]:
        """Every submission that came in whole, in order."""
        with self._lock:
            return [replace(receipt) for receipt in self._received]

    def requests(self) -> Counter[tuple[str, str]]:
        """How often each route was called."""
        with self._lock:
            return self._requests.copy()

    def polls(self) -> dict[str, list[float]]:
        """When each job was asked for."""
        with self._lock:
            return {media_id: list(times) for media_id, times in self._polls.items()}

    def jobs(self) -> dict[str, dict[str, Any]]:
        """The record of every job as it stands, without moving its script on."""
        with self._lock:
            return {job.media_id: job.record() for job in self._jobs.values()}

    def picture(self) -> dict[str, Any]:
        """All of it, for JSON."""
        received = self.submissions()
        return {
            "submissions": [asdict(receipt) for receipt in received],
            "received": len(received),
            "taken": sum(receipt.media_id is not None for receipt in received),
            "jobs": self.jobs(),
            "polls": self.polls(),
            "requests": {" ".join(key): count for key, count in self.requests().items()},
            "faults": self.faults.picture(),
        }


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
