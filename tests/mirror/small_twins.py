"""Twins of small sources, for the tests of the generator."""

from dataclasses import replace
from textwrap import dedent, indent
from typing import Any

from lipsync_async._tools.mirror.modules import Module, written
from lipsync_async._tools.mirror.tables import Tables

PLAIN = Tables(
    classes={"AsyncResource": ("SyncWrapper", "lipsync_async._portal.portal")},
    methods={},
    types={},
    words={},
)
TYPES = {
    "AsyncGenerator": "Generator[{}, None, None]",
    "AsyncIterator": "Iterator[{}]",
    "Awaitable": "{}",
}
RESOURCE = Module.parsed("resource", "class AsyncResource:\n    pass\n")


def twin(source: str, **renames: Any) -> str:
    """Return the whole text of a file's twin, which must compile."""
    modules = [RESOURCE, Module.parsed("things", source)]
    text = written(modules, replace(PLAIN, **renames))["things"]
    compile(text, "things.py", "exec")
    return text


def method_twin(method: str, head: str = "", **renames: Any) -> str:
    """Return the text of one method's twin, without what stands around it."""
    body = indent(dedent(method).strip("\n"), "    ")
    text = twin(f"{head}\n\nclass AsyncThings(AsyncResource):\n{body}\n", **renames)
    return dedent(text.partition("    _source: AsyncThings\n\n")[2])
