"""The keys of the Media APIs, and what they become. docs/media-apis.md says what they are for."""

import base64
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from feedwatch.config import values
from feedwatch.config.key_names import PREFIX
from feedwatch.config.values import expected
from feedwatch.core.masking import secrets_in
from feedwatch.core.pipeline import Step
from feedwatch.core.settings import Policy

SHORTEST_POLL_INTERVAL = timedelta(seconds=30)
LONGEST_TOKEN_LIFETIME = timedelta(hours=24)
HELPERS = (Step.ENHANCE, Step.DIAGNOSE)  # the steps that go to the Media APIs
PLACEHOLDER = re.compile(r"\{[^{}]*\}?|\}")
PLACEHOLDERS = ("{feed}", "{id}", "{token}")
AUTH_FORMS = ({"key", "secret"}, {"key", "secret", "token"}, {"username", "password"})
LOOPBACK = re.compile(r"^(localhost|127(\.\d+){3}|::1)$")


def app_credential(value: str) -> SecretStr:
    """The app key, or its secret, as HTTP Basic can carry it."""
    text = value.strip()
    if not re.fullmatch(r"[!-9;-~]+", text):
        expected("one word of printable ASCII characters, without a colon")
    return SecretStr(text)


def template(value: str) -> str:
    """An address with placeholders, of which {token} keeps two jobs from writing to one name."""
    text = value.strip()
    if unknown := [it for it in PLACEHOLDER.findall(text) if it not in PLACEHOLDERS]:
        expected(f"no placeholder but {', '.join(PLACEHOLDERS)}; not {unknown[0]}")
    if "{token}" not in text:
        expected("{token} in it, which is new for each job, so that none overwrites another's file")
    if "@" in urlsplit(text).netloc:
        expected("no user and password in it: FEEDWATCH_MEDIAAPIS_OUTPUT_AUTH has them")
    return text


def output_url(value: str) -> str:
    """Where the API can write, and the world read."""
    text = value.strip()
    if text.lower().startswith("dlb:"):
        expected(
            "a bucket or server of yours: dlb:// is private to the app key, so nobody can read the "
            "result, and it is gone after 24 to 48 hours"
        )
    if not re.match(r"(s3|https?)://[^/{}\s]+/\S+$", text):
        expected("s3://BUCKET/NAME, or an address of a server that takes PUT, https://HOST/NAME")
    return template(text)


def public_url(value: str) -> str:
    """Where the world reads the output."""
    text = value.strip()
    if not re.match(r"https?://[^/{}\s]+/\S+$", text):
        expected(
            "the address at which the world reads what is written to OUTPUT, https://HOST/NAME"
        )
    return template(text)


def output_auth(value: str) -> dict[str, str]:
    """What lets the API write to the output."""
    try:
        auth: Any = json.loads(value)
    except (ValueError, RecursionError):
        auth = None
    is_text = isinstance(auth, dict) and all(it and isinstance(it, str) for it in auth.values())
    if not is_text or set(auth) not in AUTH_FORMS:
        expected(
            'a JSON object, {"key": "…", "secret": "…"}, with "token" if there is one, or '
            '{"username": "…", "password": "…"}'
        )
    return dict(auth)


def token_lifetime(value: timedelta) -> timedelta:
    """How long a token can be asked for."""
    if not timedelta(seconds=1) <= value <= LONGEST_TOKEN_LIFETIME:
        expected("from 1s to 24h, as the API has it")
    return value


AppCredential = Annotated[SecretStr, BeforeValidator(app_credential)]
Lifetime = Annotated[values.Duration, AfterValidator(token_lifetime)]


@dataclass(frozen=True, kw_only=True)
class MediaApisSettings:
    """What the config says of the Media APIs."""

    key: SecretStr | None
    secret: SecretStr | None
    url: str
    auth_url: str
    output: str | None
    output_auth: Mapping[str, str] | None = field(repr=False)
    public_url: str | None
    token_lifetime: timedelta
    policy: Policy  # with the global limits where it has none of its own

    def secrets(self) -> list[str]:
        """All that must never be shown."""
        found = [one.get_secret_value() for one in (self.key, self.secret) if one is not None]
        if len(found) == 2:
            found.append(base64.b64encode(":".join(found).encode()).decode())
        auth = self.output_auth or {}
        found += [text for name, text in auth.items() if name != "username"]
        found += [one for url in (self.output, self.public_url) if url for one in secrets_in(url)]
        return found


class MediaApisKeys(BaseModel):
    """The keys. None means: the global setting, or nothing."""

    mediaapis_key: AppCredential | None = None
    mediaapis_secret: AppCredential | None = None
    mediaapis_url: values.ApiUrl = "https://api.dolby.com"
    mediaapis_auth_url: values.ApiUrl = "https://api.dolby.io"
    mediaapis_output: Annotated[str, BeforeValidator(output_url)] | None = None
    mediaapis_output_auth: Annotated[dict[str, str], BeforeValidator(output_auth)] | None = None
    mediaapis_public_url: Annotated[str, BeforeValidator(public_url)] | None = None
    mediaapis_max_submissions_per_day: values.AtLeastOne | None = None
    mediaapis_max_concurrent_jobs: values.AtLeastOne | None = None
    mediaapis_poll_interval: values.Duration | None = None
    mediaapis_job_deadline: values.Duration | None = None
    mediaapis_token_lifetime: Lifetime = timedelta(minutes=30)

    @field_validator("mediaapis_url", "mediaapis_auth_url")
    @classmethod
    def _not_swapped(cls, value: str, info: ValidationInfo) -> str:
        name = info.field_name or ""
        theirs = "mediaapis_auth_url" if name == "mediaapis_url" else "mediaapis_url"
        if urlsplit(value).hostname == urlsplit(cls.model_fields[theirs].default).hostname:
            other = f"{PREFIX}{theirs.upper()}"
            expected(f"the other of the vendor's two hosts: this one belongs to {other}")
        return value

    @field_validator("mediaapis_poll_interval")
    @classmethod
    def _not_too_often(cls, value: timedelta | None, info: ValidationInfo) -> timedelta | None:
        host = urlsplit(info.data.get("mediaapis_url", "")).hostname or ""
        if value is not None and value < SHORTEST_POLL_INTERVAL and not LOOPBACK.match(host):
            expected("30s or more; less is for an API on this machine")
        return value

    def mediaapis(self, policy: Policy) -> MediaApisSettings:
        """The settings, given the global policy."""
        own = {
            "poll_interval": self.mediaapis_poll_interval,
            "job_deadline": self.mediaapis_job_deadline,
            "max_concurrent_jobs": self.mediaapis_max_concurrent_jobs,
            "max_submissions_per_day": self.mediaapis_max_submissions_per_day,
        }
        given: dict[str, Any] = {name: it for name, it in own.items() if it is not None}
        if not LOOPBACK.match(urlsplit(self.mediaapis_url).hostname or ""):
            # The global one may be shorter where Inlet's is on this machine.
            shortest = max(policy.poll_interval, SHORTEST_POLL_INTERVAL)
            given.setdefault("poll_interval", shortest)
        return MediaApisSettings(
            key=self.mediaapis_key,
            secret=self.mediaapis_secret,
            url=self.mediaapis_url,
            auth_url=self.mediaapis_auth_url,
            output=self.mediaapis_output,
            output_auth=self.mediaapis_output_auth,
            public_url=self.mediaapis_public_url,
            token_lifetime=self.mediaapis_token_lifetime,
            policy=replace(policy, **given),
        )


def missing_for(given: Collection[str], steps: Collection[str]) -> list[str]:
    """What is wrong with the config if these steps are wanted: keys that they need.

    given: the keys that are set.
    """
    helpers = [step for step in HELPERS if step in steps]
    needed = ["KEY", "SECRET"] if helpers else []
    needed += ["OUTPUT", "PUBLIC_URL"] if Step.ENHANCE in helpers else []
    wanted_by = " and ".join(helpers)
    return [
        f"{PREFIX}MEDIAAPIS_{name} is missing: the pipeline has {wanted_by}"
        for name in needed
        if f"{PREFIX}MEDIAAPIS_{name}" not in given
    ]
