"""Masks secrets in everything that is shown or written down: logs, messages, JSON, alerts.

Two kinds are masked: the secrets of the config, wherever they turn up and however they are quoted;
and what looks like a secret in any URL: user and password, a query's value whose name says so or
that looks random, and what follows a word such as "private" in a path. Many private feeds are
nothing but such a URL. Plain feed URLs, with ids in them, stay as they are.

What is cut to a length is masked first (`shortened`): nobody recognizes half a secret.
"""

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any
from urllib.parse import quote, unquote

MASK = "***"
SHORTEST_SECRET = 4  # characters; a shorter one would mask half of every line
SHORTEST_TOKEN = 8  # characters; a shorter secret is masked only where it is a whole word
LONGEST_REASON = 300  # characters of what an error of others may say

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
PUBLIC_HEADERS = re.compile(
    r"accept(?:-\w+)?|cache-control|connection|content-type|dnt|from|host|origin|pragma|referer"
    r"|te|user-agent",
    re.IGNORECASE,
)
PUBLIC_NAMES = re.compile(r"(?:channel|playlist|podcast|show|feed|episode)_?id", re.IGNORECASE)
RANDOM = re.compile(r"(?=.*[A-Za-z])(?=.*\d)[\w.~+/=-]{16,}", re.ASCII)
JSON_WEB_TOKEN = re.compile(r"eyJ[\w.-]{37,}", re.ASCII)  # '{"', which every one begins with

SECRET_KEYS = re.compile(
    r"(?:API|SERVE|MEDIAAPIS)_KEY$|PASSWORD$|HEADERS$|TOKEN$|_SECRET$|_AUTH$|_HEARTBEAT_URL$|"
    r"_NOTIFY_(COMMAND|WEBHOOK_\w+|APPRISE_URLS)$"
)  # in a config file
# What may be secret in what only should be a URL; a proxy's is often written without its scheme.
IN_BROKEN_URL = re.compile(r"(?:(?<=//)|^(?!\w+://)).*@|\?.*")

# Of an episode: what others must find as it was submitted, and what is the publisher's own words.
EXACT = {"enclosure_url", "processed_url"}
CONTENT = {"guid", "title", "description", "known_by", "ad_removal_markers", "media_id"}


_known: re.Pattern[str] | None = None  # the secrets of the config, and what was learnt
_of_config: frozenset[str] = frozenset()
_learnt: deque[str] = deque(maxlen=64)  # tokens, which end within a day


def know(secrets: Iterable[str]) -> None:
    """Mask these secrets from now on, in place of those given before."""
    global _of_config  # one process has one config, and everything that is shown needs it
    _of_config = frozenset(secrets)
    _compile()


def learn(secret: str) -> None:
    """Mask this secret, too, which is none of the config's: a token that an API gave us."""
    _learnt.append(secret)
    _compile()


def _compile() -> None:
    global _known
    wanted = {one for one in (*_of_config, *_learnt) if len(one) >= SHORTEST_SECRET}
    patterns = []
    for secret in sorted(wanted, key=lambda secret: (-len(secret), secret)):  # longest first
        pattern = "".join(map(_forms, secret))
        if len(secret) < SHORTEST_TOKEN:  # must be a whole word, or it would eat other words
            pattern = rf"(?:(?<!\w)|(?<=%[0-9A-Fa-f]{{2}}))(?:{pattern})(?!\w)"
        patterns.append(pattern)
    _known = re.compile("|".join(patterns)) if patterns else None


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


def shortened(text: str, most: int = LONGEST_REASON) -> str:
    """Text, masked and then cut to `most` characters."""
    return masked(text)[:most]


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
    """What looks like a secret in a URL, if it can be masked elsewhere: tokens, the password."""
    found = [piece for piece, secret in _pieces(url) if secret and len(piece) >= SHORTEST_TOKEN]
    login = url.partition("://")[2].partition("/")[0].rpartition("@")[0]
    found.append(login.partition(":")[2])
    return sorted({form for piece in found for form in (piece, unquote(piece))} - {"", MASK})


def secrets_in_database_url(url: str) -> list[str]:
    """The same of a database's URL, whose user is no secret: often it is named feedwatch."""
    login = url.partition("://")[2].partition("/")[0].rpartition("@")[0]
    return [one for one in secrets_in(url) if one != login]


def secrets_in_address(url: str) -> list[str]:
    """What is secret of an address that whoever knows it can use: it, and what makes it unique."""
    segments = (unquote(piece) for piece in re.split(r"[/?&=#@:]+", url.partition("://")[2]))
    unique = [one for one in segments if RANDOM.fullmatch(one)]
    return [url, *unique, *secrets_in(url)]


def secrets_in_headers(headers: Mapping[str, str]) -> list[str]:
    """What is secret of header fields: each value, and within it each word and each cookie."""
    values = [text for name, text in headers.items() if not PUBLIC_HEADERS.fullmatch(name)]
    return [*values, *(word for text in values for word in _words(text))]


def secrets_in_arguments(arguments: Sequence[str]) -> list[str]:
    """What may be secret of a command's arguments: all but options and short plain words."""
    found = []
    for before, word in pairwise(["", *arguments]):
        option, _, value = word.partition("=") if word.startswith("-") else (before, "", word)
        is_named = option.startswith("-") and names_a_secret(option)
        looks_made = any(sign.isdigit() for sign in value) and not value.isdigit()
        if is_named or looks_made or len(value) >= SHORTEST_TOKEN:
            found += [value, *_words(value)]
            found += secrets_in_address(value) if "://" in value else []
    return found


def _words(value: str) -> list[str]:
    words = re.split(r"[\s;,]+", value)
    parts = words + [word.partition("=")[2].strip('"') for word in words]
    return [part for part in parts if len(part) >= SHORTEST_TOKEN]


def names_a_secret(name: str) -> bool:
    """Whether the value of a parameter, header or option with this name is secret."""
    words = NAME_WORDS.findall(unquote(name))
    return any(SECRET_WORDS.fullmatch(word.lower()) for word in words)


def masked_setting(key: str, value: str) -> str:
    """A value of the config, as an error about it may show it."""
    if SECRET_KEYS.search(key):
        return MASK
    return IN_BROKEN_URL.sub(MASK, value) if key.endswith(("_URL", "_PROXY", "_OUTPUT")) else value


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
        is_secret = names_a_secret(name) or (
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
