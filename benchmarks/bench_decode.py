"""Decoding beside `json.loads` alone, which is the least that any client must do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sync.common import Generation as PeerGeneration
from sync.core.unchecked_base_model import construct_type

from benchmarks.measuring import Duel, race, repeated
from benchmarks.payloads import HUNDRED, ONE
from benchmarks.ratios import Ratio
from lipsync_async import Generation, Response
from lipsync_async._logic import endpoints
from lipsync_async._logic.codec import decode, loads

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

_ROUNDS = 60


def _read_one() -> Generation:
    return decode(Generation, loads(ONE))


def _read_one_as_peer() -> Any:
    """Do what `syncsdk` does with the bytes of an answer (httpx reads JSON by `json`)."""
    return construct_type(type_=PeerGeneration, object_=json.loads(ONE))


def test_decode_one(benchmark: BenchmarkFixture, report: Callable[[Ratio], None]) -> None:
    """Read one generation from its bytes."""
    assert _read_one().id == _read_one_as_peer().id
    duel = Duel(
        {
            "loads": repeated(lambda: json.loads(ONE), 500),
            "ours": repeated(_read_one, 500),
            "peer": repeated(_read_one_as_peer, 10),
        },
    )
    race(benchmark, duel, rounds=_ROUNDS)
    loads, ours, peer = (duel.seconds(name) for name in ("loads", "ours", "peer"))
    report(Ratio(what="decode one, in µs", measured=ours * 1e6))
    report(Ratio(what="decode one / json.loads", measured=ours / loads, at_most=3.5))
    report(Ratio(what="decode one: syncsdk / json.loads", measured=peer / loads))


def test_decode_hundred(benchmark: BenchmarkFixture, report: Callable[[Ratio], None]) -> None:
    """Read a page of a hundred generations, as the client does."""
    page = Response("GET", "http://127.0.0.1/v2/generations", 200, {}, HUNDRED)
    read = endpoints.list_generations().read
    assert len(read(page)) == 100
    duel = Duel(
        {
            "loads": repeated(lambda: json.loads(HUNDRED), 10),
            "ours": repeated(lambda: read(page), 5),
        },
    )
    race(benchmark, duel, rounds=_ROUNDS)
    loads, ours = duel.seconds("loads"), duel.seconds("ours")
    report(Ratio(what="decode a page of 100, in µs", measured=ours * 1e6))
    report(Ratio(what="decode a page of 100 / json.loads", measured=ours / loads))
