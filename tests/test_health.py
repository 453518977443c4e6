"""Health is progress: what is unhealthy, what is not, and who gets to hear of it."""

import re
import signal
import socket
import sqlite3
import threading
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feedwatch.cli.assembly import assembled
from feedwatch.config.load import load
from feedwatch.core import health
from feedwatch.core.health import (
    BOOT,
    CHECKS,
    LOOPS,
    POLLS,
    START,
    SUBMISSIONS,
    HealthRecord,
    HealthSnapshot,
    LoopHealth,
    Pass,
    Use,
    by_clock_of_reader,
    is_hung,
    problems,
    problems_shown,
    record_of,
    spoken,
    unready,
)
from feedwatch.daemon import systemd
from feedwatch.daemon.heartbeat import Heartbeat
from feedwatch.store.peek import peek
from feedwatch.store.store import Store
from feedwatch.watcher.overview import status
from tests.support import PATIENCE, Feedwatch, Workspace, one_in, wait_for
from tests.world import HookedJournal, world

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
FRESH = LoopHealth(name="", returned=SECOND, finished=SECOND)
VITALS = HealthSnapshot(
    at=NOW, feeds=1, live_jobs=0, held=0, unknown=0, feed_due_at=None, job_due_at=None
)


def record(up: timedelta = HOUR, **changed: LoopHealth) -> HealthRecord:
    """Of a daemon in good health, but for the loops given."""
    loops = {name: FRESH._replace(name=name) for name in LOOPS} | changed
    return HealthRecord(up=up, loops=tuple(loops.values()))


def loop(name: str, **ages: timedelta | str) -> LoopHealth:
    return FRESH._replace(name=name, **ages)  # type: ignore[arg-type]


def test_a_daemon_whose_loops_go_round_is_healthy_and_ready() -> None:
    assert problems(record()) == []
    assert not is_hung(record())
    assert unready(record()) == []


def test_a_loop_that_came_to_no_end_for_a_minute_is_hung() -> None:
    hung = record(checks=loop(CHECKS, returned=61 * SECOND, finished=61 * SECOND))
    assert problems(hung) == ["checks: nothing finished for 61 s"]
    assert is_hung(hung)
    assert unready(hung) == problems(hung)


def test_a_loop_that_never_came_to_an_end_is_hung_a_minute_after_the_start() -> None:
    never = LoopHealth(name=CHECKS)
    assert problems(record(up=59 * SECOND, checks=never)) == []
    assert unready(record(up=SECOND, checks=never)) == ["checks: starting"]
    assert is_hung(record(up=61 * SECOND, checks=never))


def test_a_post_may_take_its_minute() -> None:
    assert problems(record(submissions=loop(SUBMISSIONS, returned=MINUTE, finished=MINUTE))) == []


def test_a_long_tick_that_gets_on_is_healthy() -> None:
    ages = {"returned": HOUR, "finished": HOUR, "worked": 10 * SECOND}
    assert not is_hung(record(submissions=loop(SUBMISSIONS, **ages)))
    assert problems(record(submissions=loop(SUBMISSIONS, **ages))) == []


def test_trouble_that_is_known_makes_it_unhealthy_but_a_restart_would_not_help() -> None:
    stands = record(polls=loop(POLLS, finished=2 * MINUTE, trouble="the disk is full"))
    assert problems(stands) == ["polls: nothing finished for 2 min: the disk is full"]
    assert not is_hung(stands)
    briefly = record(polls=loop(POLLS, finished=5 * SECOND, trouble="the disk is full"))
    assert problems(briefly) == []
    assert unready(briefly) == ["polls: the disk is full"]


def test_a_loop_that_goes_round_and_gets_nowhere_is_hung() -> None:
    stuck = record(checks=loop(CHECKS, waiting=16 * MINUTE, worked=20 * MINUTE))
    assert "a feed has been due for 16 min" in problems(stuck)[0]
    assert is_hung(stuck)


@pytest.mark.parametrize(
    "ages",
    [
        {"waiting": 3 * HOUR, "worked": 5 * SECOND},  # ten thousand feeds, one after another
        {"waiting": 5 * MINUTE, "worked": 3 * HOUR},  # one feed, checked every three hours
    ],
    ids=["a burst", "a rare feed"],
)
def test_a_queue_is_no_ill_health(ages: dict[str, timedelta]) -> None:
    assert problems(record(checks=loop(CHECKS, **ages))) == []


def test_what_was_due_while_the_daemon_was_down_gives_it_time() -> None:
    assert problems(record(up=MINUTE, checks=loop(CHECKS, waiting=100 * HOUR))) == []


def test_lengths_are_spoken_as_people_do() -> None:
    lengths = [75 * SECOND, 12 * MINUTE, 3 * HOUR, 72 * HOUR]
    assert [spoken(length) for length in lengths] == ["75 s", "12 min", "3 h", "3 d"]


def test_another_process_reads_the_same_record_out_of_the_database() -> None:
    heartbeat = Heartbeat()
    heartbeat.worked(CHECKS)
    for name in LOOPS:
        heartbeat.finished(name)
    beats = heartbeat.times(NOW)
    later = record_of(beats, VITALS._replace(at=NOW + 90 * SECOND))
    assert later is not None
    assert [problem.partition(":")[0] for problem in problems(later)] == [
        "checks", "polls", "vitals"
    ]  # fmt: skip
    assert is_hung(later)


def test_a_beat_from_a_future_that_was_set_back_counts_as_old() -> None:
    beats = {START: NOW} | dict.fromkeys(LOOPS, NOW + HOUR)
    found = record_of(beats, VITALS)
    assert found is not None
    assert problems(found._replace(up=HOUR))


@pytest.mark.parametrize("step", [-HOUR, -3 * SECOND, timedelta(), HOUR], ids=str)
def test_what_the_same_boot_wrote_is_read_by_the_clock_as_it_is_now(step: timedelta) -> None:
    beats = dict.fromkeys((START, *LOOPS), NOW)
    mine, other = {BOOT + "a": NOW - HOUR}, {BOOT + "b": NOW - HOUR}
    boot = {BOOT + "a": NOW - HOUR + step}
    assert by_clock_of_reader(beats | mine, boot) == dict.fromkeys(beats, NOW + step)
    assert by_clock_of_reader(beats | other, boot) == beats
    assert by_clock_of_reader(beats, boot) == by_clock_of_reader(beats | mine, {}) == beats


def test_no_beat_no_daemon() -> None:
    assert record_of({}, VITALS) is None


# The verb


def test_healthcheck_says_whether_the_daemon_makes_progress(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    ended = feedwatch.here("healthcheck")
    assert (ended.status, ended.stdout) == (5, "")
    assert ended.stderr == "not running: no daemon has this database\n"
    daemon = feedwatch.start("run")
    daemon.until(lambda: feedwatch.here("healthcheck").status == 0, "progress")
    # It needs neither the key nor sound feeds.
    workspace.set(API_KEY=None, FEEDS__SHOW__URL="half a", FEEDS__NEW__URL="sentence")
    assert feedwatch.here("healthcheck").status == 0
    daemon.send(signal.SIGSTOP)  # the loops stand still, and time goes on for an hour
    age_beats(workspace.database)
    ended = feedwatch.here("healthcheck")
    assert ended.status == 5
    assert "checks: nothing finished for 60 min" in ended.stderr
    daemon.send(signal.SIGCONT)
    assert daemon.stop().status == 0
    assert feedwatch.here("healthcheck").status == 5


def test_the_short_way_sees_what_the_store_sees(tmp_path: Path) -> None:
    path = tmp_path / "feedwatch.db"
    with world(path) as loops:
        loops.feeds.publish(1, 2)
        loops.check()
        loops.submit()
        loops.later(hours=1)
        beats = {START: loops.now - HOUR} | dict.fromkeys(LOOPS, loops.now - MINUTE)
        for moments in ({}, beats):
            loops.store.heartbeats.write(
                moments, loops.now
            ) if moments else loops.store.heartbeats.end()
            snapshot = loops.store.statistics.snapshot(loops.now)
            assert snapshot.feed_due_at is not None
            assert snapshot.job_due_at is not None
            written = next(iter(loops.store.heartbeats.read(loops.now).values()), {})
            seen = record_of(written, snapshot)
            assert peek(path, loops.now) == (seen, loops.store.passes.last())
            loops.store.passes.end(loops.store.passes.begin(loops.now), 1.5, 3)


def passes(*ages: timedelta, status: int | None = 0) -> list[Pass]:
    """Passes of so long ago, the newest first; `status` is that of the newest."""
    return [Pass(NOW - ages[0], 1.0, status), *(Pass(NOW - age, 1.0, 0) for age in ages[1:])]


def every(minutes: float, newest: float, count: int = 6) -> list[timedelta]:
    """The ages of passes so many minutes apart, the newest of them as old as that."""
    return [(newest + place * minutes) * MINUTE for place in range(count)]


@pytest.mark.parametrize(
    ("last", "use", "wrong"),
    [
        (passes(HOUR), Use.NONE, []),
        (passes(23 * HOUR), Use.NONE, []),
        (passes(37 * HOUR), Use.NONE, ["the last `run --once` began 37 h ago"]),
        (passes(14 * MINUTE, 29 * MINUTE, 44 * MINUTE), Use.NONE, []),
        (passes(22 * MINUTE, 37 * MINUTE), Use.NONE, []),
        (passes(*every(15, 23)), Use.NONE, ["usually run every 15 min"]),
        (passes(*every(15, 22)), Use.NONE, []),
        (passes(*every(1, 7, 12)), Use.NONE, ["usually run every 60 s"]),
        (passes(*every(15, 23), *every(15, 683)), Use.NONE, []),  # it rests at night
        (passes(*every(0.04, 23)), Use.NONE, []),  # by hand, in a row
        (passes(*every(3, 60, 4)), Use.NONE, []),  # likewise, some minutes apart
        (passes(*(age * MINUTE for age in (180, 182, 187, 188, 240, 247))), Use.NONE, []),
        (passes(37 * HOUR, 37 * HOUR + 2 * MINUTE), Use.NONE, ["`run --once` began 37 h ago"]),
        (passes(8 * 24 * HOUR, 15 * 24 * HOUR), Use.NONE, []),  # once a week, perhaps
        (passes(MINUTE, 16 * MINUTE, status=3), Use.NONE, []),  # a feed fails: no ill health
        (passes(MINUTE, 16 * MINUTE, status=None), Use.OPEN, []),  # at work
        (passes(MINUTE, 16 * MINUTE, status=None), Use.UNKNOWN, []),
        (passes(3 * MINUTE, status=None), Use.NONE, ["began 3 min ago has died"]),
        (passes(HOUR), Use.REPLACED, ["a daemon runs on a file of this database that was deleted"]),
        (passes(-HOUR), Use.NONE, []),  # the clock was set back
    ],
)  # fmt: skip
def test_a_timer_is_judged_by_the_interval_at_which_it_has_run(
    last: list[Pass], use: Use, wrong: list[str]
) -> None:
    found = problems_shown(None, last, NOW, use)
    assert len(found) == len(wrong)
    assert all(part in text for part, text in zip(wrong, found, strict=True))


def test_run_once_leaves_when_it_ran_and_how_it_ended_and_counts_as_healthy(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    assert feedwatch.json("status")["last_pass"] is None
    feedwatch.once("--timeout", "0")
    feedwatch.once("--timeout", "0")
    last = feedwatch.json("status")["last_pass"]
    assert last["status"] == 0
    assert 0 <= last["seconds"] < PATIENCE
    assert last["interval_seconds"] is None, "two passes in a row are no timer"
    daemon = feedwatch.json("status")["daemon"]
    assert (daemon["running"], daemon["problems"]) == (False, [])
    shown = feedwatch.here("status").stdout
    assert re.search(r"ended after \d+ s with status 0$", shown, re.MULTILINE), shown
    assert feedwatch.here("healthcheck").status == 0
    with closing(sqlite3.connect(workspace.database)) as database, database:
        database.execute("UPDATE passes SET began_at = datetime(began_at, '-2 days')")
    ended = feedwatch.here("healthcheck")
    assert (ended.status, "`run --once` began 2 d ago" in ended.stderr) == (5, True)


def test_a_daemon_forgets_the_passes_before_it(feedwatch: Feedwatch) -> None:
    feedwatch.once("--timeout", "0")
    daemon = feedwatch.start("run")
    daemon.until(lambda: feedwatch.json("status")["last_pass"] is None, "it has begun")
    daemon.until(lambda: feedwatch.here("healthcheck").status == 0, "it is healthy")
    assert daemon.stop().status == 0
    assert "no daemon has this database" in feedwatch.here("healthcheck").stderr
    stopped = "daemon       not running: no daemon has this database, last progress 20"
    assert stopped in feedwatch.here("status").stdout


def test_an_orderly_end_leaves_the_last_progress_and_no_start(tmp_path: Path) -> None:
    with world(tmp_path / "feedwatch.db") as loops:
        beats = dict.fromkeys((START, *LOOPS), loops.now - MINUTE)
        loops.store.heartbeats.write(beats, loops.now)
        loops.store.heartbeats.end()
        found = status(loops.store, loops.context.plan, loops.now)
        assert found.last_progress_at == loops.now - MINUTE
        assert found.problems == ["not running: no daemon has this database"]


@pytest.mark.parametrize(
    "url",
    one_in(
        3,
        ["sqlite:///other.db", "sqlite+pysqlite:///feedwatch.db", "sqlite:///feedwatch.db?x=1"],
    ),
)
def test_where_the_short_way_is_not_certain_healthcheck_takes_the_long_one(
    feedwatch: Feedwatch, workspace: Workspace, url: str
) -> None:
    workspace.set(DATABASE_URL=url)
    assert "not running: no daemon has this database\n" in feedwatch("healthcheck").stderr
    workspace.write("FEEDWATCH_DATABASE_URL='half a quote\n")
    ended = feedwatch("healthcheck")
    assert ended.status == 2
    assert "line 1" in ended.stderr


def test_a_database_that_cannot_be_read_is_ill_health(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    workspace.database.write_bytes(b"no database" * 100)
    ended = feedwatch.here("healthcheck")
    assert ended.status == 5
    assert "not a database" in ended.stderr


def age_beats(database: Path) -> None:
    """The one way to let an hour pass."""
    with closing(sqlite3.connect(database)) as db, db:
        rows = "duty not like 'boot %'"  # the machine stays booted when it was
        db.execute(f"update heartbeats set at = datetime(at, '-1 hour') where {rows}")


def test_vitals_are_counted_from_the_database(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'a.db'}", processor="inlet", may_create=True)
    assert store.statistics.snapshot(NOW) == VITALS._replace(feeds=0)
    store.close()


# The watchdog


def test_a_loop_that_hangs_stops_the_feeding_and_its_end_starts_it_again(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(health.ROUND_TIMEOUTS, SUBMISSIONS, SECOND)
    monkeypatch.setattr(systemd, "TELL_EVERY", 0.1)
    hangs, end = threading.Event(), threading.Event()

    def hang() -> None:
        hangs.set()
        end.wait()

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        with assembled(load(workspace.config, {})) as (daemon, context):
            context.journal = HookedJournal(hang)
            fed: list[bool] = []
            monkeypatch.setattr(context.store, "feed_lease", lambda: fed.append(True))
            life = threading.Thread(target=daemon.run)
            life.start()
            try:
                assert hangs.wait(PATIENCE)
                wait_for(lambda: is_hung(daemon.health()), what="the notice")
                drain(manager)
                fed.clear()
                manager.settimeout(PATIENCE)
                told = [manager.recv(1000) for _ in range(2)]
                assert all(b"STATUS=submissions: nothing finished for" in one for one in told)
                assert not fed, "the lease"
                end.set()
                wait_for(lambda: b"WATCHDOG=1" in drain(manager), what="the feeding")
                assert fed
            finally:
                end.set()
                daemon.stop()
                life.join()


def drain(manager: socket.socket) -> list[bytes]:
    """What has been told since the last time."""
    told = []
    manager.settimeout(0)
    with suppress(BlockingIOError):
        while True:
            told.append(manager.recv(1000))
    return told
