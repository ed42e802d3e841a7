"""Characters that no one sees are found, named, taken off at the ends, and made visible."""

# ruff: noqa: RUF001 - letters of other scripts are what is tested
import sys
import unicodedata
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from lipsync_async import (
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
from lipsync_async._logic.validation import (
    argument_problems,
    estimate_problems,
    list_problems,
    request_problems,
    shown,
)
from lipsync_async._models.text import bare, for_screens, hidden, ignored, percent_encoded

# All of them that change nothing which is seen; blanks apart.
UNSEEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b\u180e\u200b\u200c\u200d\u200e\u200f\u202a"
    "\u202b\u202c\u202d\u202e\u2060\u2061\u2062\u2063\u2064\u2066\u2067\u2068\u2069\u206a\u206f"
    "\u2800\u3164\ufe00\ufe0f\ufeff\uffa0\ufff9\ufffb\U0001d173\U000e0001\U000e0041\U000e007f"
    "\U000e0100\U000e01ef\u2028\u2029"
)
BLANKS = "\u00a0\u1680\u2000\u2003\u2009\u200a\u202f\u205f\u3000"
SEEN = [
    *("видео", "日本語", "é", "e\u0301", "🎬", "ﷺ", "क्षि", "한글", "ไทย", "ş", "A b", "½", "\ufffd")
]
VIDEO, AUDIO = Video("https://h/v.mp4"), Audio("https://h/a.wav")


@pytest.mark.parametrize("character", UNSEEN + BLANKS, ids=ascii)
def test_each_of_them_is_found_and_named(character: str) -> None:
    """The name says which it is, and where, in characters that everybody sees."""
    told = hidden(f"ab{character}cd")
    assert told is not None
    assert told.startswith(f"U+{ord(character):04X}")
    assert told.endswith(", at character 3")
    assert told.isprintable()
    assert character not in told
    assert (ignored(f"ab{character}cd") is None) is (character in BLANKS)
    assert bytes.fromhex(percent_encoded(character).replace("%", "")).decode() == character
    assert bare(f"{character} ab{character}c \t{character}") == f"ab{character}c"


@pytest.mark.parametrize("text", SEEN)
def test_what_is_seen_is_left_alone(text: str) -> None:
    """Letters of any script, accents and emoji are no mistakes."""
    assert (hidden(text), ignored(text), percent_encoded(text)) == (None, None, "")
    assert (bare(f" {text}\u200b"), for_screens(text), eval(shown(text))) == (text, text, text)  # noqa: S307


def test_no_other_character_counts_as_unseen() -> None:
    """Of all that Unicode has, only format characters and blanks may be among them."""
    expected = "\u034f\u115f\u1160\u17b4\u17b5\u2028\u2029\u2800\u3164\uffa0"
    others = "".join(
        character
        for character in map(chr, range(sys.maxunicode + 1))
        if unicodedata.category(character) not in {"Cf", "Zs", "Cn", "Co"} and hidden(character)
        if "VARIATION SELECTOR" not in unicodedata.name(character, "")
    )
    assert others == expected


@given(st.text())
@example(" " * 50_000 + "x" + " " * 50_000)
def test_ends_are_bare(text: str) -> None:
    """What is left begins and ends with what is seen, and nothing inside is lost."""
    found = bare(text)
    assert found in text
    assert (bare(found), bare(f"\u200b{text}\xa0"), found.strip()) == (found, found, found)
    assert found or not text.strip() or hidden(text)


SCREENS = [
    ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
    ("\x1b[2J\x9b2J", r"\x1b[2J\x9b2J"),
    ("a\nb\rc\td", r"a\x0ab\x0dc\x09d"),
    ("\u202etxt.4pm\u202c", r"\u202etxt.4pm\u202c"),
    ("a\u2028b\u2029c\x85d\x0be\x0cf", r"a\u2028b\u2029c\x85d\x0be\x0cf"),
    ("\u2066\u2069\u200e\u200f\u061c", r"\u2066\u2069\u200e\u200f\u061c"),
    ("\ud800\udfff", r"\ud800\udfff"),
    ("\x00\x08\x7f\x80", r"\x00\x08\x7f\x80"),
    ("\ufeffa\u200bb\u2060", r"\ufeffa\u200bb\u2060"),
    ("\U000e0041\U000e007f", r"\U000e0041\U000e007f"),
    ("👩‍💻 ❤️ می‌خواهم", "👩‍💻 ❤️ می‌خواهم"),
    ("[red]no markup[/]", "[red]no markup[/]"),
    ("\\x1b", "\\x1b"),
]


@pytest.mark.parametrize(("text", "expected"), SCREENS, ids=range(len(SCREENS)))
def test_nothing_moves_a_screen(text: str, expected: str) -> None:
    """Whatever would clear, retitle or reorder it is written out."""
    assert for_screens(text) == expected


@given(st.text(st.characters()))
def test_no_text_moves_a_screen(text: str) -> None:
    """What is printed has no control character, no line end, and no mark of direction."""
    found = for_screens(text)
    assert len(found.splitlines()) <= 1
    directions = {unicodedata.bidirectional(each) for each in found}
    assert directions.isdisjoint({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
    assert {unicodedata.category(each) for each in found}.isdisjoint({"Cc", "Cs", "Zl", "Zp"})


def asked(**fields: Any) -> GenerationRequest:
    """Return a request that is right but for what the caller changes."""
    return GenerationRequest(**{"model": "lipsync-2", "input": [VIDEO, AUDIO], **fields})


def places(text: str) -> dict[str, list[str]]:
    """Return what is wrong with a text in each place where it does harm."""
    speaker = ActiveSpeaker(bounding_boxes_url=f"https://h/{text}")
    aimed, dub = Options(active_speaker_detection=speaker), partial(DubParams, target_lang="de")
    voice = ElevenLabs(voice_id=text, script="Hi.")
    requests = {
        "model": asked(model=text),
        "input[0].url": asked(input=[Video(f"https://h/{text}.mp4"), AUDIO]),
        "input[1].url": asked(input=[VIDEO, Audio(f"https://h/?a={text}")]),
        "input[0].asset_id": asked(input=[Video(asset_id=text), AUDIO]),
        "input[0].ref_id": asked(input=[Video("https://h/v", ref_id=text), AUDIO]),
        "input[1].provider.voice_id": asked(input=[VIDEO, Text(voice)]),
        "options.active_speaker_detection.bounding_boxes_url": asked(options=aimed),
        "options.sync_mode": asked(options=Options(sync_mode=text)),
        "webhook_url": asked(webhook_url=f"https://{text}.example/hook"),
        "output_file_name": asked(output_file_name=text),
        "project_id": asked(project_id=text),
        "request_id": asked(request_id=text),
        "dialogue_edit": asked(input=[VIDEO], dialogue_edit=text),
        "dub_params.target_lang": asked(input=[VIDEO], dub_params=DubParams(target_lang=text)),
        "dub_params.source_lang": asked(input=[VIDEO], dub_params=dub(source_lang=text)),
    }
    listing = dict.fromkeys(("status", "ids", "source", "project_id", "limit", "cursor"))
    return {
        **{place: request_problems(request) for place, request in requests.items()},
        "generation_id": argument_problems(generation_id=text),
        "idempotency_key": argument_problems(idempotency_key=text),
        "estimate": estimate_problems(model=text, duration=1.0, fps=None),
        "cursor": list_problems(**{**listing, "cursor": text, "limit": 1}),
        "ids[0]": list_problems(**{**listing, "ids": [text]}),
    }


@pytest.mark.parametrize("character", "\u00ad\u200b\u200d\u202e\u2060\ufe0f\ufeff\u3164\U000e0041")
@pytest.mark.parametrize("text", ["a{}b", "{}ab", "ab{}"])
def test_it_is_refused_where_it_does_harm(text: str, character: str) -> None:
    """An address, an id or a code with one is another than it looks; the message shows it."""
    for place, told in places(text.format(character)).items():
        assert told != [], place
        assert all(line.isprintable() and character not in line for line in told), place
        first = told[0]
        assert f"U+{ord(character):04X}" in first or ascii(character)[1:-1] in first, place


@pytest.mark.parametrize("text", [" ab", "ab ", "\xa0ab", "ab\u3000", "\tab", "ab\n"])
def test_a_blank_at_the_ends_is_refused_too(text: str) -> None:
    """It comes along in copying, and makes another id."""
    for place, told in places(text).items():
        assert told != [], place


@pytest.mark.parametrize("name", ["第一話　第二場", "scène 1", "сцена-1", "prise\xa01", "🎬 1"])
def test_names_of_any_script_are_fine(name: str) -> None:
    """Inside of an id, a blank of another width is what its author typed."""
    assert request_problems(asked(request_id=name, project_id=name)) == []


@pytest.mark.parametrize(
    "url",
    [
        *("https://h/видео.mp4", "https://h/日本語.mp4", "https://h/🎬.mp4", "https://h/v?n=é"),
        *("https://h/%E2%80%8B.mp4", "https://bücher.example/v.mp4", "https://h/e\u0301.mp4"),
    ],
)
def test_addresses_of_any_script_are_fine(url: str) -> None:
    """Only what no one sees is refused; who means it writes it percent-encoded."""
    assert request_problems(asked(input=[Video(url), Audio(url)], webhook_url=url)) == []


SPOKEN = ["👩‍💻 می‌خواهم", "a\u00adb", "\u200fשלום", "❤️"]
SILENT = ["\u200b", " \u2060\n", "\ufe0f", "\u3164", "\u2800"]


@pytest.mark.parametrize("script", SPOKEN + SILENT)
def test_a_script_in_which_nothing_is_seen_is_empty(script: str) -> None:
    """Joiners make emoji and words; silence would be spoken and paid for."""
    voice = Text(ElevenLabs(voice_id="v", script=script))
    expected = ["input[1].provider.script: must not be empty"] * (script in SILENT)
    assert request_problems(asked(input=[VIDEO, voice])) == expected


def test_a_file_with_one_in_its_name_is_sent_if_it_is_there(tmp_path: Path) -> None:
    """The disk tells what is meant; of a file that is not there the name is made visible."""
    (tmp_path / "❤️\u200b.png").write_bytes(b"picture")
    right = asked(model="sync-3", input=[Image(file=tmp_path / "❤️\u200b.png"), AUDIO])
    assert request_problems(right) == []
    (told,) = request_problems(asked(input=[Video(file=tmp_path / "v\u200b.mp4"), AUDIO]))
    assert "v\\u200b.mp4'; it holds U+200B (ZERO WIDTH SPACE), which is not seen" in told
    (told,) = request_problems(asked(input=[Video(file=tmp_path / "v\ufe0f.mp4"), AUDIO]))
    assert "v\\ufe0f.mp4'; it holds U+FE0F (VARIATION SELECTOR-16)" in told
