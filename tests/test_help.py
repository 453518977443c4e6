"""What `--help` shows, whatever the terminal's width."""

import re

import pytest

from feedwatch.cli.verbs import GROUPS, VERBS, verb
from tests.support import Feedwatch

WIDTHS = (40, 60, 80, 200)


def help_at(feedwatch: Feedwatch, width: int, *verb: str) -> str:
    ended = feedwatch.here(*verb, "--help", env={"COLUMNS": str(width)}, config=False)
    assert (ended.status, ended.stderr) == (0, "")
    return ended.stdout


def without_space(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("name", ["", *VERBS])
def test_help_is_folded_to_the_terminal_and_says_all_of_it_at_every_width(
    feedwatch: Feedwatch, name: str
) -> None:
    texts = {width: help_at(feedwatch, width, *name.split()) for width in WIDTHS}
    assert len({without_space(text) for text in texts.values()}) == 1
    command = verb(name) if name else None
    if command is not None:
        said = without_space(texts[40])
        assert without_space(command.help or "") in said
        for param in command.params:
            assert without_space(getattr(param, "help", None) or "") in said
    for width, text in texts.items():
        for line in text.splitlines():  # what has no space in it stands whole, to be copied
            assert len(line) <= width or len(re.sub(r"[ ,]+", " ", line).split()) <= 3, line


def test_the_help_shows_every_verb_in_its_group_with_its_whole_sentence(
    feedwatch: Feedwatch,
) -> None:
    for width in WIDTHS:
        rest = without_space(help_at(feedwatch, width))
        for group, verbs in GROUPS.items():
            rows = "".join(without_space(name + row[1]) for name, row in verbs.items())
            assert f"{without_space(group)}:{rows}" in rest


def test_a_verb_stands_in_one_group() -> None:
    assert sum(map(len, GROUPS.values())) == len(VERBS)
