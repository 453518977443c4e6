"""Each command in the documentation's shell blocks is run.

Those of feedwatch and of a plain shell are run here, in the order of their page: in one world for
each page, with a sandbox as the API. `ELSEWHERE` says of each other one which test runs it, or why
none can. A new command fails until it is one of these.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from feedwatch.cli.verbs import VERBS, cli, verb
from tests.shell_blocks import (
    PAGES,
    SHELLS,
    Line,
    blocks,
    feedwatch_call,
    lines,
    programs,
)
from tests.support import KEY, PATIENCE, PODCAST, ROOT, Scene


class Elsewhere(NamedTuple):
    """Commands that are not run here."""

    command: str  # a regular expression of the whole command
    where: str  # the file that runs it, or why nobody can
    text: str = ""  # how it stands in that file


SYSTEMD, CONTAINER = "tests/platform/systemd.sh", "tests/platform/container.sh"
VERIFY, DEB = "tests/platform/verify.sh", "tests/platform/deb.sh"
ELSEWHERE = (
    # The README's two commands, and what installs.
    Elsewhere("make (demo|test)", "tests/platform/bare_debian.sh", '"make demo" "make test"'),
    Elsewhere("python3 -m venv .*", "Makefile", "$(PYTHON) -m venv $(VENV)"),
    Elsewhere(".*/pip install --require-hashes -r .*", "Makefile", "install --quiet --require-ha"),
    Elsewhere(r".*/pip install (--no-deps )?\.", "Makefile", "install --quiet --no-deps"),
    Elsewhere(".*/pip freeze", "only lists what is installed, for the way back"),
    # The service, by `make verify-platform`.
    Elsewhere("groupadd .*", SYSTEMD, "groupadd --system feedwatch-config"),
    Elsewhere(
        "install -d -m 0750 -g .*", SYSTEMD, "install -d -m 0750 -o root -g feedwatch-config"
    ),
    Elsewhere("install -m 0640 -g .*", SYSTEMD, "install -m 0640 -o root -g feedwatch-config"),
    Elsewhere("systemctl enable --now feedwatch", VERIFY, "systemd-run.sh"),
    Elsewhere("systemctl (en|dis)able --now feedwatch.*", DEB, "enable -q --now feedwatch"),
    Elsewhere("systemctl list-timers .*", "only shows when the next round is"),
    Elsewhere("journalctl -u feedwatch-once", "only reads"),
    # The Debian package, by the same.
    Elsewhere("apt install .*", DEB, "dpkg --install /srv/now.deb"),
    Elsewhere("apt remove feedwatch", DEB, "dpkg --remove feedwatch"),
    Elsewhere("apt purge feedwatch", DEB, "dpkg --purge feedwatch"),
    Elsewhere("systemctl start feedwatch", SYSTEMD, 'systemctl start "$UNIT"'),
    Elsewhere("systemctl stop feedwatch", SYSTEMD, 'systemctl stop "$UNIT"'),
    Elsewhere("systemctl restart feedwatch", SYSTEMD, 'systemctl restart "$UNIT"'),
    Elsewhere("systemctl daemon-reload", SYSTEMD, "systemctl daemon-reload"),
    Elsewhere("journalctl -u feedwatch", SYSTEMD, "journalctl -b --no-pager -o cat -u"),
    # The image, by the same.
    Elsewhere("docker build -t feedwatch .", VERIFY, "container-run.sh"),
    Elsewhere("docker run -d --name .*", CONTAINER, "docker run -d --name feedwatch"),
    Elsewhere("docker exec .*", CONTAINER, "docker exec feedwatch feedwatch"),
    Elsewhere("docker compose up -d", VERIFY, '--compose "$copy/compose.yaml"'),
    Elsewhere("docker compose -f .* up -d", VERIFY, '--compose "$copy/compose.cluster.yaml"'),
    Elsewhere("docker compose .*exec .*", "tests/platform/compose.sh", 'docker exec "$service"'),
    Elsewhere("docker compose (build|stop|logs -f)", "compose's own; the harness builds and stops"),
    Elsewhere("docker compose run .*", "as under systemd, whose block is run, in a container"),
    Elsewhere("chown 10001 .*", VERIFY, 'chown 10001 "$@"'),
    # What needs a cluster, the system's own server, or another checkout.
    Elsewhere("kubectl .*", "tests/test_deployment.py", "kustomize"),
    Elsewhere("create(user|db) .*", "the tests' servers are their own: tests/databases.py"),
    Elsewhere("pg_dump .*", "PostgreSQL's own: nothing of feedwatch is in it"),
    Elsewhere("git .*", "would change the checkout; the upgrade itself: tests/test_upgrade.py"),
    # Tests of ours, with smaller numbers.
    Elsewhere("python -m tests.cluster .*", "tests/test_cluster.py", "tests.cluster"),
    Elsewhere("python -m tests.crash .*", "tests/test_crash.py", "tests.crash"),
    Elsewhere("python -m tests.replay .*", "tests/test_replay.py", "tests.replay"),
    Elsewhere("curl .*/api/v1/feeds/show/check", "tests/test_page_api.py", '"/feeds/show/check"'),
)
# Blocks `sh` of this page are run as one script, against a sandbox.
RUN_AS_A_WHOLE = {"docs/sandbox.md": "test_the_sandboxs_examples_work"}
# What a shell does here, in a folder like a checkout, with the system's folders below another root.
PLAIN = "cat cd chmod chown cp echo editor export install ln mkdir mv openssl printf rm sh umask"
SYSTEM_FOLDER = re.compile(r"(?<![\w.~])/(?=(?:etc|var|opt|usr/local)/)")
FOLDERS = "etc/feedwatch etc/systemd/system var/backups/feedwatch usr/local/bin opt/feedwatch/bin"
STUBS = {"sudo": 'exec "$@"', "editor": 'touch "$@"', "mail": "cat > said.txt"}

STAYING = {"run": "is watching", "sandbox": "The sandbox runs", "web": "listening"}
WAITS_OR_IS_ILL = (0, 4, 5)  # nothing failed: 4 says that a person is needed, 5 that no daemon runs
ASKING = {"approve", "retry", "prune", "add", "remove", "import"}
AN_ID = re.compile(r"\d+|ID")
BACKUP, BEFORE_UPGRADE = "feedwatch-20261121T031500Z.db", "20261121T190012.345678.bak"
OPTIONS_OF_VERBS = {"sandbox": ("--port", "0")}  # 8010 may be taken


def ids(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks_of(page: Path) -> list[list[Line]]:
    """The shell blocks of a page that no other test runs."""
    return list(blocks(page, ("console",) if ids(page) in RUN_AS_A_WHOLE else SHELLS))


def commands() -> Iterator[tuple[Path, tuple[str, ...]]]:
    for page in PAGES:
        for block in blocks_of(page):
            yield from ((page, command) for line in block for command in line.commands)


def is_run_here(line: Line) -> bool:
    return any(
        feedwatch_call(one) is not None or (one[0] in PLAIN.split() and not elsewhere(one))
        for one in line.commands
    )


def elsewhere(command: Sequence[str]) -> list[Elsewhere]:
    return [row for row in ELSEWHERE if re.fullmatch(row.command, " ".join(command), re.DOTALL)]


def test_each_command_is_run_here_or_it_is_said_where_or_why_not() -> None:
    unknown = [
        f"{ids(page)}: {' '.join(command)}"
        for page, command in commands()
        if not elsewhere(command)
        and feedwatch_call(command) is None
        and command[0] not in PLAIN.split()
    ]
    assert not unknown, "run them here, or say in ELSEWHERE where they are run"


@pytest.mark.parametrize("row", ELSEWHERE, ids=lambda row: row.command)
def test_what_is_said_to_be_run_elsewhere_is_in_a_page_and_there(row: Elsewhere) -> None:
    assert any(row in elsewhere(command) for _, command in commands())
    if row.text:
        assert row.text in (ROOT / row.where).read_text(encoding="utf-8")
    else:
        assert not (ROOT / row.where).exists(), "say how it stands there"


def test_pages_that_another_test_runs_as_a_whole_are_run_by_it() -> None:
    tests = (ROOT / "tests/test_docs.py").read_text(encoding="utf-8")
    for page, test in RUN_AS_A_WHOLE.items():
        assert f"def {test}" in tests
        assert f'"{page}"' in tests


# feedwatch


def parsed(args: Sequence[str]) -> click.Context:
    """The arguments as the command line takes them. Raises `click.UsageError`."""
    with cli.make_context("feedwatch", list(args)) as context:
        name, command, rest = cli.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        assert command is not None
        made = command.make_context(name, rest, parent=context)
        made.close()  # the files that it has opened
        return made


class Reader:
    """Somebody who types what a page says."""

    def __init__(self, world: Scene, folder: Path) -> None:
        self._world, self._feedwatch = world, world.feedwatch
        self._root, self._stubs = folder / "root", folder / "stubs"
        for name in FOLDERS.split():
            (self._root / name).mkdir(parents=True)
        self._stubs.mkdir()
        for name, script in STUBS.items():
            (self._stubs / name).write_text(f"#!/bin/sh\n{script}\n")
            (self._stubs / name).chmod(0o700)
        self._state = self._root / "var/lib/feedwatch"
        self._state.mkdir(parents=True)
        self._added = 0  # feeds
        self._live_a_little()

    def _live_a_little(self) -> None:
        """Have two episodes skipped, and some held, in the database that the pages speak of."""
        world, database = self._world, self._state / "feedwatch.db"
        world.workspace.database = database
        world.workspace.set(DATABASE_URL=f"sqlite:///{database}")
        world.workspace.add_feed("show", world.feeds.url, FLOOD_LIMIT=0)
        world.feeds.publish(1, 2)
        assert world.feedwatch.once().status == 0
        world.feeds.publish(*range(1, 13))
        assert world.feedwatch.once("--timeout", 0).status == 4
        copy = self._root / "var/backups/feedwatch" / BACKUP
        assert world.feedwatch.here("backup", str(copy)).status == 0
        shutil.copy(copy, f"{database}.before-upgrade-{BEFORE_UPGRADE}")

    def type(self, block: Sequence[Line], checkout: Path) -> None:
        """Run the lines of a block, in their order, in a checkout of their own."""
        checkout.mkdir()
        for name in ("config.example.env", "systemd", "requirements"):
            (checkout / name).symlink_to(ROOT / name)
        for name in ("config.env", "feedwatch_api_key.txt"):
            (checkout / name).touch()
        typed: list[str] = []
        for line in block:
            calls = [feedwatch_call(command) for command in line.commands]
            if all(one[0] in PLAIN.split() and not elsewhere(one) for one in line.commands):
                typed.append(line.text)
            elif any(calls):
                self._shell(typed, checkout)
                typed = [one for one in typed if one.startswith(("cd ", "umask "))]
            for args in filter(None, calls):
                self._call(args)
        self._shell(typed, checkout)

    def _shell(self, typed: Sequence[str], checkout: Path) -> None:
        script = SYSTEM_FOLDER.sub(f"{self._root}/", "\n".join(typed))
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=checkout,
            env={"PATH": f"{self._stubs}:{os.environ['PATH']}", "HOME": str(self._root)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, (script, done.stderr)

    def _call(self, args: Sequence[str]) -> None:
        fitted = self._fitted(args)
        parsed(fitted)
        name = fitted[0]
        if name in STAYING:
            sign = STAYING[name]
            ended = self._feedwatch.while_it_runs(
                fitted, lambda it: it.until(lambda: sign in it.stdout + it.stderr, sign)
            )
            assert ended.status == 0, ended
            return
        if name == "init":
            self._init(fitted)
            return
        ended = self._feedwatch.here(*fitted)
        assert ended.status in WAITS_OR_IS_ILL, (args, ended.output)

    def _init(self, args: Sequence[str]) -> None:
        """Write a first config, in a folder that has none, with the answers as options."""
        self._added += 1
        folder = self._root / f"home{self._added}"
        folder.mkdir()
        (folder / "key.txt").write_text(f"{KEY}\n")
        answers = ("--api-key-file", "key.txt", "--api-url", self._world.sandbox.url)
        ended = self._feedwatch.here(*args, *answers, config=False, folder=folder)
        assert ended.status == 0, ended.output
        assert (folder / "config.env").stat().st_mode & 0o777 == 0o600

    def _fitted(self, args: Sequence[str]) -> list[str]:
        """The arguments, with what there is here in the places of what a reader has."""
        if args[0] == "--config":  # ours is named in any case
            args = args[2:]
        name, *rest = args
        assert name in VERBS, f"feedwatch {name}"
        rest = [SYSTEM_FOLDER.sub(f"{self._root}/", word.strip("'\"")) for word in rest]
        rest = [str(self._episode_for(name)) if AN_ID.fullmatch(word) else word for word in rest]
        if name == "add":
            self._added += 1
            path = f"/new{self._added}.xml"
            self._world.feeds.publish(21, 22, path=path)
            rest = [self._world.feeds.url_of(path) if "://" in one else one for one in rest]
            rest += ["--name", f"new{self._added}", "--podcast", PODCAST]
        if name == "import":
            shows = self._root / "shows.opml"
            outline = (
                f"<outline text='Another show' xmlUrl='{self._world.feeds.url_of('/o.xml')}'/>"
            )
            shows.write_text(f"<opml version='2.0'><body>{outline}</body></opml>")
            rest = [str(shows) if one.endswith(".opml") else one for one in rest]
        yes = ["--yes"] if name in ASKING and "--yes" not in rest else []
        return [name, *rest, *yes, *OPTIONS_OF_VERBS.get(name, ())]

    def _episode_for(self, name: str) -> int:
        """An episode that the verb can be used on."""
        state = "skipped" if name == "retry" else "held"
        number: int = self._feedwatch.json("episodes", "--state", state)[0]["id"]
        return number


def pages_to_type() -> list[Path]:
    return [
        page
        for page in PAGES
        if any(is_run_here(line) for block in blocks_of(page) for line in block)
    ]


@pytest.mark.parametrize("page", pages_to_type(), ids=ids)
def test_the_commands_of_a_page_work_in_their_order(
    page: Path, world: Scene, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("reader")
    reader = Reader(world, folder)
    for number, block in enumerate(blocks_of(page)):
        reader.type(block, folder / f"checkout-{number}")


def test_a_program_in_the_documentation_works_as_a_channel(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text(f"#!/bin/sh\n{STUBS['mail']}\n")
    (tmp_path / "mail").chmod(0o700)
    scripts = list(programs(ROOT / "docs/notifications.md"))
    assert scripts
    for script in scripts:
        event = {"FEEDWATCH_EVENT_TYPE": "trouble.began", "FEEDWATCH_EVENT_TEXT": "12 held"}
        path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        subprocess.run(["sh", "-c", script], cwd=tmp_path, env=event | path, check=True)
        assert (tmp_path / "said.txt").read_text() == "12 held\n"


# How the pages are read


def test_a_line_is_read_as_a_shell_reads_it() -> None:
    text = (
        "sudo sh -c 'cd /a && mkdir b\n    for x in c; do [ ! -e $x ] || mv $x b; done'  # why\n"
        'KEY=1 echo "$(openssl rand)" > file && chmod 600 file\n'
        "docker compose exec feedwatch \\\n    feedwatch skip 1\n"
    )
    first, second, third = lines(text)
    assert [" ".join(one) for one in first.commands[1:]] == ["cd /a", "mkdir b", "mv $x b"]
    assert [one[0] for one in second.commands] == ["openssl", "echo", "chmod"]
    assert [feedwatch_call(one) for one in third.commands] == [("skip", "1")]


@pytest.mark.parametrize("wrong", ["chek", "check --jsn", "episodes --state lost", "skip --feed"])
def test_a_verb_or_an_option_that_there_is_not_would_be_seen(wrong: str) -> None:
    with pytest.raises(click.UsageError):
        parsed(wrong.split())


def test_a_command_that_nobody_runs_would_be_seen() -> None:
    (line,) = lines("apt-get install feedwatch")
    assert not elsewhere(line.commands[0])
    assert line.commands[0][0] not in PLAIN.split()
    assert verb("check").name == "check"
