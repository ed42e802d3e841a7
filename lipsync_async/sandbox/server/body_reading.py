"""Reads the bodies of requests: JSON, forms and files, within their limits."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any, BinaryIO

from lipsync_async.sandbox.server.api_errors import bad_request, too_large
from lipsync_async.sandbox.server.messages import Form, StoredFile, dump

if TYPE_CHECKING:
    from pathlib import Path

    from lipsync_async.sandbox.files import Folder
    from lipsync_async.sandbox.server.messages import Incoming


_MOST_DIGITS = 308  # every integer of so many is a finite double


def json_of(incoming: Incoming) -> Any:
    """Return the decoded body.

    Raises:
        Refusal: It is no JSON.

    """
    try:
        return parsed(incoming.body)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"The body is not valid JSON: {error}") from None


def parsed(text: str | bytes) -> Any:
    """Return decoded JSON, as strictly as services read it.

    Raises:
        ValueError: It is no JSON.
        RecursionError: It is nested beyond all sense.

    """
    value = _DECODER.decode(text if isinstance(text, str) else text.decode("utf-8-sig"))
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


MOST_FILES = 3
MOST_FIELDS = 32
MOST_PARTS = 35
MOST_TEXT_BYTES = 1024 * 1024
_FILE_FIELDS = frozenset({"video", "image", "audio"})


class Sink:
    """Write one file as its bytes come.

    Args:
        path: Where to.
        name: The sender's name for it.
        content_type: The sender's type for it.
        max_bytes: Most bytes to take.

    """

    def __init__(self, path: Path, name: str, content_type: str, max_bytes: int) -> None:
        """Open the file."""
        self._path = path
        self._name = name
        self._content_type = content_type
        self._max_bytes = max_bytes
        self._size = 0
        self._digest = hashlib.sha256()
        self._file: BinaryIO = path.open("wb")

    def write(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            Refusal: The file is over the limit.

        """
        self._size += len(chunk)
        if self._size > self._max_bytes:
            self.abandon()
            raise too_large(f"{self._name} is larger than {self._max_bytes} bytes.")
        self._digest.update(chunk)
        self._file.write(chunk)

    def finish(self) -> StoredFile:
        """Return the file that was written."""
        self._file.close()
        digest = self._digest.hexdigest()
        return StoredFile(self._path, self._name, self._content_type, self._size, digest)

    def abandon(self) -> None:
        """Remove the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class Uploads:
    """Open sinks for files.

    Args:
        folder: Where files go.
        max_bytes: Most bytes of one file.

    """

    def __init__(self, folder: Folder, max_bytes: int) -> None:
        """Hold on to both."""
        self._folder = folder
        self._max_bytes = max_bytes

    def sink(self, name: str, content_type: str) -> Sink:
        """Return where to write a file."""
        return Sink(self._folder.new_path(), name, content_type, self._max_bytes)


class FormBuilder:
    """Put a form together part by part.

    Args:
        uploads: Takes the files.

    """

    def __init__(self, uploads: Uploads) -> None:
        """Start without parts."""
        self._uploads = uploads
        self._texts: dict[str, str] = {}
        self._files: dict[str, StoredFile] = {}
        self._fields_seen = 0

    def text(self, name: str, value: bytes) -> None:
        """Take a text field.

        Raises:
            Refusal: It is over a limit, or no text.

        """
        self._fields_seen += 1
        if len(value) > MOST_TEXT_BYTES:
            raise too_large(f"Field {name} is larger than {MOST_TEXT_BYTES} bytes.")
        if self._fields_seen > MOST_FIELDS or self._parts_seen > MOST_PARTS:
            raise too_large(f"The form has more than {MOST_FIELDS} fields.")
        try:
            self._texts[name] = value.decode()
        except UnicodeDecodeError:
            raise bad_request(f"Field {name} is not UTF-8 text.") from None

    def file(self, name: str, filename: str, content_type: str) -> Sink:
        """Return where to write a file field; hand its result to `add`.

        Raises:
            Refusal: There is no such file field, it was sent twice, or it is one too many.

        """
        if name not in _FILE_FIELDS:
            raise bad_request(f"Unexpected file field {name!r}.")
        if name in self._files:
            raise bad_request(f"Send one file as {name!r}, not several.")
        return self._uploads.sink(filename, content_type)

    def add(self, name: str, file: StoredFile) -> None:
        """Take a file that was written."""
        self._files[name] = file

    def abandon(self) -> None:
        """Remove the files of a form that was refused."""
        for file in self._files.values():
            file.path.unlink(missing_ok=True)

    def build(self) -> Form:
        """Return the whole form."""
        return Form(self._texts, self._files)

    @property
    def _parts_seen(self) -> int:
        return self._fields_seen + len(self._files)
