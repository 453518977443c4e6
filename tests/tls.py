"""TLS for tests: an authority of one's own, and a front that speaks TLS for a plain server."""

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None and "CI" not in os.environ, reason="openssl makes certificates"
)


CURVE = "ec -pkeyopt ec_paramgen_curve:prime256v1"


def make_authority(folder: Path, key: str = CURVE, addresses: int = 1) -> Path:
    """The certificate of a new authority, whose certificate for 127.0.0.1 lies beside it.

    key: what kind of key both get. addresses: how many, from 127.0.0.1 on, it is for.
    """
    made = f"req -x509 -newkey {key} -nodes -days 2"
    uses = "-addext keyUsage=critical,keyCertSign,cRLSign"
    signed = "-CA ca.pem -CAkey ca.key -addext basicConstraints=critical,CA:FALSE"
    names = ",".join(f"IP:127.0.0.{1 + number}" for number in range(addresses))
    signed += f" -addext subjectAltName={names}"
    for command in (
        f"{made} -subj /CN=authority -keyout ca.key -out ca.pem {uses}",
        f"{made} -subj /CN=server -keyout server.key -out server.pem {signed}",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    return folder / "ca.pem"


@contextmanager
def https_before(port: int, authority: Path) -> Iterator[str]:
    """An https address that passes everything on to a plain server on `port`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.parent / "server.pem", authority.parent / "server.key")

    def pass_on(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := source.recv(65_536):
                target.sendall(part)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def serve(accepted: socket.socket) -> None:
        with contextlib.suppress(OSError):  # a client that does not trust us goes away
            outer = context.wrap_socket(accepted, server_side=True)
            with outer, socket.create_connection(("127.0.0.1", port)) as inner:
                back = threading.Thread(target=pass_on, args=(inner, outer), daemon=True)
                back.start()
                pass_on(outer, inner)
                back.join()

    def listen() -> None:
        with contextlib.suppress(OSError):  # the end
            while True:
                accepted, _ = listening.accept()
                threading.Thread(target=serve, args=(accepted,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=listen, daemon=True).start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
