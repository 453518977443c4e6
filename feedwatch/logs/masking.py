"""Masks secrets in everything that is shown: logs, messages, JSON, metrics and alerts.

Two kinds are masked: the secrets of the config, wherever they turn up and however they are quoted;
and what looks like a secret in any URL: user and password, a query's value whose name says so or
that looks random, and what follows a word such as "private" in a path. Many private feeds are
nothing but such a URL. Plain feed URLs, with ids in them, stay as they are.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, unquote

MASK = "***"
SHORTEST_SECRET = 4  # characters; a shorter one would mask half of every line
SHORTEST_TOKEN = 8  # characters of a URL's secret that is masked outside of the URL, too

URL = re.compile(r"[a-z][a-z0-9+.-]{1,20}://[^\s\"'<>]+", re.IGNORECASE)
PARTS = re.compile(r"([^:]+://)([^/?#]*)([^?#]*)(.*)", re.DOTALL)
PARAMETER = re.compile(r"([?&;#])([^=&;#]*)(=?)([^&;#]*)")
NAME_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")  # accessToken → access, Token
SECRET_WORDS = re.compile(
    r"access|authorization|credentials?|hmac|jwt|pass|passwd|pwd|session|sid|sig|sign"
    r"|\w*(?:auth|key|password|secret|signature|token)"
)
PATH_WORDS = re.compile(r"private|tokens?|auth|secrets?|(?:api)?keys?|password|signed")
FEED_WORDS = re.compile(r"feeds?|rss|xml|atom|podcasts?|shows?|index|v\d")
PUBLIC_NAMES = re.compile(r"(?:channel|playlist|podcast|show|feed|episode)_?id", re.IGNORECASE)
RANDOM = re.compile(r"(?=.*[A-Za-z])(?=.*\d)[\w.~+/=-]{16,}", re.ASCII)
JSON_WEB_TOKEN = re.compile(r"eyJ[\w.-]{37,}", re.ASCII)  # '{"', which every one begins with

SECRET_KEYS = re.compile(
    r"API_KEY$|PASSWORD$|HEADERS$|TOKEN$|_NOTIFY_(COMMAND|WEBHOOK_\w+|APPRISE_URLS)$"
)  # in a config file
IN_BROKEN_URL = re.compile(r"(?<=//).*@|\?.*")  # what may be secret in what only should be a URL

# Of an episode: what others must find as it was submitted, and what is the publisher's own words.
EXACT = {"enclosure_url", "processed_url"}
CONTENT = {"guid", "title", "description", "known_by", "ad_removal_markers", "media_id"}


_known: re.Pattern[str] | None = None  # the secrets of the config


def know(secrets: Iterable[str]) -> None:
    """Mask these secrets from now on, in place of those given before."""
    global _known  # one process has one config, and everything that is shown needs it
    wanted = {secret for secret in secrets if len(secret) >= SHORTEST_SECRET}
    longest_first = sorted(wanted, key=lambda secret: (-len(secret), secret))
    pattern = "|".join("".join(map(_forms, secret)) for secret in longest_first)
    _known = re.compile(pattern) if pattern else None


def masked(text: str) -> str:
    """Text for logs, messages, metrics and alerts: no secret of the config or of a URL in it."""
    text = masked_content(text)
    if "://" not in text:
        return text
    return URL.sub(
        lambda url: "".join(MASK if secret else piece for piece, secret in _pieces(url[0])), text
    )


def masked_content(text: str) -> str:
    """What a publisher wrote, such as a title or a guid, without the config's secrets."""
    return _known.sub(MASK, text) if _known is not None else text


def masked_document(document: Any, name: str = "") -> Any:
    """A JSON document as it may be shown: no secret in it, and what was submitted as it was."""
    match document:
        case dict():
            return {
                key: masked_document(value, name if name in CONTENT else key)
                for key, value in document.items()
            }
        case list():
            return [masked_document(value, name) for value in document]
        case str() if name in EXACT:
            return document
        case str() if name in CONTENT:
            return masked_content(document)
        case str():
            return masked(document)
    return document


def secrets_in(url: str) -> list[str]:
    """What looks like a secret in a URL, if it is long enough to be masked elsewhere."""
    found = [piece for piece, secret in _pieces(url) if secret]
    found += [piece.partition(":")[2] for piece in found]
    both = {form for piece in found for form in (piece, unquote(piece))}
    return sorted(form for form in both if len(form) >= SHORTEST_TOKEN)


def masked_setting(key: str, value: str) -> str:
    """A value of the config, as an error about it may show it."""
    if SECRET_KEYS.search(key):
        return MASK
    return IN_BROKEN_URL.sub(MASK, value) if key.endswith("_URL") else value


def _forms(sign: str) -> str:
    """A pattern for a character of a secret, however a URL, JSON or a `repr` writes it."""
    if sign.isascii() and (sign.isalnum() or sign in "-._~"):
        return re.escape(sign)
    forms = {sign, quote(sign, safe=""), quote(sign, safe="").lower()}
    if sign == " ":
        forms.add("+")
    if not sign.isascii():
        forms |= {json.dumps(sign)[1:-1], ascii(sign)[1:-1]}
    either = "|".join(re.escape(form) for form in sorted(forms))
    return rf"\\{{0,3}}(?:{either})" if sign in "\"'\\" else f"(?:{either})"


def _pieces(url: str) -> Iterator[tuple[str, bool]]:
    """A URL in pieces, each with whether it looks like a secret."""
    parts = PARTS.fullmatch(url)
    if parts is None:
        yield url, False
        return
    scheme, authority, path, rest = parts.groups()
    yield scheme, False
    login, at, host = authority.rpartition("@")
    yield login, bool(login) and not login.endswith(f":{MASK}")
    yield at + host, False
    if scheme.lower() in ("http://", "https://"):
        yield from _pieces_of_path(path)
    else:  # a database's file, which may well lie in /private
        yield path, False
    for parameter in PARAMETER.finditer(rest):  # of the query and the fragment
        mark, name, equals, value = parameter.groups()
        yield mark + name + equals, False
        words = NAME_WORDS.findall(unquote(name))
        is_secret = any(SECRET_WORDS.fullmatch(word.lower()) for word in words) or (
            not PUBLIC_NAMES.fullmatch(name) and RANDOM.fullmatch(unquote(value)) is not None
        )
        yield value, value not in ("", MASK) and is_secret


def _pieces_of_path(path: str) -> Iterator[tuple[str, bool]]:
    marked = awaited = False  # a telling word came before; its secret did not come yet
    for number, segment in enumerate(path.split("/")):
        yield "/" if number else "", False
        word = segment.lower().partition(".")[0]
        if PATH_WORDS.fullmatch(word):
            marked = awaited = True
            yield segment, False
        elif not word or FEED_WORDS.fullmatch(word):
            yield segment, False
        else:
            random = marked and RANDOM.fullmatch(unquote(segment)) is not None
            yield segment, awaited or random or JSON_WEB_TOKEN.match(segment) is not None
            awaited = False
