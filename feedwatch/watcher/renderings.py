"""Renderings: the feeds as listeners get them, in memory up to a limit and in files beyond it."""

import gzip
import weakref
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory

MOST_IN_MEMORY = 64_000_000  # bytes, packed: some 500 feeds of 300 items


@dataclass(frozen=True, kw_only=True, eq=False)
class Rendering:
    """A feed as listeners get it."""

    content: bytes | Path  # packed by gzip, or the file that has that
    digest: str  # of the bytes before they were packed
    modified: datetime
    is_atom: bool = False

    @property
    def packed(self) -> bytes:
        """The bytes, packed by gzip. Raises `OSError` if their file cannot be read."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()

    @property
    def body(self) -> bytes:
        """The bytes themselves. Raises `OSError` as `packed` does."""
        return gzip.decompress(self.packed)


class Renderings:
    """One rendering of each feed, by its name. One thread writes them, others read them."""

    def __init__(self, most: int = MOST_IN_MEMORY) -> None:
        """`most`: the bytes that they may take in memory."""
        self._most = most
        self._by_name: dict[str, Rendering] = {}
        self._in_memory: dict[str, int] = {}  # bytes
        self._folder: TemporaryDirectory[str] | None = None

    def names(self) -> set[str]:
        """The feeds that there are renderings of."""
        return set(self._by_name)

    def find(self, name: str) -> Rendering | None:
        """The feed's rendering; None: there is none."""
        return None if self.is_lost(name) else self._by_name.get(name)

    def is_lost(self, name: str) -> bool:
        """Whether the rendering's file is gone: systems clear their folder of temporary files."""
        one = self._by_name.get(name)
        return one is not None and isinstance(one.content, Path) and not one.content.exists()

    def keep(
        self, name: str, packed: bytes, digest: str, modified: datetime, *, is_atom: bool
    ) -> None:
        """Keep a rendering in place of the last one. Raises `OSError` where there is no room."""
        others = sum(size for other, size in self._in_memory.items() if other != name)
        fits = others + len(packed) <= self._most
        content = packed if fits else self._file(packed)
        one = Rendering(content=content, digest=digest, modified=modified, is_atom=is_atom)
        if isinstance(content, Path):  # who is sending it reads it whole before it goes
            weakref.finalize(one, content.unlink, missing_ok=True)
        self._in_memory[name] = len(packed) if fits else 0
        self._by_name[name] = one

    def drop(self, name: str) -> None:
        """Keep a feed's rendering no longer."""
        self._by_name.pop(name, None)
        self._in_memory.pop(name, None)

    def close(self) -> None:
        """Keep none, and no file."""
        self._by_name.clear()
        self._in_memory.clear()
        if self._folder is not None:
            self._folder.cleanup()

    def _file(self, packed: bytes) -> Path:
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="feedwatch-feeds-")
        Path(self._folder.name).mkdir(mode=0o700, exist_ok=True)
        with NamedTemporaryFile(dir=self._folder.name, delete=False) as file:
            file.write(packed)
        return Path(file.name)
