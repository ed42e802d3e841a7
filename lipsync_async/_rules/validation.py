"""Find everything that is wrong with a call before it is sent.

Each problem is one line, `path: what is wrong`, with the names that the user wrote. All
problems of a call are reported at once, and whatever is handed over, the answer is a
list of problems, never a traceback out of a check.

Source: contract section 13.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sized
from enum import StrEnum
from typing import TYPE_CHECKING

from lipsync_async._rules.caller import warn
from lipsync_async._rules.checks import (
    Check,
    collection_of,
    each,
    fields_of,
    instance_of,
    items_of,
    matching,
    name,
    one_of,
    optional,
    positive,
    survived,
    webhook_url,
    whole_number,
    wrong,
)
from lipsync_async._rules.combination_checks import combination_problems
from lipsync_async._rules.input_checks import disk_problems, input_item
from lipsync_async._rules.option_checks import options
from lipsync_async._rules.option_support import ignored_parts
from lipsync_async._rules.segment_checks import segment_list
from lipsync_async._values.inputs import DubParams, GenerationRequest, Origin
from lipsync_async.errors import IgnoredOptionWarning, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Contract section 4.4.
_IDEMPOTENCY_KEY = re.compile(r"[A-Za-z0-9._~-]{1,128}")

# Contract sections 0 and 2.2.
# The ids that the service gives out; most calls need no closer look.
_USUAL_ID = re.compile(r"[0-9A-Za-z-]+")
# The most that surely fit into a URL, and a page's most too (contract section 2.8).
_MOST_IDS = 100
MOST_ON_A_PAGE = 100
_OUTPUT_FILE_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
_LONGEST_REQUEST_ID = 255


def request_problems(request: object) -> list[str]:
    """Return every problem of a request, each as `path: what is wrong`.

    Files are looked up on the disk (they must be there, be regular files, and fit into
    an upload); nothing else is looked at but the request.

    Args:
        request: The request; anything is survived.

    Returns:
        The problems in the order of the request's fields, then those between fields, then
        those of files; empty for a request that may be sent.

    """
    return [*form_problems(request), *file_problems(request)]


@survived("request")
def form_problems(request: object) -> list[str]:
    """Return the problems that a request has wherever it is sent from: no file is looked up."""
    if not isinstance(request, GenerationRequest):
        return [wrong("request", "GenerationRequest", request)]
    return [*fields_of("", request, _REQUEST_FIELDS), *combination_problems(request)]


@survived("request")
def file_problems(request: object) -> list[str]:
    """Return what is wrong with a request's local files at this moment."""
    return list(disk_problems(request.input)) if isinstance(request, GenerationRequest) else []


@survived("request")
def request_warnings(request: object) -> list[str]:
    """Return what the service will silently ignore or discourages, as `path: what`.

    Args:
        request: The request; anything is survived.

    Returns:
        Options that the model does not use, `sync_mode` with an image, a model that
        this release does not know, deprecated fields.

    """
    return list(ignored_parts(request)) if isinstance(request, GenerationRequest) else []


@survived("on_update")
def callback_problems(on_update: object) -> list[str]:
    """Return what keeps `on_update` from being called: found out later, it would cost a job."""
    return (
        []
        if on_update is None or callable(on_update)
        else [wrong("on_update", "callable", on_update)]
    )


def check_request(request: GenerationRequest, *, stacklevel: int = 1) -> None:
    """Refuse a request that cannot work, and warn about what will be ignored.

    Args:
        request: The request.
        stacklevel: Whose line a warning shows, as in `warnings.warn`: 1 is the line that
            calls this function, 2 that line's caller.

    Raises:
        InvalidRequestError: It has problems; the error lists all of them.

    """
    problems = request_problems(request)
    if problems:
        raise InvalidRequestError(problems)
    warn_of_ignored(request, stacklevel=stacklevel + 1)


def warn_of_ignored(request: GenerationRequest, *, stacklevel: int = 1) -> None:
    """Warn about what will be ignored of a request that can work.

    Args:
        request: The request.
        stacklevel: As for `check_request`.

    """
    for warning in request_warnings(request):
        warn(warning, IgnoredOptionWarning, stacklevel=stacklevel + 1)


@survived("idempotency_key")
def idempotency_key_problems(key: object) -> list[str]:
    """Return what is wrong with a key that the user chose; `None` is no key.

    Source: contract section 4.4.
    """
    return list(_key("idempotency_key", key))


@survived("generation_id")
def generation_id_problems(value: object) -> list[str]:
    """Return what is wrong with the id of a generation.

    Source: contract section 2.6; a path segment of dots would name another endpoint.
    """
    if isinstance(value, str) and len(value) <= _LONGEST_REQUEST_ID and _USUAL_ID.fullmatch(value):
        return []
    problems = list(name("generation_id", value))
    if isinstance(value, str) and value in {".", ".."}:
        problems.append(wrong("generation_id", "the id of a generation", value))
    if isinstance(value, str) and len(value) > _LONGEST_REQUEST_ID:
        problems.append(f"generation_id: must be 1 to {_LONGEST_REQUEST_ID} characters")
    return problems


@survived("filters")
def list_problems(
    *,
    status: object,
    ids: object,
    source: object,
    project_id: object,
    limit: object,
    cursor: object,
) -> list[str]:
    """Return what is wrong with the filters of a listing; `None` asks for no filter.

    Source: contract sections 2.8 and 13 (rule 14).
    """
    problems = [
        *_filter("status", status),
        *_filter("ids", ids),
        *_filter("source", source),
        *optional(name)("project_id", project_id),
        *optional(whole_number(1, MOST_ON_A_PAGE))("limit", limit),
        *optional(name)("cursor", cursor),
    ]
    if isinstance(ids, Sized) and not isinstance(ids, str) and len(ids) > _MOST_IDS:
        problems.append(f"ids: at most {_MOST_IDS} a call, not {len(ids)}")
    if cursor is not None and limit is None:
        problems.append("limit: must be given with cursor, the same as for the page before")
    return problems


@survived("arguments")
def estimate_problems(*, model: object, duration: object, fps: object) -> list[str]:
    """Return what is wrong with the question what a duration would cost.

    Source: contract section 2.9, shape 2.
    """
    return [
        *name("model", model),
        *positive("duration", duration),
        *optional(positive)("fps", fps),
    ]


@survived("timeout")
def timeout_problems(timeout: object) -> list[str]:
    """Return what is wrong with a number of seconds to wait; `None` is no limit."""
    return list(optional(positive)("timeout", timeout))


@survived("request")
def upload_problems(
    request: GenerationRequest,
    *,
    advice: str = "use its duration with estimate_duration",
) -> list[str]:
    """Return each input that is a local file, where the service takes none.

    Args:
        request: The request.
        advice: What to do instead.

    Source: contract section 2.9, shape 1: the estimate is asked for in JSON.
    """
    return [
        f"input[{position}].file: cannot be estimated; {advice}"
        for position, item in enumerate(items_of(request.input))
        if getattr(item, "file", None) is not None
    ]


def _request_id(path: str, value: object) -> Iterator[str]:
    """Ask for a line of text that is short enough for every table."""
    yield from name(path, value)
    if isinstance(value, str) and len(value) > _LONGEST_REQUEST_ID:
        yield f"{path}: must be 1 to {_LONGEST_REQUEST_ID} characters, not {len(value)}"


def _texts_by_name(path: str, value: object) -> Iterator[str]:
    """Ask for a mapping from text to text, which a journal can keep."""
    pairs = value.items() if isinstance(value, Mapping) else [(None, None)]
    if not all(isinstance(text, str) for pair in pairs for text in pair):
        yield f"{path}: must be a mapping of texts by their names"


class _DubbingProvider(StrEnum):
    ELEVENLABS = "elevenlabs"


def _filter_word(path: str, value: object) -> Iterator[str]:
    yield from name(path, value)
    if isinstance(value, str) and "," in value:
        yield f"{path}: must not hold a comma, which separates values on the wire"


_filter = optional(collection_of(_filter_word))

_key = matching(_IDEMPOTENCY_KEY, "1 to 128 of the characters A-Z a-z 0-9 . _ ~ -")

_REQUEST_FIELDS: dict[str, Check] = {
    "model": name,
    "input": each(input_item),
    "options": optional(options),
    "segments": optional(segment_list),
    "webhook_url": optional(webhook_url),
    "output_file_name": optional(
        matching(_OUTPUT_FILE_NAME, "1 to 255 letters, digits, - or _ without an extension"),
    ),
    "project_id": optional(name),
    "dub_params": optional(
        instance_of(
            DubParams,
            {
                "target_lang": name,
                "source_lang": optional(name),
                "provider_name": one_of(_DubbingProvider),
            },
        ),
    ),
    "request_id": optional(_request_id),
    "origin": optional(
        instance_of(Origin, {"line": optional(whole_number(1)), "extra": _texts_by_name}),
    ),
}
