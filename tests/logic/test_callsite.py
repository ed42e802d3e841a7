"""What the caller is told: where a log line goes, and what is noted on an exception."""

import asyncio
import gc
import io
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import attrs
import pytest

from lipsync_async._callsite import (
    BULK_LOG,
    HTTP_LOG,
    RETRY_LOG,
    UNDER_WAY,
    call_back,
    is_from_callback,
    log,
    mark_as_callers,
    note_left,
    notes_of,
    set_up_logging,
    tell_left,
    tell_under_way,
)
from lipsync_async.errors import LipsyncError

OURS = logging.getLogger("lipsync_async")
ROOT = logging.getLogger()
LEFT = "Generation g1 goes on."


class Kept(logging.Handler):
    """Keep what comes."""

    def __init__(self, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(record.getMessage())


class Refusing(logging.Handler):
    """Raise for each line, as a handler of another library may."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Refuse a line."""
        raise LookupError(record.getMessage())


def refuse(record: logging.LogRecord) -> bool:
    """Raise for each line."""
    raise LookupError(record.getMessage())


def drop(_: logging.LogRecord) -> bool:
    """Let no line through."""
    return False


@contextmanager
def plain_logging() -> Iterator[None]:
    """Have logging as in a program that has set up none, and as before in the end."""
    before = (ROOT.handlers[:], ROOT.level, OURS.handlers[:], OURS.level, OURS.propagate)
    disabled = logging.root.manager.disable
    ROOT.handlers[:], OURS.handlers[:] = [], []
    ROOT.setLevel(logging.WARNING)
    OURS.setLevel(logging.NOTSET)
    try:
        yield
    finally:
        ROOT.handlers[:], root_level, OURS.handlers[:], level, OURS.propagate = before
        ROOT.setLevel(root_level)
        OURS.setLevel(level)
        OURS.filters.clear()
        OURS.disabled = False
        logging.disable(disabled)


def nothing(_: Kept) -> None:
    """Set up nothing."""


def root_handler(kept: Kept) -> None:
    """Set up logging as most programs do."""
    logging.basicConfig(handlers=[kept])


def own_handler(kept: Kept) -> None:
    """Take this package's lines apart."""
    OURS.addHandler(kept)


def own_handler_alone(kept: Kept) -> None:
    """Take this package's lines apart, and from the others."""
    OURS.addHandler(kept)
    OURS.propagate = False


def both(kept: Kept) -> None:
    """Handle this package's lines twice, as asked for."""
    OURS.addHandler(kept)
    ROOT.addHandler(kept)


def not_ours(_: Kept) -> None:
    """Want nothing of this package."""
    OURS.addHandler(logging.NullHandler())


def null_root(_: Kept) -> None:
    """Want nothing at all."""
    ROOT.addHandler(logging.NullHandler())


def disabled(_: Kept) -> None:
    """Turn logging off."""
    logging.disable(logging.CRITICAL)


def errors_only(_: Kept) -> None:
    """Ask for errors only."""
    OURS.setLevel(logging.ERROR)


def disabled_logger(_: Kept) -> None:
    """Turn this package's logger off, as `dictConfig` does with those that it does not know."""
    OURS.disabled = True


def high_root_level(kept: Kept) -> None:
    """Ask for errors only, of everything."""
    logging.basicConfig(level=logging.ERROR, handlers=[kept])


def high_handler_level(kept: Kept) -> None:
    """Have a handler that wants errors only."""
    kept.setLevel(logging.ERROR)
    ROOT.addHandler(kept)


def verbose(_: Kept) -> None:
    """Ask for everything, and say not where."""
    OURS.setLevel(logging.DEBUG)


def verbose_root(kept: Kept) -> None:
    """Ask for everything."""
    logging.basicConfig(level=logging.DEBUG, handlers=[kept])


def dropping(_: Kept) -> None:
    """Filter this package's lines out."""
    OURS.addFilter(drop)


def raising_filter(_: Kept) -> None:
    """Have a filter that is broken."""
    OURS.addFilter(refuse)


def raising_handler(_: Kept) -> None:
    """Have a handler that is broken."""
    OURS.addHandler(Refusing())


def no_stderr(_: Kept) -> None:
    """Have no stderr, as in a program without a console."""
    sys.stderr = None


# How logging is set up; lines on stderr; lines that a handler gets.
SET_UPS: list[tuple[Callable[[Kept], None], int, list[str]]] = [
    (nothing, 1, []),
    (root_handler, 0, ["warning"]),
    (own_handler, 0, ["warning"]),
    (own_handler_alone, 0, ["warning"]),
    (both, 0, ["warning", "warning"]),
    (not_ours, 0, []),
    (null_root, 0, []),
    (disabled, 0, []),
    (errors_only, 0, []),
    (disabled_logger, 0, []),
    (high_root_level, 0, []),
    (high_handler_level, 0, []),
    (verbose, 1, []),
    (verbose_root, 0, ["debug", "info", "warning"]),
    (dropping, 0, []),
    (raising_filter, 0, []),
    (raising_handler, 0, []),
    (no_stderr, 0, []),
]


@pytest.mark.parametrize(("set_up", "on_stderr", "handled"), SET_UPS)
def test_where_lines_go(
    set_up: Callable[[Kept], None],
    on_stderr: int,
    handled: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A program that has set up nothing sees warnings, each once; any other gets what it wants."""
    kept, screen = Kept(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    with plain_logging():
        set_up(kept)
        for level in (logging.DEBUG, logging.INFO, logging.WARNING):
            log(HTTP_LOG, level, logging.getLevelName(level).lower())
    assert screen.getvalue() == "warning\n" * on_stderr
    assert kept.lines == handled


@attrs.frozen
class Frozen(Exception):  # noqa: N818 - as foreign as can be
    """An exception that cannot be changed."""

    words: str = "as it is"


class NoNotes(Exception):  # noqa: N818 - as foreign as can be
    """An exception whose notes are something else."""

    __notes__: Any = ("a", "tuple")


class OddNotes(Exception):  # noqa: N818 - as foreign as can be
    """An exception whose notes cannot be asked for."""

    @property
    def __notes__(self) -> Any:  # type: ignore[override]
        raise AttributeError("no notes")

    def add_note(self, note: str, /) -> None:
        """Refuse a note."""
        raise PermissionError(note)


ERRORS: list[tuple[BaseException, bool]] = [
    (ValueError("x"), True),
    (LipsyncError("x"), True),
    (KeyboardInterrupt(), True),
    (SystemExit(3), True),
    (GeneratorExit(), True),
    (ExceptionGroup("several", [ValueError("x")]), True),
    (Frozen(), True),
    (NoNotes(), False),
    (OddNotes(), False),
]


@pytest.mark.parametrize(("error", "takes_notes"), ERRORS)
def test_what_is_left_is_told_once(
    error: BaseException,
    takes_notes: bool,  # noqa: FBT001 - a parameter
    caplog: pytest.LogCaptureFixture,
) -> None:
    """On the exception and in the log; one that takes no notes is no reason to be silent."""
    tell_left(error, LEFT, "Another line.")
    assert notes_of(error) == ([LEFT, "Another line."] if takes_notes else [])
    assert caplog.messages == [LEFT, "Another line."]
    if takes_notes:
        tell_left(error, LEFT)
        note_left(error, LEFT)
        assert notes_of(error) == [LEFT, "Another line."]
        assert caplog.messages == [LEFT, "Another line."]


def test_what_is_left_without_an_exception(caplog: pytest.LogCaptureFixture) -> None:
    """The log alone tells of it."""
    tell_left(None, LEFT)
    assert caplog.messages == [LEFT]


def test_what_is_left_under_way(caplog: pytest.LogCaptureFixture) -> None:
    """The program's end tells it of each call that has not ended by then, once."""
    tell_under_way()  # what other tests have left
    caplog.clear()
    UNDER_WAY["a call"] = lambda: ["a key", "an id"]
    tell_under_way()
    tell_under_way()
    assert caplog.messages == ["a key", "an id"]


def test_what_a_dropped_generator_leaves(caplog: pytest.LogCaptureFixture) -> None:
    """An async generator that is dropped with its loop is never closed: that is told, too."""
    tell_under_way()
    caplog.clear()

    async def generate() -> AsyncIterator[None]:
        UNDER_WAY["a call"] = lambda: ["a key"]
        try:
            yield
        finally:  # pragma: no cover - the generator is never closed
            del UNDER_WAY["a call"]

    async def start() -> AsyncIterator[None]:
        generator = generate()
        await anext(generator)  # in the loop, which thereby learns of the generator
        return generator

    loop = asyncio.new_event_loop()
    started = [loop.run_until_complete(start())]
    loop.close()
    started.clear()
    gc.collect()
    tell_under_way()
    assert caplog.messages == ["a key"]


@pytest.mark.parametrize("error", [error for error, _ in ERRORS if isinstance(error, Exception)])
def test_a_callbacks_error_is_known_again(error: Exception) -> None:
    """By itself, whatever its class, and no other is taken for it."""

    def call(_: object) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        anyio.run(call_back, call, None)
    assert caught.value is error
    assert is_from_callback(error)
    fresh = LipsyncError("of ours")
    assert not is_from_callback(fresh)
    mark_as_callers(fresh)
    assert is_from_callback(fresh)


def test_a_record_shows_the_line_that_logs(caplog: pytest.LogCaptureFixture) -> None:
    """Each part has a logger of its own, and a record names file, line and function."""
    caplog.set_level(logging.DEBUG, "lipsync_async")
    log(RETRY_LOG, logging.DEBUG, "one")
    tell_left(None, "two", logger=BULK_LOG)
    first = test_a_record_shows_the_line_that_logs.__code__.co_firstlineno + 3
    assert [(each.name, each.levelname, each.message) for each in caplog.records] == [
        ("lipsync_async.retry", "DEBUG", "one"),
        ("lipsync_async.bulk", "WARNING", "two"),
    ]
    lines = {(each.pathname, each.lineno, each.funcName) for each in caplog.records}
    name = "test_a_record_shows_the_line_that_logs"
    assert lines == {(__file__, first, name), (__file__, first + 1, name)}


@pytest.mark.parametrize(
    ("named", "shown"),
    [
        ("", []),
        ("warning", ["WARNING warning"]),
        (" Info ", ["INFO info", "WARNING warning"]),
        ("debug", ["DEBUG debug", "INFO info", "WARNING warning"]),
    ],
)
@pytest.mark.parametrize("has_handler", [False, True])
def test_the_environment_sets_up_logging(
    named: str, shown: list[str], monkeypatch: pytest.MonkeyPatch, *, has_handler: bool
) -> None:
    """`LIPSYNC_LOG=debug` shows lines on stderr, and none twice in a program that logs."""
    kept, screen = Kept(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    with plain_logging():
        if has_handler:
            ROOT.addHandler(kept)
        handler = set_up_logging({"LIPSYNC_LOG": named})
        for level in (logging.DEBUG, logging.INFO, logging.WARNING):
            log(HTTP_LOG, level, logging.getLevelName(level).lower())
    found = [line.split(" ", 2)[2] for line in screen.getvalue().splitlines() if handler]
    expected = [line.replace(" ", " lipsync_async.http: ") for line in shown]
    assert found == ([] if has_handler else expected)
    assert (handler is None) is (named == "")


def test_an_unknown_level_is_told() -> None:
    """A typing error in the environment does not end a program, nor pass in silence."""
    with pytest.warns(UserWarning, match="LIPSYNC_LOG='loud' is ignored: use one of debug, info"):
        assert set_up_logging({"LIPSYNC_LOG": "loud"}) is None


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("https://h/a.mp4?sig=S answered 503", "https://h/a.mp4 answered 503"),
        ("https://h/a.mp4?se=2026-01-01T00:00:00Z&sig=S: broke", "https://h/a.mp4: broke"),
        ("https://h/a~?sig=S", "https://h/a~"),
        ("https://h/(a)?sig=S.", "https://h/(a)."),
        ("https://h/a/?sig=S, again", "https://h/a/, again"),
        ("'https://h/a?b=?c' is gone", "'https://h/a' is gone"),
        ("https://h?sig=S", "https://h"),
        ("POST /v2/generate?token=S answered 400", "POST /v2/generate answered 400"),
        ("is it there? No; and/or?", "is it there? No; and/or"),
        ("nothing to leave out: a?b", "nothing to leave out: a?b"),
    ],
)
def test_queries_are_not_logged(told: str, expected: str, caplog: pytest.LogCaptureFixture) -> None:
    """The query of a link is its signature, and a query of a call may be a secret."""
    log(HTTP_LOG, logging.WARNING, told)
    assert caplog.messages == [expected]
