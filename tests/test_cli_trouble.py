"""Trouble with the media API: what is in doubt, what is refused, what waits, and what mends it."""

import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.server import Sandbox
from tests.support import Ended, FeedServer, Feedwatch, Scene, Workspace, audio, scene, wait_for

DOUBTFUL = [
    Fault(on="submit", kind="drop_after"),
    Fault(on="submit", kind="drop_before"),
    Fault(on="submit", kind="junk"),
    Fault(on="submit", kind="no_id"),
    Fault(on="submit", kind="status_after", status=500),
]


# In doubt


@pytest.mark.parametrize("fault", DOUBTFUL, ids=lambda fault: fault.kind)
def test_a_submission_that_may_have_been_taken_is_unknown_and_never_sent_again_unasked(
    feedwatch: Feedwatch, sandbox: Sandbox, fault: Fault
) -> None:
    sandbox.faults.add(fault)
    for _ in range(2):
        assert feedwatch.once("--timeout", 0).status == 4
        episode = feedwatch.episode()
        assert (episode["state"], episode["media_id"]) == ("unknown", None)
        assert episode["reason"]
        assert len(sandbox.submissions) == 1


@pytest.fixture
def unknown(feedwatch: Feedwatch, sandbox: Sandbox) -> Feedwatch:
    """Episode 1 was taken, but nobody knows."""
    sandbox.faults.add(Fault(on="submit", kind="drop_after"))
    assert feedwatch.once("--timeout", 0).status == 4
    assert feedwatch.states() == {"guid-1": "unknown"}
    return feedwatch


def test_status_names_what_is_in_doubt_and_show_says_how_to_settle_it(
    unknown: Feedwatch,
) -> None:
    ended = unknown.here("status")
    assert ended.status == 4
    assert "unknown" in ended.stdout
    assert "Episode 1" in ended.stdout
    said = unknown.here("show", 1).stdout
    assert "feedwatch adopt 1" in said
    assert "feedwatch retry 1" in said


def test_adopt_settles_a_doubt_and_the_job_is_polled_to_its_end(
    unknown: Feedwatch, sandbox: Sandbox
) -> None:
    (media_id,) = sandbox.jobs
    assert unknown.here("adopt", 1, media_id, "--yes").status == 0
    episode = unknown.episode()
    assert (episode["state"], episode["media_id"]) == ("processing", media_id)
    assert unknown.once().status == 0
    episode = unknown.episode()
    assert (episode["state"], episode["processed_url"]) == ("ready", sandbox.jobs[media_id]["url"])
    assert len(sandbox.submissions) == 1


def test_adopt_refuses_a_media_id_that_another_episode_has(
    unknown: Feedwatch, feed_server: FeedServer
) -> None:
    feed_server.publish(1, 2)
    unknown.once()
    ended = unknown.here("adopt", 1, unknown.episode("guid-2")["media_id"], "--yes")
    assert ended.status == 1
    assert "Episode 2" in ended.stderr
    assert unknown.episode("guid-1")["state"] == "unknown"


def test_retry_of_a_doubt_warns_wants_yes_and_then_submits_once_more(
    unknown: Feedwatch, sandbox: Sandbox
) -> None:
    ended = unknown.here("retry", 1)
    assert ended.status == 2
    assert "twice" in ended.stderr
    assert unknown.states() == {"guid-1": "unknown"}
    assert unknown.here("retry", 1, "--yes").status == 0
    assert unknown.once().status == 0
    assert unknown.states() == {"guid-1": "ready"}
    assert len(sandbox.submissions) == 2


def test_skip_settles_a_doubt_for_good(unknown: Feedwatch, sandbox: Sandbox) -> None:
    assert unknown.here("skip", 1).status == 0
    assert unknown.once().status == 0
    assert unknown.states() == {"guid-1": "skipped"}
    assert len(sandbox.submissions) == 1


def test_an_outage_puts_one_episode_in_doubt_and_the_rest_waits_for_a_read_that_succeeds(
    feedwatch: Feedwatch, feed_server: FeedServer, sandbox: Sandbox
) -> None:
    feed_server.publish(1, 2, 3)
    sandbox.faults.add(
        Fault(on="submit", kind="drop_before", times=None),
        Fault(on="podcasts", kind="status", status=502, times=None, after=2),
    )
    assert feedwatch.once("--timeout", 1).status == 4
    assert feedwatch.states() == {"guid-1": "unknown", "guid-2": "queued", "guid-3": "queued"}
    assert len(sandbox.submissions) == 1
    sandbox.faults.clear()
    assert feedwatch.once().status == 4  # the doubt remains
    assert feedwatch.states() == {"guid-1": "unknown", "guid-2": "ready", "guid-3": "ready"}
    assert [body["url"] for body in sandbox.taken] == [audio(2), audio(3)]


# Surely not taken


def test_an_api_that_is_down_leaves_no_doubt_and_the_episode_goes_later(
    feedwatch: Feedwatch, sandbox: Sandbox
) -> None:
    sandbox.stop()
    feedwatch.once("--timeout", 0.3)
    assert feedwatch.states() == {"guid-1": "queued"}
    sandbox.start()
    assert feedwatch.once().status == 0
    assert feedwatch.states() == {"guid-1": "ready"}
    assert len(sandbox.submissions) == 1


def test_too_many_requests_are_answered_by_waiting_as_long_as_asked(
    feedwatch: Feedwatch, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(on="submit", kind="status", status=429, retry_after=1))
    assert feedwatch.once().status == 0
    assert feedwatch.states() == {"guid-1": "ready"}
    refused, taken = sandbox.submissions
    assert refused.status == 429
    assert taken.time - refused.time >= 1


@pytest.mark.parametrize("status", [400, 404])
def test_a_refusal_is_failed_with_the_words_of_the_api_and_not_tried_again(
    feedwatch: Feedwatch, sandbox: Sandbox, status: int
) -> None:
    body = '{"error": "Oh no", "message": "not this one"}'
    sandbox.faults.add(Fault(on="submit", kind="status", status=status, body=body))
    for _ in range(2):
        feedwatch.once()
        episode = feedwatch.episode()
        assert episode["state"] == "failed"
        assert "not this one" in episode["reason"]
        assert len(sandbox.submissions) == 1


# The key


def tried(sandbox: Sandbox) -> int:
    """How often something was refused."""
    return len(sandbox.submissions) if sandbox.submissions else sandbox.requests.total() - 1


def refused(scene: Scene) -> tuple[str, Ended]:
    """A daemon that is refused three times, its log up to then, and its end after it was let in."""
    daemon = scene.feedwatch.start("run")
    daemon.until(lambda: tried(scene.sandbox) >= 3, "the third try")
    log = daemon.stderr
    assert scene.sandbox.taken == []
    scene.sandbox.faults.clear()
    daemon.until(lambda: len(scene.sandbox.taken) == 2, "both submissions")
    return log, daemon.stop()


REFUSALS = {
    "key": Fault(on="any", kind="status", status=401, times=None),
    "account": Fault(on="submit", kind="api_disabled", times=None),
}


@pytest.fixture(scope="module")
def refusals(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, tuple[Scene, Future[tuple[str, Ended]]]]]:
    """Both at the same time: they are mostly waiting."""
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(len(REFUSALS)))
        stages = {}
        for name, fault in REFUSALS.items():
            one = stack.enter_context(scene(tmp_path_factory.mktemp(name)))
            one.feeds.publish(1, 2)
            one.sandbox.faults.add(fault)
            stages[name] = one, pool.submit(refused, one)
        yield stages


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"), [("key", "FEEDWATCH_API_KEY"), ("account", "API access")]
)
def test_an_api_that_lets_nobody_in_fails_nothing_is_told_once_and_mends_by_itself(
    refusals: dict[str, tuple[Scene, Future[tuple[str, Ended]]]], name: str, words: str
) -> None:
    scene, future = refusals[name]
    log, ended = future.result()
    assert ended.status == 0
    for episode in scene.feedwatch.json("episodes"):
        history = scene.feedwatch.json("show", episode["id"])["history"]
        assert not {"failed", "unknown"} & {move["state"] for move in history}
    assert len(scene.sandbox.taken) == 2
    alerts = [line for line in log.splitlines() if words in line and " ERROR " in line]
    assert len(alerts) == 1, log


# Jobs


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            "API_KEY",
            "a-wrong-one",
            "submissions  stopped until somebody acts: .*`feedwatch doctor`",
        ),
        ("FEEDS__SHOW__PODCAST_ID", "podcast-9", "show: nothing is submitted: .*podcast podcast-9"),
    ],
)
def test_status_ends_with_4_and_says_what_to_do_where_all_stands_still_until_a_person_acts(
    feedwatch: Feedwatch, workspace: Workspace, key: str, value: str, said: str
) -> None:
    workspace.set(**{key: value})
    assert feedwatch.once("--timeout", 0).status == 1
    ended = feedwatch.here("status")
    assert (ended.status, feedwatch.here("status", "--json").status) == (4, 4)
    assert re.search(said, ended.stdout), ended.stdout


def test_a_job_ends_as_its_status_says_and_an_error_is_polled_on_while_it_may_pass(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace, sandbox: Sandbox
) -> None:
    jobs = [
        (["AD_BREAK_READY", "REMOVE_ADS_READY", "READY"], "ready", None),
        (["PUBLISHING_ERROR", "PUBLISHING", "READY"], "ready", None),
        (["A_WORD_NOBODY_KNOWS", "READY"], "ready", None),
        (["AI_ERROR"], "processing", "AI_ERROR"),  # final after an hour: no pass waits for that
        (["UNAVAILABLE"], "processing", "enclosure"),
    ]
    feed_server.publish(*range(len(jobs)))
    workspace.set(MAX_CONCURRENT_JOBS=len(jobs))
    for statuses, _, _ in jobs:
        sandbox.faults.add(Fault(on="submit", kind="job_status", statuses=statuses))
    feedwatch.once()
    for number, (statuses, state, reason) in enumerate(jobs):
        episode = feedwatch.episode(f"guid-{number}")
        assert (episode["state"], episode["remote_status"]) == (state, statuses[-1])
        assert (episode["reason"] is None) if reason is None else (reason in episode["reason"])
    assert len(sandbox.submissions) == len(jobs)


def test_a_job_that_the_api_has_lost_is_polled_on_and_not_submitted_again(
    feedwatch: Feedwatch, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(on="poll", kind="lost", times=None))
    feedwatch.once()
    episode = feedwatch.episode()
    assert episode["state"] == "processing"
    assert "lost" in episode["reason"]
    assert len(sandbox.submissions) == 1


def test_polls_that_fail_change_nothing_and_go_on(feedwatch: Feedwatch, sandbox: Sandbox) -> None:
    sandbox.faults.add(
        Fault(on="poll", kind="status", status=500),
        Fault(on="poll", kind="drop_before"),
        Fault(on="poll", kind="status", status=401),
        Fault(on="poll", kind="html", status=404),
    )
    assert feedwatch.once().status == 0
    assert feedwatch.states() == {"guid-1": "ready"}
    assert len(sandbox.submissions) == 1


def test_a_job_past_its_deadline_is_reported_overdue_and_polled_on(
    feedwatch: Feedwatch, workspace: Workspace, sandbox: Sandbox
) -> None:
    workspace.set(JOB_DEADLINE="0.1s")
    sandbox.faults.add(Fault(on="submit", kind="job_status", statuses=["PUBLISHING"]))

    def overdue() -> bool:
        feedwatch.once("--timeout", 1)
        return "overdue" in (feedwatch.episode()["reason"] or "")

    wait_for(overdue)
    assert feedwatch.episode()["state"] == "processing"
    assert "overdue" in feedwatch.here("status").stdout
    (media_id,) = sandbox.jobs
    sandbox.set_status(media_id, "READY")
    assert feedwatch.once().status == 0
    assert feedwatch.states() == {"guid-1": "ready"}
    assert len(sandbox.submissions) == 1
