"""What the command `doctor` says of the account store."""

import sys
from contextlib import closing

import pytest
import redis

from lipsync_async.cli.main import main
from lipsync_async.sandbox import Fault, Sandbox
from tests.cli.terminals import Said
from tests.servers import RedisServer

FIX = "Until it works, no job is created. Unset SYNC_ACCOUNT if no limits are to be shared."


def lines_of_the_store(capsys: Said) -> list[str]:
    """Return the line of the check, with what is wrong or how to fix it; no other is wrong."""
    said = capsys.readouterr().out
    lines = said.splitlines()
    (place,) = (number for number, line in enumerate(lines) if line[7:13] == "store ")
    others = lines[:place] + lines[place + 1 : -1]
    assert [line for line in others if line.startswith("WRONG")] == []
    assert ("SECRET" in said, "HTTPS_PROXY" in said) == (False, False)
    return [lines[place], *(line.strip() for line in others[place:][:1] if line[0] == " ")]


@pytest.mark.usefixtures("sandbox")
def test_no_store_is_needed(capsys: Said) -> None:
    """One line says that there is none."""
    assert main(["doctor"]) == 0
    assert lines_of_the_store(capsys) == ["ok     store    none: SYNC_ACCOUNT is not set"]


def test_a_store_that_answers(
    sandbox: Sandbox, capsys: Said, monkeypatch: pytest.MonkeyPatch, redis_server: RedisServer
) -> None:
    """Its address is shown without the password, and nothing is written to it."""
    monkeypatch.setenv("SYNC_ACCOUNT", f"{redis_server.url}?health_check_interval=9")
    # An answer that a client would share with the other processes.
    fields = {"limits": {"concurrency": 3}}
    sandbox.faults.add(Fault("replace_fields", path="/v2/account", fields=fields))
    assert main(["doctor"]) == 0
    address = f"redis://127.0.0.1:{redis_server.port}/0"
    assert lines_of_the_store(capsys) == [f"ok     store    {address} answers"]
    with closing(redis.Redis.from_url(redis_server.url)) as client:
        assert client.keys() == []


@pytest.mark.usefixtures("sandbox")
def test_a_store_that_is_down(capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service is well, and the store's own error is told."""
    monkeypatch.setenv("SYNC_ACCOUNT", "redis://:SECRET@127.0.0.1:1/0")
    assert main(["doctor"]) == 1
    said, fix = lines_of_the_store(capsys)
    shown = "redis://127.0.0.1:1/0"
    assert said.startswith(f"WRONG  store    The account store at {shown} cannot be used: ")
    assert fix == FIX


@pytest.mark.usefixtures("sandbox")
def test_an_address_of_no_store(capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named, and nothing is said of the service's address."""
    monkeypatch.setenv("SYNC_ACCOUNT", "mysql://SECRET")
    assert main(["doctor"]) == 1
    said, fix = lines_of_the_store(capsys)
    assert said.startswith("WRONG  store    SYNC_ACCOUNT must be an address that begins with redis")
    assert fix == FIX


@pytest.mark.usefixtures("sandbox")
def test_a_store_whose_package_is_missing(capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra to install is named."""
    monkeypatch.setenv("SYNC_ACCOUNT", "redis://127.0.0.1:1/0")
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    assert main(["doctor"]) == 1
    said, fix = lines_of_the_store(capsys)
    assert said.endswith("Run: pip install 'lipsync-async[redis]'")
    assert fix == FIX
