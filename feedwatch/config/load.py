"""Reads the file and the environment, and reports all that is wrong with them at once."""

import json
import stat
from collections.abc import Callable, Mapping
from dataclasses import fields
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from feedwatch.config.errors import ConfigError
from feedwatch.config.key_names import (
    CERTIFICATES_KEY,
    CONFIG_KEY,
    FEED_NAME,
    HEARTBEAT_URL_KEY,
    KEY_KEY,
    LINK,
    MEDIAAPIS_SECRET_KEYS,
    OUR_KEY,
    PREFIX,
    SYSTEM_FILE,
    TRUSTED_PROXIES_KEY,
    USER_HEADER_KEY,
    WEB_SECRET_KEYS,
)
from feedwatch.config.keys import FEED_FIELDS, TOP_KEYS, Keys, Settings
from feedwatch.config.locate import dotenv_parser
from feedwatch.config.mediaapis import missing_for
from feedwatch.config.problems import (
    NO_FEED,
    duplicate_feeds,
    explain,
    missing_podcasts,
    placeholder_key,
    respelt_feeds,
    short_check_intervals,
    short_secrets,
    steps_in,
    unknown_key,
)
from feedwatch.config.secrets import read_api_key, read_secrets, read_webhook_secret
from feedwatch.core.masking import masked
from feedwatch.core.pipeline import Step
from feedwatch.core.settings import FeedConfig, Policy, Rules, ServeRules

# Options of an API's own: a field of theirs, and how the API spells one that a key has in capitals.
OPTIONS: dict[str, tuple[str, Callable[[str], str]]] = {
    "AD_OPTIONS": ("preRoll", to_camel),
    "ENHANCE": ("content", str),
}
Made = TypeVar("Made", FeedConfig, Policy, Rules, ServeRules, Settings)


def load(
    path: Path | None,
    environ: Mapping[str, str],
    *,
    needs_key: bool = True,
    needs_feeds: bool = True,
    needs_web: bool = True,
    to_watch: bool = False,
    text: str | None = None,
) -> Settings:
    """Read the file and the environment, which overrides it. Raises `ConfigError`.

    Without `needs_key`, a missing API key, or a secret that this user cannot read, is no error.
    Without `needs_feeds`, the feeds' blocks are ignored; without `needs_web`, the secrets of the
    page and the API. With `to_watch`, there must be a feed, and a key that is needed must be more
    than a placeholder, unless the API is on this machine. With `text`, as if the file said that.
    """
    problems: list[str] = []
    if path is None and not any(key.startswith(PREFIX) for key in environ):
        missing = f"there is no config file, neither ./config.env nor {SYSTEM_FILE}"
        hint = "name one by --config, or write one by `feedwatch init`"
        raise ConfigError(
            [f"{missing}, and nothing in the environment: {KEY_KEY} is missing; {hint}"]
        )
    given = _read_file(path, text, problems) if path is not None else {}
    given |= {
        key: value
        for key, value in environ.items()
        if key.startswith(PREFIX) and key != CONFIG_KEY and not LINK.fullmatch(key)
    }
    given = {
        key: value
        for key, value in given.items()
        if value.strip() and (needs_feeds or not key.startswith(f"{PREFIX}FEEDS__"))
    }  # empty is unset
    folder = path.resolve().parent if path is not None else Path.cwd()
    keyless: list[str] = []
    api_key = read_api_key(given, folder, environ, keyless)
    read_webhook_secret(given, folder, problems if needs_key else None)
    read_secrets(WEB_SECRET_KEYS, given, folder, environ, problems if needs_web else None)
    with_key = [HEARTBEAT_URL_KEY, *MEDIAAPIS_SECRET_KEYS]
    read_secrets(with_key, given, folder, environ, problems if needs_key else [])
    if needs_key:
        problems += _problems_with_certificates(environ)
    if TRUSTED_PROXIES_KEY in given and USER_HEADER_KEY not in given:
        problems.append(f"{TRUSTED_PROXIES_KEY}: expected {USER_HEADER_KEY} beside it")
    tree = _nested(given, problems)
    steps = {step for one in tree["feeds"].values() for step in steps_in(one, tree)}
    if needs_key:
        problems[:0] = keyless if Step.ADS in steps or not steps else []
        problems += missing_for(given, steps)
    problems += missing_podcasts(tree)
    if to_watch:
        problems += [] if tree["feeds"] else [NO_FEED]
        problems += placeholder_key(api_key, tree.get("api_url", "")) if needs_key else []
    problems += duplicate_feeds(tree["feeds"])
    problems += short_check_intervals(tree)
    try:
        keys = Keys.model_validate(tree)
    except ValidationError as error:
        problems += [explain(details, given) for details in error.errors()]
    if problems:
        raise ConfigError(problems)
    warnings = [*respelt_feeds(keys.feeds), *short_secrets(keys.feeds)]
    if path is not None and text is None and path.stat().st_mode & stat.S_IROTH:
        warnings.append(
            f"the config file {path} can be read by everybody on this machine: chmod o-r {path}"
        )
    values = _resolved(keys, folder)
    sources = []
    for name, feed in keys.feeds.items():  # with the global settings where it has none of its own
        own = {key: value for key, value in feed if value is not None}
        merged = {**values, **own, "name": name}
        made = {"rules": _made(Rules, merged), "serving": _made(ServeRules, merged)}
        is_private = bool(feed.username or feed.headers) or masked(feed.url) != feed.url
        sources.append(_made(FeedConfig, merged | made | {"is_private": is_private}))
    policy = _made(Policy, values)
    values |= {
        "policy": policy,
        "mediaapis": keys.mediaapis(policy),
        "sources": tuple(sources),
        "api_key": api_key,
    }
    values |= {"path": path, "warnings": tuple(warnings), "given": given}
    return _made(Settings, values)


def _problems_with_certificates(environ: Mapping[str, str]) -> list[str]:
    """What is wrong with the file of authorities, which httpx reads as OpenSSL does."""
    file = environ.get(CERTIFICATES_KEY)
    if not file:
        return []
    import ssl  # few have it set

    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:  # ssl's own are among it
        return [f"{CERTIFICATES_KEY}={file!r}: expected a file of certificates: {error}"]
    return []


def _resolved(keys: Keys, folder: Path) -> dict[str, Any]:
    """The values of the keys, with relative paths resolved against the folder of the config."""
    resolved = dict(keys)
    scheme, slashes, database = keys.database_url.partition(":///")
    if scheme.startswith("sqlite") and database and not database.startswith((":memory:", "/")):
        resolved["database_url"] = f"{scheme}{slashes}{folder / database}"
    program, *arguments = keys.notify_command or ("",)
    if "/" in program:  # a mere name is looked for on the PATH
        resolved["notify_command"] = (str(folder / program), *arguments)
    return resolved


def _made(kind: type[Made], values: Mapping[str, Any]) -> Made:
    """A dataclass from those of the values that are fields of it."""
    return kind(**{one.name: values[one.name] for one in fields(kind) if one.name in values})


def _read_file(path: Path, text: str | None, problems: list[str]) -> dict[str, str]:
    try:
        given = StringIO(text.removeprefix("\ufeff"), newline=None) if text is not None else None
        with given or path.open(encoding="utf-8-sig") as stream:
            bindings = list(dotenv_parser().parse_stream(stream))
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


def _nested(values: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
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
        if not known or (below and field not in OPTIONS):
            problems.append(unknown_key(key, name if block == "FEEDS" else None))
        elif not FEED_NAME.fullmatch(name):
            problems.append(f"{key}: a feed's name is letters, digits, - and _; not {name!r}")
        elif spelt.setdefault(name.lower(), name) != name:
            problems.append(
                f"{key}: the feed is spelt {spelt[name.lower()]} elsewhere; spell it one way"
            )
        elif field in OPTIONS:
            _put_option(feeds.setdefault(name.lower(), {}), key, below, value, problems)
        else:
            feeds.setdefault(name.lower(), {})[FEED_FIELDS[field]] = value
    for feed in feeds.values():
        for field in OPTIONS.keys() & {name.upper() for name in feed}:
            feed[field.lower()] = _with_lists(feed[field.lower()])
    return tree


def _put_option(
    feed: dict[str, Any], key: str, below: list[str], value: str, problems: list[str]
) -> None:
    """Set options from JSON, or one field of them from a key such as …__PRE_ROLL__AD_COUNT."""
    field = key.split("__")[2]
    example, spelt = OPTIONS[field]
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        parsed = value
    if not below:
        if not isinstance(parsed, dict):
            problems.append(f'{key}={value!r}: expected a JSON object, as {{"{example}": …}}')
            parsed = {}
        feed[field.lower()] = parsed
        return
    node = feed.setdefault(field.lower(), {})
    for segment in below[:-1]:
        node = node.setdefault(spelt(segment.lower()), {})
        if not isinstance(node, dict):
            taken = key.partition(f"__{field}__")[0] + f"__{field}"
            problems.append(f"{key}: its place is taken by the JSON of {taken}; keep one")
            return
    node[spelt(below[-1].lower())] = parsed


def _with_lists(node: Any) -> Any:
    """{"0": a, "1": b} → [a, b]: how keys spell a list."""
    if not isinstance(node, dict):
        return node
    values = {name: _with_lists(value) for name, value in node.items()}
    if values and all(name.isdecimal() for name in values):
        return [values[name] for name in sorted(values, key=int)]
    return values
