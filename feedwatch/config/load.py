"""Reading the file and the environment, and saying all that is wrong with them in one go."""

import base64
import json
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream
from pydantic import SecretBytes, SecretStr, ValidationError
from pydantic.alias_generators import to_camel

from feedwatch.config.errors import ConfigError
from feedwatch.config.key_names import (
    CONFIG_KEY,
    FEED_NAME,
    KEY_KEY,
    LINK,
    OUR_KEY,
    PREFIX,
    SYSTEM_FILE,
)
from feedwatch.config.keys import FEED_FIELDS, TOP_KEYS, FeedKeys, Keys
from feedwatch.config.problems import duplicate_feeds, explain, unknown_key
from feedwatch.config.secrets import read_api_key, read_webhook_secret
from feedwatch.config.values import Listen, LogFormat, LogLevel
from feedwatch.core.settings import FeedConfig, Policy, Rules
from feedwatch.logs.masking import secrets_in


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole configuration, valid."""

    api_key: SecretStr | None
    api_url: str
    database_url: str
    policy: Policy
    sources: tuple[FeedConfig, ...]
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

    def source(self, name: str) -> FeedConfig | None:
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
    api_key = read_api_key(values, folder, environ, key_problems)
    if needs_key:
        problems += key_problems
    read_webhook_secret(values, folder, problems if needs_key else None)
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
            problems.append(unknown_key(key, name if block == "FEEDS" else None))
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
    problems += duplicate_feeds(tree["feeds"])
    try:
        return Keys.model_validate(tree)
    except ValidationError as error:
        problems += [explain(details, values) for details in error.errors()]
        return None


# Values for the other parts


def _command(folder: Path, words: tuple[str, ...]) -> tuple[str, ...]:
    """A relative path is relative to the config file; a mere name is looked for on the PATH."""
    program, *arguments = words or ("",)
    return (str(folder / program), *arguments) if "/" in program else words


def _source(name: str, feed: FeedKeys, keys: Keys) -> FeedConfig:
    """One feed, with the global settings where it has none of its own."""
    return FeedConfig(
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
