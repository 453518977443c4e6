"""A process that has imported everything and has no threads; it forks each life of the daemon.

So a life costs a fork instead of a start of Python. What runs in it is `feedwatch run` itself.
"""

import ctypes
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import IO, Any, NoReturn

import feedwatch.daemon.loop
import feedwatch.feeds.parse
from feedwatch.cli import app
from feedwatch.core.post_deadline import Moment
from feedwatch.daemon.wall_clock import FollowedClock
from feedwatch.feeds import parser_process
from feedwatch.processors.clocks import moment
from feedwatch.store.database import connect
from feedwatch.store.store import Store
from tests.crash.boundaries import Boundaries, Crumb, Trap

TICK = timedelta(seconds=0.04)  # instead of one second: a life is short
SIGNAL_AT_PARENTS_END, ADOPT_ORPHANS = 1, 36  # of prctl(2)


@dataclass(frozen=True, kw_only=True)
class Order:
    """A life to be led."""

    folder: Path  # of the config; feedwatch runs beside it
    config: Path
    verbs: Sequence[Sequence[str]]  # one after another in one process
    trap: Trap | None = None
    crumb: Path
    log: Path
    ahead: timedelta = timedelta()  # of our clock
    plain: bool = False  # the command itself, by a start of Python, with nothing wrapped or tuned
    tune: Callable[[], object] = int  # called in the life before it begins
    boundaries: type[Boundaries] = Boundaries


@dataclass
class Life:
    """One life of the daemon, seen from outside."""

    pid: int
    pidfd: int
    born: float = field(default_factory=time.monotonic)
    status: int | None = None  # negative: the signal that ended it

    def send(self, number: signal.Signals) -> None:
        if self.status is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)


class Launcher:
    """Our end. Make it before any thread is started."""

    def __init__(self) -> None:
        ours, theirs = Pipe()
        self._pid = os.fork()
        if self._pid == 0:
            ours.close()
            _serve(theirs)
        theirs.close()
        self._pipe = ours
        self._lives: dict[int, Life] = {}

    def start(self, order: Order) -> Life:
        """Begin a life."""
        self._pipe.send(order)
        while not isinstance(message := self._pipe.recv(), int):
            self._note(*message)
        life = Life(pid=message, pidfd=os.pidfd_open(message))
        self._lives[message] = life
        self._pipe.send("go")
        return life

    def ended(self, life: Life, timeout: float) -> bool:
        """Whether it ends within so many seconds."""
        until = time.monotonic() + timeout
        while life.status is None:
            left = until - time.monotonic()
            if not self._pipe.poll(max(left, 0)):
                return False
            self._note(*self._pipe.recv())
        return True

    def close(self) -> None:
        """End it, and whatever lives."""
        self._pipe.close()
        os.waitpid(self._pid, 0)

    def _note(self, pid: int, status: int) -> None:
        life = self._lives.pop(pid)
        life.status = status
        os.close(life.pidfd)
        life.pidfd = -1


def _serve(pipe: "Connection[Any, Any]") -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _prctl(SIGNAL_AT_PARENTS_END, signal.SIGTERM)
    _prctl(ADOPT_ORPHANS, 1)
    Store("sqlite://", processor="any", may_create=True).close()  # now all of it is imported
    connect("postgresql+psycopg:///any").dispose()
    gc.collect()
    gc.freeze()
    lives: dict[int, int] = {}
    with suppress(EOFError, BrokenPipeError):
        while True:
            ready = wait([pipe, *lives.values()])
            _reap(pipe, lives)
            if pipe in ready:
                order: Order = pipe.recv()
                pid = os.fork()
                if pid == 0:
                    _live(order, pipe)
                lives[pid] = os.pidfd_open(pid)
                pipe.send(pid)
                pipe.recv()
    for pidfd in lives.values():
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    os._exit(0)


def _reap(pipe: "Connection[Any, Any]", lives: dict[int, int]) -> None:
    """Tell of lives that have ended; orphaned parsers end here too."""
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if pid in lives:
                os.close(lives.pop(pid))
                pipe.send((pid, os.waitstatus_to_exitcode(status)))


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


# In the life


def _live(order: Order, pipe: "Connection[Any, Any]") -> NoReturn:
    status = 70
    try:
        pipe.close()
        _prctl(SIGNAL_AT_PARENTS_END, signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _be_alone(order)
        environment = {"PATH": os.defpath, "HOME": str(order.folder), "LANG": "C.UTF-8"}
        environment["CACHE_DIRECTORY"] = str(order.folder / "cache")
        if order.plain:
            environment["PYTHONPATH"] = str(Path(feedwatch.__file__).parent.parent)
            _become(order, environment)
        os.environ.clear()
        # Nothing here is https, and to read all the world's certificates takes a third of a start.
        os.environ.update(environment | {"SSL_CERT_DIR": str(order.folder)})
        feedwatch.daemon.loop.TICK = TICK
        _set_clock(order.ahead)
        _keep_a_parser()
        order.tune()
        boundaries = order.boundaries(order.folder, order.crumb, order.trap)
        boundaries.install()
        status = max(_run(order.config, verb) for verb in order.verbs)
        boundaries.conclude()
    except BaseException:  # noqa: BLE001 - whatever it is, this process must end here
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _be_alone(order: Order) -> None:
    os.chdir(order.folder)
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for theirs, ours in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(theirs, ours)
    os.closerange(3, 64)


def _become(order: Order, environment: Mapping[str, str]) -> NoReturn:
    (verb,) = order.verbs
    program = [sys.executable, "-m", "feedwatch", "--config", str(order.config), *verb]
    os.execve(sys.executable, program, environment)


def _set_clock(ahead: timedelta) -> None:
    def read() -> Moment:
        now = moment()
        return Moment(boot=now.boot, wall=now.wall + ahead.total_seconds())

    FollowedClock.__init__.__defaults__ = (read,)


def _run(config: Path, verb: Sequence[str]) -> int:
    sys.argv = ["feedwatch", "--config", str(config), *verb]
    try:
        app.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


class _ForkedParser:
    """The parser's process, forked instead of started; as much of a Popen as `Parser` needs."""

    def __init__(self, max_memory: int) -> None:
        requests, to_child = os.pipe()
        from_child, answers = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.dup2(requests, 0)
            os.dup2(answers, 1)
            os.closerange(3, 64)
            sys.stdin = os.fdopen(0, closefd=False)
            with suppress(BaseException):
                parser_process.serve(max_memory)
            os._exit(0)
        os.close(requests)
        os.close(answers)
        self.stdin: IO[bytes] = os.fdopen(to_child, "wb")
        self.stdout: IO[bytes] = os.fdopen(from_child, "rb")
        self.returncode: int | None = None

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


def _keep_a_parser() -> None:
    """Fork it now, while there are no threads. A second one, if ever, is started in earnest."""
    kept: list[Any] = [_ForkedParser(parser_process.MAX_MEMORY)]
    start: Any = parser_process._start

    def give(max_memory: int) -> Any:
        return kept.pop() if kept else start(max_memory)

    parser_process._start = give


__all__ = ["Crumb", "Launcher", "Life", "Order"]
