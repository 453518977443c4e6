"""`feedwatch web`, the page beside a daemon, and what the config may say of them."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from feedwatch.cli.assembly import assembled
from feedwatch.cli.web import beside_daemon
from feedwatch.config.errors import ConfigError
from feedwatch.config.load import load
from feedwatch.sandbox.server import Sandbox
from tests.page_site import DECIDE, PASSWORD, READ
from tests.support import PATIENCE, Beside, FeedServer, Feedwatch, Running, Workspace


def page_of(running: Running | Beside) -> str:
    """Where the log says that the page is."""
    found = running.until(
        lambda: re.search(r"http: the page is (http://\S+)", running.stderr), "the page"
    )
    return found[1]


def ask(
    url: str, path: str, form: Mapping[str, str] | None = None, **headers: str
) -> tuple[int, str, str]:
    """Status, body, and the cookie that was set."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
    sent = {"Sec-Fetch-Site": "same-origin", **headers}
    if form is not None:
        sent["Content-Type"] = "application/x-www-form-urlencoded"
    body = urlencode(form) if form is not None else None
    connection.request("POST" if body is not None else "GET", path, body, sent)
    answer = connection.getresponse()
    cookie = (answer.getheader("Set-Cookie") or "").partition(";")[0]
    found = (answer.status, answer.read().decode(), cookie)
    connection.close()
    return found


def test_what_answers_beside_a_daemon_goes_by_the_clock_of_its_loops(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    workspace.set(LISTEN="127.0.0.1:0", WEB_DECIDE_TOKEN=DECIDE)
    workspace.set(PUBLIC_LISTEN="127.0.0.1:0", PUBLIC_URL="https://p.example", SERVE_FEEDS="true")
    caplog.set_level("INFO")
    settings = load(workspace.config, {})
    with (
        beside_daemon(settings) as (metrics, show),
        assembled(settings, metrics) as (daemon, context),
    ):
        at = datetime(2036, 5, 6, tzinfo=UTC)
        context.clock = lambda: at
        with show(daemon, context):
            url = re.search(r"http: listening on (http://\S+)", caplog.text)
            assert url is not None
            allowed = {"Authorization": f"Bearer {DECIDE}"}
            status, body, _ = ask(url[1], "/api/v1/feeds/show/check", {}, **allowed)
    assert (status, json.loads(body)["due_at"]) == (202, "2036-05-06T00:00:00Z")


def test_the_page_beside_a_daemon_decides_for_it(
    feedwatch: Feedwatch, workspace: Workspace, feed_server: FeedServer
) -> None:
    workspace.set(
        LISTEN="127.0.0.1:0", WEB_PASSWORD=PASSWORD, FLOOD_LIMIT=0, FEEDS__SHOW__FIRST_RUN="all"
    )
    daemon = feedwatch.start("run")
    url = page_of(daemon)
    daemon.until(lambda: feedwatch.states().get("guid-1") == "ready", "the first episode")
    feed_server.publish(2, 1)
    daemon.until(lambda: feedwatch.states().get("guid-2") == "held", "what is held")
    status, _, cookie = ask(url, "/login", {"password": PASSWORD})
    assert status == 303
    number = feedwatch.episode("guid-2")["id"]
    _, preview, _ = ask(url, f"/episodes/{number}/approve", Cookie=cookie)
    version = preview.split('name="version" value="')[1].split('"')[0]
    form = {"version": version}
    assert ask(url, f"/episodes/{number}/approve", form, Cookie=cookie)[0] == 303
    daemon.until(lambda: feedwatch.states().get("guid-2") == "ready", "what was approved")
    history = feedwatch.json("show", number)["history"]
    assert [one["actor"] for one in history if one["actor"]] == ["web:password"]
    assert PASSWORD not in daemon.stderr
    assert daemon.stop().status == 0


def test_the_page_alone_serves_the_same_database(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    feedwatch.once()
    workspace.set(
        LISTEN="127.0.0.1:0",
        WEB_PASSWORD=PASSWORD,
        WEB_TOKEN=READ,
        WEB_DECIDE_TOKEN=DECIDE,
        API_KEY=None,
    )

    def look_and_pause(alone: Beside) -> None:
        url = page_of(alone)
        assert ask(url, "/healthz")[0] == ask(url, "/readyz")[0] == 200
        status, body, _ = ask(url, "/api/v1/ready", Authorization=f"Bearer {READ}")
        assert (status, "guid-1" in body) == (200, True)
        assert ask(url, "/api/v1/pause", {}, Authorization=f"Bearer {DECIDE}")[0] == 200

    assert feedwatch.while_it_runs(["web"], look_and_pause).status == 0
    assert feedwatch.json("status")["paused"]


def test_what_only_one_with_the_key_can_do_is_done_by_a_page_that_has_it(
    feedwatch: Feedwatch, workspace: Workspace, sandbox: Sandbox, feed_server: FeedServer
) -> None:
    workspace.set(FEEDS__SHOW__FIRST_RUN="none")
    feedwatch.once()
    feed_server.publish(2, 1)
    workspace.set(LISTEN="127.0.0.1:0", WEB_PASSWORD=PASSWORD)
    number = feedwatch.episode()["id"]

    def look(alone: Beside) -> None:
        url = page_of(alone)
        cookie = ask(url, "/login", {"password": PASSWORD})[2]
        dry_run = ask(url, "/feeds/show/dry-run", {}, Cookie=cookie)
        assert "Episode 2" in dry_run[1], dry_run
        diagnosis = ask(url, "/settings/doctor", {}, Cookie=cookie)
        assert sandbox.url in diagnosis[1], diagnosis
        retry = ask(url, f"/episodes/{number}/retry", Cookie=cookie)
        assert 'name="version"' in retry[1], retry

    assert feedwatch.while_it_runs(["web"], look).status == 0
    assert sandbox.submissions == []


def test_feeds_are_served_on_the_public_side_and_nothing_else_is(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    public = "https://feeds.example.org"
    workspace.set(PUBLIC_LISTEN="127.0.0.1:0", PUBLIC_URL=public, SERVE_FEEDS="true")
    feedwatch.once()
    said = re.compile(r"the public side listens on (http://\S+)")

    def subscribe(running: Beside) -> None:
        url = running.until(lambda: said.search(running.stderr), "the public side")[1]
        running.until(lambda: ask(url, "/feeds/show.xml")[0] == 200, "the feed")
        feed = ask(url, "/feeds/show.xml")[1]
        assert "<title>Episode 1</title>" in feed
        assert f'href="{public}/feeds/show.xml"' in feed
        assert ask(url, "/")[0] == ask(url, "/api/v1/status")[0] == 404

    for verb in ("web", "run"):
        assert feedwatch.while_it_runs([verb], subscribe).status == 0


def test_the_page_alone_needs_a_database_and_an_address(
    feedwatch: Feedwatch, workspace: Workspace
) -> None:
    assert "FEEDWATCH_LISTEN is missing" in feedwatch.here("web").stderr
    workspace.set(LISTEN="127.0.0.1:0", WEB_PASSWORD=PASSWORD)
    ended = feedwatch.here("web")
    assert ended.status == 1
    assert "start `feedwatch run` first" in ended.stderr
    assert not workspace.database.exists()


def test_the_cli_is_named_in_the_history(
    feedwatch: Feedwatch, workspace: Workspace, feed_server: FeedServer
) -> None:
    workspace.set(FEEDS__SHOW__FLOOD_LIMIT=0)
    feedwatch.once("--timeout", 0)
    feed_server.publish(2, 1)
    feedwatch.once("--timeout", 0)
    number = feedwatch.episode("guid-2")["id"]
    feedwatch.here("skip", number)
    assert feedwatch.json("show", number)["history"][-1]["actor"].startswith("cli:")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"WEB_PASSWORD": PASSWORD}, "FEEDWATCH_LISTEN beside it"),
        ({"LISTEN": ":1", "WEB_PASSWORD": PASSWORD}, "FEEDWATCH_WEB_URL beside it"),
        ({"LISTEN": "h:1", "WEB_PASSWORD": "short"}, "at least 12 characters"),
        ({"LISTEN": "h:1", "WEB_TOKEN": "short"}, "at least 20"),
        ({"LISTEN": "h:1", "WEB_USER_HEADER": "X-User"}, "FEEDWATCH_WEB_TRUSTED_PROXIES beside"),
        ({"LISTEN": "h:1", "WEB_TRUSTED_PROXIES": "::1"}, "FEEDWATCH_WEB_USER_HEADER beside"),
        ({"LISTEN": "h:1", "WEB_URL": "ftp://h"}, "an address that begins with http"),
        ({"LISTEN": "h:1", "WEB_TRUSTED_PROXIES": "10.0.0.1/8"}, "networks, such as"),
        (
            {
                "LISTEN": "h:1",
                "WEB_PASSWORD": PASSWORD,
                "WEB_USER_HEADER": "X-User",
                "WEB_TRUSTED_PROXIES": "::1",
            },
            "keep one of the two",
        ),
    ],
)
def test_what_does_not_fit_together_is_told(
    keys: dict[str, str], said: str, workspace: Workspace
) -> None:
    workspace.set(**keys)
    with pytest.raises(ConfigError, match=said) as error:
        load(workspace.config, {})
    assert PASSWORD not in str(error.value)


def test_secrets_of_the_page_may_be_in_files_and_credentials(
    workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "feedwatch_web_token").write_text(f"{READ}\n")
    (workspace.folder / "password.txt").write_text(f"{PASSWORD}\n")
    workspace.set(LISTEN="h:1", WEB_PASSWORD_FILE="password.txt")
    settings = load(workspace.config, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert settings.web_password is not None
    assert settings.web_token is not None
    assert settings.web_password.get_secret_value() == PASSWORD
    assert settings.web_token.get_secret_value() == READ
    assert {PASSWORD, READ} <= set(settings.secrets())
    assert PASSWORD not in repr(settings)
