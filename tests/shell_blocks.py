"""The commands in the documentation's fenced blocks, read as a shell reads them."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
SHELLS = ("sh", "bash", "shell", "console")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
QUOTED = r"""\\.|'[^']*'|"(?:\\.|[^"\\])*\""""
TOKEN = re.compile(
    rf"(?P<gap>[ \t]+|\\\n|\#[^\n]*)|(?P<redirect>\d?(?:>>|>|<)[ \t]*)"
    rf"|(?P<end>&&|\|\||[;&|()\n]+)|(?P<word>(?:{QUOTED}|[^\s;&|<>()'\"\\])+)",
    re.DOTALL,
)
SUBSTITUTED = re.compile(r"\$\(([^()]*)\)")
BEFORE = {"do", "then", "else", "!", "sudo"}  # a command
NO_COMMANDS = {"for", "done", "fi", "["}
SCRIPT = re.compile(r"'(.*)'", re.DOTALL)


class Line(NamedTuple):
    """A line as it is typed, with those that continue it, and its commands in words."""

    text: str
    commands: tuple[tuple[str, ...], ...]


def blocks(page: Path, kinds: Collection[str] = SHELLS) -> Iterator[list[Line]]:
    """The shell blocks of a page; of a console's, what is typed and not what is answered."""
    for kind, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if kind in kinds and not text.startswith("#!"):
            typed = re.findall(r"^\$ (.*\n)", text, re.MULTILINE)
            yield list(lines("".join(typed) if kind == "console" else text))


def programs(page: Path) -> Iterator[str]:
    """The blocks that are a whole program, with its first line."""
    for kind, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if kind in SHELLS and text.startswith("#!"):
            yield text


def lines(text: str) -> Iterator[Line]:
    """The lines of a script that have commands in them."""
    begin, commands, words, is_target = 0, [], [], False
    for token in TOKEN.finditer(text):
        match token.lastgroup:
            case "redirect":
                is_target = True
            case "word" if is_target:
                is_target = False
            case "word":
                words.append(token[0])
            case "end":
                commands += [words] if words else []
                words = []
                if "\n" in token[0]:
                    yield from _line(text[begin : token.end()], commands)
                    begin, commands = token.end(), []
    yield from _line(text[begin:], [*commands, words])


def _line(text: str, commands: list[list[str]]) -> Iterator[Line]:
    found = [command for words in commands for command in _within(words)]
    if found:
        yield Line(text.strip(), tuple(found))


def _within(words: list[str]) -> Iterator[tuple[str, ...]]:
    """A command without what stands before it, and those that it is given to run."""
    for inner in SUBSTITUTED.findall(" ".join(words)):
        yield from (command for line in lines(inner) for command in line.commands)
    while words and (words[0] in BEFORE or re.match(r"\w+=", words[0])):
        words = words[3:] if words[:2] == ["sudo", "-u"] else words[1:]
    if not words or words[0] in NO_COMMANDS:
        return
    yield tuple(words)
    script = SCRIPT.fullmatch(words[-1])
    if script is not None and "-c" in words and "sh" in words:
        yield from (command for line in lines(script[1]) for command in line.commands)


def feedwatch_call(command: tuple[str, ...]) -> tuple[str, ...] | None:
    """The arguments of feedwatch, which may be called within a container; None if it is not."""
    if command[0].rpartition("/")[2] == "feedwatch":
        return command[1:]
    if command[0] not in ("docker", "kubectl") or not {"exec", "run"} & set(command):
        return None
    if "--entrypoint" in command or "feedwatch" not in command:
        return None
    last = len(command) - 1 - command[::-1].index("feedwatch")
    return command[last + 1 :] or None
