"""The keys of the Media APIs: what is taken, what is refused and why, and what is secret."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from feedwatch.cli.reload import plan_of
from feedwatch.cli.web import files_scope
from feedwatch.config.errors import ConfigError
from feedwatch.config.keys import Settings
from feedwatch.config.load import load
from feedwatch.config.mediaapis import missing_for
from feedwatch.net.address_scope import Scope

FEED = {
    "API_KEY": "s3cret-of-inlet",
    "FEEDS__SHOW__URL": "https://h.example/feed",
    "FEEDS__SHOW__PODCAST_ID": "p-1",
}
WHOLE = {
    "MEDIAAPIS_KEY": "app-key-1",
    "MEDIAAPIS_SECRET": "app-secret-1",
    "MEDIAAPIS_OUTPUT": "s3://bucket/{feed}/{id}-{token}.mp3",
    "MEDIAAPIS_OUTPUT_AUTH": '{"key": "store-key", "secret": "store-secret"}',
    "MEDIAAPIS_PUBLIC_URL": "https://cdn.example.org/{feed}/{id}-{token}.mp3",
}


def read(**keys: str) -> Settings:
    return load(None, {f"FEEDWATCH_{name}": text for name, text in (FEED | keys).items()})


def problem(**keys: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(**keys)
    assert len(caught.value.problems) == 1, caught.value.problems
    return caught.value.problems[0]


def test_the_defaults_are_the_vendors_hosts_and_the_global_limits() -> None:
    settings = read(POLL_INTERVAL="1m", MAX_CONCURRENT_JOBS="7")
    media = settings.mediaapis
    assert (media.url, media.auth_url) == ("https://api.dolby.com", "https://api.dolby.io")
    assert media.token_lifetime == timedelta(minutes=30)
    assert media.policy == settings.policy
    assert settings.sources[0].enhance == {"content": {"type": "podcast"}}


def test_the_media_apis_have_limits_of_their_own() -> None:
    media = read(
        MEDIAAPIS_POLL_INTERVAL="2m",
        MEDIAAPIS_JOB_DEADLINE="6h",
        MEDIAAPIS_MAX_CONCURRENT_JOBS="2",
        MEDIAAPIS_MAX_SUBMISSIONS_PER_DAY="9",
    ).mediaapis.policy
    assert (media.poll_interval, media.job_deadline) == (timedelta(minutes=2), timedelta(hours=6))
    assert (media.max_concurrent_jobs, media.max_submissions_per_day) == (2, 9)


def test_processed_files_may_be_as_private_as_the_api_and_the_outputs_of_now() -> None:
    assert plan_of(read()).file_addresses == ("https://api.studio.inlet.fm",)
    for host, scope in (
        ("cdn.example.org", Scope.PUBLIC),
        ("10.1.2.3", Scope.PRIVATE),
        ("127.0.0.1:9", Scope.LOOPBACK),
        ("localhost", Scope.LOOPBACK),
        ("169.254.169.254", Scope.LOOPBACK),
    ):
        settings = read(**WHOLE | {"MEDIAAPIS_PUBLIC_URL": f"http://{host}/{{token}}"})
        assert max(map(files_scope, plan_of(settings).file_addresses)) is scope


def test_a_short_poll_interval_is_for_this_machine_alone() -> None:
    assert "30s or more" in problem(MEDIAAPIS_POLL_INTERVAL="5s")
    local = {"MEDIAAPIS_URL": "http://127.0.0.1:8010", "MEDIAAPIS_POLL_INTERVAL": "1s"}
    assert read(**local).mediaapis.policy.poll_interval == timedelta(seconds=1)
    at_sandbox = read(API_URL="http://127.0.0.1:8010", POLL_INTERVAL="1s")
    assert at_sandbox.mediaapis.policy.poll_interval == timedelta(seconds=30)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("URL", "https://api.dolby.io", "belongs to FEEDWATCH_MEDIAAPIS_AUTH_URL"),
        ("AUTH_URL", "https://api.dolby.com", "belongs to FEEDWATCH_MEDIAAPIS_URL"),
        ("URL", "https://api.dolby.com/media", "the host only"),
        ("OUTPUT", "dlb://out/{token}.mp3", "nobody can read the result"),
        ("OUTPUT", "s3://bucket/{feed}/{id}.mp3", "{token} in it"),
        ("OUTPUT", "s3://bucket/{token}/{name}", "{name}"),
        ("OUTPUT", "s3://bucket/{token}/{id", "{id"),
        ("OUTPUT", "gs://bucket/{token}", "s3://BUCKET/NAME"),
        ("OUTPUT", "s3://{token}", "s3://BUCKET/NAME"),
        ("OUTPUT", "https://joe:pw@h/{token}", "OUTPUT_AUTH has them"),
        ("PUBLIC_URL", "s3://bucket/{token}", "https://HOST/NAME"),
        ("PUBLIC_URL", "https://cdn.example.org/{id}.mp3", "{token} in it"),
        ("OUTPUT_AUTH", "key:secret", "a JSON object"),
        ("OUTPUT_AUTH", '{"key": "k"}', "a JSON object"),
        ("OUTPUT_AUTH", '{"key": "k", "secret": 5}', "a JSON object"),
        ("OUTPUT_AUTH", '["key", "secret"]', "a JSON object"),
        ("TOKEN_LIFETIME", "25h", "from 1s to 24h"),
        ("TOKEN_LIFETIME", "0.5s", "from 1s to 24h"),
        ("KEY", "two words", "one word"),
        ("SECRET", "with:colon", "one word"),
    ],
)
def test_what_cannot_work_is_refused_in_words(key: str, value: str, said: str) -> None:
    found = problem(**{f"MEDIAAPIS_{key}": value})
    assert found.startswith(f"FEEDWATCH_MEDIAAPIS_{key}=")
    assert said in found
    for secret in ("two words", "with:colon", "joe:pw", "key:secret"):
        assert secret not in found


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('{"contents": {}}', "enhance has no such field; did you mean content?"),
        ('{"audio": {"speech": {"isolaton": {}}}}', "no such field; did you mean isolation?"),
        ('{"content": {"type": "Podcast"}}', "content.type"),
        ('{"content": {}}', "is required here"),
        ('{"audio": {"loudness": {"enable": "yes"}}}', "audio.loudness.enable"),
        ('{"audio": {"loudness": {"target_level": true}}}', "a number"),
        ('{"audio": {"speech": {"isolation": {"amount": 101}}}}', "from 0 to 100"),
        ("podcast", "a JSON object"),
    ],
)
def test_options_of_enhance_are_held_to_the_contract(value: str, said: str) -> None:
    assert said in problem(FEEDS__SHOW__ENHANCE=value)


def test_options_of_enhance_are_given_key_by_key_as_well() -> None:
    settings = read(
        FEEDS__SHOW__ENHANCE='{"content": {"type": "interview"}}',
        FEEDS__SHOW__ENHANCE__AUDIO__LOUDNESS__ENABLE="true",
        FEEDS__SHOW__ENHANCE__AUDIO__LOUDNESS__TARGET_LEVEL="-16",
        FEEDS__SHOW__ENHANCE__AUDIO__SPEECH__ISOLATION__AMOUNT="50",
    )
    assert settings.sources[0].enhance == {
        "content": {"type": "interview"},
        "audio": {
            "loudness": {"enable": True, "target_level": -16},
            "speech": {"isolation": {"amount": 50}},
        },
    }


def test_what_a_step_needs_is_asked_for_with_the_step() -> None:
    nothing, whole = read().given, read(**WHOLE).given
    assert missing_for(nothing, ["ads"]) == []
    keys = [f"FEEDWATCH_MEDIAAPIS_{name} is missing" for name in ("KEY", "SECRET")]
    assert [one.split(":")[0] for one in missing_for(nothing, ["diagnose", "ads"])] == keys
    keys += [f"FEEDWATCH_MEDIAAPIS_{name} is missing" for name in ("OUTPUT", "PUBLIC_URL")]
    wanting = missing_for(nothing, {"enhance", "diagnose"})
    assert [one.split(":")[0] for one in wanting] == keys
    assert "enhance and diagnose" in wanting[0]
    assert missing_for(whole, ["diagnose", "enhance", "ads"]) == []


def test_secrets_may_be_in_files_and_credentials(tmp_path: Path) -> None:
    (tmp_path / "feedwatch_mediaapis_key").write_text("app-key-2\n")
    (tmp_path / "secret.txt").write_text("app-secret-2\n")
    (tmp_path / "feedwatch_mediaapis_output_auth").write_text('{"username":"j","password":"pw-2"}')
    environ = {f"FEEDWATCH_{name}": text for name, text in FEED.items()}
    environ |= {
        "FEEDWATCH_MEDIAAPIS_SECRET_FILE": str(tmp_path / "secret.txt"),
        "CREDENTIALS_DIRECTORY": str(tmp_path),
    }
    media = load(None, environ).mediaapis
    assert media.key is not None
    assert media.secret is not None
    assert media.key.get_secret_value() == "app-key-2"
    assert media.secret.get_secret_value() == "app-secret-2"
    assert media.output_auth == {"username": "j", "password": "pw-2"}
    environ["FEEDWATCH_MEDIAAPIS_SECRET"] = "both"
    with pytest.raises(ConfigError, match="both set"):
        load(None, environ)


def test_all_that_is_secret_is_known_to_masking() -> None:
    settings = read(**WHOLE)
    secrets = settings.secrets()
    for one in ("app-key-1", "app-secret-1", "store-secret", "store-key"):
        assert one in secrets
        assert one not in repr(settings)
    assert "YXBwLWtleS0xOmFwcC1zZWNyZXQtMQ==" in secrets, "as HTTP Basic has both"
    assert json.loads(WHOLE["MEDIAAPIS_OUTPUT_AUTH"]) == settings.mediaapis.output_auth
