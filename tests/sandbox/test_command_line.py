"""`python -m lipsync_async.sandbox`, in a process of its own."""

import errno
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

import pytest

from lipsync_async.cli.sandbox import _advice as advice_about, main
from tests.sandbox.clients import order


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str, str, str]]:
    """Run a sandbox on a free port; yield its process, URL, key and webhook secret."""
    process = subprocess.Popen(  # noqa: S603 - this very package
        [sys.executable, "-W", "error", "-m", "lipsync_async.sandbox", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    with process:
        try:
            export, *assigned = process.stdout.readline().split()
            names, values = zip(*(each.split("=") for each in assigned), strict=True)
            assert export == "export"
            assert names == ("SYNC_BASE_URL", "SYNC_API_KEY", "SYNC_WEBHOOK_SECRET")
            url, key, secret = values
            yield process, url, key, secret
        finally:
            process.send_signal(signal.SIGINT)


def asked(url: str, key: str, body: Any = None, progression: str = "immediate") -> Any:
    """Ask with the standard library, as a script would."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"x-api-key": key, "Content-Type": "application/json"}
    headers |= {"x-sandbox-progression": progression}
    request = Request(url, data, headers)  # noqa: S310 - the sandbox's own address
    with urlopen(request) as answer:  # noqa: S310 - see above
        return json.load(answer)


def test_it_prints_what_a_client_needs_and_ends_with_ctrl_c() -> None:
    """The first line can be pasted into a shell; Ctrl-C is a good end."""
    options = ("--plan", "scale", "--seed", "5", "--allow-host", "hooks.test")
    with started("--speed", "instant", *options) as told:
        process, url, key, secret = told
        assert asked(f"{url}/v2/organizations/webhook/secret", key) == {"secret": secret}
        job = asked(f"{url}/v2/generate", key, order())
        assert asked(f"{url}/v2/generate/{job['id']}", key)["status"] == "COMPLETED"
        # Webhooks without TLS go to hosts that are allowed; that of a job that does not end stays.
        hooked = order(webhookUrl="http://hooks.test/a")
        assert asked(f"{url}/v2/generate", key, hooked, "manual")["status"] == "PENDING"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")


def test_each_start_is_another_service_unless_it_is_repeated() -> None:
    """A journal of another start meets a key that it does not know; a printed seed repeats all."""
    told: list[tuple[str, str]] = []
    for repeated in (False, False, True):
        how = ("--seed", told[-1][1]) if repeated else ()
        with started("--speed", "instant", *how) as (process, _, key, _):
            assert process.stdout is not None
            (seed,) = re.findall(r"; seed: (\d+)\. ", process.stdout.readline())
        told.append((key, seed))
    first, second, again = told
    assert (first[0] != second[0], again) == (True, second)


@pytest.mark.parametrize(("name", "in_background"), [("SIGHUP", False), ("SIGINT", True)])
def test_it_ends_by_signals_as_by_ctrl_c(name: str, in_background: bool) -> None:  # noqa: FBT001
    """Of its terminal, its manager or a script, whose `&` makes it deaf to Ctrl-C at first."""
    known = signal.getsignal(signal.SIGINT)
    if in_background:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # children inherit that
    try:
        with started("--speed", "instant") as (process, *_):
            process.send_signal(getattr(signal, name))
            _, errors = process.communicate()
    finally:
        signal.signal(signal.SIGINT, known)
    assert (process.returncode, errors) == (0, "")


# `-m` imports the package first, as `run_module` does.
EARLY = """
import runpy, signal, sys
class Presser:
    def find_spec(self, name, *_):
        if name == "aiohttp":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Presser())
runpy.run_module("lipsync_async.sandbox", None, "__main__")
"""


def test_a_very_early_ctrl_c_is_one_line() -> None:
    """While modules are still being imported, it is 130 and no traceback."""
    ended = subprocess.run([sys.executable, "-c", EARLY], check=False, capture_output=True)  # noqa: S603
    told = b"lipsync_async.sandbox: stopped before it served.\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", told)


class FailingStream(io.StringIO):
    """A stream that presses Ctrl-C and fails when it is written to."""

    encoding = "ascii"

    def __init__(self, error: Exception | None) -> None:
        super().__init__()
        self._error = error

    def write(self, text: str) -> int:
        """Press, and fail or take the text."""
        os.kill(os.getpid(), signal.SIGINT)
        if self._error is not None:
            raise self._error
        return len(text)

    def fileno(self) -> int:
        """Fail as a stream that is in memory."""
        raise OSError("it has none")


@pytest.mark.parametrize(
    "error",
    [
        *(None, BrokenPipeError("its reader has gone"), BlockingIOError("its reader is slow")),
        *(OSError(errno.EIO, "its terminal was closed"), OSError(errno.ENOSPC, "the disk is full")),
        ValueError("it is closed"),
        UnicodeEncodeError("ascii", "é", 0, 1, "it has no such letter"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_it_serves_whatever_becomes_of_its_words(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe that was closed, a full disk and an old encoding are no end of it; Ctrl-C is."""
    monkeypatch.setattr(sys, "stdout", FailingStream(error))
    assert main(["--port", "0", "--speed", "instant"]) == 0


@pytest.mark.parametrize("stream", [None, io.TextIOWrapper(io.BytesIO(), "ascii"), io.StringIO()])
def test_a_complaint_needs_no_console(stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code tells, where words cannot be written."""
    monkeypatch.setattr(sys, "stderr", stream)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["--port", str(taken.getsockname()[1]), "--speed", "instant"]) == 1


def test_a_taken_port_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback, and an exit code that tells."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code = main(["--port", str(port), "--speed", "30"])
    errors = capsys.readouterr().err
    assert (code, errors.count("\n"), f"127.0.0.1:{port}" in errors) == (1, 1, True)
    assert errors.endswith(
        "Give another --port (0 picks a free one), or end the program that listens there.\n"
    )


def test_an_address_of_another_machine_is_one_clear_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The advice is about the host."""
    assert main(["--host", "192.0.2.1", "--port", "0", "--speed", "instant"]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.endswith("Give a --host of this machine, such as 127.0.0.1.")


def test_low_ports_are_for_the_system() -> None:
    """What a user without rights is told."""
    assert "--port from 1024" in advice_about(PermissionError(errno.EACCES, "Permission denied"))


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--plan", "platinum"], ["--plan", "enterprise:0"], ["--plan", "enterprise:²"]),
        *(["--plan", "enterprise:12345678901"], ["--plan", "scale:5"], ["--port", "65536"]),
        *(["--port=-1"], ["--port", "http"], ["--speed", "fast"], ["--speed", "-1"]),
    ],
)
def test_wrong_options_are_explained(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The usual usage message, with what would be right."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert (caught.value.code, "use " in capsys.readouterr().err.splitlines()[-1]) == (2, True)
