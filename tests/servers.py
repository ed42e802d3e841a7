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
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from random import randrange
from typing import ClassVar, NoReturn, Self

import pytest

ROOT = Path(__file__).parents[1]
# What only tests with servers cover; tests that name their fixtures are found.
_COVERED_WITH_SERVERS = [
    "lipsync_async/_bulk/journal_postgres.py",
    "lipsync_async/_stores/postgres.py",
    "lipsync_async/_stores/redis.py",
    "lipsync_async/_stores/server.py",
    "tests/bulk/pooler.py",
]
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
_DEBIAN_FOLDERS = "usr/lib/postgresql/*/bin"  # where Debian has them, and not in the PATH


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
        deadline = time.monotonic() + _STARTING_SECONDS
        while not (self.answers() or time.monotonic() > deadline):
            os.sched_yield()
        assert self.answers(), (self.folder / "server.log").read_text()

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

    def _pause(self) -> bool:
        """Let a server that is about to start have the processor for a moment."""
        assert self._shell is not None
        with suppress(subprocess.TimeoutExpired):
            self._shell.wait(_GLANCE)
        return False

    def _tell(self, word: str) -> None:
        assert self._shell is not None
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{word}\n")
        self._shell.stdin.flush()


class RedisServer(Server):
    """Redis, which keeps its data in a file."""

    def lose_state(self) -> None:
        """Delete all data of the running server."""
        import redis  # noqa: PLC0415

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
        import redis  # noqa: PLC0415

        try:
            with closing(redis.Redis.from_url(self.url, retry=None)) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return self._pause()


class PostgresServer(Server):
    """PostgreSQL, with a database `postgres` and a user of that name who may do everything."""

    user = "postgres" if hasattr(os, "geteuid") and os.geteuid() == 0 else None

    def lose_state(self) -> None:
        """Delete all data of the database."""
        import psycopg  # noqa: PLC0415

        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")

    def _prepare(self) -> None:
        self.url = f"postgresql://postgres:{self.secret}@127.0.0.1:{self.port}/postgres"
        postgres = program_path("postgres", "postgresql")
        initdb = program_path("initdb", "postgresql")
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
        import psycopg  # noqa: PLC0415

        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return self._pause()
        return True


@pytest.fixture(scope="session")
def _redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def _postgres_server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def redis_server(_redis_server: RedisServer) -> Iterator[RedisServer]:
    """Give a Redis of the tests' own, without data; skip where it cannot be started."""
    with emptied(_redis_server):
        yield _redis_server


@pytest.fixture
def postgres_server(_postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """Give a PostgreSQL of the tests' own, without data; skip where it cannot be started."""
    with emptied(_postgres_server):
        yield _postgres_server


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


def program_path(name: str, package: str) -> str:
    """Return a program's path; skip the test, or fail it where `CI` is set, if there is none."""
    return _found(name) or missing(
        f"there is no {name}; install it (Debian: apt-get install {package})"
    )


def _found(name: str) -> str | None:
    folders = sorted(Path("/").glob(_DEBIAN_FOLDERS), key=_version, reverse=True)
    return shutil.which(name, path=os.pathsep.join([*map(str, folders), os.environ["PATH"]]))


def missing(what: str) -> NoReturn:
    """Skip a test that needs something; fail it where `CI` is set."""
    if os.environ.get("CI"):
        pytest.fail(f"CI is set, and {what}")
    pytest.skip(what)


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in folder.parent.name.split(".") if part.isdigit())


def not_covered() -> list[str]:
    """Return the files that are not covered here, because tests with servers are skipped.

    With `CI`, those tests fail, so there are none.
    """
    if os.environ.get("CI") or all(map(_found, ("redis-server", "initdb"))):
        return []
    names = "redis_server", "postgres_server", "tests.servers"
    tests = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("*.py")
        if any(name in path.read_text(encoding="utf-8") for name in names)
    }
    return sorted(tests - {"tests/conftest.py"}) + _COVERED_WITH_SERVERS


if __name__ == "__main__":
    print(",".join(not_covered()))  # noqa: T201
