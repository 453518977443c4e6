"""The sandbox against the API's contract, as tools that know only the contract see it."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator
from schemathesis.core.parameters import ParameterLocation
from schemathesis.schemas import BaseSchema

from feedwatch.sandbox.server import Sandbox
from tests.contract import CONTRACT, PATH
from tests.described import assert_described, operations
from tests.support import one_in

KEY = {"Authorization": "Token sandbox-key"}
PROCESS = "/api/v1/podcasts/podcast-1/media/process"
BODY = {"url": "https://media.example.org/show/ep-0042.mp3", "name": "Episode 42"}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    shows = {"podcast-1": "One", "podcast-2": "Two"}
    with pytest.MonkeyPatch.context() as patch, Sandbox(podcasts=shows) as running:
        for name in ("no_proxy", "NO_PROXY"):  # schemathesis has a client of its own
            patch.setenv(name, "127.0.0.1")
        yield running


@pytest.fixture(scope="module")
def client(sandbox: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sandbox.url, headers=KEY, trust_env=False) as client:
        yield client


# Every operation


@pytest.fixture(scope="module")
def known(client: httpx.Client) -> dict[str, str]:
    """What a good request must name and the contract's schema cannot know."""
    submitted = client.post(PROCESS, json=BODY).json()
    page = client.get("/api/v1/podcasts", params={"first": 1}).json()
    return {
        "podcastId": "podcast-1",
        "mediaId": submitted["data"]["mediaId"],
        "after": page["pagination"]["endCursor"],
        "fromDate": "2025-01-01",  # its pattern allows a 99th of January, its prose does not
        "toDate": "2025-03-31T12:00:00.5Z",  # and this may not be before the other
    }


@pytest.fixture(scope="module")
def schema() -> BaseSchema:
    return schemathesis.openapi.from_path(PATH)


@pytest.mark.parametrize("examples", one_in(2, [15, 60]))
@pytest.mark.parametrize("operation", operations(CONTRACT))
def test_every_operation_keeps_to_the_contract(
    operation: str, schema: BaseSchema, sandbox: Sandbox, known: dict[str, str], examples: int
) -> None:
    assert_described(schema, operation, keeps_to_it, examples, sandbox=sandbox, known=known)


def keeps_to_it(case: schemathesis.Case[Any], sandbox: Sandbox, known: dict[str, str]) -> None:
    assert case.meta is not None
    for location, values in (
        (ParameterLocation.PATH, case.path_parameters),
        (ParameterLocation.QUERY, case.query),
    ):
        if not case.meta.is_negative_at(location):
            values.update({name: known[name] for name in values if name in known})
    headers = None if case.meta.is_negative_at(ParameterLocation.HEADER) else KEY

    # Its default checks: statuses, types and schemas of answers, bad data refused, good data
    # taken, the key demanded, other methods refused.
    response = case.call_and_validate(base_url=sandbox.url, headers=headers)

    if case.meta.generation.mode.is_positive:
        assert response.status_code in (200, 201)


# The body of a submission, against the contract's schema

MEDIA_CREATION_PARAMS = Draft202012Validator(
    {
        "$ref": "#/components/schemas/MediaCreationParams",
        "components": CONTRACT["components"],
    },
    validate_formats=True,
)

ODD: list[Any] = [None, True, False, 0, -1, 1.5, "", " ", "1", [], [None], {}, {"adCount": 1}]
URLS = [
    "http://x",
    "http:/x/yz",
    "http://",
    "http:///a",
    "HTTPS://example.org/a.mp3",
    "ftp://example.org/a.mp3",
    "https://example.org/a b.mp3",
    "https://example.org/a.mp3\n",
    " https://example.org/a.mp3",
    "https://example.org/ä.mp3",
    "https://exämple.org/a.mp3",
    "https://example.org/%C3%A4.mp3?a=b&c=[d]",
    "https://example.org/%C3%A4.mp3?a=b&c=d/?#e/?",
    "https://example.org/a.mp3#b#c",
    "https://example.org/%zz",
    "https://example.org/a|b",
    "https://user:pw@example.org:8443/a.mp3",
    "https://a@b@c/",
    "https://example.org:port/",
    "https://example.org:/a",
    "https://[::1]:80/a.mp3",
    "https://[::ffff:1.2.3.4]/",
    "https://[1::2::3]/",
    "https://[1.2.3.4]/",
    "https://[::1%25eth0]/",
    "https://[v1.a:b]/",
    "https://[]/",
    "https://[::1/",
]
NAMES = ["x", "\x00", " x ", "\t\n\v\f\r", "\u00a0\u1680\u2003\u2028\u202f\u205f\u3000", "\ufeff"]
NAMES += ["\x1c", "\x85", "\u200b", "\u180e", "😀"]
DATES = [
    "2025-10-01T14:30:00.000Z",
    "2024-02-29T00:00:00.000Z",
    "2025-02-29T00:00:00.000Z",
    "1900-02-29T00:00:00.000Z",
    "2025-04-31T00:00:00.000Z",
    "0000-02-29T00:00:00.000Z",
    "9999-12-31T23:59:59.999Z",
    "2025-13-01T00:00:00.000Z",
    "2025-10-00T00:00:00.000Z",
    "2025-10-01T24:00:00.000Z",
    "2025-10-01T23:59:60.000Z",
    "2025-10-01T14:30:00Z",
    "2025-10-01T14:30:00.00Z",
    "2025-10-01T14:30:00.0000Z",
    "2025-10-01T14:30:00.000+00:00",
    "2025-10-01t14:30:00.000z",
    "2025-10-01 14:30:00.000Z",
    "2025-10-01T14:30:00.000Z\n",
    "\u0662\u0660\u0662\u0665-10-01T14:30:00.000Z",
    "2025-10-01",
]
NUMBERS: list[Any] = [0, -0.0, 1.0, 1.5, -1, -0.1, 1e300, 10**30, True, "1", None]


@st.composite
def nearly(draw: st.DrawFn, good: st.SearchStrategy[Any], odd: st.SearchStrategy[Any]) -> Any:
    """One in a dozen is odd: more, and hardly a body would have just one thing wrong with it."""
    return draw(odd if draw(st.integers(0, 11)) == 0 else good)


@st.composite
def objects(draw: st.DrawFn, needed: dict[str, Any], optional: dict[str, Any]) -> dict[str, Any]:
    """Such objects, now and then with a field too few or too many."""
    made = draw(st.fixed_dictionaries(needed, optional=optional))
    if draw(st.integers(0, 23)) == 0 and made:
        del made[draw(st.sampled_from(sorted(made)))]
    if draw(st.integers(0, 23)) == 0:
        made[draw(st.sampled_from(["adcount", "ad_count", "adCount", "time", "x", "guid"]))] = 1
    return made


ANYTHING = st.sampled_from(ODD)
NUMBER = nearly(
    st.integers(0, 9) | st.floats(0, allow_infinity=False), st.sampled_from(NUMBERS) | ANYTHING
)
COUNT = nearly(st.integers(0, 9) | st.just(2.0), st.sampled_from(NUMBERS) | st.floats(0, 9))
DURATIONS = {"minDuration": NUMBER, "maxDuration": NUMBER}
AD = nearly(objects({"adCount": COUNT}, DURATIONS), ANYTHING)
AUTOMATED = nearly(
    objects({"adCount": COUNT}, DURATIONS | {"insertionCount": COUNT, "adsPerHour": NUMBER}),
    ANYTHING,
)
MID_ROLL = nearly(objects({"adCount": COUNT, "time": NUMBER}, DURATIONS), ANYTHING)
AD_OPTIONS = objects(
    {},
    {
        "preRoll": AD,
        "postRoll": AD,
        "automatedMidRolls": AUTOMATED,
        "midRolls": nearly(st.lists(MID_ROLL, max_size=3), ANYTHING),
    },
)
MOMENTS = st.datetimes().map(lambda at: at.isoformat(timespec="milliseconds") + "Z")
BODIES = objects(
    {
        "url": nearly(
            st.text(max_size=9).map(lambda end: f"https://example.org/{end}")
            | st.just(BODY["url"])
            | st.just("http://[::1]:8080/a"),
            st.sampled_from(URLS) | ANYTHING,
        ),
        "name": nearly(st.text(min_size=1), st.sampled_from(NAMES) | ANYTHING),
    },
    {
        "description": nearly(st.text(), ANYTHING),
        "publishedDate": nearly(MOMENTS, st.sampled_from(DATES) | ANYTHING),
        "adOptions": nearly(AD_OPTIONS, ANYTHING),
    },
)
EDGES: list[Any] = [
    *({**BODY, "url": url} for url in URLS),
    *({**BODY, "name": name} for name in NAMES),
    *({**BODY, "publishedDate": date} for date in DATES),
    *({**BODY, "adOptions": {"preRoll": {"adCount": number}}} for number in NUMBERS),
    *({**BODY, "adOptions": {"midRolls": [{"adCount": 1, "time": it}]}} for it in NUMBERS),
    *({**BODY, field: odd} for field in (*BODY, "description", "adOptions", "x") for odd in ODD),
    *ODD,
]


def check_agreement(client: httpx.Client, body: Any) -> None:
    text = json.dumps(body).encode()
    response = client.post(PROCESS, content=text, headers={"Content-Type": "application/json"})
    expected = 201 if MEDIA_CREATION_PARAMS.is_valid(body) else 400
    assert response.status_code == expected, (body, response.text)


@pytest.mark.parametrize("body", EDGES, ids=ascii)
def test_edges_are_where_the_contract_has_them(client: httpx.Client, body: Any) -> None:
    check_agreement(client, body)


@given(body=BODIES)
@settings(max_examples=150, derandomize=True, deadline=None, database=None)
def test_sandbox_and_contract_agree_on_every_body(client: httpx.Client, body: Any) -> None:
    check_agreement(client, body)


def test_the_examples_of_the_contract_are_accepted(client: httpx.Client) -> None:
    operation = CONTRACT["paths"]["/api/v1/podcasts/{podcastId}/media/process"]["post"]
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    assert examples
    for example in examples.values():
        assert client.post(PROCESS, json=example["value"]).status_code == 201
