from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Any

from hypothesis import given, strategies as st

from lipsync_async._enums import Model
from lipsync_async._logic.validation import (
    estimate_problems,
    generation_id_problems,
    idempotency_key_problems,
    list_problems,
    request_problems,
    request_warnings,
)
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
    Video,
)
from tests.logic.requests import segment, with_segments

PROBLEM = re.compile(r"(request|[a-z_]+(\[\d+\])?(\.[a-z_0-9]+(\[\d+\])?)*): \S.*")

SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(10**400), math.nan, math.inf, -math.inf]),
    st.floats(),
    st.text(),
    st.text(st.characters(categories=["Cs", "Cc"]), max_size=3),
    st.sampled_from(["https://[", "http://h:x/", "http://", "//", "a1", "sync-3", "\0", object()]),
    st.binary(max_size=5),
)
GARBAGE = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=2),
        st.frozensets(st.integers(), max_size=2),
    ),
    max_leaves=5,
)


def _mixed(kind: Any, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Build a value whose fields are sometimes meant well and sometimes garbage."""
    return st.builds(kind, **{name: given | GARBAGE for name, given in fields.items()})


_OPTIONS = _mixed(
    Options,
    sync_mode=st.just("loop"),
    temperature=st.just(1),
    active_speaker_detection=_mixed(
        ActiveSpeaker,
        auto_detect=st.just(value=True),
        frame_number=st.integers(0, 5),
        coordinates=st.lists(st.integers(0, 9), min_size=2, max_size=2),
        bounding_boxes=st.lists(st.none() | GARBAGE, max_size=3),
        bounding_boxes_url=st.just("https://h/b"),
    ),
)
_MEDIA = [
    _mixed(
        kind,
        url=st.just("https://h/v"),
        asset_id=st.none(),
        file=st.none() | st.just(b"x"),
        ref_id=st.sampled_from(["a1", "a2"]),
    )
    for kind in (Video, Image, Audio)
]
_INPUTS = st.one_of(
    *_MEDIA,
    _mixed(
        Text,
        provider=_mixed(ElevenLabs, voice_id=st.just("v"), script=st.text()),
        ref_id=st.just("a3"),
    ),
    _mixed(Video, segments_secs=st.lists(GARBAGE), segments_frames=st.lists(GARBAGE)),
)
_SEGMENTS = _mixed(
    Segment,
    start_time=st.floats(0, 3),
    end_time=st.floats(3, 5),
    audio_input=_mixed(
        SegmentAudio,
        ref_id=st.sampled_from(["a1", "a2"]),
        start_time=st.floats(0, 2),
        end_time=st.floats(0, 2),
    ),
    options_override=_OPTIONS,
)
REQUESTS = _mixed(
    GenerationRequest,
    model=st.sampled_from([*map(str, Model), "other"]),
    input=st.lists(_INPUTS | GARBAGE, max_size=3),
    options=_OPTIONS,
    segments=st.lists(_SEGMENTS | GARBAGE, max_size=3),
    webhook_url=st.just("http://localhost"),
    output_file_name=st.just("a"),
    project_id=st.just("p"),
    dub_params=_mixed(DubParams, target_lang=st.just("de")),
)


@given(request=GARBAGE | REQUESTS)
def test_any_request_is_judged_in_words(request: Any) -> None:
    """Whatever is handed over, each problem is one line with a path, and nothing is raised."""
    lines = [*request_problems(request), *request_warnings(request)]

    assert [line for line in lines if not PROBLEM.fullmatch(line)] == []
    assert [line for line in lines if len(line.encode()) > 1000] == []


@given(value=GARBAGE, other=GARBAGE)
def test_any_argument_is_judged_in_words(value: Any, other: Any) -> None:
    """The smaller checks survive anything as well."""
    lines = [
        *idempotency_key_problems(value),
        *generation_id_problems(value),
        *list_problems(
            status=value, ids=other, source=[value], project_id=value, limit=value, cursor=other
        ),
        *estimate_problems(model=value, duration=value, fps=other),
    ]

    assert [line for line in lines if not PROBLEM.fullmatch(line)] == []


@given(times=st.lists(st.floats(0, 1000), min_size=2, max_size=8).map(sorted))
def test_segments_in_order_are_fine_and_reversed_they_are_not(times: list[float]) -> None:
    """Segments that follow one another pass; the same ones backwards overlap or are unsorted."""
    parts = [segment(start, end) for start, end in pairwise(times)]
    backwards = [part for part in reversed(parts) if part.start_time < part.end_time]

    assert request_problems(GenerationRequest(**with_segments(*parts))) == []
    refused = request_problems(GenerationRequest(**with_segments(*backwards))) if backwards else []
    assert len(refused) == max(0, len(backwards) - 1)
