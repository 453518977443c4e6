"""`run`: the daemon as a process: what it picks up, and how it ends, wherever it is hit; `demo`.

What takes long goes on in the background, while the other tests of this file run.
"""

import re
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from feedwatch.daemon.loop import STOP_SECONDS
from feedwatch.net.client import SILENCE_SECONDS
from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.server import Sandbox
from tests.support import LONG, Ended, FeedServer, Feedwatch, Running, Scene, scene, wait_for

Stage = tuple[Scene, Future[Ended]]

ANSWERED_LATE = Fault(on="submit", kind="delay", seconds=3)  # half of what a stop waits for
NEVER_ANSWERED = Fault(on="submit", kind="hang_after", seconds=LONG)


def killed(daemon: Running) -> Ended:
    daemon.kill()
    return daemon.wait()


def told_to_stop(daemon: Running) -> Ended:
    """Stopped by its service manager, and broken off before the request would have ended so."""
    begun = time.monotonic()
    ended = daemon.stop(signal.SIGTERM)
    assert time.monotonic() - begun < SILENCE_SECONDS - 2
    return ended


# What the submission of episode 1 meets, and what is done to the daemon once it is under way.
STRIKES: dict[str, tuple[Fault, Callable[[Running], Ended]]] = {
    "SIGTERM": (ANSWERED_LATE, lambda daemon: daemon.stop(signal.SIGTERM)),
    "SIGINT": (ANSWERED_LATE, lambda daemon: daemon.stop(signal.SIGINT)),
    "SIGKILL": (ANSWERED_LATE, killed),
    "never answered": (NEVER_ANSWERED, told_to_stop),
}


def struck(scene: Scene, strike: Callable[[Running], Ended]) -> Ended:
    """Strike a daemon in the middle of a POST."""
    daemon = scene.feedwatch.start("run")
    daemon.until(lambda: scene.sandbox.submissions, "a submission")
    return strike(daemon)


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Stage]]:
    """Each strike, in a scene of its own."""
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(len(STRIKES)))
        stages: dict[str, Stage] = {}
        for name, (fault, strike) in STRIKES.items():
            one = stack.enter_context(scene(tmp_path_factory.mktemp("struck")))
            one.sandbox.faults.add(fault)
            stages[name] = one, pool.submit(struck, one, strike)
        yield stages


@pytest.mark.slow
def test_the_daemon_picks_up_a_new_episode_and_status_sees_it_run(
    background: dict[str, Stage], world: Scene
) -> None:
    feedwatch = world.feedwatch
    world.workspace.set(FEEDS__SHOW__FIRST_RUN="none")
    daemon = feedwatch.start("run")
    daemon.until(lambda: feedwatch.json("episodes"), "the first check")
    assert feedwatch.json("status")["daemon"]["running"] is True
    world.feeds.publish(1, 2)
    daemon.until(lambda: feedwatch.states().get("guid-2") == "ready", "the new episode")
    ended = daemon.stop(signal.SIGTERM)
    assert ended.status == 0
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    assert [body["name"] for body in world.sandbox.taken] == ["Episode 2"]


def test_sigint_ends_the_daemon_with_0_while_a_feed_does_not_answer(
    feedwatch: Feedwatch, feed_server: FeedServer
) -> None:
    feed_server.answer(200, delay=LONG)
    daemon = feedwatch.start("run")
    daemon.until(feed_server.count, "the first check")
    ended = daemon.stop(signal.SIGINT)
    assert ended.status == 0
    assert "Traceback" not in ended.stderr
    (feed,) = feedwatch.json("feeds")
    assert feed["failures"] == 0  # the feed is not to blame


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_in_the_middle_of_a_post_lets_the_answer_be_recorded(
    background: dict[str, Stage], name: str
) -> None:
    scene, ended = background[name]
    assert ended.result().status == 0
    assert "Traceback" not in ended.result().stderr
    episode = scene.feedwatch.episode()
    assert (episode["state"], episode["media_id"]) == ("processing", next(iter(scene.sandbox.jobs)))
    assert len(scene.sandbox.submissions) == 1


def test_what_was_killed_in_the_middle_of_a_post_is_never_submitted_a_second_time(
    background: dict[str, Stage],
) -> None:
    scene, ended = background["SIGKILL"]
    assert ended.result().status == -signal.SIGKILL
    feedwatch = scene.feedwatch
    assert feedwatch.episode()["state"] == "submitting"
    feedwatch("run", "--once", "--timeout", 0)
    assert feedwatch.episode()["state"] in ("submitting", "unknown")
    with closing(sqlite3.connect(scene.workspace.database)) as db, db:
        # The one way to let an hour pass: whatever has a term is over it.
        db.execute("update episodes set due_at = datetime(due_at, '-1 hour')")
    assert feedwatch.once("--timeout", 1).status == 4
    episode = feedwatch.episode()
    assert (episode["state"], episode["attempts"]) == ("unknown", 1)
    assert episode["reason"]
    assert len(scene.sandbox.submissions) == 1


def test_a_second_daemon_on_one_database_is_refused_and_the_first_submits_each_episode_once(
    world: Scene,
) -> None:
    feedwatch = world.feedwatch
    world.feeds.publish(1, 2, 3)
    daemons = [feedwatch.start("run"), feedwatch.start("run")]
    refused = wait_for(lambda: [one for one in daemons if not one.alive], what="the refusal")
    (daemon,) = (one for one in daemons if one not in refused)
    ended = refused[0].wait()
    assert ended.status == 1
    assert str(daemon.pid) in ended.stderr
    assert "Traceback" not in ended.stderr
    daemon.until(lambda: [*feedwatch.states().values()] == ["ready"] * 3, "all episodes")
    assert daemon.stop().status == 0
    assert len(world.sandbox.submissions) == 3


@pytest.mark.slow
def test_a_post_that_is_never_answered_is_unknown_and_the_daemon_ends_within_10_seconds(
    background: dict[str, Stage],
) -> None:
    scene, ended = background["never answered"]
    assert ended.result().status == 0
    assert STOP_SECONDS < 8, "and to end takes its time, too"
    assert scene.feedwatch.states() == {"guid-1": "unknown"}


@pytest.mark.slow
def test_demo_shows_an_episode_become_ready_with_no_config_and_no_key(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        ended = one.feedwatch.here("demo", "--pipeline", "enhance,ads", config=False)
    assert ended.status == 0, ended
    assert "ads: ready" in ended.stdout
    assert "Submissions in all: 2, one for each of enhance,ads" in ended.stdout
    assert re.search(r"https://processed\S+", ended.stdout)


def test_a_timeout_without_once_is_refused_before_anything_is_watched(
    feedwatch: Feedwatch, sandbox: Sandbox, feed_server: FeedServer
) -> None:
    ended = feedwatch.here("run", "--timeout", "5")
    assert ended.status == 2
    assert "--timeout goes with --once" in ended.stderr
    assert not sandbox.submissions
