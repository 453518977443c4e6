"""Work that waits on the network, in threads, so that one slow server keeps no other waiting."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Subject = TypeVar("Subject")
Result = TypeVar("Result")


class WorkerPool(Generic[Subject, Result]):
    """At most `size` pieces of work at once, each about a subject with an id.

    Started and gathered by one thread alone: what becomes of a result is decided there.
    """

    def __init__(self, size: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(size, thread_name_prefix=name)
        self._size = size
        self._running: dict[int, tuple[Subject, Future[Result]]] = {}

    @property
    def free(self) -> int:
        """How many more may be started."""
        return self._size - len(self._running)

    @property
    def ids(self) -> set[int]:
        """Of the subjects that are under way."""
        return set(self._running)

    def start(self, key: int, subject: Subject, work: Callable[[Subject], Result]) -> None:
        """Begin `work(subject)`."""
        self._running[key] = (subject, self._pool.submit(work, subject))

    def finished(self) -> Iterator[tuple[Subject, Future[Result]]]:
        """What has come to its end since the last call."""
        done = [key for key, (_, future) in self._running.items() if future.done()]
        for key in done:
            subject, future = self._running.pop(key)
            if not future.cancelled():  # by `close`: nobody's fault
                yield subject, future

    def close(self) -> None:
        """Wait for what is under way; what has not begun is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)
