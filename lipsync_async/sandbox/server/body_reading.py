"""Reads the body of a request, as far as its route asks for it, within the limits.

Source: "Create generation", sync.so API reference (multipart form).
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

import attrs

from lipsync_async.sandbox.server.api_errors import bad_request, too_large
from lipsync_async.sandbox.server.messages import Form, StoredFile, dump

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lipsync_async.sandbox.server.messages import BodySource, Request

MOST_FIELDS = 32
MOST_PARTS = 35
MOST_TEXT_BYTES = 1024 * 1024
# Of JSON. The largest is a list of bounding boxes: half an hour has 54,000 frames, and a box
# written in full 90 bytes. No other request is answered while one is read: a second for 8 MB.
MOST_BODY_BYTES = 5 * 1024 * 1024
_MOST_DIGITS = 308  # every integer of so many is a finite double


@attrs.frozen(slots=True)
class BodyPolicy:
    """What body a route takes; neither of these is the raw bytes."""

    is_json: bool = False
    file_fields: frozenset[str] = frozenset()  # of a form; empty: it takes none
    is_file: bool = False


RAW = BodyPolicy()
JSON_BODY = BodyPolicy(is_json=True)
FILE = BodyPolicy(is_file=True)


def json_or_form(*file_fields: str) -> BodyPolicy:
    """Return the policy of JSON, or of a form with these file fields."""
    return BodyPolicy(is_json=True, file_fields=frozenset(file_fields))


async def read_body(request: Request, policy: BodyPolicy, max_file_bytes: int) -> None:
    """Read what a request brings, and put it where the policy says."""
    source = request.source
    if source is not None and source.is_form and policy.file_fields:
        request.form = await _read_form(source, request, policy.file_fields, max_file_bytes)
    elif source is not None and policy.is_file:
        name = request.path.rpartition("/")[2]
        content_type = request.headers.get("content-type", "application/octet-stream")
        request.upload = await _store(source.chunks(), request, name, content_type, max_file_bytes)
    elif source is not None:
        request.body = request.rename(
            await _read_bytes(source.chunks(), MOST_BODY_BYTES, "The body")
        )
    if policy.is_json and request.form is None:
        request.data = _json(request)


def _json(request: Request) -> Any:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise bad_request(
            f"Send the body as application/json, not as {content_type or 'a body without a type'}."
        )
    try:
        return parse_json(request.body)
    except (ValueError, RecursionError) as problem:
        raise bad_request(f"The body is not valid JSON: {problem}") from None


def parse_json(text: str | bytes) -> Any:
    """Return decoded JSON, as strictly as services read it."""
    decoded = text if isinstance(text, str) else text.decode("utf-8-sig")
    value = _DECODER.decode(decoded)
    if "\\ud" in decoded.lower():
        dump(value)  # half a surrogate pair can be read, but never be written again
    return value


def _refuse(constant: str) -> Any:
    """Refuse NaN and the infinities, which Python alone takes for JSON."""
    raise ValueError(f"{constant} is no JSON value")


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text:.40} is too large a number")
    return number


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"{text:.40}… is too large a number")
    return int(text)


# Made once, used by every create. JSON knows no largest number, services do: a double's.
_DECODER = json.JSONDecoder(
    parse_float=_float,
    parse_int=_integer,
    parse_constant=_refuse,
)


async def _read_bytes(chunks: AsyncIterator[bytes], most: int, what: str) -> bytes:
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > most:
            raise too_large(f"{what} is larger than {most} bytes.")
    return bytes(body)


async def _store(
    chunks: AsyncIterator[bytes], request: Request, name: str, content_type: str, max_bytes: int
) -> StoredFile:
    """Write a file as its bytes come; it belongs to the request, which deletes it at its end."""
    path, size, digest = request.files.new_path(), 0, hashlib.sha256()
    with path.open("wb") as file:
        async for chunk in chunks:
            size += len(chunk)
            if size > max_bytes:
                raise too_large(f"{name} is larger than {max_bytes} bytes.")
            digest.update(chunk)
            file.write(chunk)
    return StoredFile(path, name, content_type, size, digest.hexdigest())


async def _read_form(
    source: BodySource, request: Request, file_fields: frozenset[str], max_bytes: int
) -> Form:
    texts: dict[str, list[str]] = {}
    files: dict[str, StoredFile] = {}
    number = 0
    try:
        async for part in source.parts():
            number += 1
            if part.name is None:
                raise bad_request("A part of the form has no name.")
            if part.filename is None:
                text = await _text(part.chunks, request, f"Field {part.name}")
                texts.setdefault(part.name, []).append(text)
            elif part.name not in file_fields:
                raise bad_request(f"Unexpected file field {part.name!r}.")
            elif part.name in files:
                raise bad_request(f"Send one file as {part.name!r}, not several.")
            else:
                files[part.name] = await _store(
                    part.chunks, request, part.filename, part.content_type, max_bytes
                )
            if number - len(files) > MOST_FIELDS or number > MOST_PARTS:
                raise too_large(f"The form has more than {MOST_FIELDS} fields.")
    except ValueError as problem:
        raise bad_request(f"The body is not a valid form: {problem}") from None
    return Form(texts, files)


async def _text(chunks: AsyncIterator[bytes], request: Request, what: str) -> str:
    value = await _read_bytes(chunks, MOST_TEXT_BYTES, what)
    try:
        return request.rename(value).decode()
    except UnicodeDecodeError:
        raise bad_request(f"{what} is not UTF-8 text.") from None
