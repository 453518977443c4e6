"""Reading the file and the environment, and saying all that is wrong with them in one go."""

import base64
import difflib
import json
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream
from pydantic import SecretBytes, SecretStr, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from feedwatch.config.keys import FeedKeys, Keys
from feedwatch.config.values import Listen, LogFormat, LogLevel
from feedwatch.core.feed import Policy, Rules, Source
from feedwatch.logs.masking import masked_setting, secrets_in

PREFIX = "FEEDWATCH_"
CONFIG_KEY = f"{PREFIX}CONFIG"  # where the file is: no setting, and only in the environment
KEY_KEY, KEY_FILE_KEY = f"{PREFIX}API_KEY", f"{PREFIX}API_KEY_FILE"
WEBHOOK_URL_KEY = f"{PREFIX}NOTIFY_WEBHOOK_URL"
WEBHOOK_SECRET_KEY = f"{PREFIX}NOTIFY_WEBHOOK_SECRET"
WEBHOOK_SECRET_FILE_KEY = f"{WEBHOOK_SECRET_KEY}_FILE"
SYSTEM_FILE = Path("/etc/feedwatch/config.env")
SECRET_NAME = "feedwatch_api_key"  # noqa: S105 - the name of a credential, not its value
CONTAINER_SECRETS = Path("/run/secrets")
TOP_KEYS = {f"{PREFIX}{name.upper()}": name for name in Keys.model_fields if name != "feeds"}
FEED_FIELDS = {name.upper(): name for name in FeedKeys.model_fields}
OUR_KEY = re.compile(r"FEEDWATCH_[A-Z0-9_]+")
LONGEST_WORD = 16  # characters of an unknown key that may be shown: it might be a secret, misplaced
FEED_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?")
# What Kubernetes tells each container of a Service named feedwatch, or feedwatch-something.
LINK = re.compile(
    r"FEEDWATCH_([A-Z0-9]+_)*(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)"
)


class ConfigError(Exception):
    """The configuration cannot be used; `problems` has one line for each thing to mend."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole configuration, valid."""

    api_key: SecretStr | None
    api_url: str
    database_url: str
    policy: Policy
    sources: tuple[Source, ...]
    notify_command: tuple[str, ...] = field(repr=False)  # these four: who is told; may be nobody
    notify_webhook_url: str | None = field(repr=False)
    notify_webhook_secret: SecretBytes | None
    notify_apprise_urls: tuple[str, ...] = field(repr=False)
    log_format: LogFormat
    log_level: LogLevel
    listen: Listen | None
    path: Path | None
    warnings: tuple[str, ...]
    given: Mapping[str, str] = field(compare=False, repr=False)  # key → text, secrets among it

    def source(self, name: str) -> Source | None:
        """The feed of this name."""
        return next((source for source in self.sources if source.name == name), None)

    def secrets(self) -> list[str]:
        """What must never be shown: `masking.know` wants to be told."""
        found = secrets_in(self.database_url)
        if self.api_key is not None:
            found.append(self.api_key.get_secret_value())
        found += [self.notify_webhook_url or "", *self.notify_apprise_urls]
        for source in self.sources:
            found += [source.password or "", *source.headers.values(), *secrets_in(source.url)]
            if source.password:
                login = f"{source.username}:{source.password}".encode()
                found.append(base64.b64encode(login).decode())
        return found


def find_file(given: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The config file: the one given, else $FEEDWATCH_CONFIG, else the first default there is.

    Raises `ConfigError` if one is named that is not there.
    """
    named = given or (Path(environ[CONFIG_KEY]) if environ.get(CONFIG_KEY) else None)
    if named is not None:
        if not _is_file(named):
            raise ConfigError([f"there is no config file {named}"])
        return named
    return next((path for path in (Path("config.env"), SYSTEM_FILE) if _is_file(path)), None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise ConfigError([f"the config file {path} cannot be read: {error.strerror}"]) from error


def load(
    path: Path | None,
    environ: Mapping[str, str],
    *,
    needs_key: bool = True,
    needs_feeds: bool = True,
) -> Settings:
    """Read the file and the environment, which overrides it. Raises `ConfigError`.

    Without `needs_key`, a missing API key, or a secret that this user cannot read, is no error.
    Without `needs_feeds`, the feeds' blocks are not looked at.
    """
    problems: list[str] = []
    if path is None and not any(key.startswith(PREFIX) for key in environ):
        missing = f"there is no config file, neither ./config.env nor {SYSTEM_FILE}"
        raise ConfigError([f"{missing}, and nothing in the environment: {KEY_KEY} is missing"])
    values = _file_values(path, problems) if path is not None else {}
    values |= {
        key: value
        for key, value in environ.items()
        if key.startswith(PREFIX) and key != CONFIG_KEY and not LINK.fullmatch(key)
    }
    values = {
        key: value
        for key, value in values.items()
        if value.strip() and (needs_feeds or not key.startswith(f"{PREFIX}FEEDS__"))
    }  # empty is unset
    folder = path.resolve().parent if path is not None else Path.cwd()
    key_problems: list[str] = []
    api_key = _api_key(values, folder, environ, key_problems)
    if needs_key:
        problems += key_problems
    _read_webhook_secret(values, folder, problems if needs_key else None)
    keys = _validated(_tree(values, problems), values, problems)
    if keys is None or problems:
        raise ConfigError(problems)
    return Settings(
        api_key=api_key,
        api_url=keys.api_url,
        database_url=_beside(folder, keys.database_url),
        policy=Policy(
            poll_interval=keys.poll_interval,
            job_deadline=keys.job_deadline,
            max_concurrent_jobs=keys.max_concurrent_jobs,
            max_submissions_per_day=keys.max_submissions_per_day,
            on_unknown=keys.on_unknown,
        ),
        sources=tuple(_source(name, feed, keys) for name, feed in keys.feeds.items()),
        notify_command=_command(folder, keys.notify_command),
        notify_webhook_url=keys.notify_webhook_url,
        notify_webhook_secret=keys.notify_webhook_secret,
        notify_apprise_urls=tuple(url.get_secret_value() for url in keys.notify_apprise_urls),
        log_format=keys.log_format,
        log_level=keys.log_level,
        listen=keys.listen,
        path=path,
        warnings=tuple(_warnings(path)),
        given=values,
    )


# Files


def _file_values(path: Path, problems: list[str]) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8-sig") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"the config file {path} cannot be read: {error}"]) from error
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    for binding in bindings:
        key, line = binding.key, binding.original.line
        if binding.error or (key is not None and binding.value is None):
            # The text may be a secret, written without its key or its "=".
            at = OUR_KEY.match(binding.original.string.strip())
            problems.append(
                f"{path}, line {line}: expected KEY=value" + (f", at {at[0]}" if at else "")
            )
        elif key is not None and binding.value is not None:
            if key in values:
                problems.append(
                    f"{path}, line {line}: {key} is set on line {lines[key]} already; keep one"
                )
            values[key], lines[key] = binding.value, line
    return values


def _api_key(
    values: dict[str, str], folder: Path, environ: Mapping[str, str], problems: list[str]
) -> SecretStr | None:
    """The API key, from the first place that has one. Takes its settings out of `values`."""
    given, file = values.pop(KEY_KEY, None), values.pop(KEY_FILE_KEY, None)
    if given and file:
        problems.append(f"{KEY_KEY} and {KEY_FILE_KEY} are both set; keep one of them")
    if given:
        return _usable_key(given, KEY_KEY, problems)
    places = [Path(environ.get("CREDENTIALS_DIRECTORY") or "/nonexistent"), CONTAINER_SECRETS]
    for path in [folder / file] if file else [place / SECRET_NAME for place in places]:
        try:
            return _usable_key(path.read_text(encoding="utf-8"), str(path), problems)
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"the API key cannot be read from {path}: {error}")
            return None
    problems.append(
        f"{KEY_FILE_KEY}={file!r}: there is no such file"
        if file
        else f"{KEY_KEY} is missing: set it or {KEY_FILE_KEY}, or give a systemd credential or a "
        f"container secret named {SECRET_NAME}"
    )
    return None


def _usable_key(text: str, place: str, problems: list[str]) -> SecretStr | None:
    key = text.strip()
    if re.fullmatch(r"[!-~]+", key):
        return SecretStr(key)
    problems.append(f"{place}: expected an API key, one word of printable ASCII characters")
    return None


def _read_webhook_secret(values: dict[str, str], folder: Path, problems: list[str] | None) -> None:
    """Put it in place of the file that it is in. Without `problems`, it is not needed now."""
    file = values.pop(WEBHOOK_SECRET_FILE_KEY, None)
    if file is None:
        return
    if problems is None:
        values.pop(WEBHOOK_URL_KEY, None)
        return
    if WEBHOOK_SECRET_KEY in values:
        both = f"{WEBHOOK_SECRET_KEY} and {WEBHOOK_SECRET_FILE_KEY}"
        problems.append(f"{both} are both set; keep one of them")
    try:
        values[WEBHOOK_SECRET_KEY] = (folder / file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{WEBHOOK_SECRET_FILE_KEY}={file!r}: it cannot be read: {error}")


def _beside(folder: Path, database_url: str) -> str:
    """A relative SQLite path is relative to the config file."""
    scheme, slashes, path = database_url.partition(":///")
    if not scheme.startswith("sqlite") or not path or path.startswith((":memory:", "/")):
        return database_url
    return f"{scheme}{slashes}{folder / path}"


def _warnings(path: Path | None) -> Iterable[str]:
    if path is not None and path.stat().st_mode & stat.S_IROTH:
        yield f"the config file {path} can be read by everybody on this machine: chmod o-r {path}"


# Keys


def _tree(values: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    """Flat keys → the nested values that `Keys` validates. The others become problems."""
    feeds: dict[str, dict[str, Any]] = {}
    tree: dict[str, Any] = {"feeds": feeds}
    spelt: dict[str, str] = {}
    for key, value in sorted(values.items()):  # so that JSON comes before the keys below it
        if key in TOP_KEYS:
            tree[TOP_KEYS[key]] = value
            continue
        block, _, rest = key.removeprefix(PREFIX).partition("__")
        name, _, rest = rest.partition("__")
        field, *below = rest.split("__")
        known = key.startswith(PREFIX) and block == "FEEDS" and field in FEED_FIELDS
        if not known or (below and field != "AD_OPTIONS"):
            problems.append(_unknown(key, name if block == "FEEDS" else None))
        elif not FEED_NAME.fullmatch(name):
            problems.append(f"{key}: a feed's name is letters, digits, - and _; not {name!r}")
        elif spelt.setdefault(name.lower(), name) != name:
            problems.append(
                f"{key}: the feed is spelt {spelt[name.lower()]} elsewhere; spell it one way"
            )
        elif field == "AD_OPTIONS":
            _put_ad_option(feeds.setdefault(name.lower(), {}), key, below, value, problems)
        else:
            feeds.setdefault(name.lower(), {})[FEED_FIELDS[field]] = value
    for feed in feeds.values():
        if "ad_options" in feed:
            feed["ad_options"] = _with_lists(feed["ad_options"])
    return tree


def _unknown(key: str, feed_name: str | None) -> str:
    """An unread key, and the one that was probably meant."""
    candidates = [*TOP_KEYS, KEY_KEY, KEY_FILE_KEY, WEBHOOK_SECRET_FILE_KEY]
    candidates += [f"{PREFIX}FEEDS__{feed_name or 'NAME'}__{field}" for field in FEED_FIELDS]
    if key == CONFIG_KEY:
        return f"{key} has no meaning inside the config file; set it in the environment"
    nearest = difflib.get_close_matches(key.upper(), candidates, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]}?" if nearest else f"; every key begins with {PREFIX}"
    shown = key if nearest or len(key) < LONGEST_WORD else f"{key[:3]}…"
    return f"{shown}: nothing reads this key{hint}"


def _put_ad_option(
    feed: dict[str, Any], key: str, below: list[str], value: str, problems: list[str]
) -> None:
    """Set adOptions from JSON, or one field of it from a key such as …__PRE_ROLL__AD_COUNT."""
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        parsed = value
    if not below:
        if not isinstance(parsed, dict):
            problems.append(f'{key}={value!r}: expected a JSON object, as {{"preRoll": …}}')
            parsed = {}
        feed["ad_options"] = parsed
        return
    node = feed.setdefault("ad_options", {})
    for segment in below[:-1]:
        node = node.setdefault(to_camel(segment.lower()), {})
        if not isinstance(node, dict):
            problems.append(f"{key}: its place is taken by the JSON of AD_OPTIONS; keep one")
            return
    node[to_camel(below[-1].lower())] = parsed


def _with_lists(node: Any) -> Any:
    """{"0": a, "1": b} → [a, b]: how keys spell a list."""
    if not isinstance(node, dict):
        return node
    values = {name: _with_lists(value) for name, value in node.items()}
    if values and all(name.isdecimal() for name in values):
        return [values[name] for name in sorted(values, key=int)]
    return values


# Problems


def _validated(tree: dict[str, Any], values: Mapping[str, str], problems: list[str]) -> Keys | None:
    problems += _doubled(tree["feeds"])
    try:
        return Keys.model_validate(tree)
    except ValidationError as error:
        problems += [_told(details, values) for details in error.errors()]
        return None


def _doubled(feeds: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """Feeds that would submit the same episodes to the same podcast: each would be paid twice."""
    first: dict[tuple[Any, Any], str] = {}
    for name, feed in feeds.items():
        what = (feed.get("url"), feed.get("podcast_id"))
        if None in what:
            continue
        earlier = first.setdefault(what, name)
        if earlier != name:
            yield (
                f"{PREFIX}FEEDS__{name.upper()}__URL: the feed {earlier!r} has the same URL and "
                "PODCAST_ID, so every episode would be submitted twice; take one of them out"
            )


def _told(details: ErrorDetails, values: Mapping[str, str]) -> str:
    """One of pydantic's errors, in the operator's words: key, value and what was expected."""
    place = [str(part) for part in details["loc"]]
    key, below = _key_at(place)
    message = details["msg"].removeprefix("Value error, ")
    if details["type"] == "missing" and not below:
        hint = ": `feedwatch podcasts` lists the ids" if key.endswith("__PODCAST_ID") else ""
        return f"{key} is missing{hint}"
    if below:
        where = ".".join(below)
        if details["type"] == "extra_forbidden":
            message = "the API's adOptions have no such field"
        elif details["type"] == "missing":
            message = "is required here"
        given = "" if details["type"] == "missing" else f"={details['input']!r}"
        return f"{key}, {where}{given}: {message}"
    if key in values:
        return f"{key}={masked_setting(key, values[key])!r}: {message}"
    return f"{key}: {message}"


def _key_at(place: list[str]) -> tuple[str, list[str]]:
    """The key that a place in the tree was read from, and the place within its value."""
    if place[0] != "feeds":
        return PREFIX + place[0].upper(), []
    return PREFIX + "__".join(part.upper() for part in place[:3]), place[3:]


# Values for the other parts


def _command(folder: Path, words: tuple[str, ...]) -> tuple[str, ...]:
    """A relative path is relative to the config file; a mere name is looked for on the PATH."""
    program, *arguments = words or ("",)
    return (str(folder / program), *arguments) if "/" in program else words


def _source(name: str, feed: FeedKeys, keys: Keys) -> Source:
    """One feed, with the global settings where it has none of its own."""
    return Source(
        name=name,
        url=feed.url,
        podcast_id=feed.podcast_id,
        check_interval=feed.check_interval or keys.check_interval,
        rules=Rules(
            first_run=feed.first_run if feed.first_run is not None else keys.first_run,
            flood_limit=feed.flood_limit if feed.flood_limit is not None else keys.flood_limit,
            on_replaced=feed.on_replaced or keys.on_replaced,
            include_title=feed.include_title,
            exclude_title=feed.exclude_title,
            episode_types=feed.episode_types,
            media_types=feed.media_types,
            min_duration=feed.min_duration,
            max_duration=feed.max_duration,
        ),
        ad_options=feed.ad_options.as_sent() if feed.ad_options is not None else None,
        username=feed.username,
        password=feed.password.get_secret_value() if feed.password is not None else None,
        headers=feed.headers,
        user_agent=feed.user_agent,
    )
