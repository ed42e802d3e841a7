from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from lipsync_async._models.request import (
    ActiveSpeaker,
    Audio,
    DubParams,
    ElevenLabs,
    GenerationRequest,
    Image,
    Options,
    Segment,
    SegmentAudio,
    Text,
    UnknownInput,
    Video,
)

VOICE = ElevenLabs(voice_id="v", script="Hello.")
SEGMENT = Segment(start_time=0, end_time=1, audio_input=SegmentAudio("a1"))
VALUES = [
    *(Video("https://h/v.mp4"), Image(asset_id="a"), Audio(file=b"sound"), VOICE, Text(VOICE)),
    *(ActiveSpeaker(auto_detect=True), Options(sync_mode="loop"), DubParams(target_lang="de")),
    *(SegmentAudio("a1", start_time=0, end_time=1), SEGMENT),
    GenerationRequest(model="m", input=[Video("v"), Audio("a")], segments=[SEGMENT]),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_orders_are_frozen_values(value: Any) -> None:
    """What was ordered cannot change afterwards, compares by content and hashes."""
    name = attrs.fields(type(value))[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, name, None)
    assert attrs.evolve(value) == value
    assert {value: "found"}[attrs.evolve(value)] == "found"


@given(st.lists(st.builds(Video, st.text()), max_size=3))
def test_a_request_copies_its_list(videos: list[Video]) -> None:
    """A list may be changed after it was handed over; the request stays as it was."""
    request = GenerationRequest(model="m", input=videos)
    expected = [*videos]
    videos.append(Video("later"))
    assert request.input == expected


@pytest.mark.parametrize("value", [None, 5, "text", {1, 2}, {"type": "video"}])
def test_everything_else_is_left_to_validation(value: Any) -> None:
    """What is no list is neither changed nor refused here: one error names it later."""
    speaker = ActiveSpeaker(coordinates=value)
    assert GenerationRequest(model="m", input=value).input is value
    assert speaker.coordinates is value


@pytest.mark.parametrize("kind", [Video, Image, Audio])
def test_files_are_not_in_a_repr(kind: type[Video | Image | Audio]) -> None:
    """Gigabytes of media and private paths stay out of logs."""
    assert "secret" not in repr(kind(file=b"secret"))
    assert kind(file=b"one") != kind(file=b"two")


def test_the_obvious_field_comes_first() -> None:
    """A URL, a voice or a reference needs no keyword; all else does."""
    assert Video("u") == Video(url="u")
    assert Text(VOICE) == Text(provider=VOICE)
    assert SegmentAudio("a1") == SegmentAudio(ref_id="a1")
    assert UnknownInput("hologram", {}).type == "hologram"
    with pytest.raises(TypeError, match="positional"):
        Video("u", "asset")  # type: ignore[call-arg]


def test_dubbing_names_its_only_provider() -> None:
    """No one has to spell out what has no alternative."""
    assert DubParams(target_lang="de").provider_name == "elevenlabs"


def test_an_input_can_be_exchanged() -> None:
    """The input of a request is a list of its own; a hash does not depend on it."""
    first, second, voice = Video("https://h/1.mp4"), Video("https://h/2.mp4"), Audio("https://h/a")
    given: list[Any] = [first, voice]
    request = GenerationRequest(model="lipsync-2", input=given)
    before = hash(request)
    items = request.input
    assert isinstance(items, list)
    items[0] = second
    assert given == [first, voice]
    assert hash(request) == before
    assert request == GenerationRequest(model="lipsync-2", input=(second, voice))
