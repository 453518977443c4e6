"""A canary in every secret of the config, and a world that echoes all of them in every error."""

import base64
import json
import re
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import is_dataclass
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from feedwatch.cli.web import access_of, parts_alone
from feedwatch.config.keys import Settings
from feedwatch.config.load import load
from feedwatch.core import masking
from feedwatch.core.masking import know, masked
from feedwatch.daemon.metrics import Metrics
from feedwatch.processors.mediaapis import TOKEN_PATH
from feedwatch.store.store import Store
from feedwatch.web.app import application
from feedwatch.web.monitoring import Serving
from feedwatch.web.site import Site
from tests.support import Ended, Feedwatch, Loopback, Workspace, item, one_in, rss

NAMES = ("api-key", "login", "token", "bearer", "cookie", "password", "argument", "option", "hook")
MORE = ("whsec-text", "web-password", "read-token", "decide-token", "heartbeat", "proxy")
LATER = ("api-proxy", "apprise", "serve-key", "database")
MEDIA = ("app-key", "app-secret", "store-key", "store-secret", "store-token")
CANARIES = {
    name: f"{sha256(name.encode()).hexdigest()[:24]}" for name in NAMES + MORE + LATER + MEDIA
}
LOGIN = base64.b64encode(f"{CANARIES['app-key']}:{CANARIES['app-secret']}".encode()).decode()
WHSEC = base64.b64encode(CANARIES["whsec-text"].encode() * 2).decode()[:44]
SECRETS = [*(value for name, value in CANARIES.items() if name != "whsec-text"), WHSEC, LOGIN]
PIECE = 10  # characters of a canary that are as bad as all of it
NOT_ECHOED = {CANARIES["database"], CANARIES["apprise"]}  # nor in the config of most tests
# So long that every cut goes through one of them.
ECHO = " ".join([one for one in SECRETS if one not in NOT_ECHOED] * 3)
ISSUED = sha256(b"issued").hexdigest()[
    :24
]  # the token that the Media APIs give: a secret from then on
SECRETS.append(ISSUED)
FEEDS = ("good", "status", "page", "text", "login")

# What has to hold a secret, since it is asked for, submitted or known by it.
MAY_HOLD = {
    "feeds": {"url", "etag", "last_modified", "moved_to", "address"},
    "episodes": {"title", "title_key", "enclosure_url", "seen_url", "source_url"},
    "identities": {"key"},
    "claims": {"title"},
}  # fmt: skip

GIVEN = (200, {"access_token": ISSUED, "expires_in": 1800})


class Echo(Loopback):
    """A publisher and two APIs that quote all they know: `posts` and so on are (status, body)."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.told: list[str] = []
        self.posts: tuple[int, Any] = (200, {"data": {"mediaId": "m1"}})
        self.polls: tuple[int, Any] = (200, {"data": {"status": "IMPORTED"}})
        self.tokens: tuple[int, Any] = GIVEN
        echo = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = urlsplit(self.path).path[1:]  # by the proxy it comes as a whole URL
                if name == "good":
                    titled = item(
                        1,
                        title=f"{'t' * 20} {ECHO}",
                        url=f"https://m.example.org/1.mp3?auth={CANARIES['token']}",
                    )
                    self.say(200, rss(titled))
                elif name == "status" or name.startswith("public/"):
                    self.say(500, b"", ECHO)
                elif name == "page":
                    self.say(200, f"<html><title>{ECHO}</title></html>".encode())
                elif name == "text":
                    self.say(200, ECHO.encode())
                elif name == "login" or name.startswith("beat"):
                    self.say(401, b"", ECHO)
                elif "/media/" in name or name in ("media/enhance", "media/diagnose"):
                    self.say(*echo.polls)
                else:
                    self.say(200, {"data": [], "jobs": []})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                path = urlsplit(self.path).path
                if path.startswith(("/hook", "/beat")):
                    echo.told.append(body.decode())
                    self.say(500, b"", ECHO)
                else:
                    self.say(*(echo.tokens if path == TOKEN_PATH else echo.posts))

            def say(self, status: int, body: Any, reason: str | None = None) -> None:
                raw = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status, reason)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, format: str, *_: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def place(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_port}"


@pytest.fixture
def echo() -> Iterator[Echo]:
    known = masking._known
    with Echo() as echo:
        yield echo
    masking._known = known


def installed(folder: Path, echo: Echo) -> Workspace:
    """A config with every secret that there can be."""
    folder.mkdir()
    workspace = Workspace(folder, f"http://{echo.place}")
    tell = folder / "tell.sh"
    tell.write_text(f'#!/bin/sh\ncat >> "{folder}/told"\necho "$@" "$@" "$@" {ECHO}\nexit 1\n')
    tell.chmod(0o700)
    workspace.set(
        API_KEY=CANARIES["api-key"],
        NOTIFY_COMMAND=f"{tell} --token={CANARIES['option']} {CANARIES['argument']}",
        NOTIFY_WEBHOOK_URL=f"http://{echo.place}/hook/{CANARIES['hook']}",
        NOTIFY_WEBHOOK_SECRET=f"whsec_{WHSEC}",
        HEARTBEAT_URL=f"http://{echo.place}/beat/{CANARIES['heartbeat']}",
        NOTIFY_APPRISE_URLS=f"json://{echo.place}/hook/{CANARIES['apprise']}",
        PROXY=f"http://joe:{CANARIES['api-proxy']}@{echo.place}",
        FEED_PROXY=f"http://joe:{CANARIES['proxy']}@{echo.place}",
        MEDIAAPIS_URL=f"http://{echo.place}",
        MEDIAAPIS_AUTH_URL=f"http://{echo.place}",
        MEDIAAPIS_KEY=CANARIES["app-key"],
        MEDIAAPIS_SECRET=CANARIES["app-secret"],
        MEDIAAPIS_OUTPUT="s3://bucket/{token}",
        MEDIAAPIS_OUTPUT_AUTH=json.dumps(
            {name: CANARIES[f"store-{name}"] for name in ("key", "secret", "token")}
        ),
        MEDIAAPIS_PUBLIC_URL=f"http://{echo.place}/public/{{token}}",
        LISTEN="127.0.0.1:0",
        WEB_PASSWORD=CANARIES["web-password"],
        WEB_TOKEN=CANARIES["read-token"],
        WEB_DECIDE_TOKEN=CANARIES["decide-token"],
        LOG_LEVEL="debug",
    )
    for name in FEEDS:
        workspace.add_feed(
            name,
            f"http://joe:{CANARIES['login']}@{echo.place}/{name}?auth={CANARIES['token']}",
            FIRST_RUN="all",
            HEADERS=json.dumps(
                {
                    "Authorization": f"Bearer {CANARIES['bearer']}",
                    "Cookie": f"theme=dark; sid={CANARIES['cookie']}",
                }
            ),
            USERNAME="joe",
            PASSWORD=CANARIES["password"],
            SERVE_KEY=CANARIES["serve-key"],
        )
    return workspace


class Recorder:
    """Stands for settings, and records which of their fields are read, and whether they are set."""

    def __init__(self, of: object, is_set: dict[str, bool]) -> None:
        self._of, self._is_set = of, is_set

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._of, name)
        if callable(getattr(type(self._of), name, None)):
            return partial(getattr(type(self._of), name), self)
        full = f"{type(self._of).__name__}.{name}"
        self._is_set[full] = self._is_set.get(full, False) or bool(value)
        if isinstance(value, tuple) and value and is_dataclass(value[0]):
            return tuple(Recorder(one, self._is_set) for one in value)
        return Recorder(value, self._is_set) if is_dataclass(value) else value


def test_every_field_that_may_hold_a_secret_has_a_canary_here(tmp_path: Path, echo: Echo) -> None:
    settings = load(installed(tmp_path / "w", echo).config, {})
    is_set: dict[str, bool] = {}
    Settings.secrets(Recorder(settings, is_set))  # type: ignore[arg-type]
    assert [name for name, planted in is_set.items() if not planted] == []
    assert {"Settings.proxy", "ServeRules.serve_key", "MediaApisSettings.secret"} <= is_set.keys()
    known = settings.secrets()
    elsewhere = {CANARIES["database"], ISSUED}  # of a database that is not there; not of the config
    assert [one for one in {*SECRETS} - elsewhere if not any(one in text for text in known)] == []


def test_the_password_of_a_database_is_not_shown_where_it_cannot_be_reached(
    tmp_path: Path, echo: Echo
) -> None:
    workspace = installed(tmp_path / "w", echo)
    workspace.makes_tables = False
    workspace.set(DATABASE_URL=f"postgresql://joe:{CANARIES['database']}@127.0.0.1:1/feedwatch")
    for verb in (["status"], ["run", "--once"], ["episodes", "--json"]):
        ended = Feedwatch(workspace).here(*verb)
        assert ended.status != 0
        assert pieces_in(ended.output) == set()


ENVELOPE = {"error": f"{'e' * 490} {ECHO}", "message": ECHO}
TAKEN = (200, {"data": {"mediaId": "m1"}})
ROUNDS: dict[str, tuple[tuple[int, Any], tuple[int, Any]]] = {
    "refused": ((400, ENVELOPE), (200, {})),
    "doubtful": ((500, ECHO.encode()), (200, {})),
    "odd": ((409, {"detail": ECHO}), (200, {})),
    "blocked": ((401, ENVELOPE), (200, {})),
    "without an id": ((200, {"data": {"status": ECHO}}), (200, {})),
    "lost": (TAKEN, (404, ENVELOPE)),
    "strange": (TAKEN, (200, {"data": {"status": ECHO, "updatedAt": ECHO}})),
    "without a url": (TAKEN, (200, {"data": {"status": "READY", "url": ECHO}})),
    "ready": (TAKEN, (200, {"data": {"status": "READY", "url": "https://p.example.org/1"}})),
}  # fmt: skip


@pytest.mark.parametrize("name", one_in(4, ROUNDS))
def test_no_secret_nor_a_piece_of_one_is_ever_said_told_or_written_down(
    tmp_path: Path, echo: Echo, name: str
) -> None:
    echo.posts, echo.polls = ROUNDS[name]
    workspace = installed(tmp_path / "w", echo)
    assert_nothing_is_shown(workspace, echo, with_apprise=name == "refused")


PROBLEM = {"title": f"{'t' * 490} {ECHO} {ISSUED}", "detail": f"{ISSUED} {ECHO}"}
JOB = (200, {"job_id": "job-1"})
FAILED = {"status": "Failed", "error": PROBLEM}
# Tokens, POSTs and polls of the Media APIs.
MEDIA_ROUNDS: dict[str, tuple[tuple[int, Any], tuple[int, Any], tuple[int, Any]]] = {
    "no token": ((401, {"title": ECHO, "status": 401}), JOB, (200, {})),
    "odd token": ((200, {"access_token": ECHO}), JOB, (200, {})),
    "refused": (GIVEN, (400, PROBLEM | {"status": 400}), (200, {})),
    "doubtful": (GIVEN, (500, f"{ISSUED} {ECHO}".encode()), (200, {})),
    "without an id": (GIVEN, (200, {"job_id": f"{ISSUED} {ECHO}"}), (200, {})),
    "failed": (GIVEN, JOB, (200, FAILED)),
    "strange": (GIVEN, JOB, (200, {"status": f"{ISSUED} {ECHO}"})),
    "unreadable": (GIVEN, JOB, (200, {"status": "Success"})),
}  # fmt: skip


@pytest.mark.parametrize("name", one_in(4, MEDIA_ROUNDS))
def test_nor_is_one_of_the_media_apis(tmp_path: Path, echo: Echo, name: str) -> None:
    echo.tokens, echo.posts, echo.polls = MEDIA_ROUNDS[name]
    workspace = installed(tmp_path / "w", echo)
    workspace.set(PIPELINE="enhance,ads")
    assert_nothing_is_shown(workspace, echo)


def test_nor_is_one_that_a_result_quotes(tmp_path: Path, echo: Echo) -> None:
    found = {"status": "Success", "result": {"audio": [ISSUED, ECHO], "quality_score": 7}}
    echo.posts, echo.polls = JOB, (200, found)
    workspace = installed(tmp_path / "w", echo)
    workspace.set(PIPELINE="diagnose,ads")
    assert_nothing_is_shown(workspace, echo)
    shown = Feedwatch(workspace).here("show", "1", "--json").json
    assert shown["steps"][0]["result"]["quality_score"] == 7


def assert_nothing_is_shown(
    workspace: Workspace, echo: Echo, *, with_apprise: bool = False
) -> None:
    """Live with this config for a while, and look at all that is said and kept.

    Apprise is slow to start, and has a round of its own.
    """
    if not with_apprise:
        workspace.set(NOTIFY_APPRISE_URLS=None)
    feedwatch = Feedwatch(workspace)
    feedwatch.once("--timeout", "0")
    said = [feedwatch.once("--timeout", "0.5")]
    assert said[0].status not in (0, 2), said[0].output
    workspace.set(LOG_FORMAT="json")
    said += [feedwatch.once("--timeout", "0")]
    for verb in (["feeds"], ["status"], ["doctor", "--notify"], ["show", "1"], ["podcasts"]):
        said += [feedwatch.here(*verb), feedwatch.here(*verb, "--json")]
    told = [*echo.told, (workspace.folder / "told").read_text()]
    assert echo.told
    for text in [*(one.output for one in said), *told]:
        assert [line for line in text.splitlines() if pieces_in(exempt(line))] == []
    assert pieces_in("".join(pages(workspace))) == set()
    assert written(workspace.database) == {}


def test_the_verbs_that_list_items_mask_what_the_config_holds(tmp_path: Path, echo: Echo) -> None:
    workspace = installed(tmp_path / "w", echo)
    workspace.set(NOTIFY_APPRISE_URLS=None)
    feedwatch = Feedwatch(workspace)
    said: list[Ended] = [feedwatch.once("--timeout", "0")]
    for verb in (["check"], ["episodes"]):
        said += [feedwatch.here(*verb), feedwatch.here(*verb, "--json")]
    said.append(feedwatch.here("export"))
    for one in said:
        # The address of a private feed's audio is what is submitted: it stays as it is.
        assert pieces_in(one.output.replace(f"auth={CANARIES['token']}", "")) == set()


def test_a_config_that_is_wrong_shows_no_secret(tmp_path: Path, echo: Echo) -> None:
    workspace = installed(tmp_path / "w", echo)
    workspace.set(
        WEB_TOKEN=f"{CANARIES['read-token']} spaced",
        NOTIFY_WEBHOOK_URL=f"hook/{CANARIES['hook']}",
        FEEDS__GOOD__URL=f"//joe:{CANARIES['login']}@h/?auth={CANARIES['token']}",
        FEEDS__PAGE__HEADERS=f'{{"Cookie": {CANARIES["cookie"]}',
        NOTIFY_COMMAND=f"tell {CANARIES['argument']} ' ",
        DATABASE_URL=f"postgresql//joe:{CANARIES['login']}@h/db",
        FEEDS__TEXT__PASSWRD=CANARIES["password"],
    )
    ended = Feedwatch(workspace).here("status")
    assert ended.status == 2
    assert pieces_in(ended.output) == set()


@pytest.mark.parametrize(
    ("secret", "text", "shown"),
    [
        ("test", "the latest test, a contest", "the latest ***, a contest"),
        ("feed1", "feed1 feed10 q=%20feed1&x=feed1", "*** feed10 q=%20***&x=***"),
        ("abc", "abc", "abc"),
        ("longer-one", "xlonger-oney", "x***y"),
    ],
)
def test_a_short_secret_is_masked_as_a_whole_word_only(
    echo: Echo, secret: str, text: str, shown: str
) -> None:
    del echo  # puts back what is known
    know([secret])
    assert masked(text) == shown


@pytest.mark.parametrize(
    ("key", "value", "is_warned_of"),
    [
        ("FEEDS__SHOW__PASSWORD", "abc", True),
        ("FEEDS__SHOW__HEADERS", '{"X-Token": "abc"}', True),
        ("FEEDS__SHOW__HEADERS", '{"X-Version": "1"}', False),
        ("FEEDS__SHOW__PASSWORD", "abcd", False),
    ],
)
def test_a_secret_too_short_to_be_masked_is_warned_of(
    tmp_path: Path, key: str, value: str, is_warned_of: bool
) -> None:
    workspace = Workspace(tmp_path, "http://127.0.0.1:1")
    workspace.add_feed(
        "show", "http://127.0.0.1:1/", USERNAME="joe", **{key.rpartition("__")[2]: value}
    )
    warnings = load(workspace.config, {}).warnings
    assert [f"FEEDWATCH_{key}" in one for one in warnings] == [True] * is_warned_of


def pieces_in(text: str) -> set[str]:
    """The secrets of which a piece is in a text."""
    return {
        secret
        for secret in SECRETS
        for start in range(len(secret) - PIECE + 1)
        if secret[start : start + PIECE] in text
    }


def written(database: Path) -> dict[str, set[str]]:
    """The columns that hold a piece of a secret, of those that need not."""
    found: dict[str, set[str]] = {}
    with closing(sqlite3.connect(database)) as db:
        for (table,) in db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall():
            rows = db.execute(f"SELECT * FROM {table}")
            columns = [one[0] for one in rows.description]
            text = {name: "" for name in columns if name not in MAY_HOLD.get(table, ())}
            for row in rows:
                for name, value in zip(columns, row, strict=True):
                    if name in text:
                        text[name] += exempt(str(value))
            found |= {
                f"{table}.{name}": pieces
                for name, one in text.items()
                if (pieces := pieces_in(one))
            }
    return found


def exempt(text: str) -> str:
    """Without an episode's own address, which is what was submitted."""
    return re.sub(r'"enclosure_url": "[^"]*"|^enclosure_url: .*', "", text)


def pages(workspace: Workspace) -> Sequence[str]:
    """What page and API say."""
    settings = load(workspace.config, {})
    know(settings.secrets())
    with closing(Store(settings.database_url, processor="inlet")) as store:
        site = Site(access=access_of(settings, "http://localhost"))
        site.parts = parts_alone(settings, store)
        app = application(site, Serving(Metrics(), list))
        page, api = app.test_client(), app.test_client()
        answer = page.post(
            "/login",
            data={"password": CANARIES["web-password"]},
            headers={"Sec-Fetch-Site": "same-origin"},
        )
        assert answer.status_code == 303, answer.text
        found = [
            page.get(path)
            for path in ("/", "/feeds", "/feeds/good", "/log", "/settings", "/episodes/1")
        ]
        bearer = {"Authorization": f"Bearer {CANARIES['read-token']}"}
        found += [
            api.get(f"/api/v1/{path}", headers=bearer)
            for path in ("status", "feeds", "episodes", "history", "episodes/1")
        ]
        assert all(one.status_code == 200 for one in found), [one.status for one in found]
        return [exempt(one.text).replace(f"auth={CANARIES['token']}", "") for one in found]
