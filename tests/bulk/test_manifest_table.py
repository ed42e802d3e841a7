"""Manifests as tables: each column has its place, each bad cell its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from lipsync_async._bulk import manifest
from lipsync_async._bulk.manifest import parse_manifest, read_manifest
from lipsync_async._models.request import (
    ActiveSpeaker,
    Audio,
    DubParams,
    ElevenLabs,
    GenerationRequest,
    Image,
    Options,
    Text,
    Video,
)
from tests.bulk.manifests import problems

GUIDE = (Path(__file__).parents[2] / "docs" / "manifests.md").read_text(encoding="utf-8")

HEADER = "model,video_url,audio_url,output_file_name"
ROW = "lipsync-2,https://h/v.mp4,https://h/a.wav"

SPEECH = "model,image_asset_id,voice_id,script,stability,similarity_boost,sync_mode"
SPOKEN = GenerationRequest(
    model="sync-3",
    input=[
        Image(asset_id="face"),
        Text(ElevenLabs(voice_id="v", script=" They said:\n“Well, well.” ", stability=0.0)),
    ],
)
OPTIONS = (
    "sync_mode;temperature;model_mode;prompt;occlusion_detection_enabled;reasoning_enabled;"
    "speaker_auto_detect"
)
TABLES: dict[str, tuple[str, GenerationRequest]] = {
    "plain": (
        f"{HEADER}\n{ROW},take-1\n",
        GenerationRequest(
            model="lipsync-2",
            input=[Video("https://h/v.mp4"), Audio("https://h/a.wav")],
            output_file_name="take-1",
        ),
    ),
    "speech": (f'{SPEECH}\r\n"sync-3", face ,v," They said:\n“Well, well.” ",0,,\r\n', SPOKEN),
    "options": (
        (
            f"model;video_asset_id;audio_asset_id;{OPTIONS}\n"
            "lipsync-2; v ;a; loop ; 0.5 ;face;happy;TRUE;no;1"
        ),
        GenerationRequest(
            model="lipsync-2",
            input=[Video(asset_id="v"), Audio(asset_id="a")],
            options=Options(
                sync_mode="loop",
                temperature=0.5,
                model_mode="face",
                prompt="happy",
                occlusion_detection_enabled=True,
                reasoning_enabled=False,
                active_speaker_detection=ActiveSpeaker(auto_detect=True),
            ),
        ),
    ),
    "dubbing": (
        (
            "model\tvideo_url\ttarget_lang\tsource_lang\twebhook_url\tproject_id\tspeaker_boxes_url\n"
            "x\thttps://h/v\tde\t\thttps://h/hook\tp\thttps://h/b.json\n"
        ),
        GenerationRequest(
            model="x",
            input=[Video("https://h/v")],
            options=Options(
                active_speaker_detection=ActiveSpeaker(bounding_boxes_url="https://h/b.json")
            ),
            dub_params=DubParams(target_lang="de"),
            webhook_url="https://h/hook",
            project_id="p",
        ),
    ),
}


@pytest.mark.parametrize(("table", "expected"), TABLES.values(), ids=TABLES)
def test_each_cell_has_its_place(tmp_path: Path, table: str, expected: GenerationRequest) -> None:
    """Columns in any order, in any of three separators, make the request that they name."""
    (row,) = parse_manifest(table.encode("utf-8"), suffix=".csv", folder=tmp_path)
    assert row.request == expected


def test_files_are_beside_the_manifest(tmp_path: Path) -> None:
    """All three kinds of media can be local, relative to the table's folder."""
    for name in ("face.png", "v.mp4", "a.wav"):
        (tmp_path / name).write_bytes(b"data")
    table = (
        "model,image_file,video_file,audio_file\n"
        "sync-3,face.png,,a.wav\n"
        f"lipsync-2,,{tmp_path / 'v.mp4'},a.wav\n"
    )
    rows = parse_manifest(table.encode(), suffix=".csv", folder=tmp_path)
    assert [list(row.request.input) for row in rows] == [
        [Image(file=tmp_path / "face.png"), Audio(file=tmp_path / "a.wav")],
        [Video(file=tmp_path / "v.mp4"), Audio(file=tmp_path / "a.wav")],
    ]


def test_columns_without_a_name_may_stand_empty(tmp_path: Path) -> None:
    """Spreadsheets leave extra separators; a cell there would be lost, so it is told."""
    table = f"{HEADER},\n{ROW},a,\n{ROW},b, note\n{ROW},c,,,,far\u200b\n"
    assert problems(table, tmp_path, ".csv") == [
        "line 3: 'note' is in a column without a name",
        "line 4: 'far' is in a column without a name",
    ]


OWN = "A column of your own needs a name that is less like it"
SURVIVES = "1 and 0 survive every spreadsheet"
BAD: dict[str, tuple[str, list[str]]] = {
    "columns": (
        "model,videourls,Model,script,script,nonsense,nonsense\nx,,,,,\n",
        [
            f"line 1: column 'videourls' is unknown; did you mean video_url? {OWN}",
            "line 1: column 'Model' is there twice",
            "line 1: column 'script' is there twice",
            "line 1: column 'nonsense' is there twice",
        ],
    ),
    "no header": (
        f"{ROW}\n",
        ["line 1: column 'model' is missing; the first line names the columns"],
    ),
    "values": (
        (
            f"{HEADER},temperature,occlusion_detection_enabled\n"
            ",v.mp4,https://h/a.wav,,hot,maybe\n"
            f'{ROW},,"1.000,5",\n'
            f"{ROW},,1_0,\n"
            f"{ROW},,nan,\n"
            f"{ROW},,1e999,\n"
        ),
        [
            "line 2: model: is missing",
            "line 2: video_url: must be an http or https URL; pass a local file as file",
            "line 2: temperature: must be a number, not 'hot'",
            "line 2: occlusion_detection_enabled: must be true or false, not 'maybe'; " + SURVIVES,
            "line 3: temperature: must be a number, not '1.000,5'",
            "line 4: temperature: must be a number, not '1_0'",
            "line 5: temperature: must be a number, not 'nan'",
            "line 6: temperature: must be 0 to 1, not inf",
        ],
    ),
    "more values": (
        (
            f"{HEADER},sync_mode,reasoning_enabled,webhook_url\n"
            "x,v.mp4,https://h/a.wav,take 1,lop,maybe,http://h/x\n"
        ),
        [
            "line 2: video_url: must be an http or https URL; pass a local file as file",
            "line 2: sync_mode: must be one of bounce, loop, cut_off, silence, remap, not 'lop'",
            (
                "line 2: webhook_url: must be an https URL; http is only for a loopback host like "
                "localhost"
            ),
            (
                "line 2: output_file_name: must be 1 to 255 letters, digits, - or _ without an "
                "extension, not 'take 1'"
            ),
            "line 2: reasoning_enabled: must be true or false, not 'maybe'; " + SURVIVES,
        ],
    ),
    "combinations": (
        (
            "model,video_url,image_url,audio_url,script,source_lang\n"
            "x,https://h/v,https://h/i,,,\n"
            "x,https://h/v,,https://h/a,Hello.,\n"
            "x,https://h/v,,,,en\n"
        ),
        [
            "line 2: input: needs exactly one video or image, not 2",
            "line 2: input: needs exactly one audio or text, not 0",
            "line 3: voice_id: is missing",
            "line 3: input: needs exactly one audio or text, not 2; for several use segments",
            "line 4: target_lang: is missing",
        ],
    ),
    "quotes": (
        f'{HEADER}\n{ROW},"a"b\n',
        ["line 2: is no CSV (',' expected after '\"'); what follows was not looked at"],
    ),
    "open quotes": (
        f'{HEADER}\n{ROW},a\n{ROW},"b\n',
        ["line 3: is no CSV (unexpected end of data); what follows was not looked at"],
    ),
    "huge cell": (
        f"{HEADER}\n{ROW},{'a' * 140_000}\n",
        [
            (
                "line 2: is no CSV (field larger than field limit (131072)); what follows was not "
                "looked at"
            )
        ],
    ),
    "broken header": (
        '"model\n',
        ["line 1: is no CSV (unexpected end of data); what follows was not looked at"],
    ),
}


@pytest.mark.parametrize(("table", "expected"), BAD.values(), ids=BAD)
def test_each_flaw_is_told_with_its_place(tmp_path: Path, table: str, expected: list[str]) -> None:
    """Every problem has its line and, where one cell causes it, its column."""
    assert problems(table, tmp_path, ".csv") == expected


def test_lines_that_are_no_text_are_all_told(tmp_path: Path) -> None:
    """A table in another encoding is no table; all its lines that show it are named."""
    data = f"{HEADER}\n{ROW},b".encode() + b"\xe4\nx\n\xf6"
    ending = "save the file as UTF-8, which spreadsheets call 'CSV UTF-8'"
    assert problems(data, tmp_path, ".csv") == [
        f"line 2: is not UTF-8 (byte 0xe4, 'ä' in Windows-1252); {ending}",
        f"line 4: is not UTF-8 (byte 0xf6, 'ö' in Windows-1252); {ending}",
    ]


@pytest.mark.parametrize("documented", [read_manifest.__doc__, GUIDE])
def test_every_column_is_documented(documented: str) -> None:
    """Wherever columns are listed, all of them are."""
    columns = [*manifest.COLUMNS]
    assert [name for name in columns if f"`{name}`" not in documented] == []
