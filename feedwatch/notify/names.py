"""What channels are called in the outbox, where events wait for them; the same after a restart."""

from urllib.parse import urlsplit
from zlib import crc32

COMMAND, WEBHOOK = "command", "webhook"


def apprise_name(url: str) -> str:
    """The service, and a hash that tells two addresses of one service apart."""
    return f"apprise {urlsplit(url).scheme[:32]} {crc32(url.encode()):08x}"
