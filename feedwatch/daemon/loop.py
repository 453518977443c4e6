"""The daemon's life: a scheduler runs the loops until a signal stops them.

    start → every second, each in a thread of its own:  checks.tick       feeds  → new episodes
                                                       submissions.tick  queued → jobs
                                                       polls.tick        jobs   → processed URLs
                                                       vitals.tick       progress → heartbeats
          → elected: ledger and journal are compared; only while it leads does a daemon submit, poll
            and alert. With SQLite it leads from the start
          → SIGHUP: the config is reloaded, in a thread of its own
          → SIGTERM or SIGINT: nothing new begins, requests in flight are finished → end

The main thread never waits for a loop: it reads the heartbeat of each, feeds systemd's watchdog and
the lease only while none is hung, and has all loops run at once where the wall clock was set. All
state is in the database, so `run_once` calls the same loops and ends.

With SQLite a round asks the database nothing while nobody writes and nothing is due, as most of the
time (`watcher/idle.py`).
"""

import logging
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Thread
from types import FrameType

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from feedwatch.core.health import (
    CHECKS,
    POLLS,
    SUBMISSIONS,
    VITALS,
    HealthRecord,
    is_hung,
    problems,
    spoken,
)
from feedwatch.core.printable import counted
from feedwatch.daemon.heartbeat import Heartbeat, HeartbeatLoop
from feedwatch.daemon.outward_heartbeat import OutwardHeartbeat
from feedwatch.daemon.store_outage import StoreOutage
from feedwatch.daemon.systemd import Manager
from feedwatch.daemon.wall_clock import EveryInterval, FollowedClock, WallClock
from feedwatch.net.client import Cancellation
from feedwatch.store.errors import NotLeadingError, StoreError
from feedwatch.store.lease import NOT_OURS
from feedwatch.watcher.alerts import Alerts
from feedwatch.watcher.checks import Checks
from feedwatch.watcher.context import Context
from feedwatch.watcher.polls import Polls
from feedwatch.watcher.stuck_jobs import StuckJobs
from feedwatch.watcher.submissions import Submissions
from feedwatch.watcher.websub import WebSub

log = logging.getLogger(__name__)

TICK = timedelta(seconds=1)
ONCE_TICK_SECONDS = 0.1
STOP_NOTICED_SECONDS = 0.1
LOOK_SECONDS = 0.5  # between two looks at the loops' health and the wall clock
STOP_SECONDS = 6.0  # for a request in flight; service managers wait for ten
ALERTS = "alerts"  # a loop only where the config has a channel; health does not depend on it
WEBSUB = "websub"  # likewise, where there is a public side
ANNOUNCE_SECONDS = 60.0  # for alerts at the end of `run_once`; the next run sends the rest
OUTAGE_RETRY_AT_MOST = timedelta(minutes=5)  # between two attempts while the database fails
VITALS_RETRY_AT_MOST = timedelta(seconds=5)  # of the loop that finds out when it works again

# What a loop does again and again: whatever is due. False if the round before is not done yet;
# raises `StoreError`.
Tick = Callable[[], bool]


class Daemon:
    """The loops of one process, how they start and how they stop."""

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
        outward: OutwardHeartbeat | None = None,
        websub: WebSub | None = None,
    ) -> None:
        """`cancellation` ends the requests of the first three loops once the daemon is to stop.

        `reload` reads the config, logs what has changed, and returns whether it was accepted.
        `alerts` is None where the config has no channel, `outward` without a heartbeat URL,
        `websub` where hubs cannot reach us.
        """
        self._context = context
        self._checks = checks
        self._submissions = submissions
        self._polls = polls
        self._cancellation = cancellation
        self._alerts = alerts
        self._outward = outward
        self._websub = websub
        self._reload = reload
        self._reload_requested = False
        self._reload_refused = False
        self._heartbeat = Heartbeat()
        self._manager = Manager()
        server = context.store.server
        self._clock = FollowedClock(server.moment) if server is not None else FollowedClock()
        self._vitals = HeartbeatLoop(self._heartbeat, context)
        self._outages: dict[str, StoreOutage] = {}
        context.worked, context.clock = self._heartbeat.worked, self._clock.now
        self._stuck_jobs = StuckJobs(context)
        self.interrupted = False  # by `stop`

    def run(self) -> None:
        """Run the loops until a signal says stop."""
        context, began = self._context, time.monotonic()
        self._begin()
        context.store.passes.clear()
        loops: dict[str, Tick] = {
            CHECKS: self._checks.tick,
            SUBMISSIONS: self._lead_and_submit,
            POLLS: self._polls.tick,
            VITALS: self._vitals.tick,
        }
        if self._alerts is not None:
            loops[ALERTS] = self._alerts.tick
        if self._websub is not None:
            loops[WEBSUB] = self._websub.tick
        scheduler = BackgroundScheduler(
            timezone="UTC",
            executors={"default": ThreadPoolExecutor(len(loops))},
            # However late a tick is, it runs once: none is dropped, and none is run twice.
            job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None},
        )
        for name, tick in loops.items():
            scheduler.add_job(self._with_heartbeat(name, tick), EveryInterval(TICK), id=name)
        self._heartbeat.begin()
        scheduler.start()
        log.info("ready after %.1f s", time.monotonic() - began)
        self._manager.ready()
        if self._outward is not None:
            self._outward.start(self.health)
        self._watch_loops_and_signals(scheduler)
        self._manager.stopping()
        if self._outward is not None:
            self._outward.stop()
        log.info("stopping: requests in flight are finished and recorded")
        scheduler.shutdown(wait=True)
        self._conclude()

    def health(self) -> HealthRecord:
        """How the loops are doing."""
        return self._heartbeat.record()

    def _watch_loops_and_signals(self, scheduler: BackgroundScheduler) -> None:
        """Feed the watchdog while the loops progress, and reload on request, until `stop`."""
        stopping, wall_clock = self._context.stopping, WallClock()
        reloading: Thread | None = None
        next_look = 0.0
        while not stopping.is_set():
            time.sleep(STOP_NOTICED_SECONDS)
            if reloading is not None and not reloading.is_alive():
                reloading = None
                self._manager.ready()
            if reloading is None and self._reload_requested:
                self._reload_requested = False
                self._manager.reloading()
                reloading = Thread(target=self._reload_config, name="reload")
                reloading.start()
            if time.monotonic() < next_look:
                continue
            next_look = time.monotonic() + LOOK_SECONDS
            if wall_clock.step():
                for job in scheduler.get_jobs():
                    job.modify(next_run_time=datetime.now(UTC))
            record, snapshot = self._heartbeat.record(), self._heartbeat.snapshot
            if not is_hung(record):
                self._manager.feed()
                self._context.store.feed_lease()
            if snapshot is not None:  # a line for `systemctl status`
                facts = problems(record) or [
                    counted(snapshot.feeds, "feed"),
                    counted(snapshot.live_jobs, "job"),
                ]
                facts += [f"{snapshot.held} held"] if snapshot.held else []
                facts += [f"{snapshot.unknown} unknown"] if snapshot.unknown else []
                facts += ["the changed config was refused"] if self._reload_refused else []
                self._manager.tell(", ".join(facts))
        self._heartbeat.stopping = True
        if reloading is not None:
            reloading.join()

    def _reload_config(self) -> None:
        try:
            self._reload_refused = not self._reload()
        except Exception:
            self._reload_refused = True
            log.exception("config: the reload failed by a bug in feedwatch")

    def run_once(self, timeout: float, progress: Callable[[], None]) -> bool:
        """Check every feed, submit what is due, and poll until all is final.

        Waits for jobs for `timeout` seconds at most; with 0, for none. `progress` is called now and
        then. Returns whether every job is final and no queued episode only waits for its time.
        """
        context, stopping = self._context, self._context.stopping
        self._begin()
        begun = context.clock()
        context.store.feeds.make_due(begun)
        while not stopping.is_set():
            self._follow_clock()
            begun = min(begun, context.clock())  # or a feed would be due again once it is checked
            self._checks.tick(due_by=begun)  # checks each feed once, however short its interval
            progress()
            if self._checks.is_idle(due_by=begun):
                break
            time.sleep(ONCE_TICK_SECONDS)
        until = time.monotonic() + timeout
        while not stopping.is_set():
            self._follow_clock()
            if context.term() is None:
                raise StoreError(NOT_OURS)
            self._lead_and_submit()
            if timeout > 0:
                self._polls.tick()
            progress()
            if self._settled() or time.monotonic() >= until:
                break
            self._rest(until)
        until = time.monotonic() + ANNOUNCE_SECONDS
        while self._alerts is not None and not stopping.is_set():
            self._alerts.tick()
            if self._alerts.is_idle() or time.monotonic() >= until:
                break
            time.sleep(ONCE_TICK_SECONDS)
        self._conclude()
        return self._settled()

    def _rest(self, until: float) -> None:
        """Wait for the next round of a pass; a stop is noticed meanwhile."""
        until = min(until, time.monotonic() + self._polls.pause(ONCE_TICK_SECONDS))
        while not self._context.stopping.is_set() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, STOP_NOTICED_SECONDS))

    def stop(self) -> None:
        """Begin to stop. Safe in a signal handler, since the main thread never waits for the event.

        A thread that waits for an event holds its lock, which `set` takes.
        """
        self._cancellation.stop_in(STOP_SECONDS)
        self.interrupted = True
        self._context.stopping.set()

    def stop_on_signals(self) -> None:
        """Have SIGTERM and SIGINT call `stop`."""

        def handle(_number: int, _frame: FrameType | None) -> None:
            self.stop()

        signal.signal(signal.SIGTERM, handle)
        signal.signal(signal.SIGINT, handle)

    def reload_on_signal(self) -> None:
        """Have SIGHUP request a reload of the config."""

        def handle(_number: int, _frame: FrameType | None) -> None:
            self._reload_requested = True

        signal.signal(signal.SIGHUP, handle)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def _begin(self) -> None:
        """Put right what the process before has left behind: POSTs under way, a wrong clock."""
        if self._context.term() is not None:
            self._begin_term()

    def _begin_term(self) -> None:
        """Take up what the leader alone does, beginning with what others have left behind."""
        store, now = self._context.store, self._context.clock()
        self._submissions.save_answers()
        self._context.elected()
        is_elsewhere = store.begin_term()
        self._submissions.recover(after_failover=is_elsewhere)
        ahead = (store.upkeep.last_checked_at() or now) - now
        if ahead > timedelta():
            log.warning(
                "the clock was set back by %s since the last check of a feed", spoken(ahead)
            )
            store.upkeep.follow_clock(now, -ahead, inferred=True)

    def _lead_and_submit(self) -> bool:
        """The loop `submissions`; where we were elected, our term begins before it goes on.

        It begins anew on another server: after a failover, of which we may be told by a claim.
        """
        context = self._context
        try:
            if context.term() is not None:
                if not context.store.has_begun():
                    self._begin_term()
                context.elected()  # where the config was reloaded while nobody knew who leads
            return self._submissions.tick()
        except NotLeadingError:
            context.store.ask_server()
            return True

    def _follow_clock(self) -> None:
        """Go by the wall clock, and have the database follow it, where that was set.

        Several daemons go by the database's clock, which the leader alone has the rows follow.
        """
        context = self._context
        with context.steady:  # nobody writes a time that was read before the step
            leads = context.term() is not None
            step = self._clock.follow(
                context.store.upkeep.follow_clock if leads else lambda _now, _step: None
            )
        if step:
            how = "ahead" if step > timedelta() else "back"
            log.warning("the clock was set %s by %s", how, spoken(abs(step)))
            self._vitals.write_soon()

    def _settled(self) -> bool:
        context = self._context
        if not self._stuck_jobs.are_all():
            return False
        now, plan, claims = context.clock(), context.plan, context.store.claims
        return not any(
            claims.may_claim_later(name, now, plan.policy_of(name)) for name in context.processors
        )

    def _conclude(self) -> None:
        """End the loops, and record what the requests in flight gave."""
        self._context.stopping.set()
        for loop in (self._checks, self._polls):
            loop.close()
            loop.tick()
        self._submissions.save_answers()
        if self._alerts is not None:
            self._alerts.close()
            self._alerts.tick()
        self._context.store.heartbeats.end()

    def _with_heartbeat(self, name: str, loop: Tick) -> Callable[[], None]:
        """The tick of a loop, with its heartbeat and the backoff of a database that fails.

        One loop finds out soon that it works again: then all of them go on.
        """
        context, heartbeat = self._context, self._heartbeat
        outage = self._outages[name] = StoreOutage(name)

        def tick() -> None:
            if outage.backs_off():
                heartbeat.failed(name, outage.error)
                return
            try:
                self._follow_clock()
                is_done = loop()
            except StoreError as error:
                most = VITALS_RETRY_AT_MOST if name == VITALS else OUTAGE_RETRY_AT_MOST
                outage.failed(error, min(context.plan.policy.poll_interval, most), most)
                heartbeat.failed(name, outage.error)
            else:
                if is_done:
                    heartbeat.finished(name)
                    if outage.error and name == VITALS:
                        for one in self._outages.values():
                            one.retry()
                    outage.end()

        return tick
