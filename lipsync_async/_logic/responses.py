"""What an HTTP answer means: a value, or exactly one error.

JSON is read tolerantly, because a paid job is worth more than the damaged part of its answer:

* a number that no float holds (NaN, Infinity, 1e999, thousands of digits) is read as null;
* half of a surrogate pair, and bytes that are not UTF-8, become U+FFFD;
* where a body cannot be read as a whole, each of its outermost members is read by itself.

What is nested a hundred times deep is refused: Python's parser reads some hundreds, but what
it has read could then not be pickled, nor stored where the stack is deeper already.
"""

from __future__ import annotations

import json
import logging
import re
from contextlib import suppress
from datetime import UTC
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin, urlsplit

from lipsync_async._callsite import HTTP_LOG, log
from lipsync_async._enums import Status
from lipsync_async._logic.codec import ShapeError, decode
from lipsync_async._logic.retry import is_unknown_outcome
from lipsync_async._models.response import Generation
from lipsync_async.errors import (
    STATUS_ERRORS,
    ConcurrencyLimitError,
    DecodeError,
    ResponseError,
    ServerError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lipsync_async._models.http import Response

T = TypeVar("T")

_FIRST_ERROR_STATUS = 400
_FIRST_SERVER_ERROR = 500
_SHOWN_CHARACTERS = 200
# Of each text that the service says in an error, so much goes into messages and logs.
_MOST_CHARACTERS = 1000
_MOST_PATHS = 20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})  # RFC 9110 section 15.4

# None of these is documented; the first that is there is quoted.
_REQUEST_ID_HEADERS = ("x-request-id", "request-id", "x-amzn-requestid", "x-amz-cf-id", "cf-ray")

_HALF = re.compile(r"\\u[dD][89a-fA-F]")
# From the left, so that a backslash which is escaped itself begins no escape.
_ESCAPES = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_MOST_DIGITS = 308  # of an integer that is surely in the range of a float
_MOST_DEPTH = 100  # documented answers have 6 levels; `pickle` ends at some 300
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_TEXTS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)  # also one that is cut off
_MARKS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[][{},]', re.DOTALL)  # a text may be cut off


def loads(body: bytes) -> Any:
    """Decode JSON, as far as it can be read."""
    text = body.decode(json.detect_encoding(body), errors="replace")
    if "\\" in text and _HALF.search(text):
        text = _ESCAPES.sub(lambda found: "\\ufffd" if found["half"] else found[0], text)
    return _read(text, depth=2)


def _read(text: str, *, depth: int) -> Any:
    """Read a text; where that fails, and `depth` is left, member by member."""
    if text.count("[") + text.count("{") <= _MOST_DEPTH or not _is_deep(text):
        with suppress(ValueError):
            return _DECODER.decode(text)
    pieces = _members(text) if depth else []
    is_list = text.lstrip().startswith("[")
    read: list[Any] = []
    for piece in pieces:
        member = piece if is_list else "{" + piece + "}"
        try:
            read.append(_read(member, depth=depth - 1 if is_list else 0))
        except ValueError:
            read += [None] if is_list else []
    if not any(read):
        raise ValueError("it is no JSON")
    return read if is_list else {name: value for each in read for name, value in each.items()}


def _is_deep(text: str) -> bool:
    """Tell whether a text is nested too deeply, in a small part of the time that reading takes."""
    data = text.encode(errors="replace")
    brackets = data.translate(None, _NO_BRACKETS)
    for _ in range(_MOST_DEPTH // 2):
        if not brackets:
            return False
        # This takes off the innermost level; or two, where they are of both kinds.
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    # It has brackets in its texts, or is cut off, or is deep.
    depth = 0
    for bracket in _TEXTS.sub(b"", data).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > _MOST_DEPTH:
            return True
    return False


def _members(text: str) -> list[str]:
    """Cut a list or an object into its members; what is no whole one has none."""
    pieces: list[str] = []
    depth = start = 0
    for found in _MARKS.finditer(text):
        mark = found[0]
        if not depth and (start or mark not in "[{" or text[: found.start()].strip()):
            return []
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(mark, 0)
        if depth == 1 and mark in "[{":
            start = found.end()
        elif not depth or (depth == 1 and mark == ","):
            pieces.append(text[start : found.start()])
            start = found.end()
    return [] if depth or text[start:].strip() else [piece for piece in pieces if piece.strip()]


def _null(_: str) -> None:
    """Stand in for NaN and the infinities."""


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if isfinite(number) else None


def _whole(digits: str) -> int | None:
    return int(digits) if len(digits) <= _MOST_DIGITS else None


# `json.loads` builds one anew for each call that has wishes of its own.
_DECODER = json.JSONDecoder(parse_constant=_null, parse_float=_finite, parse_int=_whole)


def redirect_target(url: str, status: int, headers: Mapping[str, str]) -> str | None:
    """Return the URL that an answer points to; `None` if it points to none that can be read."""
    location = headers.get("location")
    if status not in _REDIRECTS or location is None:
        return None
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
        is_web = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return target if is_web else None


def read_json(response: Response) -> Any:
    """Return the decoded body."""
    try:
        return loads(response.body)
    except ValueError:
        raise _no_json(response) from None


def _no_json(response: Response) -> DecodeError:
    reason = "its body is no JSON" if response.body else "its body is empty"
    return DecodeError(reason, response=response, request_id=request_id(response))


def read(kind: type[T], response: Response) -> T:
    """Return the body as one value."""
    try:
        return decode(kind, loads(response.body))
    except ShapeError as error:
        raise schema_error(response, *error.paths) from None
    except ValueError:
        raise _no_json(response) from None


def structure(kind: type[T], data: Any, response: Response) -> T:
    """Return a part of the body as a value."""
    try:
        return decode(kind, data)
    except ShapeError as error:
        raise schema_error(response, *error.paths) from None


def read_list(
    kind: type[T], response: Response, rescue: Callable[[Any], T | None]
) -> tuple[list[T], int]:
    """Return the items of a body, and how many came.

    An item that cannot be read costs only itself: a warning in the log names it, and what
    can be rescued of it stands in its place.
    """
    data = read_json(response)
    if type(data) is not list:
        raise schema_error(response, "expected a list @ $")
    items: list[T] = []
    problems: list[str] = []
    for index, item in enumerate(data):
        try:
            items.append(decode(kind, item))
        except ShapeError as error:
            problems += [_of_item(index, problem) for problem in error.paths]
            rescued = rescue(item)
            items += [] if rescued is None else [rescued]
    if problems:
        unreadable = schema_error(response, *problems)
        if not items:
            raise unreadable
        log(HTTP_LOG, logging.WARNING, f"some items of a list could not be read: {unreadable}")
    return items, len(data)


def _of_item(index: int, problem: str) -> str:
    words, _, path = problem.rpartition("@ $")
    return f"{words}@ $[{index}]{path}"


def schema_error(response: Response, *paths: str) -> DecodeError:
    """Return the error that an answer of another shape stands for."""
    if len(paths) > _MOST_PATHS:
        paths = (*paths[:_MOST_PATHS], f"and {len(paths) - _MOST_PATHS} more")
    return DecodeError(
        "its body is not of the documented shape",
        response=response,
        paths=paths,
        request_id=request_id(response),
    )


def too_long(response: Response) -> DecodeError:
    """Return the error of an answer that is longer than any of the service's.

    It counts as schema_error, which is final: another try would fetch as much again.
    """
    return DecodeError(
        "its body is too long for an answer of the service, and was not read to its end",
        response=response,
        paths=(f"body: goes on after the {len(response.body)} bytes that were kept",),
        request_id=request_id(response),
    )


def salvage_generation(response: Response) -> Generation | None:
    """Return what can be told of a job whose answer cannot be read: its id is what counts."""
    try:
        return salvage_from(loads(response.body))
    except ValueError:
        return None


def salvage_from(data: Any, name: str = "id") -> Generation | None:
    """Return the job whose id is in a body's JSON, under this name."""
    known = data.get(name) if isinstance(data, dict) else None
    if not isinstance(known, str) or not known:
        return None
    return Generation(id=known, status=Status("UNKNOWN"), raw=data)


def refuse_another(asked: str, shown: str, response: Response) -> None:
    """Refuse an answer about another job than the one that was asked for.

    A cache or a proxy has mixed something up, which may be over at the next try; another
    job's end must not be taken for this one's. Ids may be written in capitals.
    """
    if shown != asked and shown.casefold() != asked.casefold():
        raise DecodeError(
            f"it is about generation {_text(shown)!r}, not {asked!r}",
            response=response,
            request_id=request_id(response),
        )


def request_id(response: Response) -> str | None:
    """Return the id under which the service's support finds this request."""
    for name in _REQUEST_ID_HEADERS:
        if name in response.headers:
            return response.headers[name]
    return None


def retry_after(response: Response, body: Any = None) -> float | None:
    """Return the seconds that the service asks to wait, from headers or decoded body."""
    told = response.headers.get("retry-after")
    in_ms = response.headers.get("retry-after-ms")
    in_body = body.get("retryAfterSeconds") if isinstance(body, dict) else None
    if told is None and in_ms is None and in_body is None:
        return None
    asked = [
        _seconds(in_ms, scale=0.001),
        _seconds(told),
        _seconds_between(response.headers.get("date"), told),
        _seconds(in_body),
    ]
    return max((seconds for seconds in asked if seconds is not None), default=None)


def _seconds(value: Any, *, scale: float = 1.0) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        seconds = float(value) * scale
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if isfinite(seconds) and seconds >= 0 else None


def _seconds_between(sent: str | None, due: str | None) -> float | None:
    """Read a `Retry-After` that is a date (RFC 9110 section 10.2.3).

    It is measured from the answer's own `Date`, so that this machine's clock may be wrong. All
    three forms are in GMT, also the one that does not say so.
    """
    if sent is None or due is None:
        return None
    # Here and not above: it takes 20 ms to import, for a form that hardly anybody sends.
    from email.utils import parsedate_to_datetime  # noqa: PLC0415

    try:
        moments = [parsedate_to_datetime(text) for text in (sent, due)]
        begin, end = [each if each.tzinfo else each.replace(tzinfo=UTC) for each in moments]
        return max(0.0, (end - begin).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None


def error_for(response: Response) -> ResponseError:
    """Return the error that an answer with an error status stands for.

    Bodies come in many shapes: the service's own JSON with
    `message` as text or list, older JSON, and the HTML of a proxy.
    """
    body = _body_of(response)
    facts = body if isinstance(body, dict) else {}
    code = _text(facts.get("errorCode")) or _text(facts.get("error_code"))
    described: dict[str, Any] = {
        "response": response,
        "message": _message(facts) or _words_of(body) or "no reason was given",
        "code": code,
        "suggestion": _text(facts.get("suggestion")),
        "field": _text(facts.get("field")),
        "request_id": request_id(response) or _text(facts.get("requestId")),
        "retry_after": retry_after(response, body),
        "body": body,
    }
    if _is_concurrency_limit(response.status, code, facts):
        return ConcurrencyLimitError(
            concurrency_limit=_count(facts.get("concurrencyLimit")),
            active_generations=_count(facts.get("activeGenerations")),
            **described,
        )
    if response.status < _FIRST_ERROR_STATUS:
        place = response.headers.get("location")
        described["message"] = (
            f"it points to {_text(place)!r} instead" if place else "that is no answer to a request"
        )
        described["suggestion"] = "Check base_url; only a GET follows such a pointer."
    default = ServerError if response.status >= _FIRST_SERVER_ERROR else ResponseError
    error = STATUS_ERRORS.get(response.status, default)(**described)
    if is_unknown_outcome(response.status, code):
        error.generation = salvage_from(facts, "generationId")
    return error


def _is_concurrency_limit(status: int, code: str | None, facts: dict[str, Any]) -> bool:
    """Tell the two kinds of 429 apart, also without a code."""
    if status != 429:  # noqa: PLR2004 - Too Many Requests
        return False
    told = {"concurrencyLimit", "activeGenerations"} & facts.keys()
    return code in {"concurrency_limit_reached", "batch_concurrency_limit_reached"} or (
        code is None and bool(told)
    )


def _body_of(response: Response) -> Any:
    try:
        return loads(response.body)
    except ValueError:
        return response.body.decode("utf-8", errors="replace")


def _message(facts: dict[str, Any]) -> str | None:
    message = facts.get("message")
    if isinstance(message, list):
        return _text("; ".join(str(part) for part in message))
    return _text(message) or _text(facts.get("error"))


def _words_of(body: Any) -> str | None:
    """Show the beginning of a body that is not the service's, such as a proxy's HTML."""
    shown = " ".join(str(body).split())[:_SHOWN_CHARACTERS]
    return shown if body else None


def _text(value: Any) -> str | None:
    """Return a text that says something; one without end is cut."""
    if not isinstance(value, str) or not value:
        return None
    return value if len(value) <= _MOST_CHARACTERS else f"{value[:_MOST_CHARACTERS]}..."


def _count(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
