"""The config mark: two daemons of one database have the same one if their configs agree."""

import hashlib
import json
from dataclasses import MISSING, fields, is_dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretBytes, SecretStr

from feedwatch.config.keys import Settings

# What may differ: where a machine reads, listens and logs, whom it lets look, what it tells alone.
OWN = frozenset(
    {
        "database_url",
        "path",
        "warnings",
        "log_format",
        "log_level",
        "proxy",
        "feed_proxy",
        "heartbeat_url",
        "heartbeat_interval",
        "listen",
        "public_listen",
        "web_url",
        "web_password",
        "web_trusted_proxies",
        "web_user_header",
        "web_token",
        "web_decide_token",
    }
)
# A mark is shown to many, and who knows the rest of a config could try passwords on it: so all of
# it is hashed at once, the API key among it, and slowly.
SCRYPT_COST = 2**14  # some 50 ms, 16 MB
SALT = b"feedwatch config mark"


def config_mark(settings: Settings) -> str:
    """64 hex digits for all that daemons of one database must agree on; for the same, the same.

    What has its default does not count, so that a version with further keys has the same mark.
    """
    if settings.notify_command:  # each machine may have the program in a folder of its own
        program, *arguments = settings.notify_command
        settings = replace(settings, notify_command=(Path(program).name, *arguments))
    text = json.dumps(settings, default=_plain, sort_keys=True)
    return hashlib.scrypt(text.encode(), salt=SALT, n=SCRYPT_COST, r=8, p=1, dklen=32).hex()


def _plain(value: Any) -> Any:
    """What JSON has for a value that it does not know."""
    match value:
        case SecretStr():
            return value.get_secret_value()
        case SecretBytes():
            return value.get_secret_value().hex()
        case timedelta():
            return value.total_seconds()
        case date():
            return value.isoformat()
        case frozenset():
            return sorted(value)
    if not is_dataclass(value) or isinstance(value, type):
        raise TypeError(f"a mark of {type(value).__name__} is not defined")
    return {
        one.name: given
        for one in fields(value)
        if one.compare
        and one.name not in OWN
        and (given := getattr(value, one.name)) != _default(one)
    }


def _default(one: Any) -> Any:
    if one.default_factory is not MISSING:
        return one.default_factory()
    return one.default if one.default is not MISSING else None
