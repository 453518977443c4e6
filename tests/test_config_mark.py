"""The config mark: the same for configs that agree, and for those alone."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from feedwatch.config.key_names import KEY_KEY, PREFIX
from feedwatch.config.keys import FEED_FIELDS, TOP_KEYS, Settings
from feedwatch.config.load import load
from feedwatch.config.mark import config_mark
from tests.support import ROOT

BLOCK = f"{PREFIX}FEEDS__SHOW__"
OF_THE_LEAST = "b580705136f2c4da50723edc1793edc0079eedfa4fb814a1a9d9d73f097a32a6"
SECRETS = ("whsec_" + "a" * 32, "whsec_" + "b" * 32)
# Each key with a value, and with another one, from which the mark must be another.
AGREED = {
    KEY_KEY: ("key-1", "key-2"),
    f"{PREFIX}API_URL": ("https://a.example", "https://b.example"),
    f"{PREFIX}CHECK_INTERVAL": ("20m", "30m"),
    f"{PREFIX}POLL_INTERVAL": ("1m", "2m"),
    f"{PREFIX}JOB_DEADLINE": ("1h", "2h"),
    f"{PREFIX}MAX_CONCURRENT_JOBS": ("5", "6"),
    f"{PREFIX}MAX_SUBMISSIONS_PER_DAY": ("7", "8"),
    f"{PREFIX}PIPELINE": ("enhance,ads", "enhance?,ads"),
    f"{PREFIX}FIRST_RUN": ("latest:1", "since:2026-01-01"),
    f"{PREFIX}FLOOD_LIMIT": ("6", "0"),
    f"{PREFIX}ON_REPLACED": ("ignore", "submit"),
    f"{PREFIX}FUTURE_DATED": ("submit", "wait"),
    f"{PREFIX}SUBMIT_DELAY": ("1h", "90s"),
    f"{PREFIX}ON_UNKNOWN": ("resubmit", "hold"),
    f"{PREFIX}NOTIFY_COMMAND": ("tell a", "tell b"),
    f"{PREFIX}NOTIFY_WEBHOOK_SECRET": SECRETS,
    f"{PREFIX}NOTIFY_WEBHOOK_URL": ("https://a.example/hook", "https://b.example/hook"),
    f"{PREFIX}NOTIFY_APPRISE_URLS": ("json://a.example", "json://b.example"),
    f"{PREFIX}PUBLIC_URL": ("https://a.example", "https://b.example"),
    f"{PREFIX}SERVE_FEEDS": ("true", "false"),
    f"{PREFIX}WEBSUB": ("false", "true"),
    f"{PREFIX}NOT_READY": ("omit", "original"),
    f"{PREFIX}OMIT_FOR": ("1h", "2h"),
    f"{PREFIX}PODCAST_GUID": ("own", "keep"),
    f"{PREFIX}TIMED_TAGS": ("keep", "drop"),
    f"{PREFIX}MEDIAAPIS_KEY": ("key-1", "key-2"),
    f"{PREFIX}MEDIAAPIS_SECRET": ("secret-1", "secret-2"),
    f"{PREFIX}MEDIAAPIS_URL": ("https://a.example", "https://b.example"),
    f"{PREFIX}MEDIAAPIS_AUTH_URL": ("https://c.example", "https://d.example"),
    f"{PREFIX}MEDIAAPIS_OUTPUT": ("s3://b/{token}.mp3", "s3://c/{token}.mp3"),
    f"{PREFIX}MEDIAAPIS_OUTPUT_AUTH": ('{"key":"k","secret":"s"}', '{"key":"k","secret":"t"}'),
    f"{PREFIX}MEDIAAPIS_PUBLIC_URL": ("https://b.example/{token}", "https://c.example/{token}"),
    f"{PREFIX}MEDIAAPIS_MAX_SUBMISSIONS_PER_DAY": ("9", "10"),
    f"{PREFIX}MEDIAAPIS_MAX_CONCURRENT_JOBS": ("2", "3"),
    f"{PREFIX}MEDIAAPIS_POLL_INTERVAL": ("3m", "4m"),
    f"{PREFIX}MEDIAAPIS_JOB_DEADLINE": ("3h", "4h"),
    f"{PREFIX}MEDIAAPIS_TOKEN_LIFETIME": ("1h", "2h"),
    f"{BLOCK}URL": ("https://h.example/feed?token=1", "https://h.example/feed?token=2"),
    f"{BLOCK}PODCAST_ID": ("p-1", "p-2"),
    f"{BLOCK}PIPELINE": ("diagnose,ads", "ads"),
    f"{BLOCK}AD_OPTIONS": ('{"preRoll":{"adCount":1}}', '{"preRoll":{"adCount":2}}'),
    f"{BLOCK}ENHANCE": ('{"content":{"type":"interview"}}', '{"content":{"type":"music"}}'),
    f"{BLOCK}FIRST_RUN": ("all", "none"),
    f"{BLOCK}CHECK_INTERVAL": ("40m", "50m"),
    f"{BLOCK}FLOOD_LIMIT": ("1", "2"),
    f"{BLOCK}ON_REPLACED": ("hold", "ignore"),
    f"{BLOCK}SUBMIT_DELAY": ("3h", "4h"),
    f"{BLOCK}INCLUDE_TITLE": ("a", "b"),
    f"{BLOCK}EXCLUDE_TITLE": ("c", "d"),
    f"{BLOCK}EPISODE_TYPES": ("full,bonus", "full"),
    f"{BLOCK}MEDIA_TYPES": ("audio/*", "video/*"),
    f"{BLOCK}MIN_DURATION": ("1m", "2m"),
    f"{BLOCK}MAX_DURATION": ("1h", "2h"),
    f"{BLOCK}USERNAME": ("a", "b"),
    f"{BLOCK}PASSWORD": ("c", "d"),
    f"{BLOCK}HEADERS": ('{"X-A":"1","X-B":"2"}', '{"X-A":"1"}'),
    f"{BLOCK}USER_AGENT": ("a", "b"),
    f"{BLOCK}NOT_READY": ("original", "omit"),
    f"{BLOCK}OMIT_FOR": ("3h", "4h"),
    f"{BLOCK}PODCAST_GUID": ("keep", "own"),
    f"{BLOCK}TIMED_TAGS": ("drop", "keep"),
    f"{BLOCK}SERVE_KEY": ("a" * 16, "b" * 16),
}
# What is each machine's own.
OWN = {
    f"{PREFIX}DATABASE_URL": ("postgresql://a.example/f", "postgresql://b.example/f"),
    f"{PREFIX}LOG_FORMAT": ("json", "text"),
    f"{PREFIX}LOG_LEVEL": ("debug", "info"),
    f"{PREFIX}PROXY": ("http://a.example:1", "http://b.example:1"),
    f"{PREFIX}FEED_PROXY": ("http://a.example:1", "http://b.example:1"),
    f"{PREFIX}HEARTBEAT_URL": ("https://a.example/1", "https://a.example/2"),
    f"{PREFIX}HEARTBEAT_INTERVAL": ("1m", "2m"),
    f"{PREFIX}LISTEN": ("127.0.0.1:1", "127.0.0.1:2"),
    f"{PREFIX}PUBLIC_LISTEN": ("127.0.0.1:3", "127.0.0.1:4"),
    f"{PREFIX}WEB_URL": ("https://a.example", "https://b.example"),
    f"{PREFIX}WEB_TRUSTED_PROXIES": ("10.0.0.0/8", "10.0.0.1"),
    f"{PREFIX}WEB_USER_HEADER": ("X-A", "X-B"),
    f"{PREFIX}WEB_TOKEN": ("a" * 20, "b" * 20),
    f"{PREFIX}WEB_DECIDE_TOKEN": ("c" * 20, "d" * 20),
}
PASSWORDS = ("password-number-1", "password-number-2")  # not beside the header
KEYS = AGREED | OWN
# Where a feed has a value of its own, the global one is not its.
OF_OTHER_FEEDS = {f"{PREFIX}FEEDS__OTHER__URL": "https://h.example/o"} | {
    f"{PREFIX}FEEDS__OTHER__PODCAST_ID": "p-3"
}
BASE = {key: value for key, (value, _) in KEYS.items()} | OF_OTHER_FEEDS


def mark_with(**changed: str) -> str:
    return config_mark(load(None, BASE | changed))


def test_each_key_is_agreed_on_or_a_machines_own() -> None:
    every = {KEY_KEY, *TOP_KEYS, *(BLOCK + name for name in FEED_FIELDS)}
    assert set(KEYS) == every - {f"{PREFIX}WEB_PASSWORD"}


@pytest.mark.parametrize("key", AGREED)
def test_daemons_that_disagree_about_a_key_have_two_marks(key: str) -> None:
    assert mark_with(**{key: AGREED[key][1]}) != mark_with()


@pytest.mark.parametrize("key", OWN)
def test_what_is_a_machines_own_changes_no_mark(key: str) -> None:
    assert mark_with(**{key: OWN[key][1]}) == mark_with()


def test_the_pages_password_is_a_machines_own() -> None:
    header = {f"{PREFIX}WEB_USER_HEADER": "", f"{PREFIX}WEB_TRUSTED_PROXIES": ""}
    one, other = (mark_with(**header, FEEDWATCH_WEB_PASSWORD=it) for it in PASSWORDS)
    assert one == other == mark_with()


def test_a_feed_that_one_lacks_makes_two_marks() -> None:
    assert mark_with(**dict.fromkeys(OF_OTHER_FEEDS, "")) != mark_with()


def test_what_has_its_default_and_how_a_config_is_written_make_no_difference(
    tmp_path: Path,
) -> None:
    def mark_of(folder: str, text: str) -> str:
        path = tmp_path / folder / "config.env"
        path.parent.mkdir()
        path.write_text(text)
        path.chmod(0o600)
        return config_mark(load(path, {}))

    least = f"{KEY_KEY}=k\n{BLOCK}URL=https://h.example/f\n{BLOCK}PODCAST_ID=p\n"
    command = f"{PREFIX}NOTIFY_COMMAND=./tell --all\n"
    defaults = f"{PREFIX}ON_UNKNOWN=hold\n{BLOCK}EPISODE_TYPES=trailer,bonus,full\n"
    assert mark_of("a", least + command) == mark_of("b", command + defaults + least)


def test_a_mark_is_the_same_in_each_process_and_of_todays_form() -> None:
    """Whatever the seed of `hash`; and the mark of an older version, until another is wanted."""
    least = {KEY_KEY: "k", f"{BLOCK}URL": "https://h.example/f", f"{BLOCK}PODCAST_ID": "p"}
    least |= {f"{BLOCK}EPISODE_TYPES": "bonus,full", f"{PREFIX}SUBMIT_DELAY": "1.5h"}
    program = (
        "from feedwatch.config import mark; from feedwatch.config.load import load;"
        f"print(mark.config_mark(load(None, {least})))"
    )
    for seed in ("1", "2"):
        told = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed},
        )
        assert told.stdout == f"{OF_THE_LEAST}\n"


def test_who_knows_all_but_a_password_cannot_try_passwords_without_the_api_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All is in one hash, which is slow: nothing in the mark is a hash of one secret."""
    hashed: list[str] = []
    scrypt = hashlib.scrypt

    def noted(text: bytes, **how: Any) -> bytes:
        hashed.append(text.decode())
        return scrypt(text, **how)

    monkeypatch.setattr(hashlib, "scrypt", noted)
    assert len(mark_with()) == 64
    (text,) = hashed
    assert all(AGREED[key][0] in text for key in (KEY_KEY, f"{BLOCK}PASSWORD"))


def test_a_value_of_a_kind_that_no_mark_is_defined_for_is_a_bug(tmp_path: Path) -> None:
    settings: Settings = load(None, BASE)
    object.__setattr__(settings, "api_url", object())
    with pytest.raises(TypeError, match="a mark of object"):
        config_mark(settings)
