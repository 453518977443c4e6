"""The keys of the config file, one field each, and how they are checked against one another."""

import re
from datetime import timedelta
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from feedwatch.config.ad_options import AdOptions
from feedwatch.config.key_names import PREFIX
from feedwatch.config.values import (
    ApiUrl,
    AppriseUrls,
    AtLeastOne,
    CommandValue,
    DatabaseUrl,
    Duration,
    EpisodeTypes,
    FirstRunValue,
    Headers,
    HttpUrl,
    ListenValue,
    LogFormat,
    LogFormatValue,
    LogLevel,
    LogLevelValue,
    MediaTypes,
    OnReplacedValue,
    OnUnknownValue,
    PodcastId,
    TitlePattern,
    UserAgent,
    WebhookSecret,
    Whole,
    expected,
)
from feedwatch.core.settings import FirstRun, OnReplaced, OnUnknown

POLL_AT_MOST_EVERY = timedelta(seconds=30)  # what the API asks for
POLL_AT_LEAST_EVERY = timedelta(days=1)
LOOPBACK = re.compile(r"^(localhost|127(\.\d+){3}|::1)$")


class _Keys(BaseModel):
    model_config = ConfigDict(
        extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True
    )


class FeedKeys(_Keys):
    """One feed's block."""

    url: HttpUrl
    podcast_id: PodcastId
    ad_options: AdOptions | None = None
    first_run: FirstRunValue | None = None
    check_interval: Duration | None = None
    flood_limit: Whole | None = None
    on_replaced: OnReplacedValue | None = None
    include_title: TitlePattern | None = None
    exclude_title: TitlePattern | None = None
    episode_types: EpisodeTypes = frozenset({"full", "bonus", "trailer"})
    media_types: MediaTypes = ("audio/*", "video/*")
    min_duration: Duration | None = None
    max_duration: Duration | None = None
    username: str | None = None
    password: SecretStr | None = None
    headers: Headers = {}
    user_agent: UserAgent | None = None

    # Checked field by field, not once all fields are right, so that every error is told at once.

    @field_validator("password")
    @classmethod
    def _beside_username(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None and info.data.get("username") is None:
            expected("USERNAME beside it")
        return value

    @field_validator("max_duration")
    @classmethod
    def _not_below_min(cls, value: timedelta | None, info: ValidationInfo) -> timedelta | None:
        least = info.data.get("min_duration")
        if value is not None and least is not None and value < least:
            expected("no less than MIN_DURATION")
        return value


class Keys(_Keys):
    """The whole file."""

    api_url: ApiUrl = "https://api.studio.inlet.fm"
    database_url: DatabaseUrl = "sqlite:///feedwatch.db"
    check_interval: Duration = timedelta(minutes=15)
    poll_interval: Duration = POLL_AT_MOST_EVERY
    job_deadline: Duration = timedelta(hours=24)
    max_concurrent_jobs: AtLeastOne = 4
    max_submissions_per_day: AtLeastOne = 100
    first_run: FirstRunValue = FirstRun()
    flood_limit: Whole = 5
    on_replaced: OnReplacedValue = OnReplaced.HOLD
    on_unknown: OnUnknownValue = OnUnknown.HOLD
    log_format: LogFormatValue = LogFormat.TEXT
    log_level: LogLevelValue = LogLevel.INFO
    notify_command: CommandValue = ()
    notify_webhook_secret: WebhookSecret | None = None
    notify_webhook_url: HttpUrl | None = None
    notify_apprise_urls: AppriseUrls = ()
    listen: ListenValue | None = None
    feeds: dict[str, FeedKeys] = {}

    @field_validator("notify_webhook_url")
    @classmethod
    def _signed(cls, value: str | None, info: ValidationInfo) -> str | None:
        # A secret that is wrong is told by itself.
        if "notify_webhook_secret" in info.data and info.data["notify_webhook_secret"] is None:
            expected("FEEDWATCH_NOTIFY_WEBHOOK_SECRET beside it")
        return value

    @field_validator("poll_interval")
    @classmethod
    def _no_oftener_than_asked(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        host = urlsplit(info.data.get("api_url", "")).hostname or ""
        if value < POLL_AT_MOST_EVERY and not LOOPBACK.match(host):
            expected("30s or more, as the API asks; less is for an API on this machine")
        if value > POLL_AT_LEAST_EVERY:
            expected("at most 1d")
        return value


TOP_KEYS = {f"{PREFIX}{name.upper()}": name for name in Keys.model_fields if name != "feeds"}
FEED_FIELDS = {name.upper(): name for name in FeedKeys.model_fields}
