"""What the acceptance tests stand on: a publisher, a folder with a config, and feedwatch itself.

Nothing here looks into feedwatch: it is run by its command line, as a process or in this one, and
the rest of the world is HTTP on loopback.
"""

import gc
import hashlib
import io
import json
import logging
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pytest
from _pytest.mark.structures import ParameterSet

import feedwatch
from feedwatch.cli import app
from feedwatch.sandbox.server import Sandbox
from tests.empty_database import empty_database
from tests.shared_parser import SharedParser

Found = TypeVar("Found")

KEY = "k3y-that-nobody-may-see"  # the sandbox's key in every test
PODCAST = "podcast-1"
PODCASTS = {PODCAST: "The show", "podcast-2": "Another show"}
MORE_PODCASTS = tuple(f"podcast-{number}" for number in range(3, 9))
PATIENCE = 300.0  # seconds that a test waits for what should come soon: only a hang meets it
LONG = 1000.0  # seconds that no test waits for: longer than pytest's own limit
ROOT = Path(feedwatch.__file__).parent.parent
PARSERS = ["feedwatch.cli.assembly.Parsers"]  # where the verbs make one
PARSERS += [f"feedwatch.cli.{verb}.Parser" for verb in ("add", "check", "doctor", "export", "web")]
FIRST_DAY = datetime(2026, 1, 1, 6, 0, tzinfo=UTC)  # when episode 0 was published


def one_in(few: int, values: Iterable[object]) -> list[ParameterSet]:
    """Parameters of a test: one in `few` for `make test`, the others for `make test-long`."""
    return [
        pytest.param(value, marks=[pytest.mark.long] if place % few else [])
        for place, value in enumerate(values)
    ]


def wait_for(
    condition: Callable[[], Found | None], timeout: float = PATIENCE, what: str = "it"
) -> Found:
    """Ask again and again until `condition` gives something true, and return that."""
    until = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < until, f"{what} did not come true within {timeout} s"
        time.sleep(0.01)
    return found


# A publisher


def published(number: int) -> datetime:
    """When episode `number` was published, if the test says nothing else."""
    return FIRST_DAY + timedelta(days=number)


def audio(number: int) -> str:
    """Where the audio of episode `number` is."""
    return f"https://media.example.org/show/{number}.mp3"


def item(
    number: int,
    *,
    title: str | None = None,
    guid: str | None = None,
    url: str | None = None,
    when: datetime | None = None,
    description: str | None = None,
    media_type: str = "audio/mpeg",
    more: str = "",
) -> str:
    """One item of an RSS feed; everything in it follows from `number` unless given."""
    return (
        "<item>\n"
        f"<title>{escape(title or f'Episode {number}')}</title>\n"
        f'<guid isPermaLink="false">{escape(guid or f"guid-{number}")}</guid>\n'
        f"<pubDate>{format_datetime(when or published(number))}</pubDate>\n"
        f"<description>{escape(description or f'About {number}.')}</description>\n"
        f'<enclosure url="{escape(url or audio(number))}" length="1000" type="{media_type}"/>\n'
        f"{more}</item>\n"
    )


def rss(*items: str | int) -> bytes:
    """An RSS document of these items; a number stands for `item(number)`."""
    body = "".join(item(one) if isinstance(one, int) else one for one in items)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<rss version="2.0" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd">'
        f"<channel>\n<title>A show</title>\n{body}</channel></rss>\n"
    ).encode()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the feed server says to a GET."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0  # seconds before it is said


class Loopback:
    """An HTTP server on loopback, from `with` to its end."""

    _server: ThreadingHTTPServer
    over: threading.Event  # once it is set, no answer is delayed any more

    def __enter__(self) -> Self:
        serve = self._server.serve_forever
        threading.Thread(target=serve, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()


class FeedServer(Loopback):
    """Serves feeds on loopback. What it serves may be changed at any time.

    Every document has an ETag and a conditional request is answered with 304, unless `etags` is
    set to False.
    """

    def __init__(self, host: str = "127.0.0.1", *, as_time_passes: bool = False) -> None:
        """With `as_time_passes`, a number that `publish` did not have at first is dated now."""
        self._host = host
        self._as_time_passes = as_time_passes
        self._dates: dict[tuple[str, int], datetime] = {}
        self.etags = True
        self.over = threading.Event()
        self.seen: list[tuple[str, dict[str, str]]] = []  # path and headers of every request
        self._answers: dict[str, Answer] = {}
        feeds = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                feeds.seen.append((self.path, headers))
                answer = feeds._answer_to(self.path, headers)
                feeds.over.wait(answer.delay)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.status != 304:
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *_: object) -> None:  # noqa: A002
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that goes away in the middle is no error of ours

        self._server = Server((host, 0), Handler)

    @property
    def url(self) -> str:
        """The address of the feed that `publish` and `answer` are about by default."""
        return self.url_of("/feed.xml")

    def url_of(self, path: str) -> str:
        """The address of another one."""
        return f"http://{self._host}:{self._server.server_port}{path}"

    def publish(self, *items: str | int, path: str = "/feed.xml") -> bytes:
        """Serve an RSS document of these items from now on, and return it."""
        new = sorted(
            one for one in items if isinstance(one, int) and (path, one) not in self._dates
        )
        is_first = path not in {known for known, _ in self._dates}
        for place, number in enumerate(new):
            fresh = self._as_time_passes and not is_first
            date = datetime.now(UTC) + timedelta(seconds=place)  # feeds state whole seconds
            self._dates[path, number] = date if fresh else published(number)
        document = rss(
            *(
                item(one, when=self._dates[path, one]) if isinstance(one, int) else one
                for one in items
            )
        )
        self.serve(document, path=path)
        return document

    def serve(
        self, body: bytes, *, path: str = "/feed.xml", content_type: str = "text/xml"
    ) -> None:
        """Serve these bytes from now on."""
        self.answer(body=body, headers={"Content-Type": content_type}, path=path)

    def answer(
        self,
        status: int = 200,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        path: str = "/feed.xml",
        delay: float = 0.0,
    ) -> None:
        """Answer like this from now on."""
        self._answers[path] = Answer(status=status, body=body, headers=headers or {}, delay=delay)

    def count(self, path: str = "/feed.xml") -> int:
        """How often a feed was asked for."""
        return sum(seen == path for seen, _ in self.seen)

    def _answer_to(self, path: str, headers: Mapping[str, str]) -> Answer:
        answer = self._answers.get(path, Answer(status=404, body=b"no such feed"))
        if answer.status != 200 or not self.etags:
            return answer
        etag = f'"{hashlib.sha256(answer.body).hexdigest()}"'
        if headers.get("if-none-match") == etag:
            return Answer(status=304, headers={"ETag": etag}, delay=answer.delay)
        return Answer(body=answer.body, headers={"ETag": etag, **answer.headers})


# A folder with a config


class Workspace:
    """A folder with a config file in it, made for quick tests. Every `set` writes the file anew."""

    def __init__(self, folder: Path, api_url: str) -> None:
        self.folder = folder
        self.config = folder / "config.env"
        self.database = folder / "feedwatch.db"
        self.elsewhere = folder / "elsewhere"  # feedwatch runs here: the config must be named
        self.elsewhere.mkdir()
        self.makes_tables = True  # before feedwatch itself would; False to see what it does
        self._lines: dict[str, str] = {}
        self.set(API_URL=api_url, API_KEY=KEY, POLL_INTERVAL="0.1s", CHECK_INTERVAL="1s")
        self.set(FUTURE_DATED="submit")  # FeedServer dates one item a second after another

    def set(self, **keys: str | int | None) -> None:
        """Set keys, without their FEEDWATCH_; None takes one out."""
        for key, value in keys.items():
            if value is None:
                self._lines.pop(f"FEEDWATCH_{key}", None)
            else:
                self._lines[f"FEEDWATCH_{key}"] = str(value)
        self.write("".join(f"{key}='{value}'\n" for key, value in self._lines.items()))

    def add_feed(
        self, name: str, url: str, podcast_id: str = PODCAST, **keys: str | int | None
    ) -> None:
        """Set a feed's block."""
        block = {"URL": url, "PODCAST_ID": podcast_id, **keys}
        self.set(**{f"FEEDS__{name.upper()}__{key}": value for key, value in block.items()})

    def make_tables(self, verb: Sequence[object] = ("run",)) -> None:
        """If `verb` is a `run`, do what it does at its start; by a copy, which is quicker."""
        if verb[:1] == ("run",) and self.makes_tables and not self.database.exists():
            shutil.copy(empty_database(), self.database)

    def write(self, text: str, mode: int = 0o600) -> None:
        """Make this the config file, whatever was set before."""
        self.config.touch(mode)
        self.config.write_text(text, encoding="utf-8")
        self.config.chmod(mode)


# feedwatch


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What a run of feedwatch left behind."""

    status: int
    stdout: str
    stderr: str
    raw: bytes  # stdout before it was decoded

    @property
    def json(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.stdout)

    @property
    def output(self) -> str:
        """All that was said."""
        return self.stdout + self.stderr


class Running:
    """A feedwatch process under way."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], folder: Path) -> None:
        self._out, self._err = _fresh(folder, "stdout"), _fresh(folder, "stderr")
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env, cwd=folder
            )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def stdout(self) -> str:
        """What it has written so far."""
        return self._out.read_bytes().decode()

    @property
    def stderr(self) -> str:
        """What it has written so far, its log among it."""
        return self._err.read_bytes().decode()

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def until(
        self, condition: Callable[[], Found | None], what: str, timeout: float = PATIENCE
    ) -> Found:
        """Wait for what it should do; its end in between is an error."""

        def come() -> Found | None:
            found = condition()
            assert found or self.alive, f"it ended before {what}: {self.stderr}"
            return found

        return wait_for(come, timeout, what)

    def send(self, number: signal.Signals) -> None:
        """Send a signal and return at once."""
        self._process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = PATIENCE) -> Ended:
        """Send a signal and wait for the end."""
        self.send(number)
        return self.wait(timeout)

    def wait(self, timeout: float = PATIENCE) -> Ended:
        """Wait for the end. Raises `subprocess.TimeoutExpired`."""
        status = self._process.wait(timeout)
        return Ended(
            status=status, stdout=self.stdout, stderr=self.stderr, raw=self._out.read_bytes()
        )

    def kill(self) -> None:
        """End it without asking, if it runs."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()


class Terminal(io.TextIOWrapper):
    """A standard stream that says it is a terminal."""

    def isatty(self) -> bool:
        """It is none, and nothing else of one is there."""
        return True


class Beside:
    """A verb that runs in this process, as a thread beside it sees it."""

    def __init__(self, stdout: Any, stderr: Any) -> None:
        self._stdout, self._stderr = stdout.buffer, stderr.buffer
        self.is_over = threading.Event()

    @property
    def stdout(self) -> str:
        """What it has written so far."""
        return bytes(self._stdout.getvalue()).decode()

    @property
    def stderr(self) -> str:
        """What it has written so far, its log among it."""
        return bytes(self._stderr.getvalue()).decode()

    def until(self, condition: Callable[[], Found | None], what: str) -> Found:
        """Wait for what it should do; its end in between is an error."""

        def come() -> Found | None:
            found = condition()
            assert found or not self.is_over.is_set(), f"it ended before {what}: {self.stderr}"
            return found

        return wait_for(come, what=what)

    def send(self, number: signal.Signals) -> None:
        """Send a signal and return at once."""
        if not self.is_over.is_set():
            os.kill(os.getpid(), number)


class Feedwatch:
    """feedwatch, with a workspace's config.

    Call it for a real process; `here` does the same in this process, many times quicker, where
    signals and terminals do not matter: its parser's process is there already, and all tests' own.
    In both, no variable of ours but those given reaches it.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._started: list[Running] = []

    def __call__(
        self,
        *args: str | float,
        env: Mapping[str, str] | None = None,
        config: bool = True,
        folder: Path | None = None,
        timeout: float = PATIENCE,
    ) -> Ended:
        """Run a verb as a process, to its end, with no terminal anywhere."""
        return self.start(*args, env=env, config=config, folder=folder).wait(timeout)

    def start(
        self,
        *args: str | float,
        env: Mapping[str, str] | None = None,
        config: bool = True,
        folder: Path | None = None,
    ) -> Running:
        """Run a verb as a process, and return while it runs. It is killed when the test ends."""
        self._workspace.make_tables(args)
        running = Running(
            self.command(*args, config=config),
            self.environment(env),
            folder or self._workspace.elsewhere,
        )
        self._started.append(running)
        return running

    def here(
        self,
        *args: str | float,
        env: Mapping[str, str] | None = None,
        config: bool = True,
        folder: Path | None = None,
        main: Callable[[], None] = app.main,
        columns: int | None = None,
    ) -> Ended:
        """Run a verb in this process, to its end; with `columns`, on a terminal so wide."""
        self._workspace.make_tables(args)
        argv = [str(arg) for arg in self._arguments(args, config=config)]
        out, err = io.BytesIO(), io.BytesIO()
        kind = io.TextIOWrapper if columns is None else Terminal
        text_out = kind(out, encoding="utf-8", write_through=True)
        text_err = io.TextIOWrapper(err, encoding="utf-8", write_through=True)
        with ExitStack() as stack:
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            for name in os.environ:
                patch.delenv(name)
            for name, value in self.environment(env).items():
                patch.setenv(name, value)
            if columns is not None:
                patch.setenv("COLUMNS", str(columns))
            patch.setattr(sys, "argv", ["feedwatch", *argv])
            for place in PARSERS:
                patch.setattr(place, SharedParser)
            patch.setattr(sys, "stdin", stack.enter_context(Path(os.devnull).open()))
            patch.chdir(folder or self._workspace.elsewhere)
            stack.enter_context(_signals_and_logs_kept())
            stack.enter_context(redirect_stdout(text_out))
            stack.enter_context(redirect_stderr(text_err))
            try:
                main()
                status = 0
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else int(end.code is not None)
        raw = out.getvalue()
        return Ended(status=status, stdout=raw.decode(), stderr=err.getvalue().decode(), raw=raw)

    def while_it_runs(
        self,
        verb: Sequence[str | float],
        act: Callable[["Beside"], object],
        env: Mapping[str, str] | None = None,
    ) -> Ended:
        """Run a verb that stays in this process while `act` is at work in a thread; then end it.

        `act` may call no verb in this process: what belongs to all of it is the running one's.
        """
        errors: list[BaseException] = []

        def main() -> None:
            running = Beside(sys.stdout, sys.stderr)
            for number in (signal.SIGTERM, signal.SIGHUP):  # before the verb does
                signal.signal(number, lambda number, _frame: sys.exit(128 + number))

            def perform() -> None:
                try:
                    act(running)
                except BaseException as error:  # noqa: BLE001 - raised below
                    errors.append(error)
                finally:
                    running.send(signal.SIGTERM)

            thread = threading.Thread(target=perform)
            thread.start()
            try:
                app.main()
            finally:
                running.is_over.set()
                thread.join()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("faulthandler.enable", lambda: None)  # pytest has it, in its own way
            ended = self.here(*verb, env=env, main=main)
        if errors:
            raise errors[0]
        return ended

    def once(self, *args: str | float) -> Ended:
        """`run --once` in this process."""
        return self.here("run", "--once", *args)

    def on_terminal(
        self, *args: str | float, typed: str = "", env: Mapping[str, str] | None = None
    ) -> Ended:
        """Run a verb as a process on a terminal of its own, with this on the keyboard.

        All that it says is in `stdout`, as the terminal mixes it.
        """
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            self.command(*args),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=self.environment({"TERM": "xterm-256color", **(env or {})}),
            cwd=self._workspace.elsewhere,
            start_new_session=True,
        )
        os.close(theirs)
        os.write(ours, typed.encode())
        said = b""
        with suppress(OSError):  # how a terminal's end is told
            while part := os.read(ours, 65_536):
                said += part
        os.close(ours)
        text = said.decode().replace("\r\n", "\n")
        return Ended(status=process.wait(PATIENCE), stdout=text, stderr="", raw=said)

    def json(self, *args: str | float) -> Any:
        """What a verb gives with --json, run in this process."""
        ended = self.here(*args, "--json")
        assert ended.stdout, ended
        return ended.json

    def episode(self, guid: str = "guid-1") -> dict[str, Any]:
        """The episode with this guid, as `episodes --json` gives it."""
        found = [one for one in self.json("episodes") if one["guid"] == guid]
        assert len(found) == 1, f"{len(found)} episodes have the guid {guid}"
        episode: dict[str, Any] = found[0]
        return episode

    def states(self) -> dict[str, str]:
        """The state of each episode, by guid."""
        return {one["guid"]: one["state"] for one in self.json("episodes")}

    def command(self, *args: str | float, config: bool = True) -> list[str]:
        """What to start as a process."""
        return [sys.executable, "-m", "feedwatch", *self._arguments(args, config=config)]

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """A clean one, and `more`."""
        clean = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._workspace.folder),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),  # the feedwatch that is tested here, not one installed
        }
        return clean | dict(more or {})

    def end(self) -> None:
        """Kill whatever still runs."""
        for running in self._started:
            running.kill()

    def _arguments(self, args: Collection[str | float], *, config: bool) -> list[str]:
        named = ["--config", str(self._workspace.config)] if config else []
        return named + [str(arg) for arg in args]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A whole world of its own, for tests that need several at once or one for a module."""

    sandbox: Sandbox
    feeds: FeedServer
    workspace: Workspace
    feedwatch: Feedwatch


@contextmanager
def scene(folder: Path, *, job_seconds: float = 0.05) -> Iterator[Scene]:
    """The same as the fixtures give: a feed `show` with episode 1, which is to be submitted."""
    with (
        Sandbox(
            api_key=KEY,
            podcasts=PODCASTS | dict.fromkeys(MORE_PODCASTS, "One more"),
            job_seconds=job_seconds,
        ) as sandbox,
        FeedServer(as_time_passes=True) as feeds,
    ):
        feeds.publish(1)
        workspace = Workspace(folder, sandbox.url)
        workspace.add_feed("show", feeds.url, FIRST_RUN="all")
        feedwatch = Feedwatch(workspace)
        try:
            yield Scene(sandbox=sandbox, feeds=feeds, workspace=workspace, feedwatch=feedwatch)
        finally:
            feedwatch.end()


@contextmanager
def _signals_and_logs_kept() -> Iterator[None]:
    """Put back what a verb that runs in this process changes for all of it."""
    root, ours = logging.getLogger(), logging.getLogger("feedwatch")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    root.handlers[:] = []  # so that nobody closes pytest's
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    actions = [signal.getsignal(number) for number in numbers]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    try:
        yield
    finally:
        gc.unfreeze()  # the command freezes what it has imported, and here all else with it
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        ours.setLevel(levels[1])
        for number, action in zip(numbers, actions, strict=True):
            signal.signal(number, action)


def _fresh(folder: Path, name: str) -> Path:
    """A file that is not there yet."""
    return next(
        path for path in (folder / f"{name}-{count}" for count in range(1000)) if not path.exists()
    )
