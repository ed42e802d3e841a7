"""Private servers that tests start, stop and empty: Redis and PostgreSQL, on this machine only.

A shell stands between a server and the tests. It stops the server and deletes its folder when
the pipe to it is closed: by `close`, or by the end of the test process, however it ends.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import randrange
from select import select
from typing import ClassVar, NoReturn, Self

import psycopg
import pytest
import redis

_SHELL = """
stop() { [ -z "$pid" ] || { kill -INT "$pid"; wait "$pid"; pid=; } 2>/dev/null; }
while read -r word; do
    case $word in
        start) "$@" >>server.log 2>&1 & pid=$! ;;
        stop) stop; echo stopped ;;
    esac
done
stop
rm -rf "$PWD"
"""
# Below these of Linux, macOS and Windows that are given to outgoing connections: another program
# could otherwise receive the port of a server that is stopped for a moment.
_PORTS = 20_000, 32_000
_STARTING_SECONDS, _GLANCE = 60.0, 0.02
DEBIAN_FOLDERS = "/usr/lib/postgresql/*/bin"  # where Debian has them, and not in the PATH


class Server(ABC):
    """Server with an account of its own, on a port of 127.0.0.1.

    Attributes:
        url: Its address, with the password.
    """

    url: str
    secret: ClassVar[str] = "secret-of-the-test-server"
    user: ClassVar[str | None] = None  # of the system, who runs it
    _command: list[str]

    def __init__(self) -> None:
        self.port = _free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="server-"))
        self._shell: subprocess.Popen[str] | None = None
        try:
            if self.user is not None:
                shutil.chown(self.folder, self.user)
            self._prepare()
            self._shell = subprocess.Popen(  # noqa: S603 - our own words
                ["/bin/sh", "-c", _SHELL, "sh", *self._command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=self.folder,
                user=self.user,
                start_new_session=True,  # a Ctrl-C is for the tests
            )
            self.start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server, and delete all that it has written."""
        if self._shell is not None:
            self._shell.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start the server with the data that it had, and wait until it answers."""
        self._tell("start")
        assert self._shell is not None
        assert self._shell.stdout is not None
        deadline = time.monotonic() + _STARTING_SECONDS
        while not self.answers():
            if time.monotonic() > deadline:  # pragma: no cover - no server is as slow
                pytest.fail((self.folder / "server.log").read_text())
            select([self._shell.stdout], [], [], _GLANCE)

    def stop(self) -> None:
        """Stop the server; all connections end, and new ones are refused."""
        self._tell("stop")
        assert self._shell is not None
        assert self._shell.stdout is not None
        self._shell.stdout.readline()

    @abstractmethod
    def lose_state(self) -> None:
        """Delete all data of the running server."""

    @abstractmethod
    def _prepare(self) -> None:
        """Write what the server needs in its folder, and set its command and address."""

    @abstractmethod
    def answers(self) -> bool:
        """Tell whether the server runs."""

    def _tell(self, word: str) -> None:
        assert self._shell is not None
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{word}\n")
        self._shell.stdin.flush()


class RedisServer(Server):
    """Redis, which keeps its data in a file."""

    def lose_state(self) -> None:
        """Delete all data of the running server."""
        with closing(redis.Redis.from_url(self.url)) as client:
            client.flushall()

    def _prepare(self) -> None:
        self.url = f"redis://:{self.secret}@127.0.0.1:{self.port}/0"
        program = program_path("redis-server", "redis-server")
        options = f"--bind 127.0.0.1 --port {self.port} --requirepass {self.secret} --save"
        kept = "--appendonly yes --appendfsync no --dir ."
        self._command = [program, *options.split(), "", *kept.split()]

    def answers(self) -> bool:
        """Tell whether the server runs."""
        try:
            with closing(redis.Redis.from_url(self.url, retry=None)) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False


class PostgresServer(Server):
    """PostgreSQL, with a database `postgres` and a user of that name who may do everything."""

    user = "postgres" if hasattr(os, "geteuid") and os.geteuid() == 0 else None

    def lose_state(self) -> None:
        """Delete all data of the database."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")

    def _prepare(self) -> None:
        self.url = f"postgresql://postgres:{self.secret}@127.0.0.1:{self.port}/postgres"
        postgres = program_path("postgres", "postgresql", DEBIAN_FOLDERS)
        initdb = program_path("initdb", "postgresql", DEBIAN_FOLDERS)
        secret = self.folder / "secret"
        secret.write_text(self.secret)
        secret.chmod(0o644)
        options = "-D data -U postgres -E UTF8 --no-locale --no-sync --no-instructions"
        passwords = "--auth-local=trust --auth-host=scram-sha-256 --pwfile=secret"
        subprocess.run(  # noqa: S603 - our own words
            [initdb, *options.split(), *passwords.split()],
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
            user=self.user,
            check=True,
        )
        fast = "fsync=off full_page_writes=off listen_addresses=127.0.0.1 max_connections=200"
        settings = [word for each in fast.split() for word in ("-c", each)]
        self._command = [postgres, "-D", "data", "-k", str(self.folder), *settings]
        self._command += ["-p", str(self.port)]

    def answers(self) -> bool:
        """Tell whether the server runs."""
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def emptied(server: Server) -> Iterator[None]:
    """Give a test the server without data, and running again after the test."""
    server.lose_state()
    yield
    if not server.answers():
        server.start()


def _free_port() -> int:
    while True:
        port = randrange(*_PORTS)
        with closing(socket.socket()) as candidate:
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:  # pragma: no cover - somebody else has it
                continue
            return port


def program_path(name: str, package: str, pattern: str | None = None) -> str:
    """Return a program's path; skip the test, or fail it where `CI` is set, if there is none."""
    folders = sorted(Path("/").glob(pattern[1:]), key=_version) if pattern else []
    path = os.pathsep.join([*map(str, reversed(folders)), os.environ.get("PATH", "")])
    return shutil.which(name, path=path) or missing(
        f"there is no {name}; install it (Debian: apt-get install {package})"
    )


def missing(what: str) -> NoReturn:
    """Skip a test that needs something; fail it where `CI` is set."""
    if os.environ.get("CI"):
        pytest.fail(f"CI is set, and {what}")
    pytest.skip(what)


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in folder.parent.name.split(".") if part.isdigit())
