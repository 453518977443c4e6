"""Both databases for the tests of the store: a real SQLite file, or one of a real PostgreSQL.

Debian's server is started once for all of pytest's processes, and forgets all in a power cut.
FEEDWATCH_TESTS_POSTGRESQL is how it is reached: `pgbouncer`, in transaction mode, or the isolation
that is its default.
"""

import fcntl
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.config import Config
from sqlalchemy import Connection

from feedwatch.store import database

SQLITE, POSTGRESQL = "sqlite", "postgresql"
INSTALLED = Path("/usr/lib/postgresql")
PGBOUNCER = "pgbouncer"
WAY = os.environ.get("FEEDWATCH_TESTS_POSTGRESQL", "")
USER, PASSWORD = "feedwatch", "pa55word-of-the-tests"
TEMPLATE = "empty"  # as the migrations leave it
SETTINGS: Mapping[str, object] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "32MB",
    "max_connections": 200,
    "listen_addresses": "127.0.0.1",
}
POOLER = """
[databases]
* = host={folder} port={server}
[pgbouncer]
pool_mode = transaction
unix_socket_dir = {folder}
listen_port = {port}
auth_type = trust
auth_file = {folder}/pgbouncer.users
max_client_conn = 1000
default_pool_size = 8
logfile = {folder}/pgbouncer.log
pidfile = {folder}/pgbouncer.pid
"""
sqlite_only = pytest.mark.parametrize("both_databases", [SQLITE], indirect=True)


def migrate(db: Connection, move: Callable[[Config, str], None], revision: str) -> None:
    """Bring a database to an older or later revision; `move` is a function of `alembic.command`."""
    config = database.alembic_config()
    config.attributes["connection"] = db
    move(config, revision)


def programs() -> Path | None:
    """The folder of the newest server that is installed."""
    found = [one.parent for one in INSTALLED.glob("*/bin/postgres")]
    return max(found, key=lambda one: int(one.parent.name), default=None)


def pgbouncer() -> str | None:
    """The pooler, if it is installed."""
    return shutil.which(PGBOUNCER, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


def missing() -> str | None:
    """Which package the tests on PostgreSQL lack."""
    if programs() is None:
        return "postgresql"
    return PGBOUNCER if WAY == PGBOUNCER and pgbouncer() is None else None


def free_port() -> int:
    """One on loopback that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Server:
    """A server in a folder of its own, reached by a socket there, or by a port with a password."""

    def __init__(self, folder: Path, settings: Mapping[str, object] = SETTINGS) -> None:
        self.folder = folder
        self._settings = settings
        self._databases: dict[Path, str] = {}
        self._numbers = count()

    @property
    def port(self) -> int:
        """On loopback, and of the socket's name."""
        return int((self.folder / "port").read_text())

    def url(self, name: str) -> str:
        """By the socket, where nobody asks for a password; by the pooler's, where there is one."""
        pooler = self.folder / "pooler"
        port = int(pooler.read_text()) if pooler.exists() else self.port
        return f"postgresql+psycopg://{USER}@/{name}?host={self.folder}&port={port}"

    def url_of(self, path: Path) -> str:
        """The database that stands for an SQLite file: a new one with all tables at first."""
        if path not in self._databases:
            name = f"t{os.getpid()}_{next(self._numbers)}"
            self.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
            self._databases[path] = name
        return self.url(self._databases[path])

    def execute(self, statement: str, name: str = "postgres") -> list[Any]:
        """Execute a statement as the superuser; returns the rows that it has."""
        where = {"host": str(self.folder), "port": self.port, "user": USER, "dbname": name}
        with psycopg.connect(**where, autocommit=True) as db:  # type: ignore[arg-type]
            done = db.execute(statement)
            return done.fetchall() if done.description else []

    def drop_all(self) -> None:
        """Drop the databases of this process."""
        for name in self._databases.values():
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")
        self._databases.clear()

    def start(self) -> None:
        """Make the database cluster, start the server and make the template."""
        password = self.folder / "password"
        password.write_text(PASSWORD)
        self._run(
            *("initdb", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"),
            *("--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password}"),
            *(f"--username={USER}", f"--pgdata={self._data}"),
        )
        self._launch()
        self.execute(f"CREATE DATABASE {TEMPLATE}")
        engine = database.connect(self.url(TEMPLATE))
        database.upgrade(engine)
        engine.dispose()

    def start_as_standby(self, primary: "Server", name: str) -> None:
        """Copy another server, start as its standby of this name, and follow it."""
        there = f"host={primary.folder} port={primary.port} user={USER} application_name={name}"
        self._run(
            *("pg_basebackup", "--no-sync", "--checkpoint=fast", "--wal-method=stream"),
            *("--write-recovery-conf", f"--pgdata={self._data}", f"--dbname={there}"),
        )
        self._launch()

    def pool(self) -> None:
        """Have `url` lead to a pgbouncer in transaction mode."""
        program, port = pgbouncer(), free_port()
        assert program is not None
        (self.folder / "pgbouncer.users").write_text(f'"{USER}" ""\n')
        config = self.folder / "pgbouncer.ini"
        config.write_text(POOLER.format(folder=self.folder, server=self.port, port=port))
        self._run(program, "--daemon", "--quiet", config)
        (self.folder / "pooler").write_text(str(port))

    def stop(self) -> None:
        """Stop it at once, and delete its folder."""
        pooler = self.folder / "pgbouncer.pid"
        if pooler.exists():
            os.kill(int(pooler.read_text()), signal.SIGTERM)
        self._run("pg_ctl", f"--pgdata={self._data}", "-m", "immediate", "stop")
        shutil.rmtree(self.folder)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _launch(self) -> None:
        """Start the server at a port that is free."""
        (self.folder / "port").write_text(str(free_port()))
        given = {"port": self.port, "unix_socket_directories": self.folder, **self._settings}
        options = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in given.items())
        log = self.folder / "log"
        self._run("pg_ctl", "-w", f"--pgdata={self._data}", f"--log={log}", "-o", options, "start")

    def _run(self, program: str, *arguments: object) -> None:
        """Run a program of the server's as somebody else than root, which it refuses."""
        bin_folder = programs()
        assert bin_folder is not None
        as_whom: dict[str, Any] = {}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            as_whom = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        subprocess.run(
            [str(word) for word in (bin_folder / program, *arguments)],
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,
            **as_whom,
        )


@contextmanager
def own_server(primary: Server | None = None, name: str = "") -> Iterator[Server]:
    """A server for one test, whose settings it may change; of a primary, its standby `name`."""
    server = Server(Path(tempfile.mkdtemp(prefix="feedwatch-postgresql-")))
    if primary is None:
        server.start()
    else:
        server.start_as_standby(primary, name)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def shared_server(together: Path) -> Iterator[Server]:
    """The server of all processes that share the folder `together`: the last one stops it."""
    noted, users = together / "postgresql", together / "postgresql.users"
    with _locked(together):
        number = int(users.read_text()) if users.exists() else 0
        if number == 0:
            noted.write_text(tempfile.mkdtemp(prefix="feedwatch-postgresql-"))
            isolation = {"default_transaction_isolation": WAY} if WAY not in ("", PGBOUNCER) else {}
            server = Server(Path(noted.read_text()), {**SETTINGS, **isolation})
            server.start()
            if WAY == PGBOUNCER:
                server.pool()
        users.write_text(str(number + 1))
    server = Server(Path(noted.read_text()))
    try:
        yield server
    finally:
        with _locked(together):
            number = int(users.read_text()) - 1
            users.write_text(str(number))
            if number == 0:
                server.stop()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "postgresql.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


_in_use: list[Server] = []


@contextmanager
def in_use(server: Server) -> Iterator[None]:
    """From now on, `url_of` gives databases of this server."""
    _in_use.append(server)
    try:
        yield
    finally:
        _in_use.remove(server)
        server.drop_all()


def url_of(path: Path) -> str:
    """The URL of the database at `path`; on PostgreSQL, of the one that stands for it."""
    return _in_use[-1].url_of(path) if _in_use else f"sqlite:///{path}"


def is_sqlite() -> bool:
    """Whether `url_of` gives files."""
    return not _in_use
