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
        seen = max(len(self._held) - 3, 0)  # an end may have begun before these bytes
        self._held += received
        passed = b""
        while (end := _END.search(self._held, seen)) is not None:
            head, self._held, seen = self._held[: end.start()], self._held[end.end() :], 0
            passed += mended(head) + b"\r\n\r\n"
            if not _INFORMATIONAL.match(head):  # else another head follows
                break
        else:
            if received and len(self._held) <= LONGEST:
                return passed
        self._awaited = False
        held, self._held = self._held, b""
        return passed + held


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
