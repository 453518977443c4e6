"""The names of keys and files."""

import re
from pathlib import Path

PREFIX = "FEEDWATCH_"
CONFIG_KEY = f"{PREFIX}CONFIG"  # where the file is: no setting, and only in the environment
KEY_KEY, KEY_FILE_KEY = f"{PREFIX}API_KEY", f"{PREFIX}API_KEY_FILE"
DATABASE_KEY, DATABASE_URL = f"{PREFIX}DATABASE_URL", "sqlite:///feedwatch.db"  # and its default
WEBHOOK_URL_KEY = f"{PREFIX}NOTIFY_WEBHOOK_URL"
WEBHOOK_SECRET_KEY = f"{PREFIX}NOTIFY_WEBHOOK_SECRET"
WEBHOOK_SECRET_FILE_KEY = f"{WEBHOOK_SECRET_KEY}_FILE"
# Secrets of page and API: each may be in a file, or be a credential of its name in lower case.
WEB_SECRET_KEYS = tuple(f"{PREFIX}WEB_{name}" for name in ("PASSWORD", "TOKEN", "DECIDE_TOKEN"))
HEARTBEAT_URL_KEY = f"{PREFIX}HEARTBEAT_URL"  # likewise
MEDIAAPIS_SECRET_KEYS = tuple(  # likewise
    f"{PREFIX}MEDIAAPIS_{name}" for name in ("KEY", "SECRET", "OUTPUT_AUTH")
)
USER_HEADER_KEY = f"{PREFIX}WEB_USER_HEADER"
TRUSTED_PROXIES_KEY = f"{PREFIX}WEB_TRUSTED_PROXIES"
CERTIFICATES_KEY = "SSL_CERT_FILE"  # OpenSSL's own, in the environment
SYSTEM_FILE = Path("/etc/feedwatch/config.env")
SECRET_NAME = "feedwatch_api_key"  # noqa: S105 - the name of a credential, not its value
CONTAINER_SECRETS = Path("/run/secrets")
OUR_KEY = re.compile(r"FEEDWATCH_[A-Z0-9_]+")
FEED_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?")
# What Kubernetes tells each container of a Service named feedwatch, or feedwatch-something.
LINK = re.compile(
    r"FEEDWATCH_([A-Z0-9]+_)*(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)"
)
