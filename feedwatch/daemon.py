"""The daemon's life: a clock that calls the duties until a signal says stop.

    start → every second, each in a thread of its own:  checks.tick   feeds   → new episodes
                                                       submit.tick   queued  → jobs
                                                       polls.tick    jobs    → processed URLs
          → SIGTERM or SIGINT: no new steps, the request in flight is finished and recorded → end

All state is in the database, so `run_once` calls the same duties and ends.
"""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from types import FrameType
from typing import Protocol

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from feedwatch.store import StoreError
from feedwatch.timing import backoff
from feedwatch.watcher import Alerts, Checks, Context, Polls, Submissions
from feedwatch.wire import Brake

log = logging.getLogger(__name__)

TICK_SECONDS = 1
ONCE_TICK_SECONDS = 0.1
STOP_NOTICED_SECONDS = 0.1
STOP_SECONDS = 6.0  # what a request in flight may still take; service managers wait for ten
BEAT_EVERY = timedelta(seconds=10)
ANNOUNCE_SECONDS = 60.0  # what `run_once` gives to telling; what is left, the next one tells
TROUBLE_MOST = timedelta(minutes=5)  # between two attempts while the database does not work


class Duty(Protocol):
    """Something that is done again and again."""

    def tick(self) -> bool:
        """Do what is due, and return; False if it is still at what it was asked for before."""


class Daemon:
    """The duties of one process."""

    def __init__(
        self,
        context: Context,
        checks: Checks,
        submissions: Submissions,
        polls: Polls,
        brake: Brake,
        alerts: Alerts | None = None,
    ) -> None:
        """`brake` is what bounds the requests of the first three once the daemon is to stop."""
        self._context = context
        self._checks = checks
        self._submissions = submissions
        self._polls = polls
        self._brake = brake
        self._alerts = alerts  # None: there is nobody to tell
        self.interrupted = False  # by `stop`, before the work was done

    def run(self) -> None:
        """Work until a signal says stop."""
        context, stopping = self._context, self._context.stopping
        self._submissions.recover()
        scheduler = BackgroundScheduler(
            timezone="UTC",
            executors={"default": ThreadPoolExecutor(4)},  # one for each duty
            # A late tick is made up for by one tick, however late: none is ever dropped.
            job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None},
        )
        duties: dict[str, Duty] = {
            "checks": self._checks,
            "submissions": self._submissions,
            "polls": self._polls,
        }
        if self._alerts is not None:
            duties["alerts"] = self._alerts
        for name, duty in duties.items():
            scheduler.add_job(
                self._beating(name, duty),
                "interval",
                seconds=TICK_SECONDS,
                id=name,
                next_run_time=context.clock(),
            )
        scheduler.start()
        notify("READY=1")
        while not stopping.is_set():
            time.sleep(STOP_NOTICED_SECONDS)
        notify("STOPPING=1")
        log.info("stopping: requests in flight are finished and recorded")
        scheduler.shutdown(wait=True)
        self._conclude()

    def run_once(self, timeout: float, progress: Callable[[], None]) -> bool:
        """Check every feed, submit what is due, and poll until all is final.

        Ends after `timeout` seconds at the latest; with 0 it waits for no job. `progress` is called
        now and then. Returns whether nothing is left that time alone would settle.
        """
        context, stopping = self._context, self._context.stopping
        self._submissions.recover()
        begun = context.clock()
        context.store.make_feeds_due(begun)
        while not stopping.is_set():
            self._checks.tick(due_by=begun)  # each feed once, however short its interval
            progress()
            if self._checks.is_idle(due_by=begun):
                break
            time.sleep(ONCE_TICK_SECONDS)
        until = time.monotonic() + timeout
        while not stopping.is_set():
            self._submissions.tick()
            if timeout > 0:
                self._polls.tick()
            progress()
            if self._settled() or time.monotonic() >= until:
                break
            time.sleep(ONCE_TICK_SECONDS)
        self._announce()
        self._conclude()
        return self._settled()

    def stop(self) -> None:
        """Begin to stop; safe in a signal handler, as the main thread never waits for the event.

        It would hold the event's lock then, which `set` takes.
        """
        self._brake.stop_in(STOP_SECONDS)
        self.interrupted = True
        self._context.stopping.set()

    def stop_on_signals(self) -> None:
        """Have SIGTERM and SIGINT call `stop`."""

        def handle(_number: int, _frame: FrameType | None) -> None:
            self.stop()

        signal.signal(signal.SIGTERM, handle)
        signal.signal(signal.SIGINT, handle)

    def _announce(self) -> None:
        """Tell what there is to tell."""
        until = time.monotonic() + ANNOUNCE_SECONDS
        while self._alerts is not None and not self._context.stopping.is_set():
            self._alerts.tick()
            if self._alerts.is_idle() or time.monotonic() >= until:
                break
            time.sleep(ONCE_TICK_SECONDS)

    def _settled(self) -> bool:
        context = self._context
        if context.store.live() > 0:
            return False
        return not context.store.may_claim_sometime(context.clock(), context.plan.policy)

    def _conclude(self) -> None:
        """Gather what was under way, so that its answers are recorded."""
        self._context.stopping.set()
        for duty in (self._checks, self._polls):
            duty.close()
            duty.tick()
        self._submissions.save_answers()
        if self._alerts is not None:
            self._alerts.close()
            self._alerts.tick()
        self._context.store.rest()

    def _beating(self, name: str, duty: Duty) -> Callable[[], None]:
        """A tick that leaves a trace: progress is what shows that the daemon lives."""
        context = self._context
        beaten: datetime | None = None
        trouble = Trouble(name)

        def tick() -> None:
            nonlocal beaten
            if trouble.waits():
                return
            try:
                went_on = duty.tick()
                now = context.clock()
                if went_on and (beaten is None or not timedelta() <= now - beaten < BEAT_EVERY):
                    context.store.beat(name, now)
                    beaten = now
            except StoreError as error:
                trouble.begin(error, context.plan.policy.poll_interval)
            else:
                trouble.end()

        return tick


class Trouble:
    """A database that does not work: said once, tried again ever less often, and its end told."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._said: str | None = None
        self._attempts = 0
        self._until = 0.0  # by the monotonic clock

    def waits(self) -> bool:
        """Whether it is not yet time to try again."""
        return time.monotonic() < self._until

    def begin(self, error: StoreError, first: timedelta) -> None:
        """Another attempt has failed."""
        if self._said != str(error):
            log.error("%s stand still: %s", self._name, error)
        self._said = str(error)
        self._attempts += 1
        wait = backoff(self._attempts, first=first, most=TROUBLE_MOST, key=self._name)
        self._until = time.monotonic() + wait.total_seconds()

    def end(self) -> None:
        """It works."""
        if self._said is not None:
            log.info("%s go on: the database works again", self._name)
        self._said, self._attempts = None, 0


def notify(message: str) -> None:
    """Tell systemd, if it listens (sd_notify(3)); never wait for it."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel, suppress(OSError):
        channel.setblocking(False)  # noqa: FBT003 - a socket takes it no other way
        channel.sendto(message.encode(), address.replace("@", "\0", 1))
