"""What an idempotency key stands for."""

from pathlib import Path

import anyio
import pytest
from hypothesis import given, strategies as st

from lipsync_async.sandbox.server.api_errors import ApiError
from lipsync_async.sandbox.server.idempotency import IdempotencyKeys, checked_key, fingerprint
from lipsync_async.sandbox.server.messages import Form, Request, StoredFile

BODIES = st.sampled_from("abc")
REQUESTS = st.lists(st.tuples(st.sampled_from(["k1", "k2"]), BODIES, st.booleans()), max_size=20)


@given(requests=REQUESTS)
def test_a_key_stands_for_one_body_and_one_generation(
    requests: list[tuple[str, str, bool]],
) -> None:
    """The first accepted body owns the key; refused ones leave it free."""

    async def play() -> None:
        keys, owners = IdempotencyKeys(), dict[str, tuple[str, str]]()
        for number, (key, body, is_accepted) in enumerate(requests):
            owner = owners.get(key)
            if owner is not None and owner[0] != body:
                with pytest.raises(ApiError) as caught:
                    await keys.claim(key, body)
                expected = (409, "IDEMPOTENCY_KEY_REUSED")
                assert (caught.value.status, caught.value.body["errorCode"]) == expected
                continue
            assert await keys.claim(key, body) == (owner and owner[1])
            if owner is None:
                keys.release(key, str(number) if is_accepted else None)
                owners |= {key: (body, str(number))} if is_accepted else {}

    anyio.run(play)


@given(key=st.from_regex(r"[A-Za-z0-9._~-]{1,128}", fullmatch=True))
def test_documented_keys_may_be_used(key: str) -> None:
    """Every key of the documented alphabet and length passes."""
    assert checked_key(key) == key


@given(key=st.text(max_size=3).filter(lambda text: not text.isascii()) | st.just(""))
def test_other_keys_may_not(key: str) -> None:
    """Empty keys and other letters do not."""
    with pytest.raises(ApiError):
        checked_key(key)


def test_order_and_spelling_do_not_matter_to_a_fingerprint() -> None:
    """Values decide; of files, their bytes and not their names."""
    bodies = [{"a": 1, "b": [1.0]}, {"b": [1.0], "a": 1}]
    assert len({fingerprint(Request("POST", "/", data=body)) for body in bodies}) == 1
    files = [{"video": StoredFile(Path(name), name, "video/mp4", 1, "same")} for name in ("a", "b")]
    forms = [Form({"model": ["x"]}, held) for held in files]
    assert len({fingerprint(Request("POST", "/", form=form)) for form in forms}) == 1
