"""What a shell completes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from feedwatch.cli.feed_name import FEED
from feedwatch.cli.verbs import VERBS, verb
from feedwatch.core.episode import State
from tests.support import PATIENCE, Feedwatch, Workspace
from tests.test_cli_config import HEAVY


def completed(feedwatch: Feedwatch, *words: str, config: Path | None = None) -> list[str]:
    """What is offered for the last word."""
    given = ["feedwatch", *(["--config", str(config)] if config is not None else []), *words]
    ended = feedwatch.here(
        env={
            "_FEEDWATCH_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(given),
            "COMP_CWORD": str(len(given) - 1),
        },
        config=False,
    )
    assert ended.stderr == ""
    return [line.removeprefix("plain,") for line in ended.stdout.split()]


def test_verbs_options_and_states_are_completed(feedwatch: Feedwatch) -> None:
    assert completed(feedwatch, "re") == [name for name in sorted(VERBS) if name.startswith("re")]
    assert "--state" in completed(feedwatch, "episodes", "--")
    assert completed(feedwatch, "episodes", "--state", "") == [state.value for state in State]
    assert completed(feedwatch, "completion", "f") == ["fish"]


@pytest.mark.parametrize("name", VERBS)
def test_every_feed_that_a_verb_takes_is_completed(name: str) -> None:
    for param in verb(name).params:
        if "--feed" in param.opts or param.name == "feeds":
            assert param.type is FEED


def test_feeds_are_completed_from_the_config_in_whatever_case(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    workspace.add_feed("shorts", "https://h.example/2")
    config = workspace.config
    assert completed(feedwatch, "pause", "--feed", "", config=config) == ["shorts", "show"]
    assert completed(feedwatch, "pause", "--feed", "SHOW", config=config) == ["show"]
    assert completed(feedwatch, "check", "show", "", config=config) == ["shorts"]


def test_a_broken_config_completes_nothing_and_says_nothing(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    broken = workspace.folder / "broken.env"
    assert completed(feedwatch, "pause", "--feed", "", config=broken) == []
    broken.write_bytes(b"\xff\xfe\x00")
    assert completed(feedwatch, "pause", "--feed", "", config=broken) == []
    broken.write_text("FEEDWATCH_FEEDS__A__URL=x\nno 'line\nFEEDWATCH_NOTHING=1\n")
    assert completed(feedwatch, "pause", "--feed", "", config=broken) == ["a"]


def test_feeds_are_completed_without_what_takes_long_to_import(feedwatch: Feedwatch) -> None:
    script = (
        "import sys; from feedwatch.cli import app\n"
        "try: app.main()\nexcept SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    asked = {
        "_FEEDWATCH_COMPLETE": "bash_complete",
        "COMP_WORDS": "feedwatch episodes --feed ",
        "COMP_CWORD": "3",
        "FEEDWATCH_FEEDS__SHOW__URL": "x",
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
        env=feedwatch.environment(asked),
    )
    assert done.stdout == "plain,show\n"
    assert not HEAVY & set(done.stderr.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_by_the_script(feedwatch: Feedwatch, workspace: Workspace) -> None:
    script = """
        feedwatch() { "$PYTHON" -m feedwatch "$@"; }
        eval "$(feedwatch completion bash)"
        complete -p feedwatch
        COMP_WORDS=(feedwatch --config "$CONFIG" episodes --feed sh) COMP_CWORD=5
        env() { /usr/bin/env "${@:1:$#-1}" "$PYTHON" -m feedwatch; }
        _feedwatch_completion feedwatch
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
        cwd=workspace.folder,
        env=feedwatch.environment({"PYTHON": sys.executable, "CONFIG": str(workspace.config)}),
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "complete -o nosort -F _feedwatch_completion feedwatch",
        "show",
    ]


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("zsh", ["#compdef feedwatch", "_FEEDWATCH_COMPLETE=zsh_complete"]),
        ("fish", ["complete --no-files --command feedwatch", "_FEEDWATCH_COMPLETE=fish_complete"]),
    ],
)
def test_the_scripts_of_other_shells_ask_feedwatch(
    feedwatch: Feedwatch, shell: str, words: list[str]
) -> None:
    ended = feedwatch.here("completion", shell, config=False)
    assert ended.status == 0
    assert all(word in ended.stdout for word in words)
    checker = shutil.which(shell)
    if checker is not None:
        subprocess.run([checker, "-n", "/dev/stdin"], input=ended.raw, check=True)
