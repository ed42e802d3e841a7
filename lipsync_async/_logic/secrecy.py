"""Where the API key is kept, and how it is kept out of everything that is shown or stored.

The key is in a `Secret`, and goes to a server in `Headers`; neither shows it in a repr, and
so no traceback that lists local variables does. What a service or a proxy quotes of it is
blotted out by a `Mask` as soon as the answer has come, before anybody else sees that.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from lipsync_async.errors import LipsyncError, TransportError

if TYPE_CHECKING:
    from lipsync_async._models.http import Response


T = TypeVar("T")

_BLOT = "***"
# A shorter key is none that a service gives out, and might be a word of many answers.
_SHORTEST = 8
_LONGEST_ESCAPE = 24


class _Concealed(Generic[T]):
    """Value that no repr shows.

    It is no attrs class: tools show or write the fields of one, whatever its repr is.
    """

    __slots__ = ("revealed",)

    def __init__(self, revealed: T) -> None:
        self.revealed: T = revealed


class Secret(_Concealed[str]):
    """API key, which no repr, log line or pickle shows."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret('***')"

    def __reduce__(self) -> str:
        message = "an API key is not pickled; build a new client where it is needed"
        raise TypeError(message)


class Headers(_Concealed[Mapping[str, str]], Mapping[str, str]):
    """Header fields of which the names alone are shown."""

    __slots__ = ()

    def __getitem__(self, name: str) -> str:
        return self.revealed[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.revealed)

    def __len__(self) -> int:
        return len(self.revealed)

    def __repr__(self) -> str:
        # Names that are no texts are refused, but a traceback may show them first.
        names: Iterable[object] = self
        told = (name if isinstance(name, str) else type(name).__name__ for name in names)
        return f"<Headers {', '.join(told)}>"


class _HiddenText(str):
    """Text whose repr does not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"'{_BLOT}'"


def hidden(value: T) -> T:
    """Return an argument as something that a traceback with local variables does not show.

    A text stays a text and a mapping a mapping; anything else that may be a secret, given in
    the wrong form, is only good for its type.
    """
    shell: Any = value
    if isinstance(value, str):
        shell = _HiddenText(str.__str__(value))
    elif isinstance(value, Mapping):
        shell = Headers(value)
    elif value is not None and not isinstance(value, _Unfit):
        shell = _Unfit(type(value).__name__)
    return shell  # type: ignore[no-any-return]


@attrs.frozen(slots=True)
class _Unfit:
    """Value of a wrong type."""

    kind: str


def kind_of(value: object) -> str:
    """Return the name of a value's type, also of one that was hidden."""
    return value.kind if isinstance(value, _Unfit) else type(value).__name__


class Mask:
    """Mask of a secret, wherever an answer or an error quotes it.

    It is found as it is, in any case, and as the usual encoders write it: escaped for
    addresses (once or twice), JSON, HTML or Python, in UTF-16, in base64 at any offset, and
    in hexadecimal digits.
    """

    def __init__(self, secret: Secret) -> None:
        self._key = secret
        self._pattern: re.Pattern[bytes] | None = None
        # The key in base64, at each offset, as far as it alone decides the characters.
        self._packed: tuple[bytes, ...] = ()
        # What, in lower case, is in anything that quotes the key in one of its forms. Encoders
        # leave letters and digits alone, or change every character: so either the longest run of
        # them is there, or the first two characters in one of the encoders' forms. Each group of
        # marks has a sign that must be there as well, and mostly is not.
        self._marks: dict[bytes, tuple[bytes, ...]] = {}
        # What the longest form, of an escape for each of its characters, may take.
        self._longest = 0
        if len(key := secret.revealed) < _SHORTEST:
            return
        packed: list[bytes] = []
        for before in range(3):
            whole = b64encode(bytes(before) + key.encode())
            sure = whole[-(-before * 8 // 6) : (before + len(key)) * 8 // 6]
            packed += [sure, sure.translate(bytes.maketrans(b"+/", b"-_"))]
        self._packed = tuple(dict.fromkeys(packed))
        run = max(re.findall("[a-z0-9]+", key.lower()), key=len, default="")
        a, b = map(ord, key.lower()[:2])
        percents = f"%{a:02x}%{b:02x}", f"%25{a:02x}%25{b:02x}"
        references = f"&#{a}&#{b}", f"&#x{a:x}&#x{b:x}", f"&#{a};&#{b};", f"&#x{a:x};&#x{b:x};"
        self._marks = {
            b"": (run.encode(), key.encode().hex().encode(), *map(bytes.lower, self._packed)),
            b"%": tuple(map(str.encode, percents)),
            b"\\": (f"u{ord(key[0]):04x}\\".encode(), f"x{ord(key[0]):02x}\\".encode()),
            b"#": tuple(map(str.encode, references)),
            b"\0": (run.encode("utf-16-le")[:-1], run.encode("utf-32-le")[:-3]),
        }
        self._longest = _LONGEST_ESCAPE * len(key)

    def __repr__(self) -> str:
        return "<Mask>"

    def response(self, response: Response) -> Response:
        """Return an answer without the secret: the same one, if it does not quote it.

        A body that was cut loses some more at its end, where part of the secret may be left.
        """
        if response.is_cut:
            whole = self.data(response.body)
            response = attrs.evolve(response, body=whole[: -self._longest or None])
        told = "\n".join([response.url, *response.headers, *response.headers.values(), ""])
        if not self._is_quoted_in(told.encode("utf-8", "surrogatepass") + response.body):
            return response
        return attrs.evolve(
            response,
            url=self.text(response.url),
            headers=self.fields(response.headers),
            body=self.data(response.body),
        )

    def fields(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return header fields without the secret."""
        return {self.text(name): self.text(value) for name, value in headers.items()}

    def error(self, error: LipsyncError) -> None:
        """Blot it out of an error of the transport, which may quote what is no answer."""
        error.args = tuple(
            self.text(part) if isinstance(part, str) else part for part in error.args
        )
        if isinstance(error, TransportError):
            error.url = self.text(error.url)
        led: BaseException = error
        while (cause := led.__cause__ or led.__context__) is not None:
            if self._is_quoted_in(f"{cause}{cause!r}".encode("utf-8", "surrogatepass")):
                led.__cause__ = led.__context__ = None
                break
            led = cause

    def text(self, text: str) -> str:
        """Return a text without the secret."""
        data = text.encode("utf-8", "surrogatepass")
        return (
            self.data(data).decode("utf-8", "surrogatepass") if self._is_quoted_in(data) else text
        )

    def data(self, data: bytes) -> bytes:
        """Return bytes without the secret."""
        if not self._is_quoted_in(data):
            return data
        if self._pattern is None:
            self._pattern = _pattern(self._key.revealed)
        data = self._pattern.sub(_BLOT.encode(), data)
        for packed in self._packed:
            data = data.replace(packed, _BLOT.encode())
        return data

    def _is_quoted_in(self, data: bytes) -> bool:
        """Tell whether a closer look is worth its time, by a few quick ones."""
        lowered = data.lower()
        for sign, marks in self._marks.items():
            if sign in lowered and any(map(lowered.__contains__, marks)):
                return True
        return False


def _pattern(key: str) -> re.Pattern[bytes]:
    # Here and not above: it is hardly ever needed.
    from html.entities import html5  # noqa: PLC0415

    def forms(letter: str) -> str:
        number = ord(letter)
        named = [f"&{name.rstrip(';')};" for name, text in html5.items() if text == letter]
        written = [  # with bounds, so that no text can make the search slow
            *map(re.escape, dict.fromkeys(named)),
            rf"%(?:25){{0,4}}{number:02x}",
            rf"\\{{1,8}}u00{number:02x}",
            rf"\\{{1,8}}x{number:02x}",
            rf"&#0{{0,8}}{number};?",
            rf"&#x0{{0,8}}{number:x};?",
            rf"\\{{0,8}}{re.escape(letter)}",
        ]
        return f"(?:{'|'.join(written)})"

    spelt = r"\x00{0,3}".join(map(forms, key))
    return re.compile(f"{spelt}|{key.encode().hex()}".encode(), re.IGNORECASE)
