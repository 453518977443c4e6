"""The environment and one env file → Settings, or everything that is wrong with them at once."""

from feedwatch.config.load import ConfigError, Settings, find_file, load
from feedwatch.config.values import LogFormat, LogLevel

__all__ = ["ConfigError", "LogFormat", "LogLevel", "Settings", "find_file", "load"]
