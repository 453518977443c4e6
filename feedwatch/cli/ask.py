"""Questions with a list of answers."""

import sys
from collections.abc import Sequence

import click

from feedwatch.cli.output import say
from feedwatch.core.printable import printable


def may_ask(*, yes: bool) -> bool:
    """Whether somebody is there who wants to be asked."""
    return not yes and sys.stdin.isatty()


def choose(question: str, answers: Sequence[str]) -> int:
    """Ask which of the answers, listed by numbers, is right; its place, from 0."""
    for number, answer in enumerate(answers, 1):
        say(f"{number:>4}  {printable(answer)}")
    number = click.prompt(question, type=click.IntRange(1, len(answers)), err=True)
    return int(number) - 1
