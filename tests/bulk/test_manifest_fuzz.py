"""Manifests of garbage: whatever a file holds, the answer is requests or lines of words."""

from __future__ import annotations

import csv
import json
import re
import tempfile
from io import StringIO
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings, strategies as st

from lipsync_async._bulk.manifest import COLUMNS
from lipsync_async._logic.codec import WIRE_NAMES
from tests.bulk.manifests import BODY, LINE, body, problems

FOLDER = Path(tempfile.gettempdir()) / "there-is-no-such-folder"
PROBLEM = re.compile(r"(manifest|line [1-9][0-9]*): \S.*")
NAMES = st.sampled_from(
    [
        *{name for names in WIRE_NAMES.values() for name in names.values()},
        *("type", "url", "file", "provider", "model", "input", "options", "segments", "name"),
        *("request_id", "endpoint", "payload"),
    ]
)
GARBAGE: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=20),
        st.sampled_from(["video", "audio", "text", "https://h/v", "/v2/generate", "\ud800", "a\0"]),
        st.just(BODY),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
CELLS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", "lipsync-2", "https://h/v", "0.5", "true", "loop", 'a"b', "c\nd", "e,f"]),
)
# A busy machine is no reason to fail: what is looked for is a traceback.
unhurried = settings(deadline=None)

# (the end of the script, whether the row is good, blank lines before it)
ROWS = st.tuples(st.text("ab \n", max_size=6), st.booleans(), st.integers(0, 2))


def check(told: list[str]) -> None:
    """See that problems are lines of words, in the order of the file."""
    assert [problem for problem in told if not PROBLEM.fullmatch(problem)] == []
    assert [problem for problem in told if len(problem) > 1000] == []
    lines = [int(problem.split()[1].rstrip(":")) for problem in told if problem[0] == "l"]
    assert lines == sorted(lines)


@unhurried
@given(st.binary(max_size=200), st.sampled_from([".jsonl", ".csv"]))
@example(b"\x00", ".csv")
@example(b'"\r"\r\n"', ".csv")
@example(b"model\x85\xc2\x85", ".csv")
def test_any_bytes_are_judged_in_words(data: bytes, suffix: str) -> None:
    """No file, however damaged, ends in a traceback."""
    check(problems(data, FOLDER, suffix))


@unhurried
@given(st.lists(GARBAGE, max_size=4))
@example([BODY])
def test_any_json_is_judged_in_words(values: list[Any]) -> None:
    """Objects of known names with odd contents are where a reader would stumble."""
    check(problems("\n".join(map(json.dumps, values)), FOLDER, ".jsonl"))


@unhurried
@given(st.dictionaries(NAMES, GARBAGE, max_size=5))
@example({})
def test_any_change_of_a_body_is_judged_in_words(changes: dict[str, Any]) -> None:
    """So are good bodies of which only a part is odd."""
    check(problems(json.dumps(body(**changes)), FOLDER, ".jsonl"))


@unhurried
@given(
    st.lists(st.sampled_from([*COLUMNS]) | CELLS, max_size=6),
    st.lists(st.lists(CELLS, max_size=6), max_size=4),
    st.sampled_from(",;\t"),
)
@example(["model", "video_url", "audio_url"], [["x", "https://h/v", "https://h/a"]], ",")
def test_any_table_is_judged_in_words(
    header: list[str], rows: list[list[str]], separator: str
) -> None:
    """Well-formed tables of any cells under any header are judged cell by cell."""
    written = StringIO()
    csv.writer(written, delimiter=separator).writerows([header, *rows])
    data = written.getvalue().encode("utf-8", "surrogatepass")
    check(problems(data, FOLDER, ".csv"))


@unhurried
@given(st.lists(st.sampled_from([LINE, "", "{}", "[]", "nonsense", " \r"]), max_size=10))
def test_lines_are_counted_as_editors_count_them(lines: list[str]) -> None:
    """Each bad line is told under its own number, and no good or blank one is."""
    told = problems("\n".join(lines), FOLDER, ".jsonl")
    named = {int(problem.split()[1].rstrip(":")) for problem in told if problem[0] == "l"}
    bad = {number for number, line in enumerate(lines, 1) if line.strip() not in {LINE, ""}}
    assert named == bad
    assert bool(told) is (bool(bad) or LINE not in lines)


@unhurried
@given(
    st.lists(st.tuples(st.text("ab \n", max_size=6), st.booleans(), st.integers(0, 2)), max_size=6)
)
def test_rows_are_counted_by_the_lines_that_they_take(rows: list[tuple[str, bool, int]]) -> None:
    """Breaks inside quotes and blank lines move the rows below them, and only those."""
    text, line, bad = "model,video_url,voice_id,script\n", 2, []
    for script, is_good, blanks in rows:
        url = "https://h/v" if is_good else "nowhere"
        text += "\n" * blanks + f'x,{url},v,"a{script}"\n'
        line += blanks
        if not is_good:
            bad.append(f"line {line}")
        line += 1 + script.count("\n")
    told = problems(text, FOLDER, ".csv")
    assert [problem.split(":")[0] for problem in told if rows] == bad
