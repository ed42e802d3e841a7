"""Commands as processes of their own: signals, pipes, and completion in a shell."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import TextIO

import pytest

from lipsync_async.__main__ import run
from lipsync_async.cli.main import main
from lipsync_async.sandbox import Fault, Sandbox
from tests.cli.terminals import Said
from tests.cli.test_commands import ORDER, VOICE
from tests.cli.test_every_command import ANY_ID
from tests.portal.verbs import interrupted

PATIENCE = 30.0  # seconds; a command that does not end fails its test instead of hanging
COMMAND = shlex.join([sys.executable, "-m", "lipsync_async"])


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run commands in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    Path("audio.wav").write_bytes(b"RIFF\0\0\0\0WAVEfmt " + os.urandom(64))
    row = "lipsync-2,https://h/v.mp4,https://h/a.wav\n"
    Path("batch.csv").write_text("model,video_url,audio_url\n" + 20 * row, encoding="utf-8")


def started(
    words: str, *, stdin: int | None = None, stdout: int | TextIO = subprocess.PIPE
) -> subprocess.Popen[str]:
    """Start a command."""
    command = [sys.executable, "-m", "lipsync_async", *shlex.split(words)]
    return subprocess.Popen(  # noqa: S603 - our own program
        command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, text=True
    )


def shell(words: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash to its end; the last command that fails gives the status."""
    return subprocess.run(  # noqa: S603 - our own words
        ["bash", "-o", "pipefail", "-c", words],  # noqa: S607 - the system's
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


# What was typed, the request that never ends, and what is said then.
STEPS: dict[str, tuple[tuple[str, ...], str, str, str]] = {
    "upload of a job's file": (
        ("generate", "--video", "https://h/v.mp4", "--audio", "audio.wav"),
        "PUT",
        "*",
        "generate: stopped. Nothing was created.",
    ),
    "create": (
        ORDER,
        "POST",
        "/v2/generate",
        ("The job may have been created. To go on without paying twice, run the same command "),
    ),
    "wait of generate": (ORDER, "GET", "/v2/gen*", "stopped. Job {job} goes on, and is paid for. "),
    "download of generate": (
        (*ORDER, "--output", "o.mp4"),
        "GET",
        "/__sandbox/media/*",
        (" is not saved. To save it: lipsync-async download {job} --output o.mp4"),
    ),
    "wait": (("wait", ANY_ID), "GET", "/v2/gen*", "The job goes on; the same command waits"),
    "download": (("download", ANY_ID), "GET", "/v2/gen*", "the same command goes on."),
    "upload": (("upload", "audio.wav"), "PUT", "*", "the same command begins anew."),
    "list": (("list",), "GET", "/v2/*", "list: stopped. Nothing was changed."),
    "speak": (
        ("speak", "Hello", "--voice", VOICE),
        "POST",
        "/v2/tts/jobs",
        ("The text may be spoken, and paid for. To go on without paying twice, run the same "),
    ),
    "download of speak": (
        ("speak", "Hello", "--voice", VOICE),
        "GET",
        "/__sandbox/files/*",
        (" is not saved. To save it without paying twice, run the same command "),
    ),
    "clone": (
        ("voices", "clone", "Mine", "audio.wav"),
        "POST",
        "/v2/voices",
        "The voice may have been cloned; `voices list` shows it.",
    ),
    "upload of a clone's file": (
        ("voices", "clone", "Mine", "audio.wav"),
        "PUT",
        "*",
        "Nothing was cloned.",
    ),
    "delete": (("voices", "delete", ANY_ID), "DELETE", "*", "the same command makes sure."),
    "batch": (
        ("batch", "create", "batch.csv"),
        "POST",
        "/v2/batch",
        "The batch may have been created, and is paid for then. `batch list` shows it.",
    ),
    "batch wait": (("batch", "wait", ANY_ID), "GET", "*", "The batch goes on; the same command"),
    "transcribe": (("transcribe", "audio.wav"), "POST", "/v2/trans*", "it is free."),
}


@pytest.mark.parametrize("step", STEPS)
def test_ctrl_c_tells_what_is_left(sandbox: Sandbox, capsys: Said, step: str) -> None:
    """In each step of each command: one line, status 130, and no file that is not whole."""
    words, method, path, left = STEPS[step]
    sandbox.faults.add(Fault("hang", method=method, path=path, count=None))
    before = {*Path().iterdir()}
    with interrupted(lambda: sandbox.requests.count(method, path) > 0):
        assert main(words) == 130
    said = capsys.readouterr()
    job = next((job.id for job in sandbox.jobs), "")
    (last,) = [line for line in said.err.splitlines() if ": stopped. " in line]
    assert (left.format(job=job) in last, "Traceback" in said.err) == (True, False)
    assert (said.out, {*Path().iterdir()}) == ("", before)


def test_sigterm_ends_a_process_in_good_order(sandbox: Sandbox) -> None:
    """The job's id is told before, and again in the end."""
    sandbox.faults.add(Fault("hang", method="GET", path="/v2/gen*", count=None))
    with started(shlex.join(ORDER)) as running:
        assert running.stderr is not None
        first = running.stderr.readline()
        running.terminate()
        out, errors = running.communicate(timeout=PATIENCE)
    (job,) = sandbox.jobs
    assert (first, out) == (f"generate: created job {job.id}\n", "")
    assert errors.startswith(f"generate: stopped. Job {job.id} goes on, and is paid for.")
    assert (running.returncode, errors.count("\n")) == (143, 1)


def test_standard_input_that_never_ends_can_be_left(sandbox: Sandbox) -> None:
    """Ctrl-C waits neither for its writer nor for the thread that reads."""
    with started("upload - --type audio", stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        running.stdin.write("x" * 100_000)  # more than a pipe holds: it is read
        running.stdin.flush()
        running.send_signal(signal.SIGINT)
        running.wait(PATIENCE)  # with its standard input open
        out, errors = running.communicate()
    told = "upload: stopped. What was sent in part is not kept; the same command begins anew.\n"
    assert (running.returncode, out, errors) == (130, "", told)
    assert len(sandbox.requests) == 0


def test_pipes_that_are_closed(sandbox: Sandbox) -> None:
    """A list ends early; what creates goes to its end, and its id is told."""
    listed = shell(f"{COMMAND} voices | head -1; {COMMAND} {shlex.join(ORDER)} >&-")
    (job,) = sandbox.jobs
    assert (listed.returncode, len(listed.stdout.splitlines())) == (0, 1)
    assert listed.stderr == f"generate: created job {job.id}\n"


def test_bytes_for_a_reader_that_has_gone(sandbox: Sandbox, capfd: Said) -> None:
    """The status is 1, and a line says that the result is not whole."""
    assert main([*ORDER, "--no-wait"]) == 0
    job = capfd.readouterr().out.strip()
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs) as pipe, started(f"download {job} --output -", stdout=pipe) as running:
        _, errors = running.communicate(timeout=PATIENCE)
    expected = "download: standard output was closed before all was written. Give another path.\n"
    assert (running.returncode, errors) == (1, expected)


def test_a_sandbox_in_the_background_ends_by_kill() -> None:
    """Shells let it ignore Ctrl-C, which stays so; SIGTERM is its good end."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # children inherit that
    try:
        running = started("sandbox --port 0 --speed instant")
    finally:
        signal.signal(signal.SIGINT, before)
    with running:
        assert running.stdout is not None
        assert running.stdout.readline().startswith("export SYNC_BASE_URL=")
        running.send_signal(signal.SIGINT)
        running.terminate()
        _, errors = running.communicate(timeout=PATIENCE)
    assert (running.returncode, errors) == (0, "")


def test_a_shell_completes_commands_and_options(tmp_path: Path) -> None:
    """In a real bash, by the code that the guide has one evaluate."""
    program = tmp_path / "lipsync-async"
    program.write_text(f'#!/bin/sh\nexec {COMMAND} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    register = "argcomplete.scripts.register_python_argcomplete"
    script = f"""
        PATH={shlex.quote(str(tmp_path))}:$PATH
        eval "$({sys.executable} -m {register} lipsync-async)"
        for COMP_LINE in "lipsync-async gen" "lipsync-async batch " "lipsync-async speak --vo"; do
            COMP_POINT=${{#COMP_LINE}} COMP_TYPE=9
            _python_argcomplete lipsync-async
            echo "${{COMPREPLY[*]}}"
        done"""
    found = shell(script)
    one, two, three = found.stdout.splitlines()
    assert (one.split(), three.split()) == (["generate"], ["--voice"])
    assert {"create", "list", "wait", "results"} <= {*two.split()}


def test_without_the_extra_a_shell_gets_no_completions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status says that there are none; nothing is run."""
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    assert main(["demo"]) == 1


def test_a_signal_before_the_command_is_known(
    capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is one line, and the signal's status."""

    class Words(list[str]):
        def __getitem__(self, _: object) -> None:  # type: ignore[override]
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(sys, "argv", Words())
    try:
        assert run() == 143
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "stopped before anything was sent\n"
