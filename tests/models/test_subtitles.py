"""Transcripts: their text, and subtitles made of them."""

import re

import pytest
from hypothesis import given, strategies as st

from lipsync_async import Transcript, TranscriptSegment, Word

WORDS = st.builds(
    Word,
    id=st.just("w"),
    text=st.text(max_size=5) | st.sampled_from(["Hello", "-->", "--", ">", "<b>", "&", "\r\n\n"]),
    start_ms=st.integers(-5, 4_000_000_000),
    end_ms=st.integers(-5, 4_000_000_000),
)
TRANSCRIPTS = st.builds(
    Transcript,
    segments=st.lists(st.builds(TranscriptSegment, words=st.lists(WORDS, max_size=3)), max_size=3),
)
TIMING = re.compile(r"(\d{2,}):([0-5]\d):([0-5]\d)([,.])(\d{3})")


def spoken(*lines: tuple[str, int, int]) -> Transcript:
    """Return a transcript whose segments are these lines, each within its time."""
    segments = []
    for line, start, end in lines:
        first, *others = line.split(" ")
        words = [Word(id="w", text=first, start_ms=start, end_ms=start + 1)]
        words += [Word(id="w", text=word, start_ms=end - 1, end_ms=end) for word in others]
        segments.append(TranscriptSegment(words=words))
    return Transcript(segments=segments)


EXAMPLE = spoken(("Hello there.", 0, 1_502), ("5 < 6 & 7", 3_599_999, 363_600_001))


def test_subrip() -> None:
    """Subtitles are numbered; hours may have three digits."""
    assert EXAMPLE.to_srt() == (
        "1\n00:00:00,000 --> 00:00:01,502\nHello there.\n\n"
        "2\n00:59:59,999 --> 101:00:00,001\n5 < 6 & 7\n"
    )


def test_webvtt() -> None:
    """Markup is escaped."""
    assert EXAMPLE.to_vtt() == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.502\nHello there.\n\n"
        "00:59:59.999 --> 101:00:00.001\n5 &lt; 6 &amp; 7\n"
    )


@pytest.mark.parametrize("transcript", [Transcript(), spoken((" ", 0, 9)), spoken(("", 0, 9))])
def test_silence_has_no_subtitles(transcript: Transcript) -> None:
    """Where nothing is said, there is nothing to show."""
    assert (transcript.to_srt(), transcript.to_vtt()) == ("", "WEBVTT\n")


@given(TRANSCRIPTS)
def test_any_transcript_makes_sound_subtitles(transcript: Transcript) -> None:
    """Each segment with words is one subtitle with one line that does not end before it begins."""
    lines = [" ".join(segment.text.split()) for segment in transcript.segments]
    wanted = [line.replace("-->", "→") for line in lines if line]
    srt, vtt = transcript.to_srt(), transcript.to_vtt()
    cues = [block.split("\n") for block in srt.rstrip("\n").split("\n\n") if block]
    assert [(number, text) for number, _, text in cues] == [
        (str(number), text) for number, text in enumerate(wanted, 1)
    ]
    timings = [timing for _, timing, _ in cues]
    for timing in timings:
        begin, end = (
            [int(part) for part in groups[:3] + groups[4:]] for groups in TIMING.findall(timing)
        )
        assert begin <= end
    head, *blocks = vtt.rstrip("\n").split("\n\n")
    assert head == "WEBVTT"
    assert [block.split("\n")[0].replace(".", ",") for block in blocks] == timings
    assert [block.split("\n")[1].count("<") for block in blocks] == [0] * len(wanted)


def test_a_transcript_is_text() -> None:
    """It is there as words and as lines."""
    assert EXAMPLE.text == "Hello there.\n5 < 6 & 7"
    assert [word.text for word in EXAMPLE.words[:3]] == ["Hello", "there.", "5"]
