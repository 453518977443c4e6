"""How log lines look, and what never gets into one."""

import json
import logging
import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feedwatch.core.episode import Episode, State
from feedwatch.core.masking import know, masked
from feedwatch.logs.formatters import BareLines, ForJournal, JsonLines, TextLines
from feedwatch.watcher.context import log_move, named
from tests.support import Feedwatch

SECRET = 'a "quoted" secret'
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def record(message: str, *, failed: bool = False) -> logging.LogRecord:
    error = None
    if failed:
        try:
            int(SECRET)  # its message quotes what it could not read
        except ValueError:
            error = sys.exc_info()
    return logging.LogRecord("feedwatch", logging.WARNING, __file__, 1, message, (), error)


@pytest.mark.parametrize("form", [TextLines(), JsonLines()])
def test_a_secret_is_masked_in_messages_and_tracebacks(form: logging.Formatter) -> None:
    know([SECRET])
    line = form.format(record(f"the key is {SECRET}", failed=True))
    assert "secret" not in line
    assert line.count("***") >= 2


def test_text_is_one_line_with_time_and_level() -> None:
    line = TextLines().format(record("it rains"))
    assert line.endswith("Z WARNING  it rains")


def test_json_is_one_object_a_line() -> None:
    event = json.loads(JsonLines().format(record("it \n rains")))
    assert (event["level"], event["logger"]) == ("warning", "feedwatch")
    assert "\n" not in event["message"]
    assert event["at"].endswith("Z")


@pytest.mark.parametrize("form", [TextLines(), JsonLines()])
def test_what_a_feed_says_can_neither_forge_a_line_nor_move_the_cursor(
    form: logging.Formatter,
) -> None:
    line = form.format(record("title \x1b[2J\r\n2026-01-01T00:00:00Z ERROR forged"))
    assert "\n" not in line
    assert "\x1b" not in line


def test_json_says_what_the_event_is_about() -> None:
    know([SECRET])
    one = record("moved")
    one.feed, one.episode, one.media_id = SECRET, 7, None
    event = json.loads(JsonLines().format(one))
    assert (event["feed"], event["episode"]) == ("***", 7)
    assert "media_id" not in event


def test_the_journal_gets_the_level_of_each_line_and_no_time() -> None:
    form = ForJournal(BareLines())
    assert form.format(record("it rains")) == "<4>it rains"
    lines = form.format(record("it broke", failed=True)).splitlines()
    assert len(lines) > 2
    assert all(line.startswith("<4>") for line in lines)


def test_json_goes_into_the_journal_with_its_level_too() -> None:
    line = ForJournal(JsonLines()).format(record("it rains"))
    assert line.startswith("<4>{")


def test_the_journal_is_known_by_its_stream(feedwatch: Feedwatch, tmp_path: Path) -> None:
    with (tmp_path / "journal").open("wb") as journal:
        error = os.fstat(journal.fileno())
        env = {"JOURNAL_STREAM": f"{error.st_dev}:{error.st_ino}"}
        command = feedwatch.command("run", "--once", "--timeout", 0)
        subprocess.run(command, env=feedwatch.environment(env), stderr=journal, check=True)
    assert (tmp_path / "journal").read_text(encoding="utf-8").startswith("<6>database: ")


def test_json_lines_of_a_whole_run_name_feed_episode_media_id_and_attempt(
    feedwatch: Feedwatch,
) -> None:
    ended = feedwatch.here("run", "--once", env={"FEEDWATCH_LOG_FORMAT": "json"})
    events = [json.loads(line) for line in ended.stderr.splitlines() if line.startswith("{")]
    checked = next(event for event in events if "new to submit" in event["message"])
    accepted = next(event for event in events if "accepted as media id" in event["message"])
    ready = next(event for event in events if "→ ready" in event["message"])
    assert checked["feed"] == "show"
    assert (accepted["feed"], accepted["episode"], accepted["attempt"]) == ("show", 1, 1)
    assert accepted["media_id"] == ready["media_id"]


def test_a_submission_is_one_line_and_ready_says_where_and_after_how_long(
    feedwatch: Feedwatch,
) -> None:
    ended = feedwatch.here("run", "--once")
    lines = [line for line in ended.stderr.splitlines() if "episode 1 of show" in line]
    submitted, ready = lines
    media_id = feedwatch.episode()["media_id"]
    assert submitted.endswith(f": accepted as media id {media_id}")
    url = masked(feedwatch.episode()["processed_url"])
    assert re.search(rf": processing → ready after \d+ s: {re.escape(url)}$", ready)


def test_a_secret_in_a_processed_url_is_masked_in_the_line_of_ready(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = Episode(
        feed="show",
        guid="g",
        title="T",
        description=None,
        enclosure_url="https://h.example/a.mp3",
        published_at=None,
        state=State.PROCESSING,
        reason=None,
        first_seen_at=NOW,
        submitted_at=NOW,
        media_id="m",
    )
    url = "https://cdn.example/a.mp3?signature=s3cr3t"
    done = replace(one, state=State.READY, processed_url=url, finished_at=NOW + timedelta(hours=3))
    with caplog.at_level("INFO"):
        log_move(one, done, named(done))
    (line,) = (TextLines().format(record) for record in caplog.records)
    assert line.endswith("processing → ready after 3 h: https://cdn.example/a.mp3?signature=***")
