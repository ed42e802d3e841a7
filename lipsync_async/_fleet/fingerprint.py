"""A request in one canonical form, so that it can be stored and recognised.

Two requests are the same if they would be sent as the same JSON and the same files. A
file of bytes counts by its content; a local file by path, size and time of change, for
reading gigabytes only to recognise them would take minutes.
"""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from lipsync_async._rules.codec import encode_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lipsync_async._values.inputs import GenerationRequest

# Up to here every whole float is exactly that integer (IEEE 754, 53 bits).
_MOST_EXACT = 2.0**53


@attrs.frozen(slots=True)
class Identity:
    """Hold what makes a request the one that it is.

    Args:
        document: The canonical form: JSON in ASCII with sorted keys. An input that is a
            local file has a `file` in it, an object with the file's facts.
        fingerprint: SHA-256 of the document, in hexadecimal digits.

    """

    document: str
    fingerprint: str


def identify(
    request: GenerationRequest, *, recorded: str | None = None, was_sent: bool = False
) -> Identity:
    """Return what makes a request the one that it is.

    Args:
        request: A request that has passed validation.
        recorded: The document of the request that this one should be. A local file that
            is gone is believed to be the recorded one: after the upload it may go.
        was_sent: Whether one that is there is believed to be the recorded one as well.

    """
    body = encode_request(request)
    known = _files(json.loads(recorded)) if recorded is not None else {}
    for item, encoded in zip(request.input, body["input"], strict=True):
        file = getattr(item, "file", None)
        if file is not None:
            encoded["file"] = _facts(file, known, was_sent=was_sent)
    document = json.dumps(_plain(body), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return Identity(document, sha256(document.encode("ascii")).hexdigest())


def difference(recorded: str, given: str) -> str:
    """Say in words what sets two documents apart."""
    before, now = json.loads(recorded), json.loads(given)
    files_before, files_now = _files(before), _files(now)
    changed = [path for path, facts in files_now.items() if files_before.get(path, facts) != facts]
    if changed and _without_facts(before) == _without_facts(now):
        return f"its file {changed[0]} has changed since"
    names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    return f"they differ in {' and '.join(names)}"


def _facts(file: Any, known: Mapping[str, Any], *, was_sent: bool) -> dict[str, Any]:
    if isinstance(file, bytes):
        return {"sha256": sha256(file).hexdigest(), "size": len(file)}
    # Absolute, so that the same command run from elsewhere names the same file.
    path = str(Path(os.fspath(file)).absolute())
    facts: dict[str, Any] = known.get(path, {"path": path})
    if was_sent:
        return facts
    try:
        status = os.stat(path)  # noqa: PTH116 - `path` is text by now
    except OSError:
        return facts
    return {"path": path, "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _files(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a document's local files by their paths."""
    facts = [item["file"] for item in document["input"] if "file" in item]
    return {known["path"]: known for known in facts if "path" in known}


def _without_facts(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document that names its local files and says no more of them."""
    items = [
        {**item, "file": item["file"].get("path")} if "file" in item else item
        for item in document["input"]
    ]
    return {**document, "input": items}


def _plain(value: Any) -> Any:
    """Write `1.0` as `1`: in JSON they are one number, and Python code mixes them freely."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < _MOST_EXACT:
        return int(value)
    return value
