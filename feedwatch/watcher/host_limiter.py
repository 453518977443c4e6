"""Host limiter: a few requests at once to one host, and a moment between two of them. Pure."""

import heapq
from collections import defaultdict, deque
from typing import Generic, TypeVar

MAX_CONCURRENT_REQUESTS = 2  # to one host
SPACING = 0.05  # seconds between the beginnings of two requests to one host

Subject = TypeVar("Subject")


class HostLimiter(Generic[Subject]):
    """Subjects that wait for their hosts. Times are seconds of a clock that only goes on."""

    def __init__(self, *, at_once: int = MAX_CONCURRENT_REQUESTS, spacing: float = SPACING) -> None:
        self._at_once = at_once
        self._spacing = spacing
        self._waiting: dict[str, deque[Subject]] = {}
        self._running: dict[str, int] = defaultdict(int)  # requests, by host
        self._free_at: dict[str, float] = {}
        self._next: list[tuple[float, str]] = []  # a heap: when which host may be asked next

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, host: str, subject: Subject) -> None:
        """Have a subject wait for its host, behind those that wait already."""
        if host in self._waiting:
            self._waiting[host].append(subject)
            return
        self._waiting[host] = deque([subject])
        if self._running[host] < self._at_once:
            self._queue(host)

    def take(self, now: float, most: int) -> list[Subject]:
        """The next subjects whose hosts may be asked now; `done` must follow each request."""
        taken: list[Subject] = []
        while len(taken) < most and self._next and self._next[0][0] <= now:
            _, host = heapq.heappop(self._next)
            waiting = self._waiting[host]
            taken.append(waiting.popleft())
            self._running[host] += 1
            self._free_at[host] = now + self._spacing
            if not waiting:
                del self._waiting[host]
            elif self._running[host] < self._at_once:
                self._queue(host)
        return taken

    def done(self, host: str, now: float) -> None:
        """A request to the host has ended."""
        self._running[host] -= 1
        if host in self._waiting:
            if self._running[host] == self._at_once - 1:
                self._queue(host)
        elif not self._running[host] and self._free_at[host] <= now:
            del self._running[host], self._free_at[host]  # it may never be asked again

    def wait(self, now: float) -> float | None:
        """Seconds until the next subject may be taken; None if that depends on `done`."""
        return max(self._next[0][0] - now, 0.0) if self._next else None

    def clear(self) -> list[Subject]:
        """Forget the subjects that wait, and return them."""
        subjects = [subject for queue in self._waiting.values() for subject in queue]
        self._waiting.clear()
        self._next.clear()
        return subjects

    def _queue(self, host: str) -> None:
        heapq.heappush(self._next, (self._free_at.get(host, 0.0), host))
