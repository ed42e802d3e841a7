"""What holds for every command: its examples run, failures are one line, JSON is only JSON."""

import os
import re
import shlex
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import lipsync_async
from lipsync_async.cli.commands import COMMANDS
from lipsync_async.cli.main import main
from lipsync_async.sandbox import Fault, Sandbox
from lipsync_async.sandbox.media.demo_media import draw_talking_head, speak_line
from tests.cli.terminals import Said
from tests.cli.test_commands import MANIFEST, ORDER, VOICE, documents, given, sandbox
from tests.house.code_blocks import blocks
from tests.portal.verbs import interrupted

__all__ = ["sandbox"]  # a fixture

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
            assert main([*words, "--speed", "instant"]) == 0
        assert "".join(said).startswith("export SYNC_BASE_URL=http://127.0.0.1:")


def test_the_guide_names_every_command() -> None:
    """In the order of the help."""
    text = GUIDE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z ]+)` \| [^|]+ \| `", text, re.MULTILINE)
    assert rows == [command.name for command in COMMANDS]
    assert {*TYPED} == {*rows} - OFFLINE


WRONG = {
    "no key": ({"SYNC_API_KEY": ""}, 2, "SYNC_API_KEY"),
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
LENIENT = {"voices delete", "account", "doctor"}


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
    called = re.findall(r"\bclient\.(\w+\.\w+)\(", code)
    named = {verb for command in COMMANDS for verb in command.verbs.split()}
    # What `_save` calls, by a shorter name.
    assert {*called, "generations.download"} - {"generations.download_chunks"} == named
