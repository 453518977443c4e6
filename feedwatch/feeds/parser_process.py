"""Parser process: runs `parse.parse` in a child process that can be killed.

Some documents keep a parser busy for minutes or fill the memory. Here that costs one document.

The child is this very module. Requests and answers go over its standard input and output, each as
its length and a pickle. It ends when its input does, so it never outlives its parent for long.
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
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import feedwatch
from feedwatch.core.feed import Document, Failed, ParsedFeed
from feedwatch.feeds.sniff import feed_bytes

SECONDS = 5.0  # of the processor's time
SECONDS_PER_MEGABYTE = 5.0
BUSY = 10  # times as much wall time: the machine may be busy with other work
WAIT_FOR_FIRST = 0.5  # seconds that a document waits for the first parser to be free
MAX_MEMORY = 1_000_000_000  # bytes of address space

_LENGTH = struct.Struct(">Q")


class Parser:
    """Parses one document at a time in a child process, started when first needed.

    The limit of a document is CPU time, since a busy machine is not the document's fault. A wall
    limit, ten times as long, kills a child that gets no CPU time at all.

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
        """As `parse.parse`; Failed also if that takes too long, or if the child dies."""
        limit = self.seconds + self.seconds_per_megabyte * len(document.body) / 1_000_000
        with self._turn:
            child = self._ready_child()
            if child is None:
                return Failed("the parser has been closed")

            def time_out() -> None:
                self._timed_out = True
                child.kill()

            watchdog = threading.Timer(BUSY * limit, time_out)
            watchdog.daemon = True
            watchdog.start()
            try:
                answer = _ask(child, (document, tuple(media_types), limit))
            except BaseException:  # half an answer must not be taken for the next one
                self._bury(child)
                raise
            finally:
                watchdog.cancel()
                watchdog.join()  # from here on it does not kill the next document's child
            if self._timed_out or answer is None:
                self._bury(child)
                self._timed_out |= child.returncode == -signal.SIGPROF
            if answer is not None:
                return answer
            if self._closed:
                return Failed("the parser was closed before it was done")
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
        """A child that waits for work; None once the parser is closed."""
        if self._child is not None and self._child.poll() is not None:
            self._bury(self._child)
        with self._state:
            self._timed_out = False
            if self._child is None and not self._closed:
                self._child = _start(self.max_memory)
            return None if self._closed else self._child

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
        if not self._busy.acquire(timeout=self._wait):
            return self._second.parse(document, media_types)
        try:
            return self._first.parse(document, media_types)
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


def _ask(child: subprocess.Popen[bytes], request: object) -> ParsedFeed | Failed | None:
    """The child's answer; None if it died before it gave one."""
    if child.stdin is None or child.stdout is None:
        raise ValueError("the child has no pipes")
    try:
        _send(child.stdin, request)
        answer: ParsedFeed | Failed = _receive(child.stdout)
    except (OSError, EOFError):
        return None
    return answer


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

    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            document, media_types, limit = _receive(sys.stdin.buffer)
            signal.setitimer(signal.ITIMER_PROF, limit)  # ends us, even if the parent was killed
            whole = feed_bytes(document.body)
            if isinstance(
                whole, Failed
            ):  # as an error page is at each check: no need of feedparser
                answer: ParsedFeed | Failed = whole
            else:
                from feedwatch.feeds import (
                    parse,  # only the child pays for it, where there is a feed
                )

                answer = parse.parse(document, media_types)
            _send(answers, answer)
            signal.setitimer(signal.ITIMER_PROF, 0)


if __name__ == "__main__":
    try:
        serve(int(sys.argv[1]))
    except MemoryError:
        os._exit(1)  # the parent sees it
