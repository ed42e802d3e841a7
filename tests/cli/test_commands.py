"""The commands about single jobs and about the other resources, in this process."""

import io
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from lipsync_async import SharedSlot, SharedUse
from lipsync_async.cli.commands import COMMANDS, command_parser
from lipsync_async.cli.main import main
from lipsync_async.cli.output import ExitStatus, error_lines, exit_status_of, in_arguments
from lipsync_async.cli.resources import shared_lines
from lipsync_async.errors import ConnectionLostError
from lipsync_async.sandbox import Fault, Sandbox
from tests.cli.terminals import Said

VOICE = "EXAVITQu4vr4xnSDxMaL"
ORDER = ("generate", "--video", "https://h/v.mp4", "--audio", "https://h/a.wav")
MANIFEST = "model,video_url,audio_url\n" + "lipsync-2,https://h/v.mp4,https://h/a.wav\n" * 20


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run commands in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    Path("audio.wav").write_bytes(b"RIFF\0\0\0\0WAVEfmt " + bytes(64))
    Path("batch.csv").write_text(MANIFEST, encoding="utf-8")


def documents(capsys: Said) -> list[Any]:
    """Return the JSON lines on standard output; anything else there is an error."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def given(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Put bytes on standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_generate_leaves_a_video(sandbox: Sandbox, capsys: Said) -> None:
    """Standard output is the file's path alone; the job's id is on standard error."""
    assert main([*ORDER, "--output", "out.mp4"]) == 0
    said = capsys.readouterr()
    (job,) = sandbox.jobs
    assert (said.out, said.err) == ("out.mp4\n", f"generate: created job {job.id}\n")
    assert Path("out.mp4").exists()

    assert main([*ORDER, "--output", "a/", "--json"]) == 0
    (document,) = documents(capsys)
    assert Path(document["path"]).parent == Path("a")


@pytest.mark.parametrize("command", [ORDER, ("speak", "Hi!", "--voice", VOICE)])
@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("audio.wav", "audio.wav is there already; give another path, or --overwrite"),
        ("audio.wav/a/b.mp4", "{folder}/audio.wav is no folder"),
    ],
)
def test_nothing_is_ordered_where_it_cannot_be_saved(
    command: tuple[str, ...], place: str, problem: str, sandbox: Sandbox, capsys: Said
) -> None:
    """The place is looked at before anything costs; a try under an old key may have saved it."""
    assert main([*command, "--output", place]) == ExitStatus.USAGE
    told = problem.format(folder=Path.cwd())
    assert capsys.readouterr().err == f"{command[0]}: --output: {told}\n"
    assert sandbox.requests.count("POST") == 0
    for more in (["--overwrite"], ["--idempotency-key", "k", "--output", "new.mp4"]):
        assert main([*command, "--output", "audio.wav", *more]) == 0


def test_a_job_that_is_not_waited_for_is_found_again(sandbox: Sandbox, capsys: Said) -> None:
    """Its id is printed; wait, get, list and download know it."""
    assert main([*ORDER, "--no-wait"]) == 0
    job = capsys.readouterr().out.strip()
    assert main(["wait", job]) == 0
    assert capsys.readouterr().out.startswith(f"job         {job}\nstatus      COMPLETED\n")
    assert main(["wait", job, "--output", "w.mp4"]) == 0
    assert main(["download", job, "--output", "d.mp4"]) == 0
    assert capsys.readouterr().out == "w.mp4\nd.mp4\n"
    assert Path("w.mp4").read_bytes() == Path("d.mp4").read_bytes()
    assert main(["get", job, "--json"]) == 0
    assert [each["id"] for each in documents(capsys)] == [job]
    assert main([*ORDER, "--no-wait"]) == 0
    capsys.readouterr()
    assert main(["list", "--limit", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert main(["list", "--limit", "none", "--json"]) == 0
    assert {each["id"] for each in documents(capsys)} == {each.id for each in sandbox.jobs}


def test_a_price_costs_nothing(sandbox: Sandbox, capsys: Said) -> None:
    """--dry-run and estimate create no job; local files need a duration."""
    local = ("generate", "--video", "https://h/v.mp4", "--audio", "audio.wav", "--dry-run")
    assert main([*local, "--duration", "30"]) == 0
    assert capsys.readouterr().out.endswith("Nothing was created.\n")
    assert main(local) == 2
    told = "generate: --audio: cannot be estimated; add --duration, its length\n"
    assert capsys.readouterr().err == told
    assert main(["estimate", "--duration", "30", "--json"]) == 0
    assert [each["frame_count"] for each in documents(capsys)] == [900]
    assert main(["run", "batch.csv", "--dry-run", "--duration", "30"]) == 0
    assert "Nothing is wrong with the 20 jobs of batch.csv.\n" in capsys.readouterr().out
    assert sandbox.jobs.created == 0


def test_a_manifest_may_come_by_standard_input(
    sandbox: Sandbox, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a table or as JSON lines; nothing but JSON is on standard output."""
    given(monkeypatch, MANIFEST.encode())
    assert main(["run", "-", "--dry-run", "--duration", "30", "--json"]) == 0
    assert [each["line"] for each in documents(capsys)] == [*range(2, 22)]
    url = {"url": "https://h/v.mp4"}
    line = {"model": "lipsync-2", "input": [{"type": "video", **url}, {"type": "audio", **url}]}
    given(monkeypatch, json.dumps(line).encode())
    assert main(["run", "-", "--journal", "j.sqlite", "--json"]) == 0
    assert [each["line"] for each in documents(capsys)] == [1]
    assert main(["journal", "j.sqlite", "--json"]) == 0
    assert [each["state"] for each in documents(capsys)] == ["completed"]
    assert sandbox.jobs.created == 1


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("generate", "--video", "https://h/v"), 2, "needs exactly one audio or text"),
        (("generate", "--text", "x"), 2, "--text and --voice: give both, or neither"),
        (("generate", "--video", "-", "--audio", "-"), 2, "only one of the inputs"),
        ((*ORDER, "--sync-mode", "x"), 2, "generate: --sync-mode: must be one of"),
        (("get", "00000000-0000-4000-8000-00000000abcd"), 1, "answered 404"),
        (("voices", "delete", "none"), 1, "answered 404"),
        (("upload", "none.wav"), 2, "cannot be read"),
        (("batch", "results", "00000000-0000-4000-8000-00000000abcd"), 1, "answered 404"),
    ],
)
def test_what_is_wrong_is_told_in_lines(
    sandbox: Sandbox, capsys: Said, arguments: tuple[str, ...], status: int, words: str
) -> None:
    """The status tells the kind; nothing is on standard output."""
    assert main(arguments) == status
    said = capsys.readouterr()
    assert (said.out, words in said.err, "Traceback" in said.err) == ("", True, False)
    assert sandbox.jobs.created == 0


def test_a_wrong_key_and_no_key(
    sandbox: Sandbox, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong key stops with 3; without one, nothing is sent, and the status is 2."""
    monkeypatch.setenv("SYNC_API_KEY", "sandbox-wrong")
    assert main(["account"]) == 3
    assert main(["doctor"]) == 1
    assert "WRONG  service  the key was refused" in capsys.readouterr().out
    monkeypatch.delenv("SYNC_API_KEY")
    assert main(["list"]) == 2
    assert capsys.readouterr().err.startswith("list: There is no API key. Set SYNC_API_KEY; ")
    assert main(["doctor"]) == 1
    assert "WRONG  key      SYNC_API_KEY is not set" in capsys.readouterr().out
    monkeypatch.setenv("SYNC_API_KEY", "two words")
    assert main(["doctor"]) == 1
    wrong = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WRONG")]
    assert [line.split()[1] for line in wrong] == ["key"]
    assert len(sandbox.requests) == 2


def test_an_unknown_outcome_has_its_status_and_its_key() -> None:
    """Status 4, and the argument that goes on without paying twice."""
    error = ConnectionLostError("lost", method="POST", url="https://h/v2/generate")
    error.may_have_worked, error.idempotency_key = True, "mine"
    assert exit_status_of(error, may_cost=True) == ExitStatus.UNKNOWN
    assert exit_status_of(error) == ExitStatus.FAILURE
    (line,) = error_lines(error)
    assert in_arguments(line).endswith("without paying twice, add --idempotency-key mine.")


def test_doctor_finds_nothing_wrong(sandbox: Sandbox, capsys: Said) -> None:
    """Each check is told, the key is not; as JSON it is one document."""
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert (said.splitlines()[-1], sandbox.api_key in said) == ("Everything is fine.", False)
    assert main(["doctor", "--json"]) == 0
    (document,) = documents(capsys)
    assert document["is_fine"] is True


def test_files_voices_speech_and_transcripts(
    sandbox: Sandbox, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one command prints, another takes."""
    given(monkeypatch, Path("audio.wav").read_bytes())
    assert main(["upload", "-", "--type", "audio", "--name", "l.wav"]) == 0
    asset = capsys.readouterr().out.strip()
    assert main(["voices", "clone", "Mine", f"asset:{asset}"]) == 0
    voice = capsys.readouterr().out.strip()
    assert main(["voices", "list"]) == 0
    assert f"{voice}  Mine\n" in capsys.readouterr().out
    assert main(["voices", "delete", voice, "--json"]) == 0
    assert documents(capsys) == [{"deleted": voice}]
    assert main(["speak", "Hello", "--voice", VOICE, "--json"]) == 0
    url = documents(capsys)[0]["url"]
    assert main(["transcribe", url, "--format", "vtt"]) == 0
    assert capsys.readouterr().out.startswith("WEBVTT\n")
    assert main(["transcribe", url, "--output", "t.txt"]) == 0
    assert capsys.readouterr().out == "t.txt\n"
    assert main(["account", "--json"]) == 0
    assert [each["credential_type"] for each in documents(capsys)] == ["api_key"]


def test_what_the_processes_of_an_account_use() -> None:
    """A line for each limit, and one for each slot."""
    slot = SharedSlot(
        key="k", generation_id="g1", holder="host:7:ab", seconds=12.4, unseen_seconds=3.0
    )
    pending = attrs.evolve(slot, generation_id=None)
    shared = SharedUse(
        creates=2,
        creates_limit=60,
        requests=5,
        requests_limit=None,
        slots=(pending, slot),
        slots_limit=15,
    )
    assert shared_lines(shared) == [
        "creates in the last minute   2 of 60",
        "requests in the last minute  5",
        "slots in use                 2 of 15",
        "generation    seconds  unseen  holder",
        "not answered  12       3       host:7:ab",
        "g1            12       3       host:7:ab",
    ]
    assert len(shared_lines(attrs.evolve(shared, slots=()))) == 3
    assert shared_lines(None) == []


@pytest.mark.usefixtures("sandbox")
def test_an_account_whose_store_is_down(capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command shows what the service says, and then what is wrong with the store."""
    assert main(["account"]) == 0
    known = capsys.readouterr().out
    monkeypatch.setenv("SYNC_ACCOUNT", "redis://127.0.0.1:1/0")
    assert main(["account"]) == 1
    said = capsys.readouterr()
    assert "Sandbox" in known
    assert said.out == known
    (warning, error) = said.err.splitlines()
    assert warning.startswith("account: while the account store fails, nothing is created")
    assert error.startswith("account: The account store at redis://127.0.0.1:1/0 cannot be used")


def test_a_batch_from_manifest_to_results(sandbox: Sandbox, capsys: Said) -> None:
    """Checked without a batch, created, waited for, and exported as a table."""
    assert main(["batch", "create", "batch.csv", "--dry-run"]) == 0
    assert capsys.readouterr().out == "Nothing is wrong with the 20 jobs.\n"
    assert main(["batch", "list"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["batch", "create", "batch.csv"]) == 0
    batch = capsys.readouterr().out.strip()
    assert main(["batch", "list", "--json"]) == 0
    assert [each["id"] for each in documents(capsys)] == [batch]


def test_a_batch_of_local_files(sandbox: Sandbox, capsys: Said) -> None:
    """Each file is uploaded once, after all was checked; the same command makes no second batch."""
    row = "lipsync-2,https://h/v.mp4,audio.wav\n"
    Path("local.csv").write_text("model,video_url,audio_file\n" + row * 20, encoding="utf-8")
    assert main(["batch", "create", "local.csv", "--dry-run"]) == 0
    assert capsys.readouterr().out == (
        "Nothing is wrong with the 20 jobs. The service has not checked the batch, since 1 local "
        "file would be uploaded first.\n"
    )
    assert len(sandbox.requests) == 0
    made = set()
    for _ in range(2):
        assert main(["batch", "create", "local.csv", "--journal", "batch.json"]) == 0
        said = capsys.readouterr()
        made.add(said.out)
        assert said.err == f"batch create: uploading {Path('audio.wav').absolute()}\n"
    assert [sandbox.requests.count("PUT"), len(made)] == [1, 1]
    (create,) = sandbox.requests.find("POST", "/v2/batch")
    (asset,) = {row["payload"]["input"][1]["assetId"] for row in create.json["rows"]}
    assert sandbox.requests.count("GET", "/v2/assets/uploaded") == 2
    assert asset != "00000000-0000-0000-0000-000000000000"


def test_a_batch_that_is_wrong_sends_no_file(sandbox: Sandbox, capsys: Said) -> None:
    """Too few rows, or a file that is not there, cost no upload."""
    usage, failure = ExitStatus.USAGE, ExitStatus.FAILURE
    wrong = {"audio.wav": (19, usage, "a batch has"), "none.wav": (20, failure, "cannot be read")}
    for name, (number, status, words) in wrong.items():
        rows = f"lipsync-2,https://h/v.mp4,{name}\n" * number
        Path("local.csv").write_text("model,video_url,audio_file\n" + rows, encoding="utf-8")
        assert main(["batch", "create", "local.csv"]) == status
        assert words in capsys.readouterr().err
    assert len(sandbox.requests) == 0


@pytest.mark.parametrize("command", [("upload",), ("transcribe",), ("voices", "clone", "Me")])
def test_a_file_of_unknown_kind_is_told(
    command: tuple[str, ...], sandbox: Sandbox, capsys: Said
) -> None:
    """In words of the command line; nothing is sent."""
    Path("notes.txt").write_text("unknown", encoding="utf-8")
    assert main([*command, "notes.txt"]) == ExitStatus.USAGE
    assert "do not tell what it is; give it a suffix such as .wav" in capsys.readouterr().err
    assert len(sandbox.requests) == 0


def test_a_batch_with_a_journal_is_created_once(sandbox: Sandbox, capsys: Said) -> None:
    """The same command prints the same id; after a lost answer it says which batch it may be."""
    create = ("batch", "create", "batch.csv", "--journal")
    assert [main([*create, "batch.json"]) for _ in "ab"] == [0, 0]
    first, again = capsys.readouterr().out.split()
    assert (first, sandbox.requests.count("POST", "/v2/batch")) == (again, 1)
    sandbox.faults.add(Fault("reset_after", method="POST", path="/v2/batch"))
    assert [main([*create, "lost.json"]) for _ in "ab"] == [ExitStatus.UNKNOWN] * 2
    assert (
        "with 20 requests, created since a day before. The service has" in capsys.readouterr().err
    )
    assert sandbox.requests.count("POST", "/v2/batch") == 2


@pytest.mark.parametrize(
    "example", [example for command in COMMANDS for example in command.examples]
)
def test_each_example_can_be_typed(example: str) -> None:
    """The arguments of the help texts are known, and every command has an example."""
    words = shlex.split(example.partition(" < ")[0])
    assert example.startswith(command_parser(words).parse_args(words).command)
    assert all(command.examples for command in COMMANDS)


def test_a_mistyped_command_is_met_with_the_one_meant(capsys: Said) -> None:
    """Also the second word; a word like no command gets all of them."""
    for words, hint in {
        ("genrate",): "Did you mean generate?",
        ("batch", "reslts"): "Did you mean results?",
        ("xyz",): "Commands: generate, wait, ",
    }.items():
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert (ended.value.code, hint in capsys.readouterr().err) == (2, True)
