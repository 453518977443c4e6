"""Bearer tokens for an app key and secret: OAuth 2.0's client credentials (RFC 6749, section 4.4).

A token is fetched before the one at hand ends, and never between a claim and its POST: `at_hand`
asks nobody.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock

import httpx

from feedwatch.core.job import Later
from feedwatch.core.masking import learn, shortened
from feedwatch.net.client import deadline, described, retry_after
from feedwatch.processors.clocks import moment
from feedwatch.processors.http import (
    ABOUT_US,
    READ_SECONDS,
    UndecodableError,
    bounded,
    excerpt,
    json_object,
)

EARLY_SECONDS = 300.0  # before a token's end it is renewed, or when a fifth of its life is left
RETRIED_SECONDS = 30.0  # after a renewal that failed, while the token at hand is good
LONGEST = 2**31  # seconds that a token may live
REFUSED = {400, 403, 404, 405} | ABOUT_US  # of the token call, which a person must mend
TOKEN = re.compile(r"[!-~]{1,16000}")


@dataclass(frozen=True)
class _Token:
    text: str
    renewed_at: float  # by the clock that stands still for nothing
    ends_at: float


class Bearer:
    """The one token of a key, shared by all threads."""

    def __init__(
        self,
        client: httpx.Client,
        *,
        path: str,
        keys: str,
        lifetime: int,
        clock: Callable[[], float] = lambda: moment().boot,
    ) -> None:
        """`client` has the token host's base URL, and key and secret as its Basic auth.

        `keys` names the config's keys to mend where it is refused. `lifetime` is what is asked for,
        and `clock` tells the time, both in seconds.
        """
        self._client = client
        self._path = path
        self._keys = keys
        self._lifetime = lifetime
        self._clock = clock
        self._lock = Lock()
        self._token: _Token | None = None
        self._calls = 0  # that have ended
        self._failure: Later | None = None  # of the last one

    def at_hand(self) -> str | None:
        """A token that has not ended; None without one. Nothing is asked for."""
        token = self._token
        return token.text if token is not None and self._clock() < token.ends_at else None

    def fetched(self) -> str | Later:
        """A token that is good for a while: fetched, if the one at hand ends soon.

        Who has waited for another thread's call that failed does not call as well: where the host
        keeps silent, each would wait for its time.
        """
        calls = self._calls
        with self._lock:
            token, now = self._token, self._clock()
            if token is not None and now < token.renewed_at:
                return token.text
            if self._failure is not None and self._calls > calls:
                return self._failure
            fresh = self._fetch(now)
            self._calls += 1
            self._failure = fresh if isinstance(fresh, Later) else None
            if isinstance(fresh, _Token):
                self._token = fresh
                return fresh.text
            if token is not None and now < token.ends_at:
                self._token = replace(token, renewed_at=now + RETRIED_SECONDS)
                return token.text
            return fresh

    def drop(self, text: str) -> None:
        """Forget a token that was refused, unless another thread has fetched a new one."""
        with self._lock:
            if self._token is not None and self._token.text == text:
                self._token = None

    def _fetch(self, now: float) -> _Token | Later:
        form = {"grant_type": "client_credentials", "expires_in": str(self._lifetime)}
        request = self._client.build_request("POST", self._path, data=form)
        try:
            with deadline(READ_SECONDS):
                response = bounded(self._client, request)
        except (httpx.RequestError, httpx.InvalidURL, UndecodableError) as error:
            why = shortened(described(error))
            return Later(f"no token can be fetched ({why})", sent=False)
        answer, status = json_object(response) or {}, response.status_code
        text, life = answer.get("access_token"), answer.get("expires_in", self._lifetime)
        is_usable = isinstance(text, str) and TOKEN.fullmatch(text)
        lives = isinstance(life, int) and 0 < life < LONGEST
        if not response.is_success or not is_usable or not lives:
            # What a success says may be a token: it is not quoted.
            said = f"{status}, no token" if response.is_success else excerpt(response)
            is_ours = status in REFUSED or response.is_success
            reason = f"the token call answered {said}"
            if is_ours:
                reason = f"{reason}: see {self._keys}"
            return Later(reason, retry_after(response), blocked=is_ours, sent=False)
        learn(str(text))
        early = min(EARLY_SECONDS, life / 5)
        return _Token(str(text), now + life - early, now + life)
