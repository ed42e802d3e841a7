"""`python -m lipsync_async.sandbox`, in a process of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

import pytest

from lipsync_async.sandbox.__main__ import main
from tests.sandbox.doors import order


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


def asked(url: str, key: str, body: Any = None) -> Any:
    """Ask with the standard library, as a script would."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data, {"x-api-key": key})  # noqa: S310 - the sandbox's own address
    with urlopen(request) as answer:  # noqa: S310 - see above
        return json.load(answer)


def test_it_prints_what_a_client_needs_and_ends_with_ctrl_c() -> None:
    """The first line can be pasted into a shell; Ctrl-C is a good end."""
    with started("--speed", "instant", "--plan", "scale", "--seed", "5") as told:
        process, url, key, secret = told
        assert asked(f"{url}/v2/organizations/webhook/secret", key) == {"secret": secret}
        job = asked(f"{url}/v2/generate", key, order())
        assert asked(f"{url}/v2/generate/{job['id']}", key)["status"] == "COMPLETED"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")


def test_a_taken_port_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback, and an exit code that tells."""
    with started("--speed", "30") as (_, url, *_secrets):
        port = url.rpartition(":")[2]
        code = main(["--port", port])
    errors = capsys.readouterr().err
    assert (code, errors.count("\n"), f"127.0.0.1:{port}" in errors) == (1, 1, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--plan", "platinum"],
        ["--port", "70000"],
        ["--port", "x"],
        ["--speed", "fast"],
        ["--speed", "-1"],
    ],
)
def test_wrong_options_are_explained(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The usual usage message, with what would be right."""
    with pytest.raises(SystemExit):
        main(arguments)
    assert "use " in capsys.readouterr().err
