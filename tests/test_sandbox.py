"""The sandbox as a client sees it: each route, each fault, and the counts that tests rely on."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

import httpx
import pytest

from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.server import Sandbox

KEY = {"Authorization": "Token sandbox-key"}
PODCASTS = "/api/v1/podcasts"
PROCESS = f"{PODCASTS}/podcast-1/media/process"
PROCESS_ROUTE = ("POST", f"{PODCASTS}/{{podcastId}}/media/process")
BODY: dict[str, Any] = {"url": "https://media.example.org/show/ep-0042.mp3", "name": "Episode 42"}
PATH = ["AD_BREAK_QUEUED", "AD_BREAK_PROCESSING", "AD_BREAK_READY", "PUBLISHING", "READY"]
PLAIN: dict[str, Any] = {"trust_env": False, "verify": False}  # no proxies, no certificates to load
LONG = 1000.0  # seconds that no test waits for
PATIENCE = 300.0  # seconds that a test waits for what should come soon: only a hang meets it


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    shows = {"podcast-1": "Sandbox Podcast", "podcast-2": "Two", "podcast-3": "Three"}
    with Sandbox(podcasts=shows, job_seconds=LONG) as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[httpx.Client]:
    with connect(sandbox) as client:
        yield client


def connect(sandbox: Sandbox) -> httpx.Client:
    return httpx.Client(base_url=sandbox.url, headers=KEY, timeout=PATIENCE, **PLAIN)


def submit(client: httpx.Client, name: str = "Episode 42") -> str:
    response = client.post(PROCESS, json={**BODY, "name": name})
    assert response.status_code == 201, response.text
    media_id: str = response.json()["data"]["mediaId"]
    return media_id


def poll(client: httpx.Client, media_id: str) -> dict[str, Any]:
    response = client.get(f"{PODCASTS}/podcast-1/media/{media_id}")
    assert response.status_code == 200, response.text
    record: dict[str, Any] = response.json()["data"]
    return record


def is_refused(response: httpx.Response, status: int) -> bool:
    """Whether it is this status, in the envelope of errors."""
    document = response.json()
    return (
        response.status_code == status
        and set(document) == {"error", "message"}
        and all(document.values())
    )


def eventually(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.005)


def raw(sandbox: Sandbox, message: bytes) -> bytes:
    """Send bytes as they are and read until the server hangs up."""
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=PATIENCE) as connection:
        connection.sendall(message)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
        return answer


# The key


@pytest.mark.parametrize(
    "value", [None, "", "sandbox-key", "Bearer sandbox-key", "token sandbox-key", "Token other"]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", PODCASTS),
        ("GET", f"{PODCASTS}/podcast-1"),
        ("GET", f"{PODCASTS}/podcast-1/media/0"),
        ("GET", f"{PODCASTS}/podcast-1/revenue"),
        ("GET", f"{PODCASTS}/podcast-1/downloads"),
        ("POST", PROCESS),
    ],
)
def test_every_call_needs_the_key(
    sandbox: Sandbox, method: str, path: str, value: str | None
) -> None:
    headers = {} if value is None else {"Authorization": value}
    body = BODY if method == "POST" else None
    with httpx.Client(**PLAIN) as client:
        response = client.request(method, sandbox.url + path, headers=headers, json=body)
    assert is_refused(response, 401)
    assert sandbox.taken == []


# Paths, shows and metrics


@pytest.mark.parametrize("path", ["/", "/api/v1", "/api/v1/v1/podcasts", f"{PODCASTS}/a/b", "/*"])
def test_unknown_paths(client: httpx.Client, path: str) -> None:
    assert is_refused(client.get(path), 404)


@pytest.mark.parametrize(
    ("path", "allow"),
    [(PODCASTS, "GET"), (PROCESS, "POST"), (f"{PODCASTS}/podcast-1/media/0", "GET")],
)
@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "BREW"])
def test_other_methods(client: httpx.Client, method: str, path: str, allow: str) -> None:
    response = client.request(method, path)
    assert is_refused(response, 405)
    assert response.headers["Allow"] == allow


def test_head_is_refused_without_a_body_and_the_connection_lives_on(client: httpx.Client) -> None:
    response = client.head(PODCASTS)
    assert (response.status_code, response.content) == (405, b"")
    assert client.get(PODCASTS).status_code == 200


def test_podcasts_come_page_by_page(client: httpx.Client) -> None:
    seen: list[str] = []
    query: dict[str, Any] = {"first": 2}
    for _ in range(2):
        page = client.get(PODCASTS, params=query).json()
        seen += [show["id"] for show in page["data"]]
        assert page["pagination"]["totalCount"] == 3
        query["after"] = page["pagination"]["endCursor"]
    assert seen == ["podcast-1", "podcast-2", "podcast-3"]
    assert page["pagination"]["hasNextPage"] is False

    beyond = client.get(PODCASTS, params=query).json()
    assert beyond["data"] == []
    assert beyond["pagination"]["hasNextPage"] is False


@pytest.mark.parametrize(
    "query",
    [
        *("first=0", "first=101", "first=x", "first=", "first=1.0", "first=1&first=2"),
        *("after=", "after=nonsense", "after=%C3%A4"),
    ],
)
def test_bad_paging(client: httpx.Client, query: str) -> None:
    assert is_refused(client.get(f"{PODCASTS}?{query}"), 400)


def test_one_podcast(client: httpx.Client) -> None:
    show = client.get(f"{PODCASTS}/podcast-1").json()["data"]
    assert (show["id"], show["name"]) == ("podcast-1", "Sandbox Podcast")


@pytest.mark.parametrize("path", ["", "/media/0", "/revenue", "/downloads"])
def test_unknown_podcast(client: httpx.Client, path: str) -> None:
    assert is_refused(client.get(f"{PODCASTS}/podcast-9{path}"), 404)


def test_metrics_are_zero(client: httpx.Client) -> None:
    dates = {"fromDate": "2025-01-01T10:00:00Z", "toDate": "2025-03-31"}
    revenue = client.get(f"{PODCASTS}/podcast-1/revenue", params=dates).json()
    downloads = client.get(f"{PODCASTS}/podcast-1/downloads", params=dates).json()
    assert revenue["data"] == {"revenue": 0, "eCPM": None, "fillRate": None}
    assert downloads["data"] == {"downloads": 0}


@pytest.mark.parametrize(
    "dates",
    [
        {},
        {"fromDate": "2025-01-01"},
        {"fromDate": "2025-01-01", "toDate": "2024-12-31"},
        {"fromDate": "2025-01-01T00:00:00.50Z", "toDate": "2025-01-01T00:00:00.49Z"},
        {"fromDate": "2025-01-01", "toDate": "2025-02-30"},
        {"fromDate": "2025-01-01", "toDate": "2025-01-31T24:00:01Z"},
        {"fromDate": "2025-01-01", "toDate": "2025-01-31T00:00:00"},
    ],
)
@pytest.mark.parametrize("metric", ["revenue", "downloads"])
def test_bad_dates(client: httpx.Client, metric: str, dates: dict[str, str]) -> None:
    assert is_refused(client.get(f"{PODCASTS}/podcast-1/{metric}", params=dates), 400)


# Submissions


def test_a_submission_is_taken(client: httpx.Client, sandbox: Sandbox) -> None:
    before = time.time()
    response = client.post(PROCESS, json=BODY)
    document = response.json()
    media_id = document["data"]["mediaId"]

    assert response.status_code == 201
    assert re.fullmatch("[0-9a-f]{24}", media_id)
    assert document == {
        "success": True,
        "message": "Accepted for processing",
        "data": {
            "mediaId": media_id,
            "status": "AD_BREAK_QUEUED",
            "name": BODY["name"],
            "originUrl": BODY["url"],
        },
    }
    [received] = sandbox.submissions
    assert (received.podcast_id, received.body) == ("podcast-1", BODY)
    assert (received.status, received.media_id) == (201, media_id)
    assert before <= received.time <= time.time()
    assert sandbox.taken == [BODY]
    assert list(sandbox.jobs) == [media_id]
    assert sandbox.requests[PROCESS_ROUTE] == 1


def test_the_same_body_twice_makes_two_jobs(client: httpx.Client, sandbox: Sandbox) -> None:
    assert submit(client) != submit(client)
    assert sandbox.taken == [BODY, BODY]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b'\xef\xbb\xbf{"url": "https://a.org", "name": "x"}', "not JSON"),
        (b'{"url": "https://a.org", "name": NaN}', "NaN is not a finite number"),
        (b'{"url": "https://a.org", "name": 1e999}', "1e999 is not a finite number"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "dictionary"),
        (b"{}", "url: Field required; name: Field required"),
        (b'{"url": "https://a.org", "name": "x", "guid": "1"}', "guid: Extra inputs"),
        (b'{"url": "https://a.org", "name": "\\ud800"}', "surrogates"),
        (b'{"url": "https://a.org", "name": "x", "description": null}', "null: description"),
    ],
    ids=lambda value: ascii(value[:50]),
)
def test_a_bad_body_is_refused_and_kept(
    client: httpx.Client, sandbox: Sandbox, text: bytes, why: str
) -> None:
    response = client.post(PROCESS, content=text, headers={"Content-Type": "application/json"})
    assert is_refused(response, 400)
    assert why in response.json()["message"]
    [received] = sandbox.submissions
    assert (received.status, received.media_id) == (400, None)
    assert isinstance(received.body, dict) or received.body == text.decode(errors="replace")
    assert sandbox.taken == []


@pytest.mark.parametrize("media_type", ["text/plain", "application/json2", "multipart/form-data"])
def test_other_content_types_are_refused(client: httpx.Client, media_type: str) -> None:
    response = client.post(PROCESS, content=b"{}", headers={"Content-Type": media_type})
    assert is_refused(response, 400)


def test_a_content_type_may_have_parameters(client: httpx.Client) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    text = b'{"url": "https://media.example.org/a.mp3", "name": "x"}'
    assert client.post(PROCESS, content=text, headers=headers).status_code == 201


@pytest.mark.parametrize(("podcast", "status"), [("podcast-9", 404), ("a%20b", 400), ("", 400)])
def test_submission_to_no_such_podcast(
    client: httpx.Client, sandbox: Sandbox, podcast: str, status: int
) -> None:
    response = client.post(f"{PODCASTS}/{podcast}/media/process", json=BODY)
    assert is_refused(response, status)
    assert [received.status for received in sandbox.submissions] == [status]


# Jobs


def test_media_that_is_not_there_or_not_of_this_show(client: httpx.Client) -> None:
    media_id = submit(client)
    assert is_refused(client.get(f"{PODCASTS}/podcast-1/media/{'0' * 24}"), 404)
    assert is_refused(client.get(f"{PODCASTS}/podcast-2/media/{media_id}"), 403)
    assert is_refused(client.get(f"{PODCASTS}/podcast-9/media/{media_id}"), 404)
    assert is_refused(client.get(f"{PODCASTS}/podcast-1/media/a%2Fb"), 400)


def test_a_job_moves_on_with_time() -> None:
    records: list[dict[str, Any]] = []

    def is_ready(client: httpx.Client, media_id: str) -> bool:
        records.append(poll(client, media_id))
        return bool(records[-1]["status"] == "READY")

    for seconds in (0.4, 4.0, 40.0):  # so long that it can be watched
        records.clear()
        with Sandbox(job_seconds=seconds) as sandbox, connect(sandbox) as client:
            body = {**BODY, "publishedDate": "2025-10-01T14:30:00.000Z"}
            media_id = client.post(PROCESS, json=body).json()["data"]["mediaId"]
            eventually(partial(is_ready, client, media_id))
        statuses = list(dict.fromkeys(record["status"] for record in records))
        if len(statuses) > 2:
            break

    assert statuses == [status for status in PATH if status in statuses]
    assert len(statuses) > 2
    updates = {record["status"]: record["updatedAt"] for record in records}
    assert len(set(updates.values())) == len(statuses)
    for record in records[:-1]:
        assert (record["url"], record["duration"]) == (None, None)
    ready = records[-1]
    assert ready["url"].startswith("https://")
    assert ready["duration"] > 0
    assert ready["originUrl"] == BODY["url"]
    assert ready["name"] == BODY["name"]
    assert ready["publishedDate"] == "2025-10-01T14:30:00.000Z"
    assert (ready["failedAttempts"], ready["adRemovalMarkers"]) == (0, [])
    took = datetime.fromisoformat(ready["updatedAt"]) - datetime.fromisoformat(ready["createdAt"])
    assert took.total_seconds() == pytest.approx(seconds, abs=0.01)


def test_each_job_has_a_processed_url_of_its_own() -> None:
    with Sandbox(job_seconds=0) as sandbox, connect(sandbox) as client:
        records = [poll(client, submit(client)) for _ in range(2)]
    assert [record["status"] for record in records] == ["READY", "READY"]
    assert records[0]["url"] != records[1]["url"]


def test_a_status_can_be_forced(client: httpx.Client, sandbox: Sandbox) -> None:
    media_id = submit(client)
    before = poll(client, media_id)
    sandbox.set_status(media_id, "AI_ERROR")
    assert sandbox.jobs[media_id]["status"] == "AI_ERROR"
    failed = [poll(client, media_id) for _ in range(2)]
    assert failed[0] == failed[1]
    assert failed[0]["updatedAt"] > before["updatedAt"]
    assert failed[0]["failedAttempts"] == 1

    sandbox.set_status(media_id, "PUBLISHING", "READY")
    assert [poll(client, media_id)["status"] for _ in range(3)] == ["PUBLISHING", "READY", "READY"]
    assert sandbox.jobs[media_id]["url"]


def test_polls_are_timed(client: httpx.Client, sandbox: Sandbox) -> None:
    media_id = submit(client)
    before = time.time()
    poll(client, media_id)
    poll(client, media_id)
    first, second = sandbox.polls[media_id]
    assert before <= first <= second <= time.time()
    assert sandbox.requests["GET", f"{PODCASTS}/{{podcastId}}/media/{{mediaId}}"] == 2


# Faults that take nothing


def submit_in_vain(client: httpx.Client, error: type[Exception]) -> None:
    with pytest.raises(error):
        client.post(PROCESS, json=BODY)


def test_refuse(client: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("submit", "refuse"))
    # Which of them depends on how much the client has sent when the reset arrives.
    with pytest.raises((httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)):
        client.post(PROCESS, json=BODY)
    assert sandbox.submissions == []
    assert sandbox.requests[PROCESS_ROUTE] == 1
    submit(client)
    assert sandbox.taken == [BODY]


def test_refuse_comes_before_the_body_and_as_a_reset(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("submit", "refuse"))
    with pytest.raises(ConnectionResetError):
        raw(sandbox, f"POST {PROCESS} HTTP/1.1\r\nContent-Length: 1000\r\n\r\n".encode())


def test_drop_before(client: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("submit", "drop_before"))
    submit_in_vain(client, httpx.RemoteProtocolError)
    [received] = sandbox.submissions
    assert (received.body, received.status, received.media_id) == (BODY, None, None)
    assert sandbox.taken == []


def test_status(client: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("submit", "status", status=429, retry_after=7))
    sandbox.faults.add(Fault("submit", "status", status=503, retry_after="soon", body="<p>no"))
    sandbox.faults.add(Fault("submit", "status", status=404, body='{"error": "x"}'))
    limited, html, body = (client.post(PROCESS, json=BODY) for _ in range(3))
    assert is_refused(limited, 429)
    assert limited.headers["Retry-After"] == "7"
    assert (html.status_code, html.text) == (503, "<p>no")
    assert html.headers["Retry-After"] == "soon"
    assert html.headers["Content-Type"].startswith("text/html")
    assert (body.status_code, body.json()) == (404, {"error": "x"})
    assert [received.status for received in sandbox.submissions] == [429, 503, 404]
    assert sandbox.taken == []


@pytest.mark.parametrize("status", [204, 304, 302, 599])
def test_odd_statuses_leave_the_connection_in_order(
    client: httpx.Client, sandbox: Sandbox, status: int
) -> None:
    sandbox.faults.add(Fault("podcasts", "status", status=status))
    assert client.get(PODCASTS).status_code == status
    assert client.get(PODCASTS).status_code == 200


def test_html(client: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("submit", "html", status=502))
    response = client.post(PROCESS, json=BODY)
    assert (response.status_code, response.text[:15]) == (502, "<!DOCTYPE html>")
    assert sandbox.taken == []


def test_api_disabled(client: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("any", "api_disabled", times=None))
    response = client.post(PROCESS, json=BODY)
    assert is_refused(response, 403)
    assert response.json()["message"] == "API access is not enabled"
    assert is_refused(client.get(PODCASTS), 403)
    assert sandbox.taken == []
    sandbox.faults.clear()
    submit(client)


def test_lost(client: httpx.Client, sandbox: Sandbox) -> None:
    lost, kept = submit(client), submit(client)
    sandbox.faults.add(Fault("poll", "lost", times=None, media_id=lost))
    for _ in range(2):
        assert is_refused(client.get(f"{PODCASTS}/podcast-1/media/{lost}"), 404)
    assert poll(client, kept)["status"] == "AD_BREAK_QUEUED"


# Faults after the work


def test_drop_after(client: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("submit", "drop_after"))
    submit_in_vain(client, httpx.RemoteProtocolError)
    [received] = sandbox.submissions
    assert received.status is None
    assert list(sandbox.jobs) == [received.media_id]
    assert sandbox.taken == [BODY]


def test_hang_after(client: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("submit", "hang_after", seconds=LONG))
    with pytest.raises(httpx.ReadTimeout):
        client.post(PROCESS, json=BODY, timeout=0.1)
    eventually(lambda: sandbox.taken == [BODY])
    assert sandbox.submissions[0].status is None


def test_hang_after_ends_in_a_closed_connection(client: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("submit", "hang_after", seconds=0.05))
    submit_in_vain(client, httpx.RemoteProtocolError)


def test_truncate(client: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("submit", "truncate"))
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        client.post(PROCESS, json=BODY)
    assert sandbox.taken == [BODY]
    assert sandbox.submissions[0].status == 201


def test_drip(client: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("submit", "drip", seconds=0.0001))
    with client.stream("POST", PROCESS, json=BODY) as response:
        parts = list(response.iter_raw())
    assert b'"success": true' in b"".join(parts)
    assert len(parts) > 20
    assert sandbox.taken == [BODY]


def test_a_drip_gets_past_the_timeout_of_a_read(client: httpx.Client, sandbox: Sandbox) -> None:
    for seconds in (0.3, 3.0, 30.0):  # the machine must keep up with it
        sandbox.faults.add(Fault("submit", "drip", seconds=seconds / 150))
        before = time.monotonic()
        with suppress(httpx.TimeoutException):
            response = client.post(PROCESS, json=BODY, timeout=seconds)
            break
    assert response.status_code == 201
    assert time.monotonic() - before > seconds


def test_status_after(client: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("submit", "status_after", status=502, body="<html>oops</html>"))
    response = client.post(PROCESS, json=BODY)
    assert (response.status_code, response.text) == (502, "<html>oops</html>")
    [received] = sandbox.submissions
    assert received.status == 502
    assert list(sandbox.jobs) == [received.media_id]


def test_junk(client: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("submit", "junk"), Fault("submit", "junk", status=200))
    responses = [client.post(PROCESS, json=BODY) for _ in range(2)]
    assert [response.status_code for response in responses] == [201, 200]
    for response in responses:
        with pytest.raises(ValueError, match="Expecting value"):
            response.json()
    assert len(sandbox.taken) == 2


def test_no_id(client: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("submit", "no_id"))
    response = client.post(PROCESS, json=BODY)
    assert response.status_code == 201
    assert "mediaId" not in response.json()["data"]
    assert len(sandbox.jobs) == 1


def test_wrong_id(client: httpx.Client, sandbox: Sandbox) -> None:
    media_id = submit(client)
    sandbox.faults.add(
        Fault("submit", "wrong_id", id=media_id), Fault("poll", "wrong_id", id="another")
    )
    assert submit(client) == media_id
    assert len(sandbox.jobs) == 2
    assert poll(client, media_id)["mediaId"] == "another"


def test_wrong_url(client: httpx.Client, sandbox: Sandbox) -> None:
    media_id = submit(client)
    sandbox.set_status(media_id, "READY")
    sandbox.faults.add(Fault("poll", "wrong_url", url="/files/1.mp3"))
    assert poll(client, media_id)["url"] == "/files/1.mp3"
    assert poll(client, media_id)["url"].startswith("https://")


def test_unsuccessful(client: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("submit", "unsuccessful"))
    response = client.post(PROCESS, json=BODY)
    assert (response.status_code, response.json()["success"]) == (201, False)
    assert len(sandbox.jobs) == 1


def test_stale_meets_only_a_connection_that_was_kept_open(
    client: httpx.Client, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault("any", "stale"))
    assert client.get(PODCASTS).status_code == 200
    with pytest.raises(httpx.RemoteProtocolError):
        client.post(PROCESS, json=BODY)
    assert sandbox.faults.active() == []
    assert sandbox.submissions == []
    submit(client)


def test_a_fault_may_be_for_submissions_with_a_certain_body(
    client: httpx.Client, sandbox: Sandbox
) -> None:
    odd = Fault("submit", "status", status=400, match={"name": "odd"}, times=None)
    sandbox.faults.add(odd)
    for name, status in (("odd", 400), ("even", 201), ("odd", 400)):
        assert client.post(PROCESS, json=BODY | {"name": name}).status_code == status
    assert client.post(PROCESS, content=b"[").status_code == 400, "no JSON, so no fault's"
    assert [one.status for one in sandbox.submissions] == [400, 201, 400, 400]
    assert client.get(PODCASTS).status_code == 200


def test_faults_after_the_work_take_nothing_that_is_refused(
    client: httpx.Client, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault("submit", "no_id"), Fault("submit", "junk"))
    sandbox.faults.add(Fault("submit", "wrong_id", id="m"), Fault("submit", "unsuccessful"))
    for _ in range(4):
        assert client.post(PROCESS, json={}).status_code == 400
    assert sandbox.jobs == {}


# Faults with a true answer


def test_delay(client: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("submit", "delay", seconds=0.1))
    before = time.monotonic()
    submit(client)
    assert time.monotonic() - before >= 0.1


def test_delay_comes_before_the_work(client: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("submit", "delay", seconds=LONG))
    with pytest.raises(httpx.ReadTimeout):
        client.post(PROCESS, json=BODY, timeout=0.1)
    eventually(lambda: len(sandbox.submissions) == 1)
    assert sandbox.taken == []


def test_job_status(client: httpx.Client, sandbox: Sandbox) -> None:
    script = ["AD_BREAK_PROCESSING", "HUMMING", "AI_ERROR"]
    sandbox.faults.add(Fault("submit", "job_status", statuses=script))
    media_id = submit(client)
    statuses = [poll(client, media_id)["status"] for _ in range(4)]
    assert statuses == [*script, "AI_ERROR"]
    assert sandbox.jobs[media_id]["failedAttempts"] == 1
    assert poll(client, submit(client))["status"] == "AD_BREAK_QUEUED"


# Faults on other requests than submissions


def test_faults_on_polls(client: httpx.Client, sandbox: Sandbox) -> None:
    media_id = submit(client)
    sandbox.faults.add(Fault("poll", "drop_after"), Fault("poll", "junk"))
    submit(client)
    with pytest.raises(httpx.RemoteProtocolError):
        poll(client, media_id)
    response = client.get(f"{PODCASTS}/podcast-1/media/{media_id}")
    assert (response.status_code, response.text[0]) == (200, "<")
    assert len(sandbox.polls[media_id]) == 2


@pytest.mark.parametrize("path", [PODCASTS, f"{PODCASTS}/podcast-1"])
def test_faults_on_podcasts(client: httpx.Client, sandbox: Sandbox, path: str) -> None:
    sandbox.faults.add(Fault("podcasts", "status", status=500))
    submit(client)
    assert is_refused(client.get(path), 500)
    assert client.get(path).status_code == 200


# The queue of faults


def statuses(client: httpx.Client, count: int) -> list[int]:
    return [client.post(PROCESS, json=BODY).status_code for _ in range(count)]


def test_times(client: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("submit", "status", status=500, times=2))
    assert statuses(client, 3) == [500, 500, 201]


def test_after(client: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("submit", "status", status=500, after=2))
    assert statuses(client, 4) == [201, 201, 500, 201]


def test_until_cleared(client: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("submit", "status", status=500, times=None))
    assert statuses(client, 3) == [500, 500, 500]
    sandbox.faults.clear()
    assert statuses(client, 1) == [201]


def test_a_request_is_hit_by_one_fault_at_most(client: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(
        Fault("submit", "status", status=500, after=1),
        Fault("any", "status", status=502),
        Fault("submit", "status", status=503),
    )
    assert statuses(client, 4) == [502, 500, 503, 201]


def test_faults_of_one_podcast(client: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("submit", "status", status=500, podcast_id="podcast-2"))
    assert statuses(client, 1) == [201]
    response = client.post(f"{PODCASTS}/podcast-2/media/process", json=BODY)
    assert response.status_code == 500


def test_what_is_left_of_a_fault(client: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("submit", "status", status=500, times=3, after=1))
    statuses(client, 2)
    [fault] = sandbox.faults.active()
    assert (fault.times, fault.after) == (2, 0)


BAD_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({}, "on: Field required"),
    ({"on": "poll"}, "kind: Field required"),
    ({"on": "polls", "kind": "refuse"}, "on: Input should be 'submit', 'poll'"),
    ({"on": "poll", "kind": "explode"}, "kind: Input should be 'refuse'"),
    ({"on": "poll", "kind": "refuse", "times": 0}, "times: "),
    ({"on": "poll", "kind": "refuse", "after": -1}, "after: "),
    ({"on": "poll", "kind": "refuse", "second": 1}, "second: "),
    ({"on": "poll", "kind": "refuse", "seconds": 1}, "refuse has no use for seconds"),
    ({"on": "poll", "kind": "delay"}, "delay needs seconds"),
    ({"on": "poll", "kind": "wrong_id"}, "wrong_id needs id"),
    ({"on": "submit", "kind": "wrong_url", "url": "x"}, "wrong_url can only be on poll"),
    ({"on": "poll", "kind": "junk", "match": {}}, "match can only be given on submit"),
    ({"on": "submit", "kind": "refuse", "match": {}}, "and not for refuse, stale"),
    ({"on": "poll", "kind": "delay", "seconds": -1}, "seconds: "),
    ({"on": "poll", "kind": "delay", "seconds": "1"}, "seconds: "),
    ({"on": "poll", "kind": "status"}, "status needs status"),
    ({"on": "poll", "kind": "status", "status": 100}, "status: "),
    ({"on": "poll", "kind": "status", "status": 429, "retry_after": "1\r\nX: y"}, "retry_after"),
    ({"on": "poll", "kind": "job_status", "statuses": ["READY"]}, "can only be on submit"),
    ({"on": "submit", "kind": "job_status", "statuses": []}, "statuses: "),
    ({"on": "submit", "kind": "lost"}, "lost can only be on poll"),
    ({"on": "submit", "kind": "refuse", "media_id": "0"}, "media_id can only be given on poll"),
]


@pytest.mark.parametrize(("order", "why"), BAD_FAULTS, ids=str)
def test_a_fault_that_makes_no_sense(
    client: httpx.Client, sandbox: Sandbox, order: dict[str, Any], why: str
) -> None:
    good = {"on": "submit", "kind": "refuse"}
    for document in (order, [good, order]):
        response = client.post("/_sandbox/faults", json=document)
        assert is_refused(response, 400)
        assert why in response.json()["message"]
    assert sandbox.faults.active() == []
    with pytest.raises((ValueError, TypeError)):
        Fault(**order)


# Control over HTTP


def test_faults_over_http(client: httpx.Client) -> None:
    one = {"on": "submit", "kind": "status", "status": 429, "retry_after": 5, "times": 2}
    two = {"on": "poll", "kind": "delay", "seconds": 1, "times": None}
    del client.headers["Authorization"]
    assert client.post("/_sandbox/faults", json=one).status_code == 201
    active = client.post("/_sandbox/faults", json=[two]).json()["faults"]
    assert [fault["kind"] for fault in active] == ["status", "delay"]

    client.headers.update(KEY)
    response = client.post(PROCESS, json=BODY)
    assert (response.status_code, response.headers["Retry-After"]) == (429, "5")
    assert client.get("/_sandbox/state").json()["faults"][0]["times"] == 1
    assert client.delete("/_sandbox/faults").json()["faults"] == []
    submit(client)


@pytest.mark.parametrize("text", [b"", b"{", b"[", b"1", b"[1]", b"\xff"])
def test_orders_that_are_none(client: httpx.Client, text: bytes) -> None:
    assert is_refused(client.post("/_sandbox/faults", content=text), 400)


def test_state_over_http(client: httpx.Client, sandbox: Sandbox) -> None:
    media_id = submit(client)
    poll(client, media_id)
    client.post(PROCESS, json={})
    state = client.get("/_sandbox/state").json()
    assert (state["received"], state["taken"]) == (2, 1)
    assert [one["media_id"] for one in state["submissions"]] == [media_id, None]
    assert [one["body"] for one in state["submissions"]] == [BODY, {}]
    assert state["jobs"][media_id]["status"] == "AD_BREAK_QUEUED"
    assert state["polls"] == sandbox.polls
    assert state["requests"][" ".join(PROCESS_ROUTE)] == 2


def test_a_status_forced_over_http(client: httpx.Client) -> None:
    media_id = submit(client)
    response = client.post(f"/_sandbox/jobs/{media_id}", json={"status": "UNAVAILABLE"})
    assert response.json()["status"] == "UNAVAILABLE"
    assert poll(client, media_id)["status"] == "UNAVAILABLE"
    assert is_refused(client.post("/_sandbox/jobs/0", json={"status": "READY"}), 404)
    nonsense: list[Any] = [{}, {"status": ""}, {"status": 1}, {"status": "READY", "x": 1}, []]
    for bad in nonsense:
        assert is_refused(client.post(f"/_sandbox/jobs/{media_id}", json=bad), 400)


def test_reset_over_http(client: httpx.Client, sandbox: Sandbox) -> None:
    submit(client)
    sandbox.faults.add(Fault("any", "refuse", times=None))
    state = client.post("/_sandbox/reset").json()
    assert (state["submissions"], state["jobs"], state["requests"]) == ([], {}, {})
    assert sandbox.faults.active() == []
    submit(client)
    sandbox.reset()
    assert sandbox.taken == []


@pytest.mark.parametrize("path", ["", "x", "state/", "jobs", "faults/1"])
def test_unknown_control(client: httpx.Client, path: str) -> None:
    assert is_refused(client.get(f"/_sandbox/{path}"), 404)


@pytest.mark.parametrize("path", ["state", "faults", "jobs/0", "reset"])
def test_other_methods_of_control(client: httpx.Client, path: str) -> None:
    response = client.patch(f"/_sandbox/{path}")
    assert is_refused(response, 405)
    assert response.headers["Allow"]


# Stop and start


def test_stop_and_start_on_the_same_port(client: httpx.Client, sandbox: Sandbox) -> None:
    media_id, url = submit(client), sandbox.url
    sandbox.faults.add(Fault("submit", "status", status=500))
    sandbox.stop()
    with pytest.raises(httpx.ConnectError):
        client.post(PROCESS, json=BODY)  # though this client has a connection open
    sandbox.stop()

    sandbox.start()
    assert sandbox.url == url
    assert poll(client, media_id)["mediaId"] == media_id
    assert statuses(client, 2) == [500, 201]
    assert len(sandbox.taken) == 2


def test_a_stop_cuts_hanging_requests_short(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("podcasts", "hang_after", seconds=LONG))
    with connect(sandbox) as client, ThreadPoolExecutor(1) as pool:
        pending = pool.submit(client.get, PODCASTS)
        eventually(lambda: not sandbox.faults.active())
        sandbox.stop()
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            pending.result()


def test_a_stop_leaves_no_threads(sandbox: Sandbox, client: httpx.Client) -> None:
    before = set(threading.enumerate())
    with Sandbox() as other, connect(other) as another:
        submit(another)
        assert set(threading.enumerate()) - before
    eventually(lambda: set(threading.enumerate()) <= before)


def test_a_port_that_is_taken(sandbox: Sandbox) -> None:
    with pytest.raises(OSError, match="in use"), Sandbox(port=sandbox.port):
        pass


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1"])
def test_only_loopback_unless_told(host: str) -> None:
    with pytest.raises(ValueError, match="not a loopback address"):
        Sandbox(host=host)


def test_remote_when_told() -> None:
    with (
        Sandbox(host="0.0.0.0", allow_remote=True) as sandbox,
        httpx.Client(**PLAIN) as client,
    ):
        assert client.get(f"http://127.0.0.1:{sandbox.port}{PODCASTS}").status_code == 401


def test_ids_of_podcasts_are_checked() -> None:
    with pytest.raises(ValueError, match="podcast id must match"):
        Sandbox(podcasts={"a b": "x"})


# The log


def test_one_line_a_request_and_no_key_in_it() -> None:
    lines: list[str] = []
    with Sandbox(log=lines.append) as sandbox, connect(sandbox) as client:
        media_id = submit(client)
        sandbox.faults.add(Fault("submit", "drop_after"), Fault("submit", "refuse"))
        for _ in range(2):
            with pytest.raises(httpx.TransportError):
                client.post(PROCESS, json=BODY)
        client.get(PODCASTS)
        client.get("/_sandbox/state")
        raw(sandbox, b"GET /\x1b[31m HTTP/1.1\r\nConnection: close\r\n\r\n")
        raw(sandbox, b"\x1b[31m\r\n\r\n")
        dropped = sandbox.submissions[1].media_id
    assert lines == [
        f"POST {PROCESS} 201 took {media_id}",
        f"POST {PROCESS} dropped took {dropped} drop_after",
        f"POST {PROCESS} reset refuse",
        f"GET {PODCASTS} 200",
        "GET /_sandbox/state 200",
        "GET /?[31m 404",
        lines[-1],
    ]
    assert lines[-1].startswith("(no request) 400")
    assert all(line.isprintable() for line in lines)


# Rough handling


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\n\r\n", 505),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (f"POST {PROCESS} HTTP/1.1\r\nContent-Length: -1\r\n\r\n".encode(), 400),
        (f"POST {PROCESS} HTTP/1.1\r\nContent-Length: 1_0\r\n\r\n".encode(), 400),
        (f"POST {PROCESS} HTTP/1.1\r\nContent-Length: {'9' * 5000}\r\n\r\n".encode(), 400),
        (
            f"POST {PROCESS} HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".encode(),
            400,
        ),
        (f"POST {PROCESS} HTTP/1.1\r\nContent-Length: 10485761\r\n\r\n".encode(), 413),
        (b"POST /_sandbox/faults HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_garbage(
    sandbox: Sandbox,
    client: httpx.Client,
    capfd: pytest.CaptureFixture[str],
    message: bytes,
    status: int,
) -> None:
    head, _, body = raw(sandbox, message).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"\r\nConnection: close" in head
    assert body.startswith(b'{"error": ')
    submit(client)
    assert capfd.readouterr() == ("", "")


def test_no_content_length_is_no_body(sandbox: Sandbox) -> None:
    key = KEY["Authorization"]
    message = (
        f"POST {PROCESS} HTTP/1.1\r\nAuthorization: {key}\r\n"
        "Content-Type: application/json\r\nConnection: close\r\n\r\n"
    )
    assert raw(sandbox, message.encode()).startswith(b"HTTP/1.1 400 ")
    assert sandbox.submissions[0].body == ""


def test_chunks_are_refused(client: httpx.Client, sandbox: Sandbox) -> None:
    assert is_refused(client.post(PROCESS, content=iter([b"{", b"}"])), 411)
    assert sandbox.submissions == []


def test_a_body_too_large_is_refused_while_it_is_still_sent(client: httpx.Client) -> None:
    assert is_refused(client.post(PROCESS, content=b" " * 12_000_000), 413)


def test_clients_that_go_away(
    sandbox: Sandbox, client: httpx.Client, capfd: pytest.CaptureFixture[str]
) -> None:
    # In the middle of the head, of the body, and of the answer.
    address = ("127.0.0.1", sandbox.port)
    head = f"POST {PROCESS} HTTP/1.1\r\nContent-Length: 10\r\n"
    for part in (head, f"{head}\r\n12345"):
        with socket.create_connection(address) as connection:
            connection.sendall(part.encode())
    sandbox.faults.add(Fault("podcasts", "drip", seconds=0.001))
    with socket.create_connection(address) as connection:
        connection.sendall(f"GET {PODCASTS} HTTP/1.1\r\n\r\n".encode())
        connection.recv(1)
    submit(client)
    sandbox.stop()
    assert sandbox.taken == [BODY]
    assert len(sandbox.submissions) == 1
    assert capfd.readouterr() == ("", "")


def test_many_clients_at_once(sandbox: Sandbox) -> None:
    sandbox.faults.add(
        Fault("submit", "drop_after", times=10),
        Fault("submit", "drop_before", times=10),
        Fault("submit", "status", status=503, times=10),
    )

    def attempt(number: int) -> int | None:
        with connect(sandbox) as client:
            try:
                response = client.post(PROCESS, json={**BODY, "name": str(number)})
            except httpx.RemoteProtocolError:
                return None
            return response.status_code

    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(attempt, range(60)))
    assert [outcomes.count(outcome) for outcome in (None, 503, 201)] == [20, 10, 30]
    assert len(sandbox.submissions) == 60
    assert len(sandbox.taken) == len(sandbox.jobs) == 40
    assert len({body["name"] for body in sandbox.taken}) == 40
    assert sandbox.requests[PROCESS_ROUTE] == 60
