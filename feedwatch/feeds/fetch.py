"""Fetches a feed: one conditional GET, bounded in time and in size."""

import re
from contextlib import closing
from dataclasses import replace
from itertools import chain
from typing import overload

import httpx

from feedwatch.core.feed import (
    Address,
    Document,
    Failed,
    Feed,
    Fetched,
    Gone,
    Links,
    NotModified,
    Same,
)
from feedwatch.core.masking import shortened
from feedwatch.core.settings import FeedConfig, feed_key
from feedwatch.feeds.hashes import packed_hash, packed_hash_in
from feedwatch.feeds.links import links_of
from feedwatch.feeds.polling_hints import fresh_for, hints_of
from feedwatch.net.address_scope import Scope
from feedwatch.net.client import (
    CONNECT_SECONDS,
    TooPrivateError,
    deadline,
    described,
    limit_scope,
    read_bounded,
    retry_after,
    scope_of,
)
from feedwatch.net.decompress import ACCEPTED

SECONDS = 60.0  # for the whole of it, redirects and body included
MAX_BYTES = 50_000_000  # unpacked; the largest real feed seen has 4 million
MOST_HELD = 1_000_000  # bytes of a body that are hashed before they are unpacked; few have more
MAX_REDIRECTS = 10
PERMANENT = (301, 308)
ACCESS_KEYS = ("USERNAME", "PASSWORD", "HEADERS", "USER_AGENT")
ACCEPT = (
    "application/rss+xml, application/atom+xml, application/rdf+xml;q=0.9, "
    "application/xml;q=0.8, text/xml;q=0.8, */*;q=0.1"
)
CHARSET = re.compile(r"""(?i)[;,\s]charset\s*=[\s"']*([\w.:-]+)""")  # of a content type


@overload
def fetch(
    client: httpx.Client, source: FeedConfig, known: Feed | None, moved: Address | None = None
) -> Fetched: ...
@overload
def fetch(
    client: httpx.Client,
    source: FeedConfig,
    known: Feed | None,
    moved: Address | None,
    last: Feed | None,
) -> Fetched | Same: ...
def fetch(
    client: httpx.Client,
    source: FeedConfig,
    known: Feed | None,
    moved: Address | None = None,
    last: Feed | None = None,
) -> Fetched | Same:
    """Conditional GET of a feed: with `known`, only if it has changed since (RFC 9110, section 13).

    With `moved`, from that address. With `last`, the bytes that came for its last good document are
    not unpacked again: the document of `Same` has no body then. Whatever a server does is a value,
    never raised. `client` must not follow redirects: here credentials and headers are kept from
    every other origin, and no redirect leads to an address more private than the configured one.
    """
    try:
        with deadline(SECONDS):
            return _follow(client, source, known, moved, last)
    except httpx.TimeoutException as error:
        return Failed(f"no complete answer in time ({shortened(described(error))})")
    except TooPrivateError as error:
        return Failed(f"redirects to a private address ({error}), refused")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return Failed(f"could not be fetched ({shortened(described(error))})")


def _follow(
    client: httpx.Client,
    source: FeedConfig,
    known: Feed | None,
    moved: Address | None,
    last: Feed | None,
) -> Fetched | Same:
    home = httpx.URL(source.url)
    url = httpx.URL(moved.url) if moved is not None else home
    most = Scope(moved.scope) if moved is not None else Scope.SPECIAL  # home: the operator's choice
    permanent: bool | None = None  # whether all redirects so far were; None: there was none
    credentials = (home.username, home.password) if home.userinfo else None
    if source.username:
        credentials = source.username, source.password or ""
    cookies = httpx.Cookies()  # of this fetch alone: some servers redirect until they get theirs
    for hop in range(MAX_REDIRECTS + 1):
        own = _origin(url) == _origin(home)
        request = client.build_request(
            "GET",
            url,
            headers=_headers(source, known) | (source.headers if own else {}),
            timeout=httpx.Timeout(SECONDS, connect=CONNECT_SECONDS),
        )
        if cookies:  # it takes long to find that there are none
            cookies.set_cookie_header(request)
        auth = credentials if own else None
        with limit_scope(most), closing(client.send(request, auth=auth, stream=True)) as response:
            if hop == 0 and moved is None:
                most = scope_of(response)
            if not response.has_redirect_location:
                there = Address(url=_bare(url), scope=most) if permanent else None
                return _answer(source, response, there, most, last)
            cookies.extract_cookies(response)
            url, before = url.join(response.headers["location"]), url
            if url.scheme not in ("http", "https"):
                return Failed(f"redirects to a {url.scheme!r} address")
            safe = url.scheme == "https" or before.scheme == "http"  # never back to plain text
            permanent = permanent is not False and response.status_code in PERMANENT and safe
    return Failed(f"more than {MAX_REDIRECTS} redirects")


def _bare(url: httpx.URL) -> str:
    """A feed's URL without its password, which enclosures must not inherit and nobody may see."""
    return str(url.copy_with(userinfo=b"", fragment=None))


def _headers(source: FeedConfig, known: Feed | None) -> dict[str, str]:
    headers = {
        "accept": ACCEPT,
        "accept-encoding": ACCEPTED,
        "if-none-match": known and known.etag,
        "if-modified-since": known and known.last_modified,
        "user-agent": source.user_agent,
    }
    return {name: value for name, value in headers.items() if value}


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _answer(
    source: FeedConfig,
    response: httpx.Response,
    moved: Address | None,
    scope: Scope,
    last: Feed | None,
) -> Fetched | Same:
    match response.status_code:
        case 200 | 203:  # 203: a proxy has changed it on the way
            return _document(source, response, moved, scope, last)
        case 304 if response.request.headers.keys() & {"if-none-match", "if-modified-since"}:
            return NotModified(http_max_age=fresh_for(response.headers), moved=moved)
        case 304:
            return Failed("the server answered 304 to a request without conditions")
        case 410:
            return Gone()
        case 401 | 403 as status:
            return Failed(
                f"the server answered {status}: it wants credentials or refuses this client (see "
                + ", ".join(feed_key(source.name, field) for field in ACCESS_KEYS)
                + ")"
            )
        case status:
            phrase = shortened(response.reason_phrase)
            return Failed(f"the server answered {status} {phrase}".rstrip(), retry_after(response))


def _document(
    source: FeedConfig,
    response: httpx.Response,
    moved: Address | None,
    scope: Scope,
    last: Feed | None,
) -> Document | Failed | Same:
    charset, named = CHARSET.search(response.headers.get("content-type", "")), _named(response)
    document = Document(
        body=b"",
        url=_bare(response.url),
        charset=charset[1] if charset else None,
        etag=_sendable(response.headers.get("etag")),
        last_modified=_sendable(response.headers.get("last-modified")),
        http_max_age=fresh_for(response.headers),
        scope=scope,
        moved=moved,
    )
    pieces = response.iter_raw()
    begin, size = [], 0
    while size <= MOST_HELD and (piece := next(pieces, None)) is not None:
        begin.append(piece)
        size += len(piece)
    is_all = size <= MOST_HELD
    if is_all:
        coding = response.headers.get("content-encoding")
        read_as = (coding, document.charset, document.url, sorted(named.items()))
        document = replace(document, packed_hash=packed_hash(begin, source.rules, read_as))
    if last is not None and is_all and document.packed_hash == packed_hash_in(last.body_hash):
        links = Links(hub=last.hub, itself=last.hub_topic)
        return Same(document=replace(document, body_hash=last.body_hash, links=links))
    body = read_bounded(response, MAX_BYTES, chain(begin, pieces))
    if body is None:
        return Failed(f"larger than {MAX_BYTES // 1_000_000} MB")
    links = links_of(body, document.url, named)
    return replace(document, body=body, hints=hints_of(body), links=links)


def _named(response: httpx.Response) -> dict[str, str]:
    """The addresses of the header `Link` by their relations, as far as somebody asks for them."""
    links = response.links
    return {name: links[name]["url"] for name in ("hub", "self") if name in links}


def _sendable(validator: str | None) -> str | None:
    """A validator, if a conditional GET can send it back as it came."""
    usable = validator is not None and validator.isascii() and validator.isprintable()
    return validator if usable else None
