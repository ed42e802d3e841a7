"""What is wrong with a call before it is sent: request, inputs, options, segments, arguments.

Each problem is one line, `path: what is wrong`, in the names that the user wrote. All
problems of a call are reported at once. Whatever is passed, the result is a list of
problems, never a traceback out of a check.

A validator takes the path of a value and the value, which may be anything, and yields its
problems. Larger ones are composed from smaller ones.
"""

from __future__ import annotations

import os
import re
import reprlib
import sys
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping, Sequence, Sized
from enum import StrEnum
from functools import partial, wraps
from io import TextIOBase
from ipaddress import ip_address
from os import PathLike
from pathlib import Path
from stat import S_ISREG
from types import MappingProxyType
from typing import Any, ParamSpec, TypeGuard, TypeVar
from urllib.parse import urlsplit

import attrs

from lipsync_async._callsite import warn
from lipsync_async._enums import Emotion, Model, ModelMode, SyncMode
from lipsync_async._models.request import (
    ActiveSpeaker,
    Audio,
    DubParams,
    ElevenLabs,
    GenerationRequest,
    Image,
    Options,
    Origin,
    Segment,
    SegmentAudio,
    Text,
    Video,
    is_stream,
)
from lipsync_async._models.response import Generation
from lipsync_async._models.text import (
    at_home,
    bare,
    hidden,
    ignored,
    percent_encoded,
    unknown_home,
    unreplaced,
    with_marks,
)
from lipsync_async.errors import IgnoredOptionWarning, InvalidRequestError, in_words

P = ParamSpec("P")
T = TypeVar("T")
Check = Callable[[str, object], Iterator[str]]
Validator = Callable[[str, T], Iterator[str]]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_HALF_OF_A_PAIR = re.compile(r"[\ud800-\udfff]")
_UNFIT_FOR_URL = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# Names and addresses as they usually are need no closer look.
_USUAL_NAME = re.compile(r"[0-9A-Za-z._-]+")
_USUAL_URL = re.compile(r"https?://[0-9A-Za-z][0-9A-Za-z.-]*(?::[0-9]{1,4})?(?:/[!-~]*)?")

# A message quotes a value, but a script or a list of boxes would fill the screen.
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 60
_BRIEF.maxlevel = 2  # of a list of boxes, each a list of four
_LONGEST_QUOTE = 200  # lists of lists of texts are long even when each is cut short

_EXACT = frozenset({str, int, float, bool, list, tuple, type(None)})
_QUOTED = frozenset({str, int, float, bool, list, tuple})


def survived(path: str) -> Callable[[Callable[P, list[str]]], Callable[P, list[str]]]:
    """Make a problem of what the values themselves raise while they are looked at."""

    def decorated(check: Callable[P, list[str]]) -> Callable[P, list[str]]:
        @wraps(check)
        def checked(*arguments: P.args, **named: P.kwargs) -> list[str]:
            try:
                return check(*arguments, **named)
            except Exception as error:  # noqa: BLE001 - values of any class are looked at
                return [_unchecked(path, error)]

        return checked

    return decorated


def _unchecked(path: str, error: Exception) -> str:
    return f"{path}: cannot be checked, for looking at it raised {in_words(error)}"


def exact(value: object) -> object:
    """Return text or a number of a derived class as the built-in type; all else unchanged.

    NumPy's floats, quantities with units and members of enumerations are of derived classes.
    """
    if type(value) in _EXACT:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    return float.__float__(value) if isinstance(value, float) else value


def shown(value: object) -> str:
    """Return a short text for a message; large or odd values show their type only."""
    value = exact(value)
    if value is None or type(value) in _QUOTED:
        try:
            quote = _BRIEF.repr(value)
            brief = quote if len(quote) <= _LONGEST_QUOTE else f"{quote[:_LONGEST_QUOTE]}..."
            return with_marks(brief)
        except ValueError:  # Python refuses to print integers of more than 4,300 digits
            pass
    return type(value).__name__


def wrong(path: str, right: str, value: object) -> str:
    """Return the usual sentence: what would be right, and what is there."""
    return f"{path}: must be {right}, not {shown(value)}"


@attrs.frozen(slots=True)
class OrNone:
    """Validator that also accepts `None`."""

    check: Check

    def __call__(self, path: str, value: object) -> Iterator[str]:
        """Check a value that is not `None`."""
        return iter(()) if value is None else self.check(path, value)


def text(path: str, value: object) -> Iterator[str]:
    """Ask for text that is not blank and can be encoded."""
    if not isinstance(value, str):
        yield wrong(path, "text", value)
    elif not bare(value):
        yield f"{path}: must not be empty"
    elif _HALF_OF_A_PAIR.search(value):
        yield f"{path}: must be valid Unicode; it holds half of a surrogate pair"


def up_to(longest: int, check: Check) -> Check:
    """Return a validator of text of 1 to `longest` characters that passes another."""

    def check_length(path: str, value: object) -> Iterator[str]:
        yield from check(path, value)
        if isinstance(value, str) and len(value) > longest:
            yield f"{path}: must be 1 to {longest} characters, not {len(value)}"

    return check_length


def name(path: str, value: object) -> Iterator[str]:
    """Ask for text such as an id, without control characters and invisible ones."""
    if isinstance(value, str) and _USUAL_NAME.fullmatch(value):
        return
    yield from text(path, value)
    if not isinstance(value, str):
        return
    if _CONTROL.search(value):
        yield f"{path}: must not hold control characters such as line breaks"
    elif not bare(value):
        return
    # What is not seen makes another name of it that looks the same.
    elif (told := ignored(value)) is not None:
        yield f"{path}: must not hold {told}; delete it"
    elif value != value.strip():
        yield f"{path}: must not begin or end with a blank: {shown(value)}"


def matching(pattern: re.Pattern[str], right: str) -> Check:
    """Return a validator of text that matches the whole of `pattern`, which `right` describes."""

    def check(path: str, value: object) -> Iterator[str]:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            yield wrong(path, right, value)

    return check


def one_of(vocabulary: type[StrEnum]) -> Check:
    """Return a validator of one of the words of an enumeration."""
    words = frozenset(member.value for member in vocabulary)
    right = f"one of {', '.join(member.value for member in vocabulary)}"

    def check(path: str, value: object) -> Iterator[str]:
        if not isinstance(value, str) or value not in words:
            yield wrong(path, right, value)

    return check


_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def uuid_text(path: str, value: object) -> Iterator[str]:
    """Ask for a UUID in its usual spelling."""
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        yield wrong(path, "a UUID", value)


_SHA256 = re.compile(r"[a-f0-9]{64}")


def sha256_text(path: str, value: object) -> Iterator[str]:
    """Ask for a SHA-256 in hexadecimal digits."""
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        yield wrong(path, "64 hexadecimal digits in lower case", value)


def word_of(words: Sequence[str]) -> Check:
    """Return a validator of one of some words."""
    return matching(re.compile("|".join(map(re.escape, words))), f"one of {', '.join(words)}")


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether it is an integer or a float; JSON knows no other, and `True` is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(minimum: float, maximum: float = sys.float_info.max) -> Check:
    """Return a validator of a finite number within the limits, both included."""
    is_open = maximum == sys.float_info.max
    right = f"{minimum:g} or more and finite" if is_open else f"{minimum:g} to {maximum:g}"

    def check(path: str, value: object) -> Iterator[str]:
        if not isinstance(value, int | float) or isinstance(value, bool):
            yield wrong(path, "a number", value)
        elif not minimum <= value <= maximum:
            yield wrong(path, right, value)

    return check


def positive(path: str, value: object) -> Iterator[str]:
    """Ask for a finite number above 0."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        yield wrong(path, "a number", value)
    elif not 0 < value <= sys.float_info.max:
        yield wrong(path, "more than 0 and finite", value)


def whole_number(minimum: int, maximum: float = sys.float_info.max) -> Check:
    """Return a validator of an integer within the limits, both included."""
    is_open = maximum == sys.float_info.max
    right = f"{minimum} or more and finite" if is_open else f"{minimum} to {maximum}"

    def check(path: str, value: object) -> Iterator[str]:
        if not isinstance(value, int) or isinstance(value, bool):
            yield wrong(path, "a whole number", value)
        elif not minimum <= value <= maximum:
            yield wrong(path, right, value)

    return check


def flag(path: str, value: object) -> Iterator[str]:
    """Ask for `True` or `False`."""
    if not isinstance(value, bool):
        yield wrong(path, "True or False", value)


def is_list(value: object) -> TypeGuard[Sequence[object]]:
    """Tell whether it is a list, a tuple or the like; text and bytes are none."""
    # The usual classes first: an abstract class takes far longer.
    return isinstance(value, (list, tuple)) or (
        isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview)
    )


def items_of(value: object) -> Sequence[object]:
    """Return a list's items, and none for what is no list."""
    return value if is_list(value) else ()


def numbers_of(value: object) -> list[float]:
    """Return the items of a list of finite numbers, and none for anything else."""
    items = [exact(item) for item in items_of(value)]
    numbers = [item for item in items if is_number(item) and abs(item) <= sys.float_info.max]
    return numbers if len(numbers) == len(items) else []


def list_of(check: Check, *, is_required: bool = False) -> Check:
    """Return a validator of a list with at least one item, all of which pass `check`."""
    advice = "must have at least one" if is_required else "must not be empty; leave it out instead"

    def check_list(path: str, value: object) -> Iterator[str]:
        if not is_list(value):
            yield wrong(path, "a list", value)
        elif not value:
            yield f"{path}: {advice}"
        else:
            for index, item in enumerate(value):
                yield from check(f"{path}[{index}]", item)

    return check_list


def fields_of(path: str, value: object, checks: Mapping[str, Check]) -> Iterator[str]:
    """Check the attributes of `value` that the table names."""
    for attribute, check in checks.items():
        item = getattr(value, attribute)
        if item is None and isinstance(check, OrNone):  # most fields are left out
            continue
        if type(item) not in _EXACT:
            item = exact(item)
        ask = check.check if isinstance(check, OrNone) else check
        yield from ask(f"{path}.{attribute}" if path else attribute, item)


def instance_of(kind: type[T], checks: Mapping[str, Check], *whole: Validator[T]) -> Check:
    """Return a validator of an instance whose attributes pass the table, and which passes more."""

    def check(path: str, value: object) -> Iterator[str]:
        if not isinstance(value, kind):
            yield wrong(path, kind.__name__, value)
            return
        yield from fields_of(path, value, checks)
        for ask in whole:
            yield from ask(path, value)

    return check


def http_url(path: str, value: object, *, hint: str = "") -> Iterator[str]:
    """Ask for an absolute `http` or `https` URL.

    The value is not quoted in the message, for URLs often carry a signature. The hint is for what
    looks like a local file.
    """
    if isinstance(value, str) and _USUAL_URL.fullmatch(value):
        return
    if not isinstance(value, PathLike) and (not isinstance(value, str) or "://" in value):
        hint = ""
    if not isinstance(value, str):
        yield f"{wrong(path, 'an http or https URL', value)}{hint}"
    elif (told := hidden(value)) is not None:
        encoded = percent_encoded(value)
        yield f"{path}: must not hold {told}; delete it, or write {encoded} if it is meant{hint}"
    elif _scheme_and_host(value) is None:
        yield f"{path}: must be an http or https URL{hint}"
    elif _UNFIT_FOR_URL.search(value):
        yield f"{path}: must not hold spaces or control characters; write a space as %20{hint}"


def webhook_url(path: str, value: object) -> Iterator[str]:
    """Ask for an `https` URL, or an `http` URL of this machine."""
    yield from http_url(path, value)
    if isinstance(value, str):
        scheme, host = _scheme_and_host(value) or ("https", "")
        if scheme == "http" and not _is_loopback(host):
            yield f"{path}: must be an https URL; http is only for a loopback host like localhost"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name, no address
        return False


def _scheme_and_host(url: str) -> tuple[str, str] | None:
    """Return scheme and host of an `http(s)` URL, `None` for anything else."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for what is no port
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return None
    return parts.scheme, parts.hostname


# Source: "Idempotency", sync.so API reference.
_IDEMPOTENCY_KEY = re.compile(r"[A-Za-z0-9._~-]{1,128}")
# The ids that the service assigns; most calls need no closer look.
_USUAL_ID = re.compile(r"[0-9A-Za-z-]+")
# The most that surely fit into a URL, and the longest page. Source: "List generations".
_MOST_IDS = 100
MOST_ON_A_PAGE = 100
# Source: "Create generation", sync.so API reference.
_OUTPUT_FILE_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
UPLOAD_WAYS = ("asset", "form")
MAX_FILE_BYTES = 5 * 1024**3  # the form parser's limit for one file
MAX_SCRIPT_CHARACTERS = 5000
# Said where a price is asked for that cannot be known from the media.
NEEDS_DURATION = "pass duration=, the seconds of the longest result"
# So many problems of one kind are listed.
_MAX_SHOWN = 5
_LONGEST_REQUEST_ID = 255
request_id = up_to(_LONGEST_REQUEST_ID, name)


def validate(request: GenerationRequest, *, stacklevel: int = 1) -> None:
    """Refuse a request that cannot work, and warn of what the service will ignore."""
    if problems := request_problems(request):
        raise InvalidRequestError(problems)
    warn_of_ignored(request, stacklevel=stacklevel + 1)


def warn_of_ignored(request: GenerationRequest, *, stacklevel: int = 1) -> None:
    """Warn of what the service will ignore in a request that can work."""
    for warning in request_warnings(request):
        warn(warning, IgnoredOptionWarning, stacklevel=stacklevel + 1)


@survived("request")
def request_problems(
    request: object, *, with_files: bool = True, is_form: bool = False, is_kept: bool = False
) -> list[str]:
    """Return every problem of a request, each as `path: what is wrong`.

    `is_form`: files are sent along in a form. `is_kept`: a journal keeps it.

    Files are looked up on the disk (they must exist, be regular files, and fit into an
    upload); nothing else is looked at but the request. Without files, the result is the same on
    any machine.
    """
    if not isinstance(request, GenerationRequest):
        return [wrong("request", "GenerationRequest", request)]
    problems = [*fields_of("", request, _REQUEST_FIELDS)]
    inputs = request.input if is_list(request.input) else ()
    visuals = voices = images = files = 0
    for item in inputs:
        visuals += isinstance(item, Video | Image)
        voices += isinstance(item, Audio | Text)
        images += isinstance(item, Image)
        files += isinstance(item, Video | Image | Audio) and item.file is not None
    # What is no input may be meant for either; it has a problem of its own.
    has_own_speech = request.dub_params is not None or request.dialogue_edit is not None
    is_sound = visuals == voices == 1 and not has_own_speech
    if not is_sound and is_list(request.input) and visuals + voices == len(inputs):
        problems += _count_problems(request, visuals, voices)
    if files and (is_form or is_kept):
        problems += _resend_problems(request, inputs, is_form=is_form)
    if images:
        problems += _image_problems(request)
    if request.segments is not None:
        problems += _reference_problems(request, inputs)
    if files and with_files:
        problems += [each for each in file_problems(request) if each not in problems]
    return problems


def has_files(request: GenerationRequest) -> bool:
    """Tell whether a sound request has local files."""
    return any(not isinstance(item, Text) and item.file is not None for item in request.input)


@survived("request")
def file_problems(request: GenerationRequest) -> list[str]:
    """Return what is wrong with a request's local files at this moment."""
    problems: list[str] = []
    for position, item in enumerate(request.input):
        file = item.file if isinstance(item, Video | Image | Audio) else None
        # What is no path has a problem of its own.
        if file is not None:
            problems += _place_problems(f"input[{position}].file", file)
    return problems


# --- arguments of the other calls ---------------------------------------------------------------


def argument_problems(**arguments: object) -> list[str]:
    """Return what is wrong with arguments of a call; `_ARGUMENTS` says which there are."""
    problems: list[str] = []
    for name, value in arguments.items():
        check = _ARGUMENTS[name]
        if isinstance(check, OrNone):
            if value is None:
                continue
            check = check.check
        try:
            problems += [*check(name, value)]
        except Exception as error:  # noqa: BLE001 - values of any class are looked at
            problems.append(_unchecked(name, error))
    return problems


def _callback(path: str, value: object) -> Iterator[str]:
    """Ask for what can be called: found out later, it would cost a job."""
    if not callable(value):
        yield wrong(path, "callable", value)


def _receiver(path: str, value: object) -> Iterator[str]:
    """Ask for a `WebhookReceiver`, whose module is above this one."""
    if not (hasattr(type(value), "has_event") and hasattr(type(value), "connect")):
        yield wrong(path, "a WebhookReceiver", value)


def _idempotency_key(path: str, value: object) -> Iterator[str]:
    if not isinstance(value, str) or not _IDEMPOTENCY_KEY.fullmatch(value):
        yield wrong(path, "1 to 128 of the characters A-Z a-z 0-9 . _ ~ -", value)


def _generation_id(path: str, value: object) -> Iterator[str]:
    """Ask for a generation, or its id; a path segment of dots would name another endpoint."""
    value = value.id if isinstance(value, Generation) else value
    if isinstance(value, str) and len(value) <= _LONGEST_REQUEST_ID and _USUAL_ID.fullmatch(value):
        return
    yield from name(path, value)
    if isinstance(value, str) and value in {".", ".."}:
        yield wrong(path, "the id of a generation", value)
    if isinstance(value, str) and len(value) > _LONGEST_REQUEST_ID:
        yield f"{path}: must be 1 to {_LONGEST_REQUEST_ID} characters"


@survived("filters")
def list_problems(
    *,
    status: object,
    source: object,
    ids: object = None,
    project_id: object = None,
    limit: object = None,
    cursor: object = None,
) -> list[str]:
    """Return what is wrong with the filters of a listing; `None` asks for no filter."""
    problems = [
        *_filter("status", status),
        *_filter("ids", ids),
        *_filter("source", source),
        *OrNone(name)("project_id", project_id),
        *OrNone(whole_number(1, MOST_ON_A_PAGE))("limit", limit),
        *OrNone(name)("cursor", cursor),
    ]
    if isinstance(ids, Sized) and not isinstance(ids, str) and len(ids) > _MOST_IDS:
        problems.append(f"ids: at most {_MOST_IDS} a call, not {len(ids)}")
    if cursor is not None and limit is None:
        problems.append("limit: must be given with cursor, the same as for the page before")
    return problems


def _filter_word(path: str, value: object) -> Iterator[str]:
    yield from name(path, value)
    if isinstance(value, str) and "," in value:
        yield f"{path}: must not hold a comma, which separates values on the wire"


_filter_words = list_of(_filter_word)


def _filter(path: str, value: object) -> Iterator[str]:
    if value is not None:
        yield from _filter_words(
            path, tuple(value) if isinstance(value, set | frozenset) else value
        )


@survived("arguments")
def problems_of(**arguments: tuple[object, Check]) -> list[str]:
    """Return what is wrong with arguments, each of which comes with its validator."""
    return [
        problem
        for argument, (value, check) in arguments.items()
        for problem in check(argument, value)
    ]


@survived("arguments")
def estimate_problems(*, model: object, duration: object, fps: object) -> list[str]:
    """Return what is wrong with a question for the price of a duration."""
    return [*name("model", model), *positive("duration", duration), *OrNone(positive)("fps", fps)]


@survived("request")
def upload_problems(
    request: GenerationRequest,
    *,
    problem: str = "cannot be estimated",
    advice: str = "use its duration with estimate_duration",
) -> list[str]:
    """Return each input that is a local file, where the service takes JSON only."""
    return [
        f"input[{position}].file: {problem}; {advice}"
        for position, item in enumerate(request.input if is_list(request.input) else ())
        if getattr(item, "file", None) is not None
    ]


@survived("arguments")
def run_problems(options: Any, requests: object) -> list[str]:
    """Return every problem of a run's `RunOptions` and input; folders are looked up."""
    problems = [*fields_of("", options, _RUN_OPTIONS)]
    if isinstance(requests, str | bytes | Mapping) or not isinstance(
        requests, Iterable | AsyncIterable
    ):
        problems.append(wrong("requests", "an iterable of GenerationRequest", requests))
    if options.duration is not None and options.max_cost is None:
        problems.append("duration: means nothing without max_cost")
    if options.max_cost is not None and options.duration is None:
        problems += _without_price(requests)
    if options.on_progress is not None and not callable(options.on_progress):
        problems.append(wrong("on_progress", "callable", options.on_progress))
    return problems


def _without_price(requests: object) -> list[str]:
    """Find local files, whose price cannot be asked for, in an input that is here already."""
    found = [
        f"requests[{index}].{problem}"
        for index, request in enumerate(requests if isinstance(requests, list | tuple) else ())
        if isinstance(request, GenerationRequest)
        for problem in upload_problems(request, advice=NEEDS_DURATION)
    ]
    more = len(found) - _MAX_SHOWN
    return [*found[:_MAX_SHOWN], f"requests: {more} more local files"] if more > 0 else found


# --- where a result is to go: into a folder, or to exactly one file ------------------------------
# A place is a folder if there is one; if there is nothing yet, it is a folder if its name ends
# with a slash or has no suffix ("out", "2026.05"), and otherwise a file ("take.mp4"). `~` is the
# home folder.

# A suffix has a letter and something before it: ".cache" and "v1.2" have none.
_SUFFIX = re.compile(r"[^/\\]\.(?=[0-9]*[A-Za-z])[A-Za-z0-9]{1,8}\Z")
_SEPARATORS = tuple({"/", os.sep})


def expanded(place: str | PathLike[str]) -> str:
    """Return the place with the home folder for `~`; as it is, where that is not known."""
    path = os.fspath(place)
    return at_home(path) or str.__str__(path)


def is_folder(place: str) -> bool:
    """Tell whether a place is, or is to become, a folder; one look at the disk is taken."""
    if place.endswith(_SEPARATORS):
        return True
    path, has_suffix = Path(place), _SUFFIX.search(place) is not None
    try:
        return path.is_dir() or not (has_suffix or path.is_file())
    except OSError:  # a name that cannot be one: writing will tell
        return not has_suffix


def path_problems(name: str, value: object) -> Iterator[str]:
    """Yield what is wrong with what is to be a path."""
    try:
        path = os.fspath(value)  # type: ignore[call-overload]  # that is the question
        os.fsencode(path)
    except Exception:  # noqa: BLE001 - of a foreign class
        path = None
    if not isinstance(path, str):
        yield wrong(name, "a path", value)
    elif "\0" in path:
        yield f"{name}: must not hold a null character"
    elif not path.strip():
        yield f"{name}: must not be empty; the current folder is '.'"
    elif at_home(path) is None:
        yield f"{name}: {unknown_home(path)}"
    elif (told := unreplaced(path)) is not None:
        yield f"{name}: {told}"


def _target(path: str, value: object) -> Iterator[str]:
    """Ask for a place for a download; one look at the disk is taken."""
    problems = [*path_problems(path, value)]
    yield from problems
    if problems or not isinstance(value, str | PathLike):
        return
    target = Path(expanded(value))
    try:
        is_odd = target.exists() and not target.is_file() and not target.is_dir()
    except OSError:  # a name too long, say: writing will tell
        return
    if is_odd:
        yield f"{path}: must be a file or a folder; what is there is neither"


def folder_problems(name: str, value: object) -> Iterator[str]:
    """Yield what is wrong with what is, or is to become, a folder; the disk is looked at."""
    problems = [*path_problems(name, value)]
    yield from problems
    if problems or not isinstance(value, str | PathLike):
        return
    place = expanded(value)
    if _is_no_folder(Path(place)):
        yield f"{name}: must be a folder; {place!r} is none"
    elif not is_folder(place):
        yield (
            f"{name}: must be a folder; {place!r} reads as a file's name. End it with a slash to "
            "make a folder of that name"
        )


def _is_no_folder(path: Path) -> bool:
    """Tell whether something else is there, or stands where a folder above would be made."""
    try:
        above = (path.absolute(), *path.absolute().parents)
        return not next(each for each in above if each.exists()).is_dir()
    except OSError:  # a name that cannot be one, or one may not look
        return True


def _file_name(path: str, value: object) -> Iterator[str]:
    try:
        found = os.fspath(value)  # type: ignore[call-overload]  # that is the question
        os.fsencode(found)
    except (TypeError, ValueError):
        found = None
    if not isinstance(found, str) or "\0" in found:
        yield wrong(path, "a path", value)


_ARGUMENTS: dict[str, Check] = {
    "generation_id": _generation_id,
    "journal": OrNone(_file_name),
    "idempotency_key": OrNone(_idempotency_key),
    "on_progress": OrNone(_callback),
    "on_update": OrNone(_callback),
    "on_upload": OrNone(_callback),
    "upload": word_of(UPLOAD_WAYS),
    "overwrite": flag,
    "page_size": whole_number(1, MOST_ON_A_PAGE),
    "progress": flag,
    "timeout": OrNone(positive),
    "to": _target,
    "webhooks": OrNone(_receiver),
}
_RUN_OPTIONS: dict[str, Check] = {
    "max_jobs": OrNone(whole_number(1)),
    "max_cost": OrNone(positive),
    "duration": OrNone(positive),
    "journal": OrNone(_file_name),
    "download_to": OrNone(folder_problems),
    "concurrent_downloads": whole_number(1),
    "ordered": flag,
    "stop_on_error": flag,
    "upload": word_of(UPLOAD_WAYS),
    "retry_failed": flag,
    "match_query": flag,
    "accept_new_key": flag,
    "webhooks": OrNone(_receiver),
}

# --- inputs -------------------------------------------------------------------------------------


def _inputs(path: str, value: object) -> Iterator[str]:
    if not is_list(value):
        yield wrong(path, "a list", value)
        return
    for index, item in enumerate(value):
        place = f"{path}[{index}]"
        if isinstance(item, Text):
            yield from fields_of(place, item, _TEXT_FIELDS)
        elif not isinstance(item, Video | Image | Audio):
            yield wrong(place, "Video, Image, Audio or Text", item)
        else:
            yield from fields_of(place, item, _MEDIA_FIELDS)
            if item.file is not None:
                yield from _file_conflicts(place, item)
            elif item.url is None and item.asset_id is None:
                yield f"{place}: needs url, asset_id or file"
            if isinstance(item, Video):
                yield from fields_of(place, item, _DEPRECATED_FIELDS)


def _file_conflicts(path: str, value: Video | Image | Audio) -> Iterator[str]:
    if parts := [part for part in ("url", "asset_id") if getattr(value, part) is not None]:
        yield f"{path}.file: cannot be combined with {' and '.join(parts)}; choose one"


def local_file(path: str, value: object) -> Iterator[str]:
    """Ask for bytes that fit into one upload, a path, to whatever it leads, or what gives bytes."""
    if isinstance(value, bytes | bytearray | memoryview):
        yield from size_problems(path, len(bytes(value)))
    elif isinstance(value, TextIOBase):
        yield f"{path}: must be a binary file; open it with mode 'rb'"
    elif is_stream(value):
        if getattr(value, "closed", False) is True:
            yield f"{path}: is a closed file; open it again"
    elif not _is_path(value):
        yield wrong(path, "a path or bytes, an open file, an upload or an iterator", value)
    elif at_home(os.fspath(value)) is None:
        yield f"{path}: {unknown_home(os.fspath(value))}"


@survived("source")
def source_problems(path: str, value: object) -> list[str]:
    """Return what is wrong with a file to be uploaded; one look at the disk is taken."""
    return [*local_file(path, value)] or [*_place_problems(path, value)]


def _place_problems(path: str, value: object) -> Iterator[str]:
    """Look at a path; what is none has a problem of its own."""
    if _is_path(value) and at_home(os.fspath(value)) is not None:
        yield from _file_problems(path, expanded(value))


def _is_path(value: object) -> TypeGuard[str | PathLike[str]]:
    try:
        return isinstance(value, str | PathLike) and b"\0" not in os.fsencode(Path(value))
    except (TypeError, ValueError):  # a path of bytes, or of what no system can name
        return False


def _file_problems(path: str, source: str | PathLike[str]) -> Iterator[str]:
    try:
        status = Path(source).stat()
    except OSError as error:
        told = hidden(str(source))
        hint = "" if told is None else f"; it holds {told}"
        yield f"{path}: cannot be read ({error.strerror}): {shown(str(source))}{hint}"
    else:
        if S_ISREG(status.st_mode):
            yield from size_problems(path, status.st_size)
        else:
            yield wrong(path, "a regular file", str(source))


def size_problems(path: str, size: int) -> Iterator[str]:
    if size == 0:
        yield f"{path}: must not be empty"
    elif size > MAX_FILE_BYTES:
        yield f"{path}: must be at most 5 GiB, not {size:,} bytes; host it and pass url"


def _seconds(path: str, value: object) -> Iterator[str]:
    ends = numbers_of(value)
    if len(ends) != 2 or not 0 <= ends[0] <= ends[1]:  # noqa: PLR2004 - a start and an end
        yield wrong(path, "[start, end] in seconds, the start first", value)


def _frames(path: str, value: object) -> Iterator[str]:
    """Ask for a range that is not empty, unlike one in seconds."""
    ends = numbers_of(value)
    is_range = len(ends) == 2 and 0 <= ends[0] < ends[1]  # noqa: PLR2004 - a start and an end
    if not is_range or not all(isinstance(end, int) for end in ends):
        yield wrong(path, "[start, end] in whole frames, the start first", value)


_MEDIA_FIELDS: dict[str, Check] = {
    "url": OrNone(partial(http_url, hint="; pass a local file as file")),
    "asset_id": OrNone(name),
    "file": OrNone(local_file),
    "ref_id": OrNone(name),
}
_DEPRECATED_FIELDS: dict[str, Check] = {
    "segments_secs": OrNone(list_of(_seconds)),
    "segments_frames": OrNone(list_of(_frames)),
}
_VOICE_FIELDS: dict[str, Check] = {
    "voice_id": name,
    "script": up_to(MAX_SCRIPT_CHARACTERS, text),
    "stability": OrNone(number(0, 1)),
    "similarity_boost": OrNone(number(0, 1)),
}
_TEXT_FIELDS: dict[str, Check] = {
    "provider": instance_of(ElevenLabs, _VOICE_FIELDS),
    "ref_id": OrNone(name),
}

# --- options ------------------------------------------------------------------------------------


def _one_choice(path: str, value: ActiveSpeaker) -> Iterator[str]:
    has_frame, has_point = value.frame_number is not None, value.coordinates is not None
    chosen = {
        "auto_detect": value.auto_detect is True,
        "frame_number with coordinates": has_frame or has_point,
        "bounding_boxes": value.bounding_boxes is not None,
        "bounding_boxes_url": value.bounding_boxes_url is not None,
    }
    methods = [method for method, is_chosen in chosen.items() if is_chosen]
    if len(methods) > 1:
        yield f"{path}: must choose one way, not {len(methods)}: {', '.join(methods)}"
    if has_point and not has_frame:
        yield f"{path}.frame_number: must say in which frame the coordinates point at the face"
    if has_frame and not has_point:
        yield f"{path}.coordinates: must point at the face in that frame, in native pixels"


def _coordinates(path: str, value: object) -> Iterator[str]:
    """Ask for one pixel; nested lists and shares of the width are the usual mistakes."""
    ends = numbers_of(value)
    if len(ends) != 2 or not all(isinstance(end, int) and end >= 0 for end in ends):  # noqa: PLR2004 - x and y
        yield wrong(path, "two whole numbers in native pixels, such as [960, 540]", value)


def _box(path: str, value: object) -> Iterator[str]:
    corners = numbers_of(value)
    is_box = len(corners) == 4 and corners[0] < corners[2] and corners[1] < corners[3]  # noqa: PLR2004 - two corners
    if not is_box:
        yield wrong(path, "None or [x1, y1, x2, y2] in native pixels, x1 < x2 and y1 < y2", value)


_SPEAKER_FIELDS: dict[str, Check] = {
    "auto_detect": OrNone(flag),
    "frame_number": OrNone(whole_number(0)),
    "coordinates": OrNone(_coordinates),
    "bounding_boxes": OrNone(list_of(OrNone(_box))),
    "bounding_boxes_url": OrNone(http_url),
    "v3": OrNone(flag),
}
_options = instance_of(
    Options,
    {
        "sync_mode": OrNone(one_of(SyncMode)),
        "temperature": OrNone(number(0, 1)),
        "model_mode": OrNone(one_of(ModelMode)),
        "prompt": OrNone(one_of(Emotion)),
        "occlusion_detection_enabled": OrNone(flag),
        "active_speaker_detection": OrNone(
            instance_of(ActiveSpeaker, _SPEAKER_FIELDS, _one_choice)
        ),
        "reasoning_enabled": OrNone(flag),
    },
)

# --- segments: their times, their order, and the audio that they refer to -----------------------


def _crop(path: str, value: SegmentAudio) -> Iterator[str]:
    if (value.start_time is None) != (value.end_time is None):
        missing = "start_time" if value.start_time is None else "end_time"
        yield f"{path}.{missing}: must be given, too; a crop needs both times or neither"


def _forward_problems(path: str, value: Segment | SegmentAudio) -> Iterator[str]:
    start, end = value.start_time, value.end_time
    if is_number(start) and is_number(end) and start > end:
        yield f"{path}.end_time: must not be before start_time {shown(start)}, but is {shown(end)}"


_AUDIO_FIELDS: dict[str, Check] = {
    "ref_id": name,
    "start_time": OrNone(number(0)),
    "end_time": OrNone(number(0)),
}
_SEGMENT_FIELDS: dict[str, Check] = {
    "start_time": number(0),
    "end_time": number(0),
    "audio_input": instance_of(SegmentAudio, _AUDIO_FIELDS, _forward_problems, _crop),
    "options_override": OrNone(_options),
}
_each_segment = list_of(instance_of(Segment, _SEGMENT_FIELDS, _forward_problems))


def _segments(path: str, value: object) -> Iterator[str]:
    """Check every segment, then that they follow one another in time."""
    yield from _each_segment(path, value)
    latest_end, latest_index = 0.0, -1
    for index, segment in enumerate(items_of(value)):
        if not _is_timed(segment):
            continue
        if segment.start_time < latest_end:
            yield (
                f"{path}[{index}].start_time: must not be before {shown(latest_end)}, where "
                f"segments[{latest_index}] ends; sort segments and let none overlap"
            )
        latest_end, latest_index = max((latest_end, latest_index), (segment.end_time, index))


def _is_timed(segment: object) -> TypeGuard[Segment]:
    """Tell whether the times can be compared; NaN cannot, and has a problem of its own."""
    return (
        isinstance(segment, Segment)
        and is_number(segment.start_time)
        and is_number(segment.end_time)
        and 0 <= segment.start_time <= segment.end_time
    )


# --- how the parts of a request go together -----------------------------------------------------


def _count_problems(request: GenerationRequest, visuals: int, voices: int) -> Iterator[str]:
    if visuals != 1:
        yield f"input: needs exactly one video or image, not {visuals}"
    fields = _speech_fields(request)
    if len(fields) > 1:
        yield f"{fields[1]}: cannot be combined with {fields[0]}"
    if fields:
        if voices:
            yield f"input: takes no audio or text with {fields[0]}, not {voices}"
    elif request.segments is None and voices != 1:
        several = "; for several use segments" if voices else ""
        yield f"input: needs exactly one audio or text, not {voices}{several}"


def _speech_fields(request: GenerationRequest) -> list[str]:
    """Return the fields that make speech of the video's own, so that no input gives any."""
    names = ("dub_params", "dialogue_edit")
    return [name for name in names if getattr(request, name) is not None]


def _resend_problems(
    request: GenerationRequest, inputs: Iterable[object], *, is_form: bool
) -> Iterator[str]:
    """Ask for files that can be read again: for each try of a form, or to know them again."""
    why = "in a form, which each try sends" if is_form else "with a journal, which compares it"
    for index, item in enumerate(inputs):
        if is_stream(getattr(item, "file", None)):
            yield f"input[{index}].file: must be a path or bytes {why}"
    if is_form:
        yield from _form_part_problems(inputs, has_segments=request.segments is not None)


def _form_part_problems(inputs: Iterable[object], *, has_segments: bool) -> Iterator[str]:
    """Allow one file per kind, without a name: the form has one part for each."""
    first_of_kind: dict[str, str] = {}
    for index, item in enumerate(inputs):
        if not isinstance(item, Video | Image | Audio) or item.file is None:
            continue
        kind, path = type(item).__name__, f"input[{index}]"
        if kind in first_of_kind:
            yield f"{path}.file: must be the only {kind} file, but {first_of_kind[kind]} has one"
        if isinstance(item, Audio) and has_segments:
            yield f"{path}.file: cannot be used with segments in a form; upload it as an asset"
        elif item.ref_id is not None:
            yield f"{path}.ref_id: cannot go with a file in a form; upload it as an asset"
        first_of_kind.setdefault(kind, path)


def _image_problems(request: GenerationRequest) -> Iterator[str]:
    # A model that this release does not know may take images; there is a warning for it.
    if request.model in tuple(Model) and request.model != Model.SYNC_3:
        yield f"model: must be {Model.SYNC_3} with an image, not {shown(request.model)}"
    if request.segments is not None:
        yield "segments: need a video, not an image"
    for field in _speech_fields(request):
        yield f"{field}: can only go with a video, not with an image"
    speaker = (
        request.options.active_speaker_detection if isinstance(request.options, Options) else None
    )
    if not isinstance(speaker, ActiveSpeaker):
        return
    # A face in a picture must be pointed at.
    path = "options.active_speaker_detection"
    if speaker.auto_detect is True:
        yield f"{path}.auto_detect: cannot be True with an image; give coordinates in frame 0"
    if isinstance(speaker.frame_number, int) and speaker.frame_number > 0:
        yield f"{path}.frame_number: must be 0 with an image, not {shown(speaker.frame_number)}"


def _reference_problems(request: GenerationRequest, inputs: Iterable[object]) -> Iterator[str]:
    """Check that every audio and text has a name of its own, and every segment uses one."""
    known: dict[str, str] = {}
    for index, item in enumerate(inputs):
        if isinstance(item, Audio | Text):
            yield from _name_problems(f"input[{index}]", item, known)
    for index, segment in enumerate(items_of(request.segments)):
        audio = segment.audio_input if isinstance(segment, Segment) else None
        reference: object = audio.ref_id if isinstance(audio, SegmentAudio) else None
        if isinstance(reference, str) and reference not in known:
            names = (
                f"audio and text have {', '.join(map(shown, known))}" if known else "none has one"
            )
            path = f"segments[{index}].audio_input.ref_id"
            yield f"{path}: no input has ref_id {shown(reference)}; {names}"
    for field in _speech_fields(request):
        yield f"segments: cannot be combined with {field}"


def _name_problems(path: str, item: Audio | Text, known: dict[str, str]) -> Iterator[str]:
    """Check the name of one input and enter it into `known`, which maps it to its path."""
    if item.ref_id is None:
        yield f"{path}.ref_id: must be given, for segments refer to audio and text by it"
    if isinstance(item.ref_id, str):
        if item.ref_id in known:
            yield f"{path}.ref_id: must differ from that of {known[item.ref_id]}"
        known.setdefault(item.ref_id, path)


# --- what the service accepts and then ignores, model by model ----------------------------------
# It drops an option that the model does not support and says nothing, so the user would pay
# and never learn why the option had no effect.

# Which models use an option; one that is not listed is used by all.
# Source: "Models", sync.so documentation, where "not listed" counts as no.
SUPPORTING_MODELS: Mapping[str, tuple[Model, ...]] = MappingProxyType(
    {
        "temperature": (Model.LIPSYNC_2, Model.LIPSYNC_2_PRO),
        "model_mode": (Model.REACT_1,),
        "prompt": (Model.REACT_1,),
        "occlusion_detection_enabled": (
            Model.LIPSYNC_2,
            Model.LIPSYNC_2_PRO,
            Model.LIPSYNC_1_9_0_BETA,
        ),
        "active_speaker_detection": (
            Model.SYNC_3,
            Model.LIPSYNC_2,
            Model.LIPSYNC_2_PRO,
            Model.LIPSYNC_1_9_0_BETA,
        ),
        "reasoning_enabled": (Model.LIPSYNC_2_PRO,),
    }
)
# What a model does anyway, whatever the option says.
BUILT_IN = frozenset(
    {(Model.SYNC_3, "occlusion_detection_enabled"), (Model.SYNC_3, "reasoning_enabled")}
)
_KNOWN_MODELS = frozenset(model.value for model in Model)


@survived("request")
def request_warnings(request: object) -> list[str]:
    """Return what the service will silently ignore or discourages, as `path: what`."""
    warnings: list[str] = []
    if not isinstance(request, GenerationRequest):
        return warnings
    model: object = request.model
    if isinstance(model, str) and model not in _KNOWN_MODELS:
        known = ", ".join(member.value for member in Model)
        warnings.append(f"model: {shown(model)} is unknown to this release, which knows {known}")
    if request.options is not None or request.segments is not None:
        warnings += _ignored_options(request)
    for index, item in enumerate(request.input if is_list(request.input) else ()):
        if isinstance(item, Video):
            for field in _DEPRECATED_FIELDS:
                if getattr(item, field) is not None:
                    what = "deprecated by the service; use the request's segments"
                    warnings.append(f"input[{index}].{field}: {what}")
    return warnings


def _ignored_options(request: GenerationRequest) -> Iterator[str]:
    yield from _ignored_by_model("options", request.options, request.model)
    for index, segment in enumerate(items_of(request.segments)):
        if isinstance(segment, Segment):
            path = f"segments[{index}].options_override"
            yield from _ignored_by_model(path, segment.options_override, request.model)
    is_still = any(isinstance(item, Image) for item in items_of(request.input))
    if is_still and isinstance(request.options, Options) and request.options.sync_mode is not None:
        yield "options.sync_mode: ignored with an image; the result is as long as the audio"


def _ignored_by_model(path: str, options: object, model: object) -> Iterator[str]:
    if not isinstance(options, Options) or not isinstance(model, str) or model not in _KNOWN_MODELS:
        return
    for option, models in SUPPORTING_MODELS.items():
        if getattr(options, option) is None or model in models:
            continue
        if (model, option) in BUILT_IN:
            yield f"{path}.{option}: ignored by {model}, which always does this by itself"
        else:
            yield f"{path}.{option}: ignored by {model}; only {', '.join(models)} heed it"


# --- a request ----------------------------------------------------------------------------------


class _DubbingProvider(StrEnum):
    ELEVENLABS = "elevenlabs"


def _texts_by_name(path: str, value: object) -> Iterator[str]:
    pairs = value.items() if isinstance(value, Mapping) else [(None, None)]
    if not all(isinstance(text, str) for pair in pairs for text in pair):
        yield f"{path}: must be a mapping of texts by their names"


_DUBBING_FIELDS: dict[str, Check] = {
    "target_lang": name,
    "source_lang": OrNone(name),
    "provider_name": one_of(_DubbingProvider),
}
_REQUEST_FIELDS: dict[str, Check] = {
    "model": name,
    "input": _inputs,
    "options": OrNone(_options),
    "segments": OrNone(_segments),
    "webhook_url": OrNone(webhook_url),
    "output_file_name": OrNone(
        matching(_OUTPUT_FILE_NAME, "1 to 255 letters, digits, - or _ without an extension")
    ),
    "project_id": OrNone(name),
    "dub_params": OrNone(instance_of(DubParams, _DUBBING_FIELDS)),
    "dialogue_edit": OrNone(name),
    "request_id": OrNone(request_id),
    "origin": OrNone(
        instance_of(Origin, {"line": OrNone(whole_number(1)), "extra": _texts_by_name})
    ),
}
