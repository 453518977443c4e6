"""`feeds`, `episodes`, `show` and `status`: what programs and people get to read."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from feedwatch.cli.verbs import VERBS
from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.server import Sandbox
from tests.support import KEY, FeedServer, Feedwatch, Workspace, audio, item

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
LONG = "A very long title " + " ".join(f"word{number}" for number in range(60))
STATES = {"held", "skipped", "queued", "submitting", "unknown", "processing", "ready", "failed"}
EPISODE = {
    "id": int,
    "feed": str,
    "guid": str,
    "title": str,
    "enclosure_url": str,
    "published_at": str,
    "state": str,
    "reason": str,
    "media_id": str,
    "remote_status": str,
    "processed_url": str,
    "duration": (int, float),
    "attempts": int,
    "first_seen_at": str,
    "submitted_at": str,
    "finished_at": str,
}
ALWAYS = {"id", "feed", "title", "enclosure_url", "state", "attempts", "first_seen_at"}


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Feedwatch]:
    """A feedwatch that has lived a little; these tests only read.

    Feed `show`: 1 skipped, 2 ready, 3 failed. Feed `other`: 11 skipped, 12 held. Feed `broken`
    fails, feed `fresh` was never checked.
    """
    with Sandbox(api_key=KEY, job_seconds=0) as sandbox, FeedServer(as_time_passes=True) as feeds:
        workspace = Workspace(tmp_path_factory.mktemp("lived"), sandbox.url)
        workspace.add_feed("show", feeds.url, FIRST_RUN="latest:1")
        workspace.add_feed("other", feeds.url_of("/other.xml"), FLOOD_LIMIT=0)
        workspace.add_feed("broken", feeds.url_of("/nothing.xml"))
        feedwatch = Feedwatch(workspace)
        feeds.publish(1, item(2, title=LONG))
        feeds.publish(11, path="/other.xml")
        assert feedwatch.once().status == 3
        feeds.publish(1, item(2), 3)
        bare = f'<item><enclosure url="{audio(12)}" length="1" type="audio/mpeg"/></item>'
        feeds.publish(11, bare, path="/other.xml")
        refusal = '{"error":"Bad Request","message":"too short"}'
        sandbox.faults.add(Fault(on="submit", kind="status", status=400, body=refusal))
        assert feedwatch.once().status == 3
        workspace.add_feed("fresh", feeds.url_of("/fresh.xml"))
        yield feedwatch


def is_stamp(value: object) -> bool:
    return isinstance(value, str) and STAMP.fullmatch(value) is not None


def of(documents: list[dict[str, Any]], **wanted: object) -> dict[str, Any]:
    """The one document with these values."""
    (found,) = (one for one in documents if wanted.items() <= one.items())
    return found


# Programs


def test_episodes_json_has_the_promised_fields_and_null_for_what_is_not_known(
    lived: Feedwatch,
) -> None:
    episodes = lived.json("episodes")
    assert len(episodes) == 5
    for episode in episodes:
        assert set(EPISODE) <= set(episode)
        for name, kind in EPISODE.items():
            known = episode[name] is not None or name in ALWAYS
            assert not known or isinstance(episode[name], kind), (name, episode[name])  # type: ignore[arg-type]
            assert not known or not name.endswith("_at") or is_stamp(episode[name])
        assert episode["state"] in STATES
    ready = of(episodes, state="ready")
    assert [name for name in EPISODE if ready[name] is None] == ["reason"]
    skipped = of(episodes, guid="guid-1")
    assert [name for name in EPISODE if skipped[name] is None] == [
        "media_id",
        "remote_status",
        "processed_url",
        "duration",
        "submitted_at",
        "finished_at",
    ]
    held = of(episodes, state="held")
    assert (held["guid"], held["published_at"]) == (None, None)
    failed = of(episodes, state="failed")
    assert "too short" in failed["reason"]
    assert failed["processed_url"] is None
    assert is_stamp(failed["finished_at"])


def test_episodes_are_listed_newest_first(lived: Feedwatch) -> None:
    guids = [one["guid"] for one in lived.json("episodes")]
    # The one without a date is new by when it was seen.
    assert guids == [None, "guid-3", "guid-11", "guid-2", "guid-1"]


def test_episodes_can_be_narrowed_down_by_feed_state_and_number(lived: Feedwatch) -> None:
    def guids(*args: str | int) -> list[str]:
        return [one["guid"] for one in lived.json("episodes", *args)]

    assert guids("--feed", "show") == ["guid-3", "guid-2", "guid-1"]
    assert guids("--feed", "SHOW", "--limit", 2) == ["guid-3", "guid-2"]
    assert guids("--state", "skipped") == ["guid-11", "guid-1"]
    assert guids("--state", "skipped", "--feed", "show") == ["guid-1"]
    assert guids("--state", "unknown") == []


def test_an_unknown_feed_or_state_is_named_with_what_there_is(lived: Feedwatch) -> None:
    ended = lived.here("episodes", "--feed", "shaw")
    assert ended.status in (1, 2)
    assert "shaw" in ended.stderr
    assert "show" in ended.stderr
    ended = lived.here("episodes", "--state", "done")
    assert ended.status == 2
    assert "ready" in ended.stderr


def test_show_json_is_the_episode_with_its_history(lived: Feedwatch) -> None:
    listed = of(lived.json("episodes"), guid="guid-2")
    shown = lived.json("show", listed["id"])
    assert listed.items() <= shown.items()
    history = shown["history"]
    for move in history:
        assert set(move) == {"at", "state", "reason", "actor", "step"}
        assert is_stamp(move["at"])
    assert [move["state"] for move in history] == ["queued", "submitting", "processing", "ready"]
    assert [move["at"] for move in history] == sorted(move["at"] for move in history)


def test_show_tells_why_an_episode_was_skipped_or_failed_and_what_can_be_done(
    lived: Feedwatch,
) -> None:
    episodes = lived.json("episodes")
    for guid, words in (("guid-1", "first run"), ("guid-3", "too short")):
        number = of(episodes, guid=guid)["id"]
        assert any(
            words in (move["reason"] or "") for move in lived.json("show", number)["history"]
        )
        text = lived.here("show", number).stdout
        assert words in text
        assert f"feedwatch retry {number}" in text


def test_show_of_an_unknown_id_is_an_error_and_says_nothing_on_standard_output(
    lived: Feedwatch,
) -> None:
    ended = lived.here("show", 999, "--json")
    assert ended.status in (1, 2)
    assert "999" in ended.stderr
    assert ended.stdout == ""


def test_feeds_json_has_the_promised_fields_for_every_state_of_a_feed(lived: Feedwatch) -> None:
    feeds = lived.json("feeds")
    for feed in feeds:
        times = ("last_checked_at", "last_success_at", "last_new_at", "next_check_at")
        assert {"name", "url", "state", *times, "failures", "error", "episodes"} <= set(feed)
        assert all(feed[name] is None or is_stamp(feed[name]) for name in times)
        assert set(feed["episodes"]) <= STATES
    show, other = of(feeds, name="show"), of(feeds, name="other")
    broken, fresh = of(feeds, name="broken"), of(feeds, name="fresh")
    assert (show["state"], show["failures"], show["error"]) == ("ok", 0, None)
    assert all(is_stamp(show[name]) for name in ("last_checked_at", "last_success_at"))
    assert is_stamp(show["last_new_at"])
    assert is_stamp(show["next_check_at"])
    assert {state: count for state, count in show["episodes"].items() if count} == {
        "skipped": 1,
        "ready": 1,
        "failed": 1,
    }
    assert other["episodes"]["held"] == 1
    assert (broken["state"], broken["failures"]) == ("failing", 2)
    assert "404" in broken["error"]
    assert is_stamp(broken["last_checked_at"])
    assert broken["last_success_at"] is None
    assert (fresh["state"], fresh["failures"], fresh["last_checked_at"]) == ("new", 0, None)


def test_status_says_what_needs_a_person_as_the_notifications_do(lived: Feedwatch) -> None:
    troubles = lived.json("status")["troubles"]
    assert {trouble["kind"] for trouble in troubles} >= {"held"}
    said = lived.here("status").stdout
    for trouble in troubles:
        assert f"- {trouble['text']}" in said


def test_status_tells_what_waits_for_a_person_and_ends_with_4(lived: Feedwatch) -> None:
    ended = lived.here("status")
    assert ended.status == 4
    held = of(lived.json("episodes"), state="held")
    assert re.search(rf"^\s*{held['id']}\b.*held", ended.stdout, re.MULTILINE)
    assert "1 ready" in ended.stdout
    assert "1 failed" in ended.stdout
    assert "run --once   in time" in ended.stdout
    assert "broken" in ended.stdout
    assert lived.here("status", "--json").status == 4


# People


@pytest.mark.parametrize("verb", ["feeds", "episodes", "status", "show 2", "check"])
def test_what_people_read_has_no_control_codes_in_a_pipe(lived: Feedwatch, verb: str) -> None:
    ended = lived.here(*verb.split())
    assert ended.stdout
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", ended.output)


def test_nothing_is_cut_off_in_a_pipe(lived: Feedwatch) -> None:
    ended = lived("episodes")
    assert "…" not in ended.stdout
    assert all(word in ended.stdout for word in LONG.split())
    for episode in lived.json("episodes"):
        if episode["processed_url"]:
            assert episode["processed_url"] in ended.stdout  # in one piece, to be copied or grepped


def test_tables_have_a_heading_and_feeds_show_the_reason_of_a_failure(lived: Feedwatch) -> None:
    heading, *lines = lived.here("feeds").stdout.splitlines()
    assert "state" in heading
    (broken,) = (line for line in lines if line.startswith("broken"))
    assert "failing" in broken
    assert "404" in broken


def test_a_terminal_gets_colours_unless_no_color_is_set(lived: Feedwatch) -> None:
    assert "\x1b[" in lived.on_terminal("feeds").stdout
    colours = re.compile(r"\x1b\[[\d;]*(3[0-8]|4[0-8]|9[0-7])[;m]")
    assert not colours.search(lived.on_terminal("feeds", env={"NO_COLOR": "1"}).stdout)


def test_progress_is_shown_on_a_terminal_and_not_with_no_color(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace
) -> None:
    progress = re.compile(r" 1 (queued|processing|ready)$", re.MULTILINE)
    shown = feedwatch.on_terminal("run", "--once").stdout
    assert progress.search(shown)
    log = [line for line in re.split(r"[\r\n]|\x1b\[\S*?[A-Za-z]", shown) if " INFO " in line]
    wide = str(workspace.database)
    assert any(line.endswith(wide) for line in log), "wider than the terminal, and whole"
    assert all(STAMP.match(line) for line in log)
    feed_server.publish(1, 2)
    ended = feedwatch.on_terminal("run", "--once", env={"NO_COLOR": "1"})
    assert ended.status == 0
    assert not re.search(r"[\x1b\r]", ended.stdout)
    assert not progress.search(ended.stdout)


def test_a_reader_that_has_seen_enough_gets_no_traceback(lived: Feedwatch) -> None:
    for verb in ("episodes", "episodes --json", "export"):
        command = shlex.join(lived.command(*verb.split()))
        ended = subprocess.run(
            f"{command} | true",
            shell=True,
            capture_output=True,
            env=lived.environment(),
            check=False,
        )
        assert ended.stderr == b"", ended.stderr.decode()


def test_an_empty_database_reads_as_empty_and_is_not_made(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    assert feedwatch.json("episodes") == []
    (feed,) = feedwatch.json("feeds")
    assert feed["state"] == "new"
    assert feedwatch.here("status").status == 0
    assert feedwatch.here("episodes", "--feed", "show").status == 0
    assert not list(Path(workspace.folder).rglob("*.db*"))


READING: dict[str, list[str]] = {
    "check": [],
    "doctor": [],
    "episodes": [],
    "export": [],
    "feeds": [],
    "healthcheck": [],
    "log": [],
    "podcasts": [],
    "rhythm": ["show"],
    "show": ["1"],
    "status": [],
}
ACTING = {"adopt", "approve", "backup", "demo", "pause", "prune", "resume", "retry", "run"}
ACTING |= {"sandbox", "skip", "web", "add", "init", "remove", "import", "refresh", "completion"}


def test_every_verb_that_reads_has_json_and_writes_one_document(feedwatch: Feedwatch) -> None:
    assert READING.keys() | ACTING | {"daemons"} == VERBS.keys()  # which has its own test
    feedwatch.once()
    for name, arguments in READING.items():
        assert feedwatch.here(name, *arguments, "--json").json, name
    assert (
        feedwatch.here("export", "--json").json == feedwatch.here("export", "--format", "json").json
    )


def test_healthcheck_says_in_json_what_is_wrong(feedwatch: Feedwatch, workspace: Workspace) -> None:
    ended = feedwatch.here("healthcheck", "--json")
    assert (ended.status, ended.json["healthy"]) == (5, False)
    assert len(ended.json["problems"]) == 1
    feedwatch.once()
    ended = feedwatch.here("healthcheck", "--json")
    assert (ended.status, ended.json) == (0, {"healthy": True, "problems": []})
