"""File lock: one daemon for one database, released when the process that holds it ends."""

import fcntl
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock

from feedwatch.core.health import Use
from feedwatch.store.errors import StoreError

REPLACED = (
    "the file of the database, or its -wal or -shm, was deleted or replaced while feedwatch has it "
    "open; put it back as you want it, then restart feedwatch"
)
LOCK_SECONDS = 1.0  # `use_of` holds it briefly
LOCK_TRIED_EVERY = 0.01  # seconds
NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs"})


def lock_path(database: Path) -> Path:
    """The lock of an SQLite database."""
    return database.with_name(f"{database.name}.lock")


class FileLock:
    """An exclusive lock on a file, which is made if missing and never deleted."""

    def __init__(self, path: Path) -> None:
        """Lock `path` within a second. Raises `StoreError` if another process holds the lock."""
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"the lock {path} cannot be opened: {error.strerror}; see that the folder of "
                "FEEDWATCH_DATABASE_URL exists and that this user may write in it"
            ) from error
        if not takes_lock(self._file, LOCK_SECONDS):
            holder = os.read(self._file, 50).decode("ascii", "replace").partition(" ")[0]
            os.close(self._file)
            raise StoreError(
                f"another feedwatch (process {holder or 'unknown'}) runs on this database and "
                f"holds {path}; stop it first, or let it do the work"
            )
        self.note()

    def note(self, database: Path | None = None) -> None:
        """Write into the file who holds the lock, and which file of that name is the database."""
        number = f" {database.stat().st_ino}" if database is not None else ""
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}{number}".encode("ascii"), 0)

    def release(self) -> None:
        """Unlock the file."""
        os.close(self._file)


class DatabaseFile:
    """The lock on the database's own file, whatever it is called.

    A hard link and a file that is mounted alone into two containers are two names of one database,
    each with a `.lock` of its own and, worse, with a write-ahead log of its own.
    """

    def __init__(self, path: Path) -> None:
        """Lock `path`, before SQLite opens it and until SQLite has closed it.

        To close any descriptor of the file drops the locks that SQLite holds on it. Raises
        `StoreError` if another process holds the lock, or if the file cannot be kept to one writer.
        """
        self._path = path
        system = filesystem_of(path)
        if system in NETWORK:
            raise StoreError(
                f"the database {path} is on a network share ({system}), where SQLite's locks hold "
                "nobody off; put it on a local disk, or use PostgreSQL"
            )
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise StoreError(
                f"the database {path} cannot be opened: {error.strerror}; give this user the right "
                "to write the file"
            ) from error
        names = os.fstat(self._file).st_nlink
        if names > 1 or not takes_lock(self._file, LOCK_SECONDS):
            os.close(self._file)
            raise StoreError(
                f"the database {path} has {names} names (hard links), and feedwatch would see a "
                "database of its own behind each; leave it one"
                if names > 1
                else f"another feedwatch has the database {path} open, under another name of the "
                "file; stop it first, or let it do the work"
            )
        self._is_replaced = False
        self._looked_at: tuple[object, ...] = ()  # the files that were not replaced
        self._noticing = Lock()  # several threads open connections
        self._wal = path.with_name(f"{path.name}-wal")
        if not self._wal.exists() and any(
            one.name.startswith(f"{path.name}-wal.of-") for one in path.parent.iterdir()
        ):
            with suppress(OSError):
                self._wal_aside().rename(self._wal)  # the file was put back

    def is_replaced(self) -> bool:
        """Whether the path has led to another file since, or to none; or that of its log or index.

        SQLite takes the write-ahead log (WAL) by its name. So ours, which it would apply to the new
        file and spoil it (sqlite.org/howtocorrupt.html, 1.4), goes aside at once. From then on log
        and file are no longer beside each other: it stays true if the file is put back.
        """
        with self._noticing:
            if self._is_replaced:
                return True
            # Asked every second: what was found of the same three files is true of them still.
            identities = tuple(
                _identity(self._path.with_name(self._path.name + end))
                for end in ("", "-wal", "-shm")
            )
            if identities == self._looked_at:
                return False
            try:
                is_here = os.path.samestat(self._path.stat(), os.fstat(self._file))
            except OSError:
                is_here = False
            files = _open_files()
            # Other processes make an index of their own, and no longer see what we write, nor we
            # what they do.
            is_torn = any(f"{self._path}{end} (deleted)" in files for end in ("-wal", "-shm"))
            if is_here and not is_torn:
                self._looked_at = identities
                return False
            import logging  # here: healthcheck uses this module, and is called often

            log = logging.getLogger(__name__)
            if is_here:
                log.critical(REPLACED)
            elif str(self._wal) in files:
                try:
                    aside = self._wal.rename(self._wal_aside())
                    self._path.with_name(f"{self._path.name}-shm").unlink(missing_ok=True)
                except OSError as error:
                    log.critical(
                        "%s; before that, move its log %s away, which could not be done: %s",
                        *(REPLACED, self._wal, error.strerror),
                    )
                else:
                    log.critical("%s; its last changes are in %s", REPLACED, aside)
            self._is_replaced = True
            return True

    def _wal_aside(self) -> Path:
        """Where the log goes that belongs to this very content of the file.

        A file system gives the inode of a deleted file to the next one, which may be a backup.
        """
        from hashlib import file_digest  # not for healthcheck

        with os.fdopen(self._file, "rb", closefd=False) as file:
            file.seek(0)
            number = int(file_digest(file, "sha256").hexdigest()[:12], 16)
        return self._path.with_name(f"{self._path.name}-wal.of-{number}")

    def refuse_if_replaced(self) -> None:
        """Raise `StoreError` if the path leads elsewhere: it is not to be opened by its name."""
        if self.is_replaced():
            raise StoreError(REPLACED)

    def release(self) -> None:
        """Unlock the file."""
        os.close(self._file)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _open_files() -> set[str]:
    """The files that this process has open, deleted ones with " (deleted)" (proc_pid_fd(5))."""
    found = set()
    with suppress(OSError):  # no such folder on other systems than Linux
        for file in Path("/proc/self/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                found.add(str(file.readlink()))
    return found


def filesystem_of(path: Path) -> str | None:
    """The type of the file system that a file is on; None where that cannot be told."""
    mount = _mount_of(path)
    return mount.partition(" - ")[2].partition(" ")[0] if mount is not None else None


def is_mount_point(path: Path) -> bool:
    """Whether the file is mounted by itself, as into a container."""
    mount = _mount_of(path)
    return mount is not None and path.is_file() and _mount_point(mount) == path.resolve()


def _mount_of(path: Path) -> str | None:
    """The line about a file's mount in /proc/self/mountinfo (proc_pid_mountinfo(5))."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = [line for line in lines if path.resolve().is_relative_to(_mount_point(line))]
    # Of several mounts at one point the last one is seen.
    return max(reversed(found), key=lambda line: len(_mount_point(line).parts), default=None)


def _mount_point(line: str) -> Path:
    return Path(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), line.split(" ")[4]))


def use_of(path: Path, database: Path) -> Use:
    """Whether a process holds the lock at `path`, and has this very file open as the database."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return Use.NONE
    except OSError:
        return Use.UNKNOWN
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        noted = os.read(file, 50).decode("ascii", "replace").partition(" ")[2]
        try:
            is_it = not noted or int(noted) == database.stat().st_ino
        except (OSError, ValueError):
            is_it = False
        return Use.OPEN if is_it else Use.REPLACED
    finally:
        os.close(file)
    return Use.NONE


def takes_lock(file: int, patience: float) -> bool:
    """Whether the lock of an open file could be had within `patience` seconds."""
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(LOCK_TRIED_EVERY)
        else:
            return True
