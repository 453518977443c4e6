"""Who asks: password and session, a trusted proxy's header, or a bearer token; and from where.

A browser sends its cookie along with whatever any page makes it send. So what changes something
must come from the page itself, which the browser says in headers that no page can set.
"""

import hashlib
import hmac
import secrets
import threading
import time
from collections import defaultdict, deque
from datetime import timedelta
from enum import IntEnum
from ipaddress import IPv6Address, ip_address

from werkzeug.wrappers import Request, Response

from feedwatch.core.printable import printable
from feedwatch.web.site import Access, Parts, Site

COOKIE = "feedwatch_session"
SESSION_LIFETIME = timedelta(hours=12)
MAX_ATTEMPTS = 5  # logins of one peer in a minute
MAX_ATTEMPTS_OF_ALL = 60
ATTEMPT_SECONDS = 60.0
MAX_NAME = 100  # characters of a proxy's user
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
SCRYPT_COST = 2**14  # some 50 ms


class Scope(IntEnum):
    """What a request may do."""

    NOTHING = 0
    READ = 1
    DECIDE = 2


class LoginLimit:
    """Counts logins, by the peer that they come from."""

    def __init__(self) -> None:
        self._attempts: dict[str, deque[float]] = defaultdict(deque)
        self._lock = threading.Lock()

    def is_reached(self, peer: str) -> bool:
        """Count an attempt of this peer; True if it has had enough of them for now."""
        now = time.monotonic()
        with self._lock:
            for name, times in list(self._attempts.items()):
                while times and times[0] <= now - ATTEMPT_SECONDS:
                    times.popleft()
                if not times:
                    del self._attempts[name]
            of_all = sum(len(times) for times in self._attempts.values())
            if len(self._attempts[peer]) >= MAX_ATTEMPTS or of_all >= MAX_ATTEMPTS_OF_ALL:
                return True
            self._attempts[peer].append(now)
        return False


class Guard:
    """Tells who asks, and whether to answer at all."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.access: Access = site.access
        self._salt = secrets.token_bytes(16)
        self._password = self._scrypt(self.access.password or "")
        self.logins = LoginLimit()

    def is_our_host(self, request: Request) -> bool:
        """Whether the page was asked for under its own name: another may be a rebound one."""
        host: str = request.environ.get("HTTP_HOST", "")
        return host.lower() == self.access.host

    def is_from_elsewhere(self, request: Request) -> bool:
        """Whether a request that changes something may come from a page that is not ours."""
        if request.method in SAFE_METHODS:
            return False
        site = request.headers.get("Sec-Fetch-Site")
        if site is not None:
            return site not in ("same-origin", "none")
        return request.headers.get("Origin") != self.access.origin

    def is_password(self, text: str) -> bool:
        """Whether this is the password."""
        given = self._scrypt(text[:1024])
        return self.access.password is not None and hmac.compare_digest(given, self._password)

    def person(self, request: Request) -> str | None:
        """Who looks at the page, as the history names them; None if nobody has logged in."""
        if self.access.user_header is not None:
            name = request.headers.get(self.access.user_header, "").strip()
            is_named = bool(name) and printable(name) == name and len(name) <= MAX_NAME
            return f"web:{name}" if is_named and self._is_trusted(request) else None
        token, parts = request.cookies.get(COOKIE), self._site.parts
        if self.access.password is None or token is None or parts is None:
            return None
        return parts.store.sessions.actor(self._token_hash(token), self._site.clock())

    def bearer(self, request: Request) -> Scope | None:
        """What the request's bearer token allows; None if it has none."""
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer":
            return None
        given = hashlib.sha256(token.strip().encode("utf-8", "replace")).digest()
        for wanted, scope in (
            (self.access.decide_token, Scope.DECIDE),
            (self.access.read_token, Scope.READ),
        ):
            if wanted is None:
                continue
            expected = hashlib.sha256(wanted.encode("utf-8", "replace")).digest()
            if hmac.compare_digest(given, expected):
                return scope
        return Scope.NOTHING

    def log_in(self, parts: Parts, response: Response) -> None:
        """Begin a session, and give its token to the browser."""
        token, now = secrets.token_urlsafe(32), self._site.clock()
        expires_at = now + SESSION_LIFETIME
        parts.store.sessions.open(self._token_hash(token), "web:password", now, expires_at)
        response.set_cookie(
            COOKIE,
            token,
            max_age=SESSION_LIFETIME,
            path=self.access.prefix or "/",
            httponly=True,
            samesite="Strict",
            secure=self.access.is_secure,
        )

    def log_out(self, parts: Parts, request: Request, response: Response) -> None:
        """End the session, whatever copies of its token there are."""
        token = request.cookies.get(COOKIE)
        if token is not None:
            parts.store.sessions.close(self._token_hash(token))
        response.delete_cookie(COOKIE, path=self.access.prefix or "/")

    def _is_trusted(self, request: Request) -> bool:
        """By the socket's peer, which nobody can forge, and by no header."""
        try:
            peer = ip_address(request.environ.get("REMOTE_ADDR", ""))
        except ValueError:
            return False
        if isinstance(peer, IPv6Address) and peer.ipv4_mapped is not None:
            peer = peer.ipv4_mapped
        return any(peer in network for network in self.access.trusted_proxies)

    def _token_hash(self, token: str) -> str:
        """With the password in it: another password ends all sessions."""
        secret = (self.access.password or "").encode()
        return hmac.new(secret, token.encode(), hashlib.sha256).hexdigest()

    def _scrypt(self, text: str) -> bytes:
        return hashlib.scrypt(
            text.encode("utf-8", "surrogatepass"), salt=self._salt, n=SCRYPT_COST, r=8, p=1
        )
