"""What the text of a key may be, and what is said where it is something else."""

import base64
import binascii
import importlib.util
import json
import re
import shlex
from collections.abc import Iterable
from contextlib import suppress
from datetime import date, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, get_args
from urllib.parse import urlsplit

from pydantic import BeforeValidator, SecretBytes, SecretStr

from feedwatch.core.pipeline import ORDER, Pipeline, PipelineStep, Step
from feedwatch.core.settings import (
    FirstRun,
    FutureDated,
    NotReady,
    OnReplaced,
    OnUnknown,
    PodcastGuid,
    TimedTags,
    TitlePattern,
)

DURATION = re.compile(r"^(\d+(?:\.\d+)?)(s|m|h|d)$")
LONGEST = timedelta(days=365)
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
HIGHEST_PORT = 65_535

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


class Listen(NamedTuple):
    """Where the HTTP side is to be found; no host: on every address of the machine."""

    host: str
    port: int

    def takes_the_place_of(self, other: "Listen") -> bool:
        """Whether only one of the two can be had: one port of one address, or of every one."""
        hosts = {"127.0.0.1" if host == "localhost" else host for host in (self.host, other.host)}
        families = {":" in host for host in hosts}
        overlap = "" in hosts or (bool(hosts & {"0.0.0.0", "::"}) and len(families) == 1)  # noqa: S104
        return self.port == other.port != 0 and (len(hosts) == 1 or overlap)


def expected(what: str) -> NoReturn:
    """Refuse a value, in the words that the operator will read."""
    raise ValueError(f"expected {what}")


def _matching(pattern: str, what: str) -> BeforeValidator:
    """Text that matches the pattern as a whole."""

    def check(value: str) -> str:
        text = value.strip()
        return text if re.fullmatch(pattern, text, re.DOTALL) else expected(what)

    return BeforeValidator(check)


def _words(pattern: str, what: str) -> BeforeValidator:
    """One or more words, with commas between them, each of which matches the pattern."""

    def check(value: str) -> list[str]:
        words = [word.strip().lower() for word in value.split(",") if word.strip()]
        if not words or not all(re.fullmatch(pattern, word) for word in words):
            expected(what)
        return words

    return BeforeValidator(check)


def _one_of(choices: Iterable[str]) -> BeforeValidator:
    names = list(choices)

    def check(value: str) -> str:
        name = value.strip().lower()
        return name if name in names else expected(" or ".join(names))

    return BeforeValidator(check)


def duration(value: str) -> timedelta:
    """90s, 15m, 6h, 1d."""
    match = DURATION.match(value.strip())
    if match is None:
        expected("a number and a unit, such as 90s, 15m, 6h or 1d")
    try:
        length = timedelta(**{UNITS[match[2]]: float(match[1])})
    except OverflowError:
        length = timedelta.max
    if not timedelta() < length <= LONGEST:
        expected("more than zero and at most 365d")
    return length


def delay(value: str) -> timedelta:
    """The same, or none at all: 0s."""
    return timedelta() if re.fullmatch(r"\s*0+[smhd]\s*", value) else duration(value)


def http_url(value: str) -> str:
    """An address of the web."""
    text = value.strip()
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a broken port or IPv6 address; the message might quote a password
        usable = False
    if not usable or re.search(r"\s", text):
        expected("an address that begins with http:// or https:// and names a host")
    return text


def proxy(value: str) -> str:
    """A proxy for HTTP and HTTPS, perhaps with user and password."""
    text = http_url(value)
    parts = urlsplit(text)
    if parts.path.strip("/") or parts.query or parts.fragment:
        expected("http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT")
    return text


def api_url(value: str) -> str:
    """A host, with its scheme and port; a path would be doubled."""
    parts = urlsplit(http_url(value))
    if parts.username is not None or parts.password is not None:
        expected("no user and password in it: the API takes a key")
    if parts.path.strip("/") or parts.query or parts.fragment:
        expected(f"the host only, {parts.scheme}://{parts.netloc}: the paths are added to it")
    return f"{parts.scheme}://{parts.netloc}"


def listen(value: str) -> Listen:
    """HOST:PORT, [IPv6]:PORT, :PORT."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]*)):(\d{1,5})", value.strip())
    if match is None or int(match[3]) > HIGHEST_PORT:
        expected("HOST:PORT, such as 127.0.0.1:9464, [::1]:9464, or :9464 for every address")
    return Listen(host=match[1] or match[2] or "", port=int(match[3]))


def web_password(value: str) -> SecretStr:
    """What a person types to see the page."""
    text = value.strip()
    return SecretStr(text) if len(text) >= 12 else expected("a password of at least 12 characters")


def web_token(value: str) -> SecretStr:
    """What a program sends to use the API."""
    text = value.strip()
    if not re.fullmatch(r"[!-~]{20,}", text):
        expected("at least 20 printable ASCII characters, such as `openssl rand -hex 24` makes")
    return SecretStr(text)


def web_url(value: str) -> str:
    """The page's own address: scheme, host, port and path."""
    text = http_url(value)
    parts = urlsplit(text)
    if parts.username is not None or parts.query or parts.fragment:
        expected("scheme, host and path only")
    return text.rstrip("/")


def networks(value: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Networks, with spaces or commas between them."""
    try:
        return tuple(ip_network(word) for word in re.split(r"[\s,]+", value.strip(" ,")))
    except ValueError as error:
        expected(f"networks, such as 10.0.0.0/8 127.0.0.1 ({error})")


def first_run(value: str) -> FirstRun:
    """First run: none, latest:N, since:YYYY-MM-DD, all."""
    match value.strip().partition(":"):
        case "none", _, "":
            return FirstRun()
        case "all", _, "":
            return FirstRun(everything=True)
        case "latest", _, number if re.fullmatch(r"[0-9]+", number):
            return FirstRun(latest=int(number))
        case "since", _, day if re.fullmatch(r"\d{4}-\d{2}-\d{2}", day):
            with suppress(ValueError):
                return FirstRun(since=date.fromisoformat(day))
    expected("none, latest:N, since:YYYY-MM-DD or all")


def pipeline(value: str) -> Pipeline:
    """Pipeline: a list of steps, each at most once, in their order; `?` marks an optional one."""
    words = [word.strip().lower() for word in value.split(",") if word.strip()]
    steps = [word.removesuffix("?") for word in words]
    if not words or not set(steps) <= set(ORDER):
        expected("steps with commas between them: diagnose, enhance, ads")
    if len(set(steps)) < len(steps):
        expected("each step at most once")
    if steps != [step for step in ORDER if step in steps]:
        expected("the steps in this order: diagnose, enhance, ads")
    if words[-1] not in (Step.ENHANCE, Step.ADS):
        expected("a last step that makes a media file and may not fail: enhance or ads, without ?")
    return tuple(
        PipelineStep(Step(step), optional=word.endswith("?"))
        for step, word in zip(steps, words, strict=True)
    )


def pattern(value: str) -> TitlePattern:
    """A regular expression that is searched for in titles."""
    from feedwatch.config import title_pattern  # few configs need it

    try:
        return title_pattern.TitlePattern(value)
    except ValueError as error:
        expected(f"a regular expression of Python's ({error})")


def command(value: str) -> tuple[str, ...]:
    """A program and its arguments, quoted as in a shell; no shell runs it."""
    try:
        words = tuple(shlex.split(value))
    except ValueError as error:
        expected(f"a program and its arguments, quoted as in a shell ({error})")
    return words if words and "\0" not in value else expected("a program and its arguments")


def webhook_secret(value: str) -> SecretBytes:
    """The secret of a webhook as Standard Webhooks has it: whsec_ and 24 to 64 bytes in base64."""
    prefix, _, text = value.strip().rpartition("whsec_")
    try:
        secret = base64.b64decode(text, validate=True)
    except binascii.Error:
        secret = b""
    if prefix or not 24 <= len(secret) <= 64:
        expected("24 to 64 bytes in base64, such as `openssl rand -base64 32` makes")
    return SecretBytes(secret)


def apprise_urls(value: str) -> tuple[str, ...]:
    """Addresses of Apprise's, with spaces or commas between them; each may hold commas itself."""
    urls = re.split(r"[\s,]+(?=[A-Za-z][\w+.-]*://)", value.strip(" ,"))
    if not all(re.fullmatch(r"[A-Za-z][\w+.-]*://\S+", url) for url in urls):
        expected("addresses of Apprise's, such as discord://…, with spaces between them")
    if importlib.util.find_spec("apprise") is None:
        expected("the package apprise, installed where feedwatch is: pip install apprise")
    return tuple(dict.fromkeys(urls))


def headers(value: str) -> dict[str, str]:
    """Header fields, as a JSON object."""
    try:
        fields: Any = json.loads(value)
    except (ValueError, RecursionError):
        fields = {"": None}
    if not isinstance(fields, dict) or not all(isinstance(text, str) for text in fields.values()):
        expected('a JSON object of texts, such as {"X-Token": "abc"}')
    for name, text in fields.items():
        is_value = text.isascii() and text.isprintable()
        if not is_value or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            expected(f"header names and values as HTTP allows them, which {name!r} is not")
    return dict(fields)


Duration = Annotated[timedelta, BeforeValidator(duration)]
Delay = Annotated[timedelta, BeforeValidator(delay)]
Whole = Annotated[int, _matching(r"[0-9]+", "a whole number, zero or more")]
AtLeastOne = Annotated[int, _matching(r"0*[1-9][0-9]*", "a whole number, one or more")]
FirstRunValue = Annotated[FirstRun, BeforeValidator(first_run)]
OnReplacedValue = Annotated[OnReplaced, _one_of(OnReplaced)]
FutureDatedValue = Annotated[FutureDated, _one_of(FutureDated)]
NotReadyValue = Annotated[NotReady, _one_of(NotReady)]
PodcastGuidValue = Annotated[PodcastGuid, _one_of(PodcastGuid)]
TimedTagsValue = Annotated[TimedTags, _one_of(TimedTags)]
Switch = Annotated[bool, _one_of(("true", "false"))]
ServeKey = Annotated[
    str,
    _matching(
        r"[A-Za-z0-9_-]{16,100}",
        "16 letters, digits, - and _ or more, such as `openssl rand -hex 16` makes",
    ),
]
OnUnknownValue = Annotated[OnUnknown, _one_of(OnUnknown)]
WebPassword = Annotated[SecretStr, BeforeValidator(web_password)]
WebToken = Annotated[SecretStr, BeforeValidator(web_token)]
WebUrl = Annotated[str, BeforeValidator(web_url)]
HeaderName = Annotated[
    str, _matching("[A-Za-z0-9-]+", "the name of a header field, such as X-Forwarded-User")
]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(networks)]
ListenValue = Annotated[Listen, BeforeValidator(listen)]
LogFormatValue = Annotated[LogFormat, _one_of(get_args(LogFormat))]
LogLevelValue = Annotated[LogLevel, _one_of(get_args(LogLevel))]
TitleFilter = Annotated[Any, BeforeValidator(pattern)]
ProxyValue = Annotated[str, BeforeValidator(proxy)]
HttpUrl = Annotated[str, BeforeValidator(http_url)]
ApiUrl = Annotated[str, BeforeValidator(api_url)]
DatabaseUrl = Annotated[  # as far as can be told without SQLAlchemy
    str,
    _matching(
        r"(sqlite|postgresql)(\+[a-z0-9_]+)?://.*",
        "an SQLAlchemy URL of SQLite, such as sqlite:///feedwatch.db, or of PostgreSQL, such as "
        "postgresql+psycopg://USER:PASSWORD@HOST/NAME; no other database is supported",
    ),
]
PipelineValue = Annotated[Pipeline, BeforeValidator(pipeline)]
PodcastId = Annotated[  # contract: PodcastId
    str,
    _matching(
        r"[A-Za-z0-9_-]+", "an id as `feedwatch podcasts` shows it: letters, digits, - and _"
    ),
]
EpisodeTypes = Annotated[
    frozenset[str],
    _words("full|bonus|trailer", "some of full, bonus, trailer, with commas between them"),
]
MediaTypes = Annotated[
    tuple[str, ...],
    _words(
        r"[\w.+*-]+/[\w.+*-]+", "media types with commas between them, such as audio/*,video/mp4"
    ),
]
UserAgent = Annotated[str, _matching("[ -~]*", "printable ASCII characters, as HTTP wants them")]
CommandValue = Annotated[tuple[str, ...], BeforeValidator(command)]
WebhookSecret = Annotated[SecretBytes, BeforeValidator(webhook_secret)]
AppriseUrls = Annotated[tuple[str, ...], BeforeValidator(apprise_urls)]
Headers = Annotated[dict[str, str], BeforeValidator(headers)]
