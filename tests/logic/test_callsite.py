"""What the caller is told: where a log line goes, and what is noted on an exception."""

import asyncio
import gc
import io
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from logging.handlers import BufferingHandler
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


# How logging is set up, and on which handlers; lines on stderr; lines that the kept handler gets.
SET_UPS: dict[str, tuple[dict[str, Any], int, list[str]]] = {
    "nothing": ({}, 1, []),
    "root_handler": ({"root": ["kept"]}, 0, ["warning"]),
    "own_handler": ({"ours": ["kept"]}, 0, ["warning"]),
    "own_handler_alone": ({"ours": ["kept"], "propagate": False}, 0, ["warning"]),
    "both": ({"ours": ["kept"], "root": ["kept"]}, 0, ["warning", "warning"]),
    "not_ours": ({"ours": ["null"]}, 0, []),
    "null_root": ({"root": ["null"]}, 0, []),
    "disabled": ({"disable": logging.CRITICAL}, 0, []),
    "errors_only": ({"level": logging.ERROR}, 0, []),
    "disabled_logger": ({"disabled": True}, 0, []),  # as `dictConfig` does with unknown ones
    "high_root_level": ({"root": ["kept"], "root_level": logging.ERROR}, 0, []),
    "high_handler_level": ({"root": ["kept"], "kept_level": logging.ERROR}, 0, []),
    "verbose": ({"level": logging.DEBUG}, 1, []),
    "verbose_root": (
        {"root": ["kept"], "root_level": logging.DEBUG},
        0,
        ["debug", "info", "warning"],
    ),
    "dropping": ({"filters": [drop]}, 0, []),
    "raising_filter": ({"filters": [refuse]}, 0, []),
    "raising_handler": ({"ours": ["refusing"]}, 0, []),
    "no_stderr": ({"stderr": None}, 0, []),  # as in a program without a console
}


def log_three() -> None:
    """Log a line of each level up to a warning."""
    for level in (logging.DEBUG, logging.INFO, logging.WARNING):
        log(HTTP_LOG, level, logging.getLevelName(level).lower())


@pytest.mark.parametrize("name", SET_UPS)
def test_where_lines_go(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that has set up nothing sees warnings, each once; any other gets what it wants."""
    how, on_stderr, handled = SET_UPS[name]
    kept, screen = BufferingHandler(1000), io.StringIO()
    handlers = {"kept": kept, "null": logging.NullHandler(), "refusing": Refusing()}
    monkeypatch.setattr(sys, "stderr", how.get("stderr", screen))
    with plain_logging():
        ROOT.handlers += [handlers[each] for each in how.get("root", ())]
        OURS.handlers += [handlers[each] for each in how.get("ours", ())]
        OURS.filters += how.get("filters", ())
        kept.setLevel(how.get("kept_level", logging.NOTSET))
        ROOT.setLevel(how.get("root_level", logging.WARNING))
        OURS.setLevel(how.get("level", logging.NOTSET))
        OURS.propagate, OURS.disabled = how.get("propagate", True), how.get("disabled", False)
        logging.disable(how.get("disable", logging.NOTSET))
        log_three()
    assert screen.getvalue() == "warning\n" * on_stderr
    assert [record.getMessage() for record in kept.buffer] == handled


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
    error: BaseException, caplog: pytest.LogCaptureFixture, *, takes_notes: bool
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
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    with plain_logging():
        if has_handler:
            ROOT.addHandler(BufferingHandler(1000))
        handler = set_up_logging({"LIPSYNC_LOG": named})
        log_three()
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
