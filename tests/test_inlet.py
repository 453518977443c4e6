"""What the API's answers mean: `Inlet` against the sandbox, over real connections."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedwatch.core.job import (
    Accepted,
    Broken,
    Finished,
    Later,
    Lost,
    Refused,
    Running,
    Task,
    Unreachable,
)
from feedwatch.net.client import Cancellation, client
from feedwatch.processors import inlet as inlet_module
from feedwatch.processors.clocks import moment
from feedwatch.processors.inlet import DONE, ERRORS, UNDER_WAY, Inlet, body_of, iso_millis
from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.server import Sandbox
from tests.contract import CONTRACT

KEY = "sandbox-key"
SUBMISSION = Task(
    target="podcast-1",
    url="https://media.example.org/1.mp3",
    name="Episode 1",
    description="Notes, https://example.org",
    published_at=datetime(2026, 11, 1, 6, tzinfo=UTC),
    options={"preRoll": {"adCount": 1}},
)


@pytest.fixture
def api() -> Iterator[Sandbox]:
    with Sandbox(api_key=KEY, job_seconds=0.0) as sandbox:
        yield sandbox


@contextmanager
def connected(sandbox: Sandbox, key: str = KEY) -> Iterator[Inlet]:
    headers = {"authorization": f"Token {key}"}
    with client(Cancellation(), base_url=sandbox.url, headers=headers) as http:
        yield Inlet(http)


@pytest.fixture
def inlet(api: Sandbox) -> Iterator[Inlet]:
    with connected(api) as inlet:
        yield inlet


# The request


def test_the_body_is_what_the_document_asks_for(api: Sandbox, inlet: Inlet) -> None:
    assert isinstance(inlet.submit(SUBMISSION, moment()), Accepted)
    assert api.taken == [
        {
            "url": "https://media.example.org/1.mp3",
            "name": "Episode 1",
            "description": "Notes, https://example.org",
            "publishedDate": "2026-11-01T06:00:00.000Z",
            "adOptions": {"preRoll": {"adCount": 1}},
        }
    ]


SCHEMA = {
    "$ref": "#/components/schemas/MediaCreationParams",
    "components": CONTRACT["components"],
}
VALID = jsonschema_rs.Draft7Validator(SCHEMA)


@given(
    st.text(min_size=1).filter(str.strip),
    st.text(),
    st.none() | st.datetimes(timezones=st.just(UTC), min_value=datetime(1990, 1, 1)),  # noqa: DTZ001
)
def test_whatever_a_feed_says_the_body_keeps_to_the_contract(
    name: str, description: str, published_at: datetime | None
) -> None:
    submission = Task(
        target="p",
        url="https://h/a.mp3",
        name=name,
        description=description,
        published_at=published_at,
    )
    body = json.loads(json.dumps(body_of(submission)))
    assert VALID.is_valid(body)
    assert ("publishedDate" in body) == (published_at is not None)
    assert ("description" in body) == bool(description)


def test_dates_have_three_decimals_and_z() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678999, tzinfo=UTC)
    assert iso_millis(moment) == "2026-01-02T03:04:05.678Z"


# What a POST's outcome means


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422])
def test_the_apis_own_refusal_is_final_and_says_why(
    api: Sandbox, inlet: Inlet, status: int
) -> None:
    body = json.dumps({"error": "No", "message": "not this one"})
    api.faults.add(Fault("submit", "status", status=status, body=body))
    answer = inlet.submit(SUBMISSION, moment())
    assert isinstance(answer, Refused)
    assert answer.reason.startswith(f"{status} No: not this one")
    assert ("feedwatch podcasts" in answer.reason) == (status == 404)


def test_an_unknown_podcast_is_refused_in_the_apis_words(inlet: Inlet) -> None:
    answer = inlet.submit(Task(**{**vars(SUBMISSION), "target": "nobody"}), moment())
    assert isinstance(answer, Refused)
    assert "404" in answer.reason


def test_a_wrong_key_blocks_and_is_not_repeated_in_the_reason(api: Sandbox) -> None:
    with connected(api, "wrong-key") as inlet:
        answer = inlet.submit(SUBMISSION, moment())
    assert isinstance(answer, Later)
    assert answer.blocked
    assert "wrong-key" not in answer.reason


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (403, {"error": "Forbidden", "message": "API access is not enabled"}, Later),
        (400, {"error": "Forbidden", "message": "API access is not enabled"}, Refused),
        (403, {"message": "API access"}, Later),
    ],
)
def test_api_access_that_is_off_is_no_refusal_of_the_episode(
    api: Sandbox, inlet: Inlet, status: int, body: object, kind: type
) -> None:
    api.faults.add(Fault("submit", "status", status=status, body=json.dumps(body)))
    answer = inlet.submit(SUBMISSION, moment())
    assert type(answer) is kind
    if isinstance(answer, Later):
        assert (answer.blocked, answer.odd) == ("error" in body, "error" not in body)  # type: ignore[operator]


def test_an_unpaid_bill_is_not_the_episodes_fault(api: Sandbox, inlet: Inlet) -> None:
    body = json.dumps({"error": "Payment Required", "message": "no credit"})
    api.faults.add(Fault("submit", "status", status=402, body=body))
    assert isinstance(inlet.submit(SUBMISSION, moment()), Later)


def test_what_the_api_says_is_recorded_on_one_line_without_our_key(
    api: Sandbox, inlet: Inlet
) -> None:
    body = json.dumps({"error": "No", "message": f"bad \ud83d\x1b[2J\n{KEY} title"})
    api.faults.add(Fault("submit", "status", status=400, body=body))
    answer = inlet.submit(SUBMISSION, moment())
    assert isinstance(answer, Refused)
    assert answer.reason.isprintable()
    assert KEY not in answer.reason
    answer.reason.encode()


# Polls


def accepted(api: Sandbox, inlet: Inlet) -> str:
    answer = inlet.submit(SUBMISSION, moment())
    assert isinstance(answer, Accepted)
    return answer.media_id


def test_the_twenty_statuses_are_all_sorted() -> None:
    listed = set(CONTRACT["components"]["schemas"]["MediaStatus"]["enum"])
    assert {DONE} | UNDER_WAY | ERRORS.keys() == listed
    assert len(UNDER_WAY) + len(ERRORS) + 1 == len(listed) == 20


@pytest.mark.parametrize("status", sorted(UNDER_WAY))
def test_stages_are_under_way(api: Sandbox, inlet: Inlet, status: str) -> None:
    media_id = accepted(api, inlet)
    api.set_status(media_id, status)
    progress = inlet.poll(SUBMISSION, media_id)
    assert isinstance(progress, Running)
    assert (progress.remote_status, progress.known) == (status, True)


@pytest.mark.parametrize("status", sorted(ERRORS))
def test_errors_are_told_with_their_own_reason(api: Sandbox, inlet: Inlet, status: str) -> None:
    media_id = accepted(api, inlet)
    api.set_status(media_id, status)
    progress = inlet.poll(SUBMISSION, media_id)
    assert isinstance(progress, Broken)
    assert (progress.remote_status, progress.reason) == (status, ERRORS[status])
    assert progress.remote_updated_at


def test_unavailable_says_what_is_unavailable() -> None:
    assert "enclosure" in ERRORS["UNAVAILABLE"]


def test_a_word_nobody_knows_is_under_way(api: Sandbox, inlet: Inlet) -> None:
    media_id = accepted(api, inlet)
    api.set_status(media_id, "TELEPORTING")
    progress = inlet.poll(SUBMISSION, media_id)
    assert isinstance(progress, Running)
    assert not progress.known


def test_ready_brings_all_that_is_recorded(api: Sandbox, inlet: Inlet) -> None:
    media_id = accepted(api, inlet)
    progress = inlet.poll(SUBMISSION, media_id)
    assert isinstance(progress, Finished)
    record = api.jobs[media_id]
    assert progress.url == record["url"]
    assert progress.duration == record["duration"]
    assert progress.ad_removal_markers == []
    assert progress.failed_attempts == 0
    assert progress.remote_updated_at == record["updatedAt"]
    assert progress.remote_created_at == record["createdAt"]


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_markers_with_what_is_no_number_are_not_recorded(number: str) -> None:
    """Python reads them; PostgreSQL refuses them, and so would whoever reads our JSON."""
    markers = json.loads(f'[{{"at": [{number}]}}]')
    said = {"status": DONE, "url": "https://p.example/1.mp3", "adRemovalMarkers": markers}
    progress = inlet_module._progress(said, "m1")
    assert isinstance(progress, Finished)
    assert progress.ad_removal_markers == []


def test_markers_that_are_nested_deeply_are_not_recorded() -> None:
    deep: list[Any] = []
    for _ in range(1_000):
        deep = [deep]
    said = {"status": DONE, "url": "https://p.example/1.mp3", "adRemovalMarkers": deep}
    progress = inlet_module._progress(said, "m1")
    assert isinstance(progress, Finished)
    assert progress.ad_removal_markers == []


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        5,
        "https://x/\n",
        "/files/1.mp3",
        "//x/1.mp3",
        "x",
        "ftp://x/1.mp3",
        "https:///1",
        "https://x/a b",
        "http://[x/",
    ],
)
def test_ready_without_an_absolute_http_url_proves_nothing(url: object) -> None:
    data = {"mediaId": "m", "status": "READY", "url": url}
    progress = inlet_module._progress(data, "m")
    assert isinstance(progress, Unreachable)
    assert "READY" in progress.reason


@pytest.mark.parametrize("number", [1e30, float("inf"), float("nan"), True, "5", None, -(10**40)])
def test_numbers_that_nothing_can_hold_are_left_out(number: object) -> None:
    data = {
        "status": "READY",
        "url": "https://x/1.mp3",
        "duration": number,
        "failedAttempts": number,
    }
    progress = inlet_module._progress(data, "m")
    assert isinstance(progress, Finished)
    assert (progress.duration, progress.failed_attempts) == (None, None)


def test_a_job_that_is_gone_is_lost_but_a_proxys_404_says_nothing(
    api: Sandbox, inlet: Inlet
) -> None:
    media_id = accepted(api, inlet)
    api.faults.add(Fault("poll", "lost"), Fault("poll", "html", status=404))
    assert isinstance(inlet.poll(SUBMISSION, media_id), Lost)
    assert isinstance(inlet.poll(SUBMISSION, media_id), Unreachable)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("poll", "wrong_id", id="another"),
        Fault("poll", "unsuccessful"),
        Fault("poll", "wrong_url", url="/files/1.mp3"),
    ],
    ids=lambda f: f.kind,
)
def test_a_poll_that_cannot_be_true_proves_nothing(
    api: Sandbox, inlet: Inlet, fault: Fault
) -> None:
    media_id = accepted(api, inlet)
    api.faults.add(fault)
    assert isinstance(inlet.poll(SUBMISSION, media_id), Unreachable)
    assert isinstance(inlet.poll(SUBMISSION, media_id), Finished)


@pytest.mark.parametrize(
    ("fault", "blocked"),
    [
        (Fault("poll", "status", status=401), True),
        (Fault("poll", "html", status=402), True),
        (Fault("poll", "html", status=407), True),
        (Fault("poll", "api_disabled"), True),
        (Fault("poll", "html", status=403), False),
        (Fault("poll", "status", status=403), False),
        (Fault("poll", "status", status=400), False),
    ],
    ids=lambda f: f"{f.kind}-{f.status}" if isinstance(f, Fault) else "",
)
def test_a_poll_that_refuses_us_says_so(
    api: Sandbox, inlet: Inlet, fault: Fault, *, blocked: bool
) -> None:
    media_id = accepted(api, inlet)
    api.faults.add(fault)
    progress = inlet.poll(SUBMISSION, media_id)
    assert isinstance(progress, Unreachable)
    assert progress.blocked == blocked


# Reads that cost nothing


def test_a_probe_succeeds_where_the_key_is_taken(api: Sandbox, inlet: Inlet) -> None:
    assert inlet.probe(SUBMISSION.target, None) is None
    assert api.submissions == []


@pytest.mark.parametrize(
    ("fault", "blocked"),
    [
        (Fault("podcasts", "status", status=401), True),
        (Fault("podcasts", "api_disabled"), True),
        (Fault("podcasts", "html", status=200), True),
        (Fault("podcasts", "status", status=503), False),
        (Fault("podcasts", "drop_before"), False),
    ],
    ids=lambda f: getattr(f, "kind", None),
)
def test_a_probe_fails_where_nothing_should_be_submitted(
    api: Sandbox, inlet: Inlet, fault: Fault, *, blocked: bool
) -> None:
    api.faults.add(fault)
    failure = inlet.probe(SUBMISSION.target, None)
    assert failure is not None
    assert failure.blocked == blocked


def test_a_probe_is_content_with_an_api_that_lists_no_podcasts(api: Sandbox, inlet: Inlet) -> None:
    body = json.dumps({"error": "Not Found", "message": "no such endpoint"})
    api.faults.add(Fault("podcasts", "status", status=404, body=body))
    assert inlet.probe(SUBMISSION.target, None) is None


FORMS = ["<html>Cannot GET", "", '{"message": "Not Found"}', '{"error": "No", "message": "none"}']


@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.parametrize("body", FORMS)
@pytest.mark.parametrize("knows_a_job", [False, True])
def test_where_podcasts_cannot_be_listed_a_job_is_asked_for(
    api: Sandbox, inlet: Inlet, status: int, body: str, *, knows_a_job: bool
) -> None:
    media_id = accepted(api, inlet) if knows_a_job else None
    api.faults.add(Fault("podcasts", "status", status=status, body=body))
    assert inlet.probe("podcast-1", media_id) is None
    assert list(api.polls) == [media_id or 24 * "0"]


@pytest.mark.parametrize(
    ("fault", "works", "blocked"),
    [
        (Fault("poll", "status", status=403), True, None),
        (Fault("poll", "status", status=400), False, True),
        (Fault("poll", "status", status=401), False, True),
        (Fault("poll", "status", status=402), False, True),
        (Fault("poll", "html", status=404), False, True),
        (Fault("poll", "html", status=403), False, True),
        (Fault("poll", "api_disabled"), False, True),
        (Fault("poll", "html", status=200), False, True),
        (Fault("poll", "status", status=500), False, False),
        (Fault("poll", "drop_before"), False, False),
    ],
    ids=lambda f: f"{f.kind}-{f.status}" if isinstance(f, Fault) else "",
)
def test_only_the_apis_own_form_proves_that_the_key_is_taken(
    api: Sandbox, inlet: Inlet, fault: Fault, *, works: bool, blocked: bool | None
) -> None:
    api.faults.add(Fault("podcasts", "status", status=404, body="<html>"), fault)
    failure = inlet.probe("podcast-1", None)
    assert (failure is None) == works
    assert failure is None or failure.blocked == blocked


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("podcasts", "status", status=404), False),
        (Fault("podcasts", "status", status=403), False),
        (Fault("podcasts", "html", status=404), None),
        (Fault("podcasts", "html", status=405), None),
        (Fault("podcasts", "status", status=405), None),
        (Fault("podcasts", "html", status=403), None),
    ],
    ids=lambda f: f"{f.kind}-{f.status}" if isinstance(f, Fault) else "",
)
def test_a_podcast_is_missing_only_if_the_api_says_so_in_its_own_form(
    api: Sandbox, inlet: Inlet, fault: Fault, *, said: bool | None
) -> None:
    api.faults.add(fault)
    assert inlet.has_target("podcast-1") is said


@pytest.mark.parametrize("status", [401, 402, 407, 429, 500])
def test_a_look_up_that_fails_says_why(api: Sandbox, inlet: Inlet, status: int) -> None:
    api.faults.add(Fault("podcasts", "status", status=status))
    failure = inlet.has_target("podcast-1")
    assert isinstance(failure, Later)
    assert failure.blocked == (status in (401, 402, 407))


def test_podcasts_are_listed_over_all_pages() -> None:
    many = {f"podcast-{number}": f"Show {number}" for number in range(230)}
    with Sandbox(api_key=KEY, podcasts=many) as sandbox, connected(sandbox) as inlet:
        found: Any = inlet.podcasts()
        assert [one["id"] for one in found] == list(many)


def test_a_podcast_is_found_or_not(inlet: Inlet) -> None:
    assert inlet.has_target("podcast-1") is True
    assert inlet.has_target("nobody") is False
