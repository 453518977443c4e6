"""Site: what page and API work with, and who may use them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from urllib.parse import urlsplit

from feedwatch.core.admission import Decision
from feedwatch.core.circuit_breaker import CircuitBreaker, as_one
from feedwatch.core.settings import FeedConfig
from feedwatch.core.status import Finding
from feedwatch.store.store import Store
from feedwatch.watcher.context import Plan
from feedwatch.watcher.decisions import Proposal, TargetsOf

HTTP_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may see the page, who may use the API, and under which address."""

    url: str  # the page's own origin, behind a proxy with its path
    password: str | None = field(default=None, repr=False)
    user_header: str | None = None
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    read_token: str | None = field(default=None, repr=False)
    decide_token: str | None = field(default=None, repr=False)

    @property
    def has_page(self) -> bool:
        """Whether anybody may see the page."""
        return self.password is not None or self.user_header is not None

    @property
    def has_api(self) -> bool:
        """Whether anybody may use the API."""
        return self.has_page or self.read_token is not None or self.decide_token is not None

    @property
    def origin(self) -> str:
        """The origin of the page, as browsers write it in `Origin`."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{self.host}"

    @property
    def host(self) -> str:
        """The host of the page, as browsers write it in `Host`: without a default port."""
        parts = urlsplit(self.url)
        name = (parts.hostname or "").lower()
        name = f"[{name}]" if ":" in name else name
        usual = parts.port in (None, HTTP_PORTS[parts.scheme])
        return name if usual else f"{name}:{parts.port}"

    @property
    def prefix(self) -> str:
        """The path of the page behind its proxy, without a slash at its end."""
        return urlsplit(self.url).path.rstrip("/")

    @property
    def is_secure(self) -> bool:
        """Whether browsers come by TLS."""
        return urlsplit(self.url).scheme == "https"


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What would become of a feed's items, or why they could not be read."""

    decisions: Sequence[Decision] = ()
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the verb that serves has put together, once its database is open."""

    store: Store
    plan: Callable[[], Plan]
    targets_of: TargetsOf
    adopt: Callable[[int, str, datetime], Proposal]  # asks the media API
    retry: Callable[[int, datetime], Proposal]  # asks it for the job that there is
    dry_run: Callable[[FeedConfig, datetime], DryRun]
    diagnose: Callable[[], Sequence[Finding]]
    journal: Sequence[Path] = ()  # the places where it may be
    public_url: str | None = None  # where feeds are served; None: nowhere
    facts: Sequence[tuple[str, str]] = ()  # of the config: what needs a restart

    def breaker(self) -> CircuitBreaker:
        """Those of all media APIs as one."""
        return as_one(self.store.breakers.of(self.plan().processors))


@dataclass(kw_only=True)
class Site:
    """What page and API work with. They are served from the start, before there are any parts."""

    access: Access
    parts: Parts | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
