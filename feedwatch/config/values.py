"""What the text of a key may be, and what is said where it is something else."""

import base64
import binascii
import importlib.util
import json
import re
import shlex
from datetime import date, timedelta
from enum import StrEnum
from typing import Annotated, Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

from pydantic import BeforeValidator, SecretBytes

from feedwatch.core.settings import FirstRun, OnReplaced, OnUnknown

DURATION = re.compile(r"^(\d+(?:\.\d+)?)(s|m|h|d)$")
LONGEST = timedelta(days=365)
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


HIGHEST_PORT = 65_535


class Listen(NamedTuple):
    """Where the HTTP side is to be found; no host: on every address of the machine."""

    host: str
    port: int


def expected(what: str) -> NoReturn:
    """Refuse a value, in the words that the operator will read."""
    raise ValueError(f"expected {what}")


def duration(value: object) -> timedelta:
    """90s, 15m, 6h, 1d."""
    match = DURATION.match(str(value).strip())
    if match is None:
        expected("a number and a unit, such as 90s, 15m, 6h or 1d")
    try:
        length = timedelta(**{UNITS[match[2]]: float(match[1])})
    except OverflowError:
        length = timedelta.max
    if not timedelta() < length <= LONGEST:
        expected("more than zero and at most 365d")
    return length


def whole(value: object) -> int:
    """Zero or more."""
    text = str(value).strip()
    if not (text.isascii() and text.isdecimal()):
        expected("a whole number, zero or more")
    return int(text)


def at_least_one(value: object) -> int:
    """One or more."""
    number = whole(value)
    return number if number >= 1 else expected("a whole number, one or more")


def http_url(value: object) -> str:
    """An address of the web."""
    text = str(value).strip()
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a broken port or IPv6 address; the message might quote a password
        usable = False
    if not usable or re.search(r"\s", text):
        expected("an address that begins with http:// or https:// and names a host")
    return text


def api_url(value: object) -> str:
    """A host, with its scheme and port; a path would be doubled."""
    parts = urlsplit(http_url(value))
    if parts.username is not None or parts.password is not None:
        expected("no user and password in it: the API takes a key")
    if parts.path.strip("/") or parts.query or parts.fragment:
        expected(f"the host only, {parts.scheme}://{parts.netloc}: the paths are added to it")
    return f"{parts.scheme}://{parts.netloc}"


def database_url(value: object) -> str:
    """An SQLAlchemy URL, as far as can be told without SQLAlchemy."""
    text = str(value).strip()
    if not re.match(r"^[a-z][a-z0-9]*(\+[a-z0-9_]+)?://", text):
        expected("an SQLAlchemy URL, such as sqlite:///feedwatch.db")
    return text


def listen(value: object) -> Listen:
    """HOST:PORT, [IPv6]:PORT, :PORT."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]*)):(\d{1,5})", str(value).strip())
    if match is None or int(match[3]) > HIGHEST_PORT:
        expected("HOST:PORT, such as 127.0.0.1:9464, [::1]:9464, or :9464 for every address")
    return Listen(host=match[1] or match[2] or "", port=int(match[3]))


def first_run(value: object) -> FirstRun:
    """none, latest:N, since:YYYY-MM-DD, all."""
    kind, _, rest = str(value).strip().partition(":")
    if kind == "none" and not rest:
        return FirstRun()
    if kind == "all" and not rest:
        return FirstRun(everything=True)
    if kind == "latest" and rest.isascii() and rest.isdecimal():
        return FirstRun(latest=int(rest))
    if kind == "since" and re.fullmatch(r"\d{4}-\d{2}-\d{2}", rest):
        try:
            return FirstRun(since=date.fromisoformat(rest))
        except ValueError:
            pass
    expected("none, latest:N, since:YYYY-MM-DD or all")


def pattern(value: object) -> re.Pattern[str]:
    """A regular expression."""
    try:
        return re.compile(str(value))
    except re.error as error:
        expected(f"a regular expression of Python's ({error})")


def _one_of(choices: type[StrEnum]) -> BeforeValidator:
    def choose(value: object) -> StrEnum:
        try:
            return choices(str(value).strip().lower())
        except ValueError:
            expected(" or ".join(choices))

    return BeforeValidator(choose)


def _words(value: object) -> tuple[str, ...]:
    words = tuple(word.strip().lower() for word in str(value).split(",") if word.strip())
    return words or expected("one or more words, with commas between them")


def episode_types(value: object) -> frozenset[str]:
    """Words of itunes:episodeType."""
    words = frozenset(_words(value))
    if not words <= {"full", "bonus", "trailer"}:
        expected("some of full, bonus, trailer, with commas between them")
    return words


def media_types(value: object) -> tuple[str, ...]:
    """Media types, * for any."""
    words = _words(value)
    if not all(re.fullmatch(r"[\w.+*-]+/[\w.+*-]+", word) for word in words):
        expected("media types with commas between them, such as audio/*,video/mp4")
    return words


def podcast_id(value: object) -> str:
    """An id at the media API (contract: PodcastId)."""
    text = str(value).strip()
    if not re.fullmatch(r"[A-Za-z0-9_-]+", text):
        expected("an id as `feedwatch podcasts` shows it: letters, digits, - and _")
    return text


def user_agent(value: object) -> str:
    """The value of a header field."""
    text = str(value).strip()
    if not printable_ascii(text):
        expected("printable ASCII characters, as HTTP wants them")
    return text


def command(value: object) -> tuple[str, ...]:
    """A program and its arguments, quoted as a shell has it; no shell runs it."""
    try:
        words = tuple(shlex.split(str(value)))
    except ValueError as error:
        expected(f"a program and its arguments, quoted as in a shell ({error})")
    return words if words and "\0" not in str(value) else expected("a program and its arguments")


def webhook_secret(value: object) -> SecretBytes:
    """As Standard Webhooks writes it: whsec_ and 24 to 64 bytes in base64."""
    prefix, _, text = str(value).strip().rpartition("whsec_")
    try:
        secret = base64.b64decode(text, validate=True)
    except binascii.Error:
        secret = b""
    if prefix or not 24 <= len(secret) <= 64:
        expected("24 to 64 bytes in base64, such as `openssl rand -base64 32` makes")
    return SecretBytes(secret)


def apprise_urls(value: object) -> tuple[str, ...]:
    """Addresses of Apprise's, with spaces or commas between them; each may hold commas itself."""
    urls = re.split(r"[\s,]+(?=[A-Za-z][\w+.-]*://)", str(value).strip(" ,"))
    if not all(re.fullmatch(r"[A-Za-z][\w+.-]*://\S+", url) for url in urls):
        expected("addresses of Apprise's, such as discord://…, with spaces between them")
    if importlib.util.find_spec("apprise") is None:
        expected("the package apprise, installed where feedwatch is: pip install apprise")
    return tuple(dict.fromkeys(urls))


def printable_ascii(text: str) -> bool:
    """Whether HTTP can carry it in a header field as it stands."""
    return text.isascii() and text.isprintable()


def headers(value: object) -> dict[str, str]:
    """Header fields, as a JSON object."""
    try:
        fields: Any = json.loads(str(value))
    except (ValueError, RecursionError):
        fields = {"": None}
    if not isinstance(fields, dict) or not all(isinstance(text, str) for text in fields.values()):
        expected('a JSON object of texts, such as {"X-Token": "abc"}')
    for name, text in fields.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or not printable_ascii(text):
            expected(f"header names and values as HTTP allows them, which {name!r} is not")
    return dict(fields)


class LogFormat(StrEnum):
    """How log lines are written."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """The least of what is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


Duration = Annotated[timedelta, BeforeValidator(duration)]
Whole = Annotated[int, BeforeValidator(whole)]
AtLeastOne = Annotated[int, BeforeValidator(at_least_one)]
FirstRunValue = Annotated[FirstRun, BeforeValidator(first_run)]
OnReplacedValue = Annotated[OnReplaced, _one_of(OnReplaced)]
OnUnknownValue = Annotated[OnUnknown, _one_of(OnUnknown)]
ListenValue = Annotated[Listen, BeforeValidator(listen)]
LogFormatValue = Annotated[LogFormat, _one_of(LogFormat)]
LogLevelValue = Annotated[LogLevel, _one_of(LogLevel)]
TitlePattern = Annotated[re.Pattern[str], BeforeValidator(pattern)]
HttpUrl = Annotated[str, BeforeValidator(http_url)]
ApiUrl = Annotated[str, BeforeValidator(api_url)]
DatabaseUrl = Annotated[str, BeforeValidator(database_url)]
PodcastId = Annotated[str, BeforeValidator(podcast_id)]
EpisodeTypes = Annotated[frozenset[str], BeforeValidator(episode_types)]
MediaTypes = Annotated[tuple[str, ...], BeforeValidator(media_types)]
UserAgent = Annotated[str, BeforeValidator(user_agent)]
CommandValue = Annotated[tuple[str, ...], BeforeValidator(command)]
WebhookSecret = Annotated[SecretBytes, BeforeValidator(webhook_secret)]
AppriseUrls = Annotated[tuple[str, ...], BeforeValidator(apprise_urls)]
Headers = Annotated[dict[str, str], BeforeValidator(headers)]
