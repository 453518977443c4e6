"""Worker pool: work that waits on the network, so that one slow server keeps no other waiting."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Subject = TypeVar("Subject")
Result = TypeVar("Result")


class WorkerPool(Generic[Subject, Result]):
    """At most `size` threads, each at work on a subject with an id.

    One thread alone starts work and takes the results: what becomes of them is decided there.
    """

    def __init__(self, size: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(size, thread_name_prefix=name)
        self._size = size
        self._running: dict[int, tuple[Subject, Future[Result]]] = {}

    @property
    def free(self) -> int:
        """How many more subjects may be started."""
        return self._size - len(self._running)

    @property
    def ids(self) -> set[int]:
        """The ids of the subjects under way."""
        return set(self._running)

    def start(self, key: int, subject: Subject, work: Callable[[Subject], Result]) -> None:
        """Start `work(subject)`; `key` is the subject's id."""
        self._running[key] = (subject, self._pool.submit(work, subject))

    def finished(self) -> Iterator[tuple[Subject, Future[Result]]]:
        """The subjects whose work has ended since the last call, with its result."""
        for key in [key for key, (_, future) in self._running.items() if future.done()]:
            subject, future = self._running.pop(key)
            if not future.cancelled():  # by `close`
                yield subject, future

    def close(self) -> None:
        """Wait for the work under way; what has not begun is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)
