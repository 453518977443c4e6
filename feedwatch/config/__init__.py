"""The environment and one env file → Settings, or everything that is wrong with them at once."""

from feedwatch.config.changes import NEEDS_RESTART, changes
from feedwatch.config.load import ConfigError, Settings, find_file, load
from feedwatch.config.values import Listen, LogFormat, LogLevel

__all__ = [
    "NEEDS_RESTART",
    "ConfigError",
    "Listen",
    "LogFormat",
    "LogLevel",
    "Settings",
    "changes",
    "find_file",
    "load",
]
