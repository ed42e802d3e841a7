"""What holds for every command: its examples run, failures are one line, JSON is only JSON."""

import argparse
import gc
import io
import json
import logging
import os
import re
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import argcomplete
import pytest

import lipsync_async
from lipsync_async.cli.commands import COMMANDS
from lipsync_async.cli.main import main
from lipsync_async.cli.output import logged_warnings
from lipsync_async.cli.standard import StandardInput
from lipsync_async.sandbox import Fault, Sandbox
from lipsync_async.sandbox.media.demo_media import draw_talking_head, speak_line
from lipsync_async.sandbox.media.engines import working_engines
from tests.cli.terminals import Said
from tests.cli.test_commands import MANIFEST, ORDER, VOICE, documents, given
from tests.cli.test_progress import Terminal
from tests.house.code_blocks import blocks
from tests.portal.verbs import interrupted

GUIDE = Path(__file__).parents[2] / "docs" / "command-line.md"
ANY_ID = "00000000-0000-4000-8000-00000000abcd"
SPEAK = ("speak", "Hello", "--voice", VOICE)
# Each command of the API, as it is typed.
TYPED: dict[str, tuple[str, ...]] = {
    "generate": ORDER,
    "wait": ("wait", ANY_ID),
    "get": ("get", ANY_ID),
    "list": ("list",),
    "upload": ("upload", "audio.wav"),
    "download": ("download", ANY_ID),
    "estimate": ("estimate", "--duration", "30"),
    "batch create": ("batch", "create", "batch.csv"),
    "batch list": ("batch",),
    "batch wait": ("batch", "wait", ANY_ID),
    "batch results": ("batch", "results", ANY_ID),
    "voices list": ("voices",),
    "voices clone": ("voices", "clone", "Mine", "audio.wav"),
    "voices delete": ("voices", "delete", ANY_ID),
    "speak": SPEAK,
    "transcribe": ("transcribe", "audio.wav"),
    "account": ("account",),
    "doctor": ("doctor",),
    "run": ("run", "takes.csv", "--journal", "j.sqlite"),
}
OFFLINE = {"journal", "demo", "sandbox"}


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make what the examples use: a small talking head, a spoken line, manifests."""
    folder = tmp_path_factory.mktemp("media")
    draw_talking_head(folder / "video.mp4", seconds=1.0, width=64, height=48)
    speak_line(folder / "audio.wav", seconds=0.4)
    (folder / "batch.csv").write_text(MANIFEST, encoding="utf-8")
    lines = MANIFEST.splitlines(keepends=True)
    (folder / "takes.csv").write_text("".join(lines[:3]), encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def _in_a_folder(media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run commands in a folder of their own, which has the files."""
    for file in media.iterdir():
        (tmp_path / file.name).symlink_to(file)
    monkeypatch.chdir(tmp_path)


def in_guide() -> Iterator[str]:
    """Yield what the guide has one type: its table and its blocks."""
    text = GUIDE.read_text(encoding="utf-8")
    yield from re.findall(r"^\| `[^|]+ \| [^|]+ \| `([^`]+)` \|$", text, re.MULTILINE)
    for block in blocks(GUIDE, "sh"):
        for line in block.source.splitlines():
            if line.startswith("lipsync-async "):
                yield line.removeprefix("lipsync-async ")


def found(sandbox: Sandbox, example: str, capsys: Said) -> str:
    """Return an example with an id that there is, in the place of one that there may be."""
    makes = {
        "batch": ("batch", "create", "batch.csv"),
        "voices": ("voices", "clone", "Mine", "audio.wav"),
    }
    words = makes.get(example.split(maxsplit=1)[0], (*ORDER, "--no-wait"))
    if not re.search(r"\bID\b|[0-9a-f-]{36}", example):
        return example
    if example.startswith("speak"):
        return example.replace("ID", VOICE)
    assert main(words) == 0
    return re.sub(r"\bID\b|[0-9a-f-]{36}", capsys.readouterr().out.strip(), example)


EXAMPLES = [*(each for command in COMMANDS for each in command.examples), *in_guide()]


@pytest.mark.parametrize(
    "example", sorted({each for each in EXAMPLES if each.split()[0] not in {"demo", "sandbox"}})
)
def test_each_example_runs(
    sandbox: Sandbox, capfd: Said, monkeypatch: pytest.MonkeyPatch, example: str
) -> None:
    """Those of the helps and of the guide, word for word, against a sandbox."""
    if example.startswith("journal"):
        assert main(["run", "takes.csv", "--journal", "takes.sqlite"]) == 0
    typed, _, read = found(sandbox, example, capfd).partition(" < ")
    if read:
        given(monkeypatch, Path(read.split()[0]).read_bytes())
    words = shlex.split(re.split(r" [|>&]", typed)[0])
    status = main(words)
    assert (status, capfd.readouterr().err.count("error")) == (0, 0)


def test_the_sandbox_of_the_examples_serves_until_a_signal(capsys: Said) -> None:
    """It says what to set, and a signal is its good end."""
    said: list[str] = []

    def has_begun() -> bool:
        said.append(capsys.readouterr().out)
        return "Ctrl-C" in "".join(said)

    for example in sorted({each for each in EXAMPLES if each.startswith("sandbox")}):
        said.clear()
        words = example.split(" > ")[0].split()
        with interrupted(has_begun):
            assert main([*words, "--speed", "instant", "--plan", "hobbyist"]) == 0
        assert "".join(said).startswith("export SYNC_BASE_URL=http://127.0.0.1:")


def test_the_guide_names_every_command() -> None:
    """In the order of the help."""
    text = GUIDE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z ]+)` \| [^|]+ \| `", text, re.MULTILINE)
    assert rows == [command.name for command in COMMANDS]
    assert {*TYPED} == {*rows} - OFFLINE


WRONG = {
    "no key": ({"SYNC_API_KEY": ""}, 2, "SYNC_API_KEY"),
    "another kind of store": (
        {"SYNC_ACCOUNT": "mysql://user:SECRET@h"},
        2,
        "SYNC_ACCOUNT must be an address that begins with redis://",
    ),
    "another key": ({"SYNC_API_KEY": "sandbox-SECRET"}, 3, "401"),
    "a proxy that refuses": (
        {
            "SYNC_BASE_URL": "https://service.invalid",
            "HTTPS_PROXY": "http://user:SECRET@{host}",
            "NO_PROXY": "",
            "no_proxy": "",
        },
        1,
        "roxy",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_keeps_every_command_from_working(
    sandbox: Sandbox, capsys: Said, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """It is a clear line and a status that is documented; no secret, no traceback, no job."""
    variables, status, words = WRONG[what]
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(host=sandbox.url.removeprefix("http://")))
    for name, typed in TYPED.items():
        expected = 1 if name == "doctor" else status
        assert (name, main(typed)) == (name, expected)
        said = capsys.readouterr()
        assert (name, words in said.err + said.out) == (name, True)
        told = said.out + said.err
        assert (name, "SECRET" in told, "Traceback" in told) == (name, False, False)
        assert name in {"doctor", "run"} or len(said.err.splitlines()) == 1
    assert sandbox.jobs.created == 0


def test_doctor_names_a_service_that_is_down(capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks once, and says what to check."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("SYNC_BASE_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("SYNC_API_KEY", "sandbox-none")
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "WRONG  service  GET http://127.0.0.1" in said
    assert "Check the address, the network, and whether a proxy is needed" in said


# Commands that make or change something, by the request that does.
MAKERS = {
    "generate": "/v2/generate",
    "batch create": "/v2/batch",
    "voices clone": "/v2/voices",
    "speak": "/v2/tts/jobs",
    "run": "/v2/generate",
}


# These read whatever comes: a delete needs no answer, and an account may tell nothing.
LENIENT = {"voices delete", "account"}


@pytest.mark.parametrize("name", sorted({*TYPED} - LENIENT))
def test_an_answer_that_cannot_be_read(sandbox: Sandbox, capsys: Said, name: str) -> None:
    """Status 4 is for what may have been made; what only asks ends with 1."""
    path = MAKERS.get(name, "/v2/*")
    sandbox.faults.add(Fault("status", path=path, status=200, body={"x": 1}, count=None))
    assert (name, main(TYPED[name])) == (name, 4 if name in MAKERS else 1)
    assert "Traceback" not in capsys.readouterr().err


def test_a_job_that_is_known_is_no_unknown_outcome(sandbox: Sandbox, capsys: Said) -> None:
    """What fails after the create ends with 1, and its id is told."""
    sandbox.faults.add(Fault("status", method="GET", path="/v2/*", status=200, body={}, count=None))
    assert main(ORDER) == 1
    (job,) = sandbox.jobs
    assert job.id in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted({*TYPED} - {"wait"}))
def test_json_is_all_that_standard_output_gets(sandbox: Sandbox, capsys: Said, name: str) -> None:
    """One document or one a line; where there is none, as after an error, it is empty."""
    is_empty = name in {"list", "batch list"}
    is_missing = ANY_ID in TYPED[name]
    assert (name, main([*TYPED[name], "--json"])) == (name, int(is_missing))
    said = documents(capsys)
    assert (name, bool(said)) == (name, not (is_empty or is_missing))
    assert all(isinstance(each, dict) for each in said)


def test_escapes_of_the_service_are_harmless(sandbox: Sandbox, capsys: Said) -> None:
    """Nothing that an answer holds moves a terminal's cursor, as words or as JSON."""
    assert main([*ORDER, "--no-wait"]) == 0
    job = capsys.readouterr().out.strip()
    evil = {"model": "\x1b[2J\x1b]0;t\x07\u202ex\r\n", "status": "\x1b[31m", "error": "\x9b2J"}
    sandbox.faults.add(Fault("replace_fields", path="/v2/generate/*", fields=evil, count=None))
    for words in (("get", job), ("get", job, "--json")):
        assert main(words) == 0
        said = capsys.readouterr()
        assert re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", said.out + said.err) == []
        assert len(said.out.splitlines()) == (1 if words[2:] else 7)


def test_an_upload_that_comes_by_standard_input_is_copied_to_the_disk(
    sandbox: Sandbox, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read in pieces, also where the pipe does not wait for its writer."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    with os.fdopen(ours) as reader, os.fdopen(theirs, "wb") as writer:
        monkeypatch.setattr("sys.stdin", reader)
        writer.write(Path("audio.wav").read_bytes())
        writer.close()
        assert main(["generate", "--video", "https://h/v.mp4", "--audio", "-", "--no-wait"]) == 0
    (job,) = sandbox.jobs
    assert capsys.readouterr().out == f"{job.id}\n"


def test_a_disk_that_is_full_is_no_success(
    sandbox: Sandbox, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What standard output lost is told, and the status is 1."""
    with suppress(OSError), Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr("sys.stdout", full)
        assert main(["voices"]) == 1
    expected = "voices list: standard output cannot be written (No space left on device); "
    assert capsys.readouterr().err.startswith(expected)


def test_a_result_goes_to_standard_output(
    sandbox: Sandbox, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """As bytes, and nothing else; not together with JSON."""
    assert main([*ORDER, "--output", "-"]) == 0
    video = capfdbinary.readouterr().out
    assert main([*SPEAK, "--output", "-"]) == 0
    assert (video[4:8], capfdbinary.readouterr().out[:4]) == (b"ftyp", b"RIFF")
    for words in (ORDER, SPEAK, ("wait", ANY_ID), ("download", ANY_ID)):
        with pytest.raises(SystemExit) as ended:
            main([*words, "--output", "-", "--json"])
        assert ended.value.code == 2
    assert b"--json and --output - both write to standard" in capfdbinary.readouterr().err


def test_the_table_names_every_verb_that_commands_call() -> None:
    """The column of commands in the table of endpoints is made of it."""
    folder = Path(lipsync_async.__file__).parent / "cli"
    # The demo has a service of its own.
    files = [file for file in folder.glob("*.py") if file.stem != "demo"]
    code = "".join(file.read_text(encoding="utf-8") for file in files)
    called = {*re.findall(r"\bclient\.(\w+\.\w+)\(", code)}
    named = {verb for command in COMMANDS for verb in command.verbs.split()}
    # What `_save` calls, by a shorter name; and what asks the store of an account, no endpoint.
    called -= {"generations.download_chunks", "account.shared"}
    assert called | {"generations.download"} == named


PROXY = "http://user:SECRET@127.0.0.1:1"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"SYNC_BASE_URL": "ftp://h"}, "WRONG  address"),
        ({"SYNC_API_KEY": ""}, "WRONG  key      SYNC_API_KEY is not set"),
        ({"SYNC_BASE_URL": "https://h", "HTTPS_PROXY": "no address"}, "WRONG  address"),
        ({"SYNC_API_KEY": "two words"}, "WRONG  key"),
        (
            {"HTTP_PROXY": "http://user:SECRET@127.0.0.1:1", "NO_PROXY": "127.0.0.1"},
            "proxy    none",
        ),
        (
            {"HTTPS_PROXY": PROXY, "SYNC_BASE_URL": "https://service.invalid"},
            "ok     proxy    http://127.0.0.1:1",
        ),
    ],
)
def test_doctor_reads_the_settings(
    sandbox: Sandbox,
    capsys: Said,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    words: str,
) -> None:
    """Key, address and proxy are checked without being sent, and no secret is shown."""
    for name, value in {"no_proxy": "", **variables}.items():
        monkeypatch.setenv(name, value)
    main(["doctor"])
    said = capsys.readouterr().out
    assert (words in said, "SECRET" in said) == (True, False)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("status", status=403, count=None), "WRONG  service  answered 403"),
        (Fault("status", status=200, body={}, headers={"date": "soon"}), "clock    not compared"),
        (
            Fault("status", status=200, body={}, headers={"date": "Thu, 01 Jan 2026 00:00:00 GMT"}),
            "ahead of the service's\n                Set this machine's clock (NTP)",
        ),
        (
            Fault("status", status=200, body={}, headers={"date": "Thu, 01 Jan 2099 00:00:00 GMT"}),
            "behind the service's\n",
        ),
        (
            Fault("replace_fields", fields={"limits": {"concurrentGenerations": 3}}),
            "limits   plan unlimited, ",
        ),
    ],
)
def test_doctor_judges_the_answer(sandbox: Sandbox, capsys: Said, fault: Fault, words: str) -> None:
    """What the service says, its time and its limits."""
    sandbox.faults.add(fault)
    main(["doctor"])
    assert words in capsys.readouterr().out


def test_doctor_names_extras_that_are_not_installed(
    sandbox: Sandbox, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are needed for some commands only, so nothing is wrong."""
    monkeypatch.setitem(sys.modules, "argcomplete", None)  # `None`: it is not found
    assert main(["doctor"]) == 0
    told = "cli: not installed (argcomplete)\n                For the completion of commands: pip "
    assert told in capsys.readouterr().out


def test_waits_that_are_over_name_the_command_to_go_on_with(sandbox: Sandbox, capsys: Said) -> None:
    """Status 1: the job goes on, and is waited for by the command that is named."""
    sandbox.faults.add(Fault("stick_job", count=None))
    over = ("--wait-timeout", "0.001")
    assert main([*ORDER, *over]) == 1
    (job,) = sandbox.jobs
    assert f"Run `wait {job.id}` to go on waiting." in capsys.readouterr().err
    for path in ("/v2/tts/jobs*", "/v2/transcriptions*", "/v2/batch/*"):
        unfinished = {"status": "PROCESSING"}
        sandbox.faults.add(Fault("replace_fields", path=path, fields=unfinished, count=None))
    assert main([*SPEAK, *over]) == 1
    assert "Run the same command with --idempotency-key " in capsys.readouterr().err
    assert main(["transcribe", "audio.wav", *over]) == 1
    assert "Run the same command to go on waiting." in capsys.readouterr().err
    assert main(["batch", "create", "batch.csv"]) == 0
    batch = capsys.readouterr().out.strip()
    assert main(["batch", "wait", batch, *over]) == 1
    assert f"Run `batch wait {batch}` to go on waiting." in capsys.readouterr().err


def test_a_batch_waits_for_the_end_of_another(sandbox: Sandbox, capsys: Said) -> None:
    """It says so at once; Ctrl-C ends the wait, and says that nothing was created."""
    code = "batch_concurrency_limit_reached"
    sandbox.faults.add(
        Fault("status", method="POST", path="/v2/batch", status=429, code=code, count=None)
    )
    with interrupted(lambda: sandbox.requests.count("GET", "/v2/batch") > 0):
        assert main(["batch", "create", "batch.csv", "--journal", "batch.json"]) == 130
    said = capsys.readouterr()
    waits, stopped = said.err.splitlines()
    assert waits.startswith("batch create: waiting for the end of a batch, because as many run as ")
    assert waits.endswith(" Nothing was created yet; Ctrl-C ends the wait.")
    assert (stopped, said.out) == ("batch create: stopped. Nothing was created.", "")
    assert not Path("batch.json").exists()


def test_results_of_a_batch_are_exported(sandbox: Sandbox, capsys: Said) -> None:
    """As JSON lines or as a table that no spreadsheet computes; status 1 if one has failed."""
    sandbox.faults.add(Fault("fail_job", message="=1+1", count=1))
    assert main(["batch", "create", "batch.csv"]) == 0
    batch = capsys.readouterr().out.strip()
    assert main(["batch", "results", batch]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 20
    for name in ("out.jsonl", "out.csv"):
        assert main(["batch", "results", batch, "--export", name]) == 1
        assert capsys.readouterr().out == f"20 results in {name}\n"
    rows = [json.loads(line) for line in Path("out.jsonl").read_text("utf-8").splitlines()]
    assert [row["index"] for row in rows] == [*range(20)]
    assert len(Path("out.csv").read_text("utf-8").splitlines()) == 21
    assert main(["batch", "results", batch, "--export", "none/out.csv"]) == 1
    expected = "batch results: none/out.csv is in a folder that is not there. Give another path.\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    "typed", [("list", "--limit", "none"), ("voices",), ("batch", "results"), ("journal", "--json")]
)
def test_a_list_that_is_not_read_ends(
    sandbox: Sandbox, capsys: Said, monkeypatch: pytest.MonkeyPatch, typed: tuple[str, ...]
) -> None:
    """As soon as standard output is closed."""
    words = [*typed]
    if typed[0] == "journal":
        assert main(["run", "takes.csv", "--journal", "j.sqlite"]) == 0
        words = ["journal", "j.sqlite", "--json"]
    elif typed[0] == "batch":
        assert main(["batch", "create", "batch.csv"]) == 0
        words.append(capsys.readouterr().out.strip())
    else:
        assert main([*ORDER, "--no-wait"]) == 0
    ours, theirs = os.pipe()
    os.close(ours)
    with suppress(OSError), os.fdopen(theirs, "w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        assert main(words) == 0


def test_audio_that_cannot_be_fetched_is_not_paid_for_twice(sandbox: Sandbox, capsys: Said) -> None:
    """The message names the job and the key with which the same command goes on."""
    sandbox.faults.add(Fault("status", path="/__sandbox/files/*", status=404, count=None))
    assert main(SPEAK) == 1
    told = capsys.readouterr().err
    assert "The result of speech job " in told
    assert "To save it without paying twice, run the same command with --idempotency-key " in told
    key = told.split()[-1]
    sandbox.faults.clear()
    before = sandbox.requests.count("POST", "/v2/tts/jobs")
    assert main([*SPEAK, "--idempotency-key", key, "--output", "hello.wav"]) == 0
    assert sandbox.requests.count("POST", "/v2/tts/jobs") == before + 1
    assert Path("hello.wav").read_bytes().startswith(b"RIFF")


class Late(io.FileIO):
    """Pipe that does not block, whose writer comes after the first look."""

    writer: int

    def read(self, size: int | None = -1, /) -> bytes | Any:
        """Look, and have something written if there is nothing."""
        piece = super().read(-1 if size is None else size)
        if piece is None:
            os.write(self.writer, b"late")
            os.close(self.writer)
        return piece


def test_standard_input_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also from a pipe that has nothing yet, and only as much as can be of use."""
    ours, writer = os.pipe()
    os.set_blocking(ours, False)
    with Late(ours) as late:
        late.writer = writer
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=SimpleNamespace(raw=late)))
        assert StandardInput().read_all(4) == b"late"


@pytest.mark.parametrize(
    ("given_bytes", "problem"),
    [
        (b"\xff\xfe", "standard input is no text in UTF-8"),
        (b"x" * 100_001, "standard input holds more than 100.0 kB"),
        (None, "standard input is closed"),
    ],
)
def test_a_text_that_cannot_be_read(
    sandbox: Sandbox,
    capsys: Said,
    monkeypatch: pytest.MonkeyPatch,
    given_bytes: bytes | None,
    problem: str,
) -> None:
    """Nothing is spoken of what is no text."""
    given(monkeypatch, given_bytes or b"")
    if given_bytes is None:
        monkeypatch.setattr("sys.stdin", None)
    assert main(["speak", "-", "--voice", VOICE]) == 2
    assert (capsys.readouterr().err, len(sandbox.requests)) == (f"speak: -: {problem}\n", 0)


def test_standard_input_that_cannot_be_read(
    sandbox: Sandbox, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the system says of it is one line."""
    with Path("/proc/self/mem").open("rb", buffering=0) as memory:  # nothing is at its beginning
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=SimpleNamespace(raw=memory)))
        assert main(["upload", "-", "--type", "audio"]) == 1
    expected = "upload: standard input cannot be used (Input/output error). Give another path.\n"
    assert capsys.readouterr().err == expected


PRICED = """model,video_url,audio_url,audio_file,output_file_name,reasoning_enabled
lipsync-2,https://h/v.mp4,https://h/a.wav,,one,
lipsync-2,https://h/v.mp4,https://h/a.wav,,two,
sync-3,https://h/v.mp4,https://h/a.wav,,three,
"""


def test_a_manifest_is_checked_as_a_whole_before_it_is_priced(
    sandbox: Sandbox, capsys: Said
) -> None:
    """Each row that cannot be priced is told; nothing was sent, no price was asked for."""
    local = "lipsync-2,https://h/v.mp4,,audio.wav,{},\n"
    rows = PRICED + local.format("four") + local.format("five")
    Path("mixed.csv").write_text(rows, encoding="utf-8")
    assert main(["run", "mixed.csv", "--dry-run"]) == 2
    line = "run: line {}: audio_file: cannot be estimated; pass --duration, the seconds of the "
    told = capsys.readouterr().err.splitlines()
    assert [each[: len(line)] for each in told] == [line.format(5) + "l", line.format(6) + "l"]
    assert len(sandbox.requests) == 0
    assert main(["run", "mixed.csv", "--dry-run", "--duration", "10"]) == 0
    assert sandbox.requests.count("POST", "/v2/generations/estimate") == 2


def test_rows_of_one_price_are_priced_once(sandbox: Sandbox, capsys: Said) -> None:
    """Names and webhooks change no price; the sum and each row's price are told."""
    Path("priced.csv").write_text(PRICED, encoding="utf-8")
    assert main(["run", "priced.csv", "--dry-run", "--json"]) == 0
    assert sandbox.requests.count("POST", "/v2/analyze/cost") == 2
    rows = documents(capsys)
    assert [row["line"] for row in rows] == [2, 3, 4]
    assert rows[0]["cost"] == rows[1]["cost"] != rows[2]["cost"]


def test_a_price_that_is_refused_ends_the_dry_run(sandbox: Sandbox, capsys: Said) -> None:
    """As one error, whatever else was asked at that time."""
    Path("priced.csv").write_text(PRICED, encoding="utf-8")
    sandbox.faults.add(Fault("status", path="/v2/analyze/*", status=402, count=None))
    assert main(["run", "priced.csv", "--dry-run"]) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_terminal_gets_no_bytes_of_a_video(capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is refused before anything is sent."""
    monkeypatch.setattr("sys.stdout", Terminal())
    with pytest.raises(SystemExit) as ended:
        main([*ORDER, "--output", "-"])
    assert (ended.value.code, "no terminal" in capsys.readouterr().err) == (2, True)


def test_more_of_single_commands(sandbox: Sandbox, capsys: Said) -> None:
    """An asset of unknown size, a voice by address, a batch that tells no counts."""
    unknown = {"size": None, "metrics": None}
    sandbox.faults.add(Fault("replace_fields", path="/v2/assets", fields=unknown))
    assert main(["upload", "audio.wav", "--json"]) == 0
    asset = documents(capsys)[0]
    assert main(["voices", "clone", "Mine", asset["url"]]) == 0
    assert main(["batch", "create", "batch.csv"]) == 0
    sandbox.faults.add(Fault("replace_fields", path="/v2/batch*", fields=unknown, count=None))
    batch = capsys.readouterr().out.splitlines()[-1]
    assert main(["batch", "wait", batch]) == 0
    assert capsys.readouterr().out == f"{batch}  COMPLETED\n"


def test_orders_in_all_their_forms(sandbox: Sandbox, capsys: Said) -> None:
    """Assets as inputs, options that are ignored, prices of media and of what is wrong."""
    ignored = ("--model", "sync-3", "--temperature", "0.5")
    assert main([*ORDER, *ignored, "--no-wait"]) == 0
    assert capsys.readouterr().err.startswith("generate: options.temperature: ")
    assert main(["estimate", *ORDER[1:]]) == 0
    assert "It would cost " in capsys.readouterr().out
    assert main([*ORDER, "--sync-mode", "x", "--dry-run"]) == 2
    assert capsys.readouterr().err.startswith("generate: --sync-mode: must be one of ")
    assert main(["upload", "audio.wav"]) == 0
    asset = f"asset:{capsys.readouterr().out.strip()}"
    assert main(["estimate", "--video", "https://h/v.mp4", "--audio", asset]) == 0
    row = "model,video_url,audio_url,temperature\nsync-3,https://h/v.mp4,https://h/a.wav,0.5\n"
    Path("ignored.csv").write_text(row, encoding="utf-8")
    assert main(["run", "ignored.csv", "--dry-run"]) == 0
    assert capsys.readouterr().err.startswith("ignored.csv: line 2: ")


def test_bytes_for_a_pipe_that_is_closed(
    sandbox: Sandbox, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an error, because the result is not whole."""
    assert main([*ORDER, "--no-wait"]) == 0
    job = capsys.readouterr().out.strip()
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        assert main(["download", job, "--output", "-"]) == 1
    expected = "download: standard output was closed before all was written. Give another path.\n"
    assert capsys.readouterr().err == expected


def test_what_was_not_foreseen_keeps_its_traceback(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a fault of this package, and is not taken for one of the service."""
    monkeypatch.setattr("sys.stdin", object())
    with pytest.raises(AttributeError, match="buffer"):
        main(["upload", "-"])


# argcomplete leaves its file to the program's end.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_completions_without_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go to the file that the shell names, and the program ends."""
    found = tmp_path / "found"
    line = "lipsync-async batch w"
    variables = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    for name, value in {**variables, "_ARGCOMPLETE_STDOUT_FILENAME": str(found)}.items():
        monkeypatch.setenv(name, value)
    # It would take the file of number 9 for its own, whatever that is.
    monkeypatch.setattr("argcomplete.CompletionFinder._init_debug_stream", lambda _: None)
    monkeypatch.setattr(argcomplete.io, "debug_stream", io.StringIO())
    with pytest.raises(SystemExit) as ended:
        main([])
    gc.collect()
    assert (ended.value.code, found.read_text().split()) == (0, ["wait"])


def test_a_sandbox_that_cannot_begin(capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line says why, and what to do."""
    with pytest.raises(SystemExit):
        main(["sandbox", "--plan", "none"])
    assert "--plan" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "numpy", SimpleNamespace(__spec__="broken"))
    working_engines.cache_clear()
    try:
        for words in (["sandbox", "--port", "0"], ["demo"]):
            assert main(words) == 1
            assert " does not work with this Python " in capsys.readouterr().err
    finally:
        working_engines.cache_clear()
    monkeypatch.setitem(sys.modules, "av", None)
    assert main(["sandbox", "--port", "0"]) == 1
    assert "or use --speed instant" in capsys.readouterr().err


def test_retries_are_told_now_and_then(capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """After ten seconds, every half minute; an unknown job at once; not with an own level."""
    monkeypatch.delenv("LIPSYNC_LOG", raising=False)
    retries, began = logging.getLogger("lipsync_async.retry"), time.time()
    level, unknown = retries.level, "waiting: the service does not know generation g1 (404)"
    with logged_warnings(argparse.Namespace(command="wait")):
        assert retries.level == logging.INFO
        for seconds, words in enumerate(
            ["waiting for a slot", *["trying again in 1 s: down"] * 80, unknown]
        ):
            record = logging.makeLogRecord({"msg": words, "levelno": logging.INFO})
            record.created = began + seconds
            retries.handle(record)
    told = [*["trying again in 1 s: down"] * 3, unknown]
    assert capsys.readouterr().err == "".join(f"wait: {each}\n" for each in told)
    monkeypatch.setenv("LIPSYNC_LOG", "warning")
    with logged_warnings(argparse.Namespace(command="wait")):
        assert retries.level == level


NO_SPEECH_JOBS = (
    "Nothing was spoken: the organization may not use speech jobs. This command needs them."
)


@pytest.mark.parametrize(
    ("words", "fault", "notes"),
    [
        (
            SPEAK,
            Fault("status", path="/v2/tts/jobs", status=503, count=None),
            ["speak: " + NO_SPEECH_JOBS],
        ),
        (
            ("generate", "--video", "https://h/v.mp4", "--audio", "audio.wav"),
            Fault("status", path="/v2/assets*", status=403, count=None),
            ["generate: No job was created: this was the upload of the request's files."],
        ),
        (
            TYPED["batch create"],
            Fault("status", path="/v2/batch", status=200, body={}, count=None),
            [],  # that of the library was logged
        ),
    ],
)
def test_what_an_error_leaves_is_told_once(
    sandbox: Sandbox, capsys: Said, words: tuple[str, ...], fault: Fault, notes: list[str]
) -> None:
    """The library notes it on the error, or logs it."""
    sandbox.faults.add(fault)
    assert main(words) in {1, 4}
    said = capsys.readouterr().err.splitlines()
    assert said[len(said) - len(notes) :] == notes
    assert len({*said}) == len(said)


def test_a_clone_is_checked_before_its_file_is_sent(sandbox: Sandbox, capsys: Said) -> None:
    """A name that cannot be one costs no upload."""
    assert main(["voices", "clone", "", "audio.wav"]) == 2
    assert capsys.readouterr().err == "voices clone: name: must not be empty\n"
    assert len(sandbox.requests) == 0
