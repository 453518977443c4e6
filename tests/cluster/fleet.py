"""Daemons on one database, with a publisher, an API and a receiver of events around them."""

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from signal import SIGKILL
from types import TracebackType
from typing import NoReturn, Self

import psycopg

from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.server import Sandbox
from tests.cluster.audit import Election, elections
from tests.cluster.life import TTL, Armed, disarm, set_trap, tune
from tests.crash.boundaries import Crumb, Trap
from tests.crash.launcher import Launcher, Life, Order
from tests.crash.posts import Paid, posts, title_of
from tests.databases import Server
from tests.receiver import Receiver
from tests.support import KEY, FeedServer, Found, Workspace, audio, item

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
FEEDS = tuple(f"show{number}" for number in range(6))
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SOON = 30.0  # seconds within which what is waited for comes even on a busy machine


class Violation(Exception):  # noqa: N818 - it is what was found, and no error of ours
    """Something did not hold. Says what."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """An episode as the database has it."""

    id: int
    guid: str
    state: str
    reason: str | None
    media_id: str | None
    processed_url: str | None


@dataclass(kw_only=True)
class Disturbance:
    """A daemon was killed, or stopped for a while, or cut off."""

    daemon: str
    what: str
    began: float
    ended: float  # from when on it could act again, or its successor


@dataclass
class Daemon:
    """One of them, whichever life it is in."""

    name: str
    workspace: Workspace
    lives: int = 0
    life: Life | None = None
    frozen: Disturbance | None = None
    pids: list[int] = field(default_factory=list)

    @property
    def crumb(self) -> Path:
        """Where a trap leaves what it found as it closed."""
        return self.workspace.folder / "crumb"

    @property
    def log(self) -> Path:
        """Of its latest life."""
        return self.workspace.folder / f"log-{self.lives}"

    def logged(self) -> str:
        """What all its lives have logged."""
        logs = sorted(self.workspace.folder.glob("log-*"))
        return "".join(one.read_text(encoding="utf-8", errors="replace") for one in logs)

    def latest(self) -> str:
        """What its latest life has logged."""
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def trapped(self) -> Crumb | None:
        """What its trap has left, if it has closed."""
        return Crumb.read(self.crumb)


class Fleet:
    """Use it as a context manager; at the end whatever lives is killed."""

    def __init__(
        self,
        folder: Path,
        launcher: Launcher,
        server: Server,
        database: str,
        random: Random,
        *,
        urls: Sequence[str] = (),
        daemons: int = 3,
        job_seconds: float = 0.3,
        keys: Mapping[str, str | int] | None = None,
    ) -> None:
        """`urls` are those of the database, one for each daemon, if not all have the same one.

        `keys` are further ones of the config, without their FEEDWATCH_.
        """
        self.folder, self.random, self._launcher = folder, random, launcher
        self.server, self.database = server, database
        self._stack = ExitStack()
        podcasts = {f"podcast-{feed}": feed for feed in FEEDS}
        self.sandbox = Sandbox(api_key=KEY, podcasts=podcasts, job_seconds=job_seconds)
        self.receiver = Receiver()
        self._publishers = [FeedServer(host) for host in HOSTS]
        self._items: dict[str, list[str]] = {feed: [] for feed in FEEDS}
        self.published: dict[str, str] = {}  # the feed of each guid
        self.disturbances: list[Disturbance] = []
        self.retried: set[str] = set()  # guids that a person had submitted again
        self.daemons: list[Daemon] = []
        self._keys, self._urls, self._number = keys or {}, urls, daemons

    def __enter__(self) -> Self:
        self._stack.enter_context(self.sandbox)
        for one in (self.receiver, *self._publishers):
            self._stack.enter_context(one)
        for feed in FEEDS:
            self._publish(feed)
        for number in range(self._number):
            url = self._urls[number] if self._urls else self.server.url(self.database)
            self.daemons.append(Daemon("abc"[number], self._workspace("abc"[number], url)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for one in self.daemons:
            if one.life is not None:
                one.life.send(SIGKILL)
                self._launcher.ended(one.life, SOON)
        self._stack.close()

    def _workspace(self, name: str, url: str) -> Workspace:
        folder = self.folder / name
        (folder / "cache").mkdir(parents=True)
        workspace = Workspace(folder, self.sandbox.url)
        workspace.set(
            DATABASE_URL=url,
            CHECK_INTERVAL="1s",
            POLL_INTERVAL="0.1s",
            MAX_CONCURRENT_JOBS=50,
            MAX_SUBMISSIONS_PER_DAY=100_000,
            FLOOD_LIMIT=1000,
            FIRST_RUN="all",
            NOTIFY_WEBHOOK_URL=self.receiver.url,
            NOTIFY_WEBHOOK_SECRET=SECRET,
        )
        workspace.set(**self._keys)
        for feed in FEEDS:
            publisher = self._publisher_of(feed)
            workspace.add_feed(feed, publisher.url_of(f"/{feed}.xml"), f"podcast-{feed}")
        return workspace

    def _publisher_of(self, feed: str) -> FeedServer:
        return self._publishers[FEEDS.index(feed) % len(HOSTS)]

    # The world

    def publish(self, number: int = 1) -> None:
        """New episodes, in any feeds."""
        for _ in range(number):
            self._publish(self.random.choice(FEEDS))

    def _publish(self, feed: str) -> None:
        number = len(self.published) + 1
        self.published[f"guid-{number}"] = feed
        self._items[feed].insert(0, item(number, when=datetime.now(UTC)))
        self._publisher_of(feed).publish(*self._items[feed], path=f"/{feed}.xml")

    def checks(self) -> int:
        """How often a feed was asked for."""
        return sum(len(one.seen) for one in self._publishers)

    def let_the_api_be_slow(self) -> None:
        """Sometimes before the work, sometimes while it answers."""
        self.sandbox.faults.clear()
        match self.random.randrange(3):
            case 0:
                delay = self.random.uniform(0.05, 0.4)
                self.sandbox.faults.add(Fault(on="submit", kind="delay", seconds=delay, times=2))
            case 1:
                pause = self.random.uniform(0.0002, 0.001)  # after each byte
                self.sandbox.faults.add(Fault(on="submit", kind="drip", seconds=pause, times=2))

    # Daemons

    def start(self, *daemons: Daemon) -> None:
        """Begin a life of each, all of them without one."""
        for one in daemons or self.daemons:
            one.lives += 1
            one.crumb.write_bytes(b"")
            disarm(one.crumb)
            one.life = self._launcher.start(
                Order(
                    folder=one.workspace.folder,
                    config=one.workspace.config,
                    verbs=(["run"],),
                    crumb=one.crumb,
                    log=one.log,
                    tune=tune,
                    boundaries=Armed,
                )
            )
            one.pids.append(one.life.pid)

    def alive(self, daemon: Daemon) -> bool:
        """Whether it lives, or lies in its trap; one that has ended otherwise is a violation."""
        life = daemon.life
        if life is None:
            return False
        if self._launcher.ended(life, 0) and not (daemon.trapped() and life.status == -SIGKILL):
            self.fail(f"{daemon.name} ended by itself with {life.status}")
        return True

    def kill(self, daemon: Daemon) -> None:
        """SIGKILL, if it has not killed itself."""
        assert daemon.life is not None
        now = time.time()
        daemon.life.send(SIGKILL)
        self._await_end(daemon, -SIGKILL)
        self._disturb(daemon, "killed", now)

    def terminate(self, daemon: Daemon) -> None:
        """SIGTERM once it heeds it, and wait for the end."""
        assert daemon.life is not None
        self.until(lambda: "ready after" in daemon.latest(), f"{daemon.name} does not start")
        daemon.life.send(signal.SIGTERM)
        self._await_end(daemon, 0)

    def _await_end(self, daemon: Daemon, status: int) -> None:
        life = daemon.life
        assert life is not None
        if not self._launcher.ended(life, SOON) or life.status != status:
            self.fail(f"{daemon.name} ended with {life.status} instead of {status}")
        daemon.life = None

    def freeze(self, daemon: Daemon) -> None:
        """SIGSTOP, if it has not stopped itself."""
        assert daemon.life is not None
        daemon.life.send(signal.SIGSTOP)
        daemon.frozen = self._disturb(daemon, "stopped", time.time())

    def thaw(self, daemon: Daemon) -> None:
        """SIGCONT."""
        assert daemon.life is not None
        assert daemon.frozen is not None
        daemon.frozen.ended = time.time() + 1.0  # until it has found out
        daemon.frozen = None
        daemon.life.send(signal.SIGCONT)

    def _disturb(self, daemon: Daemon, what: str, at: float) -> Disturbance:
        found = Disturbance(daemon=daemon.name, what=what, began=at - 0.5, ended=at)
        self.disturbances.append(found)
        return found

    def disturb(self, daemon: Daemon, what: str) -> Disturbance:
        """Note that a daemon is cut off from now on."""
        return self._disturb(daemon, what, time.time())

    def decide(self, *verbs: list[str], may_fail: bool = False) -> None:
        """What a person does by the command, one after another."""
        one = self.daemons[0]
        log = self.folder / "log-person"
        life = self._launcher.start(
            Order(
                folder=one.workspace.folder,
                config=one.workspace.config,
                verbs=verbs,
                crumb=self.folder / "crumb-person",
                log=log,
            )
        )
        if not self._launcher.ended(life, SOON) or not (may_fail or life.status == 0):
            self.fail(f"{verbs} ended with {life.status}: {log.read_text()[-500:]}")

    # Looking

    def leader(self) -> Daemon | None:
        """Who leads by the database, whether it lives or not."""
        rows = self.server.execute(
            "select holder from leaders where until > clock_timestamp()", self.database
        )
        return self.named(rows[0][0]) if rows else None

    def named(self, holder: str | None) -> Daemon | None:
        """The daemon with this id."""
        pid = int(holder.split("/")[1]) if holder else None
        return next((one for one in self.daemons if pid in one.pids), None)

    def a_leader(self, *but: Daemon, within: float = SOON) -> Daemon:
        """Wait until one leads, none of these."""

        def found() -> Daemon | None:
            leader = self.leader()
            return leader if leader not in but else None

        return self.until(found, "nobody leads", within)

    def elections(self) -> list[Election]:
        """All of them."""
        return elections(self.server, self.database)

    def rows(self) -> dict[str, Row]:
        """All episodes, by guid."""
        names = ("id", "guid", "state", "reason", "media_id", "processed_url")
        query = f"select {', '.join(names)} from episodes"
        rows = self.server.execute(query, self.database)
        return {row[1]: Row(**dict(zip(names, row, strict=True))) for row in rows}

    def in_state(self, *states: str) -> set[str]:
        """The guids of the episodes in these states."""
        return {guid for guid, row in self.rows().items() if row.state in states}

    def until(
        self, condition: Callable[[], Found | None], complaint: str, within: float = SOON
    ) -> Found:
        """Wait for something; a daemon that ends meanwhile is a violation."""
        end = time.monotonic() + within
        while not (found := condition()):
            for one in self.daemons:
                self.alive(one)
            if time.monotonic() > end:
                self.fail(f"{complaint}, for {within:.0f} s")
            time.sleep(0.02)
        return found

    def trap(self, daemon: Daemon, trap: Trap, patience: float = 4.0) -> bool:
        """Set a trap and wait until it closes; whether it does."""
        set_trap(daemon.crumb, trap)
        end = time.monotonic() + patience
        published = time.monotonic()
        while daemon.trapped() is None:
            if time.monotonic() > end:
                disarm(daemon.crumb)
                return daemon.trapped() is not None
            if time.monotonic() - published > 0.7:
                self.publish()
                published = time.monotonic()
            time.sleep(0.005)
        return True

    def rest(self, *, settle: bool = True) -> None:
        """Live in peace until nothing moves; then settle what is in doubt, until all is ready."""
        self.sandbox.faults.clear()
        for one in self.daemons:
            if one.frozen is not None:
                self.thaw(one)
            if not self.alive(one):
                self.start(one)
        self.until(self._is_at_rest, "it does not come to rest", 3 * SOON)
        if held := self.in_state("held"):  # by a failover that has lost claims
            feeds = sorted({self.published[guid] for guid in held})
            self.decide(*(["approve", "--feed", feed, "--yes"] for feed in feeds))
            self.until(self._is_at_rest, "it does not come to rest after an approval", 3 * SOON)
        if settle:
            self.until(self._settle, "doubts stay")
            self.until(self._is_at_rest, "it does not come to rest again", 3 * SOON)

    def _is_at_rest(self) -> bool:
        rows = self.rows()
        return self.published.keys() <= rows.keys() and all(
            row.state in ("ready", "unknown", "held", "skipped") for row in rows.values()
        )

    def _settle(self) -> bool:
        """As a person would: what the API has is adopted, the rest is submitted again.

        Whether nothing is in doubt any more. A late answer may overtake the person.
        """
        self.until(
            lambda: all(post.is_answered for post in posts(self.sandbox)), "the API works on"
        )
        jobs = {post.what: post.job for post in posts(self.sandbox) if post.job is not None}
        rows, verbs = self.rows(), []
        for guid in sorted(guid for guid, row in rows.items() if row.state == "unknown"):
            job = jobs.get(Paid(title_of(audio(int(guid.removeprefix("guid-")))), "ads"))
            if job is not None:
                verbs.append(["adopt", str(rows[guid].id), job])
            else:
                self.retried.add(guid)
                verbs.append(["retry", "--yes", str(rows[guid].id)])
        for verb in verbs:
            self.decide(verb, may_fail=True)
        return not verbs

    def end(self) -> None:
        """SIGTERM for all."""
        for one in self.daemons:
            if one.life is not None:
                self.terminate(one)

    def fail(self, what: str) -> NoReturn:
        """Say what did not hold, and leave behind what the server is at."""
        activity = (
            "select clock_timestamp()::text, pid, state, wait_event_type, wait_event,"
            " clock_timestamp() - xact_start, clock_timestamp() - state_change, query"
            " from pg_stat_activity where datname is not null order by 2"
        )
        with suppress(psycopg.Error):
            rows = self.server.execute("select * from leaders", self.database)
            rows += self.server.execute("select * from audit_terms", self.database)
            rows += self.server.execute(activity, self.database)
            text = "\n".join(" | ".join(map(str, row)) for row in rows)
            (self.folder / "server").write_text(text, encoding="utf-8")
        raise Violation(what)


def takeover_limit() -> float:
    """Seconds after a leader's sudden end in which another one leads."""
    return TTL + 10.0
