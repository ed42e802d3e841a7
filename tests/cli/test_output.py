"""Commands write to whatever is there: any encoding, a closed pipe, or nothing at all."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import pytest
from hypothesis import given, strategies as st

from lipsync_async.cli.output import Screen, _occupy, say, screens
from tests.cli.test_run import HEADER, manifest, run, sandbox

__all__ = ["manifest", "sandbox"]  # fixtures

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
    screen = Screen(io.TextIOWrapper(data, encoding, errors="strict", newline=""))
    assert screen.write(f"<{text}>\n") == len(text) + 3
    screen.write("end\n")
    screen.flush()
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
    say(text, Screen(stream))  # type: ignore[arg-type]
    stream.flush()
    written = data.getvalue().decode(encoding)
    assert written.endswith("\n")
    assert len(written.splitlines()) == 1


def broken_pipe() -> TextIO:
    """Return a stream into a pipe that has no other end."""
    ours, theirs = os.pipe()
    os.close(ours)
    return os.fdopen(theirs, "w", encoding="utf-8")


def full_disk() -> TextIO:
    """Return a stream onto a disk that is full."""
    return Path("/dev/full").open("w", encoding="utf-8")


def closed() -> TextIO:
    """Return a stream that was closed."""
    stream = io.StringIO()
    stream.close()
    return stream


BROKEN: list[Callable[[], TextIO]] = [broken_pipe, full_disk, closed]


@pytest.mark.parametrize("stream_of", BROKEN, ids=lambda broken: broken.__name__)
@pytest.mark.parametrize("size", [1, 100_000])
def test_a_stream_that_takes_nothing_ends_nothing(
    stream_of: Callable[[], TextIO], size: int
) -> None:
    """Neither while it is written to, nor when Python empties its buffer in the end."""
    stream = stream_of()
    screen = Screen(stream)
    assert screen.isatty() is False
    for _ in range(3):
        screen.write("x" * size + "\n")
        screen.flush()
    assert screen.isatty() is False
    assert screen.encoding == "utf-8"
    if not stream.closed:
        stream.flush()
        stream.close()


def test_a_stream_whose_file_was_closed_under_it_ends_nothing() -> None:
    """Its number leads nowhere then, and is nobody else's."""
    ours, theirs = os.pipe()
    os.close(ours)
    stream = os.fdopen(theirs, "w", encoding="utf-8")
    os.close(theirs)
    screen = Screen(stream)
    screen.write("x\n")
    screen.flush()
    screen.write("x\n")
    assert str(Path(f"/proc/self/fd/{theirs}").readlink()) == os.devnull
    stream.close()


def test_a_stream_that_is_not_there_takes_everything() -> None:
    """A program without a console has none."""
    screen = Screen(None)
    assert screen.write("text") == 4
    screen.flush()
    assert (screen.isatty(), screen.encoding) == (False, "utf-8")


def test_a_reader_that_is_slow_loses_text_and_nothing_else() -> None:
    """A pipe that does not block says so when it is full; later text is written again."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with os.fdopen(ours, "rb") as reader, os.fdopen(theirs, "w", encoding="utf-8") as stream:
        screen = Screen(stream)
        for _ in range(40):
            screen.write("x" * 9_999 + "\n")
            screen.flush()
        taken = reader.read1(1_000_000)
        screen.write("end\n")
        screen.flush()
        taken += reader.read1(1_000_000)
    assert 10_000 < len(taken) < 400_000
    assert taken.endswith(b"end\n")


def test_a_stream_has_what_it_had() -> None:
    """Whoever asks for more than text is answered by the stream itself."""
    stream = io.StringIO()
    assert Screen(stream).getvalue() == ""


def test_the_programs_streams_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that are not there."""
    monkeypatch.setattr(sys, "stdout", None)
    before = sys.stderr
    with screens():
        say("nothing")
        print("nothing")  # noqa: T201 - what others print goes there, too
        assert isinstance(sys.stderr, Screen)
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
    manifest.write_text(HEADER + "lipsync-2,https://h/v.mp4,https://h/a.wav,take\n")
    with started(redirect="<&- >&- 2>&-") as running:
        assert running.communicate() == (b"", b"")
    assert running.returncode == 0
    assert run() == 0


def test_signals_of_a_pipe_are_not_the_commands_end() -> None:
    """Python ignores them; what a pipe says is an error that is survived."""
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN
