"""Read a generate body strictly: what will be paid for may hold nothing that is ignored.

The codec reads the service's answers and forgives what it does not know. Here the user
speaks, and an unknown field is most likely a known one, misspelt. Names are the wire's
(contract sections 2.2 to 2.4); `file`, which is no field of the wire, names a local file.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from lipsync_async._rules.checks import shown
from lipsync_async._rules.validation import request_problems
from lipsync_async._rules.wire_names import INPUT_TYPES, MARKS, WIRE_NAMES
from lipsync_async._values.inputs import (
    ActiveSpeaker,
    DubParams,
    ElevenLabs,
    GenerationRequest,
    Options,
    Segment,
    SegmentAudio,
    Text,
)
from lipsync_async._values.paths import at_home

if TYPE_CHECKING:
    from collections.abc import Iterable

_PARTS: dict[tuple[type, str], type] = {
    (GenerationRequest, "options"): Options,
    (GenerationRequest, "dub_params"): DubParams,
    (Options, "active_speaker_detection"): ActiveSpeaker,
    (Segment, "audio_input"): SegmentAudio,
    (Segment, "options_override"): Options,
    (Text, "provider"): ElevenLabs,
}
# Fields that are beside a body, and not in it.
_BESIDE = frozenset({"request_id", "origin"})
_KINDS = (*_PARTS.values(), *INPUT_TYPES.values(), GenerationRequest, Segment)
_WIRE_NAME_OF = {name: wire for kind in _KINDS for name, wire in WIRE_NAMES[kind].items()}
_TYPES = ", ".join(INPUT_TYPES)
_PLAIN_NAME = re.compile(r"\w{1,40}", re.ASCII)


@attrs.frozen(slots=True)
class Flaw:
    """Hold what is wrong with one part of a body.

    Args:
        path: Where it is, in the wire's names; empty for the whole body.
        words: What is wrong.

    """

    path: str
    words: str

    def __str__(self) -> str:
        return f"{self.path}: {self.words}" if self.path else self.words


def read_body(
    body: object, *, folder: Path, request_id: str | None = None
) -> tuple[GenerationRequest | None, list[Flaw]]:
    """Return the request that a decoded body means, and everything that is wrong with it.

    Args:
        body: Decoded JSON, whatever it may be.
        folder: What the paths of local files are relative to.
        request_id: The name that stands beside the body.

    Returns:
        The request, or `None` if there is none to be seen, and the flaws.

    """
    reading = _Reading(folder)
    request = reading.part(GenerationRequest, "", body)
    if not isinstance(request, GenerationRequest):
        return None, reading.flaws
    request = attrs.evolve(request, request_id=request_id)
    problems = [problem.partition(": ") for problem in request_problems(request)]
    flaws = [Flaw(_with_wire_names(path), words) for path, _, words in problems]
    return request, [*reading.flaws, *(flaw for flaw in flaws if flaw.path not in reading.judged)]


def unknown(name: str, known: Iterable[str]) -> str:
    """Say that a name is unknown, and which one may be meant."""
    (meant,) = get_close_matches(name, [*known], n=1) or (None,)
    return "is unknown" if meant is None else f"is unknown; did you mean {meant}?"


def below(path: str, name: str) -> str:
    """Return the path of a field, quoting a name that is none."""
    told = name if _PLAIN_NAME.fullmatch(name) else shown(name)
    return f"{path}.{told}" if path else told


def _with_wire_names(path: str) -> str:
    return re.sub(r"\w+", lambda name: _WIRE_NAME_OF.get(name[0], name[0]), path)


class _Reading:
    """Collect the flaws of one body while it is read.

    What cannot be read stays as it is, so that the rest can be judged; validation's word
    about such a place is not needed any more.
    """

    def __init__(self, folder: Path) -> None:
        self.flaws: list[Flaw] = []
        self.judged: set[str] = set()
        self._folder = folder

    def part(self, kind: type, path: str, data: object) -> Any:
        """Read an object of the wire; unknown and missing fields are flaws."""
        if not isinstance(data, dict):
            self._judge(path, _must_be("an object", data))
            return data
        fields = attrs.fields_dict(kind)
        names = {
            WIRE_NAMES[kind].get(field, field): field for field in fields if field not in _BESIDE
        }
        self._judge_names(path, data, names, MARKS.get(kind, {}))
        values: dict[str, Any] = {}
        for name, field in names.items():
            if data.get(name) is not None:
                values[field] = self._value(kind, field, below(path, name), data[name])
            elif fields[field].default is attrs.NOTHING:
                values[field] = None
                self._judge(below(path, name), "is missing")
        return kind(**values)

    def _judge_names(
        self,
        path: str,
        data: dict[str, Any],
        names: dict[str, str],
        marks: dict[str, str],
    ) -> None:
        for name in data:
            if name not in names and name not in marks:
                self.flaws.append(Flaw(below(path, name), unknown(name, names)))
        for name, right in marks.items():
            if data.get(name, right) != right:
                self.flaws.append(Flaw(below(path, name), _must_be(repr(right), data[name])))

    def _value(self, kind: type, field: str, path: str, value: Any) -> Any:
        """Read one field; what is no part and no list is for validation to judge."""
        if (kind, field) in _PARTS:
            return self.part(_PARTS[kind, field], path, value)
        if field == "file" and isinstance(value, str):
            found = at_home(value)
            return Path(value) if found is None else self._folder / found
        if kind is GenerationRequest and isinstance(value, list):
            return [self._item(field, f"{path}[{index}]", item) for index, item in enumerate(value)]
        return value

    def _item(self, field: str, path: str, item: object) -> Any:
        """Read a segment, or an input by its type."""
        if field == "segments" or not isinstance(item, dict):
            return self.part(Segment, path, item)
        name = item.get("type")
        if not isinstance(name, str) or name not in INPUT_TYPES:
            self.flaws.append(Flaw(f"{path}.type", _must_be(f"one of {_TYPES}", name)))
            self.judged.add(path)
            return item
        return self.part(INPUT_TYPES[name], path, item)

    def _judge(self, path: str, words: str) -> None:
        self.judged.add(path)
        self.flaws.append(Flaw(path, words))


def _must_be(right: str, value: object) -> str:
    return f"must be {right}, not {shown(value)}"
