"""The config as the command line meets it: where it is found, what overrides what, what is wrong,
and that no secret is ever shown.
"""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from feedwatch.sandbox.server import Sandbox
from tests.support import KEY, PATIENCE, PODCAST, FeedServer, Feedwatch, Workspace

# Where it is


def test_the_config_is_taken_from_the_option_then_the_variable_then_the_folder(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    def names(*args: str, env: dict[str, str] | None = None) -> list[str]:
        ended = feedwatch.here(*args, "feeds", "--json", config=False, env=env)
        assert ended.status == 0, ended
        return [feed["name"] for feed in ended.json]

    for name in ("option", "variable"):
        text = workspace.config.read_text().replace("__SHOW__", f"__{name.upper()}__")
        (workspace.folder / f"{name}.env").write_text(text)
    text = workspace.config.read_text().replace("__SHOW__", "__FOLDER__")
    (workspace.elsewhere / "config.env").write_text(text)
    option = ("--config", str(workspace.folder / "option.env"))
    variable = {"FEEDWATCH_CONFIG": str(workspace.folder / "variable.env")}
    assert names(*option, env=variable) == ["option"]
    assert names(env=variable) == ["variable"]
    assert names() == ["folder"]


@pytest.mark.parametrize("by", ["option", "variable"])
def test_a_config_that_is_not_there_is_named(feedwatch: Feedwatch, by: str) -> None:
    missing = "/nowhere/feedwatch.env"
    if by == "option":
        ended = feedwatch.here("--config", missing, "feeds", config=False)
    else:
        ended = feedwatch.here("feeds", config=False, env={"FEEDWATCH_CONFIG": missing})
    assert (ended.status, ended.stdout) == (2, "")
    assert missing in ended.stderr


@pytest.mark.skipif(Path("/etc/feedwatch/config.env").exists(), reason="this machine has a config")
def test_with_no_config_at_all_run_says_what_is_missing(feedwatch: Feedwatch) -> None:
    ended = feedwatch.here("run", "--once", config=False)
    assert (ended.status, ended.stdout) == (2, "")
    assert "FEEDWATCH_API_KEY" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_all_of_it_may_be_in_the_environment(
    feedwatch: Feedwatch, workspace: Workspace, feed_server: FeedServer, sandbox: Sandbox
) -> None:
    env = {
        "FEEDWATCH_API_URL": sandbox.url,
        "FEEDWATCH_API_KEY": KEY,
        "FEEDWATCH_POLL_INTERVAL": "0.1s",
        "FEEDWATCH_FIRST_RUN": "all",
        "FEEDWATCH_FEEDS__SHOW__URL": feed_server.url,
        "FEEDWATCH_FEEDS__SHOW__PODCAST_ID": PODCAST,
    }
    assert feedwatch.here("run", "--once", config=False, env=env).status == 0
    assert len(sandbox.taken) == 1
    assert (workspace.elsewhere / "feedwatch.db").exists()


def test_the_environment_overrides_the_file(
    feedwatch: Feedwatch, workspace: Workspace, sandbox: Sandbox
) -> None:
    workspace.set(API_KEY="wrong", FIRST_RUN="none")
    env = {"FEEDWATCH_API_KEY": KEY, "FEEDWATCH_FEEDS__SHOW__PODCAST_ID": "podcast-2"}
    assert feedwatch.here("run", "--once", env=env).status == 0
    assert [one.podcast_id for one in sandbox.submissions] == ["podcast-2"]


def test_relative_paths_are_relative_to_the_file(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    (workspace.folder / "data").mkdir()
    (workspace.folder / "key").write_text(f"{KEY}\n")
    workspace.set(DATABASE_URL="sqlite:///data/mine.db", API_KEY=None, API_KEY_FILE="key")
    relative = os.path.relpath(workspace.config, workspace.elsewhere)
    assert feedwatch.here("--config", relative, "run", "--once", config=False).status == 0
    assert (workspace.folder / "data" / "mine.db").exists()
    assert not list(workspace.elsewhere.rglob("*.db"))


# The key


def test_the_key_may_be_in_a_file_a_credential_or_a_variable(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    workspace.set(API_KEY=None)
    assert feedwatch.here("podcasts").status == 2
    key_file = workspace.folder / "key"
    key_file.write_text(f"{KEY}\n")
    assert feedwatch.here("podcasts", env={"FEEDWATCH_API_KEY_FILE": str(key_file)}).status == 0
    assert feedwatch.here("podcasts", env={"FEEDWATCH_API_KEY": KEY}).status == 0
    credentials = workspace.folder / "credentials"
    credentials.mkdir()
    (credentials / "feedwatch_api_key").write_text(KEY)
    ended = feedwatch.here("podcasts", env={"CREDENTIALS_DIRECTORY": str(credentials)})
    assert ended.status == 0


def test_a_key_file_that_is_not_there_is_named(feedwatch: Feedwatch, workspace: Workspace) -> None:
    workspace.set(API_KEY=None, API_KEY_FILE="no-such-file")
    ended = feedwatch.here("podcasts")
    assert ended.status == 2
    assert "FEEDWATCH_API_KEY_FILE" in ended.stderr
    assert "no-such-file" in ended.stderr


def test_a_config_that_everybody_can_read_is_warned_of_and_works(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    assert "chmod" not in feedwatch.here("feeds").stderr
    workspace.config.chmod(0o644)
    ended = feedwatch.here("feeds", "--json")
    assert ended.status == 0
    assert str(workspace.config) in ended.stderr
    assert "chmod" in ended.stderr
    assert len(ended.json) == 1


VERBS = (
    "run --once",
    "check",
    "check --json",
    "feeds",
    "feeds --json",
    "episodes",
    "episodes --json",
    "show 1",
    "show 1 --json",
    "status",
    "status --json",
    "doctor",
    "doctor --json",
    "podcasts",
    "podcasts --json",
    "export",
    "export --format json",
    "export --format rss",
    "pause",
    "resume",
    "approve 1 --yes",
    "retry 1 --yes",
    "adopt 1 x --yes",
    "skip 1 --yes",
)


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_verb_and_no_log_shows_the_key_or_a_password_whatever_goes_wrong(
    feedwatch: Feedwatch,
    workspace: Workspace,
    sandbox: Sandbox,
    form: str,
) -> None:
    password = "pa55word-of-a-feed"
    workspace.set(LOG_LEVEL="debug", LOG_FORMAT=form)
    workspace.set(FEEDS__SHOW__USERNAME="me", FEEDS__SHOW__PASSWORD=password)
    said = [feedwatch.here(*line.split()).output for line in VERBS]
    assert feedwatch.states() == {"guid-1": "ready"}
    sandbox.stop()
    said += [feedwatch.here(*verb.split()).output for verb in ("doctor", "podcasts")]
    sandbox.start()
    with closing(sqlite3.connect(workspace.database)) as db, db:
        db.execute("update feeds set full_at = 'no time'")  # nobody expects that: a traceback
    crash = feedwatch("run", "--once", "--timeout", 0)
    assert "Traceback" in crash.stderr
    said.append(crash.output)
    workspace.set(POLL_INTERVAL="never", API_KEYS="x", FEEDS__SHOW__HEADERS=password)
    wrong = feedwatch.here("run")
    assert wrong.status == 2
    said.append(wrong.output)
    workspace.set(API_KEY=f"{KEY} and more")
    said.append(feedwatch.here("podcasts").output)
    for text in said:
        assert KEY not in text
        assert password not in text


@pytest.mark.parametrize("line", [f"FEEDWATCH_API_KEY: {KEY}", f"FEEDWATCH_API_KEY {KEY}", KEY])
def test_a_line_that_cannot_be_read_is_told_by_its_number_without_the_key_in_it(
    feedwatch: Feedwatch, workspace: Workspace, line: str
) -> None:
    workspace.write(f"# a comment\n{line}\n")
    ended = feedwatch.here("feeds")
    assert ended.status == 2
    assert "line 2" in ended.stderr
    assert KEY not in ended.output


# What is wrong with it


def test_every_error_is_told_at_once_with_key_value_and_what_was_expected(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    workspace.set(
        API_KEY=None,
        API_URL="api.example.org",
        CHECK_INTERVAL="soon",
        MAX_CONCURRENT_JOBS=0,
        FIRST_RUN="latest:few",
        ON_REPLACED="perhaps",
        FEEDS__SHOW__PODCAST_ID=None,
        FEEDS__SHOW__AD_OPTIONS='{"preRoll": {"adCounts": 1}}',
        FEEDS__SHOW__INCLUDE_TITLE="(",
        CHEK_INTERVAL="15m",
    )
    ended = feedwatch.here("run")
    assert (ended.status, ended.stdout) == (2, "")
    for words in (
        ["FEEDWATCH_API_KEY"],
        ["FEEDWATCH_API_URL", "api.example.org", "http"],
        ["FEEDWATCH_CHECK_INTERVAL", "soon", "15m"],
        ["FEEDWATCH_MAX_CONCURRENT_JOBS", "0", "one or more"],
        ["FEEDWATCH_FIRST_RUN", "latest:few", "latest:N"],
        ["FEEDWATCH_ON_REPLACED", "perhaps", "hold"],
        ["FEEDWATCH_FEEDS__SHOW__PODCAST_ID"],
        ["FEEDWATCH_FEEDS__SHOW__AD_OPTIONS", "adCounts"],
        ["FEEDWATCH_FEEDS__SHOW__INCLUDE_TITLE", "("],
        ["FEEDWATCH_CHEK_INTERVAL", "FEEDWATCH_CHECK_INTERVAL"],
    ):
        assert any(all(word in line for word in words) for line in ended.stderr.splitlines()), words
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("API_KEYS", "FEEDWATCH_API_KEY"),
        ("POLL_INTERVALL", "FEEDWATCH_POLL_INTERVAL"),
        ("FEEDS__SHOW__PODCAST", "FEEDWATCH_FEEDS__SHOW__PODCAST_ID"),
        ("FEEDS__SHOW__FIRSTRUN", "FEEDWATCH_FEEDS__SHOW__FIRST_RUN"),
    ],
)
@pytest.mark.parametrize("place", ["file", "environment"])
def test_a_key_that_nothing_reads_is_an_error_that_names_the_nearest(
    feedwatch: Feedwatch, workspace: Workspace, wrong: str, nearest: str, place: str
) -> None:
    if place == "file":
        workspace.set(**{wrong: "x"})
        ended = feedwatch.here("feeds")
    else:
        ended = feedwatch.here("feeds", env={f"FEEDWATCH_{wrong}": "x"})
    assert ended.status == 2
    (line,) = (line for line in ended.stderr.splitlines() if f"FEEDWATCH_{wrong}" in line)
    assert f"{nearest}?" in line


@pytest.mark.parametrize(
    "options",
    [
        '{"automatedMidRolls": {"adCount": 1, "insertionCount": 1, "adsPerHour": 1}}',
        '{"midRolls": [{"adCount": 1}]}',
        '{"preRoll": {}}',
        '{"preroll": {"adCount": 1}}',
        "none",
    ],
)
def test_ad_options_against_the_contract_are_refused_before_anything_is_sent(
    feedwatch: Feedwatch, workspace: Workspace, sandbox: Sandbox, options: str
) -> None:
    workspace.set(FEEDS__SHOW__AD_OPTIONS=options)
    ended = feedwatch.here("run", "--once")
    assert ended.status == 2
    assert "FEEDWATCH_FEEDS__SHOW__AD_OPTIONS" in ended.stderr
    assert not sandbox.requests


def test_a_poll_interval_under_30_s_is_only_for_an_api_on_loopback(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    workspace.set(API_URL="https://api.example.org")
    ended = feedwatch.here("feeds")
    assert ended.status == 2
    assert "FEEDWATCH_POLL_INTERVAL" in ended.stderr
    assert "30s" in ended.stderr
    workspace.set(POLL_INTERVAL="30s")
    assert feedwatch.here("feeds").status == 0


def test_a_database_that_cannot_be_opened_is_a_clear_error(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    workspace.set(DATABASE_URL="sqlite:////nowhere/at/all/feedwatch.db")
    ended = feedwatch.here("run", "--once")
    assert ended.status in (1, 2)
    assert "/nowhere/at/all/feedwatch.db" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_run_without_a_feed_says_how_to_add_one(feedwatch: Feedwatch, workspace: Workspace) -> None:
    workspace.write(f"FEEDWATCH_API_KEY={KEY}\n")
    for verb in (["run"], ["run", "--once"], ["check"]):
        ended = feedwatch.here(*verb)
        assert ended.status == 2
        assert "FEEDWATCH_FEEDS__NAME__URL" in ended.stderr


HTTP_SIDES = {"flask", "jinja2", "waitress", "prometheus_client"}
HEAVY = HTTP_SIDES | {
    "sqlalchemy",
    "alembic",
    "httpx",
    "feedparser",
    "pydantic",
    "rich",
    "apscheduler",
}


@pytest.mark.parametrize(
    ("args", "but"),
    [
        (["--help"], {"dotenv"}),
        (["--version"], {"dotenv"}),
        (["healthcheck"], {"dotenv", "click", "logging"}),
        (["status", "--help"], {"httpx", "feedparser", "apscheduler"}),
        (["status"], HTTP_SIDES | {"httpx", "feedparser", "apscheduler", "alembic"}),
        (["run", "--once"], HTTP_SIDES | {"feedparser", "alembic", "rich"}),
    ],
    ids=["help", "version", "healthcheck", "help of status", "status", "run"],
)
def test_what_is_called_often_imports_no_more_than_it_needs(
    feedwatch: Feedwatch, args: list[str], but: set[str]
) -> None:
    assert feedwatch("run", "--once").status == 0
    script = (
        "import sys; from feedwatch.cli import app\n"
        "try: app.main()\nexcept SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    command = feedwatch.command(*args)
    done = subprocess.run(
        [command[0], "-c", script, *command[3:]],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
        env=feedwatch.environment(),
    )
    light = but if args[0] in ("status", "run") else HEAVY | but
    assert not light & set(done.stderr.split())


def test_completion_imports_no_more_than_it_needs(feedwatch: Feedwatch) -> None:
    script = (
        "import sys; from feedwatch.cli import app\n"
        "try: app.main()\nexcept SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    asked = {
        "_FEEDWATCH_COMPLETE": "bash_complete",
        "COMP_WORDS": "feedwatch he",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
        env=feedwatch.environment(asked),
    )
    assert "healthcheck" in done.stdout
    assert not HEAVY & set(done.stderr.split())
