"""PostgreSQL servers of a test's own: a primary, and a standby that follows it by streaming."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from tests.databases import SETTINGS, Server
from tests.support import wait_for

# Here a server is killed and never the machine: what it wrote is still there without fsync.
OWN = {**SETTINGS, "synchronous_commit": "on", "wal_receiver_status_interval": "1s"}


class Primary(Server):
    """A server that may be killed, and whose commits a standby may have to confirm."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, OWN)

    def require_standby(self) -> None:
        """From now on no commit returns before a standby has it."""
        self.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.execute("SELECT pg_reload_conf()")
        sync = "select 1 from pg_stat_replication where sync_state = 'sync'"
        wait_for(lambda: self.execute(sync), what="the synchronous standby")

    def kill(self) -> None:
        """Kill -9 of all its processes."""
        leader = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        for pid in [leader, *_children(leader)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not _is_alive(leader), what="the death of the server")
        (self.folder / "data" / "postmaster.pid").unlink()

    def end(self) -> None:
        """Stop it, if it is there; delete its folder."""
        if (self.folder / "data" / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Standby(Primary):
    """A copy of a primary that follows it."""

    def hold_back(self) -> None:
        """Receive nothing more: what the primary commits from now on is lost with it."""
        self.execute("ALTER SYSTEM SET primary_conninfo = ''")
        self.execute("SELECT pg_reload_conf()")
        received = "select 1 from pg_stat_wal_receiver"
        wait_for(lambda: not self.execute(received), what="the end of the replication")

    def promote(self) -> None:
        """Make it a primary."""
        assert self.execute("SELECT pg_promote(true, 60)") == [(True,)]


@contextmanager
def primary() -> Iterator[Primary]:
    """A server of one's own, with the template of an empty database."""
    server = Primary(Path(tempfile.mkdtemp(prefix="feedwatch-primary-")))
    try:
        server.start()
        yield server
    finally:
        server.end()


@contextmanager
def standby_of(server: Primary) -> Iterator[Standby]:
    """A standby that has all that the primary has by now."""
    standby = Standby(Path(tempfile.mkdtemp(prefix="feedwatch-standby-")))
    try:
        standby.start_as_standby(server, "standby")
        wait_for(lambda: _position(standby) >= _position(server), what="the standby's first copy")
        yield standby
    finally:
        standby.end()


def _position(server: Server) -> int:
    function = "case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else {} end"
    query = f"select ({function.format('pg_current_wal_lsn()')} - '0/0'::pg_lsn)::bigint"
    with suppress(psycopg.Error):
        return int(server.execute(query)[0][0] or 0)
    time.sleep(0.1)
    return -1


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, rest = stat.read_text().rpartition(")")
            if int(rest.split()[1]) == pid:
                found.append(int(name.split()[0]))
    return found


def _is_alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
