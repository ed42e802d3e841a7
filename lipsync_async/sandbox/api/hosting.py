"""The sandbox as a media host: results by signed link, hosted files by name, no key."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from lipsync_async.sandbox.files import IN_GENERATION, IN_REDIRECT
from lipsync_async.sandbox.server.api_errors import Refusal, bad_request
from lipsync_async.sandbox.server.messages import FileSlice, Outgoing, answer

if TYPE_CHECKING:
    from pathlib import Path

    from lipsync_async.sandbox.jobs import Job
    from lipsync_async.sandbox.server.messages import Incoming
    from lipsync_async.sandbox.state import State


async def result(state: State, incoming: Incoming, name: str) -> Outgoing:
    """Answer `GET /__sandbox/media/{id}.mp4`, or as the job's output faults have it."""
    job_id = PurePosixPath(name).stem
    facts = dict(incoming.query)
    job = state.jobs.get(job_id)
    if not state.links.is_good(job_id, facts):
        raise _refusal(403, "This link is not signed, or has expired.")
    if job is None or job.result is None:
        raise _refusal(404, "There is no such output.")
    _check_link(job, facts)
    if "redirect_output" in job.faults and facts["via"] != IN_REDIRECT:
        target = state.links.elsewhere(job_id, version=job.link_version)
        return Outgoing(302, headers={"Location": target})
    file_name = job.order.get("outputFileName") or job.id
    served = _serve(incoming, job.result.source, job.result.size, job.result.etag, "video/mp4")
    served.headers = {
        **served.headers,
        "Content-Disposition": f'attachment; filename="{file_name}.mp4"',
    }
    if "truncate_output" in job.faults and not job.has_broken_off:
        job.has_broken_off = served.breaks_off = True
    return served


async def hosted(state: State, incoming: Incoming, name: str) -> Outgoing:
    """Answer `GET /__sandbox/files/{name}`."""
    file = state.files.get(name)
    if file is None:
        raise _refusal(404, "There is no such file.")
    size, etag = file.facts()
    return _serve(incoming, file.path, size, etag, file.content_type)


async def host(state: State, incoming: Incoming, name: str) -> Outgoing:
    """Answer `PUT /__sandbox/files/{name}`: keep the body, so that it has a URL."""
    if incoming.upload is None:
        raise bad_request("Send the file as the body.")
    return answer({"url": state.files.adopt(incoming.upload, name)}, 201)


def _check_link(job: Job, facts: dict[str, str]) -> None:
    """Refuse the links that the job's faults spoil; those of `/download` stay good."""
    if facts["via"] != IN_GENERATION:
        return
    if "missing_output" in job.faults:
        raise _refusal(404, "There is no such output.")
    if "expire_output" in job.faults and facts["version"] == "0":
        # From now on the generation shows a link that works.
        job.link_version, job.encoded = 1, None
        raise _refusal(403, "This link has expired.")


def _serve(
    incoming: Incoming,
    source: bytes | Path,
    size: int,
    etag: str,
    content_type: str,
) -> Outgoing:
    """Answer with the file, or with the part that a Range header asks for."""
    headers = {"Accept-Ranges": "bytes", "ETag": etag}
    asked, condition = incoming.headers.get("range"), incoming.headers.get("if-range")
    try:
        part = requested_slice(asked, condition, size=size, etag=etag)
    except UnsatisfiableRangeError:
        return Outgoing(416, headers={**headers, "Content-Range": f"bytes */{size}"})
    start, stop = part or (0, size)
    body = source[start:stop] if isinstance(source, bytes) else FileSlice(source, start, stop)
    if part is None:
        return Outgoing(200, body, content_type, headers)
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return Outgoing(206, body, content_type, headers)


def _refusal(status: int, message: str) -> Refusal:
    return Refusal(status, {"message": message, "statusCode": status})


# No file has more bytes than eighteen digits count; Python refuses to read thousands.
_ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


class UnsatisfiableRangeError(Exception):
    """Raised when a range begins behind the end of the file."""


def requested_slice(
    asked: str | None,
    if_range: str | None,
    *,
    size: int,
    etag: str,
) -> tuple[int, int] | None:
    """Return the (start, stop) that is asked for, or `None` for the whole file.

    A header that is malformed, asks for several ranges, or names another version of the
    file is ignored, as the RFC wants it.

    Args:
        asked: The `Range` header.
        if_range: The `If-Range` header.
        size: Length of the file in bytes.
        etag: The file's validator.

    Raises:
        UnsatisfiableRangeError: The range begins behind the end.

    """
    found = _ONE_RANGE.fullmatch(asked) if asked else None
    if found is None or (if_range is not None and if_range != etag):
        return None
    first, last = found.groups()
    if not first and not last:
        return None
    if not first:
        start, stop = max(size - int(last), 0), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
    if start >= size:
        raise UnsatisfiableRangeError
    return None if stop <= start else (start, stop)
