"""The API against its own description, and what a description cannot say."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import yaml
from flask.testing import FlaskClient
from schemathesis.config import SchemathesisConfig
from schemathesis.schemas import BaseSchema

import feedwatch.web
from feedwatch.core.episode import State
from tests.described import assert_described, operations
from tests.page_site import DECIDE, READ, PageSite, page_site, served_page
from tests.support import one_in

DESCRIPTION = Path(feedwatch.web.__file__).parent / "openapi.yaml"
TOKEN = {"Authorization": f"Bearer {DECIDE}"}

# What was seen last may have changed: 412 and 428 are answers to good requests, too.
ANSWERS = ["2xx", "304", "404", "409", "412", "428"]
CONFIG = SchemathesisConfig.from_dict(
    {"checks": {"positive_data_acceptance": {"expected-statuses": ANSWERS}}}
)


@pytest.fixture(scope="module")
def schema() -> BaseSchema:
    return schemathesis.openapi.from_path(DESCRIPTION, config=CONFIG)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("api") / "a.db"
    with pytest.MonkeyPatch.context() as patch, page_site(path) as site:
        for name in ("no_proxy", "NO_PROXY"):  # schemathesis has a client of its own
            patch.setenv(name, "127.0.0.1")
        site.add(*((f"The {state} one", state) for state in State))
        with served_page(site) as url:
            yield f"{url}/api/v1"


@pytest.mark.parametrize("examples", one_in(2, [8, 25]))
@pytest.mark.parametrize("operation", operations(yaml.safe_load(DESCRIPTION.read_text("utf-8"))))
def test_every_operation_keeps_to_the_description(
    operation: str, schema: BaseSchema, served: str, examples: int
) -> None:
    assert_described(schema, operation, keeps_to_it, examples, served=served)


def keeps_to_it(case: schemathesis.Case[Any], served: str) -> None:
    case.call_and_validate(base_url=served, headers=TOKEN)


def test_the_description_has_every_route_and_no_other(site: PageSite) -> None:
    described = {
        (path, method.upper())
        for path, operations in yaml.safe_load(DESCRIPTION.read_text("utf-8"))["paths"].items()
        for method in operations
        if method != "parameters"
    }
    known = set()
    for rule in site.app().url_map.iter_rules():
        if rule.rule.startswith("/api/v1/"):
            path = rule.rule.removeprefix("/api/v1").replace("<int:number>", "{id}")
            path = path.replace("<name>", "{name}")
            known |= {(path, method) for method in (rule.methods or set()) & {"GET", "POST"}}
    assert known == described


@pytest.fixture
def site(tmp_path: Path) -> Iterator[PageSite]:
    with page_site(tmp_path / "a.db") as site:
        site.add(*((f"The {state} one", state) for state in State))
        yield site


@pytest.fixture
def client(site: PageSite) -> FlaskClient:
    return site.app().test_client()


def post(client: FlaskClient, path: str, **more: Any) -> tuple[int, Any]:
    headers = TOKEN | more.pop("headers", {})
    answer = client.post(f"/api/v1{path}", headers=headers, **more)
    return answer.status_code, json.loads(answer.text)


def get(client: FlaskClient, path: str) -> Any:
    headers = {"Authorization": f"Bearer {READ}"}
    return json.loads(client.get(f"/api/v1{path}", headers=headers).text)


def held(site: PageSite) -> int:
    return site.store.episodes.find(states=[State.HELD])[0].id


def test_status_has_the_places_of_the_journal(client: FlaskClient, site: PageSite) -> None:
    assert get(client, "/status")["journal"] == [
        {"place": str(place), "problem": None} for place in site.journal
    ]


def test_what_is_not_there_and_what_a_path_does_not_take_is_said_in_our_words(
    client: FlaskClient,
) -> None:
    missing = json.loads(client.get("/api/v1/nothing", headers=TOKEN).text)
    assert missing["detail"] == "there is nothing at /api/v1/nothing"
    wrong = client.post("/api/v1/status", headers=TOKEN)
    assert wrong.headers["Allow"] in ("GET, HEAD", "HEAD, GET")
    assert json.loads(wrong.text)["detail"] == (
        f"/api/v1/status takes {wrong.headers['Allow']}, not POST"
    )


def test_a_decision_needs_the_version_that_was_seen(client: FlaskClient, site: PageSite) -> None:
    number = held(site)
    version = get(client, f"/episodes/{number}")["version"]
    assert post(client, f"/episodes/{number}/approve")[0] == 428
    stale = {"If-Match": '"77"'}
    status, problem = post(client, f"/episodes/{number}/approve", headers=stale)
    assert (status, problem["version"]) == (412, version)
    assert site.state(number) is State.HELD
    for none in ("*", version, "", '"', f'"{version}" "77"'):  # none of them names what was seen
        path = f"/episodes/{number}/skip"
        assert post(client, path, headers={"If-Match": none})[0] == 428, none
        broken = post(client, path, headers={"If-Match": none}, data=b"{")
        assert broken[0] == 400, "what the body lacks comes first"
    assert (
        post(client, f"/episodes/{number}/skip", headers={"If-Match": f'W/"{version}"'})[0] == 412
    )
    assert site.state(number) is State.HELD
    right = {"If-Match": f'"77", "{version}"'}
    status, done = post(client, f"/episodes/{number}/approve", headers=right)
    assert (status, done["done"], done["costs_money"]) == (200, True, True)
    assert done["moves"][0]["to"] == "queued"
    assert post(client, f"/episodes/{number}/approve", headers=right)[0] == 412
    assert get(client, f"/episodes/{number}")["history"][-1]["actor"] == "api"


def test_a_dry_run_does_nothing_and_says_the_version(client: FlaskClient, site: PageSite) -> None:
    status, would = post(client, "/feeds/show/approve?dry_run=true")
    assert (status, would["done"]) == (200, False)
    assert site.state(held(site)) is State.HELD
    match = {"If-Match": f'"{would["version"]}"'}
    assert post(client, "/feeds/show/approve", headers=match)[1]["done"]
    assert site.store.episodes.find(states=[State.HELD]) == []


def test_a_ready_episode_is_sent_again_only_where_the_body_says_so(
    client: FlaskClient, site: PageSite
) -> None:
    number = site.store.episodes.find(states=[State.READY])[0].id
    path, again = f"/episodes/{number}/retry", {"json": {"again": True}}
    assert post(client, f"{path}?dry_run=true")[0] == 409
    assert post(client, f"{path}?dry_run=true", json={"again": 1})[0] == 400
    status, would = post(client, f"{path}?dry_run=true", **again)
    assert (status, would["done"], would["costs_money"]) == (200, False, True)
    assert "published once more" in would["warnings"][-1]
    assert post(client, path, **again)[0] == 428
    match = {"If-Match": f'"{would["version"]}"'}
    assert post(client, path, headers=match, **again)[1]["moves"][0]["to"] == "queued"
    assert post(client, path, headers=match, **again)[0] == 412


def test_a_step_is_repeated_or_passed_over_where_the_body_says_so(
    client: FlaskClient, site: PageSite
) -> None:
    number = site.store.episodes.find(states=[State.READY])[0].id
    assert get(client, f"/episodes/{number}")["steps"] == []
    path, start = f"/episodes/{number}/retry", {"json": {"from": "ads"}}
    assert post(client, f"{path}?dry_run=true", json={"from": "add"})[0] == 400
    for unread in ({"data": b'{"from": "ads"'}, {"json": ["from"]}):  # else it would be another one
        assert post(client, f"{path}?dry_run=true", **unread)[0] == 400
    assert post(client, f"{path}?dry_run=true", json={"from": "enhance"})[0] == 409
    status, would = post(client, f"{path}?dry_run=true", **start)
    assert (status, would["costs_money"]) == (200, True)
    assert "ads will be paid for" in " ".join(would["warnings"])
    match = {"If-Match": f'"{would["version"]}"'}
    assert post(client, path, headers=match, **start)[1]["moves"][0]["to"] == "queued"
    over = {"json": {"step": True}}
    status, problem = post(client, f"/episodes/{number}/skip?dry_run=true", **over)
    assert status == 409
    assert f"episode {number} is at ads, its last step" in problem["detail"]


def test_what_the_state_does_not_allow_is_a_conflict(client: FlaskClient, site: PageSite) -> None:
    number = site.store.episodes.find(states=[State.READY])[0].id
    version = get(client, f"/episodes/{number}")["version"]
    match = {"If-Match": f'"{version}"'}
    status, problem = post(client, f"/episodes/{number}/approve", headers=match)
    assert status == 409
    assert "is ready" in problem["detail"]


def test_a_publishers_hook_makes_the_feed_due_but_at_most_once_a_minute(
    client: FlaskClient, site: PageSite
) -> None:
    site.store.feeds.make_due(site.now + timedelta(hours=1), ["show"])
    status, _ = post(client, "/feeds/show/check")
    assert status == 202
    due_at = site.feed().due_at
    assert due_at is not None
    checked_at = site.feed().checked_at
    assert checked_at is not None
    assert due_at >= checked_at + timedelta(minutes=1)
    assert post(client, "/feeds/none/check")[0] == 404


def test_a_list_goes_on_where_it_ended(client: FlaskClient) -> None:
    seen, after = [], ""
    while True:
        page = get(client, f"/episodes?limit=3{after}")
        seen += [one["id"] for one in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert len(seen) == len(set(seen)) == len(State)


def test_who_has_a_list_already_is_told_so(client: FlaskClient) -> None:
    headers = {"Authorization": f"Bearer {READ}"}
    first = client.get("/api/v1/episodes", headers=headers)
    again = client.get(
        "/api/v1/episodes", headers=headers | {"If-None-Match": first.headers["ETag"]}
    )
    assert again.status_code == 304
    assert again.data == b""


def test_the_etag_of_an_episode_is_its_version(client: FlaskClient) -> None:
    answer = client.get("/api/v1/episodes/1", headers={"Authorization": f"Bearer {READ}"})
    assert answer.headers["ETag"] == f'"{json.loads(answer.text)["version"]}"'
