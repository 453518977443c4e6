"""A hub of the tests' own (WebSub): it takes subscriptions, verifies them, and pushes."""

import hashlib
import hmac
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode

import httpx

from tests.support import PATIENCE, Loopback

TOPIC = "https://publisher.example.org/feed.xml"


@dataclass(kw_only=True)
class Request:
    """What a subscriber asked for."""

    fields: dict[str, str]
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def mode(self) -> str:
        return self.fields["hub.mode"]

    @property
    def callback(self) -> str:
        return self.fields["hub.callback"]


class Hub(Loopback):
    """Verifies at once, before it answers, unless `verifies` is set to False."""

    def __init__(self, lease: int | None = 600) -> None:
        self.over = threading.Event()
        self.requests: list[Request] = []
        self.verified: list[int] = []  # the status that each verification got
        self.status = 202
        self.location: str | None = None
        self.verifies = True
        self.lease = lease
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                fields = {name: values[0] for name, values in parse_qs(body).items()}
                headers = {name.lower(): value for name, value in self.headers.items()}
                hub.requests.append(Request(fields=fields, headers=headers))
                if hub.verifies and hub.status == 202:
                    hub.verified.append(hub.verify(hub.requests[-1]))
                self.send_response(hub.status)
                if hub.location is not None:
                    self.send_header("Location", hub.location)
                self.end_headers()

            def log_message(self, format: str, *_: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/hub"

    @property
    def last(self) -> Request:
        return self.requests[-1]

    def verify(self, asked: Request, challenge: str = "a challenge", **other: str) -> int:
        """Ask back what was meant; the status, or 0 if the challenge did not come back."""
        said = {"hub.mode": asked.mode, "hub.topic": asked.fields["hub.topic"]}
        said |= {"hub.challenge": challenge}
        if self.lease is not None:
            said |= {"hub.lease_seconds": str(self.lease)}
        said |= {f"hub.{name}": value for name, value in other.items()}
        got = httpx.get(f"{asked.callback}?{urlencode(said)}", timeout=PATIENCE)
        return got.status_code if got.status_code != 200 or got.text == challenge else 0

    def push(
        self,
        body: bytes = b"<rss/>",
        *,
        to: Request | None = None,
        secret: str | None = None,
        algorithm: str = "sha256",
        signature: str | None = None,
    ) -> int:
        """Say that a feed has changed; the status of the answer."""
        subscriber = to or self.last
        secret = secret or subscriber.fields.get("hub.secret", "")
        signed = hmac.new(secret.encode(), body, getattr(hashlib, algorithm, "sha256"))
        given = f"{algorithm}={signed.hexdigest()}" if signature is None else signature
        headers = {b"X-Hub-Signature": given.encode()} if given else {}
        return httpx.post(
            subscriber.callback, content=body, headers=headers, timeout=PATIENCE
        ).status_code


def with_hub(document: bytes, hub: str, topic: str | None = TOPIC) -> bytes:
    """The document with a hub, and with what it calls itself."""
    links = f'<atom:link xmlns:atom="http://www.w3.org/2005/Atom" rel="hub" href="{hub}"/>'
    if topic is not None:
        links += f'<atom:link xmlns:atom="http://www.w3.org/2005/Atom" rel="self" href="{topic}"/>'
    return document.replace(b"<channel>", f"<channel>{links}".encode())
