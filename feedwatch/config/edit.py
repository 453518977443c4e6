"""Edits the config file: takes a feed's block in or out, and leaves all else as it is.

The text is cut by python-dotenv's own parser, so a line is the file's reader's idea of one: a value
over several lines is one, and each keeps the blank lines above it.
"""

import errno
import fcntl
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from feedwatch.config.errors import ConfigError
from feedwatch.config.key_names import FEED_NAME, PREFIX
from feedwatch.config.keys import Settings
from feedwatch.config.load import load
from feedwatch.config.locate import dotenv_parser

FEEDS = f"{PREFIX}FEEDS__"
BOM = "\ufeff"
ACCESS_LIST = "system.posix_acl_access"  # an extended attribute of Linux
# What says that nothing can be put into the file's place, while the file itself may be writable.
NOT_REPLACEABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY}
_END_OF_LINE = re.compile(r"\r\n|\n|\r")
_BLANK_LINES = re.compile(r"(?:[^\S\r\n]*(?:\r\n|\n|\r))*")
_NEEDS_NO_QUOTES = re.compile(r"[\w.,:/?=@%+-]+")  # nor would a shell see more in it
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"}


class _Line(NamedTuple):
    """A key and its value, a comment, or blank lines at the end, as they stand in the file."""

    key: str | None
    text: str

    @property
    def feed(self) -> str | None:
        """The feed that its key is of."""
        return feed_of(self.key or "")

    @property
    def blank(self) -> str:
        """The blank lines above it."""
        return _blank_lines(self.text)

    @property
    def comment(self) -> str | None:
        """What it says, if it is a comment."""
        bare = self.text.strip()
        return bare.lstrip("# \t") if self.key is None and bare.startswith("#") else None

    def goes_on(self, feed: str | None) -> bool:
        """Whether it is a disabled key of this feed right below the line before it."""
        return self.comment is not None and not self.blank and feed_of(self.comment) == feed

    def may_be_of(self, name: str) -> bool:
        """Whether it is a comment that is no disabled key of something else."""
        comment = self.comment
        return comment is not None and (
            not comment.startswith(PREFIX) or feed_of(comment) == name.lower()
        )


def feeds_in(text: str) -> set[str]:
    """The names, in lower case, of the feeds that have a line in this text."""
    return {line.feed for line in _lines(text) if line.feed is not None}


def with_feed(text: str, name: str, values: Mapping[str, str], comment: str = "") -> str:
    """The text with a block for a feed, below the last one, or at the end where there is none.

    `values` by field, such as `URL`; `comment` is one line above them. Raises `ConfigError` if the
    name is none, or is in the text already.
    """
    if not FEED_NAME.fullmatch(name) or "__" in name:
        raise ConfigError([f"a feed's name is letters, digits, - and _; not {name!r}"])
    if name.lower() in feeds_in(text):
        raise ConfigError([f"the config file has a feed {name.lower()!r} already"])
    lines = _lines(text)
    of_feeds = [place for place, line in enumerate(lines, 1) if line.feed is not None]
    with_text = [place for place, line in enumerate(lines, 1) if line.text.strip()]
    place = max(of_feeds or with_text or [0])
    while of_feeds and place < len(lines) and lines[place].goes_on(lines[of_feeds[-1] - 1].feed):
        place += 1
    head, tail = ("".join(line.text for line in part) for part in (lines[:place], lines[place:]))
    found = _END_OF_LINE.search(text)
    end = found[0] if found is not None else "\n"
    block = [f"# {' '.join(comment.split())}"] if comment.strip() else []
    block += [f"{FEEDS}{name.upper()}__{key}={quoted(value)}" for key, value in values.items()]
    is_ended = not head or head.endswith(("\n", "\r"))
    before = "" if not head else end if is_ended else end + end
    after = end if is_ended else ""
    if tail.strip() and not _blank_lines(tail):
        after += end
    bom = BOM if text.startswith(BOM) else ""
    return bom + head + before + end.join(block) + after + tail


def without_feed(text: str, name: str) -> str:
    """The text without the lines of a feed, and without the comment above them.

    A comment stays where lines of others follow those of the feed with no blank line between, or
    where it is a disabled key of something else. Raises `ConfigError` if the text has no such feed.
    """
    lines, bom = _lines(text), BOM if text.startswith(BOM) else ""
    ours: list[bool] = []
    for line in lines:
        goes_on = bool(ours) and ours[-1] and line.goes_on(name.lower())
        ours.append(line.feed == name.lower() or goes_on)
    if not any(ours):
        raise ConfigError([f"the config file has no feed {name!r}"])
    kept, place = "", 0
    while place < len(lines):
        end = _end_of_run(lines, ours, place, name)
        if end == place:
            kept += lines[place].text
            place += 1
            continue
        if end < len(lines) and not lines[end].blank:
            kept += lines[place].blank  # it still parts what is above from what is below
        place = end
    if ours[-1] and not text.endswith(("\n", "\r")):
        kept = kept.removesuffix("\n").removesuffix("\r")
    return bom + kept


def _end_of_run(lines: list[_Line], ours: list[bool], start: int, name: str) -> int:
    """Where the lines end that go with the feed and begin at `start`; `start` if none do."""
    first = start
    while first < len(lines) and lines[first].may_be_of(name):
        first += 1
        if first < len(lines) and lines[first].blank:
            break
    end = first
    while end < len(lines) and ours[end]:
        end += 1
    if end == first:
        return start
    is_apart = end == len(lines) or bool(lines[end].blank) or lines[end].key is None
    return end if first == start or (is_apart and not lines[first].blank) else start


def quoted(value: str) -> str:
    """A value as python-dotenv reads it back."""
    if _NEEDS_NO_QUOTES.fullmatch(value):
        return value
    if not _END_OF_LINE.search(value):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    return '"' + "".join(_ESCAPES.get(letter, letter) for letter in value) + '"'


def change_config(path: Path, change: Callable[[str], str], environ: Mapping[str, str]) -> Settings:
    """Change the config file, and return what it says then. A link is followed.

    `change` gets the text as it is now: changes of two processes come one after another. What it
    makes of it is loaded first. Raises `ConfigError` where that fails, and where the file cannot be
    written; it is as it was then.
    """
    file = path.resolve()
    with _locked(file.parent):
        try:
            before = file.read_bytes()
            text = change(before.decode())
            settings = load(path, environ, needs_key=False, text=text)
            _replace(file, before, text.encode())
        except (OSError, UnicodeError) as error:
            raise ConfigError([f"the config file {path} cannot be changed: {error}"]) from error
    return settings


def create_config(path: Path, text: str, environ: Mapping[str, str]) -> Settings:
    """Write a first config file, for its owner alone; raises `ConfigError` if there is one."""
    settings = load(path, environ, needs_key=False, text=text)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            try:
                _write(stream.fileno(), text.encode())
            except OSError:
                path.unlink()  # a part of it would only be in the way
                raise
    except FileExistsError:
        raise ConfigError([f"there is a config file {path} already; it stays as it is"]) from None
    except OSError as error:
        raise ConfigError([f"the config file {path} cannot be written: {error}"]) from error
    return settings


def _lines(text: str) -> list[_Line]:
    bindings = dotenv_parser().parse_stream(StringIO(text.removeprefix(BOM), newline=""))
    return [_Line(one.key, one.original.string) for one in bindings]


def _blank_lines(text: str) -> str:
    found = _BLANK_LINES.match(text)
    return found[0] if found is not None else ""


def feed_of(key: str) -> str | None:
    """The feed's name in a key; None if it is of no feed."""
    return key.removeprefix(FEEDS).partition("__")[0].lower() if key.startswith(FEEDS) else None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One change at a time, by a lock on the folder: it needs no right to write, and no file.

    Where a file system knows no such lock, the comparison before the rename is what there is.
    """
    descriptor = None
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _replace(file: Path, before: bytes, after: bytes) -> None:
    """Put `after` into the file's place, or, where only the file itself can be written, into it.

    So it is where one file is mounted into a container, or belongs to somebody else: nothing can be
    renamed over it, and a refusal would leave `add` without use there. A crash in between may then
    leave a part of the text. So it is too where an access list would be lost.
    """
    attributes: list[str] = []
    with suppress(OSError, AttributeError):  # a file system without them, or not Linux
        attributes = os.listxattr(file)
    if ACCESS_LIST in attributes:
        _write_into(file, before, after)
        return
    try:
        _rename_over(file, before, after)
    except OSError as error:
        if error.errno not in NOT_REPLACEABLE:
            raise
        _write_into(file, before, after)


def _rename_over(file: Path, before: bytes, after: bytes) -> None:
    """Replace the file by one with the same mode and owner, which is on the disk by then."""
    status = file.stat()
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            if (status.st_uid, status.st_gid) != (os.geteuid(), os.fstat(descriptor).st_gid):
                os.fchown(descriptor, status.st_uid, status.st_gid)
            os.fchmod(descriptor, status.st_mode & 0o7777)
            _write(stream.fileno(), after)
        _must_be(before, file.read_bytes(), file)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    with suppress(OSError):  # not every file system can
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _write_into(file: Path, before: bytes, after: bytes) -> None:
    with file.open("r+b", buffering=0) as stream:
        _must_be(before, stream.read(), file)
        try:
            _write(stream.fileno(), after)
        except OSError:
            with suppress(OSError):
                _write(stream.fileno(), before)
            raise


def _must_be(before: bytes, now: bytes, file: Path) -> None:
    if now != before:
        raise ConfigError([f"the config file {file} was changed at the same time: try again"])


def _write(descriptor: int, content: bytes) -> None:
    """Make this the whole content of a file, down to the disk."""
    written = 0
    while written < len(content):
        written += os.pwrite(descriptor, content[written:], written)
    os.ftruncate(descriptor, len(content))
    os.fsync(descriptor)
