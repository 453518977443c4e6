"""Finds the config file, and the database. Imports no more than that needs: `healthcheck` does."""

import re
import sys
from collections.abc import Mapping
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from feedwatch.config.errors import ConfigError
from feedwatch.config.key_names import CONFIG_KEY, DATABASE_KEY, DATABASE_URL, PREFIX, SYSTEM_FILE

# Without a query, an escape or a driver: what else an SQLite URL may say is SQLAlchemy's business.
_URL_OF_FEED = re.compile(rf"{PREFIX}FEEDS__(.+)__URL")
_PLAIN_SQLITE = re.compile(r"sqlite:///([^?%#\s:]+)")


def find_file(given: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The config file: the one given, else $FEEDWATCH_CONFIG, else the first default there is.

    Raises `ConfigError` if one is named that is not there.
    """
    named = given or (Path(environ[CONFIG_KEY]) if environ.get(CONFIG_KEY) else None)
    if named is not None:
        if not _is_file(named):
            whose = "--config" if given is not None else CONFIG_KEY
            hint = f"see {whose}, or write it by `feedwatch init`"
            raise ConfigError([f"there is no config file {named}; {hint}"])
        return named
    return next((path for path in (Path("config.env"), SYSTEM_FILE) if _is_file(path)), None)


def sqlite_path(file: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The database's file by this config; None if it has none, or one that is not certain.

    Raises `ConfigError` if the config cannot be read.
    """
    url = environ.get(DATABASE_KEY, "")
    if file is not None and DATABASE_KEY not in environ:
        bindings = _bindings(file)
        found = [one.value or "" for one in bindings if one.key == DATABASE_KEY]
        if len(found) > 1 or any(one.error for one in bindings):
            return None
        url = "".join(found)
    plain = _PLAIN_SQLITE.fullmatch(url.strip() or DATABASE_URL)
    folder = file.resolve().parent if file is not None else Path.cwd()
    return folder / plain[1] if plain is not None else None


def feed_names(file: Path | None, environ: Mapping[str, str]) -> list[str]:
    """The names of the feeds in this config, whatever else may be wrong with it.

    Raises `ConfigError` if the config cannot be read.
    """
    bindings = _bindings(file) if file is not None else []
    keys = [*(one.key or "" for one in bindings), *environ]
    return sorted({match[1].lower() for key in keys if (match := _URL_OF_FEED.fullmatch(key))})


def _bindings(file: Path) -> list[Any]:
    """The lines of a config file, as dotenv parses them."""
    try:
        with file.open(encoding="utf-8-sig") as stream:
            return list(dotenv_parser().parse_stream(stream))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"the config file {file} cannot be read: {error}"]) from error


def dotenv_parser() -> Any:
    """dotenv.parser without the rest of dotenv, whose import takes longer than all else here."""
    package = find_spec("dotenv")
    if package is None or not package.submodule_search_locations:
        raise ConfigError(["python-dotenv is not installed"])
    place = Path(package.submodule_search_locations[0], "parser.py")
    spec = spec_from_file_location("dotenv.parser", place)
    if spec is None or spec.loader is None:
        raise ConfigError([f"python-dotenv has no {place}"])
    module = module_from_spec(spec)
    sys.modules.setdefault(spec.name, module)  # its named tuples look their module up
    spec.loader.exec_module(module)
    return module


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise ConfigError([f"the config file {path} cannot be read: {error.strerror}"]) from error
