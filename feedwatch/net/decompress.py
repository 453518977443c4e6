"""Decompresses the body of a response, with a hard bound on what comes out. Pure.

A few kilobytes may unpack to gigabytes, so each coding is asked for no more than is still allowed,
piece by piece: a decompression bomb costs the limit and one piece, in every coding.
"""

import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ACCEPTED = "gzip, deflate, br, zstd"
MOST_MEMBERS = 1000  # of one gzip or zstd body; bgzip makes one for each 64 KB
LARGEST_WINDOW = 23  # as a power of two: 8 MB, which RFC 9659 bounds zstd on the web to
STEP = 262144  # bytes that are unpacked at once: what a step gives is copied once more

ERRORS = (zlib.error, zstd.ZstdError, brotli.error)


class TooLargeError(Exception):
    """More than the allowed size was unpacked."""


class _Unpacker(Protocol):
    """Unpacks one body in one coding."""

    def unpack(self, piece: bytes, most: int) -> list[bytes]:
        """What `piece` unpacks to. Raises `TooLargeError` rather than give more than `most`."""

    def is_whole(self) -> bool:
        """Whether the end of the body was read."""


class _Stream(Protocol):
    """What zlib and zstd have in common: one stream, and the bytes behind its end."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


def _in_steps(stream: _Stream, piece: bytes, most: int) -> Iterator[bytes]:
    """What `piece` unpacks to, step by step. Raises `TooLargeError` beyond `most` bytes."""
    while True:
        out = stream.decompress(piece, min(most + 1, STEP))
        most -= len(out)
        if most < 0:
            raise TooLargeError
        yield out
        if len(out) < STEP or stream.eof:
            return
        # What is left of its input, zlib hands back, and zstd keeps.
        piece = getattr(stream, "unconsumed_tail", b"")


class _Members:
    """Streams one after another: a gzip body may have several (RFC 1952), a zstd body too.

    Bytes behind the end that begin no further stream are ignored, as browsers do.
    """

    def __init__(self, begin: Callable[[], _Stream], magic: Callable[[bytes], bool]) -> None:
        self._begin = begin
        self._magic = magic
        self._member = begin()
        self._begun = 1
        self._held = b""  # too little to tell whether it begins another one

    def unpack(self, piece: bytes, most: int) -> list[bytes]:
        found: list[bytes] = []
        while piece:
            if self._member.eof:
                piece, self._held = self._held + piece, b""
                if len(piece) < 4:
                    self._held = piece
                    break
                if not self._magic(piece):
                    break
                self._begun += 1
                if self._begun > MOST_MEMBERS:
                    raise ValueError(f"more than {MOST_MEMBERS} packed parts")
                self._member = self._begin()
            for out in _in_steps(self._member, piece, most):
                most -= len(out)
                found.append(out)
            if not self._member.eof:
                break
            piece = self._member.unused_data
        return found

    def is_whole(self) -> bool:
        return self._member.eof


class _Deflate:
    """RFC 1950, as RFC 9110 says; or RFC 1951 alone, as some servers have always sent it."""

    def __init__(self) -> None:
        self._begin = b""
        self._stream: zlib._Decompress | None = None

    def unpack(self, piece: bytes, most: int) -> list[bytes]:
        if self._stream is None:
            piece = self._begin = self._begin + piece
            if len(piece) < 2:
                return []
            wrapped = piece[0] & 0x0F == 8 and int.from_bytes(piece[:2]) % 31 == 0
            self._stream = zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
        return list(_in_steps(self._stream, piece, most))

    def is_whole(self) -> bool:
        return self._stream is not None and self._stream.eof


class _Brotli:
    """RFC 7932."""

    def __init__(self) -> None:
        self._stream = brotli.Decompressor()

    def unpack(self, piece: bytes, most: int) -> list[bytes]:
        found: list[bytes] = []
        while not self._stream.is_finished():
            out = self._stream.process(piece, output_buffer_limit=min(most + 1, STEP))
            if not out:
                break
            most -= len(out)
            if most < 0:
                raise TooLargeError
            found.append(out)
            piece = b""
        return found

    def is_whole(self) -> bool:
        return bool(self._stream.is_finished())


def _gzip() -> _Members:
    return _Members(
        lambda: zlib.decompressobj(zlib.MAX_WBITS | 16), lambda data: data[:2] == b"\x1f\x8b"
    )


def _zstd() -> _Members:
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: LARGEST_WINDOW}
    frame = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")  # RFC 8878, also skippable
    return _Members(
        lambda: zstd.ZstdDecompressor(options=options), lambda data: bool(frame.match(data))
    )


UNPACKERS: dict[str, Callable[[], _Unpacker]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _zstd,
}


def unpacked(pieces: Iterable[bytes], content_encoding: str, most: int) -> bytes | None:
    """A body, unpacked; None if it is larger than `most` bytes, packed or not.

    Raises `ValueError` for a body that is packed in a way we did not ask for, that is not what its
    header says, or that breaks off.
    """
    given = [coding.strip().lower() for coding in content_encoding.split(",")]
    codings = [coding for coding in given if coding not in ("", "identity")]
    if not codings:
        plain: list[bytes] = []
        for piece in pieces:
            most -= len(piece)
            if most < 0:
                return None
            plain.append(piece)
        return b"".join(plain)
    begin = UNPACKERS.get(codings[0])
    if len(codings) > 1 or begin is None:
        raise ValueError(f"packed as {', '.join(codings)!r}, which was not asked for")
    try:
        return _unpacked(pieces, begin(), codings[0], most)
    except TooLargeError:
        return None
    except ERRORS as error:
        raise ValueError(f"not {codings[0]}, though it says so ({error})") from error


def _unpacked(pieces: Iterable[bytes], unpacker: _Unpacker, coding: str, most: int) -> bytes | None:
    packed, left = 0, most
    found: list[bytes] = []
    for piece in pieces:
        packed += len(piece)
        if packed > most:
            return None
        for out in unpacker.unpack(piece, left):
            left -= len(out)
            found.append(out)
    if packed and not unpacker.is_whole():
        raise ValueError(f"its {coding} breaks off")
    return b"".join(found)
