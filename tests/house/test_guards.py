"""The guards of `tests/conftest.py` catch what they are there to catch."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.house.loopback import stranger

ROOT = Path(__file__).parents[2]

SETTINGS = {"PYTHONPATH": str(ROOT), "SYNC_API_KEY": "hidden", "TESTS_CLOSING_SECONDS": "0.2"}
# Each test breaks one rule, or none; its name says which.
SAMPLES = """
import asyncio, os, socket, threading
import anyio, pytest

kept = []
released = threading.Event()

@pytest.fixture
def anyio_backend():
    return "asyncio"

def test_sound_threads_and_files_may_come_and_go():
    thread = threading.Thread(target=released.wait, args=(0.001,))
    thread.start()
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
    socket.getaddrinfo("localhost", 80)
    left, right = socket.socketpair()
    left.close()
    right.close()
    cycle = [open(os.devnull)]
    cycle.append(cycle)

def test_sound_environment_is_clean():
    assert "SYNC_API_KEY" not in os.environ

@pytest.mark.anyio
async def test_sound_tasks_may_come_and_go():
    asyncio.get_running_loop().create_task(anyio.lowlevel.checkpoint())

def test_broken_by_a_thread():
    threading.Thread(target=released.wait, daemon=True, name="lingering").start()

def test_broken_by_a_socket():
    kept.append(socket.socket())

@pytest.mark.anyio
async def test_broken_by_a_task():
    kept.append(asyncio.create_task(anyio.sleep_forever()))

def test_broken_by_a_stranger():
    with pytest.raises(ConnectionRefusedError), socket.socket() as visitor:
        visitor.connect(("192.0.2.1", 80))

def test_broken_by_a_name():
    with pytest.raises(ConnectionRefusedError):
        socket.getaddrinfo(b"sync.example", 80)
"""


def test_every_leak_is_caught_and_nothing_else(tmp_path: Path) -> None:
    """A thread, a socket, a task and a visit fail their test; clean tests pass."""
    (tmp_path / "test_samples.py").write_text(SAMPLES, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    completed = subprocess.run(  # noqa: S603 - our own command
        [*command, "-rEfp", "-o", "filterwarnings=ignore", "test_samples.py"],
        cwd=tmp_path,
        env=os.environ | SETTINGS,
        capture_output=True,
        text=True,
        check=False,
    )
    broken = re.findall(r"^(?:ERROR|FAILED) .*::test_(\w+)", completed.stdout, re.MULTILINE)
    expected = {f"broken_by_a_{each}" for each in ("name", "socket", "stranger", "task", "thread")}
    assert {*broken} == expected, completed.stdout + completed.stderr
    assert "8 passed, 5 errors" in completed.stdout
    for culprit in ("lingering", "socket:[", "sleep_forever", "192.0.2.1", "sync.example"):
        assert culprit in completed.stdout


@pytest.mark.parametrize(
    ("event", "arguments", "expected"),
    [
        ("open", ("192.0.2.1", "r", 0), None),
        ("socket.connect", (None, "a path of a Unix socket"), None),
        *(("socket.connect", (None, at), None) for at in [("127.0.0.1", 80), ("::1%lo", 80, 0, 0)]),
        ("socket.connect", (None, ("192.0.2.1", 80)), "192.0.2.1"),
        *(("socket.getaddrinfo", (name, 80), None) for name in ("localhost", None, "")),
        ("socket.getaddrinfo", (b"sync.example", 80), "sync.example"),
    ],
)
def test_strangers_are_recognised(
    event: str, arguments: tuple[Any, ...], expected: str | None
) -> None:
    """Loopback in every spelling is home; everything else is not."""
    assert stranger(event, arguments) == expected
