"""Multipart forms for aiohttp, with the files as they were when the call began."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

import aiohttp

from lipsync_async._values.messages import FilePart, stamp_of

if TYPE_CHECKING:
    from lipsync_async._values.messages import Request


def build_form(request: Request, files: list[BinaryIO]) -> aiohttp.FormData:
    """Build a form anew for each try, with its files opened at their beginning.

    Args:
        request: Whose form it is.
        files: Gets each file that is opened; the caller closes them.

    Raises:
        ValueError: A file cannot be read, or is not what it was when the call began.

    """
    form = aiohttp.FormData(quote_fields=False)  # as browsers do: names stay readable
    for part in request.form:
        if isinstance(part, FilePart):
            form.add_field(
                part.name,
                _content(part, files),
                filename=part.filename,
                content_type=part.content_type,
            )
        else:
            form.add_field(part.name, part.value)
    return form


def _content(part: FilePart, files: list[BinaryIO]) -> bytes | BinaryIO:
    if isinstance(part.source, bytes):
        return part.source
    try:
        file = part.source.open("rb")
    except OSError as error:
        # A ValueError, like all else that keeps a request from being sent at all.
        raise ValueError(f"a file cannot be read any more: {error}") from error
    files.append(file)
    if part.stamp is not None and part.stamp != stamp_of(os.fstat(file.fileno())):
        raise ValueError(f"{part.source} has changed since the call began")
    return file
