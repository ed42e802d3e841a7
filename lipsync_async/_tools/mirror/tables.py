"""What is called otherwise in blocking code. A rename that never fires is an error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """Hold the renames of one generation.

    Args:
        classes: Async classes whose twins are written by hand, and these twins.
        methods: Names of methods, and what their twins do; these are no plain calls.
        types: Generic types; `{}` stands for the first parameter.
        words: Parts of docstrings, in the order in which they are replaced.

    """

    classes: Mapping[str, tuple[str, str]]
    methods: Mapping[str, tuple[str, str]]
    types: Mapping[str, str]
    words: Mapping[str, str]


TABLES = Tables(
    classes={},
    methods={
        "aclose": ("close", "self._portal.close(self._source.aclose)"),
        "__aenter__": ("__enter__", "return self"),
        "__aexit__": ("__exit__", "self.close()"),
    },
    types={
        "AsyncGenerator": "Generator[{}, None, None]",
        "AsyncIterable": "Iterable[{}]",
        "AsyncIterator": "Iterator[{}]",
        "Awaitable": "{}",
    },
    words={
        "The verbs, async": "The verbs, blocking",
        "The async client": "The blocking client",
        "from asyncio code": "from code that cannot await",
        "call `aclose` in the end": "call `close` in the end",
        "serves any number of tasks of one event loop at once. It may be built anywhere, and\n"
        "    used by several `asyncio.run` calls in a row.": (
            "serves any number of threads at once; its methods suit `executor.submit`. Each runs\n"
            "    in an event loop that the client keeps in a thread of its own, so it may be used\n"
            "    inside a running loop, too. A forked child may go on using the client.\n"
            "\n"
            "    Ctrl-C during a call cancels it, waits for its clean-up, and raises\n"
            "    `KeyboardInterrupt`; a second Ctrl-C does not wait. Callbacks are called in the\n"
            "    thread that waits."
        ),
        'The client cannot be used again."""': (
            "The client cannot be used again.\n"
            "\n"
            "        Calls that are under way in other threads end with `ConfigurationError`.\n"
            '        """'
        ),
        "Called, and awaited if need be, with": "Called, in the thread that waits, with",
        "by timeout or cancellation": "by timeout or Ctrl-C",
        "async with ": "with ",
        "await ": "",
    },
)
