"""`approve`, `skip`, `retry`, `adopt`, `pause` and `resume`: what a person decides."""

import re
import sqlite3
from contextlib import closing

import pytest

from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.server import Sandbox
from tests.support import FeedServer, Feedwatch, Scene, Workspace, audio, one_in, scene, wait_for


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Episode 1 is skipped, 2 and 3 are held; nothing was submitted."""
    with scene(tmp_path_factory.mktemp("held")) as one:
        one.workspace.set(FLOOD_LIMIT=0, FEEDS__SHOW__FIRST_RUN="none")
        assert one.feedwatch.once("--timeout", 0).status == 0
        one.feeds.publish(1, 2, 3)
        assert one.feedwatch.once("--timeout", 0).status == 4
        states = {"guid-1": "skipped", "guid-2": "held", "guid-3": "held"}
        assert one.feedwatch.states() == states
        assert not list(one.workspace.folder.glob("*.db-wal"))  # all of it is in the one file
        return one.workspace.database.read_bytes()


@pytest.fixture
def held(database: bytes, world: Scene) -> Feedwatch:
    """feedwatch with a copy of that database, and the feed as it was then."""
    world.workspace.set(FLOOD_LIMIT=0, FEEDS__SHOW__FIRST_RUN="none")
    world.workspace.database.write_bytes(database)
    world.feeds.publish(1, 2, 3)
    return world.feedwatch


@pytest.fixture
def failed(feedwatch: Feedwatch, sandbox: Sandbox) -> Feedwatch:
    """Episode 1 is failed: the API refused it."""
    sandbox.faults.add(
        Fault(on="submit", kind="status", status=400, body='{"error":"Bad","message":"too short"}')
    )
    feedwatch.once("--timeout", 0)
    assert feedwatch.states() == {"guid-1": "failed"}
    return feedwatch


def number(feedwatch: Feedwatch, guid: str) -> int:
    found: int = feedwatch.episode(guid)["id"]
    return found


# approve


def test_approve_queues_a_held_episode_and_the_next_run_submits_it_once(
    held: Feedwatch, sandbox: Sandbox
) -> None:
    assert held.here("approve", number(held, "guid-2"), "--yes").status == 0
    assert held.states() == {"guid-1": "skipped", "guid-2": "queued", "guid-3": "held"}
    assert sandbox.submissions == []
    assert held.once().status == 4  # the other one still waits
    assert held.states()["guid-2"] == "ready"
    assert held.once().status == 4
    assert [body["name"] for body in sandbox.taken] == ["Episode 2"]


def test_approve_takes_all_held_episodes_of_a_feed(held: Feedwatch) -> None:
    assert held.here("approve", "--feed", "show", "--yes").status == 0
    assert held.states() == {"guid-1": "skipped", "guid-2": "queued", "guid-3": "queued"}


def test_approve_previews_and_without_a_terminal_wants_yes_and_does_nothing(
    held: Feedwatch,
) -> None:
    before = held.json("episodes")
    ended = held("approve", "--feed", "show")
    assert ended.status == 2
    assert "--yes" in ended.stderr
    assert "Episode 2" in ended.output
    assert "Episode 3" in ended.output
    assert held.json("episodes") == before


@pytest.mark.parametrize(("typed", "state"), [("y\n", "queued"), ("n\n", "held")])
def test_approve_asks_on_a_terminal_and_obeys_the_answer(
    held: Feedwatch, typed: str, state: str
) -> None:
    ended = held.on_terminal("approve", number(held, "guid-2"), typed=typed)
    assert "Episode 2" in ended.stdout
    assert re.search(r"\?.*\[y/N\]", ended.stdout)
    assert held.states()["guid-2"] == state
    assert (ended.status == 0) == (typed == "y\n")


def test_approve_of_what_is_not_held_is_a_clear_error_and_changes_nothing(held: Feedwatch) -> None:
    before = held.json("episodes")
    skipped, waiting = number(held, "guid-1"), number(held, "guid-2")
    ended = held.here("approve", waiting, skipped, "--yes")
    assert ended.status == 1
    assert str(skipped) in ended.stderr
    assert "skipped" in ended.stderr
    assert held.json("episodes") == before


@pytest.mark.parametrize("verb", ["approve", "skip", "retry"])
def test_an_unknown_id_is_a_clear_error_and_changes_nothing(held: Feedwatch, verb: str) -> None:
    before = held.json("episodes")
    ended = held.here(verb, number(held, "guid-2"), 999, "--yes")
    assert ended.status in (1, 2)
    assert "999" in ended.stderr
    assert held.json("episodes") == before


@pytest.mark.parametrize("verb", ["approve", "skip", "retry"])
def test_no_episode_named_is_wrong_usage(feedwatch: Feedwatch, verb: str) -> None:
    assert feedwatch.here(verb, "--yes").status == 2


# skip


def test_skip_keeps_an_episode_from_ever_being_submitted(
    held: Feedwatch, feed_server: FeedServer, sandbox: Sandbox
) -> None:
    assert held.here("skip", number(held, "guid-2")).status == 0
    assert held.here("skip", "--feed", "show").status == 0
    assert set(held.states().values()) == {"skipped"}
    assert held.episode("guid-2")["reason"]
    feed_server.etags = False
    assert held.once().status == 0
    assert sandbox.submissions == []


def test_skip_of_what_is_ready_is_a_clear_error(feedwatch: Feedwatch) -> None:
    feedwatch.once()
    ended = feedwatch.here("skip", 1)
    assert ended.status == 1
    assert "ready" in ended.stderr
    assert feedwatch.states() == {"guid-1": "ready"}


# retry


def test_retry_submits_a_failed_episode_again(failed: Feedwatch, sandbox: Sandbox) -> None:
    assert "too short" in failed.episode()["reason"]
    failed.once()
    assert len(sandbox.submissions) == 1  # never by itself
    assert failed.here("retry", 1, "--yes").status == 0
    assert failed.states() == {"guid-1": "queued"}
    assert failed.once().status == 0
    assert failed.states() == {"guid-1": "ready"}
    assert len(sandbox.submissions) == 2


def test_retry_takes_all_that_are_failed(failed: Feedwatch) -> None:
    assert failed.here("retry", "--state", "failed", "--yes").status == 0
    assert failed.states() == {"guid-1": "queued"}


def test_retry_previews_and_without_a_terminal_wants_yes(failed: Feedwatch) -> None:
    ended = failed.here("retry", 1)
    assert ended.status == 2
    assert f"Episode 1  {audio(1)}" in ended.output, "with the address that will be sent"
    assert "--yes" in ended.stderr
    assert failed.states() == {"guid-1": "failed"}


def test_retry_takes_a_skipped_episode_back_but_no_held_one(held: Feedwatch) -> None:
    assert held.here("retry", number(held, "guid-1"), "--yes").status == 0
    ended = held.here("retry", number(held, "guid-2"), "--yes")
    assert ended.status == 1
    assert "held" in ended.stderr
    assert held.states() == {"guid-1": "queued", "guid-2": "held", "guid-3": "held"}


def test_retry_again_sends_a_ready_episode_and_says_what_it_costs(
    feedwatch: Feedwatch, sandbox: Sandbox
) -> None:
    feedwatch.once()
    assert feedwatch.states() == {"guid-1": "ready"}
    plain = feedwatch.here("retry", 1, "--yes")
    assert plain.status == 1
    assert "retry --again 1" in plain.stderr
    preview = feedwatch.here("retry", "--again", 1)
    assert preview.status == 2
    assert "Episode 1" in preview.output
    assert "costs money" in preview.output
    assert "published once more" in preview.output
    assert "--yes" in preview.stderr
    assert feedwatch.states() == {"guid-1": "ready"}
    before = feedwatch.episode()["processed_url"]
    assert feedwatch.here("retry", "--again", 1, "--yes").status == 0
    assert feedwatch.states() == {"guid-1": "queued"}
    assert "sent again by a person" in feedwatch.here("episodes").stdout
    assert before in feedwatch.here("export").stdout
    assert before in feedwatch.here("export", "--format", "rss").stdout
    assert feedwatch.once().status == 0
    assert feedwatch.once().status == 0
    assert feedwatch.states() == {"guid-1": "ready"}
    assert len(sandbox.submissions) == 2
    assert before not in feedwatch.here("export").stdout


def test_retry_again_asks_on_a_terminal_and_obeys(feedwatch: Feedwatch) -> None:
    feedwatch.once()
    ended = feedwatch.on_terminal("retry", "--again", 1, typed="n\n")
    assert "published once more" in ended.output
    assert feedwatch.states() == {"guid-1": "ready"}


def test_retry_again_is_for_ready_episodes_by_their_ids(failed: Feedwatch) -> None:
    assert failed.here("retry", "--again", 1, "--yes").status == 1
    assert failed.here("retry", "--again", "--state", "failed", "--yes").status == 2
    assert failed.states() == {"guid-1": "failed"}


@pytest.fixture
def mended(feedwatch: Feedwatch, sandbox: Sandbox, workspace: Workspace) -> Feedwatch:
    """Episode 1 is failed by an error that stood; its job is set by the test."""
    sandbox.faults.add(Fault("submit", "job_status", statuses=["ERROR"]))
    feedwatch.once("--timeout", 0)
    with closing(sqlite3.connect(workspace.database)) as db, db:
        db.execute("UPDATE episodes SET state = 'failed', reason = 'ERROR: r', due_at = NULL")
    assert feedwatch.states() == {"guid-1": "failed"}
    return feedwatch


def test_retry_takes_over_a_job_that_is_done_and_pays_nothing(
    mended: Feedwatch, sandbox: Sandbox, workspace: Workspace
) -> None:
    (media_id,) = sandbox.jobs
    sandbox.set_status(media_id, "READY")
    workspace.set(NOTIFY_COMMAND="true")
    ended = mended.here("retry", 1)
    with closing(sqlite3.connect(workspace.database)) as db:
        (event,) = db.execute("select body from outbox where channel = 'command'").fetchall()
    assert "episode.ready" in event[0], "it is told, whoever has made the episode ready"
    assert ended.status == 0, "nothing is submitted, so nothing is asked"
    assert "ready" in ended.output
    assert mended.states() == {"guid-1": "ready"}
    assert mended.once().status == 0
    assert len(sandbox.submissions) == 1


def test_retry_of_a_job_that_is_under_way_is_refused_and_it_is_polled_on(
    mended: Feedwatch, sandbox: Sandbox
) -> None:
    (media_id,) = sandbox.jobs
    sandbox.set_status(media_id, "PUBLISHING")
    ended = mended.here("retry", 1, "--yes")
    assert ended.status == 1
    assert "PUBLISHING" in ended.stderr
    assert mended.states() == {"guid-1": "failed"}
    sandbox.set_status(media_id, "READY")
    wait_for(lambda: mended.once().status == 0 and mended.states() == {"guid-1": "ready"})
    assert len(sandbox.submissions) == 1


def test_retry_of_a_job_that_shows_an_error_goes_on(mended: Feedwatch, sandbox: Sandbox) -> None:
    assert mended.here("retry", 1, "--yes").status == 0
    assert mended.once().status == 0
    assert mended.states() == {"guid-1": "ready"}
    assert len(sandbox.submissions) == 2


def test_retry_of_a_job_that_cannot_be_read_is_refused(mended: Feedwatch, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("poll", "status", status=503, times=None))
    ended = mended.here("retry", 1, "--yes")
    assert ended.status == 1
    assert "must be read first" in ended.stderr
    assert mended.states() == {"guid-1": "failed"}


def test_retry_of_many_leaves_out_those_that_are_under_way(
    mended: Feedwatch, sandbox: Sandbox, feed_server: FeedServer
) -> None:
    (media_id,) = sandbox.jobs
    sandbox.set_status(media_id, "PUBLISHING")
    feed_server.publish(1, 2)
    body = '{"error":"Bad","message":"too short"}'
    sandbox.faults.add(Fault("submit", "status", status=400, body=body))
    mended.once("--timeout", 0)
    assert mended.states() == {"guid-1": "failed", "guid-2": "failed"}
    ended = mended.here("retry", "--state", "failed", "--yes")
    assert ended.status == 0
    assert "PUBLISHING" in ended.output
    assert mended.states() == {"guid-1": "failed", "guid-2": "queued"}


def test_retry_of_several_is_one_decision_also_where_the_job_of_one_is_done(
    mended: Feedwatch, sandbox: Sandbox, feed_server: FeedServer, workspace: Workspace
) -> None:
    (media_id,) = sandbox.jobs
    workspace.set(FLOOD_LIMIT=1)
    feed_server.publish(1, 2)
    body = '{"error":"Bad","message":"too short"}'
    sandbox.faults.add(Fault("submit", "status", status=400, body=body))
    mended.once("--timeout", 0)
    feed_server.publish(1, 2, 3, 4)
    mended.once("--timeout", 0)
    before = {"guid-1": "failed", "guid-2": "failed", "guid-3": "held", "guid-4": "held"}
    assert mended.states() == before
    sandbox.set_status(media_id, "READY")
    polls = len(sandbox.polls.get(media_id, []))
    refused = mended.here("retry", 1, 2, 3, "--yes")
    assert (refused.status, mended.states()) == (1, before)
    assert "nothing was done:\n  episode 3 is held" in refused.stderr
    assert len(sandbox.polls.get(media_id, [])) == polls, "no job was read"
    asked = mended.here("retry", 1, 2)
    assert (asked.status, mended.states()) == (2, before)
    assert "episode 1: its job is done, so it becomes ready" in asked.stderr
    assert "1 episode will be submitted" in asked.stderr
    done = mended.here("retry", 1, 2, "--yes")
    assert (done.status, done.stdout) == (0, "1 queued\n")
    assert mended.states() == before | {"guid-1": "ready", "guid-2": "queued"}


def test_adopt_of_a_lost_episode_reads_the_job_that_it_has_first(
    mended: Feedwatch, sandbox: Sandbox, workspace: Workspace
) -> None:
    with closing(sqlite3.connect(workspace.database)) as db, db:
        db.execute("UPDATE episodes SET cause = 'lost'")
    (media_id,) = sandbox.jobs
    sandbox.set_status(media_id, "PUBLISHING")
    refused = mended.here("adopt", 1, "another")
    assert refused.status == 1
    assert "PUBLISHING" in refused.stderr
    sandbox.set_status(media_id, "READY")
    assert mended.here("adopt", 1, "another").status == 0
    assert mended.states() == {"guid-1": "ready"}
    assert mended.episode()["media_id"] == media_id


def test_adopt_of_what_is_not_unknown_is_a_clear_error(held: Feedwatch) -> None:
    ended = held.here("adopt", number(held, "guid-2"), "some-media-id")
    assert ended.status == 1
    assert "held" in ended.stderr
    assert held.states()["guid-2"] == "held"


# pause and resume

PAUSED = re.compile(
    r"^nothing is submitted: paused since 20\S+ \S+Z by cli:\S+; `feedwatch resume` ends it$",
    re.MULTILINE,
)


def test_pause_stops_submissions_but_no_poll_and_resume_restarts_them(
    feedwatch: Feedwatch, feed_server: FeedServer, sandbox: Sandbox
) -> None:
    assert feedwatch.once("--timeout", 0).status == 0
    assert feedwatch.here("pause").status == 0
    feed_server.publish(1, 2)
    ended = feedwatch("run", "--once")  # another process: the pause survives
    assert ended.status == 0
    assert PAUSED.search(ended.stderr), ended
    assert feedwatch.states() == {"guid-1": "ready", "guid-2": "queued"}
    assert [feed["state"] for feed in feedwatch.json("feeds")] == ["paused"]
    assert re.search(r"submissions  paused since .*Z by cli:\S+; ", feedwatch.here("status").stdout)
    assert PAUSED.search(feedwatch.here("check").stderr)
    assert len(sandbox.submissions) == 1
    assert feedwatch.here("resume").status == 0
    ended = feedwatch.once()
    assert (ended.status, "paused" in ended.stderr) == (0, False)
    assert set(feedwatch.states().values()) == {"ready"}
    assert [feed["state"] for feed in feedwatch.json("feeds")] == ["ok"]
    assert len(sandbox.submissions) == 2


def test_pause_of_one_feed_lets_the_others_go_on(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace
) -> None:
    feed_server.publish(11, path="/other.xml")
    workspace.add_feed("other", feed_server.url_of("/other.xml"), FIRST_RUN="all")
    feedwatch.once("--timeout", 0)
    assert feedwatch.here("pause", "--feed", "Show").status == 0
    feed_server.publish(1, 2)
    feed_server.publish(11, 12, path="/other.xml")
    assert feedwatch.once().status == 0
    assert feedwatch.states() == {
        "guid-1": "ready",
        "guid-2": "queued",
        "guid-11": "ready",
        "guid-12": "ready",
    }
    states = {feed["name"]: feed["state"] for feed in feedwatch.json("feeds")}
    assert states == {"show": "paused", "other": "ok"}
    of_feed = "paused since 20.*Z by cli:.*; `feedwatch resume --feed show` ends it"
    assert re.search(f"^  show: {of_feed}$", feedwatch.here("status").stdout, re.MULTILINE)
    resting = re.compile(f"^feed show: nothing is submitted: {of_feed}$", re.MULTILINE)
    for said in (feedwatch.once("--timeout", 0), feedwatch.here("check", "show")):
        assert resting.search(said.stderr)
    assert not resting.search(feedwatch.here("check", "other").stderr)
    resumed = feedwatch.here("resume").output
    assert "all feeds but show: new submissions are on" in resumed
    assert "and still so: show" in resumed
    assert feedwatch.here("resume", "--feed", "show").status == 0
    assert "and still so" not in feedwatch.here("resume").output
    assert feedwatch.once().status == 0
    assert set(feedwatch.states().values()) == {"ready"}


def test_what_is_approved_under_a_pause_is_said_to_wait_for_its_end(held: Feedwatch) -> None:
    assert held.here("pause").status == 0
    ended = held.here("approve", "--feed", "show", "--yes")
    assert ended.status == 0
    assert PAUSED.search(ended.stderr), ended
    assert not PAUSED.search(held.here("skip", 2).stderr)


@pytest.mark.parametrize("feed", [(), ("--feed", "show")], ids=["all feeds", "one feed"])
def test_pause_works_before_the_first_run(
    feedwatch: Feedwatch, sandbox: Sandbox, feed: tuple[str, ...]
) -> None:
    ended = feedwatch.here("pause", *feed)
    assert ended.status == 0, ended.stderr
    assert feedwatch.once("--timeout", 1).status == 0
    assert sandbox.submissions == []


DECISIONS = {
    "approve": ("approve", "--feed", "show", "--yes"),
    "skip": ("skip", "2"),
    "retry": ("retry", "2"),
    "adopt": ("adopt", "2", "some-job"),
}


@pytest.mark.parametrize("verb", DECISIONS)
def test_a_decision_with_an_edited_config_changes_no_feed_and_adds_none(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace, verb: str
) -> None:
    assert feedwatch.once().status == 0
    workspace.set(FLOOD_LIMIT=0)
    feed_server.publish(1, 2)
    assert feedwatch.once().status == 4
    workspace.add_feed("late", feed_server.url_of("/late.xml"))
    workspace.set(FEEDS__SHOW__URL=None, FEEDS__SHOW__PODCAST_ID=None, FEEDS__SHOW__FIRST_RUN=None)
    with closing(sqlite3.connect(workspace.database)) as db:
        before = db.execute("select * from feeds").fetchall()
        feedwatch.here(*DECISIONS[verb])  # some are refused, for what the episode is
        assert db.execute("select * from feeds").fetchall() == before


@pytest.mark.parametrize("verb", one_in(2, ["pause", "resume"]))
def test_a_verb_with_an_edited_config_changes_nothing_that_the_daemon_watches(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace, sandbox: Sandbox, verb: str
) -> None:
    daemon = feedwatch.start("run")
    daemon.until(lambda: sandbox.submissions, "the first submission")
    before = {feed["name"]: feed for feed in feedwatch.json("feeds")}
    workspace.add_feed("late", feed_server.url_of("/late.xml"))
    workspace.set(FEEDS__SHOW__URL=None, FEEDS__SHOW__PODCAST_ID=None, FEEDS__SHOW__FIRST_RUN=None)
    assert feedwatch.here(verb, "--feed", "late").status == 0
    feed_server.publish(1, 2)
    daemon.until(lambda: len(sandbox.submissions) == 2, "a submission of its own feed")
    assert before.keys() == {"show"}
    assert daemon.stop().status == 0
    assert feed_server.count("/late.xml") == 0
    (late,) = feedwatch.json("feeds")
    assert late["state"] == ("paused" if verb == "pause" else "new")


def test_pause_of_an_unknown_feed_is_a_clear_error(held: Feedwatch) -> None:
    ended = held.here("pause", "--feed", "shaw")
    assert ended.status in (1, 2)
    assert "shaw" in ended.stderr
    assert "show" in ended.stderr
