"""Commands write to whatever is there: any encoding, a closed pipe, or nothing at all."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import pytest
from hypothesis import given, strategies as st

from lipsync_async.cli import output
from lipsync_async.cli.output import RobustStream, _occupy, robust_streams, say
from tests.cli.test_run import manifest, run, write

__all__ = ["manifest"]  # a fixture

TEXTS = ["plain", "Vidéos", "動画", "видео", "clips 🎬", "→ new", "half \ud800", "e\u0301", "²"]
ENCODINGS = [
    *("ascii", "cp1252", "cp437", "cp932", "latin-1", "koi8-r", "gbk", "big5", "iso2022_jp"),
    *("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7", "mac-roman", "cp037"),
]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("text", TEXTS)
def test_any_text_goes_into_any_encoding(text: str, encoding: str) -> None:
    """What an encoding lacks becomes an escape; what it has stays."""
    data = io.BytesIO()
    robust = RobustStream(io.TextIOWrapper(data, encoding, errors="strict", newline=""))
    assert robust.write(f"<{text}>\n") == len(text) + 3
    robust.write("end\n")
    robust.flush()
    first, last = data.getvalue().decode(encoding).splitlines()
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        assert first.isprintable()
        assert (first[0], first[-1]) == ("<", ">")
        assert "\\" in first
    else:
        assert first == f"<{text}>"
    assert last == "end"


@given(st.text(st.characters()), st.sampled_from(ENCODINGS))
def test_no_line_raises_or_becomes_two(text: str, encoding: str) -> None:
    """Whatever is said is one line, in every encoding."""
    data = io.BytesIO()
    stream = io.TextIOWrapper(data, encoding, errors="strict", newline="")
    say(text, RobustStream(stream))  # type: ignore[arg-type]
    stream.flush()
    written = data.getvalue().decode(encoding)
    assert written.endswith("\n")
    assert len(written.splitlines()) == 1


def broken(how: str) -> TextIO:
    """Return a stream into a pipe without another end, onto a full disk, or that was closed."""
    if how == "full_disk":
        return Path("/dev/full").open("w", encoding="utf-8")
    if how == "closed":
        stream = io.StringIO()
        stream.close()
        return stream
    ours, theirs = os.pipe()
    os.close(ours)
    return os.fdopen(theirs, "w", encoding="utf-8")


@pytest.mark.parametrize("how", ["broken_pipe", "full_disk", "closed"])
@pytest.mark.parametrize("size", [1, 100_000])
def test_a_stream_that_takes_nothing_ends_nothing(how: str, size: int) -> None:
    """Neither while it is written to, nor when Python empties its buffer in the end."""
    stream = broken(how)
    robust = RobustStream(stream)
    assert robust.isatty() is False
    for _ in range(3):
        robust.write("x" * size + "\n")
        robust.flush()
    assert robust.isatty() is False
    assert robust.encoding == "utf-8"
    if not stream.closed:
        stream.flush()
        stream.close()


def test_a_stream_whose_file_was_closed_under_it_ends_nothing() -> None:
    """Its number leads to the null device then, and to no file of another program."""
    ours, theirs = os.pipe()
    os.close(ours)
    stream = os.fdopen(theirs, "w", encoding="utf-8")
    os.close(theirs)
    robust = RobustStream(stream)
    robust.write("x\n")
    robust.flush()
    robust.write("x\n")
    assert str(Path(f"/proc/self/fd/{theirs}").readlink()) == os.devnull
    stream.close()


def test_a_stream_that_is_not_there_takes_everything() -> None:
    """A program without a console has none."""
    robust = RobustStream(None)
    assert robust.write("text") == 4
    robust.flush()
    assert (robust.isatty(), robust.encoding) == (False, "utf-8")


def test_a_reader_that_is_slow_loses_text_and_nothing_else() -> None:
    """A pipe that does not block says so when it is full; later text is written again."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with os.fdopen(ours, "rb") as reader, os.fdopen(theirs, "w", encoding="utf-8") as stream:
        robust = RobustStream(stream)
        for _ in range(40):
            robust.write("x" * 9_999 + "\n")
            robust.flush()
        taken = reader.read1(1_000_000)
        robust.write("end\n")
        robust.flush()
        taken += reader.read1(1_000_000)
    assert 10_000 < len(taken) < 400_000
    assert taken.endswith(b"end\n")


def test_a_stream_has_what_it_had() -> None:
    """Other attributes are those of the stream itself."""
    stream = io.StringIO()
    assert RobustStream(stream).getvalue() == ""


def test_the_programs_streams_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that are not there."""
    monkeypatch.setattr(sys, "stdout", None)
    before = sys.stderr
    with robust_streams():
        say("nothing")
        print("nothing")  # noqa: T201 - what others print goes there, too
        assert isinstance(sys.stderr, RobustStream)
    assert sys.stdout is None
    assert sys.stderr is before
    say("nothing")


def open_files() -> set[int]:
    """Return the numbers of files that are open; to list a folder would open one more."""
    found = set()
    for number in range(256):
        with suppress(OSError):
            os.fstat(number)
            found.add(number)
    return found


@pytest.fixture
def hole() -> Iterator[int]:
    """Return the number of a file that is closed."""
    ours, theirs = os.pipe()
    os.close(theirs)
    yield theirs
    os.close(ours)


def test_a_standard_file_that_is_closed_is_occupied(hole: int) -> None:
    """Otherwise the next file to be opened would be written messages into."""
    before = open_files()
    _occupy(hole)
    (number,) = open_files() - before
    assert str(Path(f"/proc/self/fd/{number}").readlink()) == os.devnull
    _occupy(number)
    assert open_files() - before == {number}
    os.close(number)


def started(*options: str, redirect: str = "") -> subprocess.Popen[bytes]:
    """Start the manifest's run in a shell."""
    command = f'"{sys.executable}" -m lipsync_async run takes.csv --journal j.sqlite {redirect}'
    return subprocess.Popen(  # noqa: S602 - our own words
        command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_a_run_goes_on_when_its_pipe_is_closed(
    manifest: Path, sandbox: object, capfd: pytest.CaptureFixture[str]
) -> None:
    """`| head -1` takes a line; the run goes to its end, with its status and no traceback."""
    with started() as running:
        assert running.stdout is not None
        assert running.stdout.readline().startswith(b"Running 3 jobs")
        running.stdout.close()
        assert running.stderr is not None
        errors = running.stderr.read()
    assert (running.returncode, errors) == (0, b"")
    assert run() == 0  # nothing is left to be done
    assert "(3 of them in earlier runs)" in capfd.readouterr().out


def test_a_run_needs_no_console(manifest: Path, sandbox: object) -> None:
    """Without any standard file it does its work, and writes into no file of its own."""
    write("lipsync-2,https://h/v.mp4,https://h/a.wav,take")
    with started(redirect="<&- >&- 2>&-") as running:
        assert running.communicate() == (b"", b"")
    assert running.returncode == 0
    assert run() == 0


def test_signals_of_a_pipe_are_not_the_commands_end() -> None:
    """Python ignores them; what a pipe says is an error that is survived."""
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        *((output.clock(0), "0:00"), (output.clock(59.6), "1:00"), (output.clock(3599), "59:59")),
        *((output.clock(3661), "1:01:01"), (output.clock(90_000), "25:00:00")),
        *((output.duration(0.04), "0.0 s"), (output.duration(99.9), "99.9 s")),
        (output.duration(100), "1:40"),
        *((output.size(0), "0.0 kB"), (output.size(999_900), "999.9 kB")),
        *((output.size(2_450_000), "2.5 MB"), (output.size(3_000_000_000), "3.0 GB")),
        (output.rate(9.64), "9.6/s"),
        *((output.rate(9.64, "jobs"), "9.6 jobs/s"), (output.rate(0.5, "jobs"), "30.0 jobs/min")),
        *((output.plural(1, "job"), "1 job"), (output.plural(0, "job"), "0 jobs")),
    ],
)
def test_a_number_is_said_in_the_unit_that_fits(said: str, expected: str) -> None:
    """Readers need not count zeros."""
    assert said == expected


def test_what_is_left_behind_is_told_once() -> None:
    """Of what the library has said, only lines that name another job or key are added."""
    one, two = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
    held = [f"Job {one} goes on.", f"Job {two} goes on.", "The voice may have been cloned."]
    assert output.untold(held, f"Job {one} is paid for.") == [held[1]]
