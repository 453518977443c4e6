"""Makes the head of a response one that h11 takes, where every other client takes it as it is.

A header line that is no header line says nothing, and is left out; so browsers and curl do. Pure.
"""

import re

LONGEST = 100_000  # bytes; a longer head is passed on as it is, and refused

_END = re.compile(rb"\r?\n\r?\n")
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:[ \t]*([^\0\r\v\f]*)")
_INFORMATIONAL = re.compile(rb"HTTP/1\.[01] 1\d\d(?!\d)")


class ResponseHead:
    """The heads of the responses on one connection: one after each request."""

    def __init__(self) -> None:
        self._awaited = True
        self._held = b""

    def expect(self) -> None:
        """A request was sent, so the next bytes are a head."""
        self._awaited, self._held = True, b""

    def passed(self, received: bytes) -> bytes:
        """What of the received bytes can be passed on, mended; nothing until a head is whole."""
        if not self._awaited:
            return received
        self._held += received
        end = _END.search(self._held)
        if end is None and received and len(self._held) <= LONGEST:
            return b""
        held, self._held = self._held, b""
        self._awaited = False
        if end is None:
            return held
        head, rest = held[: end.start()], held[end.end() :]
        if _INFORMATIONAL.match(head):
            self._awaited = True
            rest = self.passed(rest) if rest else b""
        return mended(head) + b"\r\n\r\n" + rest


def mended(head: bytes) -> bytes:
    """The head of a response without lines that are no header lines.

    A length that is no number is left out, too, and a transfer coding that is stated twice is one.
    """
    status, *lines = re.split(rb"\r?\n", head)
    kept = [status]
    codings: list[bytes] = []
    is_kept = False
    for line in lines:
        if line[:1] in (b" ", b"\t"):  # it goes on with the line before
            if is_kept:
                kept.append(line)
            continue
        field = _LINE.fullmatch(line)
        is_kept = field is not None and _says_something(field, codings)
        if field is not None and is_kept:
            kept.append(field[1] + b": " + field[2])
    return b"\r\n".join(kept)


def _says_something(field: re.Match[bytes], codings: list[bytes]) -> bool:
    name, value = field[1].lower(), field[2].strip().lower()
    if name == b"content-length":
        return re.fullmatch(rb"[0-9]+(?:\s*,\s*[0-9]+)*", value) is not None
    if name == b"transfer-encoding":
        codings.append(value)
        return value != b"identity" and codings.count(value) == 1
    return True
