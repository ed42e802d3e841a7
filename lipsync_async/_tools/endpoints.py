"""Write the table of all endpoints: the verb of each, and where the sandbox answers it.

    python -m lipsync_async._tools.endpoints [--check]

The verbs are found by the `Wire:` lines of their docstrings, the commands by the verbs that
their table names, the routes in the sandbox's own table. The table is `docs/endpoints.md`.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module
from inspect import isfunction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from lipsync_async._tools import write_or_check

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET = Path("docs", "endpoints.md")
TEST = "tests/contract/test_endpoints.py"
_HEAD = f"""# Every endpoint

Both clients, `AsyncClient` and `Client`, have each verb under the same name. Two endpoints have no
verb, because they are other names of endpoints that have one: `client.request` sends them. The
column `command` has the commands of [`lipsync-async`](command-line.md) that use one of the verbs. A
test is `test_an_endpoint` of `{TEST}` with that number. It runs in memory, over sockets and with
the blocking client.

| endpoint | verb | command | sandbox route | test |
|---|---|---|---|---|
"""
_RAW = "client.request"  # an alias of another endpoint, which has the verb
# Where the verbs are: the client's attribute, and its class.
_RESOURCES = {
    "generations": "generations.AsyncGenerations",
    "batches": "batches.AsyncBatches",
    "assets": "assets.AsyncAssets",
    "projects": "projects.AsyncProjects",
    "voices": "speech.AsyncVoices",
    "speech": "speech.AsyncTextToSpeech",
    "transcriptions": "dialogue.AsyncTranscriptions",
    "dialogue_edits": "dialogue.AsyncDialogueEdits",
    "models": "client.AsyncModels",
    "account": "account.AsyncAccountInfo",
}


@attrs.frozen
class Endpoint:
    """One method and path; `by` tells two forms of it apart."""

    method: str
    path: str
    by: str = ""


# By their numbers in the contract. Numbers 5 and 11 are aliases of 3 and 10.
ENDPOINTS: dict[str, Endpoint] = {
    "1": Endpoint("POST", "/v2/generate"),
    "2": Endpoint("POST", "/v2/generate", "multipart form"),
    "3": Endpoint("GET", "/v2/generate/{id}"),
    "4": Endpoint("GET", "/v2/generations"),
    "5": Endpoint("GET", "/v2/generations/{id}"),
    "6": Endpoint("DELETE", "/v2/generations/{id}"),
    "7": Endpoint("GET", "/v2/generations/count"),
    "8": Endpoint("GET", "/v2/generations/{id}/download"),
    "9": Endpoint("POST", "/v2/analyze/cost"),
    "10": Endpoint("POST", "/v2/generations/estimate"),
    "11": Endpoint("POST", "/v2/generate/estimate-cost"),
    "30": Endpoint("GET", "/v2/generate/{id}/costs"),
    "31": Endpoint("GET", "/v2/usage/generations"),
    "12": Endpoint("POST", "/v2/batch", "file"),
    "13": Endpoint("POST", "/v2/batch"),
    "14": Endpoint("GET", "/v2/batch/{id}"),
    "15": Endpoint("GET", "/v2/batch"),
    "16": Endpoint("POST", "/v2/assets/upload"),
    "17": Endpoint("POST", "/v2/assets"),
    "18": Endpoint("GET", "/v2/assets"),
    "19": Endpoint("GET", "/v2/assets/{id}"),
    "20a": Endpoint("PATCH", "/v2/assets/{id}"),
    "20b": Endpoint("DELETE", "/v2/assets/{id}"),
    "21": Endpoint("GET", "/v2/assets/{id}/download"),
    "32": Endpoint("POST", "/v2/assets/batch"),
    "33": Endpoint("GET", "/v2/assets/uploaded"),
    "22": Endpoint("GET", "/v2/models"),
    "23": Endpoint("GET", "/v2/errors"),
    "24": Endpoint("POST", "/v2/tts"),
    "25a": Endpoint("POST", "/v2/tts/jobs"),
    "25b": Endpoint("GET", "/v2/tts/jobs/{id}"),
    "26a": Endpoint("GET", "/v2/voices"),
    "26b": Endpoint("POST", "/v2/voices"),
    "26c": Endpoint("DELETE", "/v2/voices/{id}"),
    "27a": Endpoint("POST", "/v2/projects"),
    "27b": Endpoint("GET", "/v2/projects"),
    "27c": Endpoint("GET", "/v2/projects/{id}"),
    "27d": Endpoint("PATCH", "/v2/projects/{id}"),
    "27e": Endpoint("DELETE", "/v2/projects/{id}"),
    "27f": Endpoint("POST", "/v2/projects/{id}/assets"),
    "27g": Endpoint("DELETE", "/v2/projects/{id}/assets/{assetId}"),
    "34": Endpoint("POST", "/v2/transcriptions"),
    "35": Endpoint("GET", "/v2/transcriptions/{id}"),
    "36": Endpoint("POST", "/v2/dialogue-edits"),
    "37": Endpoint("GET", "/v2/dialogue-edits/{id}"),
    "38": Endpoint("GET", "/v2/account"),
    "28": Endpoint("GET", "/v2/organizations/webhook/secret"),
    "39": Endpoint("POST", "/v2/feedback"),
}
_WIRE = re.compile(r"^ *Wire: (?P<calls>.*?)\n *\n", re.MULTILINE | re.DOTALL)
_CALL = re.compile(r"`([A-Z]+) (/v2[^`? ]*)[^`]*`")


@attrs.frozen
class Row:
    """What the table says of one endpoint; an empty text says that it is not there."""

    number: str
    verbs: tuple[str, ...]
    commands: tuple[str, ...]
    route: str


def rows() -> list[Row]:
    """Return the rows of the table."""
    verbs, routes, commands = _verbs(), _routes(), _commands()
    return [
        Row(
            number,
            tuple(found) or (_RAW,),
            tuple(dict.fromkeys(name for verb in found for name in commands.get(verb, ()))),
            routes.get((each.method, _shape(each.path)), ""),
        )
        for number, each in ENDPOINTS.items()
        for found in [verbs.get((each.method, each.path), [])]
    ]


def lines() -> Iterator[str]:
    """Yield the lines of the table."""
    for row in rows():
        each = ENDPOINTS[row.number]
        form = f" ({each.by})" if each.by else ""
        verbs = ", ".join(f"`{verb}`" for verb in row.verbs)
        commands = ", ".join(f"`{name}`" for name in row.commands)
        yield (
            f"| `{each.method} {each.path}`{form} | {verbs} | {commands} | {row.route} "
            f"| {row.number} |\n"
        )


def _verbs() -> dict[tuple[str, str], list[str]]:
    """Return the verbs by the endpoints that they call."""
    found: dict[tuple[str, str], list[str]] = {}
    for attribute, place in _RESOURCES.items():
        module, _, name = place.partition(".")
        resource: Any = getattr(import_module(f"lipsync_async._async.{module}"), name)
        for verb, function in vars(resource).items():
            wire = _WIRE.search(f"{function.__doc__}\n\n") if isfunction(function) else None
            if wire is None or verb.startswith("_"):
                continue
            for method, path in dict.fromkeys(_CALL.findall(wire["calls"])):
                found.setdefault((method, path), []).append(f"{attribute}.{verb}")
    return found


def _commands() -> dict[str, list[str]]:
    """Return the commands by the verbs that they call."""
    table: Any = import_module("lipsync_async.cli.commands").COMMANDS
    found: dict[str, list[str]] = {}
    for command in table:
        for verb in command.verbs.split():
            found.setdefault(verb, []).append(command.name)
    return found


def _routes() -> dict[tuple[str, str], str]:
    """Return the sandbox's functions by method and path."""
    api: Any = import_module("lipsync_async.sandbox.api")
    return {
        (route.method, _shape(route.path)): _home(route.handler)
        for resource in api.RESOURCES
        for route in resource.routes
    }


def _home(handler: Any) -> str:
    module = handler.__module__.removeprefix("lipsync_async.sandbox.").replace(".", "/")
    return f"`{module}.py` `{handler.__name__}`"


def _shape(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


def main() -> int:
    """Write the table, or check it."""
    return write_or_check({TARGET: _HEAD + "".join(lines())})


if __name__ == "__main__":
    sys.exit(main())
