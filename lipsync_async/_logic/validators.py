"""Validators of single values: what is wrong, and what would be right.

A validator takes the path of a value and the value, which may be anything, and yields one
`path: what is wrong` for each problem. No validator raises. Larger ones are composed from
smaller ones.
"""

from __future__ import annotations

import re
import reprlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from ipaddress import ip_address
from typing import TYPE_CHECKING, ParamSpec, TypeGuard
from urllib.parse import urlsplit

import attrs

from lipsync_async._models.text import bare, hidden, ignored, percent_encoded, with_marks
from lipsync_async.errors import in_words

if TYPE_CHECKING:
    from enum import StrEnum

P = ParamSpec("P")
Check = Callable[[str, object], Iterator[str]]

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
                return [f"{path}: cannot be checked, for looking at it raised {in_words(error)}"]

        return checked

    return decorated


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


def text_up_to(longest: int) -> Check:
    """Return a validator of text of 1 to `longest` characters."""

    def check(path: str, value: object) -> Iterator[str]:
        yield from text(path, value)
        if isinstance(value, str) and len(value) > longest:
            yield f"{path}: must be 1 to {longest} characters, not {len(value)}"

    return check


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


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether it is an integer or a float; JSON knows no other, and `True` is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(minimum: float, maximum: float = sys.float_info.max) -> Check:
    """Return a validator of a finite number within the limits, both included."""
    is_open = maximum == sys.float_info.max
    right = f"{minimum:g} or more and finite" if is_open else f"{minimum:g} to {maximum:g}"

    def check(path: str, value: object) -> Iterator[str]:
        if not is_number(value):
            yield wrong(path, "a number", value)
        elif not minimum <= value <= maximum:
            yield wrong(path, right, value)

    return check


def positive(path: str, value: object) -> Iterator[str]:
    """Ask for a finite number above 0."""
    if not is_number(value):
        yield wrong(path, "a number", value)
    elif not 0 < value <= sys.float_info.max:
        yield wrong(path, "more than 0 and finite", value)


def whole_number(minimum: int, maximum: int | None = None) -> Check:
    """Return a validator of an integer within the limits, both included."""
    in_range = number(minimum, sys.float_info.max if maximum is None else maximum)

    def check(path: str, value: object) -> Iterator[str]:
        if not isinstance(value, int) or isinstance(value, bool):
            yield wrong(path, "a whole number", value)
        else:
            yield from in_range(path, value)

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


def each(check: Check) -> Check:
    """Return a validator of a list, possibly empty, whose items pass `check`."""

    def check_each(path: str, value: object) -> Iterator[str]:
        if not is_list(value):
            yield wrong(path, "a list", value)
            return
        for index, item in enumerate(value):
            yield from check(f"{path}[{index}]", item)

    return check_each


def list_of(check: Check) -> Check:
    """Return a validator of a list with at least one item, all of which pass `check`."""
    check_each = each(check)

    def check_list(path: str, value: object) -> Iterator[str]:
        if is_list(value) and not value:
            yield f"{path}: must not be empty; leave it out instead"
        yield from check_each(path, value)

    return check_list


def collection_of(check: Check) -> Check:
    """Return the validator of `list_of` that accepts sets, too."""
    check_list = list_of(check)

    def check_collection(path: str, value: object) -> Iterator[str]:
        yield from check_list(path, tuple(value) if isinstance(value, set | frozenset) else value)

    return check_collection


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


def instance_of(kind: type, checks: Mapping[str, Check]) -> Check:
    """Return a validator of an instance of `kind` whose attributes pass the table."""

    def check(path: str, value: object) -> Iterator[str]:
        if isinstance(value, kind):
            yield from fields_of(path, value, checks)
        else:
            yield wrong(path, kind.__name__, value)

    return check


def http_url(path: str, value: object) -> Iterator[str]:
    """Ask for an absolute `http` or `https` URL.

    The value is not quoted in the message, for URLs often carry a signature.
    """
    if not isinstance(value, str):
        yield wrong(path, "an http or https URL", value)
    elif _USUAL_URL.fullmatch(value):
        return
    elif (told := hidden(value)) is not None:
        encoded = percent_encoded(value)
        yield f"{path}: must not hold {told}; delete it, or write {encoded} if it is meant"
    elif _scheme_and_host(value) is None:
        yield f"{path}: must be an http or https URL"
    elif _UNFIT_FOR_URL.search(value):
        yield f"{path}: must not hold spaces or control characters; write a space as %20"


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
