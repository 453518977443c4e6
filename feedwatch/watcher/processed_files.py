"""Processed files: asks their servers for what a served feed says of them, length and type."""

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from urllib.parse import urlsplit

import httpx

from feedwatch.core.served import FileAnswer, FileFacts, ServedEpisode, asked
from feedwatch.net.address_scope import Scope
from feedwatch.net.client import TooPrivateError, deadline, limit_scope

SECONDS = 10.0  # for one file, redirects included
MAX_REDIRECTS = 5
MAX_CONCURRENT_READS = 4
PER_ROUND = 40
LENGTH = re.compile("[1-9][0-9]{0,14}")
MEDIA_TYPE = re.compile(r"(?:audio|video)/[a-z0-9.+-]{1,80}")
NO_ANSWER = FileAnswer(has_file=False)
ERRORS = (httpx.HTTPError, httpx.InvalidURL, TooPrivateError, ValueError)


class ProcessedFiles:
    """Asks for several files at once. `client` must not follow redirects."""

    def __init__(
        self, client: httpx.Client, most: Callable[[], Scope], clock: Callable[[], datetime]
    ) -> None:
        """`most` tells the most private address that a file may be at now."""
        self._client = client
        self._most = most
        self._clock = clock

    def ask(
        self, episodes: Sequence[ServedEpisode], until: float = math.inf
    ) -> Mapping[int, FileFacts]:
        """What is known of the episodes' files now, by the ids of those that were asked for.

        Nothing more is asked after `until`, by the monotonic clock. Where a server keeps silent, it
        counts as asked for all of its files: each of them would take as long.
        """
        found: dict[int, FileFacts] = {}
        left = [(one, one.processed_url) for one in episodes if one.processed_url]
        with ThreadPoolExecutor(MAX_CONCURRENT_READS, "processed") as pool:
            for _ in range(PER_ROUND // MAX_CONCURRENT_READS):
                if not left or time.monotonic() >= until:
                    break
                some, left = left[:MAX_CONCURRENT_READS], left[MAX_CONCURRENT_READS:]
                heard, silent = set[str](), set[str]()
                answers = pool.map(self._ask, [url for _, url in some])
                for (one, url), answer in zip(some, answers, strict=True):
                    found[one.id] = asked(one, url, answer or NO_ANSWER, self._clock())
                    (silent if answer is None else heard).add(urlsplit(url).netloc)
                for one, url in left:
                    if urlsplit(url).netloc in silent - heard:
                        found[one.id] = asked(one, url, NO_ANSWER, self._clock())
                left = [(one, url) for one, url in left if one.id not in found]
        return found

    def _ask(self, url: str) -> FileAnswer | None:
        """By HEAD, and by a GET of one byte where that does not tell; None: neither is answered."""
        answer: FileAnswer | None = None
        for method, headers in (("HEAD", {}), ("GET", {"range": "bytes=0-0"})):
            try:
                with deadline(SECONDS), self._response(method, url, headers) as response:
                    told = _read(response)
            except ERRORS:
                continue
            if told.length is not None:
                return told
            answer = answer if answer is not None and answer.has_file else told
        return answer

    @contextmanager
    def _response(
        self, method: str, url: str, headers: Mapping[str, str]
    ) -> Iterator[httpx.Response]:
        """The answer at the end of redirects. Nothing is sent to a more private address."""
        at = httpx.URL(url)
        for _ in range(MAX_REDIRECTS):
            with (
                limit_scope(self._most()),
                self._client.stream(
                    method, at, headers={"accept-encoding": "identity", **headers}
                ) as response,
            ):
                if not response.has_redirect_location:
                    yield response
                    return
                at = at.join(response.headers["location"])
        raise httpx.TooManyRedirects("too many redirects")


def _read(response: httpx.Response) -> FileAnswer:
    length = ""
    if response.status_code == httpx.codes.PARTIAL_CONTENT:
        length = response.headers.get("content-range", "").rpartition("/")[2]
    elif response.status_code != httpx.codes.OK:
        return NO_ANSWER
    elif "content-encoding" not in response.headers:
        length = response.headers.get("content-length", "")
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return FileAnswer(
        length=int(length) if LENGTH.fullmatch(length) else None,
        type=kind if MEDIA_TYPE.fullmatch(kind) else None,
    )
