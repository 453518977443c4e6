"""The keys of the config, one field each, how they are checked together, and what they become.

A new key is a line here and, if other parts go by it, a line in `core.settings`, whose dataclasses
state the defaults of their fields.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    SecretBytes,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from feedwatch.config import values
from feedwatch.config.ad_options import AdOptions
from feedwatch.config.enhance import Enhance
from feedwatch.config.key_names import DATABASE_URL, PREFIX
from feedwatch.config.mediaapis import MediaApisKeys, MediaApisSettings
from feedwatch.config.values import expected
from feedwatch.core.masking import (
    secrets_in,
    secrets_in_address,
    secrets_in_arguments,
    secrets_in_database_url,
    secrets_in_headers,
)
from feedwatch.core.settings import FEED_BLOCK, FeedConfig, Policy, Rules, ServeRules

SHORTEST_POLL_INTERVAL = timedelta(seconds=30)  # what the API asks for
LONGEST_POLL_INTERVAL = timedelta(days=1)
EVERY_ADDRESS = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not listened on
LOOPBACK = re.compile(r"^(localhost|127(\.\d+){3}|::1)$")


class _Keys(BaseModel):
    model_config = ConfigDict(
        extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True
    )


class FeedKeys(_Keys):
    """One feed's block. None means: the global setting, or nothing."""

    url: values.HttpUrl
    podcast_id: values.PodcastId | None = None
    pipeline: values.PipelineValue | None = None
    ad_options: Annotated[AdOptions, AfterValidator(AdOptions.as_sent)] | None = None
    enhance: Annotated[Enhance, AfterValidator(Enhance.as_sent)] | None = None
    first_run: values.FirstRunValue | None = None
    check_interval: values.Duration | None = None
    flood_limit: values.Whole | None = None
    on_replaced: values.OnReplacedValue | None = None
    submit_delay: values.Delay | None = None
    include_title: values.TitleFilter | None = None
    exclude_title: values.TitleFilter | None = None
    episode_types: values.EpisodeTypes = Rules.episode_types
    media_types: values.MediaTypes = Rules.media_types
    min_duration: values.Duration | None = None
    max_duration: values.Duration | None = None
    username: str | None = None
    password: str | None = None
    headers: values.Headers = {}
    user_agent: values.UserAgent | None = None
    not_ready: values.NotReadyValue | None = None
    omit_for: values.Duration | None = None
    podcast_guid: values.PodcastGuidValue | None = None
    timed_tags: values.TimedTagsValue | None = None
    serve_key: values.ServeKey | None = None

    # Validators of single fields, since one of the whole model runs only once all fields are right,
    # and every error is to be reported at once.

    @field_validator("password")
    @classmethod
    def _beside_username(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("username") is None:
            expected(f"{FEED_BLOCK}USERNAME beside it")
        return value

    @field_validator("max_duration")
    @classmethod
    def _not_below_min(cls, value: timedelta | None, info: ValidationInfo) -> timedelta | None:
        least = info.data.get("min_duration")
        if value is not None and least is not None and value < least:
            expected(f"no less than {FEED_BLOCK}MIN_DURATION")
        return value


class Keys(_Keys, MediaApisKeys):
    """The whole config."""

    api_url: values.ApiUrl = "https://api.studio.inlet.fm"
    database_url: values.DatabaseUrl = DATABASE_URL
    check_interval: values.Duration = FeedConfig.check_interval
    poll_interval: values.Duration = Policy.poll_interval
    job_deadline: values.Duration = Policy.job_deadline
    max_concurrent_jobs: values.AtLeastOne = Policy.max_concurrent_jobs
    max_submissions_per_day: values.AtLeastOne = Policy.max_submissions_per_day
    pipeline: values.PipelineValue = FeedConfig.pipeline
    first_run: values.FirstRunValue = Rules.first_run
    flood_limit: values.Whole = Rules.flood_limit
    on_replaced: values.OnReplacedValue = Rules.on_replaced
    future_dated: values.FutureDatedValue = FeedConfig.future_dated
    submit_delay: values.Delay = FeedConfig.submit_delay
    on_unknown: values.OnUnknownValue = Policy.on_unknown
    log_format: values.LogFormatValue = "text"
    log_level: values.LogLevelValue = "info"
    notify_command: values.CommandValue = ()
    notify_webhook_secret: values.WebhookSecret | None = None
    notify_webhook_url: values.HttpUrl | None = None
    notify_apprise_urls: values.AppriseUrls = ()
    heartbeat_url: values.HttpUrl | None = None
    heartbeat_interval: values.Duration = Policy.heartbeat_interval
    proxy: values.ProxyValue | None = None
    feed_proxy: values.ProxyValue | None = None
    listen: values.ListenValue | None = None
    web_url: values.WebUrl | None = None
    web_password: values.WebPassword | None = None
    web_trusted_proxies: values.Networks = ()
    web_user_header: values.HeaderName | None = None
    web_token: values.WebToken | None = None
    web_decide_token: values.WebToken | None = None
    public_listen: values.ListenValue | None = None
    public_url: values.WebUrl | None = None
    serve_feeds: values.Switch = False
    websub: values.Switch = True
    not_ready: values.NotReadyValue = ServeRules.not_ready
    omit_for: values.Duration = ServeRules.omit_for
    podcast_guid: values.PodcastGuidValue = ServeRules.podcast_guid
    timed_tags: values.TimedTagsValue = ServeRules.timed_tags
    feeds: dict[str, FeedKeys] = {}

    @field_validator("notify_webhook_url")
    @classmethod
    def _signed(cls, value: str | None, info: ValidationInfo) -> str | None:
        # A secret that is wrong is not in the data, and is reported by itself.
        if info.data.get("notify_webhook_secret", ...) is None:
            expected("FEEDWATCH_NOTIFY_WEBHOOK_SECRET beside it")
        return value

    @field_validator("web_password", "web_user_header", "web_token", "web_decide_token")
    @classmethod
    def _has_what_it_needs(cls, value: Any, info: ValidationInfo) -> Any:
        # A key that is wrong is not in the data, and is reported by itself.
        listen = info.data.get("listen", values.Listen(host="localhost", port=0))
        if value is None:
            return value
        missing = []
        if listen is None:
            missing.append("FEEDWATCH_LISTEN beside it")
        elif listen.host in EVERY_ADDRESS and not info.data.get("web_url"):
            missing.append("FEEDWATCH_WEB_URL beside it, as FEEDWATCH_LISTEN names no host")
        if info.field_name == "web_user_header":
            if not info.data.get("web_trusted_proxies", ...):
                missing.append("FEEDWATCH_WEB_TRUSTED_PROXIES beside it")
            if info.data.get("web_password", ...) is not None:
                missing.append("no FEEDWATCH_WEB_PASSWORD beside it: keep one of the two")
        return expected(", and ".join(missing)) if missing else value

    @field_validator("public_listen")
    @classmethod
    def _apart(cls, value: values.Listen | None, info: ValidationInfo) -> values.Listen | None:
        other = info.data.get("listen")
        if value is not None and other is not None and value.takes_the_place_of(other):
            expected("another address or port than FEEDWATCH_LISTEN has")
        return value

    @field_validator("public_url")
    @classmethod
    def _has_a_listener(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("public_listen", ...) is None:
            expected("FEEDWATCH_PUBLIC_LISTEN beside it")
        return value

    @field_validator("serve_feeds")
    @classmethod
    def _has_a_public_side(cls, value: bool, info: ValidationInfo) -> bool:
        both = ("public_listen", "public_url")
        missing = [f"{PREFIX}{name.upper()}" for name in both if info.data.get(name, ...) is None]
        if value and missing:
            expected(f"{' and '.join(missing)} beside it")
        return value

    @field_validator("poll_interval")
    @classmethod
    def _as_the_api_asks(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        host = urlsplit(info.data.get("api_url", "")).hostname or ""
        if value < SHORTEST_POLL_INTERVAL and not LOOPBACK.match(host):
            expected("30s or more, as the API asks; less is for an API on this machine")
        if value > LONGEST_POLL_INTERVAL:
            expected("at most 1d")
        return value


TOP_KEYS = {f"{PREFIX}{name.upper()}": name for name in Keys.model_fields if name != "feeds"}
FEED_FIELDS = {name.upper(): name for name in FeedKeys.model_fields}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole configuration, valid."""

    api_key: SecretStr | None
    api_url: str
    mediaapis: MediaApisSettings
    database_url: str
    policy: Policy
    sources: tuple[FeedConfig, ...]
    notify_command: tuple[str, ...] = field(repr=False)
    notify_webhook_url: str | None = field(repr=False)
    notify_webhook_secret: SecretBytes | None
    notify_apprise_urls: tuple[str, ...] = field(repr=False)
    heartbeat_url: str | None = field(repr=False)
    proxy: str | None = field(repr=False)
    feed_proxy: str | None = field(repr=False)
    log_format: values.LogFormat
    log_level: values.LogLevel
    listen: values.Listen | None
    web_url: str | None
    web_password: SecretStr | None
    web_trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    web_user_header: str | None
    web_token: SecretStr | None
    web_decide_token: SecretStr | None
    public_listen: values.Listen | None
    public_url: str | None
    serve_feeds: bool
    websub: bool
    path: Path | None
    warnings: tuple[str, ...]
    given: Mapping[str, str] = field(compare=False, repr=False)  # key → text, secrets among it

    def source(self, name: str) -> FeedConfig | None:
        """The feed of this name."""
        return next((source for source in self.sources if source.name == name), None)

    @property
    def hears_hubs(self) -> bool:
        """Whether hubs can reach us, and may."""
        return self.websub and self.public_listen is not None and self.public_url is not None

    def secrets(self) -> list[str]:
        """All that must never be shown, for `masking.know`."""
        found = secrets_in_database_url(self.database_url)
        if self.api_key is not None:
            found.append(self.api_key.get_secret_value())
        for secret in (self.web_password, self.web_token, self.web_decide_token):
            found.append(secret.get_secret_value() if secret is not None else "")
        if self.notify_webhook_secret is not None:
            found.append(base64.b64encode(self.notify_webhook_secret.get_secret_value()).decode())
        addresses = (self.notify_webhook_url, self.heartbeat_url, *self.notify_apprise_urls)
        for address in addresses:
            found += secrets_in_address(address) if address else []
        for proxy in (self.proxy, self.feed_proxy):
            found += secrets_in(proxy) if proxy else []
        found += self.mediaapis.secrets()
        found += secrets_in_arguments(self.notify_command[1:])
        for source in self.sources:
            found += [source.serving.serve_key or ""]
            found += [source.password or "", *secrets_in(source.url)]
            found += secrets_in_headers(source.headers)
            if source.password:
                login = f"{source.username}:{source.password}".encode()
                found.append(base64.b64encode(login).decode())
        return found


NEEDS_RESTART = (  # fields of `Settings` whose values a running process keeps
    "database_url",
    "heartbeat_url",
    "proxy",
    "feed_proxy",
    "listen",
    "web_url",
    "web_password",
    "web_trusted_proxies",
    "web_user_header",
    "web_token",
    "web_decide_token",
    "public_listen",
    "public_url",
    "serve_feeds",
    "websub",
    "notify_command",
    "notify_webhook_url",
    "notify_webhook_secret",
    "notify_apprise_urls",
)
