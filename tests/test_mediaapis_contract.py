"""The sandbox's Media APIs against their contract, as tools that know only that see them."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
import yaml
from schemathesis.core.parameters import ParameterLocation
from schemathesis.schemas import BaseSchema

from feedwatch.sandbox.server import Sandbox
from tests.described import assert_described, operations
from tests.support import ROOT, one_in

CONTRACT = ROOT / "tests/contract/mediaapis.openapi.yaml"
LOGIN = ("sandbox-app-key", "sandbox-app-secret")
OURS = re.compile("^/(v1/auth/token|media/(enhance|diagnose|jobs))$")
TOKEN = "/v1/auth/token"
INPUT = "https://media.example.org/1.mp3"

DESCRIBED = yaml.safe_load(CONTRACT.read_text(encoding="utf-8"))
OPERATIONS = [one for one in operations(DESCRIBED) if OURS.match(one.partition(" ")[2])]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with pytest.MonkeyPatch.context() as patch, Sandbox(job_seconds=0.0) as running:
        for name in ("no_proxy", "NO_PROXY"):  # schemathesis has a client of its own
            patch.setenv(name, "127.0.0.1")
        yield running


@pytest.fixture(scope="module")
def client(sandbox: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sandbox.url, trust_env=False) as client:
        grant = {"grant_type": "client_credentials", "expires_in": "86400"}
        token = client.post(TOKEN, data=grant, auth=LOGIN).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


@pytest.fixture(scope="module")
def jobs(client: httpx.Client) -> dict[str, str]:
    """A job of each kind, by its path."""
    bodies: dict[str, dict[str, str]] = {
        "/media/enhance": {"input": INPUT, "output": "s3://bucket/1.mp3"},
        "/media/diagnose": {"input": INPUT},
    }
    return {path: client.post(path, json=body).json()["job_id"] for path, body in bodies.items()}


@pytest.fixture(scope="module")
def schema() -> BaseSchema:
    return schemathesis.openapi.from_path(CONTRACT)


@pytest.mark.parametrize("examples", one_in(2, [15, 60]))
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_keeps_to_the_contract(
    operation: str,
    schema: BaseSchema,
    sandbox: Sandbox,
    client: httpx.Client,
    jobs: dict[str, str],
    examples: int,
) -> None:
    known = {"sandbox": sandbox, "client": client, "jobs": jobs}
    assert_described(schema, operation, keeps_to_it, examples, **known)


def keeps_to_it(
    case: schemathesis.Case[Any], sandbox: Sandbox, client: httpx.Client, jobs: dict[str, str]
) -> None:
    assert case.meta is not None
    known = {  # what a good request must name and the contract's schema cannot know
        "job_id": jobs.get(case.path, next(iter(jobs.values()))),
        "next_token": "0",
        "submitted_after": "2025-01-01T00:00:00Z",
        "submitted_before": "2035-01-01T00:00:00Z",
    }
    if not case.meta.is_negative_at(ParameterLocation.QUERY):
        case.query.update({name: known[name] for name in case.query if name in known})
    login: dict[str, Any] = {"headers": {"Authorization": client.headers["Authorization"]}}
    if case.path == TOKEN:
        login = {"auth": LOGIN}
    if case.meta.is_negative_at(ParameterLocation.HEADER):
        login = {}

    response = case.call_and_validate(base_url=sandbox.url, **login)

    if case.meta.generation.mode.is_positive:
        assert response.status_code == 200


def test_the_examples_of_the_contract_are_taken(client: httpx.Client) -> None:
    for path in ("/media/enhance", "/media/diagnose"):
        body = DESCRIBED["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        for example in body["examples"].values():
            assert client.post(path, json=example["value"]).status_code == 200, example


@pytest.mark.parametrize(
    "more",
    [
        {"output": "ftp://h/x"},
        {"output": {"url": "s3://b/x", "auth": {"user": "joe"}}},
        {"audio": {"loudness": {"enabled": True}}},
        {"audio": {"noise": {"reduction": {"amount": "much"}}}},
        {"audio": {"speech": {"isolation": {"amount": 101}}}},
        {"audio": {"loudness": {"target_level": "-16"}}},
        {"content": {"type": "Podcast"}},
        {"content": {}},
        {"on_complete": {"url": "hooks.example.org"}},
        {"on_complete": None},
        {"input": {"url": INPUT, "region": {"start": -1}}},
        {"x": 1},
    ],
    ids=str,
)
def test_a_body_that_breaks_the_contract_is_refused(client: httpx.Client, more: Any) -> None:
    good = {"input": INPUT, "output": "s3://b/x"}
    assert client.post("/media/enhance", json=good).status_code == 200
    response = client.post("/media/enhance", json=good | more)
    assert response.status_code == 400
    assert response.json()["status"] == 400


def test_jobs_are_listed_over_all_pages(client: httpx.Client) -> None:
    for _ in range(101):
        client.post("/media/diagnose", json={"input": INPUT})
    seen: list[str] = []
    following: dict[str, str] = {}
    while True:
        page = client.get("/media/jobs", params=following).json()
        assert page["count"] == len(page["jobs"]) <= 100
        seen += [job["job_id"] for job in page["jobs"]]
        if "next_token" not in page:
            break
        following = {"next_token": page["next_token"]}
    assert len(seen) == len(set(seen)) > 100
    one = client.get("/media/jobs", params={"job_id": seen[3]}).json()
    assert [job["job_id"] for job in one["jobs"]] == [seen[3]]
    assert client.get("/media/jobs", params={"status": "Failed"}).json()["count"] == 0
    assert client.get("/media/jobs", params={"submitted_after": "2999"}).json()["count"] == 0
    assert client.get("/media/jobs", params={"next_token": "x"}).status_code == 400


def test_the_storage_keeps_what_is_put_there(client: httpx.Client) -> None:
    assert client.get("/public/a/b").status_code == 404
    assert client.put("/out/a/b", content=b"abc").status_code == 201
    assert client.get("/public/a/b").content == b"abc"
    part = client.get("/public/a/b", headers={"Range": "bytes=0-0"})
    assert (part.status_code, part.content) == (206, b"a")
    assert part.headers["content-range"] == "bytes 0-0/3"
    assert client.delete("/out/a/b").status_code == 405
