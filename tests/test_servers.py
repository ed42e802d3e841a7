"""Private servers of the tests."""

import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from tests import servers
from tests.servers import PostgresServer, RedisServer


def test_redis_keeps_its_data_while_it_is_stopped(redis_server: RedisServer) -> None:
    """A stopped Redis refuses; started again, it has the data, until it loses them."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.set("name", "value")
        redis_server.stop()
        with pytest.raises(redis.ConnectionError):
            client.get("name")
        redis_server.start()
        assert client.get("name") == b"value"
        redis_server.lose_state()
        assert client.get("name") is None
    redis_server.stop()  # the next test has it running again


def test_postgresql_keeps_its_data_while_it_is_stopped(postgres_server: PostgresServer) -> None:
    """A stopped PostgreSQL refuses; started again, it has the data, until it loses them."""
    with psycopg.connect(postgres_server.url) as connection:
        connection.execute("CREATE TABLE names (name text)")
    postgres_server.stop()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(postgres_server.url)
    postgres_server.start()
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    with psycopg.connect(postgres_server.url) as connection:
        assert connection.execute(tables).fetchone() == (1,)
    postgres_server.lose_state()
    with psycopg.connect(postgres_server.url) as connection:
        assert connection.execute(tables).fetchone() == (0,)


def folder_left_by(kind: str) -> Path:
    """Kill a process that has started a server, and return the folder that the server had."""
    program = f"""
import os, signal
from tests.servers import {kind}
print({kind}().folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    # The shell of the server has an end of this pipe, which is read until the shell has ended.
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    return Path(ended.stdout.strip())


def test_a_killed_test_process_leaves_no_redis(redis_server: RedisServer) -> None:
    """Server and folder go with the process, however it ends."""
    assert not folder_left_by(type(redis_server).__name__).exists()


def test_a_killed_test_process_leaves_no_postgresql(postgres_server: PostgresServer) -> None:
    """Server and folder go with the process, however it ends."""
    assert not folder_left_by(type(postgres_server).__name__).exists()


def test_a_missing_program_skips_or_fails_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test is skipped, naming the package; where `CI` is set, it fails."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install redis-server"):
        RedisServer()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="CI is set, and there is no redis-server"):
        RedisServer()


def test_what_skipped_tests_would_cover_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the servers, the stores and their tests need no coverage; with `CI`, they do."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("PATH", "")
    omitted = {"tests/servers.py", "tests/test_servers.py", "lipsync_async/_stores/redis.py"}
    found = servers.not_covered()
    assert omitted - {*found} == set()
    assert [path for path in found if not (servers.ROOT / path).is_file()] == []
    monkeypatch.setenv("CI", "true")
    assert servers.not_covered() == []
