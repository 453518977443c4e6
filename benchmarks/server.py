"""A publisher of many feeds on loopback, for benchmarks: what it answers is set by a request.

    GET /feed/N        the feed, packed with gzip if that is asked for
    GET /mode/MODE     from now on: "304", "same", "new" (one item more), "build" (another
                       lastBuildDate); the document stays as it was last made
    GET /mode/MODE/N   so, and of the documents only that of feed N is changed

Run as `python -m benchmarks.server FOLDER COUNT [CERTIFICATES]`, on every loopback address. The
first line of output is its port, and with a folder of `server.pem` and `server.key` that for TLS
behind it. Feed COUNT is a small one more, by which the cost of a start is measured.
"""

import gzip
import random
import re
import socket
import ssl
import sys
import threading
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SIZES = (
    20_000,
    60_000,
    120_000,
    200_000,
    300_000,
    500_000,
    900_000,
    2_000_000,
)  # as real ones have


def documents(folder: Path | None, count: int) -> list[bytes]:
    """`count` feeds from a folder of real ones, over and over, or made up in the same sizes.

    Sorted by size: of every four in a row the first and the last weigh as much as the others.
    """
    if folder is None or not folder.is_dir():
        made = [_made_up(number, SIZES[number % len(SIZES)]) for number in range(count)]
    else:
        paths = sorted(folder.glob("*.xml"))
        made = [paths[number % len(paths)].read_bytes() for number in range(count)]
    return sorted(made, key=len)


def _made_up(number: int, size: int) -> bytes:
    dice = random.Random(number)  # noqa: S311 - nothing secret
    words = ["podcast", "story", "history", "science", "today", "people", "night", "river", "music"]
    items: list[str] = []
    length = 0
    while length < size:
        index = 10_000 - len(items)
        text = " ".join(dice.choices(words, k=300))
        day = 1 + len(items) % 28
        items.append(
            f"<item><title>Episode {index}</title><guid>{number}-{index}</guid>"
            f"<pubDate>Mon, {day:02} Jan {2020 - len(items) // 336} 06:00:00 GMT</pubDate>"
            f"<description><![CDATA[<p>{text}</p>]]></description>"
            f"<content:encoded><![CDATA[<p>{text}</p>]]></content:encoded>"
            "<itunes:duration>1800</itunes:duration>"
            f'<enclosure url="https://media.example/{number}/{index}.mp3" type="audio/mpeg"/>'
            "</item>"
        )
        length += len(items[-1])
    return (
        '<?xml version="1.0" encoding="UTF-8"?><rss version="2.0" '
        'xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd" '
        'xmlns:content="http://purl.org/rss/1.0/modules/content/">'
        f"<channel><title>Show {number}</title><lastBuildDate>x</lastBuildDate>{''.join(items)}"
        "</channel></rss>"
    ).encode()


def with_new_item(document: bytes, number: int) -> bytes:
    """The document with a copy of its first item before it, which is another episode."""
    first = re.search(rb"(?s)<item[\s>].*?</item>|<entry[\s>].*?</entry>", document)
    if first is None:
        return document
    tag = f"new-{number}".encode()
    item = re.sub(
        rb"(?s)(<(?:guid|id)\b[^>]*>).*?(</(?:guid|id)>)", rb"\g<1>" + tag + rb"\2", first[0]
    )
    item = re.sub(rb"(?s)(<title\b[^>]*>).*?(</title>)", rb"\g<1>" + tag + rb"\2", item, count=1)
    # Dated now: what is older than a feed's first check is held, by its FIRST_RUN.
    today = format_datetime(datetime.now(UTC), usegmt=True).encode()
    item = re.sub(rb"(?s)(<pubDate\b[^>]*>).*?(</pubDate>)", rb"\g<1>" + today + rb"\2", item)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    item = re.sub(rb"(?s)(<published>|<updated>).*?(?=</)", rb"\g<1>" + now, item)
    item = re.sub(rb"""(\burl=["']https?://)""", rb"\1" + tag + b".", item)
    return document[: first.start()] + item + document[first.start() :]


def with_build_date(document: bytes, number: int) -> bytes:
    """The document with another time of its making in its head."""
    date = f"<lastBuildDate>Sat, 21 Nov 2026 12:{number % 60:02}:00 GMT</lastBuildDate>".encode()
    changed, found = re.subn(rb"(?s)<lastBuildDate>.*?</lastBuildDate>", date, document, count=1)
    if found:
        return changed
    return re.sub(rb"(?s)(<channel\b[^>]*>)", rb"\1" + date, document, count=1)


class Feed:
    """One document as it is served now."""

    def __init__(self, document: bytes) -> None:
        self.set(document)

    def set(self, document: bytes) -> None:
        self.document = document
        self.packed = gzip.compress(document, 6, mtime=0)
        self.etag = f'"{sha256(document).hexdigest()[:16]}"'


def serve(feeds: list[Feed], certificates: Path | None) -> None:
    """Serve until killed."""
    mode, number = "304", 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _, kind, value, *which = self.path.split("/")
            if kind == "mode":
                self._change(value, [feeds[int(one)] for one in which] or feeds)
            else:
                self._feed(feeds[int(value)])

        def _change(self, wanted: str, which: list[Feed]) -> None:
            nonlocal mode, number
            mode = wanted
            if mode in ("new", "build"):
                number += 1
                change = with_new_item if mode == "new" else with_build_date
                for feed in which:
                    feed.set(change(feed.document, number))
            self._answer(200, b"", {})

        def _feed(self, feed: Feed) -> None:
            headers = {"ETag": feed.etag, "Content-Type": "application/rss+xml"}
            if mode == "304" and self.headers.get("If-None-Match") == feed.etag:
                self._answer(304, b"", headers)
            elif "gzip" in self.headers.get("Accept-Encoding", ""):
                self._answer(200, feed.packed, headers | {"Content-Encoding": "gzip"})
            else:
                self._answer(200, feed.document, headers)

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, text in headers.items():
                self.send_header(name, text)
            if status != 304:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 512

    class SecureServer(Server):
        """Issues tickets, as OpenSSL does by itself; shakes hands in the connection's thread."""

        def finish_request(self, request: Any, client_address: Any) -> None:
            request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with context.wrap_socket(request, server_side=True) as secure:
                super().finish_request(secure, client_address)

        def handle_error(self, *_: object) -> None:
            """A client that goes away is no news."""

    servers: list[Server] = [Server(("0.0.0.0", 0), Handler)]  # noqa: S104 - on loopback
    if certificates is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        servers.append(SecureServer(("0.0.0.0", 0), Handler))  # noqa: S104
    print(*(server.server_port for server in servers), flush=True)
    for server in servers[1:]:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    servers[0].serve_forever()


if __name__ == "__main__":
    stated = Path(sys.argv[1]) if sys.argv[1] else None
    published = [*documents(stated, int(sys.argv[2])), _made_up(1_000_000, 1000)]
    serve([Feed(one) for one in published], Path(sys.argv[3]) if sys.argv[3:] else None)
