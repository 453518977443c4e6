"""The daemon's life: a clock that calls the duties until a signal says stop.

    start → every second, each in a thread of its own:  checks.tick   feeds   → new episodes
                                                       submit.tick   queued  → jobs
                                                       polls.tick    jobs    → processed URLs
                                                       vitals.tick   the whole → traces of progress
          → SIGHUP: the config is read anew, in a thread of its own
          → SIGTERM or SIGINT: no new steps, the request in flight is finished and recorded → end

The main thread waits for nothing but the clock: it asks the heart whether the loops go round, and
feeds systemd's watchdog only if they do. All state is in the database, so `run_once` calls the same
duties and ends.
"""

import logging
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from threading import Thread
from types import FrameType
from typing import Protocol

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from feedwatch.core.health import (
    CHECKS,
    POLLS,
    SUBMISSIONS,
    VITALS,
    HealthRecord,
    HealthSnapshot,
    is_hung,
    problems,
)
from feedwatch.core.schedule import backoff
from feedwatch.daemon.heartbeat import Heartbeat, HeartbeatLoop
from feedwatch.daemon.systemd import Manager
from feedwatch.net.client import Cancellation
from feedwatch.store.errors import StoreError
from feedwatch.watcher.alerts import Alerts
from feedwatch.watcher.checks import Checks
from feedwatch.watcher.context import Context
from feedwatch.watcher.polls import Polls
from feedwatch.watcher.submissions import Submissions

log = logging.getLogger(__name__)

TICK_SECONDS = 1
ONCE_TICK_SECONDS = 0.1
STOP_NOTICED_SECONDS = 0.1
STOP_SECONDS = 6.0  # what a request in flight may still take; service managers wait for ten
ALERTS = "alerts"  # a duty only where there is somebody to tell; no sign of life
ANNOUNCE_SECONDS = 60.0  # what `run_once` gives to telling; what is left, the next one tells
TROUBLE_MOST = timedelta(minutes=5)  # between two attempts while the database does not work


class Loop(Protocol):
    """Something that is done again and again."""

    def tick(self) -> bool:
        """Do what is due; False if what it was asked for before is not done yet."""


class Daemon:
    """The duties of one process."""

    def __init__(
        self,
        context: Context,
        checks: Checks,
        submissions: Submissions,
        polls: Polls,
        cancellation: Cancellation,
        reload: Callable[[], bool] = lambda: True,
        *,
        alerts: Alerts | None = None,
    ) -> None:
        """`brake` is what bounds the requests of the first three once the daemon is to stop.

        `reload` reads the config anew, logs what came of it, and returns whether it was taken.
        """
        self._context = context
        self._checks = checks
        self._submissions = submissions
        self._polls = polls
        self._brake = cancellation
        self._alerts = alerts  # None: there is nobody to tell
        self._reload = reload
        self._reload_asked = False
        self._reload_refused = False
        self._heart = Heartbeat()
        self._manager = Manager()
        context.worked = self._heart.worked
        self.interrupted = False  # by `stop`, before the work was done

    def run(self) -> None:
        """Work until a signal says stop."""
        context = self._context
        self._submissions.recover()
        duties: dict[str, Loop] = {
            CHECKS: self._checks,
            SUBMISSIONS: self._submissions,
            POLLS: self._polls,
            VITALS: HeartbeatLoop(self._heart, context.store, context.clock),
        }
        if self._alerts is not None:
            duties[ALERTS] = self._alerts
        scheduler = BackgroundScheduler(
            timezone="UTC",
            executors={"default": ThreadPoolExecutor(len(duties))},
            # A late tick is made up for by one tick, however late: none is ever dropped.
            job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None},
        )
        for name, duty in duties.items():
            scheduler.add_job(
                self._beating(name, duty),
                "interval",
                seconds=TICK_SECONDS,
                id=name,
                next_run_time=context.clock(),
            )
        self._heart.begin()
        scheduler.start()
        self._manager.ready()
        self._attend()
        self._manager.stopping()
        log.info("stopping: requests in flight are finished and recorded")
        scheduler.shutdown(wait=True)
        self._conclude()

    def health(self) -> HealthRecord:
        """How the loops are doing."""
        return self._heart.record()

    def _attend(self) -> None:
        """Look after the loops and the signals until it is time to stop; never wait for a loop."""
        stopping = self._context.stopping
        reloading: Thread | None = None
        while not stopping.is_set():
            time.sleep(STOP_NOTICED_SECONDS)
            if reloading is not None and not reloading.is_alive():
                reloading = None
                self._manager.ready()
            if reloading is None and self._reload_asked:
                self._reload_asked = False
                self._manager.reloading()
                reloading = Thread(target=self._read_config_anew, name="reload")
                reloading.start()
            record, vitals = self._heart.record(), self._heart.vitals
            if not is_hung(record):
                self._manager.feed()
            if vitals is not None:
                self._manager.tell(self._in_a_line(record, vitals))
        self._heart.stopping = True
        if reloading is not None:
            reloading.join()

    def _read_config_anew(self) -> None:
        try:
            self._reload_refused = not self._reload()
        except Exception:
            self._reload_refused = True
            log.exception("config: the reload failed in a way that was not foreseen")

    def _in_a_line(self, record: HealthRecord, vitals: HealthSnapshot) -> str:
        """For `systemctl status`."""
        told = problems(record) or [f"{vitals.feeds} feeds", f"{vitals.live_jobs} jobs"]
        told += [f"{vitals.held} held"] if vitals.held else []
        told += [f"{vitals.unknown} unknown"] if vitals.unknown else []
        told += ["the changed config was refused"] if self._reload_refused else []
        return ", ".join(told)

    def run_once(self, timeout: float, progress: Callable[[], None]) -> bool:
        """Check every feed, submit what is due, and poll until all is final.

        Ends after `timeout` seconds at the latest; with 0 it waits for no job. `progress` is called
        now and then. Returns whether nothing is left that time alone would settle.
        """
        context, stopping = self._context, self._context.stopping
        self._submissions.recover()
        begun = context.clock()
        context.store.feeds.make_due(begun)
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

    def reload_on_signal(self) -> None:
        """Have SIGHUP ask for the config to be read anew."""

        def handle(_number: int, _frame: FrameType | None) -> None:
            self._reload_asked = True

        signal.signal(signal.SIGHUP, handle)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def _settled(self) -> bool:
        context = self._context
        if context.store.claims.in_flight() > 0:
            return False
        return not context.store.claims.may_claim_later(
            context.processor.name, context.clock(), context.plan.policy
        )

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
        self._context.store.heartbeats.clear()

    def _beating(self, name: str, duty: Loop) -> Callable[[], None]:
        """A tick that leaves a trace: progress is what shows that the daemon lives."""
        context, heart = self._context, self._heart
        trouble = StoreOutage(name)

        def tick() -> None:
            if trouble.waits():
                heart.failed(name, trouble.said)
                return
            try:
                went_on = duty.tick()
            except StoreError as error:
                trouble.begin(error, context.plan.policy.poll_interval)
                heart.failed(name, trouble.said)
            else:
                if went_on:
                    heart.finished(name)
                    trouble.end()

        return tick


class StoreOutage:
    """A database that does not work: said once, tried again ever less often, and its end told."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.said = ""
        self._attempts = 0
        self._until = 0.0  # by the monotonic clock

    def waits(self) -> bool:
        """Whether it is not yet time to try again."""
        return time.monotonic() < self._until

    def begin(self, error: StoreError, first: timedelta) -> None:
        """Another attempt has failed."""
        if self.said != str(error):
            log.error("%s stand still: %s", self._name, error)
        self.said = str(error)
        self._attempts += 1
        wait = backoff(self._attempts, first=first, most=TROUBLE_MOST, key=self._name)
        self._until = time.monotonic() + wait.total_seconds()

    def end(self) -> None:
        """It works."""
        if self.said:
            log.info("%s go on: the database works again", self._name)
        self.said, self._attempts = "", 0
