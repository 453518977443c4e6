"""Callbacks: a media API tells that a job has ended. They only make its next poll due.

Whoever knows a token can have one GET sent, at most every ten seconds; nobody can change a state.
A callback that is lost, late, doubled, forged or too early costs at most that GET: the ordinary
polls go on.
"""

import time
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from threading import Lock

from feedwatch.store.store import Store

PATH = "/callbacks/{processor}/{token}"
SECONDS_APART = 10.0  # of what one token brings about
MOST_KEPT = 10_000  # tokens


class Callbacks:
    """The tokens that may call back. Strangers cost no read of the database."""

    _store: Store  # from `begin` on
    _clock: Callable[[], datetime]

    def __init__(self, public_url: str) -> None:
        """`public_url` is the public side's address."""
        self._public_url = public_url.rstrip("/")
        self._lock = Lock()
        self._heard: dict[bytes, float] = {}  # by hash: when it last had an effect

    def begin(self, store: Store, clock: Callable[[], datetime]) -> None:
        """Know the jobs that are under way, too, now that there are a database and loops.

        `clock` is the loops' own.
        """
        self._store, self._clock = store, clock
        for processor, token in store.episodes.tokens_under_way():
            self._expect(processor, token)

    def address(self, processor: str, token: str) -> str:
        """Where a job tells of its end; from now on its token is known."""
        self._expect(processor, token)
        return self._public_url + PATH.format(processor=processor, token=token)

    def hear(self, processor: str, token: str) -> bool:
        """Somebody called; whether the token is known. Raises `StoreError`."""
        mark, now = _mark(processor, token), time.monotonic()
        with self._lock:
            last = self._heard.get(mark)
            if last is None or now - last < SECONDS_APART:
                return last is not None
            self._heard[mark] = now
        self._store.episodes.hasten(token, self._clock())
        return True

    def _expect(self, processor: str, token: str) -> None:
        with self._lock:
            self._heard.setdefault(_mark(processor, token), -SECONDS_APART)
            while len(self._heard) > MOST_KEPT:
                del self._heard[next(iter(self._heard))]


def _mark(processor: str, token: str) -> bytes:
    return sha256(f"{processor}/{token}".encode()).digest()
