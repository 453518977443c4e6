"""`doctor`, `podcasts`, `sandbox`, and wrong usage."""

import re
from pathlib import Path
from typing import Any

import pytest

from feedwatch.sandbox.server import Sandbox
from tests.receiver import Receiver
from tests.support import MORE_PODCASTS, Beside, FeedServer, Feedwatch, Workspace

# doctor


def test_doctor_finds_nothing_where_all_is_well_and_writes_nothing(
    feedwatch: Feedwatch, workspace: Workspace, sandbox: Sandbox
) -> None:
    ended = feedwatch.here("doctor")
    assert ended.status == 0, ended
    for checked in ("config", "database", "clock", "key", "podcast", "feed"):
        assert checked in ended.stdout.lower()
    assert feedwatch.here("doctor", "--json").status == 0
    assert sandbox.submissions == []
    assert not workspace.database.exists()


def broken(feedwatch: Feedwatch) -> Any:
    """What `doctor` finds wrong, as text."""
    ended = feedwatch.here("doctor")
    assert ended.status == 1, ended
    assert feedwatch.here("doctor", "--json").status == 1
    return ended.stdout


def test_doctor_finds_a_wrong_key_and_says_which_setting_to_mend(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    workspace.set(API_KEY="wr0ng")
    said = broken(feedwatch)
    assert "401" in said
    assert "FEEDWATCH_API_KEY" in said
    assert "wr0ng" not in said
    assert "podcast id of show: podcast-1, not asked for" in said, "what was not looked at is told"
    workspace.set(API_KEY="your-key")
    assert "placeholder" not in broken(feedwatch), "a sandbox may take any key"


def test_doctor_finds_a_wrong_podcast_id_and_says_where_the_right_ones_are(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    workspace.set(FEEDS__SHOW__PODCAST_ID="podcast-9")
    said = broken(feedwatch)
    assert "podcast-9" in said
    assert "feedwatch podcasts" in said
    assert "FEEDWATCH_FEEDS__SHOW__PODCAST_ID" in said


def test_doctor_finds_a_dead_feed_and_says_which_setting_to_mend(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace
) -> None:
    workspace.add_feed("dead", feed_server.url_of("/nothing.xml"))
    said = broken(feedwatch)
    assert "404" in said
    assert "FEEDWATCH_FEEDS__DEAD__URL" in said


def test_doctor_finds_an_api_that_does_not_answer(feedwatch: Feedwatch, sandbox: Sandbox) -> None:
    sandbox.stop()
    assert "FEEDWATCH_API_URL" in broken(feedwatch)


def test_doctor_finds_a_channel_that_does_not_work_and_sends_a_test_only_when_told_to(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    workspace.set(NOTIFY_COMMAND="no-such-program --token s3cret")
    said = broken(feedwatch)
    assert "there is no program 'no-such-program'" in said
    assert "FEEDWATCH_NOTIFY_" in said
    with Receiver() as receiver:
        workspace.set(
            NOTIFY_COMMAND="true",
            NOTIFY_WEBHOOK_URL=receiver.url,
            NOTIFY_WEBHOOK_SECRET="x" * 32,
        )
        assert feedwatch.here("doctor").status == 0
        assert receiver.posts == []
        assert feedwatch.here("doctor", "--notify").status == 0
        assert receiver.types == ["test"]
        receiver.status = 403
        ended = feedwatch.here("doctor", "--notify")
        assert ended.status == 1
        assert "the server answered 403" in ended.stdout
        assert "s3cret" not in said + ended.output


def test_doctor_finds_a_config_that_everybody_can_read(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    workspace.config.chmod(0o644)
    assert "chmod" in broken(feedwatch)


def test_doctor_finds_a_database_that_cannot_be_used(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    workspace.database.write_bytes(b"this is no database" * 100)
    said = broken(feedwatch)
    assert "feedwatch.db" in said


def test_a_journal_that_no_place_takes_is_told_by_doctor_and_status(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    places = [Path(f"{path}.claims") for path in (workspace.config, workspace.database)]
    assert {one["place"]: one["problem"] for one in feedwatch.json("status")["journal"]} == {
        str(path): None for path in places
    }
    assert "journal " not in feedwatch.here("status").stdout
    places[0].mkdir()
    assert "journal " not in feedwatch.here("status").stdout
    places[1].symlink_to(workspace.config)
    assert "no place of it can be written" in feedwatch.here("status").stdout
    assert all(one["problem"] for one in feedwatch.json("status")["journal"])
    assert "it is no regular file" in broken(feedwatch)


# podcasts


def test_podcasts_lists_ids_and_names(feedwatch: Feedwatch) -> None:
    ended = feedwatch.here("podcasts", "--json")
    assert ended.status == 0
    assert [{"id": one["id"], "name": one["name"]} for one in ended.json] == [
        {"id": "podcast-1", "name": "The show"},
        {"id": "podcast-2", "name": "Another show"},
        *({"id": podcast, "name": "One more"} for podcast in MORE_PODCASTS),
    ]
    said = feedwatch.here("podcasts").stdout
    assert re.search(r"podcast-2\s+Another show", said)


def test_podcasts_with_a_wrong_key_is_a_clear_error(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    workspace.set(API_KEY="wr0ng")
    ended = feedwatch.here("podcasts")
    assert (ended.status, ended.stdout) == (1, "")
    assert "FEEDWATCH_API_KEY" in ended.stderr


# sandbox


def test_sandbox_prints_lines_that_make_a_usable_config_and_ends_by_a_signal(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace
) -> None:

    def watch(running: Beside) -> None:
        running.until(lambda: "What it was sent" in running.stdout, "the config lines")
        lines = [line for line in running.stdout.splitlines() if line.startswith("FEEDWATCH_")]
        more = [f"FEEDWATCH_FEEDS__SHOW__URL={feed_server.url}", "FEEDWATCH_FIRST_RUN=all"]
        more.append("FEEDWATCH_PIPELINE=enhance,ads")
        lines = [re.sub(r"(POLL_INTERVAL)=.*", r"\1=0.1s", line) for line in lines]
        workspace.write("\n".join([*lines, *more]))
        ended = feedwatch("run", "--once")
        assert ended.status == 0, ended

    sandbox = ("sandbox", "--port", 0, "--job-seconds", 0)
    assert feedwatch.while_it_runs(sandbox, watch).status == 0
    assert feedwatch.states() == {"guid-1": "ready"}


def test_sandbox_on_a_port_in_use_is_a_clear_error(feedwatch: Feedwatch, sandbox: Sandbox) -> None:
    ended = feedwatch.here("sandbox", "--port", sandbox.port, config=False)
    assert ended.status == 1
    assert str(sandbox.port) in ended.stderr
    assert "Traceback" not in ended.stderr


# Wrong usage


@pytest.mark.parametrize(
    "line",
    [
        "wach",
        "run --ones",
        "run --once --timeout -1",
        "run --once --timeout soon",
        "episodes --state done",
        "episodes --limit none",
        "show",
        "show one",
        "adopt 1",
        "export --format pdf",
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(feedwatch: Feedwatch, line: str) -> None:
    ended = feedwatch.here(*line.split())
    assert (ended.status, ended.stdout) == (2, "")
    assert "Error" in ended.stderr


def test_what_is_no_number_is_told_in_plain_words(feedwatch: Feedwatch) -> None:
    for verb in ("show", "retry", "adopt"):
        said = feedwatch.here(verb, "one", "m").stderr
        assert "'one' is not a valid episode's id" in said
        assert "`feedwatch episodes` lists them" in said
    assert "'soon' is not a valid number." in feedwatch.here("run", "--timeout", "soon").stderr
    assert "'x' is not a valid whole number." in feedwatch.here("episodes", "--limit", "x").stderr


VERBS = (
    "run check feeds episodes show approve skip retry adopt pause resume status doctor podcasts "
    "export backup prune sandbox demo web healthcheck"
)


@pytest.mark.parametrize("verb", VERBS.split())
def test_every_verb_has_help_and_stands_in_the_list_of_all(feedwatch: Feedwatch, verb: str) -> None:
    ended = feedwatch.here(verb, "--help", config=False)
    assert ended.status == 0
    assert verb in ended.stdout
    assert re.search(rf"^\s+{verb}\s+\S", feedwatch.here("--help").stdout, re.MULTILINE)
