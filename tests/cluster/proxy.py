"""A TCP proxy on loopback between a daemon and its database, which can be frozen or cut.

Frozen is as a cable that was pulled: the kernel drops each packet that arrives at our socket, so
nothing is acknowledged and nothing is reset. A socket filter does that, and needs no right.
"""

import ctypes
import selectors
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
DROP = struct.pack("HBBI", 0x06, 0, 0, 0)  # BPF: ret 0, of this packet nothing is kept
CHUNK = 65_536


@dataclass(eq=False)
class Link:
    """A connection: of the daemon to us, and ours to the server."""

    daemon: socket.socket
    server: socket.socket
    # What is still to be written to each of them
    pending: dict[socket.socket, bytearray] = field(default_factory=dict)

    def other(self, one: socket.socket) -> socket.socket:
        """The other end."""
        return self.server if one is self.daemon else self.daemon


class Proxy:
    """Use it as a context manager. Its methods may be called from any thread."""

    def __init__(self, target: int) -> None:
        """`target`: the port of the server, on loopback."""
        self.target = target  # of new connections
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._listener.settimeout(0)
        self.port = int(self._listener.getsockname()[1])
        self._links: dict[socket.socket, Link] = {}  # by both ends
        self._lock = threading.RLock()
        self._is_frozen = False  # nothing that the daemon sends arrives
        self._is_refusing = False
        self._is_mute = False  # what the server answers vanishes
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self.cut()
        self._listener.close()
        self._selector.close()

    def freeze(self) -> None:
        """From now on no packet of the daemon's arrives, nor is one acknowledged."""
        with self._lock:
            self._is_frozen = True
            for one in (self._listener, *(link.daemon for link in self._each())):
                _drop_all(one)

    def mute(self) -> None:
        """From now on the answers of the server vanish; what the daemon sends arrives."""
        with self._lock:
            self._is_mute = True

    def heal(self) -> None:
        """Let all pass again. What has vanished is lost, so the connections of before are, too."""
        with self._lock:
            if self._is_frozen:
                self._listener.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
            self._is_frozen = self._is_mute = self._is_refusing = False
        self.cut()

    def cut(self) -> None:
        """Reset all connections, once. New ones are made as before."""
        with self._lock:
            for link in list(self._each()):
                self._drop(link)

    def lead_to(self, target: int) -> None:
        """Reset all connections; new ones go to another server."""
        with self._lock:
            self.target = target
            self.cut()

    def refuse(self) -> None:
        """Reset all connections, and each new one."""
        self._is_refusing = True
        self.cut()

    def _each(self) -> Iterator[Link]:
        return iter(set(self._links.values()))

    def _serve(self) -> None:
        while not self._over.is_set():
            for key, events in self._selector.select(0.05):
                with self._lock:
                    if key.fileobj is self._listener:
                        self._accept()
                        continue
                    one = key.fileobj
                    assert isinstance(one, socket.socket)
                    if one in self._links:
                        self._carry(self._links[one], one, events)

    def _accept(self) -> None:
        with suppress(OSError):
            daemon, _ = self._listener.accept()
            if self._is_refusing:
                _reset(daemon)
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                _reset(daemon)
                return
            link = Link(daemon, server, {daemon: bytearray(), server: bytearray()})
            for one in (daemon, server):
                one.settimeout(0)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._links[one] = link
                self._selector.register(one, selectors.EVENT_READ)
            if self._is_frozen:
                _drop_all(daemon)

    def _carry(self, link: Link, one: socket.socket, events: int) -> None:
        try:
            if events & selectors.EVENT_READ:
                data = one.recv(CHUNK)
                if not data:
                    self._drop(link)
                    return
                if not (self._is_mute and one is link.server):
                    link.pending[link.other(one)] += data
            for to, pending in link.pending.items():
                with suppress(BlockingIOError):
                    while pending:
                        del pending[: to.send(pending)]
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if pending else 0)
                self._selector.modify(to, wanted)
        except BlockingIOError:
            return
        except OSError:
            self._drop(link)

    def _drop(self, link: Link) -> None:
        for one in (link.daemon, link.server):
            if self._links.pop(one, None) is not None:
                self._selector.unregister(one)
                _reset(one)


def _drop_all(one: socket.socket) -> None:
    program = ctypes.create_string_buffer(DROP)
    given = struct.pack("HL", 1, ctypes.addressof(program))
    one.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, given)


def _reset(one: socket.socket) -> None:
    """Close it by a RST. A frozen daemon does not get that either, as long as it is cut off."""
    with suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()
