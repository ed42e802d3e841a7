"""The sandbox as a media host: outputs by signed link, hosted files by name, no key."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from lipsync_async.sandbox.files import (
    FILES_PATH,
    IN_GENERATION,
    IN_REDIRECT,
    MEDIA_PATH,
    on_other_host,
)
from lipsync_async.sandbox.server.api_errors import bad_request, plain_error
from lipsync_async.sandbox.server.messages import FILE, FileSlice, Response
from lipsync_async.sandbox.server.pipeline import Access, Resource

if TYPE_CHECKING:
    from pathlib import Path

    from lipsync_async.sandbox.jobs import Job
    from lipsync_async.sandbox.server.messages import Request
    from lipsync_async.sandbox.state import State

# No file has more bytes than eighteen digits count; Python refuses to read thousands.
_ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)

outputs: Resource = Resource(MEDIA_PATH, Access.PUBLIC)
files: Resource = Resource(FILES_PATH, Access.PUBLIC)


@outputs.route("GET", "{name}")
def output(state: State, request: Request) -> Response:
    """Answer with a job's output, or as its output faults have it."""
    job_id = PurePosixPath(request.params["name"]).stem
    facts = dict(request.query)
    job = state.jobs.get(job_id)
    if not state.urls.is_good(job_id, facts):
        raise plain_error(403, "This link is not signed, or has expired.")
    if job is None or job.result is None:
        raise plain_error(404, "There is no such output.")
    _check_link(job, facts)
    if "redirect_output" in job.faults and facts["via"] != IN_REDIRECT:
        target = state.urls.media(job_id, version=job.link_version, via=IN_REDIRECT)
        return Response(302, headers={"Location": on_other_host(target)})
    file_name = job.body.get("outputFileName") or job.id
    found = served(request, job.result.source, job.result.size, job.result.etag, "video/mp4")
    if found.size:
        disposition = f'attachment; filename="{file_name}.mp4"'
        found.headers = {**found.headers, "Content-Disposition": disposition}
    if "truncate_output" in job.faults and not job.has_broken_off:
        job.has_broken_off = found.breaks_off = True
    return found


@files.route("GET", "{name}")
def hosted(state: State, request: Request) -> Response:
    """Answer with a hosted file."""
    file = state.files.get(request.params["name"])
    if file is None:
        raise plain_error(404, "There is no such file.")
    facts = file.path.stat()
    etag = f'"{facts.st_size:x}-{facts.st_mtime_ns:x}"'
    return served(request, file.path, facts.st_size, etag, file.content_type)


@files.route("PUT", "{name}", access=Access.CONTROL, body=FILE, status=201)
def host(state: State, request: Request) -> Any:
    """Keep the body, so that it has a URL."""
    upload = request.upload
    if upload is None:
        raise bad_request("Send the file as the body.")
    path = request.files.hand_over(upload.path)
    return {"url": state.files.adopt(path, request.params["name"], upload.content_type)}


def _check_link(job: Job, facts: dict[str, str]) -> None:
    """Refuse the links that the job's faults are about; those of `/download` stay good."""
    if facts["via"] != IN_GENERATION:
        return
    if "missing_output" in job.faults:
        raise plain_error(404, "There is no such output.")
    if "expire_output" in job.faults and facts["version"] == "0":
        # From now on the generation shows a link that works.
        job.link_version, job.encoded = 1, None
        raise plain_error(403, "This link has expired.")


def served(
    request: Request, source: bytes | Path, size: int, etag: str, content_type: str
) -> Response:
    """Answer with the file, or with the part that a Range header asks for (RFC 9110, 14)."""
    headers = {"Accept-Ranges": "bytes", "ETag": etag}
    start, stop = 0, size
    part = _asked_range(request, size, etag)
    if part is not None:
        start, stop = part
        if start >= size:
            return Response(416, headers={**headers, "Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    body = source[start:stop] if isinstance(source, bytes) else FileSlice(source, start, stop)
    return Response(200 if part is None else 206, body, content_type, headers)


def _asked_range(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    """Return the (start, stop) that is asked for, or `None` for the whole file.

    A header that is malformed, asks for several ranges, or names another version of the file
    is ignored, as the RFC wants it.
    """
    found = _ONE_RANGE.fullmatch(request.headers.get("range", ""))
    if found is None or request.headers.get("if-range", etag) != etag:
        return None
    first, last = found.groups()
    if not first and not last:
        return None
    if not first:
        return max(size - int(last), 0), size
    start, stop = int(first), min(int(last) + 1, size) if last else size
    return (start, stop) if start >= size or start < stop else None
