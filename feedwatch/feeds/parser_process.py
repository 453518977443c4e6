"""Parser process: runs `parse.parse` and `well_formed.packed` in a child that can be killed.

Some documents keep a parser busy for minutes or fill the memory. Here that costs one document.

The child is this very module. It says that it is ready once all is imported, and no limit of a
document begins before. Requests and answers go over its standard input and output, each as its
length and a pickle. It ends when its input does, so it never outlives its parent for long.
"""

import contextlib
import os
import pickle
import resource
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

import feedwatch
from feedwatch.core.feed import Document, Failed, Item, ParsedFeed
from feedwatch.core.masking import shortened

SECONDS = 5.0  # of the processor's time
SECONDS_PER_MEGABYTE = 5.0
BUSY = 10  # times as much wall time: the machine may be busy with other work
START_SECONDS = 300.0  # of wall time, until a child is ready: only a hang meets it
ATTEMPTS = 2  # each in a child of its own, before a document is given up
MAX_ITEMS_OF_A_MESSAGE = 500  # a pickle is read in one go, and keeps other threads waiting
WAIT_FOR_FIRST = 0.5  # seconds that a document waits for the first parser to be free
MAX_MEMORY = 1_000_000_000  # bytes of address space

_LENGTH = struct.Struct(">Q")

Answered = TypeVar("Answered")


class Parser:
    """Parses one document at a time in a child process, started when first needed and kept.

    The limit of a document is CPU time, since a busy machine is not the document's fault. A wall
    limit, ten times as long, kills a child that gets no CPU time at all. Nor is it the document's
    fault if the child was killed from outside, so it is tried once more.

    Threads may share it: they take turns. `close` may be called from any thread at any time.
    """

    def __init__(
        self,
        *,
        seconds: float = SECONDS,
        seconds_per_megabyte: float = SECONDS_PER_MEGABYTE,
        max_memory: int = MAX_MEMORY,
    ) -> None:
        self.seconds = seconds
        self.seconds_per_megabyte = seconds_per_megabyte
        self.max_memory = max_memory
        self._turn = threading.Lock()  # held while a document is parsed
        self.is_starting = False  # the child, at present
        self._child: subprocess.Popen[bytes] | None = None
        self._state = threading.Lock()  # guards the two below; never held for long
        self._closed = False
        self._timed_out = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def parse(self, document: Document, media_types: Sequence[str]) -> ParsedFeed | Failed:
        """As `parse.parse`; Failed also if that takes too long, or if the child dies, twice."""
        answer: ParsedFeed | Failed = self._answer(document, tuple(media_types))
        return answer

    def pack(self, document: Document) -> bytes | Failed:
        """As `well_formed.packed`; Failed also as `parse` does."""
        answer: bytes | Failed = self._answer(document, None)
        return answer

    def _answer(self, document: Document, media_types: Sequence[str] | None) -> Any:
        """The child's answer about a document: parsed, or packed without media types."""
        limit = self.seconds + self.seconds_per_megabyte * len(document.body) / 1_000_000
        request = document, media_types, limit
        begun = False
        with self._turn:
            if self._closed:
                return Failed("the parser has been closed")
            for _ in range(ATTEMPTS):
                child = self._ready_child()
                if child is None:
                    continue
                begun = True
                answer = self._within(BUSY * limit, child, lambda child: _ask(child, request))
                if answer is not None:
                    return answer
            if self._closed:
                return Failed("the parser was closed before it was done")
            if not begun:
                return Failed("the parser's process does not start")
            if self._timed_out:
                return Failed(f"parsing took longer than {limit:.0f} s; the document was given up")
            return Failed("the parser ran out of memory or crashed; the document was given up")

    def close(self) -> None:
        """End the child. A parse under way in another thread ends at once, with Failed."""
        with self._state:
            self._closed = True
            if self._child is not None:
                self._child.kill()
        with self._turn:
            if self._child is not None:
                self._bury(self._child)

    def _ready_child(self) -> subprocess.Popen[bytes] | None:
        """A child that waits for work; None once the parser is closed, or if none gets ready."""
        if self._child is not None and self._child.poll() is not None:
            self._bury(self._child)
        with self._state:
            self._timed_out = False
            if self._closed or self._child is not None:
                return None if self._closed else self._child
            child = self._child = _start(self.max_memory)
        self.is_starting = True
        try:
            is_ready = self._within(START_SECONDS, child, lambda child: _receive(_out(child)))
        finally:
            self.is_starting = False
        return child if is_ready else None

    def _within(
        self,
        seconds: float,
        child: subprocess.Popen[bytes],
        ask: Callable[[subprocess.Popen[bytes]], Answered],
    ) -> Answered | None:
        """What the child answers; None, and no child, if it takes longer or dies over it."""

        def time_out() -> None:
            self._timed_out = True
            child.kill()

        watchdog = threading.Timer(seconds, time_out)
        watchdog.daemon = True
        watchdog.start()
        answer = None
        try:
            answer = ask(child)
        except (OSError, EOFError):
            pass
        except BaseException:  # half an answer must not be taken for the next one
            self._bury(child)
            raise
        finally:
            watchdog.cancel()
            watchdog.join()  # from here on it does not kill the next document's child
        if self._timed_out or answer is None:
            self._bury(child)
            self._timed_out |= child.returncode == -signal.SIGPROF
        return answer

    def _bury(self, child: subprocess.Popen[bytes]) -> None:
        child.kill()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what the child no longer took
                    pipe.close()
        child.wait()
        with self._state:
            self._child = None


class Parsers:
    """Two parsers; the second one works only while a document keeps the first one busy.

    So a slow document keeps no other waiting, and mostly there is one child.
    """

    def __init__(self, wait: float = WAIT_FOR_FIRST) -> None:
        self._wait = wait
        self._first, self._second = Parser(), Parser()
        self._busy = threading.Lock()  # while the first is at work

    def parse(self, document: Document, media_types: Sequence[str]) -> ParsedFeed | Failed:
        """As `Parser.parse`."""
        with self._free() as parser:
            return parser.parse(document, media_types)

    def pack(self, document: Document) -> bytes | Failed:
        """As `Parser.pack`."""
        with self._free() as parser:
            return parser.pack(document)

    @contextlib.contextmanager
    def _free(self) -> Iterator[Parser]:
        """The first parser, once it is free; the second while a document keeps that busy."""
        while not self._busy.acquire(timeout=self._wait):
            if not self._first.is_starting:  # a start takes long on a busy machine; two, longer
                yield self._second
                return
        try:
            yield self._first
        finally:
            self._busy.release()

    def close(self) -> None:
        """End both children."""
        self._first.close()
        self._second.close()


def _start(max_memory: int) -> subprocess.Popen[bytes]:
    # A parser of other people's documents gets none of our secrets.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FEEDWATCH")}
    environment["PYTHONPATH"] = str(Path(feedwatch.__file__).parent.parent)
    return subprocess.Popen(  # noqa: S603  # our own interpreter and module
        [sys.executable, "-P", "-m", "feedwatch.feeds.parser_process", str(max_memory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )


def _ask(child: subprocess.Popen[bytes], request: object) -> ParsedFeed | bytes | Failed:
    """The child's answer. Raises `OSError` or `EOFError` if it dies before it gave one."""
    if child.stdin is None:
        raise ValueError("the child has no pipes")
    _send(child.stdin, request)
    answer: ParsedFeed | bytes | Failed = _receive(_out(child))
    if isinstance(answer, Failed):  # it may quote the document, and the child knows no secrets
        return replace(answer, reason=shortened(answer.reason))
    if isinstance(answer, bytes):
        return answer
    items: list[Item] = []
    while part := _receive(_out(child)):
        items += part
    return replace(answer, items=tuple(items))


def _out(child: subprocess.Popen[bytes]) -> IO[bytes]:
    if child.stdout is None:
        raise ValueError("the child has no pipes")
    return child.stdout


def _send(pipe: IO[bytes], message: object) -> None:
    packed = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    pipe.write(_LENGTH.pack(len(packed)))
    pipe.write(packed)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    """The next message. Raises `EOFError` if there is none, or not all of it."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    packed = pipe.read(length)
    if len(packed) < length:
        raise EOFError
    return pickle.loads(packed)  # noqa: S301  # written by ourselves, at the other end of a pipe


# The child


def serve(max_memory: int) -> None:
    """Answer requests until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when we end
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (max_memory, max_memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints to standard output must not end up among the answers

    from feedwatch.feeds import parse, well_formed  # only the child pays for it

    with contextlib.suppress(EOFError, BrokenPipeError):
        _send(answers, True)  # noqa: FBT003 - "ready"
        while True:
            document, media_types, limit = _receive(sys.stdin.buffer)
            signal.setitimer(signal.ITIMER_PROF, limit)  # ends us, even if the parent was killed
            answer = (
                parse.parse(document, media_types)
                if media_types is not None
                else well_formed.packed(document)
            )
            signal.setitimer(signal.ITIMER_PROF, 0)
            if isinstance(answer, Failed | bytes):
                _send(answers, answer)
                continue
            _send(answers, replace(answer, items=()))
            for start in range(0, len(answer.items), MAX_ITEMS_OF_A_MESSAGE):
                _send(answers, answer.items[start : start + MAX_ITEMS_OF_A_MESSAGE])
            _send(answers, ())


if __name__ == "__main__":
    try:
        serve(int(sys.argv[1]))
    except MemoryError:
        os._exit(1)  # the parent sees it
