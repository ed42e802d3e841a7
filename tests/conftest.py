"""Fixtures that every test may use, and the guards that every test runs under."""

import asyncio
import gc
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Generator, Iterator
from inspect import iscoroutinefunction
from itertools import count
from pathlib import Path
from shutil import disk_usage
from typing import Any

import pytest
from anyio.lowlevel import checkpoint
from hypothesis import HealthCheck, settings

from tests import interpreter as forks
from tests.house.loopback import stranger
from tests.servers import _postgres_server, _redis_server, postgres_server, redis_server

__all__ = ["_postgres_server", "_redis_server", "postgres_server", "redis_server"]  # fixtures

_OPEN_FILES = "/proc/self/fd"  # only Linux has it; elsewhere files go unchecked
# Other threads, such as a server's, may be about to end or to close; only failures wait.
_CLOSING_SECONDS = float(os.environ.get("TESTS_CLOSING_SECONDS", "2.0"))
_LAST_TURNS = 10  # turns of the loop in which closing transports may finish

# Whether coverage does not trace a case of a test that is marked as `traced_once`: it traces the
# first case, and the first with each value of the parameters that the mark names.
_UNTRACED = pytest.StashKey[bool]()

_strangers: list[str] = []
_folders = count()  # that tests were given


def _watch_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Stop every step towards another machine before it is made."""
    # Python traces no audit hooks, so coverage cannot see these lines run.
    host = stranger(event, arguments)  # pragma: no cover
    if host is not None:  # pragma: no cover
        _strangers.append(f"{event} {host}")
        message = f"tests stay on this machine, not {host}"
        raise ConnectionRefusedError(message)


sys.addaudithook(_watch_network)
# What is drawn is the same in every run: none fails, or covers a line, by luck. `nox -s soak`
# draws anew, and far more. A busy machine may take its time with any example.
_patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", _patient, derandomize=True, max_examples=50)
settings.register_profile("anew", _patient, max_examples=2000)
settings.load_profile("same")
# The developer's own account and proxies are hidden from the tests.
for _name in list(os.environ):
    if _name.startswith("SYNC_") or _name.lower().endswith("_proxy"):
        del os.environ[_name]
# Files of tests lie in memory where that is possible: there, a commit waits for no disk.
_MEMORY = Path("/dev/shm")  # noqa: S108 - Linux has it
if _MEMORY.is_dir() and disk_usage(_MEMORY).free > 1 << 30:  # pragma: no branch - elsewhere
    os.environ.setdefault("TMPDIR", str(_MEMORY))
    tempfile.tempdir = None
# A shell that runs the tests in the background has them ignore Ctrl-C, `nohup` the terminal's
# end, and so would every process that they start; one that has a handler passes on the default.
for _name in {"SIGINT", "SIGHUP"} & set(dir(signal)):
    signal.signal(getattr(signal, _name), signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str, obj: Any) -> None:
    """Set up `no_task_is_left` before, and so end it after, an async test's own fixtures."""
    if collector.istestfunction(obj, name) and iscoroutinefunction(obj):
        pytest.mark.usefixtures("no_task_is_left")(obj)


def pytest_collection() -> None:
    """Look for no garbage among a million objects of tests that live until the end."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Keep the objects of tests from the collector."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Find the cases whose lines earlier cases of the same test run."""
    traced: set[tuple[object, ...]] = set()
    for item in items:
        if mark := item.get_closest_marker("traced_once"):
            test = item.nodeid.partition("[")[0]
            values: set[tuple[object, ...]] = {(test,)}
            values |= {(test, name, id(item.callspec.params[name])) for name in mark.args}
            item.stash[_UNTRACED] = values <= traced
            traced |= values


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run some cases without coverage, whose tracer takes half of a test's time."""
    tracers = sys.gettrace(), threading.gettrace()
    if item.stash.get(_UNTRACED, False):  # pragma: no cover - nothing is traced here
        sys.settrace(None)
        threading.settrace(None)
    result = yield
    sys.settrace(tracers[0])
    threading.settrace(tracers[1])
    return result


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Trace no more of the process that only hands out tests."""
    sys.settrace(None)


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio, the only loop that aiohttp knows."""
    return "asyncio"


@pytest.fixture(scope="session")
def interpreter() -> Iterator[None]:
    """Let a test start programs at little cost."""
    with forks.begun():
        yield


@pytest.fixture
async def no_task_is_left() -> AsyncIterator[None]:
    """Fail an async test that leaves a task behind."""
    own = asyncio.all_tasks()
    yield
    for _ in range(_LAST_TURNS):
        await checkpoint()
    left = asyncio.all_tasks() - own
    assert [task for task in left if "TestRunner" not in repr(task.get_coro())] == []


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a new folder; pytest's own lists all that were made before, and writes a link."""
    name = re.sub(r"\W", "_", request.node.name)[:30]
    folder = tmp_path_factory.getbasetemp() / f"{name}-{next(_folders)}"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Fail a test that leaves a thread or an open file behind, or tries to leave the machine."""
    threads = set(threading.enumerate())
    files = _open_files()
    yield
    ended = [thread for thread in threading.enumerate() if thread not in threads]
    for thread in ended:
        thread.join(_CLOSING_SECONDS)
    assert [thread.name for thread in ended if thread.is_alive()] == []
    assert _files_opened_since(files) == []
    visited, _strangers[:] = _strangers[:], []
    assert visited == []


def _open_files() -> set[tuple[str, str]]:
    names = os.listdir(_OPEN_FILES) if os.path.isdir(_OPEN_FILES) else []  # noqa: PTH112, PTH208 - twice a test: no paths
    found = set()
    for name in names:
        try:
            found.add((name, os.readlink(f"{_OPEN_FILES}/{name}")))  # noqa: PTH115
        except OSError:  # the listing's own descriptor is gone by now
            continue
    return found


def _files_opened_since(before: set[tuple[str, str]]) -> list[str]:
    """Name what stays open, after the garbage collector and slow closers had their turn."""
    opened = _open_files() - before
    deadline = time.monotonic() + _CLOSING_SECONDS
    while opened and time.monotonic() < deadline:
        gc.collect()
        os.sched_yield()
        opened = _open_files() - before
    return [target for _, target in opened if not target.startswith("/dev/")]
