"""What has changed between two configurations, in a line each."""

from collections.abc import Iterator

from feedwatch.config.key_names import PREFIX
from feedwatch.config.load import Settings
from feedwatch.logs.masking import SECRET_KEYS, masked, masked_setting

NEEDS_RESTART = (  # fields of `Settings` that a running process keeps
    "database_url",
    "listen",
    "notify_command",
    "notify_webhook_url",
    "notify_webhook_secret",
    "notify_apprise_urls",
)
LONGEST = 60  # characters of a value


def changes(before: Settings, after: Settings) -> list[str]:
    """One line for each feed that came or went, and for each other key that changed."""
    return [*_feeds(before, after), *_keys(before, after)]


def _feeds(before: Settings, after: Settings) -> Iterator[str]:
    was, now = ({source.name for source in one.sources} for one in (before, after))
    yield from (f"feed {name}: added" for name in sorted(now - was))
    yield from (
        f"feed {name}: taken out; it rests, and its jobs are polled on"
        for name in sorted(was - now)
    )


def _keys(before: Settings, after: Settings) -> Iterator[str]:
    if before.api_key != after.api_key:
        yield "API_KEY changed"
    both = {source.name for source in before.sources} & {source.name for source in after.sources}
    for key in sorted(before.given.keys() | after.given.keys()):
        old, new = before.given.get(key), after.given.get(key)
        name = key.removeprefix(PREFIX)
        if name.startswith("FEEDS__"):
            _, feed, name = name.split("__", 2)
            if feed.lower() not in both:
                continue
            name = f"feed {feed.lower()}: {name}"
        if old != new:
            restart = key.removeprefix(PREFIX).lower() in NEEDS_RESTART
            end = "; this needs a restart, until then the old value holds" if restart else ""
            if SECRET_KEYS.search(key):
                yield f"{name} changed{end}"
            else:
                yield f"{name} {_told(key, old)} → {_told(key, new)}{end}"


def _told(key: str, value: str | None) -> str:
    if value is None:
        return "unset"
    text = masked(masked_setting(key, value))
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
