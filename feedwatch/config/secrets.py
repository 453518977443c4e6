"""Reads secrets from the environment, from files and from credentials."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import SecretStr

from feedwatch.config.key_names import (
    CONTAINER_SECRETS,
    KEY_FILE_KEY,
    KEY_KEY,
    SECRET_NAME,
    WEBHOOK_SECRET_FILE_KEY,
    WEBHOOK_SECRET_KEY,
    WEBHOOK_URL_KEY,
)


def read_api_key(
    values: dict[str, str], folder: Path, environ: Mapping[str, str], problems: list[str]
) -> SecretStr | None:
    """The API key, from the first place that has one. Takes its settings out of `values`."""
    given, file = values.pop(KEY_KEY, None), values.pop(KEY_FILE_KEY, None)
    if given and file:
        problems.append(f"{KEY_KEY} and {KEY_FILE_KEY} are both set; keep one of them")
    if given:
        return _usable_key(given, KEY_KEY, problems)
    places = [Path(environ.get("CREDENTIALS_DIRECTORY") or "/nonexistent"), CONTAINER_SECRETS]
    for path in [folder / file] if file else [place / SECRET_NAME for place in places]:
        try:
            return _usable_key(path.read_text(encoding="utf-8"), str(path), problems)
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"the API key cannot be read from {path}: {error}")
            return None
    problems.append(
        f"{KEY_FILE_KEY}={file!r}: there is no such file"
        if file
        else f"{KEY_KEY} is missing: set it or {KEY_FILE_KEY}, or give a systemd credential or a "
        f"container secret named {SECRET_NAME}"
    )
    return None


def _usable_key(text: str, place: str, problems: list[str]) -> SecretStr | None:
    key = text.strip()
    if re.fullmatch(r"[!-~]+", key):
        return SecretStr(key)
    problems.append(f"{place}: expected an API key, one word of printable ASCII characters")
    return None


def read_webhook_secret(values: dict[str, str], folder: Path, problems: list[str] | None) -> None:
    """Put it in place of the file that it is in. Without `problems`, it is not needed now."""
    file = values.pop(WEBHOOK_SECRET_FILE_KEY, None)
    if file is None:
        return
    if problems is None:
        values.pop(WEBHOOK_URL_KEY, None)
        return
    if WEBHOOK_SECRET_KEY in values:
        both = f"{WEBHOOK_SECRET_KEY} and {WEBHOOK_SECRET_FILE_KEY}"
        problems.append(f"{both} are both set; keep one of them")
    try:
        values[WEBHOOK_SECRET_KEY] = (folder / file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{WEBHOOK_SECRET_FILE_KEY}={file!r}: it cannot be read: {error}")


def read_secrets(
    keys: Iterable[str],
    values: dict[str, str],
    folder: Path,
    environ: Mapping[str, str],
    problems: list[str] | None,
) -> None:
    """Put each of `keys` in place of the file or the credential that it is in.

    Without `problems`, they are not needed now.
    """
    places = [Path(environ.get("CREDENTIALS_DIRECTORY") or "/nonexistent"), CONTAINER_SECRETS]
    for key in keys:
        file = values.pop(f"{key}_FILE", None)
        if problems is None:
            values.pop(key, None)
        elif file is not None and key in values:
            problems.append(f"{key} and {key}_FILE are both set; keep one of them")
        elif key not in values:
            for path in [folder / file] if file else [place / key.lower() for place in places]:
                try:
                    values[key] = path.read_text(encoding="utf-8").strip()
                    break
                except FileNotFoundError:
                    if file:
                        problems.append(f"{key}_FILE={file!r}: there is no such file")
                except (OSError, UnicodeDecodeError) as error:
                    problems.append(f"{key} cannot be read from {path}: {error}")
