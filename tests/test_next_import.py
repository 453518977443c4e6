"""What `check` and `doctor` know before a start: of the journal, and of a sandbox's episodes."""

import re
import sqlite3
from contextlib import closing

import pytest

from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.server import Sandbox
from feedwatch.store.store import Store
from feedwatch.watcher.overview import only_at_a_sandbox
from tests.support import FeedServer, Feedwatch, Workspace, item
from tests.test_ownership import back_up, lose, put_back

REAL = "http://api.invalid"  # no name of RFC 2606's "invalid" is ever found


def decisions(feedwatch: Feedwatch, feed: str = "show") -> dict[str, str]:
    """What `check` says of each item, by guid."""
    (found,) = feedwatch.json("check", feed)
    return {one["guid"]: f"{one['decision']}: {one['reason']}" for one in found["items"]}


def test_check_of_a_lost_database_says_what_the_journal_has_paid_and_what_is_held_for_it(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace, sandbox: Sandbox
) -> None:
    assert feedwatch.once().status == 0
    lose(workspace)
    feed_server.publish(item(2), 1)
    before = {path: path.read_bytes() for path in workspace.folder.glob("*.*")}
    said = decisions(feedwatch)
    assert said["guid-1"].startswith("known: submitted on ")
    assert said["guid-1"].endswith("as the journal has it: becomes processing")
    assert said["guid-2"].startswith("hold: published before ")
    assert {path: path.read_bytes() for path in workspace.folder.glob("*.*")} == before
    ended = feedwatch.once()
    assert ended.status == 4
    assert feedwatch.states() == {"guid-1": "ready", "guid-2": "held"}
    assert len(sandbox.submissions) == 1
    assert "feed show: 0 new to submit, 1 held, 0 skipped" in ended.stderr, "one waits, not two"
    assert numbers_of_import(ended.stderr) == [1, 0, 0, 1, 0]


def test_the_numbers_of_an_import_add_up(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace, sandbox: Sandbox
) -> None:
    assert feedwatch.once().status == 0
    copy = back_up(workspace)
    body = '{"error":"Bad","message":"too short"}'
    sandbox.faults.add(Fault("submit", "status", status=400, body=body))
    feed_server.publish(2, 1)
    assert feedwatch.once().status == 1
    feedwatch.here("retry", "--again", 1, "--yes")
    feedwatch.here("retry", feedwatch.episode("guid-2")["id"], "--yes")
    assert feedwatch.once().status == 0
    put_back(workspace, copy)
    said = numbers_of_import(feedwatch.once().stderr)
    assert said == [3, 0, 0, 1, 2], "one for a ready episode, and a refused one"


def numbers_of_import(log: str) -> list[int]:
    """Claims, and of these polled, in doubt, not met and without an effect."""
    (line,) = (one for one in log.splitlines() if "the journal has" in one)
    numbers = [int(number) for number in re.findall(r"(?:has|:) (\d+)", line)]
    assert numbers[0] == sum(numbers[1:]), line
    return numbers


def test_check_says_known_of_what_first_run_alone_would_skip_since_it_becomes_ready(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    assert feedwatch.once().status == 0
    lose(workspace)
    workspace.set(FEEDS__SHOW__FIRST_RUN="none")
    assert decisions(feedwatch)["guid-1"].startswith("known: submitted on ")
    assert feedwatch.once().status == 0
    assert feedwatch.states() == {"guid-1": "ready"}


def test_check_of_a_restored_copy_says_which_submission_is_in_doubt(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace, sandbox: Sandbox
) -> None:
    assert feedwatch.once().status == 0
    copy = back_up(workspace)
    feed_server.publish(2, 1)
    sandbox.faults.add(Fault(on="submit", kind="drop_after"))
    assert feedwatch.once().status == 4
    put_back(workspace, copy)
    said = decisions(feedwatch)
    assert said["guid-1"].startswith("known: known as episode 1")
    assert said["guid-2"].endswith("as the journal has it: becomes unknown")
    assert feedwatch.once().status == 4
    assert feedwatch.states() == {"guid-1": "ready", "guid-2": "unknown"}


def test_check_knows_a_claim_that_was_taken_over_and_still_waits_for_its_item(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace
) -> None:
    assert feedwatch.once().status == 0
    lose(workspace)
    feed_server.publish(item(2))
    assert feedwatch.once().status == 4
    feed_server.publish(item(2), 1)
    assert decisions(feedwatch)["guid-1"].endswith("becomes processing")
    assert feedwatch.once().status == 4
    assert feedwatch.states() == {"guid-1": "ready", "guid-2": "held"}


def test_check_asks_the_journal_whether_another_feed_has_paid(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace, sandbox: Sandbox
) -> None:
    feedwatch.once("--timeout", 0)
    feedwatch.here("pause")
    feed_server.publish(2, 1)
    feedwatch.once("--timeout", 0)
    assert feedwatch.states()["guid-2"] == "queued"
    copy = back_up(workspace)
    feedwatch.here("resume")
    assert feedwatch.once().status == 0
    put_back(workspace, copy)
    feedwatch.here("resume")
    feed_server.publish(2, path="/other.xml")
    workspace.add_feed("other", feed_server.url_of("/other.xml"), FIRST_RUN="all")
    assert "already submitted as episode 2 of feed show" in decisions(feedwatch, "other")["guid-2"]
    feedwatch.once()
    assert len(sandbox.submissions) == 2


def test_doctor_says_what_the_database_lacks_and_what_the_next_start_does(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    assert feedwatch.once().status == 0
    assert feedwatch.here("doctor").status == 0
    lose(workspace)
    ended = feedwatch.here("doctor")
    assert ended.status == 1
    assert "the journal has 1 claim that this database lacks: 1 accepted, 0 in doubt" in (
        ended.stdout
    )
    assert "the next start takes them over" in ended.stdout
    assert "held, in: show" in ended.stdout
    assert not workspace.database.exists()
    feedwatch.once()
    assert feedwatch.here("doctor").status == 0


# A sandbox's episodes


@pytest.fixture
def tried(feedwatch: Feedwatch, workspace: Workspace) -> Feedwatch:
    """A database with an episode that a sandbox had, and a config with another API."""
    assert feedwatch.once().status == 0
    workspace.set(API_URL=REAL, POLL_INTERVAL="30s")
    return feedwatch


def test_check_and_run_say_once_which_episodes_only_a_sandbox_had(tried: Feedwatch) -> None:
    for ended in (tried.here("check"), tried.once("--timeout", 0)):
        assert ended.status == 0
        said = "1 episode submitted to a sandbox and never to http://api.invalid:80"
        assert ended.stderr.count(said) == 1
        assert "FEEDWATCH_DATABASE_URL" in ended.stderr


def test_doctor_says_which_episodes_only_a_sandbox_had_and_how_to_have_them_submitted(
    tried: Feedwatch,
) -> None:
    found = {one["check"]: one for one in tried.json("doctor")}
    assert found["sandbox"]["found"].endswith(": episode 1")
    assert "FEEDWATCH_FIRST_RUN" in found["sandbox"]["mend"]
    assert "journal and database" not in found


def test_with_a_database_of_its_own_the_real_api_is_not_said_to_lack_anything(
    tried: Feedwatch, workspace: Workspace
) -> None:
    workspace.set(DATABASE_URL="sqlite:///real.db")
    ended = tried.here("check")
    assert "sandbox" not in ended.stderr
    assert decisions(tried) == {"guid-1": "submit: new"}


def test_an_episode_that_the_real_api_had_too_is_no_sandboxs(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    assert feedwatch.once().status == 0
    with closing(Store(f"sqlite:///{workspace.database}", processor="inlet")) as store:
        assert only_at_a_sandbox(store, {"inlet": "http://127.0.0.1:1"}) is None
        assert only_at_a_sandbox(store, {"inlet": REAL}) is not None
    with closing(sqlite3.connect(workspace.database)) as db:
        db.execute("update claims set api = ?", (REAL,))
        db.commit()
    with closing(Store(f"sqlite:///{workspace.database}", processor="inlet")) as store:
        assert only_at_a_sandbox(store, {"inlet": REAL}) is None
