"""The Media APIs alone: tokens, outputs and callbacks. What every processor does: conformance."""

import base64
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from threading import Event, Lock
from typing import Any

import httpx
import jsonschema_rs
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from feedwatch.core import masking
from feedwatch.core.job import Accepted, Broken, Finished, Later, Running, Task, Unreachable
from feedwatch.core.masking import know, masked
from feedwatch.net.client import Cancellation, client
from feedwatch.processors.bearer import Bearer
from feedwatch.processors.clocks import moment
from feedwatch.processors.mediaapis import TOKEN_PATH, MediaApis, Output
from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.server import Sandbox
from tests.conformance import (
    APP_KEY,
    APP_SECRET,
    KITS,
    STORE_SECRET,
    callback_at,
    mediaapis_at,
    output_at,
)
from tests.receiver import Receiver
from tests.support import KEY, ROOT, FeedServer, wait_for

ENHANCE, DIAGNOSE = KITS["enhance"].task, KITS["diagnose"].task
TASKS = pytest.mark.parametrize("task", [ENHANCE, DIAGNOSE], ids=["enhance", "diagnose"])
CONTRACT = yaml.safe_load(
    (ROOT / "tests/contract/mediaapis.openapi.yaml").read_text(encoding="utf-8")
)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def sandboxed(**more: Any) -> Iterator[Sandbox]:
    with Sandbox(
        api_key=KEY, app_key=APP_KEY, app_secret=APP_SECRET, job_seconds=0.0, **more
    ) as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def api() -> Iterator[Sandbox]:
    with sandboxed() as running:
        yield running


@pytest.fixture
def media(api: Sandbox, clock: Clock) -> Iterator[MediaApis]:
    api.use_clock(clock)
    with mediaapis_at(api.url, api, clock=clock) as media:
        yield media


def taken(media: MediaApis, task: Task) -> str:
    assert media.prepare() is None
    answer = media.submit(task, moment())
    assert isinstance(answer, Accepted), answer
    return answer.media_id


# The token


@TASKS
def test_a_post_asks_for_no_token_of_its_own(api: Sandbox, media: MediaApis, task: Task) -> None:
    answer = media.submit(task, moment())
    assert isinstance(answer, Later)
    assert not answer.sent
    assert not answer.blocked
    assert api.requests == {}
    assert media.prepare() is None
    assert isinstance(media.submit(task, moment()), Accepted)
    assert api.tokens == 1


def test_a_token_that_ends_between_preparation_and_post_is_not_renewed_then(
    api: Sandbox, media: MediaApis, clock: Clock
) -> None:
    assert media.prepare() is None
    clock.now += 1800
    answer = media.submit(DIAGNOSE, moment())
    assert isinstance(answer, Later)
    assert not answer.sent
    assert api.tokens == 1
    assert api.submissions == []


@pytest.mark.parametrize(
    ("lifetime", "good_for"), [(1800, 1500), (86_400, 86_100), (100, 80), (1, 0.8)]
)
def test_a_token_is_renewed_five_minutes_or_a_fifth_of_its_life_before_its_end(
    api: Sandbox, clock: Clock, lifetime: int, good_for: float
) -> None:
    api.use_clock(clock)
    with client(Cancellation(), base_url=api.url, auth=(APP_KEY, APP_SECRET)) as http:
        bearer = Bearer(http, path=TOKEN_PATH, keys="", lifetime=lifetime, clock=clock)
        first = bearer.fetched()
        clock.now += good_for - 0.01
        assert bearer.fetched() == first
        clock.now += 0.02
        assert bearer.at_hand() == first, "it is good for a while yet"
        assert bearer.fetched() != first
    assert api.tokens == 2


def test_two_hours_of_jobs_meet_no_token_that_has_ended(
    api: Sandbox, media: MediaApis, clock: Clock
) -> None:
    for minute in range(120):
        task = replace(ENHANCE, token=f"token-{minute}")
        assert isinstance(media.poll(task, taken(media, task)), Finished)
        clock.now += 60
    assert len(api.taken) == 120
    assert api.tokens == 5, "each is good for 30 minutes and renewed after 25"
    assert {one.status for one in api.submissions} == {200}


def test_a_renewal_that_fails_leaves_the_token_at_hand_as_long_as_it_is_good(
    api: Sandbox, media: MediaApis, clock: Clock
) -> None:
    assert media.prepare() is None
    api.faults.add(Fault("token", "status", status=503, times=None))
    clock.now += 1600
    assert media.probe("", None) is None
    assert media.probe("", None) is None
    assert api.tokens == 2, "it is tried again after a while, not at each read"
    clock.now += 300
    failure = media.prepare()
    assert failure is not None
    assert not failure.blocked
    assert isinstance(media.poll(DIAGNOSE, "x"), Unreachable)
    api.faults.clear()
    assert media.prepare() is None


@pytest.mark.parametrize(
    ("fault", "blocked"),
    [
        (Fault("token", "status", status=401), True),
        (Fault("token", "status", status=400), True),
        (Fault("token", "status", status=403), True),
        (Fault("token", "html", status=404), True),
        (Fault("token", "html", status=200), True),
        (Fault("token", "junk"), True),
        (Fault("token", "status", status=429, retry_after=9), False),
        (Fault("token", "html", status=502), False),
        (Fault("token", "drop_before"), False),
        (Fault("token", "truncate"), False),
    ],
    ids=lambda one: f"{one.kind}-{one.status}" if isinstance(one, Fault) else "",
)
def test_without_a_token_nothing_is_submitted(
    api: Sandbox, media: MediaApis, fault: Fault, *, blocked: bool
) -> None:
    api.faults.add(fault)
    failure = media.prepare()
    assert failure is not None
    assert (failure.blocked, failure.sent) == (blocked, False)
    assert ("THE KEYS" in failure.reason) == blocked
    if fault.retry_after:
        assert failure.retry_after is not None
    assert isinstance(media.submit(DIAGNOSE, moment()), Later)
    assert api.submissions == []


@pytest.mark.parametrize(
    "answer",
    [
        {"access_token": "has a space"},
        {"access_token": 5},
        {"access_token": ""},
        {"access_token": "t0ken-that-nobody-sees", "expires_in": 0},
        {"access_token": "t0ken-that-nobody-sees", "expires_in": "soon"},
        {"access_token": "t0ken-that-nobody-sees", "expires_in": 10**300},
        {"token": "t0ken-that-nobody-sees"},
    ],
)
def test_a_success_without_a_usable_token_is_not_quoted(
    api: Sandbox, media: MediaApis, answer: dict[str, object]
) -> None:
    api.faults.add(Fault("token", "status", status=200, body=json.dumps(answer)))
    failure = media.prepare()
    assert failure is not None
    assert "t0ken" not in failure.reason
    assert "has a space" not in failure.reason


def test_a_wrong_secret_blocks(api: Sandbox) -> None:
    with mediaapis_at(api.url, api, key="wrong") as media:
        failure = media.probe("", None)
        progress = media.poll(DIAGNOSE, "x")
    assert failure is not None
    assert failure.blocked
    assert isinstance(progress, Unreachable)
    assert progress.blocked


def test_a_read_whose_token_is_refused_is_sent_again_with_a_fresh_one(
    api: Sandbox, media: MediaApis
) -> None:
    job = taken(media, DIAGNOSE)
    api.faults.add(Fault("poll", "token_expired"))
    assert isinstance(media.poll(DIAGNOSE, job), Finished)
    assert api.tokens == 2
    assert len(api.polls[job]) == 2


def test_a_read_whose_fresh_token_is_refused_as_well_blocks(api: Sandbox, media: MediaApis) -> None:
    job = taken(media, DIAGNOSE)
    api.faults.add(Fault("poll", "token_expired", times=2))
    progress = media.poll(DIAGNOSE, job)
    assert isinstance(progress, Unreachable)
    assert progress.blocked
    assert len(api.polls[job]) == 2


def test_a_post_whose_token_is_refused_waits_and_the_second_in_a_row_blocks(
    api: Sandbox, media: MediaApis
) -> None:
    taken(media, DIAGNOSE)
    for times, blocked in ((1, [False]), (2, [False, True])):
        api.faults.add(Fault("submit", "token_expired", times=times))
        for expected in blocked:
            assert media.prepare() is None
            answer = media.submit(DIAGNOSE, moment())
            assert isinstance(answer, Later)
            assert (answer.blocked, answer.odd, answer.sent) == (expected, False, True)
        taken(media, DIAGNOSE)
    assert len(api.taken) == 3


def test_who_waits_for_a_call_of_another_thread_that_fails_does_not_call_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Noted:
        """A lock that counts who has come to it."""

        def __init__(self) -> None:
            self.come, self._lock = 0, Lock()

        def __enter__(self) -> None:
            self.come += 1
            self._lock.acquire()

        def __exit__(self, *_: object) -> None:
            self._lock.release()

    waiting, lock, calls = Event(), Noted(), list[int]()
    bearer = Bearer(httpx.Client(trust_env=False), path="", keys="", lifetime=60)
    monkeypatch.setattr(bearer, "_lock", lock)

    def fails(_bearer: Bearer, _now: float) -> Later:
        calls.append(1)
        waiting.wait(10)
        return Later("silence", sent=False)

    monkeypatch.setattr(Bearer, "_fetch", fails)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(bearer.fetched)
        wait_for(lambda: calls)
        others = [pool.submit(bearer.fetched) for _ in range(2)]
        wait_for(lambda: lock.come == 3)
        waiting.set()
        assert {str(one.result()) for one in (first, *others)} == {str(first.result())}
    assert len(calls) == 1
    assert isinstance(bearer.fetched(), Later)
    assert len(calls) == 2, "who comes later tries again"


def test_a_token_that_another_thread_has_renewed_is_kept(api: Sandbox) -> None:
    with client(Cancellation(), base_url=api.url, auth=(APP_KEY, APP_SECRET)) as http:
        bearer = Bearer(http, path=TOKEN_PATH, keys="", lifetime=60)
        first = bearer.fetched()
        assert isinstance(first, str)
        bearer.drop("an older one")
        assert bearer.at_hand() == first
        bearer.drop(first)
        assert bearer.at_hand() is None


def test_key_secret_token_and_login_are_masked_everywhere(api: Sandbox, media: MediaApis) -> None:
    known = masking._of_config
    login = base64.b64encode(f"{APP_KEY}:{APP_SECRET}".encode()).decode()
    try:
        know([APP_KEY, APP_SECRET, STORE_SECRET, login])
        assert media.prepare() is None
        token = media._bearer.at_hand()
        assert token is not None
        assert masked(f"what {token} said") == "what *** said"
        body = json.dumps({"title": "No", "status": 400, "detail": f"{token} {STORE_SECRET}"})
        api.faults.add(Fault("submit", "status", status=400, body=body))
        reason = getattr(media.submit(ENHANCE, moment()), "reason", "")
        assert token not in reason
        assert STORE_SECRET not in reason
        api.faults.add(Fault("token", "html", status=502))
        know([APP_KEY, APP_SECRET])
        assert masked(token) == "***", "a reload of the config forgets no token"
    finally:
        know(known)


# What is submitted


def test_the_body_is_what_the_contract_asks_for(api: Sandbox) -> None:
    with mediaapis_at(api.url, api, callbacks="https://hooks.example.org/x") as media:
        taken(media, ENHANCE)
        taken(media, DIAGNOSE)
    enhance, diagnose = api.taken
    output = enhance.pop("output")
    assert output["url"].startswith(f"{api.url}/out/show/7-")
    assert output["auth"] == {"username": "joe", "password": STORE_SECRET}
    told = {"url": f"https://hooks.example.org/x/callbacks/mediaapis/{ENHANCE.token}"}
    assert diagnose == {"input": "https://media.example.org/1.mp3", "on_complete": told}
    assert enhance == {**diagnose, "content": {"type": "podcast"}}


def test_each_post_writes_to_a_name_of_its_own() -> None:
    output = Output(url="s3://b/{feed}/{id}-{token}.mp3", public_url="https://c/{token}{id}")
    first = output.named(output.url, ENHANCE)
    again = output.named(output.url, replace(ENHANCE, token="another"))
    assert first != again
    assert first.startswith("s3://b/show/7-")
    assert len(first) == len("s3://b/show/7-.mp3") + 16
    assert output.named(output.url, ENHANCE) == first, "a poll finds what a POST has named"


def test_without_auth_the_output_is_a_plain_address() -> None:
    media = MediaApis(BEARER._client, BEARER, BEARER._client, BUCKET)
    assert str(media.body_of(ENHANCE)["output"]).startswith("s3://b/show/7-")


def schema_of(name: str) -> jsonschema_rs.Draft4Validator:
    reference = f"#/components/schemas/{name}"
    return jsonschema_rs.Draft4Validator(
        {"$ref": reference, "components": CONTRACT["components"]}, validate_formats=True
    )


BEARER = Bearer(httpx.Client(trust_env=False), path="", keys="", lifetime=1)
BUCKET = Output(url="s3://b/{feed}/{id}-{token}", public_url="https://c/{token}")
SCHEMAS = {"enhance": schema_of("EnhanceRequest"), "diagnose": schema_of("DiagnoseRequest")}


@given(
    st.sampled_from(["https://h/a.mp3", "http://h/a?b=c&d"]),
    st.text(min_size=1),
    st.integers(0, 2**31),
    st.sampled_from([None, {}, {"content": {"type": "podcast"}}, {"audio": {"noise": {}}}]),
    st.sampled_from([None, "https://hooks.example.org"]),
)
@settings(max_examples=60, deadline=None)
def test_every_body_keeps_to_the_contract(
    url: str, feed: str, number: int, options: Any, callbacks: str | None
) -> None:
    media = MediaApis(BEARER._client, BEARER, BEARER._client, BUCKET, callback_at(callbacks))
    task = replace(ENHANCE, url=url, options=options, episode_id=number, feed=feed)
    for kind, schema in SCHEMAS.items():
        body = media.body_of(replace(task, target=f"{kind}:p"))
        assert schema.is_valid(json.loads(json.dumps(body))), body


# The result


def test_an_enhanced_file_is_passed_on_once_one_byte_of_it_can_be_read(
    api: Sandbox, media: MediaApis
) -> None:
    job = taken(media, ENHANCE)
    progress = media.poll(ENHANCE, job)
    assert isinstance(progress, Finished)
    output = output_at(api)
    assert progress.url == output.named(output.public_url, ENHANCE)
    assert httpx.get(progress.url or "", trust_env=False).content


def test_an_output_is_not_looked_for_before_its_job_has_succeeded(
    api: Sandbox, media: MediaApis
) -> None:
    job = taken(media, ENHANCE)
    api.set_status(job, "Failed")
    assert isinstance(media.poll(ENHANCE, job), Broken)
    api.set_status(job, "Running")
    progress = media.poll(ENHANCE, job)
    assert isinstance(progress, Running)
    assert progress.progress == 35
    assert api.requests["GET", "/public/{+name}"] == 0


def test_a_success_whose_output_cannot_be_read_is_no_result_yet(
    api: Sandbox, media: MediaApis
) -> None:
    api.faults.add(Fault("submit", "output_missing"))
    job = taken(media, ENHANCE)
    progress = media.poll(ENHANCE, job)
    assert isinstance(progress, Unreachable)
    assert progress.reason == "Success, but the output cannot be read: 404"
    assert (progress.blocked, progress.done) == (False, "Success")
    output = output_at(api)
    url = output.named(output.url, ENHANCE)
    httpx.put(url, content=b"", trust_env=False)
    assert "empty" in getattr(media.poll(ENHANCE, job), "reason", "")
    httpx.put(url, content=b"a", trust_env=False)
    assert isinstance(media.poll(ENHANCE, job), Finished), "it may come later"


def test_an_output_is_read_by_its_first_byte_and_without_credentials(api: Sandbox) -> None:
    with FeedServer() as storage, mediaapis_at(api.url, api) as media:
        media._output = Output(url="s3://b/{token}", public_url=storage.url_of("/{token}"))
        assert isinstance(media.poll(ENHANCE, taken(media, ENHANCE)), Unreachable)
    ((_, headers),) = storage.seen
    assert headers["range"] == "bytes=0-0"
    assert not {"authorization", "cookie"} & headers.keys()


@pytest.mark.parametrize("public_url", ["http://127.0.0.1:1/{token}", "ftp://h/{token}"])
def test_an_output_at_no_server_is_no_result(api: Sandbox, public_url: str) -> None:
    with mediaapis_at(api.url, api) as media:
        media._output = Output(url="s3://b/{token}", public_url=public_url)
        progress = media.poll(ENHANCE, taken(media, ENHANCE))
    assert isinstance(progress, Unreachable)
    assert "the output cannot be read" in progress.reason


def test_a_config_that_has_no_output_any_more_is_told(api: Sandbox) -> None:
    with mediaapis_at(api.url, api) as media:
        job = taken(media, ENHANCE)
        assert media.has_target("enhance:p") is True
        media._output = None
        assert media.has_target("enhance:p") is False
        assert "PUBLIC_URL" in getattr(media.poll(ENHANCE, job), "reason", "")


def test_what_diagnose_finds_is_the_result(api: Sandbox, media: MediaApis) -> None:
    progress = media.poll(DIAGNOSE, taken(media, DIAGNOSE))
    assert isinstance(progress, Finished)
    assert progress.url is None
    assert progress.result["audio"]["quality_score"] == {"average": 7.1}
    assert api.requests["GET", "/public/{+name}"] == 0


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"title": "No", "detail": "not found"}, "No: not found"),
        ({"details": "not found"}, "not found"),
        ({"detail": "this", "details": "that"}, "this"),
        ({"detail": 5}, "the API gives no reason"),
        ("not found", "the API gives no reason"),
        (None, "the API gives no reason"),
    ],
)
def test_why_a_job_failed_is_read_in_both_spellings(
    api: Sandbox, media: MediaApis, error: object, reason: str
) -> None:
    job = taken(media, DIAGNOSE)
    document = {"path": "/media/diagnose", "status": "Failed", "error": error}
    api.faults.add(Fault("poll", "status", status=200, body=json.dumps(document)))
    progress = media.poll(DIAGNOSE, job)
    assert isinstance(progress, Broken)
    assert (progress.reason, progress.final) == (reason, True)


@pytest.mark.parametrize("done", [101, -1, "50", None])
def test_a_progress_that_is_no_per_cent_is_left_out(
    api: Sandbox, media: MediaApis, done: object
) -> None:
    job = taken(media, DIAGNOSE)
    document = {"status": "Running", "progress": done}
    api.faults.add(Fault("poll", "status", status=200, body=json.dumps(document)))
    progress = media.poll(DIAGNOSE, job)
    assert isinstance(progress, Running)
    assert progress.progress is None


def test_a_problem_that_names_another_status_is_not_the_apis_own(
    api: Sandbox, media: MediaApis
) -> None:
    assert media.prepare() is None
    for status, body in ((400, {"title": "No", "status": 500}), (404, {"status": 404})):
        api.faults.add(Fault("submit", "status", status=status, body=json.dumps(body)))
        answer = media.submit(DIAGNOSE, moment())
        assert isinstance(answer, Later)
        assert answer.odd


# Callbacks, as the sandbox sends them


@pytest.mark.parametrize(
    ("fault", "expected"),
    [(None, 1), ("callback_lost", 0), ("callback_doubled", 2), ("callback_early", 1)],
)
def test_the_end_of_a_job_is_told_to_whom_it_names(fault: Any, expected: int) -> None:
    with sandboxed() as api, Receiver() as receiver:
        hooks = receiver.url.partition("?")[0]
        with mediaapis_at(api.url, api, callbacks=hooks) as media:
            if fault is not None:
                api.faults.add(Fault("submit", fault))
            job = taken(media, DIAGNOSE)
            assert isinstance(media.poll(DIAGNOSE, job), Finished)
            wait_for(lambda: len(receiver.posts) >= expected)
    assert len(receiver.posts) == expected
    for headers, body in receiver.posts:
        assert headers["x-job-id"] == job
        assert json.loads(body)["status"] == "Success"


def test_a_forged_callback_comes_while_the_job_runs() -> None:
    with sandboxed() as api, Receiver() as receiver:
        hooks = receiver.url.partition("?")[0]
        with mediaapis_at(api.url, api, callbacks=hooks) as media:
            api.faults.add(Fault("submit", "callback_forged"))
            job = taken(media, DIAGNOSE)
            wait_for(lambda: len(receiver.posts) >= 3)  # by two addresses, and the true one
            assert isinstance(media.poll(DIAGNOSE, job), Finished)


def test_tokens_and_secrets_are_in_no_log_line(
    api: Sandbox, media: MediaApis, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="feedwatch"):
        taken(media, ENHANCE)
    token = media._bearer.at_hand() or ""
    assert token not in caplog.text
    assert APP_SECRET not in caplog.text
    assert api.taken
