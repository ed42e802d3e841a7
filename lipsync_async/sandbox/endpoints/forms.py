"""A multipart create as the JSON body that it stands for (contract section 2.5)."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from lipsync_async.sandbox.endpoints.bodies import parsed
from lipsync_async.sandbox.rules.refusals import coded, malformed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lipsync_async.sandbox.state import State
    from lipsync_async.sandbox.wire import Form, StoredFile

_TEXTS = frozenset({"model", "webhookUrl", "outputFileName", "projectId"})
_NESTED = frozenset({"input", "options", "segments", "dubParams"})
_SLOTS = ("video", "image", "audio")


def body_of_form(state: State, form: Form) -> Any:
    """Return the create body that a form stands for; its files become hosted assets.

    Raises:
        Refusal: A nested field is no JSON, or a file is over the plan's limit.

    """
    body: dict[str, Any] = {}
    for name, text in form.texts.items():
        if name in _TEXTS:
            body[name] = text
        elif name in _NESTED:
            body[name] = _parsed(name, text)
    for slot in _SLOTS:
        if slot in form.files:
            body["input"] = _with_file(state, body.get("input"), slot, form.files[slot])
    return body


def discard_files(form: Form | None) -> None:
    """Remove the files of a form that came to nothing."""
    for file in form.files.values() if form is not None else ():
        file.path.unlink(missing_ok=True)


def _parsed(name: str, text: str) -> Any:
    try:
        return parsed(text)
    except (ValueError, RecursionError):
        raise malformed([f"{name} must be one JSON string"]) from None


def _with_file(state: State, items: Any, slot: str, file: StoredFile) -> list[Any]:
    """Put a file into its slot: it wins over an input of that type, and keeps its refId."""
    limit = state.settings.plan_file_bytes
    if limit is not None and file.size > limit:
        message = f"The plan takes files of {limit} bytes at most."
        raise coded(422, "file_size_exceeds_plan_limit", message, field=slot)
    asset_id = state.new_id()
    url = state.files.adopt(file, f"{asset_id}{PurePath(file.name).suffix}")
    found: list[Any] = items if isinstance(items, list) else []
    replaced: dict[str, Any] = next((item for item in found if _is_of_type(item, slot)), {})
    kept = {"refId": replaced["refId"]} if "refId" in replaced else {}
    others = [item for item in found if item is not replaced]
    return [*others, {"type": slot, "url": url, "assetId": asset_id, **kept}]


def _is_of_type(item: Any, slot: str) -> bool:
    return isinstance(item, dict) and item.get("type") == slot


def summary(form: Form) -> Mapping[str, Any]:
    """Return what the request log keeps of a form: its texts, and its files' facts."""
    files = {
        name: {"filename": file.name, "size": file.size, "sha256": file.digest}
        for name, file in form.files.items()
    }
    return {**form.texts, **files}
