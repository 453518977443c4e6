"""What a request over TLS by a new connection costs the client, with a session and without.

    python -m benchmarks.tls

CPU of the client's thread alone, in turn with sessions and without them; the publisher is another
process. Its certificate has one of an authority between, as public ones have.
"""

import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from feedwatch.net import client as net_client
from tests.tls import CURVE, make_authority

ROOT = Path(__file__).parent.parent
ROUNDS = 8
REQUESTS = 25  # in a row, with sessions or without
HEAD = b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nConnection: close\r\n\r\n"
KEYS = {"RSA-2048": "rsa:2048", "ECDSA P-256": CURVE}
make_context = net_client._tls_context.__wrapped__  # that of a process that has just begun
SERVERS = ("TLS 1.3", "TLS 1.2", "TLS 1.3 without tickets")


def main() -> None:
    """Measure and print."""
    for key, made in KEYS.items():
        with tempfile.TemporaryDirectory() as name:
            authority = make_authority(Path(name), made, by_another=True)
            os.environ["SSL_CERT_FILE"] = str(authority)
            for server in SERVERS:
                with publisher(Path(name), server) as port:
                    print(f"{key}, {server}: {measured(port)}", flush=True)


def measured(port: int) -> str:
    """Milliseconds of CPU a request and their ratio, medians of the rounds after the first one."""
    context = make_context()
    net_client._tls_context = lambda: context  # type: ignore[assignment]
    resuming = context.sslsocket_class
    spent: dict[type[ssl.SSLSocket], list[float]] = {ssl.SSLSocket: [], resuming: []}
    with net_client.client(net_client.Cancellation()) as http:
        for _ in range(ROUNDS + 1):
            for kind, found in spent.items():
                context.sslsocket_class = kind
                found.append(asked(http, f"https://127.0.0.1:{port}/"))
    without, with_sessions = (statistics.median(found[1:]) for found in spent.values())
    ratio = statistics.median(
        new / old for old, new in zip(spent[ssl.SSLSocket][1:], spent[resuming][1:], strict=True)
    )
    return f"{without:.2f} ms, with sessions {with_sessions:.2f} ms, {ratio:.2f} of it"


def asked(http: httpx.Client, url: str) -> float:
    """Milliseconds of CPU a request."""
    before = time.thread_time()
    for _ in range(REQUESTS):
        http.get(url, headers={"if-none-match": "x"})
    return (time.thread_time() - before) / REQUESTS * 1000


@contextmanager
def publisher(folder: Path, server: str) -> Iterator[int]:
    """The port on which one answers 304 to everything, in a process of its own."""
    serve = f"from benchmarks.tls import serve; serve({str(folder)!r}, {server!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", serve], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        yield int(process.stdout.readline())  # type: ignore[union-attr]
    finally:
        process.kill()
        process.wait()


def serve(folder: str, server: str) -> None:
    """Be the publisher's process."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(folder) / "server.pem", Path(folder) / "server.key")
    if server == "TLS 1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if server.endswith("without tickets"):
        context.num_tickets = 0
    with socket.create_server(("127.0.0.1", 0), backlog=200) as listening:
        print(listening.getsockname()[1], flush=True)
        while True:
            accepted, _ = listening.accept()
            with context.wrap_socket(accepted, server_side=True) as secure:
                secure.recv(65_536)
                secure.sendall(HEAD)


if __name__ == "__main__":
    main()
