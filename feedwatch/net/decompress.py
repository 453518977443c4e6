"""Decompresses the body of a response, with a hard bound on what comes out. Pure.

A few kilobytes may unpack to gigabytes, so each coding gives a bounded step at a time: a
decompression bomb costs the limit and one step, in every coding.
"""

import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
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
    """A body is larger than the allowed size, packed or unpacked."""


class _Stream(Protocol):
    """A packed stream, as zlib and zstd have it in common, and the bytes behind its end."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


def _in_steps(stream: _Stream, piece: bytes) -> Iterator[bytes]:
    """What a piece of a packed body unpacks to, step by step."""
    while True:
        out = stream.decompress(piece, STEP)
        yield out
        if len(out) < STEP or stream.eof:
            return
        # What is left of its input, zlib hands back, and zstd keeps.
        piece = getattr(stream, "unconsumed_tail", b"")


def _members(
    begin: Callable[[], _Stream], magic: re.Pattern[bytes], pieces: Iterable[bytes]
) -> Iterator[bytes]:
    """Unpack a gzip or zstd body, which may have several streams (RFC 1952) one after another.

    Bytes behind the end that begin no further stream are ignored, as browsers do.
    """
    member, begun = begin(), 1
    held = b""  # too little to tell whether it begins another one
    for piece in pieces:
        while piece:
            if member.eof:
                piece, held = held + piece, b""
                if len(piece) < 4:
                    held = piece
                    break
                if not magic.match(piece):
                    break
                member, begun = begin(), begun + 1
                if begun > MOST_MEMBERS:
                    raise ValueError(f"more than {MOST_MEMBERS} packed parts")
            yield from _in_steps(member, piece)
            if not member.eof:
                break
            piece = member.unused_data
    if not member.eof:
        raise EOFError


def _deflate(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Unpack a deflate body: RFC 1950, as RFC 9110 says, or RFC 1951 alone, as some servers do."""
    begin, stream = b"", None
    for piece in pieces:
        if stream is None:
            begin += piece
            if len(begin) < 2:
                continue
            wrapped = begin[0] & 0x0F == 8 and int.from_bytes(begin[:2]) % 31 == 0
            stream = zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
            piece = begin
        yield from _in_steps(stream, piece)
    if stream is None or not stream.eof:
        raise EOFError


def _brotli(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Unpack a brotli body (RFC 7932)."""
    stream = brotli.Decompressor()
    for piece in pieces:
        rest = piece
        while not stream.is_finished() and (out := stream.process(rest, output_buffer_limit=STEP)):
            yield out
            rest = b""  # the stream keeps what is left of its input
    if not stream.is_finished():
        raise EOFError


_gzip = partial(_members, partial(zlib.decompressobj, zlib.MAX_WBITS | 16), re.compile(b"\x1f\x8b"))
_WINDOW: dict[int, int] = {zstd.DecompressionParameter.window_log_max: LARGEST_WINDOW}
_zstd = partial(
    _members,
    partial(zstd.ZstdDecompressor, options=_WINDOW),
    re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),  # RFC 8878, also skippable
)

# How to unpack a body's pieces, none of them empty, by coding. Raises `EOFError` if they break off.
UNPACKERS: dict[str, Callable[[Iterable[bytes]], Iterator[bytes]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
_ENOUGH = 64  # bytes
_FEED = re.compile(rb"(?i)<(?:\?xml|rss|feed|rdf:|!--|!doctype)")


def unpacked(pieces: Iterable[bytes], content_encoding: str, most: int) -> bytes | None:
    """The body of a response, unpacked; None if it is larger than `most` bytes, packed or not.

    A body that begins like a feed is not packed, whatever its header says, and a coding that nobody
    knows is passed over beside one that is known. Raises `ValueError` for a body that is packed in
    another way that we did not ask for, that is not what its header says, or that breaks off.
    """
    given = [coding.strip().lower() for coding in content_encoding.split(",")]
    codings = [coding for coding in given if coding not in ("", "identity")]
    known = [coding for coding in codings if coding in UNPACKERS]
    packed = filter(None, _bounded(pieces, most))
    try:
        first = b""
        while len(first) < _ENOUGH and (piece := next(packed, b"")):
            first += piece
        begin = first[:_ENOUGH].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
        if not codings or not first or _FEED.match(begin):
            return b"".join([first, *packed])
        if len(known) != 1:
            raise ValueError(f"packed as {', '.join(codings)!r}, which was not asked for")
        return b"".join(_bounded(UNPACKERS[known[0]](chain([first], packed)), most))
    except TooLargeError:
        return None
    except EOFError as error:
        raise ValueError(f"its {known[0]} breaks off") from error
    except ERRORS as error:
        raise ValueError(f"not {known[0]}, though it says so ({error})") from error


def _bounded(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    """The pieces of a body, unchanged. Raises `TooLargeError` beyond `most` bytes in total."""
    for piece in pieces:
        most -= len(piece)
        if most < 0:
            raise TooLargeError
        yield piece
