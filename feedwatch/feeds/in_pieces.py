"""In pieces: expat over a whole document, in a process that has other threads.

While expat reads what it is given, none of them runs. So it is given little at a time, and nothing
that it takes as one, a tag or a comment, may be long.
"""

from xml.parsers import expat

PIECE = 32_768  # bytes
LONGEST_TAG = 65_536  # bytes


def read_in_pieces(parser: expat.XMLParserType, document: bytes) -> None:
    """Have expat read a document.

    Raises `ExpatError`, and `ValueError` for a tag or comment that is too long.
    """
    for end in range(PIECE, len(document) + PIECE, PIECE):
        parser.Parse(document[end - PIECE : end])
        if end - parser.CurrentByteIndex > LONGEST_TAG:  # what it has begun, and not read yet
            raise ValueError(f"a tag of more than {LONGEST_TAG} bytes")
    parser.Parse(b"", True)  # noqa: FBT003 - expat takes it no other way
