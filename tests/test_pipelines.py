"""Pipelines through both APIs of the sandbox: from a feed to the processed URL, by the verbs."""

import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from feedwatch.cli.sandbox import mediaapis_lines
from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.server import APP_SECRET
from tests.support import Beside, Running, Scene, audio, scene, wait_for
from tests.test_reload import reload


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Scene]:
    """Jobs that take a second, so that their ends come after the answers to their submissions."""
    with scene(tmp_path, job_seconds=1.0) as world:
        yield world


def configure(world: Scene, pipeline: str, **keys: str | int) -> None:
    """Give the feed a pipeline, and the config what its steps need."""
    lines = (line.partition("=") for line in mediaapis_lines(world.sandbox.url))
    media: dict[str, str | int] = {key.removeprefix("FEEDWATCH_"): text for key, _, text in lines}
    world.workspace.set(**media | keys, PIPELINE=pipeline)


def with_callbacks() -> dict[str, str]:
    """The keys of a public side, on a port that was free just now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = f"127.0.0.1:{free.getsockname()[1]}"
    return {"PUBLIC_LISTEN": place, "PUBLIC_URL": f"http://{place}"}


def posts(world: Scene) -> list[str]:
    """What each POST that came was for, in their order."""
    sent = [one.body for one in world.sandbox.submissions if isinstance(one.body, dict)]
    return [_step_of(body) for body in sent]


def _step_of(body: dict[str, Any]) -> str:
    return "ads" if "name" in body else "enhance" if "output" in body else "diagnose"


def ended(world: Scene) -> list[tuple[str, str]]:
    """The steps of the episode that have ended, and how."""
    shown = world.feedwatch.here("show", 1, "--json").json
    return [(one["step"], one["outcome"]) for one in shown["steps"]]


def until_ready(world: Scene, daemon: Running | Beside) -> None:
    daemon.until(lambda: "→ ready" in daemon.stderr, "the processed URL")


def test_an_episode_goes_through_three_steps_each_paid_once_and_its_end_told_by_a_callback(
    slow: Scene,
) -> None:
    # Without the callbacks the test would have to wait for the polls of an hour later.
    configure(slow, "diagnose,enhance?,ads", MEDIAAPIS_POLL_INTERVAL="1h", **with_callbacks())
    slow.workspace.set(FEEDS__SHOW__ENHANCE='{"content": {"type": "interview"}}')
    told = slow.feedwatch.while_it_runs(["run"], lambda daemon: until_ready(slow, daemon))
    assert told.status == 0, told
    diagnose, enhance, ads = slow.sandbox.taken
    assert posts(slow) == ["diagnose", "enhance", "ads"]
    assert slow.sandbox.taken_by("mediaapis") == 2
    assert diagnose["input"] == enhance["input"] == audio(1)
    assert enhance["content"] == {"type": "interview"}
    shown = slow.feedwatch.here("show", 1, "--json").json
    assert [one["outcome"] for one in shown["steps"]] == ["done"] * 3
    assert shown["steps"][0]["result"]["audio"]["quality_score"]
    assert ads["url"] == shown["steps"][1]["url"]
    assert ads["url"].startswith(f"{slow.sandbox.url}/public/show/1-")
    assert shown["processed_url"] == shown["steps"][2]["url"]
    calls = [one["on_complete"]["url"] for one in (diagnose, enhance)]
    assert len(set(calls)) == 2


def test_no_step_is_paid_for_twice_however_often_the_process_is_killed(slow: Scene) -> None:
    configure(slow, "enhance,ads")
    feedwatch, api = slow.feedwatch, slow.sandbox
    feedwatch.here("run", "--once", "--timeout", 0)  # the first step is submitted, not more
    assert posts(slow) == ["enhance"]
    feedwatch.here("pause", "--processor", "inlet")
    daemon = feedwatch.start("run")
    daemon.until(lambda: "ads is next" in daemon.stderr, "the end of the first step")
    daemon.send(signal.SIGKILL)
    daemon.wait()
    assert ended(slow) == [("enhance", "done")]
    feedwatch.here("resume", "--processor", "inlet")
    daemon = feedwatch.start("run")
    daemon.until(lambda: api.taken_by("inlet"), "the second step")
    daemon.send(signal.SIGKILL)
    daemon.wait()
    daemon = feedwatch.start("run")
    # Killed before it had the answer, it cannot know: then a person decides.
    daemon.until(lambda: "→ ready" in daemon.stderr or "unknown" in daemon.stderr, "the end")
    daemon.stop()
    assert posts(slow) == ["enhance", "ads"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault("submit", "job_status", api="mediaapis", statuses=["Failed"]),
        Fault("submit", "status", api="mediaapis", status=400),
    ],
    ids=lambda fault: fault.kind,
)
def test_an_optional_step_that_fails_hands_on_the_audio_that_it_was_given(
    world: Scene, fault: Fault
) -> None:
    configure(world, "enhance?,ads")
    world.sandbox.faults.add(fault)
    world.feedwatch.once("--timeout", 60)
    assert ended(world) == [("enhance", "passed_over"), ("ads", "done")]
    assert [body["url"] for body in world.sandbox.taken if "name" in body] == [audio(1)]


def test_a_file_that_nobody_can_read_is_not_handed_on(world: Scene) -> None:
    configure(world, "enhance,ads")
    world.sandbox.faults.add(Fault("submit", "output_missing", api="mediaapis"))

    def reason() -> Any:
        world.feedwatch.once("--timeout", 1)
        episode = world.feedwatch.episode()
        assert (episode["state"], episode["step"]) == ("processing", "enhance")
        return episode["reason"]

    assert wait_for(reason) == "Success, but the output cannot be read: 404"
    assert posts(world) == ["enhance"]


def test_the_history_names_the_steps_where_there_were_several(world: Scene) -> None:
    configure(world, "enhance,ads")
    world.feedwatch.once("--timeout", 60)
    shown = world.feedwatch.here("show", 1).stdout
    assert re.search(r"Z  processing  enhance$", shown, re.MULTILINE)
    assert re.search(r"Z  queued      ads       enhance done; ads is next", shown)


def test_a_job_is_followed_to_its_end_though_no_pipeline_has_its_step_any_more(
    slow: Scene,
) -> None:
    configure(slow, "enhance,ads")
    slow.feedwatch.here("run", "--once", "--timeout", 0)
    assert posts(slow) == ["enhance"]
    slow.workspace.set(PIPELINE="ads")
    slow.feedwatch.once("--timeout", 60)
    assert slow.feedwatch.states() == {"guid-1": "ready"}
    assert ended(slow) == [("enhance", "done"), ("ads", "done")]
    assert posts(slow) == ["enhance", "ads"]


def test_a_pipeline_without_ads_needs_nothing_of_the_other_api(world: Scene) -> None:
    configure(world, "enhance")
    world.workspace.set(API_KEY=None, API_URL=None, FEEDS__SHOW__PODCAST_ID=None)
    world.workspace.set(POLL_INTERVAL=None, MEDIAAPIS_POLL_INTERVAL="0.1s")
    assert world.feedwatch.once("--timeout", 60).status == 0
    assert world.feedwatch.states() == {"guid-1": "ready"}
    assert world.feedwatch.episode()["processed_url"].startswith(f"{world.sandbox.url}/public/")
    assert set(world.sandbox.requests) <= {
        ("POST", "/v1/auth/token"),
        ("POST", "/media/enhance"),
        ("GET", "/media/enhance"),
        ("GET", "/media/jobs"),
        ("GET", "/public/{+name}"),
    }
    checks = {one["check"]: one["ok"] for one in world.feedwatch.here("doctor", "--json").json}
    assert checks["Media APIs: token"]
    assert "API key" not in checks


def test_a_right_secret_in_place_of_a_wrong_one_is_tried_at_once(world: Scene) -> None:
    configure(world, "enhance,ads", MEDIAAPIS_SECRET="wr0ng-secret", POLL_INTERVAL="1h")

    def give_the_right_one(daemon: Beside) -> None:
        daemon.until(lambda: "submissions to mediaapis paused" in daemon.stderr, "the refusal")
        configure(world, "enhance,ads")
        assert "config: FEEDWATCH_MEDIAAPIS_SECRET changed" in reload(daemon)
        daemon.until(lambda: posts(world), "the submission")

    told = world.feedwatch.while_it_runs(["run"], give_the_right_one).stderr
    assert "see FEEDWATCH_MEDIAAPIS_KEY, _SECRET and _AUTH_URL" in told
    assert APP_SECRET not in told
    assert posts(world) == ["enhance"]


def test_what_a_step_needs_is_told_at_once_with_all_else_that_is_wrong(world: Scene) -> None:
    world.workspace.set(PIPELINE="diagnose,enhance?,ads", FLOOD_LIMIT="many")
    told = world.feedwatch.here("run", "--once")
    assert told.status == 2
    for key in ("KEY", "SECRET", "OUTPUT", "PUBLIC_URL"):
        assert f"FEEDWATCH_MEDIAAPIS_{key} is missing: the pipeline has enhance" in told.stderr
    assert "FEEDWATCH_FLOOD_LIMIT='many'" in told.stderr


def test_a_pause_is_told_only_of_the_api_that_the_next_post_goes_to(world: Scene) -> None:
    configure(world, "enhance,ads")
    world.feedwatch.here("pause", "--processor", "mediaapis")
    world.feedwatch.once("--timeout", 0)
    told = "nothing is submitted to mediaapis: paused"
    passed = world.feedwatch.here("skip", "--step", 1, "--yes")
    assert (passed.status, told in passed.stderr) == (0, False), passed
    again = world.feedwatch.here("skip", 1), world.feedwatch.here("retry", 1, "--yes")
    assert [one.status for one in again] == [0, 0]
    assert told not in again[1].stderr
    world.feedwatch.here("pause", "--processor", "inlet")
    world.feedwatch.here("skip", 1)
    assert "nothing is submitted to inlet" in world.feedwatch.here("retry", 1, "--yes").stderr
