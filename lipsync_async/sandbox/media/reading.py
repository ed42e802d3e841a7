"""Open media files, and tell codec errors in the service's words."""

from __future__ import annotations

from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

import av
import av.error
from av.stream import Disposition

from lipsync_async.sandbox.media.problems import MediaError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.container import InputContainer
    from av.video.stream import VideoStream

# Two threads wherever a codec takes a number: fast on small machines, and a fixed number
# is what makes a render's bytes repeatable.
THREADS = 2
# A few kilobytes of PNG can hold a picture of gigabytes, and opening it would already decode
# it. Twice what the service takes (contract section 5.3) leaves room for codecs' own padding.
_LIMITS = {"max_pixels": str(2 * 4096 * 2160)}
MICROSECONDS = 1_000_000  # libav counts the length of a whole file in them
# Up to PyAV 18, a tag that is not UTF-8 is an error unless another way is asked for. From 19
# on, such a tag is always read, and the argument is gone.
_LAST_STRICT_VERSION = 18
_TAGS: dict[str, Any] = (
    {"metadata_errors": "replace"}
    if int(av.__version__.partition(".")[0]) <= _LAST_STRICT_VERSION
    else {}
)


class Ratio(Protocol):
    """A rational number of PyAV: a `Fraction` up to version 18, an `AVRational` from 19 on."""

    @property
    def numerator(self) -> int:
        """The upper part."""
        ...

    @property
    def denominator(self) -> int:
        """The lower part; zero when nothing is stated."""
        ...


def stated(ratio: Ratio | None) -> Fraction | None:
    """Return a rate or a time base as a fraction; `None` when the file does not state it.

    PyAV says `None` for a number that is not stated up to version 18. From 19 on it gives
    libav's own number, in which either part is zero then.
    """
    if ratio is None or not ratio.numerator or not ratio.denominator:
        return None
    return Fraction(ratio.numerator, ratio.denominator)


@contextmanager
def translated(code: str, path: Path) -> Iterator[None]:
    """Turn any codec error inside into a `MediaError` with `code`."""
    try:
        yield
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(code, f"{path.name} cannot be read: {reason}.") from error


def open_media(path: Path) -> InputContainer:
    """Open a file for reading; tags in strange encodings are no reason to fail."""
    container: InputContainer = av.open(str(path), "r", options=_LIMITS, **_TAGS)
    for stream in container.streams.video:
        stream.codec_context.options = _LIMITS
    return container


def picture_stream(container: InputContainer, path: Path, code: str) -> VideoStream:
    """Return the first video stream; the cover of a song is none.

    Raises:
        MediaError: There is none; it has `code`.

    """
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise MediaError(code, f"{path.name} has no video stream.")
