"""What has changed between two configurations, in a line each."""

from feedwatch.config.key_names import KEY_KEY, PREFIX
from feedwatch.config.keys import NEEDS_RESTART, Settings
from feedwatch.core.masking import SECRET_KEYS, masked, masked_setting

LONGEST = 60  # characters of a value


def changes(before: Settings, after: Settings) -> list[str]:
    """One line for each feed that came or went, and for each other key that changed."""
    was, now = ({source.name for source in one.sources} for one in (before, after))
    lines = [f"feed {name}: added" for name in sorted(now - was)]
    lines += [
        f"feed {name}: removed; it is no longer checked, and its jobs are polled on"
        for name in sorted(was - now)
    ]
    if before.api_key != after.api_key:
        lines.append(f"{KEY_KEY} changed")
    for key in sorted(before.given.keys() | after.given.keys()):
        old, new = before.given.get(key), after.given.get(key)
        name = key.removeprefix(PREFIX)
        restart = name.lower() in NEEDS_RESTART
        if name.startswith("FEEDS__") and name.split("__")[1].lower() not in was & now:
            continue
        if old != new:
            values = f" {_shown(key, old)} → {_shown(key, new)}"
            line = key + (" changed" if SECRET_KEYS.search(key) else values)
            lines.append(line + "; this needs a restart, until then the old value holds" * restart)
    return lines


def _shown(key: str, value: str | None) -> str:
    if value is None:
        return "unset"
    text = masked(masked_setting(key, value))
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
