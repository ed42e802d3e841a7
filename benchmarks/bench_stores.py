"""The stores of account limits: what a change takes, beside the bare packages of the servers.

Bare Redis reads and writes the same document, and nothing keeps others from coming between. Bare
PostgreSQL does in a transaction what a change does, one statement after the other. Documents are
as large as that of 600 requests a minute. Four processes change one document as often as the
largest account asks for (100 times a second in all), and as often as they can.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

import psycopg
import pytest
import redis.asyncio

from benchmarks.measuring import Duel, Lap, race, timed
from benchmarks.ratios import Ratio
from lipsync_async import MemoryAccountStore
from lipsync_async._stores import store_at
from tests.servers import PostgresServer, RedisServer, Server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pytest_benchmark.fixture import BenchmarkFixture

    from lipsync_async import AccountStore

_CHANGES, _ROUNDS = 50, 40
_DOCUMENT = bytes(range(240)) * 50
_PROCESSES = 4
# Changes of each process, and the mean pause before each, in seconds.
_LOADS = {"100 a second": (100, 0.04), "all at once": (300, 0.0)}
_WORKER = """
import asyncio, sys, time
from random import uniform
from lipsync_async._stores import store_at

async def main(url, number, pause):
    calls, taken = 0, []
    def rule(document, now):
        nonlocal calls
        calls += 1
        return bytes(12_000), None
    store = store_at(url)
    await store.change("begin", rule)
    print(flush=True)
    sys.stdin.readline()
    calls = 0
    for _ in range(number):
        await asyncio.sleep(uniform(0, 2 * pause))
        began = time.perf_counter()
        await store.change("lipsync:bench", rule)
        taken.append(time.perf_counter() - began)
    await store.aclose()
    print(calls, *taken)

asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
"""


def _rule(document: bytes | None, now: float) -> tuple[bytes, float]:
    return document or _DOCUMENT, now


def test_one_process(benchmark: BenchmarkFixture, report: Callable[[Ratio], None]) -> None:
    """Change a document again and again, one change after the other."""
    with RedisServer() as cache, PostgresServer() as database, asyncio.Runner() as runner:
        client = redis.asyncio.Redis.from_url(cache.url)
        connection = runner.run(psycopg.AsyncConnection.connect(database.url, autocommit=True))
        stores: dict[str, AccountStore] = {
            "memory": MemoryAccountStore(),
            "Redis": store_at(cache.url),
            "PostgreSQL": store_at(database.url),
        }
        works: dict[str, Callable[[], Awaitable[object]]] = {
            name: partial(store.change, "lipsync:bench", _rule) for name, store in stores.items()
        }
        works["bare Redis"] = partial(_in_redis, client)
        works["bare PostgreSQL"] = partial(_in_postgres, connection)
        duel = Duel({name: partial(_lap, runner, work) for name, work in works.items()})
        race(benchmark, duel, rounds=_ROUNDS)
        for store in stores.values():
            runner.run(store.aclose())
        runner.run(client.aclose())
        runner.run(connection.close())
    report(Ratio(what="change in memory, in µs", measured=duel.seconds("memory") * 1e6))
    for name in ("Redis", "PostgreSQL"):
        bare, own = duel.seconds(f"bare {name}"), duel.seconds(name)
        report(Ratio(what=f"change in {name}, in ms", measured=own * 1e3))
        report(Ratio(what=f"change in {name} / bare", measured=own / bare, at_most=2))


@pytest.mark.parametrize("load", _LOADS)
@pytest.mark.parametrize("kind", [RedisServer, PostgresServer])
def test_four_processes(kind: type[Server], load: str, report: Callable[[Ratio], None]) -> None:
    """Change one document in four processes."""
    number, pause = _LOADS[load]
    with kind() as server:
        command = [sys.executable, "-c", _WORKER, server.url, f"{number}", f"{pause}"]
        workers = [
            subprocess.Popen(  # noqa: S603 - our own words
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(_PROCESSES)
        ]
        for worker in workers:
            assert worker.stdout is not None
            worker.stdout.readline()
        for worker in workers:  # all of them are ready
            assert worker.stdin is not None
            worker.stdin.write("\n")
            worker.stdin.flush()
        answers = [worker.communicate()[0].split() for worker in workers]
    changes = _PROCESSES * number
    clashes = sum(int(calls) for calls, *_ in answers) - changes
    taken = [float(seconds) for _, *times in answers for seconds in times]
    what = f"{kind.__name__.removesuffix('Server')}, 4 processes, {load}"
    report(Ratio(what=f"{what}: median of a change, in ms", measured=median(taken) * 1e3))
    report(Ratio(what=f"{what}: longest, in ms", measured=max(taken) * 1e3))
    report(Ratio(what=f"{what}: clashes, % of the changes", measured=100 * clashes / changes))


async def _in_redis(client: redis.asyncio.Redis) -> None:
    await client.hmget("bare", ["version", "document"])
    await client.hset("bare", mapping={"version": 1, "document": _DOCUMENT})


async def _in_postgres(connection: psycopg.AsyncConnection) -> None:
    name = "bare"
    async with connection.transaction():
        await connection.execute("SET LOCAL synchronous_commit = off")
        await connection.execute(
            "INSERT INTO lipsync_documents VALUES (%s, NULL) ON CONFLICT DO NOTHING", (name,)
        )
        await connection.execute(
            "SELECT document FROM lipsync_documents WHERE name = %s FOR UPDATE", (name,)
        )
        await connection.execute("SELECT clock_timestamp()")
        await connection.execute(
            "UPDATE lipsync_documents SET document = %s WHERE name = %s", (_DOCUMENT, name)
        )


def _lap(runner: asyncio.Runner, work: Callable[[], Awaitable[object]]) -> Lap:
    async def work_often() -> None:
        for _ in range(_CHANGES):
            await work()

    return timed(lambda: runner.run(work_often()), _CHANGES)
