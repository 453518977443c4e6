"""The ways to tell, each against something real: a server on loopback, a program, Apprise."""

import base64
import io
import json
import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from feedwatch.core import events
from feedwatch.net.client import Cancellation, client
from feedwatch.notify import Channel, apprise, process
from feedwatch.notify import webhook as webhook_module
from feedwatch.notify.apprise import Apprise
from feedwatch.notify.command import Command
from feedwatch.notify.webhook import Webhook, signature
from tests.receiver import Receiver
from tests.support import LONG, wait_for

ROOT = Path(__file__).parent.parent
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
EVENT = events.event("test", "x", datetime(2026, 11, 21, tzinfo=UTC), "Größe: a line", {"a": 1})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def webhook(receiver: Receiver) -> Iterator[Webhook]:
    with client(Cancellation()) as http:
        secret = base64.b64decode(SECRET.removeprefix("whsec_"))
        yield Webhook(http=http, url=receiver.url, secret=secret)


def script(folder: Path, *lines: str) -> str:
    path = folder / "tell.sh"
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o700)
    return str(path)


# A webhook


def test_a_webhook_carries_the_event_and_a_signature_that_the_documented_lines_accept(
    webhook: Webhook, receiver: Receiver
) -> None:
    assert webhook.deliver(EVENT) is None
    ((headers, body),) = receiver.posts
    assert events.from_json(body.decode()) == EVENT
    assert headers["webhook-id"] == EVENT.id
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    documented = re.search(
        r"```python\n(.*?)```", (ROOT / "docs/notifications.md").read_text(), re.DOTALL
    )
    assert documented is not None
    names: dict[str, object] = {}
    exec(documented[1], names)
    is_ours = names["is_ours"]
    assert callable(is_ours)
    assert is_ours(headers, body, SECRET)
    assert not is_ours(headers, body + b" ", SECRET)
    assert not is_ours(headers | {"webhook-id": "evt_another"}, body, SECRET)


def test_the_signature_is_that_of_the_standards_own_example() -> None:
    """From the test vectors of the Standard Webhooks libraries."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    found = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("status", [301, 307, 400, 404, 410, 429, 500, 503])
def test_a_webhook_that_is_not_taken_is_a_failure_and_no_redirect_is_followed(
    webhook: Webhook, receiver: Receiver, status: int
) -> None:
    receiver.status = status
    assert webhook.deliver(EVENT) == f"the server answered {status}"
    assert len(receiver.posts) == 1


def test_a_webhook_whose_server_is_away_is_a_failure_that_holds_no_secret(
    receiver: Receiver,
) -> None:
    with client(Cancellation()) as http:
        gone = Webhook(http=http, url="http://127.0.0.1:1/?token=s3cret", secret=b"s3cret")
        failure = gone.deliver(EVENT)
        assert failure is not None
        assert "ConnectError" in failure
        assert "s3cret" not in failure + repr(gone)


def test_a_webhook_that_never_answers_is_broken_off_when_the_daemon_stops(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_module, "SECONDS", LONG)
    receiver.delay = LONG
    cancellation = Cancellation()
    cancellation.stop_in(0.2)
    with client(cancellation) as http:
        http.timeout = httpx.Timeout(LONG)
        webhook = Webhook(http=http, url=receiver.url, secret=b"x" * 24)
        assert webhook.deliver(EVENT) is not None


# A command


def test_a_command_is_given_the_event_and_none_of_our_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEEDWATCH_API_KEY", "k3y-that-nobody-may-see")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/feedwatch")
    monkeypatch.setenv("TZ", "UTC")
    told = tmp_path / "told"
    tell = script(tmp_path, f'(printf "%s\\n" "$1"; env; echo; cat) > {told}')
    assert (
        Command(words=[tell, "$HOME; two words"], cancellation=Cancellation()).deliver(EVENT)
        is None
    )
    said = told.read_text().splitlines()
    assert said[0] == "$HOME; two words"  # no shell has seen it
    assert json.loads(said[-1])["id"] == EVENT.id
    env = dict(line.split("=", 1) for line in said[1:-2])
    assert env["FEEDWATCH_EVENT_ID"] == EVENT.id
    assert env["FEEDWATCH_EVENT_TYPE"] == "test"
    assert env["FEEDWATCH_EVENT_TEXT"] == "Größe: a line"
    assert env["TZ"] == "UTC"
    ours = [name for name in env if name.startswith(("FEEDWATCH_", "CREDENTIALS_"))]
    assert len(ours) == 3


def test_a_command_that_fails_says_why_in_short(tmp_path: Path) -> None:
    tell = script(tmp_path, "seq 100000", "echo out of order >&2", "exit 3")
    failure = Command(words=[tell], cancellation=Cancellation()).deliver(EVENT)
    assert failure is not None
    assert failure.startswith("ended with status 3: ")
    assert failure.endswith("out of order")
    assert len(failure) < 500
    assert failure.isprintable()


def test_a_command_that_is_not_there_is_told_before_and_when_it_is_needed() -> None:
    missing = Command(words=["no-such-program", "t0ken"], cancellation=Cancellation())
    assert missing.complaint() == "there is no program 'no-such-program' that can be started"
    assert missing.deliver(EVENT) == "cannot be started: No such file or directory"
    assert "t0ken" not in repr(missing)
    assert Command(words=["sh"], cancellation=Cancellation()).complaint() is None


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    tell = script(
        tmp_path, f"sleep {LONG} &", f"echo $! > {pid}.new", f"mv {pid}.new {pid}", "wait"
    )
    for seconds in (0.5, 5, 50):  # so long that it gets as far as that
        failure = process.run([tell], b"", process.environment(os.environ), Cancellation(), seconds)
        assert failure == f"did not end within {seconds} s"
        if pid.exists():
            break
    line = Path("/proc", pid.read_text().strip(), "cmdline")
    wait_for(lambda: not line.exists() or not line.read_bytes(), what="the end of its child")


def test_a_command_may_leave_something_running_behind_it(tmp_path: Path) -> None:
    noise = script(tmp_path, f"timeout {LONG:.0f} yes &")
    assert Command(words=[noise], cancellation=Cancellation()).deliver(EVENT) is None


def test_a_command_under_way_is_ended_when_the_daemon_stops(tmp_path: Path) -> None:
    cancellation = Cancellation()
    cancellation.stop_in(0.1)
    sleep, env = ["sleep", f"{LONG}"], process.environment(os.environ)
    assert process.run(sleep, b"", env, cancellation, seconds=LONG) is not None


# Apprise


def test_apprise_sends_the_text_and_one_that_fails_is_a_failure(receiver: Receiver) -> None:
    service = Apprise(url=f"json://127.0.0.1:{receiver.port}/hook", cancellation=Cancellation())
    assert service.complaint() is None
    assert service.deliver(EVENT) is None
    ((_, body),) = receiver.posts
    assert json.loads(body)["message"] == EVENT.text
    receiver.status = 500
    failure = service.deliver(EVENT)
    assert failure is not None
    assert "JSON did not take it" in failure


def test_an_address_that_apprise_cannot_read_is_told_and_not_shown() -> None:
    wrong = Apprise(url="discord://s3cret", cancellation=Cancellation())
    complaint = wrong.complaint()
    assert complaint is not None
    assert "Apprise cannot read this address" in complaint
    assert "s3cret" not in complaint + repr(wrong) + wrong.name


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Apprise's own imports
@pytest.mark.parametrize(
    ("scheme", "message", "status", "answer"),
    [
        ("json", None, 204, None),
        ("json", "Ready.", 204, None),
        ("json", "Ready.", 500, "JSON did not take it"),
        ("nonesuch", None, 204, "Apprise cannot read this address"),
    ],
)
def test_the_child_that_has_apprise_answers_with_what_went_wrong(
    scheme: str,
    message: str | None,
    status: int,
    answer: str | None,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receiver.status = status
    asked: dict[str, Any] = {"url": f"{scheme}://127.0.0.1:{receiver.port}/s3cret"}
    if message is not None:
        asked["message"] = {"title": "T", "body": message, "notify_type": "info"}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(asked)))
    told = apprise._answer()
    assert (told is None) if answer is None else (told is not None and answer in told)
    assert "s3cret" not in (told or "")
    assert [json.loads(body)["message"] for _, body in receiver.posts] == [message] * bool(message)


def test_every_channel_has_its_own_name() -> None:
    cancellation = Cancellation()
    channels: list[Channel] = [
        Apprise(url="ntfy://one", cancellation=cancellation),
        Apprise(url="ntfy://two", cancellation=cancellation),
        Command(words=["sh"], cancellation=cancellation),
    ]
    assert len({channel.name for channel in channels}) == 3
