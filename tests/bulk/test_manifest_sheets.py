"""Tables as spreadsheets of any language write them, and as people change them."""

# ruff: noqa: RUF001 - letters of other scripts are what is tested
from __future__ import annotations

import csv
import unicodedata
from io import StringIO
from typing import Any

import pytest
from hypothesis import given, strategies as st

from lipsync_async._bulk.manifest import COLUMNS
from lipsync_async.errors import InvalidRequestError
from tests.bulk.manifests import problems, read
from tests.bulk.test_manifest import OWN, SURVIVES

V, A = "https://h/v.mp4", "https://h/a.wav"
HEAD = "model,video_url,audio_url,temperature,occlusion_detection_enabled,output_file_name"
ROW = f"lipsync-2,{V},{A}"


@given(
    cells=st.lists(st.integers(3, 6), min_size=1, max_size=5),
    blanks=st.lists(st.sampled_from(["", " ", "\t ", "\u200b", "\xa0"]), max_size=4),
    separator=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n", "\r", "\r\r\n"]),
)
def test_rows_of_any_length_are_rows(
    cells: list[int], blanks: list[str], separator: str, end: str
) -> None:
    """A cell that is not there is empty, and empty cells too many are none."""
    rows = [
        [*f"{ROW},0.5,1,take-{number}".split(",")[:length], *blanks]
        for number, length in enumerate(cells)
    ]
    written = StringIO()
    csv.writer(written, delimiter=separator, lineterminator=end).writerows([HEAD.split(","), *rows])
    read_rows = read(written.getvalue())
    assert [row.request.output_file_name for row in read_rows] == [
        f"take-{number}" if length == 6 else None for number, length in enumerate(cells)
    ]
    step = 2 if end == "\r\r\n" else 1
    assert [row.line for row in read_rows] == [1 + step * (n + 1) for n in range(len(cells))]


NUMBERS = dict.fromkeys(["0,7", "+0,7", "7e-1", "7,0E-1", " 0,7 ", "\xa00,7\u200b"], 0.7)
NUMBERS |= {"0,": 0.0, "-0": 0.0, "1.": 1.0, ".25": 0.25, ",25": 0.25, "000,5": 0.5}


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize(("cell", "number"), NUMBERS.items())
def test_numbers_of_any_language(cell: str, number: float, separator: str) -> None:
    """A comma is a point, where it separates cells in quotes."""
    table = f'model,video_url,audio_url,temperature\nlipsync-2,{V},{A},"{cell}"\n'
    head, row = table.splitlines()
    quoted = row if separator == "," else row.replace(",", separator, 3)
    (found,) = read(f"{head.replace(',', separator)}\n{quoted}\n")
    assert found.request.options is not None
    assert found.request.options.temperature == number


NO_NUMBERS = [
    *("1.234,5", "1,234.5", "0,7,1", "0.7.1", "0..7", ",", ".", "+", "e1", "0,7e", "٠٫٧", "0，7"),
    *("0_7", "nan", "inf", "70%", "0,7 s", "−0,7", "½", "0x1", "1 000", "'0.7", "=0.7", "0·7"),
]


@pytest.mark.parametrize("cell", NO_NUMBERS)
def test_what_could_be_several_numbers_or_none_is_refused(cell: str) -> None:
    """The message quotes it."""
    (problem,) = problems(f"{HEAD.replace(',', ';')}\nlipsync-2;{V};{A};{cell}\n")
    assert problem.startswith("line 2: temperature: must be ")


FLAGS = {
    True: "TRUE true True yes YES 1 WAHR ja VRAI oui VERDADERO SÍ si VERO sim WAAR PRAWDA tak IGAZ "
    "PRAVDA ИСТИНА да SANT SAND SANN TOSI DOĞRU ADEVĂRAT ΑΛΗΘΗΣ TÕENE ІСТИНА CERT",
    False: "FALSE false no 0 FALSCH nein FAUX non FALSO não ONWAAR nee FAŁSZ nie HAMIS nem "
    "NEPRAVDA ЛОЖЬ нет FALSKT FALSK USANN EPÄTOSI YANLIŞ yanlış FALS ΨΕΥΔΗΣ VÄÄR ХИБНІСТЬ",
}
CASES = [(word, value) for value, words in FLAGS.items() for word in words.split()]


def test_words_of_truth_in_any_language() -> None:
    """Spreadsheets write them however `true` was typed; accents may come in two characters."""
    for word, value in CASES:
        for form in (word, f" {word}\xa0", unicodedata.normalize("NFD", word), word.lower()):
            (row,) = read(f"{HEAD}\nlipsync-2,{V},{A},,{form}\n")
            assert row.request.options is not None
            assert row.request.options.occlusion_detection_enabled is value, word


@pytest.mark.parametrize(("cell", "value"), [("1.0", True), ('"1,0"', True), ("0.0", False)])
def test_numbers_of_truth(cell: str, value: bool) -> None:  # noqa: FBT001 - a fact
    """Where a column of 1 and 0 has gaps, programs for tables write it with a point."""
    (row,) = read(f"{HEAD}\nlipsync-2,{V},{A},,{cell}\n")
    assert row.request.options is not None
    assert row.request.options.occlusion_detection_enabled is value


@pytest.mark.parametrize("cell", ["maybe", "2", "-1", "x", "on", "✓", "1.5", "truefalse", "真"])
def test_other_words_are_told_what_survives(cell: str) -> None:
    """The words that every spreadsheet leaves alone are named."""
    assert problems(f"{HEAD}\nlipsync-2,{V},{A},,{cell}\n") == [
        f"line 2: occlusion_detection_enabled: must be true or false, not {cell!r}; {SURVIVES}"
    ]


BROKEN = "#N/A #NAME? #REF! #VALUE! #DIV/0! #NULL! #NUM! #NV #BEZUG! #WERT! #NOM? #¡REF! #N/D"


@pytest.mark.parametrize("column", ["script", "model", "output_file_name", "voice_id"])
@pytest.mark.parametrize("cell", BROKEN.split())
def test_a_failed_formula_is_not_spoken(column: str, cell: str) -> None:
    """What a spreadsheet writes for it is in no script."""
    columns = ["model", "image_url", "voice_id", "script", "output_file_name"]
    cells = dict.fromkeys(columns, "a") | {"image_url": V, column: cell}
    told = problems(f"{','.join(cells)}\n{','.join(cells.values())}\n")
    words = f"holds {cell!r}, which a spreadsheet writes for a formula that has failed"
    assert f"line 2: {column}: {words}" in told


@pytest.mark.parametrize("script", ["#NAME", "#winning!", "We are #1!", "N/A", "#N/A!!"])
def test_other_words_with_a_sign_are_spoken(script: str) -> None:
    """Only what no author writes is refused."""
    told = problems(f"model,image_url,voice_id,script\nx,{V},v,{script}\n")
    assert bool(told) is (script == "#NAME")


def test_a_row_is_no_comment() -> None:
    """It would be ordered from a model of that name."""
    assert problems(f"{HEAD}\n#{ROW}\n# {ROW}\n") == [
        "line 2: model: must be a model, not '#lipsync-2'; a table has no comments",
        "line 3: model: must be a model, not '# lipsync-2'; a table has no comments",
    ]


SEMICOLONS = ["sep=;", '"sep=;"', "sep=;;;;;", '"sep=;";;;', " sep=; ", "\n\nsep=;"]
SEPARATOR_LINES = dict.fromkeys(SEMICOLONS, ";")
SEPARATOR_LINES |= {"SEP=,": ",", '"sep=,"': ",", "Sep=\t": "\t", "sep=|": "|"}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(("first", "separator"), SEPARATOR_LINES.items())
def test_the_line_that_names_the_separator_is_no_row(first: str, separator: str, end: str) -> None:
    """It is counted as a line, and it decides, even against what the header looks like."""
    (row,) = read(f"{first}\n{HEAD}\n{ROW}\n".replace(",", separator).replace("\n", end))
    assert row.line == 3 + first.count("\n")


@pytest.mark.parametrize(
    "first", ["sep=", "sep=:", "sep=ab", "sep=;a", "separator=;", "sep=;\nsep=;", "model;sep=;"]
)
def test_another_first_line_is_the_header(first: str) -> None:
    """What names no separator is judged as names of columns."""
    (*_, problem) = problems(f"{first}\n{HEAD}\n{ROW}\n")
    assert problem.startswith("line ")


HEADERS = {
    ",": [
        *("Model,Video_URL,AUDIO_URL", " model , video_url ,audio_url "),
        *("audio_url,model,video_url", "MODEL,Video URL,Audio-Url"),
        *("model,videoUrl,audioUrl", '"model","video_url","audio_url"'),
        *("model,video__url,_audio_url_", "model,video url\xa0,audio.url"),
        *("\u200bmodel,video\u00ad_url\u200b,audio_url", "m\u200bodel,video_url,audio_url"),
        *("Model ,Video url:,Audio url:", "model,video_url,audio_url,Notes"),
        *('model,"notes;with;many;signs;in",video_url,audio_url', "model,,video_url,,audio_url,,"),
        *("audio_url,video_url,model", "notes,model,video_url,audio_url"),
    ],
    ";": [
        *("model;video_url;audio_url", "Model;Notes, mine, all, of, them;Video_url;Audio_url"),
        *("model;a,b,c,d;video_url;audio_url", '"model";"a note\nof two";"video_url";"audio_url"'),
        *("model;video_url;audio_url;a|b|c|d|e", "a\tb;model;video_url;audio_url"),
    ],
    "\t": ["model\tvideo_url\taudio_url", "model\ta;b;c;d;e\tvideo_url\taudio_url"],
    "|": ["model|video_url|audio_url", "model|a, b, c, and, d|video_url|audio_url|"],
}


@pytest.mark.parametrize(
    ("separator", "header"),
    [(separator, header) for separator, headers in HEADERS.items() for header in headers],
)
def test_names_of_columns_are_written_in_many_ways(separator: str, header: str) -> None:
    """Case, blanks and signs do not count, and the separator is the one that makes sense."""
    names = next(csv.reader(StringIO(header, newline=""), delimiter=separator))
    squeezed = ["".join(filter(str.isalnum, name)).lower() for name in names]
    cells = {"model": "x", "videourl": V, "audiourl": A}
    row = separator.join(cells.get(name, "") for name in squeezed)
    (found,) = read(f"{header}\n{row}\n")
    assert (found.request.model, [item.url for item in found.request.input]) == ("x", [V, A])  # type: ignore[union-attr]


OWN_COLUMNS = (
    "notes|Notes|title|client|scene|Kommentar|номер|備考|id|ID|#|priority|speaker|language|"
    "episode|deadline|take|source|name|url|status|error|date|fps|transcript|shot no.|done?|🎬|"
    "x|voice actor|character|translation|duration|folder|output folder|Sprecher|Zeile"
)


@pytest.mark.parametrize("name", OWN_COLUMNS.split("|"))
def test_columns_of_ones_own_are_kept(name: str) -> None:
    """Their cells come back as they were, and are not sent."""
    cell = "  as it was\n, with 'all' of it\u200b "
    written = StringIO()
    table = csv.writer(written)
    table.writerows([["model", name, "video_url", "audio_url"], ["x", cell, V, A], ["x", "", V, A]])
    first, second = read(written.getvalue())
    assert (first.extra, second.extra) == ({name: cell}, {name: ""})
    assert first.request == second.request


# What may be written by mistake for each column.
SLIPS = {
    "sync_mode": "sync_mod syncmodes",
    "temperature": "temprature Temperatur temp",
    "video_url": "video_ur video",
    "audio_url": "audio_utl Audio",
    "output_file_name": "ouput_file_name output_name",
    "webhook_url": "webhook webhook_ulr",
    "project_id": "project",
    "voice_id": "voice",
    "script": "scripts scirpt",
    "prompt": "promt",
    "stability": "stabilty",
    "similarity_boost": "similarity_bost similarity",
    "target_lang": "target_language",
    "source_lang": "source_language",
    "model": "modle mode",
    "occlusion_detection_enabled": "occlusion_detection occlusion",
    "reasoning_enabled": "reasoning",
    "speaker_boxes_url": "speaker_boxes",
    "speaker_auto_detect": "speaker_auto auto_detect",
    "request_id": "request",
    "model_mode": "modle_mode",
}
MEANT = [(name, meant) for meant, names in SLIPS.items() for name in names.split()]


@pytest.mark.parametrize(("name", "meant"), [*MEANT, ("sync mode ", None)])
def test_a_slip_in_a_name_is_noticed(name: str, meant: str | None) -> None:
    """What reads like a column, and is none, would be ignored and yet paid for."""
    told = problems(f"model,video_url,audio_url,{name}\n{ROW}\n")
    expected = f"line 1: column {name!r} is unknown; did you mean {meant}? {OWN} {meant}"
    assert told == ([] if meant is None else [expected])


@pytest.mark.parametrize("name", COLUMNS)
def test_a_slip_in_any_name_is_noticed(name: str) -> None:
    """A letter lost, doubled, or exchanged with the next one: no field is left out in silence."""
    slips = {
        *(name[:at] + name[at + 1 :] for at in range(len(name)) if name[at] != "_"),
        *(name[:at] + name[at] + name[at:] for at in range(len(name)) if name[at] != "_"),
        *(name[:at] + name[at + 1] + name[at] + name[at + 2 :] for at in range(len(name) - 1)),
    }
    for slip in slips - {name, name.replace("__", "_")}:
        table = f"model,video_url,audio_url,{slip}\n{ROW},\n"
        if slip.replace("_", "") != name.replace("_", ""):
            assert any("did you mean" in told for told in problems(table)), slip


GOOD = {"model": "lipsync-2", "video_url": V, "audio_asset_id": "a-1", "sync_mode": "loop"}
GOOD |= {"webhook_url": "https://h/hook", "project_id": "p-1", "request_id": "r-1"}
UNSEEN = "\u200b\u200c\u2060\ufeff\u00ad\u200e\u202e\u2066\u180e\u061c\U000e0041\ufe0f\u034f\u3164"


@pytest.mark.parametrize("character", UNSEEN)
@pytest.mark.parametrize("column", GOOD)
def test_what_is_not_seen_is_taken_off_at_the_ends_and_refused_inside(
    column: str, character: str
) -> None:
    """It comes along when text is copied; inside, the message makes it visible."""

    def table(cell: str) -> str:
        return f"{','.join(GOOD)}\n{','.join((GOOD | {column: cell}).values())}\n"

    text = GOOD[column]
    (plain,) = read(table(text))
    (cleaned,) = read(table(f"{character} {text}{character}\xa0"))
    assert cleaned == plain
    with pytest.raises(InvalidRequestError) as caught:
        read(table(f"{text[:2]}{character}{text[2:]}"))
    (problem,) = caught.value.problems
    assert problem.startswith(f"line 2: {column}: ")
    assert character not in problem
    assert f"U+{ord(character):04X}" in problem or ascii(character)[1:-1] in problem


SCRIPTS = [
    *("👩‍💻 می‌خواهم", "❤️ yes", "soft\u00adhyphen", "日本語　です"),
    *(" \u200fשלום", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "e\u0301"),
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_hold_what_they_hold(script: str) -> None:
    """Joiners make emoji and words; what is spoken stays as it was written."""
    (row,) = read(f"model,image_url,voice_id,script\nsync-3,{V},v,{script}\n")
    assert row.request.input[1].provider.script == script  # type: ignore[union-attr]


@pytest.mark.parametrize("cell", ["\u200b", " \u200b ", "\ufeff\xa0", "\u3164", "\U000e0041"])
def test_a_cell_in_which_nothing_is_seen_is_empty(cell: str) -> None:
    """A script of it would be paid for, and silent."""
    told = problems(f"model,image_url,voice_id,script\nsync-3,{V},v,{cell}\n")
    assert told == ["line 2: script: is missing"]


def test_rows_have_names_of_their_own() -> None:
    """A column gives them; it is not sent, and no two are the same."""
    head = f"{HEAD},Request ID"
    first, second = read(f"{head}\n{ROW},,,,シーン 1\n{ROW},,,,\n")
    assert (first.request_id, first.request.request_id) == ("シーン 1", "シーン 1")
    assert (second.request_id, second.request.request_id) == (None, None)
    assert first.extra == {}
    assert problems(f"{head}\n{ROW},,,,a\n{ROW},,,,a\u200b\n") == [
        "line 3: request_id: must differ from that of line 2"
    ]


CELLS: st.SearchStrategy[Any] = st.text(st.characters(codec="utf-8"), max_size=12)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5), st.sampled_from(",;\t|"))
def test_own_cells_of_any_text_come_back(rows: list[tuple[str, str]], separator: str) -> None:
    """Whatever stands in them, quotes and separators included."""
    written = StringIO()
    table = csv.writer(written, delimiter=separator, quoting=csv.QUOTE_ALL)
    table.writerow(["note", "model", "video_url", "audio_url", "備考"])
    table.writerows([[first, "x", V, A, second] for first, second in rows])
    if "\0" in written.getvalue():
        assert problems(written.getvalue()) != []
    else:
        found = [row.extra for row in read(written.getvalue(), ".tsv")]
        assert found == [{"note": first, "備考": second} for first, second in rows]
