"""Bodies are unpacked within bounds, whatever they are packed with."""

import gzip
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import brotli
import pytest

from feedwatch.net.decompress import MOST_MEMBERS, STEP, unpacked

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = b"<rss>" + bytes(range(256)) * 700 + b"</rss>"
PIECE = 65536


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "deflate, raw": raw_deflate,
    "br": lambda data: bytes(brotli.compress(data, quality=4)),
    "zstd": zstd.compress,
}
every_coding = pytest.mark.parametrize("how", PACKERS)
concatenated = pytest.mark.parametrize("how", ["gzip", "zstd"])


def packed(how: str, data: bytes = TEXT) -> tuple[bytes, str]:
    return PACKERS[how](data), how.partition(",")[0]


def in_pieces(data: bytes, size: int = PIECE) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


@every_coding
@pytest.mark.parametrize("size", [1, 7, PIECE])
def test_a_body_is_unpacked_however_it_arrives(how: str, size: int) -> None:
    data, coding = packed(how)
    assert unpacked(in_pieces(data, size), coding, len(TEXT)) == TEXT


@every_coding
def test_one_byte_more_than_allowed_is_too_large(how: str) -> None:
    data, coding = packed(how)
    assert unpacked(in_pieces(data), coding, len(TEXT) - 1) is None


@every_coding
def test_a_bomb_takes_no_more_than_the_limit_and_a_piece(how: str) -> None:
    data, coding = packed(how, bytes(30_000_000))
    most = 2_000_000
    tracemalloc.start()
    try:
        assert unpacked(in_pieces(data), coding, most) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < most + 2 * STEP + 4 * PIECE


@every_coding
@pytest.mark.parametrize("missing", [1, 20])
def test_a_body_that_breaks_off_is_noticed(how: str, missing: int) -> None:
    data, coding = packed(how)
    with pytest.raises(ValueError, match="breaks off"):
        unpacked(in_pieces(data[:-missing]), coding, len(TEXT))


@every_coding
def test_what_is_packed_in_no_such_way_is_noticed(how: str) -> None:
    with pytest.raises(ValueError, match=r"though it says so|breaks off"):
        unpacked([b"{'no': 'feed'} and not packed at all"], packed(how)[1], 1000)


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize(
    "coding", ["UTF-8", "aws-chunked", "none", "gzip", "br", "deflate", "gzip, gzip", "x, zstd"]
)
@pytest.mark.parametrize(
    "body",
    [
        b"<?xml version='1.0'?><rss/>", b"\xef\xbb\xbf\n <rss version='2.0'/>", b"<feed/>",
        "\ufeff<?xml version='1.0'?><rss/>".encode("utf-16"), b"<!-- x --><rdf:RDF/>",
    ],
)  # fmt: skip
def test_a_body_that_begins_like_a_feed_is_not_packed_whatever_is_said(
    body: bytes, coding: str, size: int
) -> None:
    assert unpacked(in_pieces(body, size), coding, 1000) == body
    assert unpacked(in_pieces(body, size), coding, len(body) - 1) is None


@every_coding
@pytest.mark.parametrize("other", ["aws-chunked", "UTF-8", "none"])
def test_a_coding_that_nobody_knows_is_passed_over_beside_a_known_one(how: str, other: str) -> None:
    data, coding = packed(how)
    for stated in (f"{coding}, {other}", f"{other},{coding}"):
        assert unpacked(in_pieces(data), stated, len(TEXT)) == TEXT


@concatenated
@pytest.mark.parametrize("size", [1, PIECE])
def test_parts_one_after_another_are_one_body(how: str, size: int) -> None:
    half = len(TEXT) // 2
    data = PACKERS[how](TEXT[:half]) + PACKERS[how](b"") + PACKERS[how](TEXT[half:])
    assert unpacked(in_pieces(data, size), how, len(TEXT)) == TEXT


@concatenated
def test_the_limit_is_for_all_parts_together(how: str) -> None:
    data = PACKERS[how](bytes(600)) * 2
    assert unpacked([data], how, 1000) is None


@concatenated
def test_a_second_part_that_breaks_off_is_noticed(how: str) -> None:
    with pytest.raises(ValueError, match="breaks off"):
        unpacked([PACKERS[how](TEXT) + PACKERS[how](TEXT)[:-5]], how, 2 * len(TEXT))


@concatenated
def test_padding_behind_the_end_is_left_alone(how: str) -> None:
    assert unpacked([PACKERS[how](TEXT), b"\0\0", b"\0" * 500], how, len(TEXT)) == TEXT


@concatenated
def test_endless_empty_parts_are_refused(how: str) -> None:
    with pytest.raises(ValueError, match="packed parts"):
        unpacked([PACKERS[how](b"") * (MOST_MEMBERS + 1)], how, 10**6)


def test_a_part_that_is_to_be_skipped_is_skipped() -> None:
    skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    assert unpacked([PACKERS["zstd"](TEXT) + skippable], "zstd", len(TEXT)) == TEXT


def test_zstd_that_wants_a_window_beyond_8_mb_is_refused() -> None:
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    data = packer.compress(TEXT) + packer.flush()
    with pytest.raises(ValueError, match="not zstd"):
        unpacked([data], "zstd", len(TEXT))


@pytest.mark.parametrize("coding", ["", "identity", " Identity ", "identity, identity"])
def test_a_body_that_is_not_packed_is_bounded_too(coding: str) -> None:
    assert unpacked(in_pieces(TEXT), coding, len(TEXT)) == TEXT
    assert unpacked(in_pieces(TEXT), coding, len(TEXT) - 1) is None


def test_what_comes_packed_is_bounded_before_it_is_unpacked() -> None:
    stored = zlib.compress(bytes(1000), level=0)
    assert len(stored) > 1000
    assert unpacked([stored], "deflate", 1000) is None


@pytest.mark.parametrize("coding", ["compress", "gzip, br", "gzip, gzip", "bzip2", "aes128gcm"])
def test_another_coding_or_several_are_refused_by_their_first_bytes(coding: str) -> None:
    def endless() -> Iterator[bytes]:
        yield gzip.compress(gzip.compress(TEXT[:500]))
        yield pytest.fail("was read on")

    with pytest.raises(ValueError, match="not asked for"):
        unpacked(endless(), coding, 1000)


@every_coding
def test_nothing_at_all_is_nothing(how: str) -> None:
    assert unpacked([], packed(how)[1], 1000) == b""
