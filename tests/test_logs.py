"""How log lines look, and what never gets into one."""

import json
import logging
import sys

import pytest

from feedwatch.logs import JsonLines, TextLines
from feedwatch.masking import know

SECRET = 'a "quoted" secret'


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
