import errno
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import av
import espeakng_loader  # type: ignore[import-untyped]
import pytest

from lipsync_async import ConfigurationError
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.media import speech
from lipsync_async.sandbox.media.engines import LIPS, ask, engines, working_engines
from lipsync_async.sandbox.media.errors import PIPELINE_FAILED, EngineError, MediaError
from lipsync_async.sandbox.media.speech import read_wav, speak, speech_trouble
from tests.sandbox.media.faces import needed_models

REPAIR = "run: pip install --upgrade 'lipsync-async[sandbox]'"


def test_the_engines_are_named_with_their_version() -> None:
    """With the extra, video and speech are real; with the models, any face moves its lips."""
    needed_models()
    lips = "mouth warp (468 points)"
    assert engines() == {"video": f"pyav {av.__version__}", "speech": "espeak-ng", "lips": lips}


def test_without_the_models_one_face_moves_its_lips(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is the one that the sandbox draws."""
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    assert engines()["lips"] == LIPS


def test_without_speech_the_tones_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Health never claims more than there is; who wants no voice is told of nothing broken."""
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    assert (engines()["speech"], speech_trouble.__wrapped__()) == ("tones", None)


@pytest.mark.parametrize("module", ["av", "numpy", "PIL"])
def test_without_the_extra_the_command_is_told(
    monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    """One line says how to get what is missing."""
    monkeypatch.setitem(sys.modules, module, None)
    hint = "missing; run: pip install 'lipsync-async[sandbox]'"
    assert engines() == {"video": hint, "speech": hint, "lips": "none"}


def test_engines_that_work_are_named_alike() -> None:
    """Asking each of them changes nothing where all is well."""
    assert working_engines() == engines()


# What packages that were broken, or are too old or too new, have raised.
TROUBLES = [
    ImportError("libavcodec.so.61: cannot open shared object file"),
    *(ImportError("cannot import name 'Disposition' from 'av.stream'"), ImportError("")),
    ModuleNotFoundError("No module named 'av._core'"),
    AttributeError("type object 'Flag' has no attribute '__reduce_cython__'"),
    TypeError("descriptor '__init__' requires\na type"),
    *(ValueError("Unknown encoder 'libx264'"), RuntimeError("Numpy is not available")),
    OSError(errno.ENOENT, "No such file or directory", "libespeak-ng.so"),
    *(OSError("wrong ELF class: ELFCLASS32"), PermissionError(errno.EACCES, "Permission denied")),
    *(SystemError("initialization of _core failed without raising an exception"), MemoryError()),
    *(KeyError("libx264"), NotImplementedError("no such codec")),
    SyntaxError("invalid syntax (_core.py, line 1)"),
    RecursionError("maximum recursion depth exceeded"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    *(MediaError(PIPELINE_FAILED, "the encoder said no"), Exception()),
]


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: type(trouble).__name__)
def test_whatever_an_engine_raises_is_told_with_what_to_do(trouble: Exception) -> None:
    """One line: the package with its version, what it said, and the command that helps."""

    def question() -> int:
        raise trouble

    with pytest.raises(EngineError) as caught:
        ask("av", question, 3)
    said = str(caught.value)
    assert said.startswith(f"av {av.__version__} does not work with this Python 3.")
    assert (f"({type(trouble).__name__}" in said, "\n" in said) == (True, False)
    assert (said.endswith(f"; {REPAIR}"), caught.value.__cause__) == (True, trouble)


@pytest.mark.parametrize(
    ("answer", "found"),
    [(3, 2), (3, None), ((16, 16), (0, 0)), ((2, 32, 0.08), (2, 32, 0.0)), (6, float("nan"))],
)
def test_a_wrong_answer_is_no_answer(answer: object, found: object) -> None:
    """An engine that does something else is as bad as one that does nothing."""
    with pytest.raises(EngineError, match=f"it says .* instead of .*; {REPAIR[:8]}"):
        ask("numpy", lambda: found, answer)


def test_a_package_without_metadata_is_named_all_the_same() -> None:
    """A folder that was copied by hand has no version to tell."""
    with pytest.raises(EngineError, match=r"^no-such-package does not work with this Python"):
        ask("no-such-package", lambda: 1, 2)
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("no-such-package")


def _raise(*_: object) -> str:
    raise OSError("this platform has no library")


LIBRARY, DATA = espeakng_loader.get_library_path, espeakng_loader.get_data_path
LOADERS: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "no library": (lambda: "/no/such/libespeak-ng.so", DATA),
    "no name of a library": (lambda: "", DATA),
    "another library": (lambda: sys.executable, DATA),
    "a library that is text": (lambda: __file__, DATA),
    "no data": (LIBRARY, lambda: "/no/such/espeak-ng-data"),
    "other data": (LIBRARY, lambda: str(Path(__file__).parent)),
    "data that is a file": (LIBRARY, lambda: __file__),
    "a refusal": (_raise, DATA),
    "a refusal of data": (LIBRARY, _raise),
    "nothing": (lambda: None, DATA),
    "no data at all": (LIBRARY, lambda: None),
}


@pytest.fixture(params=list(LOADERS))
def broken_loader(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Put a package that is installed, but broken, into the place of the speech engine."""
    library, data = LOADERS[request.param]
    loader = SimpleNamespace(
        get_library_path=library, get_data_path=data, __spec__=SimpleNamespace()
    )
    monkeypatch.setitem(sys.modules, "espeakng_loader", loader)
    speech_trouble.cache_clear()
    working_engines.cache_clear()
    yield
    speech_trouble.cache_clear()
    working_engines.cache_clear()


@pytest.mark.usefixtures("broken_loader")
def test_where_speech_is_broken_tones_speak(tmp_path: Path) -> None:
    """A text still becomes sound, and one line says why it is no voice."""
    trouble = speech_trouble()
    assert trouble is not None
    assert (trouble[:25], "\n" in trouble) == ("espeak-ng does not work (", False)
    speak("Good morning.", "voice", tmp_path / "line.wav")
    assert read_wav(tmp_path / "line.wav")[1] == speech.RATE


@pytest.mark.usefixtures("broken_loader")
@pytest.mark.parametrize("broken_loader", ["nothing"], indirect=True)
def test_health_says_why_there_is_no_voice() -> None:
    """What works is named as ever."""
    found = working_engines()
    assert found["speech"].startswith("tones, because espeak-ng does not work (")
    assert found["video"] == f"pyav {av.__version__}"


def run(folder: Path, *command: str) -> tuple[int, list[str]]:
    """Run Python where a folder's packages come first; return exit status and stderr."""
    ended = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, *command],
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stderr.splitlines()


@pytest.mark.parametrize(
    ("command", "package", "said"),
    [
        (("lipsync_async.sandbox", "--port", "0"), "PIL", "(ImportError: no shared object)"),
        (("lipsync_async", "demo"), "av", f"av {av.__version__} does not work with this Python"),
    ],
)
def test_a_broken_engine_is_one_line_at_the_start(
    tmp_path: Path, command: tuple[str, ...], package: str, said: str
) -> None:
    """No traceback, not now and not minutes later: what is wrong, and what to install."""
    source = "raise ImportError('no shared object')"
    (tmp_path / f"{package}.py").write_text(source, encoding="utf-8")
    status, lines = run(tmp_path, "-m", *command)
    assert (status, len(lines), said in lines[0], REPAIR in lines[0]) == (1, 1, True, True)


PROGRAM = """
import asyncio
from lipsync_async import ConfigurationError
from lipsync_async.sandbox import Sandbox

async def main():
    async with Sandbox(render=False) as sandbox:
        print(sandbox.url)
    try:
        async with Sandbox():
            raise SystemExit("it has started")
    except ConfigurationError as error:
        raise SystemExit(f"{error}") from None

asyncio.run(main())
"""


def test_a_program_learns_it_when_the_sandbox_opens(tmp_path: Path) -> None:
    """It is one error of this package; a sandbox that renders nothing needs no engine."""
    (tmp_path / "av.py").write_text("no_codecs = True", encoding="utf-8")
    status, lines = run(tmp_path, "-c", PROGRAM)
    assert (status, len(lines), "av.error" in lines[0]) == (1, 1, True)
    assert lines[0].startswith("The sandbox cannot render: ")
    assert lines[0].endswith(f"; {REPAIR}. Or use render=False, which makes placeholders.")


async def test_nothing_is_opened_where_an_engine_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """What works when it is loaded may still not answer; then there is no service, and no file."""
    sandbox = Sandbox()
    working_engines.cache_clear()
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "numpy", None)
        with pytest.raises(ConfigurationError, match=r"numpy .* does not work with this Python"):
            await sandbox.__aenter__()
    assert sandbox.url == ""
