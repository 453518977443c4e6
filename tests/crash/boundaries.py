"""In the daemon's process: the boundaries between its steps, and a trap at one of them.

The product knows nothing of this: its functions are wrapped from outside, once, before it starts.
A boundary is named for the operation, and for what happens within it: "claim" is all of
`ClaimStore.claim`, "claim/commit" is the COMMIT in it. Each is crossed on two sides, before and
after. What is about a helper step has its name, too: "claim enhance/commit".
"""

import io
import json
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.default import DefaultDialect

import feedwatch.store.store
import feedwatch.watcher.checks
import feedwatch.watcher.submissions
from feedwatch.core.episode import Episode, State
from feedwatch.core.ledger import Claim, Outcome
from feedwatch.core.pipeline import Step, steps_of
from feedwatch.feeds.parser_process import Parser
from feedwatch.processors.bearer import Bearer
from feedwatch.processors.inlet import Inlet
from feedwatch.processors.mediaapis import MediaApis
from feedwatch.store.breakers import BreakerStore
from feedwatch.store.checks import CheckStore
from feedwatch.store.claims import ClaimStore
from feedwatch.store.documents import DocumentStore
from feedwatch.store.episodes import EpisodeStore
from feedwatch.store.feeds import FeedStore
from feedwatch.store.heartbeats import HeartbeatStore
from feedwatch.store.imports import Imports
from feedwatch.store.journal import Journal
from feedwatch.store.passes import PassStore
from feedwatch.store.store import Store
from feedwatch.watcher.polls import Polls
from feedwatch.watcher.submissions import Submissions

Side = Literal["before", "after"]
SIDES: tuple[Side, Side] = ("before", "after")
APPENDS = ("append claim", "append outcome")
WRITE = os.write
WRITES = ("INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER")


@dataclass(frozen=True, kw_only=True)
class Trap:
    """Kill the process at the `nth` time that `side` of the boundary `name` is reached."""

    name: str
    side: Side
    nth: int
    signal: int = signal.SIGKILL


@dataclass(frozen=True, kw_only=True)
class Crumb:
    """What a life leaves behind when the trap closes, or at its ordered end."""

    trapped: bool
    submitter: bool = False  # whether the trap closed in the thread that submits
    doubt: bool = False  # whether then a claim was committed and its answer was not
    crossed: dict[str, int] | None = None  # at an ordered end: how often each boundary was crossed

    @classmethod
    def read(cls, path: Path) -> "Crumb | None":
        """The crumb of a life; None if it was killed from outside."""
        text = path.read_text(encoding="utf-8")
        return cls(**json.loads(text)) if text else None


class _Here(threading.local):
    """What this thread is doing."""

    def __init__(self) -> None:
        self.operations: list[str] = []
        self.submitter = False
        self.wrote = False  # in this transaction
        self.committing = False  # a transaction that may write


class Boundaries:
    """Installed once in a process that is to become the daemon."""

    def __init__(self, folder: Path, crumb: Path, trap: Trap | None) -> None:
        self._folder = str(folder)
        self._crumb = os.open(crumb, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self._trap = trap
        self._count = 0
        self._crossed: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._here = _Here()
        self._doubt = False
        self._steps: dict[str, Step] = {}  # of the claims of this life, by their tokens

    def install(self) -> None:
        """Wrap what there is to be wrapped."""
        self._wrap(Store, "__init__", "open")
        self._wrap(feedwatch.store.store, "upgrade", "upgrade")
        for owner, method, name in (
            (FeedStore, "sync", "sync_feeds"),
            (CheckStore, "record", "record_check"),
            (CheckStore, "record_unchanged", "record_unchanged"),
            (Imports, "take_over", "import"),
            (HeartbeatStore, "write", "beat"),
            (HeartbeatStore, "end", "rest"),
            (PassStore, "clear", "forget passes"),
            (DocumentStore, "keep_only", "keep documents"),
        ):
            self._wrap(owner, method, name)
        self._wrap(EpisodeStore, "save", _name_of_save)
        self._wrap(EpisodeStore, "look_again", "look again")
        self._wrap(ClaimStore, "claim", lambda _, one, *__: f"claim{_named_after(one)}")
        self._wrap(ClaimStore, "settle", self._name_of_settle)
        self._wrap(ClaimStore, "settle_unmet", "settle unmet")
        self._wrap(BreakerStore, "change", lambda _, one, __: f"change_gate{_named_after(one)}")
        self._wrap(Journal, "append_claim", self._name_of_append)
        self._wrap(Journal, "append_outcome", self._name_of_outcome)
        self._wrap(feedwatch.watcher.submissions, "compare", "compare")
        for processor in (Inlet, MediaApis):
            for name in ("prepare", "submit", "poll", "probe"):
                self._wrap(processor, name, f"{name}{_named_after(processor.name)}")
        self._wrap(Inlet, "has_target", "look up")
        self._wrap(Bearer, "_fetch", "fetch token")
        self._wrap(MediaApis, "_unreadable", "read output")
        self._wrap(FeedStore, "set_missing_podcasts", "note podcasts")
        self._wrap(feedwatch.watcher.checks, "fetch", "fetch")
        self._wrap(Parser, "parse", "parse")
        self._wrap_loops()
        self._watch_database()
        self._wrap(socket.socket, "send", "send", inner=True)
        self._wrap(socket.socket, "recv", "receive", inner=True)
        self._watch_files()
        self._watch_journal()

    def conclude(self) -> None:
        """An ordered end: leave behind what was crossed."""
        self._leave(Crumb(trapped=False, crossed=dict(self._crossed)))

    def _cross(self, name: str, side: Side) -> None:
        with self._lock:
            self._crossed[name] += side == "before"
            trap = self._trap
            if trap is None or (trap.name, trap.side) != (name, side):
                return
            self._count += 1
            if self._count == trap.nth:
                submitter = self._here.submitter
                self._leave(Crumb(trapped=True, submitter=submitter, doubt=self._doubt))
                signal.pthread_kill(threading.get_ident(), trap.signal)

    def _leave(self, crumb: Crumb) -> None:
        WRITE(self._crumb, json.dumps(asdict(crumb)).encode())

    @contextmanager
    def _operation(self, name: str) -> Iterator[None]:
        self._cross(name, "before")
        self._here.operations.append(name)
        try:
            yield
        finally:
            self._here.operations.pop()
        self._cross(name, "after")

    def _inner(self, what: str) -> str:
        operations = self._here.operations
        return f"{operations[-1] if operations else 'other'}/{what}"

    def _wrap(
        self, owner: Any, attribute: str, name: str | Callable[..., str], *, inner: bool = False
    ) -> None:
        original = getattr(owner, attribute)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if inner:
                return self._around(self._inner(str(name)), original, args, kwargs)
            operation = name if isinstance(name, str) else name(*args, **kwargs)
            with self._operation(operation):
                return original(*args, **kwargs)

        setattr(owner, attribute, wrapped)

    def _around(
        self, name: str, original: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:
        self._cross(name, "before")
        result = original(*args, **kwargs)
        self._cross(name, "after")
        return result

    def _wrap_loops(self) -> None:
        """So that we know in which thread a trap closes."""
        for loop, submitter in ((Submissions, True), (Polls, False)):
            original = loop.tick

            def tick(
                one: Any,
                original: Callable[[Any], bool] = original,
                submitter: bool = submitter,
            ) -> bool:
                self._here.submitter = submitter
                try:
                    return original(one)
                finally:
                    self._here.submitter = False

            setattr(loop, "tick", tick)  # noqa: B010 - mypy would not have it assigned

    def _watch_database(self) -> None:
        here = self._here

        def begun(_connection: Connection) -> None:
            here.wrote = False

        def to_commit(connection: Connection) -> None:
            here.committing = not connection.get_execution_options().get("reads_only", False)

        def to_execute(_db: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.lstrip().upper().startswith(WRITES):
                self._cross(self._inner("statement"), "before")

        def executed(_db: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.lstrip().upper().startswith(WRITES):
                here.wrote = True
                self._cross(self._inner("statement"), "after")

        event.listen(Engine, "begin", begun)
        event.listen(Engine, "commit", to_commit)
        event.listen(Engine, "before_cursor_execute", to_execute)
        event.listen(Engine, "after_cursor_execute", executed)
        original: Callable[[Any, Any], None] = DefaultDialect.do_commit

        def do_commit(dialect: Any, connection: Any) -> None:
            if not here.committing:
                original(dialect, connection)
                return
            here.committing = False
            self._cross(self._inner("commit"), "before")
            original(dialect, connection)
            self._committed()
            self._cross(self._inner("commit"), "after")

        setattr(DefaultDialect, "do_commit", do_commit)  # noqa: B010

    def _committed(self) -> None:
        operation = self._inner("")
        if self._here.wrote and self._here.submitter:
            if operation.startswith("claim"):
                self._doubt = True
            elif operation.startswith("settle answer"):
                self._doubt = False

    def _watch_files(self) -> None:
        """Files beside the database, such as a lock or a marker."""

        def within(path: object) -> bool:
            return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self._folder)

        def guard(owner: Any, name: str, counts: Callable[..., bool]) -> None:
            original = getattr(owner, name)

            def guarded(*args: Any, **kwargs: Any) -> Any:
                if not counts(*args, **kwargs):
                    return original(*args, **kwargs)
                return self._around(self._inner("file"), original, args, kwargs)

            setattr(owner, name, guarded)

        def for_writing(path: object, mode: str = "r", *_: object, **__: object) -> bool:
            return within(path) and bool(set(mode) & set("wax+"))

        guard(io, "open", for_writing)  # what pathlib calls
        guard(
            os,
            "open",
            lambda path, flags, *_, **__: within(path) and flags & (os.O_WRONLY | os.O_RDWR),
        )
        for name in ("replace", "rename", "link", "unlink", "mkdir"):
            guard(os, name, lambda path, *_, **__: within(path))

    def _watch_journal(self) -> None:
        """The line and the wait for the disk, in each place; a line of which a half is written."""
        synced = os.fsync

        def write(file: int, content: bytes) -> int:
            if self._inner("").startswith(APPENDS):
                return int(self._around(self._inner("line"), self._write, (file, content), {}))
            return WRITE(file, content)

        def fsync(file: int) -> None:
            if self._inner("").startswith(APPENDS):
                self._around(self._inner("sync"), synced, (file,), {})
            else:
                synced(file)

        setattr(os, "write", write)  # noqa: B010
        setattr(os, "fsync", fsync)  # noqa: B010

    def _write(self, file: int, content: bytes) -> int:
        if self._trap is None or self._trap.name != self._inner("half"):
            return WRITE(file, content)
        half = len(content) // 2
        self._cross(self._inner("half"), "before")
        written = WRITE(file, content[:half])
        self._cross(self._inner("half"), "after")
        return written + WRITE(file, content[half:])

    def _name_of_append(self, _journal: Journal, claim: Claim) -> str:
        self._steps[claim.token] = claim.step
        return f"append claim{_of(claim.step)}"

    def _name_of_outcome(self, _journal: Journal, token: str, *_: Any) -> str:
        return f"append outcome{_of(self._steps.get(token, Step.ADS))}"

    def _name_of_settle(
        self,
        _store: ClaimStore,
        _token: str,
        outcome: Outcome,
        before: Episode,
        *_: Any,
        **__: Any,
    ) -> str:
        if "compare" in self._here.operations:
            return "settle found"
        return "settle doubt" if outcome is Outcome.UNKNOWN else f"settle answer{_of(before.step)}"


def _of(step: Step) -> str:
    """What names the step in a boundary."""
    return "" if step is Step.ADS else f" {step}"


def _named_after(processor: str) -> str:
    """The same by the processor, of which there is one step in a world."""
    return _of(steps_of(processor)[-1])


def _name_of_save(_store: EpisodeStore, before: Episode, after: Episode, *_: Any) -> str:
    """Several moves of one function, each a step of its own."""
    if before.state is not State.PROCESSING:
        return "save other"
    return "go on" if after.step is not before.step else f"save poll{_of(before.step)}"
