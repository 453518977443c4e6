"""What `doctor` says of the Media APIs: each finding good and bad, at the sandbox."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from feedwatch.cli import doctor_mediaapis
from feedwatch.cli.assembly import mediaapis, usable
from feedwatch.cli.doctor import findings_of
from feedwatch.config.errors import ConfigError
from feedwatch.config.load import load
from feedwatch.core.status import Finding
from feedwatch.net.client import Cancellation
from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.server import Sandbox
from feedwatch.store.store import Store
from tests.receiver import Receiver


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


def settings_at(sandbox: Sandbox, **keys: str | None) -> dict[str, str]:
    name = "{feed}/{id}-{token}.mp3"
    given: dict[str, str | None] = {
        "API_URL": sandbox.url,
        "API_KEY": "sandbox-key",
        "FEEDS__SHOW__URL": "https://h.example/feed",
        "FEEDS__SHOW__PODCAST_ID": "podcast-1",
        "MEDIAAPIS_KEY": "sandbox-app-key",
        "MEDIAAPIS_SECRET": "sandbox-app-secret",
        "MEDIAAPIS_URL": sandbox.url,
        "MEDIAAPIS_AUTH_URL": sandbox.url,
        "MEDIAAPIS_OUTPUT": f"{sandbox.url}/out/{name}",
        "MEDIAAPIS_PUBLIC_URL": f"{sandbox.url}/public/{name}",
        **keys,
    }
    return {f"FEEDWATCH_{name}": text for name, text in given.items() if text is not None}


def found(sandbox: Sandbox, **keys: str | None) -> dict[str, Finding]:
    settings = load(None, settings_at(sandbox, **keys))
    findings = doctor_mediaapis.mediaapis_findings(settings, Cancellation())
    return {one.check.removeprefix("Media APIs: "): one for one in findings}


def test_all_is_well_at_the_sandbox_and_nothing_is_submitted(sandbox: Sandbox) -> None:
    findings = found(sandbox)
    assert list(findings) == ["token", "list of jobs", "public address"]
    assert all(one.ok for one in findings.values()), findings
    assert sandbox.submissions == []


def test_a_wrong_secret_is_told_with_the_keys_to_mend(sandbox: Sandbox) -> None:
    findings = found(sandbox, MEDIAAPIS_SECRET="wr0ng-one")
    assert list(findings) == ["token", "list of jobs", "public address"]
    token, jobs = findings["token"], findings["list of jobs"]
    assert not token.ok
    assert "not asked for" in jobs.found
    assert jobs.mend == "mend the token first"
    assert "401" in token.found
    assert "FEEDWATCH_MEDIAAPIS_AUTH_URL" in (token.mend or "")
    assert "wr0ng" not in f"{token}"


def test_a_media_host_that_refuses_is_told(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("jobs", "html", status=404))
    jobs = found(sandbox)["list of jobs"]
    assert not jobs.ok
    assert "FEEDWATCH_MEDIAAPIS_URL" in (jobs.mend or "")


def test_a_key_without_its_secret_is_told(sandbox: Sandbox) -> None:
    token, jobs = found(sandbox, MEDIAAPIS_SECRET=None).values()
    assert (token.ok, jobs.ok) == (False, False)
    assert "FEEDWATCH_MEDIAAPIS_SECRET is missing" in token.found


@pytest.mark.parametrize("place", ["http://127.0.0.1:1", "post"])
def test_a_public_address_that_does_not_serve_files_is_told(sandbox: Sandbox, place: str) -> None:
    with Receiver() as other:
        base = f"http://127.0.0.1:{other.port}" if place == "post" else place
        address = found(sandbox, MEDIAAPIS_PUBLIC_URL=f"{base}/{{token}}")["public address"]
    assert not address.ok
    assert "FEEDWATCH_MEDIAAPIS_PUBLIC_URL" in (address.mend or "")


def test_the_address_of_callbacks_is_tried_from_here(sandbox: Sandbox, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/feedwatch.db"
    public = {
        "PUBLIC_LISTEN": "127.0.0.1:0",
        "MEDIAAPIS_PUBLIC_URL": None,
        "DATABASE_URL": database,
    }
    nobody = "http://127.0.0.1:1"
    assert found(sandbox, PUBLIC_URL=sandbox.url, **public)["callbacks"].ok, "it answers 404"
    before = found(sandbox, PUBLIC_URL=nobody, **public)["callbacks"]
    assert before.ok, "nothing listens before there is a daemon"
    assert "no `feedwatch run` is running" in before.found
    for url in (nobody, "post"):
        with (
            Receiver() as other,
            closing(Store(database, processor="inlet", may_create=True, alone=True)),
        ):
            base = f"http://127.0.0.1:{other.port}" if url == "post" else url
            address = found(sandbox, PUBLIC_URL=base, **public)["callbacks"]
        assert not address.ok
        assert "FEEDWATCH_PUBLIC_URL" in (address.mend or "")
    (tmp_path / "feedwatch.db").write_bytes(b"no database at all, but something else" * 40)
    assert not found(sandbox, PUBLIC_URL=nobody, **public)["callbacks"].ok


def test_doctor_looks_at_the_apis_that_a_pipeline_needs(sandbox: Sandbox, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/feedwatch.db"
    for pipeline, looked_at in (
        ("ads", ["API key"]),
        ("enhance,ads", ["API key", "Media APIs: token"]),
        ("enhance", ["Media APIs: token"]),
    ):
        settings = load(None, settings_at(sandbox, PIPELINE=pipeline, DATABASE_URL=database))
        checks = [one.check for one in findings_of(settings, notify=False)]
        both = ("API key", "Media APIs: token")
        assert [check for check in checks if check in both] == looked_at


def test_an_api_whose_keys_are_here_is_usable_also_where_no_pipeline_has_its_steps(
    sandbox: Sandbox,
) -> None:
    for keys, names in (
        ({}, ["inlet", "mediaapis"]),  # jobs of before may be under way
        ({"MEDIAAPIS_SECRET": None}, ["inlet"]),
        ({"MEDIAAPIS_SECRET": None, "PIPELINE": "enhance,ads"}, ["inlet", "mediaapis"]),
    ):
        given = settings_at(sandbox, **keys)
        assert list(usable(load(None, given, needs_key=False))) == names


def test_without_key_and_secret_there_is_no_processor(sandbox: Sandbox) -> None:
    settings = load(None, settings_at(sandbox, MEDIAAPIS_KEY=None))
    with pytest.raises(ConfigError, match="MEDIAAPIS_KEY"), mediaapis(settings, Cancellation()):
        pass


def test_the_processor_is_as_the_config_has_it(sandbox: Sandbox) -> None:
    auth = '{"username": "joe", "password": "pw-of-joe"}'
    cases: list[tuple[dict[str, str | None], bool]]
    cases = [({"MEDIAAPIS_OUTPUT_AUTH": auth}, True), ({"MEDIAAPIS_OUTPUT": None}, False)]
    for more, expected in cases:
        settings = load(None, settings_at(sandbox, **more))
        with mediaapis(settings, Cancellation()) as processor:
            assert processor.api == sandbox.url
            assert processor.prepare() is None
            assert processor.has_target("enhance:podcast-1") is expected
            assert processor.has_target("diagnose:podcast-1") is True
