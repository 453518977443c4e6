"""Tables: words stay whole where a terminal has room for them."""

import re
import sys

import pytest

from feedwatch.cli.output import column_widths, print_table, say

NAME, URL = "the-daily-something", "https://cdn.example/a/processed/0123456789.mp3"
ROWS = [
    {
        "id": number,
        "feed": NAME,
        "state": "processing",
        "published": "2026-11-03 06:00",
        "title": "Considerations of extraordinarily uninteresting circumstances",
        "reason or processed URL": URL if number % 2 else "known as episode 2 by its audio",
    }
    for number in range(1234567, 1234571)
]


def table(capsys: pytest.CaptureFixture[str], width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_table(ROWS)
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)


@pytest.mark.parametrize("width", [118, 140, 200])
def test_every_word_is_whole_where_there_is_room(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    found = set(table(capsys, width, monkeypatch).split())
    assert {str(word) for row in ROWS for cell in row.values() for word in str(cell).split()} <= (
        found
    )


@pytest.mark.parametrize("width", [82, 90, 100])
def test_on_a_narrow_terminal_only_addresses_are_folded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    text = table(capsys, width, monkeypatch)
    assert max(map(len, text.splitlines())) <= width
    words = {word for row in ROWS for cell in row.values() for word in str(cell).split()}
    assert words - set(text.split()) <= {URL}


def test_a_terminal_of_no_width_gets_something(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert table(capsys, 3, monkeypatch)


@pytest.mark.parametrize(
    ("tiers", "room", "widths"),
    [
        ([[2, 5], [2, 5], [2, 30]], 80, [2, 30]),
        ([[2, 5, 10], [2, 5, 10], [2, 40, 60]], 60, [2, 26, 31]),
        ([[2, 12, 9], [2, 12, 50], [2, 20, 50]], 40, [2, 12, 26]),
        ([[2, 50, 50], [2, 50, 50], [2, 50, 50]], 40, [2, 19, 19]),
        ([[9, 9], [9, 9], [9, 9]], 0, [1, 1]),
    ],
)
def test_room_is_given_to_words_first_then_to_addresses(
    tiers: list[list[int]], room: int, widths: list[int]
) -> None:
    assert column_widths(tiers, room) == widths


def test_no_control_code_works_in_a_remark(capsys: pytest.CaptureFixture[str]) -> None:
    say("The page names \x1b[2J\x07the feed\nand another one")
    assert capsys.readouterr().err == "The page names  [2J the feed\nand another one\n"
