"""Requests from a file: JSON lines or a CSV table, all of them right or none taken.

Paths of local files are relative to the manifest's own folder.

**JSON lines** (`.jsonl`, `.ndjson`): each line is a generate body, or a line of a batch with one
in it. A generate body may have a `request_id` as well, and texts of the author's own by their
names in `extra`; neither is sent.

    {"model": "lipsync-2", "input": [{"type": "video", "url": …}, {"type": "audio", "url": …}]}
    {"request_id": "a1", "endpoint": "/v2/generate", "payload": {"model": …}}

**Tables** (`.csv`, `.tsv`): a header (see `read_manifest`), then one request a row. Names of
columns count without case, blanks and signs (`Video URL` is `video_url`). Columns of other names
are the author's own, and kept, unless they read like one of these: that is most likely a slip,
and what it says would be ignored.

An empty cell is a field left out, and so is one that a short row has not got. Cells are
separated by commas, semicolons, tabs or bars. Blanks and invisible characters at the ends of
cells are removed, but for scripts. `0,7` is a number. What no column says (segments, faces
by pixel) takes JSON lines.

Source: "Create generation" and "Create batch", sync.so API reference.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from lipsync_async._logic.codec import INPUT_TYPES, MARKS, WIRE_NAMES, encode_request
from lipsync_async._logic.validation import (
    exact,
    expanded,
    items_of,
    path_problems,
    request_problems,
    shown,
    survived,
    wrong,
)
from lipsync_async._models.request import (
    ActiveSpeaker,
    DubParams,
    ElevenLabs,
    GenerationRequest,
    Options,
    Origin,
    Segment,
    SegmentAudio,
    Text,
    is_stream,
)
from lipsync_async._models.text import at_home, bare, ignored
from lipsync_async.errors import InvalidRequestError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

_SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv")
TABLE_SUFFIXES = frozenset({".csv", ".tsv"})
# Byte order marks, those first that begin like another one.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# How files of spreadsheets begin, whatever they are called.
_SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
_SPREADSHEET_SUFFIXES = frozenset({".xlsx", ".xlsm", ".xls", ".ods", ".numbers"})
_SAVE_SHEET = "save the sheet as 'CSV UTF-8'"

# Lines of a batch.
_BATCH_FIELDS = ("request_id", "endpoint", "payload")
_BATCH_MARKS = frozenset({"endpoint", "payload"})
_ENDPOINT = "/v2/generate"
_CANNOT_TRAVEL = (
    "is given by its bytes, which a text does not carry; give its path, or upload it "
    "(client.assets.upload) and give the asset's id"
)

# Parts of a body that are objects.
_PARTS: dict[tuple[type, str], type] = {
    (GenerationRequest, "options"): Options,
    (GenerationRequest, "dub_params"): DubParams,
    (Options, "active_speaker_detection"): ActiveSpeaker,
    (Segment, "audio_input"): SegmentAudio,
    (Segment, "options_override"): Options,
    (Text, "provider"): ElevenLabs,
}
# Fields that are not in a body.
_OUTSIDE = frozenset({"request_id", "origin"})
_KINDS = (*_PARTS.values(), *INPUT_TYPES.values(), GenerationRequest, Segment)
_WIRE_NAME_OF = {name: wire for kind in _KINDS for name, wire in WIRE_NAMES[kind].items()}
_WIRE_NAME_OF["dialogue_edit"] = "dialogueEdit.id"  # a text in Python, an object on the wire
_PLAIN_NAME = re.compile(r"\w{1,40}", re.ASCII)

# Tables.
_SEPARATORS = ",;\t|"
# The line that tells a spreadsheet which separator comes; it writes others behind it.
_SEPARATOR_LINE = re.compile(r'\s*"?sep=([,;\t|])"?[,;\t| ]*', re.IGNORECASE)
# ASCII digits and a point or a comma: `float` would also take "nan", "1_000" and other
# scripts' digits. What has both ("1.234,5") could be read in two ways.
_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)
# Spreadsheets write the words of their user's language, even if `true` was typed.
_TRUE = (
    "true yes 1 wahr ja vrai oui verdadero sí si vero verdadeiro sim waar prawda tak igaz igen "
    "pravda ano истина да істина так sant sand sann tosi doğru evet adevărat da cert veritat "
    "αληθησ tõene patiess teisinga egia"
)
_FALSE = (
    "false no 0 falsch nein faux non falso não nao onwaar nee fałsz nie hamis nem nepravda ne "
    "ложь нет хибність ні falskt falsk usann epätosi yanl\u0131ş yanliş hay\u0131r fals nu "
    "ψευδησ väär aplams klaidinga faltsua"
)
# Where a column of 1 and 0 has gaps, programs for tables write 1.0 and 0.0.
_FLAGS = dict.fromkeys([*_TRUE.split(), "1.0", "1,0"], True) | dict.fromkeys(
    [*_FALSE.split(), "0.0", "0,0"], False
)
# What spreadsheets write into a cell that they cannot compute, in their user's language.
_BROKEN_CELL = re.compile(
    r"#[¡¿]?(N/A|N/D|NV|NAME|NOM|NOMBRE|NOME|NAAM|REF|BEZUG|RIF|VERW|VALUE|WERT|VALEUR|VALOR|"
    r"VALORE|WAARDE|DIV/0|DEEL/0|NULL|NUL|NULO|NULLO|NUM|ZAHL|GETAL|SPILL|CALC)[!?]?"
)
# What is meant by names that are too short to be like a column's.
_SHORT_NAMES = {
    "video": "video_url",
    "audio": "audio_url",
    "image": "image_url",
    "temp": "temperature",
    "autodetect": "speaker_auto_detect",
    "boxesurl": "speaker_boxes_url",
}
_LIKENESS = 0.8
_LONG_BEGINNING = 8  # letters


def _number(cell: str) -> Any:
    """Return a number; anything else is left for validation to quote."""
    plain = bare(cell)
    return float(plain.replace(",", ".")) if _NUMBER.fullmatch(plain) else plain


def _flag(cell: str) -> Any:
    plain = bare(cell)
    return _FLAGS.get(_folded(plain), plain)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold().replace("i\u0307", "i")


def _squeezed(name: str) -> str:
    """Return a column's name without case, blanks and signs."""
    return re.sub(r"[\W_]+", "", _folded(bare(name)))


@attrs.frozen(slots=True)
class _Column:
    """Where a column's cells go: into which part of the body, under which name."""

    part: str
    name: str
    read: Callable[[str], Any] = bare


COLUMNS: Mapping[str, _Column] = {
    "model": _Column("body", "model"),
    **{
        f"{kind}_{suffix}": _Column(kind, name)
        for kind in ("video", "image", "audio")
        for suffix, name in (("url", "url"), ("asset_id", "assetId"), ("file", "file"))
    },
    "voice_id": _Column("provider", "voiceId"),
    "script": _Column("provider", "script", str),
    "stability": _Column("provider", "stability", _number),
    "similarity_boost": _Column("provider", "similarityBoost", _number),
    "target_lang": _Column("dubParams", "targetLang"),
    "source_lang": _Column("dubParams", "sourceLang"),
    "dialogue_edit": _Column("dialogueEdit", "id"),
    "sync_mode": _Column("options", "sync_mode"),
    "temperature": _Column("options", "temperature", _number),
    "model_mode": _Column("options", "model_mode"),
    "prompt": _Column("options", "prompt"),
    "occlusion_detection_enabled": _Column("options", "occlusion_detection_enabled", _flag),
    "reasoning_enabled": _Column("options", "reasoning_enabled", _flag),
    "speaker_auto_detect": _Column("speaker", "auto_detect", _flag),
    "speaker_boxes_url": _Column("speaker", "bounding_boxes_url"),
    "output_file_name": _Column("body", "outputFileName"),
    "webhook_url": _Column("body", "webhookUrl"),
    "project_id": _Column("body", "projectId"),
    "request_id": _Column("body", "request_id"),
}
_KNOWN = {_squeezed(name): name for name in COLUMNS}
# Paths of the parts that have a fixed place in a body.
_PREFIXES = {
    "body": "",
    "options": "options.",
    "speaker": "options.active_speaker_detection.",
    "dubParams": "dubParams.",
    "dialogueEdit": "dialogueEdit.",
}


@attrs.frozen(slots=True)
class ManifestRow:
    """One request of a manifest.

    Attributes:
        line: The line that it begins in, from 1.
        request: The request.
        request_id: The name that the manifest gives it, as in `request`; `None`: none.
        extra: The cells of columns of your own, by their names; of JSON lines, the texts in
            `extra`.

    """

    line: int
    request: GenerationRequest
    request_id: str | None = None
    extra: Mapping[str, str] = attrs.field(factory=dict)


def read_manifest(path: str | os.PathLike[str]) -> list[ManifestRow]:
    """Return the requests of a manifest, in its order; all of them right, or none.

    `.jsonl` and `.ndjson` hold a generate body a line, by the names of the HTTP API and
    with `"file"` for a local file (or a line of a batch: `request_id`, `endpoint`,
    `payload`). `.csv` and `.tsv` hold one request a row under these columns, of which only
    `model` must be there; an empty cell is a field left out:

    `model`, `video_url`, `video_asset_id`, `video_file`, `image_url`, `image_asset_id`,
    `image_file`, `audio_url`, `audio_asset_id`, `audio_file`, `voice_id`, `script`,
    `stability`, `similarity_boost`, `target_lang`, `source_lang`, `dialogue_edit`,
    `sync_mode`, `temperature`, `model_mode`, `prompt`, `occlusion_detection_enabled`,
    `reasoning_enabled`, `speaker_auto_detect`, `speaker_boxes_url`, `output_file_name`,
    `webhook_url`, `project_id`, `request_id`.

    Columns of your own are kept (`ManifestRow.extra`) unless they read like one of these; so
    are the texts in an object `extra` of a generate body.
    Files are looked up (relative to the manifest's folder; `~` is the home folder); nothing
    is sent.

    Args:
        path: The file, in UTF-8, or in UTF-16 with a byte order mark. `~` is the home folder.

    Returns:
        At least one row; `.request` is what `run_many` takes.

    Raises:
        InvalidRequestError: The file cannot be read, or holds no request, or not only
            requests that can be sent; each problem begins with its line (`line 7: `).

    Example:
        `client.generations.run_many([row.request for row in read_manifest("takes.csv")])`

    """
    problems = [*path_problems("manifest", path)]
    if problems:
        raise InvalidRequestError(problems)
    file = Path(expanded(path))
    try:
        data = file.read_bytes()
    except OSError as error:
        invisible = ignored(f"{file}")
        hint = "" if invisible is None else f"; its name holds {invisible}"
        problem = f"manifest: cannot be read ({error.strerror}): {shown(f'{file}')}{hint}"
        raise InvalidRequestError([problem]) from error
    return parse_manifest(data, suffix=file.suffix, folder=file.parent.absolute())


def parse_manifest(data: bytes, *, suffix: str, folder: Path) -> list[ManifestRow]:
    """Return the requests that a manifest's bytes hold."""
    given, suffix = suffix, suffix.lower()
    if suffix not in _SUFFIXES:
        names = ", ".join(_SUFFIXES)
        advice = f"; {_SAVE_SHEET}" if suffix in _SPREADSHEET_SUFFIXES else ""
        problem = f"manifest: must end in {names}, not {shown(given)}{advice}"
        raise InvalidRequestError([problem])
    reader = ManifestReader(folder)
    data = _in_utf_8(data)
    if suffix in TABLE_SUFFIXES:
        reader.read_table(data)
    else:
        reader.read_lines(data)
    reader.check_names()
    if reader.problems:
        problems = sorted(reader.problems, key=itemgetter(0))
        raise InvalidRequestError([f"line {line}: {problem}" for line, problem in problems])
    if not reader.rows:
        raise InvalidRequestError(["manifest: holds no request"])
    return reader.rows


def write_request(request: GenerationRequest, *, indent: int | None = None) -> str:
    """Return a request as a line of a manifest; see `GenerationRequest.to_json`."""
    problems = [*request_problems(request, with_files=False), *_content_problems(request)]
    if problems:
        raise InvalidRequestError(problems)
    body = encode_request(request)
    for item, encoded in zip(request.input, body["input"], strict=True):
        if (file := getattr(item, "file", None)) is not None:
            encoded["file"] = str(Path(file).absolute())
    extra = {} if request.origin is None else dict(request.origin.extra)
    name = {} if request.request_id is None else {"request_id": exact(request.request_id)}
    line = {**name, **body, **({"extra": extra} if extra else {})}
    text = json.dumps(line, indent=indent, ensure_ascii=False)
    return text.encode(errors="backslashreplace").decode()  # half of a surrogate pair, escaped


@survived("request")
def _content_problems(request: GenerationRequest) -> list[str]:
    """Return each file whose bytes are given instead of its path."""
    files = [getattr(item, "file", None) for item in items_of(request.input)]
    return [
        f"input[{index}].file: {_CANNOT_TRAVEL}"
        for index, file in enumerate(files)
        if isinstance(file, bytes) or is_stream(file)
    ]


def read_request(text: str) -> GenerationRequest:
    """Return the request that a line of a manifest means; see `GenerationRequest.from_json`."""
    if not isinstance(text, str):
        raise InvalidRequestError([wrong("text", "text", text)])
    reader = ManifestReader(Path(), whole="request")
    reader.read_line(1, text)
    if reader.problems:
        raise InvalidRequestError([problem for _, problem in reader.problems])
    (row,) = reader.rows
    return attrs.evolve(row.request, origin=Origin(extra=row.extra) if row.extra else None)


def _in_utf_8(data: bytes) -> bytes:
    """Return a file's text in UTF-8 and without a mark; what is wrong with that has its lines."""
    if data.startswith(_SPREADSHEETS):
        raise InvalidRequestError([f"manifest: is no text but a spreadsheet's file; {_SAVE_SHEET}"])
    encoding = next(
        (name for mark, name in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), "utf-8-sig"
    )
    if encoding != "utf-8-sig":
        try:
            return data.decode(encoding).encode()
        except UnicodeDecodeError:
            problem = f"manifest: is {encoding.upper()} and damaged; save the file as UTF-8"
            raise InvalidRequestError([problem]) from None
    if b"\0" in data:
        problem = "manifest: holds null characters; save the file as UTF-8"
        raise InvalidRequestError([problem])
    return data.removeprefix(codecs.BOM_UTF8)


@attrs.define(slots=True)
class ManifestReader:
    """Collects what a manifest holds, and what is wrong with it."""

    folder: Path
    whole: str = ""  # what the path of a whole request is called
    rows: list[ManifestRow] = attrs.field(factory=list)
    problems: list[tuple[int, str]] = attrs.field(factory=list)  # each with its line

    def add_problem(self, line: int, words: str, path: str = "") -> None:
        path = path or self.whole
        if path.endswith("_url"):  # a column
            file = f"name a local file in {path.removesuffix('url')}file"
            words = words.replace("pass a local file as file", file)
        self.problems.append((line, f"{path}: {words}" if path else words))

    def add_row(
        self,
        line: int,
        body: object,
        *,
        path_of: Callable[[str], str],
        request_id: str | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        """Read a generate body and keep its request, and what is wrong with it.

        `path_of` returns a path in the body as the manifest's author calls it.
        """
        request, problems = read_body(body, folder=self.folder, request_id=request_id)
        for path, words in problems:
            self.add_problem(line, words, path_of(path))
        if request is not None:
            extra = {} if extra is None else extra
            request = attrs.evolve(request, origin=Origin(line, extra))
            self.rows.append(ManifestRow(line, request, request_id, extra))

    def check_names(self) -> None:
        """Check that rows have different names: most likely one was copied and not completed.

        Names of results count without case, for files of other systems do.
        """
        outputs: dict[str, int] = {}
        ids: dict[str, int] = {}
        for row in self.rows:
            line, name, own = row.line, row.request.output_file_name, row.request_id
            # What is no text is told by validation.
            if (
                isinstance(name, str)
                and (first := outputs.setdefault(name.casefold(), line)) != line
            ):
                words = f"names its output {shown(name)} as line {first} does; give each its own"
                self.add_problem(line, words)
            if isinstance(own, str) and (first := ids.setdefault(own, line)) != line:
                self.add_problem(line, f"must differ from that of line {first}", "request_id")

    def decode(self, line: int, data: bytes) -> str | None:
        """Return a line's text, or add the problem that it has none."""
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            byte = data[error.start : error.start + 1]
            old = byte.decode("cp1252", "ignore")
            means = f", {old!r} in Windows-1252" if old.isprintable() and old else ""
            self.add_problem(
                line,
                f"is not UTF-8 (byte {byte[0]:#04x}{means}); save the file as UTF-8, which "
                "spreadsheets call 'CSV UTF-8'",
            )
            return None

    # JSON lines

    def read_lines(self, data: bytes) -> None:
        """Read JSON lines; blank lines are skipped."""
        # Of bytes, lines end in CR, LF or both, and in no other character of Unicode.
        for number, line in enumerate(data.splitlines(), start=1):
            text = self.decode(number, line) if line.strip() else None
            if text is not None:
                self.read_line(number, text)

    def read_line(self, number: int, text: str) -> None:
        """Read a line of JSON."""
        try:
            decoded = json.loads(text, object_pairs_hook=_distinct, parse_constant=_refuse_constant)
        except json.JSONDecodeError as error:
            self.add_problem(number, f"is no JSON ({error.msg} at character {error.pos + 1})")
        except ValueError as error:  # a name given twice; a number that Python will not read
            self.add_problem(number, f"is no JSON ({error})")
        except RecursionError:
            self.add_problem(number, "is no JSON that can be read (it is nested too deeply)")
        else:
            self._read_object(number, decoded)

    def _read_object(self, number: int, decoded: object) -> None:
        if isinstance(decoded, dict) and not decoded.keys().isdisjoint(_BATCH_MARKS):
            self.add_row(
                number,
                decoded.get("payload"),
                path_of=lambda path: (
                    path if path == "request_id" else f"payload.{path}".removesuffix(".")
                ),
                request_id=self._read_envelope(number, decoded),
            )
            return
        known = decoded if isinstance(decoded, dict) else {}
        name, extra = known.pop("request_id", None), known.pop("extra", None)
        is_right = isinstance(extra, dict) and all(isinstance(each, str) for each in extra.values())
        if extra is not None and not is_right:
            words = f"must be an object of texts, not {shown(extra)}"
            self.add_problem(number, words, "extra")
            extra = None
        self.add_row(number, decoded, path_of=str, request_id=name, extra=extra)

    def _read_envelope(self, number: int, decoded: dict[str, Any]) -> str | None:
        """Check what a batch's line has around its body, and return its name."""
        for name in decoded:
            if name not in _BATCH_FIELDS:
                self.add_problem(number, _unknown(name, _BATCH_FIELDS), _below("", name))
        request_id, endpoint = decoded.get("request_id"), decoded.get("endpoint")
        if endpoint != _ENDPOINT:
            self.add_problem(number, _must_be(repr(_ENDPOINT), endpoint), "endpoint")
        if isinstance(request_id, str) and request_id.strip():
            return request_id
        self.add_problem(number, _must_be("text", request_id), "request_id")
        return None

    # Tables

    def read_table(self, data: bytes) -> None:
        """Read a table; rows of empty cells are skipped."""
        lines = data.splitlines(keepends=True)  # of bytes: CR, LF or both, and nothing else
        texts = [self.decode(number, line) for number, line in enumerate(lines, 1)]
        readable = [text for text in texts if text is not None]
        if len(readable) < len(texts):
            return
        rows = self._table_rows(readable)
        line, cells = next(rows, (1, []))
        header = self._read_header(line, cells)
        if not self.problems:
            for line, cells in rows:
                self._read_row(line, header, cells)

    def _table_rows(self, lines: list[str]) -> Iterator[tuple[int, list[str]]]:
        """Yield the rows that are not blank, each with the line that it begins in."""
        first = next((index for index, line in enumerate(lines) if bare(line)), 0)
        named = _SEPARATOR_LINE.fullmatch(lines[first].rstrip("\r\n")) if lines else None
        begin = first if named is None else first + 1
        separator = _separator(lines[begin:]) if named is None else named[1]
        table = csv.reader(lines[begin:], delimiter=separator, strict=True)
        while True:
            line = begin + table.line_num + 1
            try:
                cells = next(table, None)
            except csv.Error as error:
                self.add_problem(line, f"is no CSV ({error}); what follows was not looked at")
                return
            if cells is None:
                return
            if any(bare(cell) for cell in cells):
                yield line, cells

    def _read_header(self, line: int, cells: list[str]) -> list[str]:
        """Return the columns' names: those of `COLUMNS`, the author's own, and empty ones."""
        names: list[str] = []
        for cell in cells:
            own = bare(cell)
            name = _KNOWN.get(_squeezed(own), own)
            meant = None if name in COLUMNS else _meant(own)
            if name in names and name:
                self.add_problem(line, f"column {shown(own)} is there twice")
            elif meant is not None:
                self.add_problem(
                    line,
                    f"column {shown(own)} is unknown; did you mean {meant}? "
                    f"If it is your own column, rename it, so that it is not taken for {meant}",
                )
            names.append(name)
        if names and "model" not in names:
            self.add_problem(line, "column 'model' is missing; the first line names the columns")
        return names

    def _read_row(self, line: int, header: list[str], cells: list[str]) -> None:
        given: dict[str, str] = {}
        extra: dict[str, str] = {}
        for index, cell in enumerate(cells):
            name = header[index] if index < len(header) else ""
            if name in COLUMNS and bare(cell):
                given[name] = cell
            elif name not in COLUMNS and name:
                extra[name] = cell
            elif not name and bare(cell):
                self.add_problem(line, f"{shown(bare(cell))} is in a column without a name")
        problems = {name: words for name, cell in given.items() if (words := _wrong(name, cell))}
        request_id = bare(given.pop("request_id", "")) or None
        body, prefixes = _body(
            {name: given[name] for name in given if name not in problems or name == "model"}
        )
        columns = {
            f"{prefixes[column.part]}{column.name}": name
            for name, column in COLUMNS.items()
            if column.part in prefixes
        } | {"input": ""}
        self.add_row(
            line,
            body,
            path_of=lambda path: columns.get(path, path),
            request_id=request_id,
            extra=extra,
        )
        for name, words in problems.items():
            self.add_problem(line, words, name)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object; of a name that is given twice, it is not known which one is meant."""
    built = dict(pairs)
    if len(built) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{shown(twice)} is given twice")
    return built


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _separator(lines: list[str]) -> str:
    """Return the separator by which most of the header's names are known ones."""
    counts = {mark: "".join(lines[:1]).count(mark) for mark in _SEPARATORS}
    return max(_SEPARATORS, key=lambda mark: (_known_names(lines, mark), counts[mark]))


def _known_names(lines: list[str], separator: str) -> int:
    try:
        header = next(csv.reader(lines, delimiter=separator, strict=True), [])
    except csv.Error:
        return 0
    return len({_squeezed(name) for name in header} & _KNOWN.keys())


def _meant(name: str) -> str | None:
    """Return the column that a name most likely means, if it is most likely a slip."""
    squeezed = _squeezed(name)
    for known, column in _KNOWN.items():
        is_beginning = len(squeezed) >= _LONG_BEGINNING and known.startswith(squeezed)
        if is_beginning or sorted(known) == sorted(squeezed):
            return column
    (like,) = get_close_matches(squeezed, [*_KNOWN], n=1, cutoff=_LIKENESS) or (None,)
    return _SHORT_NAMES.get(squeezed) if like is None else _KNOWN[like]


def _wrong(name: str, cell: str) -> str | None:
    """Return why a cell cannot be meant as it is, where its field's own rule would not say it."""
    plain = bare(cell)
    if _BROKEN_CELL.fullmatch(plain):
        return f"holds {shown(plain)}, which a spreadsheet writes for a formula that has failed"
    if COLUMNS[name].read is _flag and _flag(cell) == plain:
        return f"must be true or false, not {shown(plain)}; 1 and 0 survive every spreadsheet"
    if name == "model" and plain.startswith("#"):
        return f"must be a model, not {shown(plain)}; a table has no comments"
    return None


def _body(given: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the body that a row's cells make, and the path of each part in it."""
    parts: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, cell in given.items():
        column = COLUMNS[name]
        parts[column.part][column.name] = column.read(cell)
    prefixes = dict(_PREFIXES)
    inputs: list[dict[str, Any]] = []
    for kind in ("video", "image", "audio"):
        if kind in parts:
            prefixes[kind] = f"input[{len(inputs)}]."
            inputs.append({"type": kind, **parts[kind]})
    if "provider" in parts:
        prefixes["provider"] = f"input[{len(inputs)}].provider."
        inputs.append({"type": "text", "provider": parts["provider"]})
    if "speaker" in parts:
        parts["options"]["active_speaker_detection"] = parts["speaker"]
    body: dict[str, Any] = {**parts["body"], "input": inputs}
    for name in ("options", "dubParams", "dialogueEdit"):
        if name in parts:
            body[name] = parts[name]
    return body, prefixes


def read_body(
    body: object, *, folder: Path, request_id: str | None = None
) -> tuple[GenerationRequest | None, list[tuple[str, str]]]:
    """Return the request that a decoded body means, and everything that is wrong with it.

    The codec reads the service's answers and ignores what it does not know. This reads the
    user's words, where an unknown field is most likely a known one, misspelt, and where all
    problems are told at once: what cannot be read stays as it is, so that validation judges
    the rest. Names are the wire's; `file`, which is no field of the wire, names a local file. A
    problem is a path (empty for the whole body) and what is wrong there.
    """
    reader = _BodyReader(folder)
    request = reader.read(GenerationRequest, "", body)
    if not isinstance(request, GenerationRequest):
        return None, reader.problems
    request = attrs.evolve(request, request_id=request_id)
    for problem in request_problems(request):
        path, _, words = problem.partition(": ")
        path = re.sub(r"\w+", lambda name: _WIRE_NAME_OF.get(name[0], name[0]), path)
        if path not in reader.judged:
            reader.problems.append((path, words))
    return request, reader.problems


@attrs.define(slots=True)
class _BodyReader:
    """Reads one body and collects its problems."""

    folder: Path
    problems: list[tuple[str, str]] = attrs.field(factory=list)
    judged: set[str] = attrs.field(factory=set)  # paths of which validation need not say more

    def read(self, kind: type, path: str, data: object) -> Any:
        """Read an object of the wire; unknown and missing fields are problems."""
        if not isinstance(data, dict):
            self._judge(path, _must_be("an object", data))
            return data
        fields = attrs.fields_dict(kind)
        names = {
            WIRE_NAMES[kind].get(field, field): field for field in fields if field not in _OUTSIDE
        }
        self._check_names(path, data, names, MARKS.get(kind, {}))
        values: dict[str, Any] = {}
        for name, field in names.items():
            if data.get(name) is not None:
                values[field] = self._value(kind, field, _below(path, name), data[name])
            elif fields[field].default is attrs.NOTHING:
                values[field] = None
                self._judge(_below(path, name), "is missing")
        return kind(**values)

    def _check_names(
        self, path: str, data: dict[str, Any], names: Iterable[str], marks: Mapping[str, str]
    ) -> None:
        for name in data:
            if name not in names and name not in marks:
                self.problems.append((_below(path, name), _unknown(name, names)))
        for name, right in marks.items():
            if data.get(name, right) != right:
                self.problems.append((_below(path, name), _must_be(repr(right), data[name])))

    def _value(self, kind: type, field: str, path: str, value: Any) -> Any:
        """Read one field; what is no object and no list is for validation to judge."""
        if (kind, field) in _PARTS:
            return self.read(_PARTS[kind, field], path, value)
        if field == "dialogue_edit":
            return self._reference(path, value)
        if field == "file" and isinstance(value, str):
            found = at_home(value)
            return Path(value) if found is None else self.folder / found
        if kind is GenerationRequest and isinstance(value, list):
            return [self._item(field, f"{path}[{index}]", item) for index, item in enumerate(value)]
        return value

    def _reference(self, path: str, value: object) -> Any:
        """Read an object that names something by its `id` alone."""
        if not isinstance(value, dict):
            self._judge(path, _must_be("an object", value))
            self.judged.add(f"{path}.id")
            return value
        self._check_names(path, value, ["id"], {})
        if value.get("id") is None:
            self._judge(f"{path}.id", "is missing")
            return ""
        return value["id"]

    def _item(self, field: str, path: str, item: object) -> Any:
        """Read a segment, or an input by its type."""
        if field == "segments" or not isinstance(item, dict):
            return self.read(Segment, path, item)
        name = item.get("type")
        if isinstance(name, str) and name in INPUT_TYPES:
            return self.read(INPUT_TYPES[name], path, item)
        self.problems.append((f"{path}.type", _must_be(f"one of {', '.join(INPUT_TYPES)}", name)))
        self.judged.add(path)
        return item

    def _judge(self, path: str, words: str) -> None:
        self.judged.add(path)
        self.problems.append((path, words))


def _unknown(name: str, known: Iterable[str]) -> str:
    """Return that a name is unknown, and which one may be meant."""
    (meant,) = get_close_matches(name, [*known], n=1) or (None,)
    return "is unknown" if meant is None else f"is unknown; did you mean {meant}?"


def _below(path: str, name: str) -> str:
    """Return the path of a field, quoting a name that is none."""
    step = name if _PLAIN_NAME.fullmatch(name) else shown(name)
    return f"{path}.{step}" if path else step


def _must_be(right: str, value: object) -> str:
    return f"must be {right}, not {shown(value)}"
