"""What a media host says: an address, a refusal, a page instead of media, a length, a pace.

A media host is anything: a store, a CDN, a company's filter before it. Nothing that it says
is taken on trust but the bytes of the media, and those are looked at as well.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

import attrs

from lipsync_async._logic.endpoints import retry_after
from lipsync_async._logic.media_types import suffix_of_bytes
from lipsync_async.errors import STATUS_ERRORS, RateLimitError, ResponseError, ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lipsync_async._models.http import Response


# Signed addresses have up to 3,000 characters; most servers read 8,000.
_LONGEST_ADDRESS = 16_384
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PASSWORD = re.compile(r"//[^/?]*@")
_UNQUOTED = re.compile(r"[^\x21-\x7e]+")
# A name, or an IPv6 address; one with a zone means something on one machine alone.
_HOST = re.compile(r"[0-9a-z_-]+(\.[0-9a-z_-]+)*\.?|[0-9a-f:.]*:[0-9a-f:.]*")

_REDIRECTS = frozenset({301, 302, 303, 307, 308})  # RFC 9110 section 15.4

# What says "later" and not "another address": time out, too many requests.
_LATER = frozenset({408, 429})
_PACED = 429
_FIRST_SERVER_ERROR = 500

# No result is larger: half an hour of 4K ProRes takes 160 GB.
MOST_BYTES = 200 * 10**9

# What of a body decides whether it is media. Browsers look at 1,445 bytes.
HEAD_BYTES = 1_024
_SHOWN_CHARACTERS = 80
_SHORTEST_RUN = 4  # of one letter; programs use such as a stand-in for media
# Bytes that no text has ("binary data bytes", WHATWG MIME Sniffing section 3).
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_MARKUP = re.compile(r"\s*<[!?/A-Za-z]")
_BOMS = ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"),
         (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig"))  # fmt: skip
_NO_MEDIA = {
    b"%PDF-": "a PDF document",
    b"\x1f\x8b\x08": "compressed (gzip), and is not said to be",
}

# A mobile line of the oldest kind brings 5,000 bytes a second.
LEAST_BYTES_PER_SECOND = 1_000
# So short a hold-up says nothing yet.
_SHORTEST_WINDOW = 10.0

# A line that breaks every few seconds still brings so much.
_LEAST_OF_A_ROUND = 65_536

_GZIP = b"\x1f\x8b"
_MOST_INFLATED = 1_048_576
# Media hardly compress; what unpacks to so many times its size, and is large, is no media.
_MOST_TIMES_INFLATED = 100
_LARGE = 16 * _MOST_INFLATED
# Seconds in which the page that comes with an error must be there: it only explains.
LONGEST_PAGE = 10.0


def checked_address(value: object) -> str:
    """Return a result's address as it goes over the wire.

    An address of printable ASCII characters goes as it is, for it may be signed; blanks and
    other characters are escaped, and a fragment is left out, as browsers do.
    """
    if not isinstance(value, str):
        raise ValueError(f"is no text but {type(value).__name__}")  # noqa: TRY004 - one error for all
    text = value.strip().partition("#")[0]
    shown = repr(_PASSWORD.sub("//***@", text[:1000])[:100])
    if len(text) > _LONGEST_ADDRESS:
        raise ValueError(f"has {len(text)} characters: {shown}...")
    if _CONTROLS.search(text):
        raise ValueError(f"holds control characters: {shown}")
    scheme, colon, _ = text.partition("://")
    if not colon or scheme.lower() not in {"http", "https"}:
        raise ValueError(f"begins with neither http:// nor https://: {shown}")
    try:
        return _in_ascii(text)
    except ValueError as error:
        raise ValueError(f"names no host that can be asked ({error}): {shown}") from None


def _in_ascii(text: str) -> str:
    """Return a web address with nothing in it but printable ASCII characters."""
    parts = urlsplit(text)
    if "@" in parts.netloc:
        raise ValueError("there is a user name or a password before it")
    host = (parts.hostname or "").encode("ascii" if text.isascii() else "idna").decode()
    if not _HOST.fullmatch(host.lower()) or ("[" in parts.netloc) != (":" in host):
        raise ValueError("it is no name")
    if parts.port == 0:
        raise ValueError("0 is no port")
    if text.isascii() and " " not in text:
        return text
    port = "" if parts.port is None else f":{parts.port}"
    rest = text[text.index("://") + 3 + len(parts.netloc) :]
    quoted = _UNQUOTED.sub(lambda found: quote(found[0], errors="surrogateescape"), rest)
    bare = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{bare}{port}{quoted}"


def redirect_address(url: str, status: int, headers: Mapping[str, str]) -> str | None:
    """Return the address that an answer points to; `None`: it is no pointer."""
    if status not in _REDIRECTS:
        return None
    location = headers.get("location", "").strip()
    if not location:
        raise ValueError("is left out of a redirect")
    if _CONTROLS.search(location):
        raise ValueError(f"holds control characters: {location[:100]!r}")
    try:
        target = urljoin(url, location)
    except ValueError:
        raise ValueError(f"cannot be read: {location[:100]!r}") from None
    return checked_address(target)


def is_refusal(status: int) -> bool:
    """Tell whether a status that is no success speaks of the address, so a fresh one may do.

    All do but those that say "later" or "the server failed". Stores say of an expired link
    403 (S3, R2, Azure, CloudFront), 400 (GCS and S3 `ExpiredToken`, Supabase `InvalidJWT`),
    401 (Swift, B2), 404, 410, and some hosts 402, 409, 412 or 451: a GET has nothing else that
    could be wrong.
    """
    return status < _FIRST_SERVER_ERROR and status not in _LATER


def refusal_of(response: Response) -> ResponseError:
    """Return the error that a media host's error status stands for.

    Its body is anything, so no code is read from it: the words of another service's JSON
    must not be taken for those of the account.
    """
    default = ServerError if response.status >= _FIRST_SERVER_ERROR else ResponseError
    is_paced = response.status == _PACED
    kind = RateLimitError if is_paced else STATUS_ERRORS.get(response.status, default)
    text = response.body[:HEAD_BYTES].decode("utf-8", errors="replace")
    return kind(
        response=response,
        message=_shown(text) if text.strip() else "no reason was given",
        suggestion="This is the media host's answer; it says nothing about the account.",
        retry_after=retry_after(response),
        body=text,
    )


def no_media(head: bytes) -> str | None:
    """Return what a body is if it is no media; `None`: it may be.

    Bytes decide, never the type that a host gives them: text of any kind is no media, and
    unknown bytes are accepted. A long run of letters without a blank is left alone.
    """
    for beginning, words in _NO_MEDIA.items():
        if head.startswith(beginning):
            return words
    text = _text_of(head)
    if text is None or (kind := _kind_of(text, is_whole=len(head) < HEAD_BYTES)) is None:
        return None
    return f"{kind} that begins {_shown(text)}" if text.strip() else kind


def _text_of(head: bytes) -> str | None:
    for beginning, encoding in _BOMS:
        if head.startswith(beginning):
            return _if_text(head.decode(encoding, errors="replace"))
    for start, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        others = head[1 - start :: 2]
        if len(others) > 1 and all(others) and not any(head[start::2]):
            return _if_text(head.decode(encoding, errors="replace"))
    text = head.decode("utf-8", errors="replace")
    if _MARKUP.match(text):
        return text
    is_media = not head[:1].isascii() and suffix_of_bytes("video", head) != ""
    return None if is_media or _BINARY.search(head) else text


def _if_text(text: str) -> str | None:
    """Return what was decoded from 16 or 32 bits each; nearly any bytes could be."""
    plain = sum(character.isascii() and character.isprintable() for character in text)
    return text if plain * 4 >= len(text) else None


def _kind_of(text: str, *, is_whole: bool) -> str | None:
    inner = text.lstrip("\ufeff \t\r\n\f").rstrip()
    if not inner:
        return "nothing but blanks"
    if inner[0] == "<":
        return "a page (HTML or XML)"
    if inner[0] in '{["':
        return "JSON"
    has_words = re.search(r"[\s(){}<>;:!?,\"']", inner) is not None
    is_word = is_whole and (len(set(inner)) > 1 or len(inner) < _SHORTEST_RUN)
    return "text" if has_words or is_word else None


def _shown(text: str) -> str:
    plain = "".join(each if each.isprintable() else " " for each in text)
    return repr(" ".join(plain.split())[:_SHOWN_CHARACTERS])


def whole_length(headers: Mapping[str, str]) -> int | None:
    """Return the length that a whole body is to have; `None`: it is not told."""
    if coding_of(headers) is not None:
        return None  # it would be that of the compressed bytes
    told = re.fullmatch(r"[0-9]{1,18}", headers.get("content-length", "").strip())
    return None if told is None else int(told[0])


def part_place(headers: Mapping[str, str]) -> tuple[int, int] | None:
    """Return where a part begins and how long the whole is; `None`: it is not told."""
    told = re.fullmatch(
        r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})",
        headers.get("content-range", "").strip(),
        re.IGNORECASE,
    )
    return None if told is None else (int(told[1]), int(told[2]))


def strong_validator(headers: Mapping[str, str]) -> str | None:
    """Return what vouches for unchanged content: a strong ETag (RFC 9110 section 13.1.5)."""
    tag = headers.get("etag", "").strip()
    return tag if tag.startswith('"') and coding_of(headers) is None else None


def coding_of(headers: Mapping[str, str]) -> str | None:
    """Return how the body is compressed, though that was not asked for; `None`: it is not."""
    coding = headers.get("content-encoding", "").strip().lower()
    return None if coding in {"", "identity"} else coding


class Inflater:
    """Decompressor of a body, which knows whether the end has come."""

    def __init__(self, coding: str) -> None:
        if coding not in {"gzip", "x-gzip", "deflate"}:
            raise ValueError(f"compressed ({coding[:40]!r}), though it was asked for as it is")
        self._is_gzip = coding != "deflate"
        self._inner = zlib.decompressobj(31 if self._is_gzip else 15)
        self._packed = self._unpacked = 0

    @property
    def is_whole(self) -> bool:
        """Whether the end of what was compressed has come."""
        return self._inner.eof

    def unpacked(self, data: bytes) -> Iterator[bytes]:
        """Yield what the bytes hold, in pieces of at most a MiB."""
        if not self._packed and not self._is_gzip and data[0] & 15 != 8:  # noqa: PLR2004
            # Some servers leave the header out, against RFC 9110 section 8.4.1.2.
            self._inner = zlib.decompressobj(-15)
        self._packed += len(data)
        is_more = bool(data)
        while is_more:
            if self._inner.eof:
                if not (self._is_gzip and data.startswith(_GZIP[: len(data)])):
                    return  # padding behind the end
                self._inner = zlib.decompressobj(31)
            try:
                piece = self._inner.decompress(data, _MOST_INFLATED)
            except zlib.error:
                raise ValueError("the compressed bytes are damaged") from None
            self._unpacked += len(piece)
            if self._unpacked > max(_LARGE, _MOST_TIMES_INFLATED * self._packed):
                raise ValueError("the compressed bytes unpack to far more than media do")
            if piece:
                yield piece
            data = self._inner.unused_data or self._inner.unconsumed_tail
            is_more = bool(data) or len(piece) == _MOST_INFLATED


def beginning(page: bytes, headers: Mapping[str, str]) -> bytes:
    """Return what the beginning of an error page says, though it came compressed."""
    coding = coding_of(headers)
    try:
        return page if coding is None else next(Inflater(coding).unpacked(page), b"")
    except ValueError:
        return b""


@attrs.define(slots=True)
class Pace:
    """Least pace of a transfer: a byte now and then is too slow, too.

    Only the time spent waiting for the network counts.
    """

    timeout: float | None
    _seconds: float = 0.0
    _bytes: int = 0

    def problem(self, seconds: float, size: int) -> str | None:
        """Count a piece, and return what is wrong with the pace; `None`: nothing."""
        if self.timeout is None:
            return None
        self._seconds += seconds
        self._bytes += size
        if self._seconds < max(2 * self.timeout, _SHORTEST_WINDOW):
            return None
        told, seconds = self._bytes, self._seconds
        self._seconds, self._bytes = 0.0, 0
        if told >= seconds * LEAST_BYTES_PER_SECOND:
            return None
        return (
            f"only {told} bytes came in {seconds:.0f} s; less than {LEAST_BYTES_PER_SECOND} a "
            "second is a hold-up"
        )


def is_worth_more_patience(size: int, seconds: float) -> bool:
    """Tell whether so many new bytes in a round of tries earn another round."""
    return size >= max(_LEAST_OF_A_ROUND, seconds * LEAST_BYTES_PER_SECOND)
