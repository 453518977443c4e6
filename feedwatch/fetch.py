"""One conditional GET of a feed, bounded in time and in size."""

import httpx

from feedwatch.codings import ACCEPTED
from feedwatch.model import Document, Failed, Feed, Fetched, Gone, NotModified, Source
from feedwatch.wire import described, read_bounded, retry_after, within

SECONDS = 60.0  # for the whole of it, redirects and body included
MAX_BYTES = 50_000_000  # unpacked; the largest real feed seen has 4 million
MAX_REDIRECTS = 10
ACCEPT = (
    "application/rss+xml, application/atom+xml, application/rdf+xml;q=0.9, "
    "application/xml;q=0.8, text/xml;q=0.8, */*;q=0.1"
)


def fetch(client: httpx.Client, source: Source, known: Feed | None) -> Fetched:
    """GET a feed; with `known`, only if it has changed since (RFC 9110, section 13).

    Raises nothing for what a server does. `client` follows no redirects by itself: here the feed's
    credentials and headers are kept from
    every other origin.
    """
    try:
        with within(SECONDS):
            return _follow(client, source, known)
    except httpx.TimeoutException as error:
        return Failed(f"no complete answer in time ({described(error)})")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return Failed(f"could not be fetched ({described(error)})")


def _follow(client: httpx.Client, source: Source, known: Feed | None) -> Fetched:
    url = home = httpx.URL(source.url)
    for _ in range(MAX_REDIRECTS + 1):
        own = _origin(url) == _origin(home)
        auth = (source.username or "", source.password or "") if own and source.username else None
        headers = _headers(source, known, own=own)
        with client.stream("GET", url, headers=headers, auth=auth) as response:
            if not response.has_redirect_location:
                return _answer(response)
            url = url.join(response.headers["location"])
            if url.scheme not in ("http", "https"):
                return Failed(f"redirects to a {url.scheme!r} address")
    return Failed(f"more than {MAX_REDIRECTS} redirects")


def _headers(source: Source, known: Feed | None, *, own: bool) -> dict[str, str]:
    headers = {"accept": ACCEPT, "accept-encoding": ACCEPTED}
    if known is not None and known.etag:
        headers["if-none-match"] = known.etag
    if known is not None and known.last_modified:
        headers["if-modified-since"] = known.last_modified
    if source.user_agent:
        headers["user-agent"] = source.user_agent
    if own:
        headers.update(source.headers)
    return headers


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _answer(response: httpx.Response) -> Fetched:
    match response.status_code:
        case 200:
            return _document(response)
        case 304 if response.request.headers.keys() & {"if-none-match", "if-modified-since"}:
            return NotModified()
        case 304:
            return Failed("the server answered 304 to a request without conditions")
        case 410:
            return Gone()
        case 401 | 403 as status:
            return Failed(
                f"the server answered {status}: it wants credentials or refuses this client "
                "(see USERNAME, PASSWORD, HEADERS and USER_AGENT of the feed)"
            )
        case status:
            reason = f"the server answered {status} {response.reason_phrase}".rstrip()
            return Failed(reason, retry_after(response))


def _document(response: httpx.Response) -> Document | Failed:
    body = read_bounded(response, MAX_BYTES)
    if body is None:
        return Failed(f"larger than {MAX_BYTES // 1_000_000} MB")
    return Document(
        body=body,
        url=str(response.url.copy_with(userinfo=b"")),  # enclosures must not inherit a password
        etag=_sendable(response.headers.get("etag")),
        last_modified=_sendable(response.headers.get("last-modified")),
    )


def _sendable(validator: str | None) -> str | None:
    """A validator that can be sent back as it came."""
    usable = validator is not None and validator.isascii() and validator.isprintable()
    return validator if usable else None
