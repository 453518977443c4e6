"""Finds the config file. Imports no more than it needs, since `healthcheck` starts here."""

from collections.abc import Mapping
from pathlib import Path

from feedwatch.config.errors import ConfigError
from feedwatch.config.key_names import CONFIG_KEY, SYSTEM_FILE


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
