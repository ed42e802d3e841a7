"""Numbers that no service can hold are somebody's mistake, never the sandbox's."""

import pytest

from tests.sandbox.clients import VIDEO, Client, created, order

HUGE_INTEGER = "9" * 400  # a number, but none that a double holds
ENDLESS_INTEGER = "9" * 5000  # Python refuses to read it
UNREADABLE = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", HUGE_INTEGER, ENDLESS_INTEGER]
HUGE = "1e308"  # a finite double; sums with it are not

INPUT = f'"input": [{{"type": "video", "url": "{VIDEO["url"]}"}}, %s]'
SPEAKER = '"options": {"active_speaker_detection": {%s}}'
SEGMENT = '"segments": [{"startTime": 0, "endTime": %s, "audioInput": {"refId": "a"%s}}]'
SPOTS = {  # with the status that the largest number gets there
    "segment": (SEGMENT % ("NUMBER", ""), 201),
    "crop": (SEGMENT % ("1", ', "startTime": 0, "endTime": NUMBER'), 201),
    "temperature": ('"options": {"temperature": NUMBER}', 400),
    "point": (SPEAKER % '"frame_number": 0, "coordinates": [0, NUMBER]', 201),
    "frame": (SPEAKER % '"frame_number": NUMBER, "coordinates": [0, 0]', 400),
    "box": (SPEAKER % '"bounding_boxes": [[0, 0, NUMBER, 1]]', 201),
    "unknown field": ('"options": {"unknown": NUMBER}', 201),
}


def body_with(spot: str, number: str) -> bytes:
    """Return a create body that is fine but for a number."""
    inputs = INPUT % '{"type": "audio", "url": "http://localhost:9/line.wav", "refId": "a"}'
    body = f'{{"model": "lipsync-2", {inputs}, {SPOTS[spot][0]}}}'
    return body.replace("NUMBER", number).encode()


@pytest.mark.parametrize("number", UNREADABLE, ids=lambda number: number[:12])
@pytest.mark.parametrize("spot", SPOTS)
async def test_a_number_that_cannot_be_read_is_400(client: Client, spot: str, number: str) -> None:
    """Wherever it stands, it is no JSON that a service could answer in."""
    answer = await client.send("POST", "/v2/generate", body_with(spot, number))
    assert (answer.status, "not valid JSON" in answer.json["message"]) == (400, True)


@pytest.mark.parametrize("spot", SPOTS)
async def test_the_largest_numbers_do_no_harm(client: Client, spot: str) -> None:
    """They pass or are refused by the rules of their field, and are echoed as they came."""
    answer = await client.send("POST", "/v2/generate", body_with(spot, HUGE))
    listed = await client.send("GET", "/v2/generations")
    assert (answer.status, listed.status) == (SPOTS[spot][1], 200)
    assert len(listed.json) == (answer.status == 201)


@pytest.mark.parametrize("number", [*UNREADABLE, HUGE], ids=lambda number: number[:12])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v2/generations/estimate", '{"model": "lipsync-2", "duration": NUMBER, "fps": 25}'),
        ("/v2/generations/estimate", '{"model": "lipsync-2", "duration": 1, "fps": NUMBER}'),
        ("/__sandbox/clock", '{"advance": NUMBER}'),
        ("/__sandbox/faults", '{"kind": "latency", "seconds": NUMBER}'),
    ],
    ids=["duration", "fps", "clock", "fault"],
)
async def test_no_bill_date_or_pause_is_without_end(
    client: Client, path: str, body: str, number: str
) -> None:
    """Nothing is changed that could not be counted or listed; the clock stays in the calendar."""
    answer = await client.send("POST", path, body.replace("NUMBER", number).encode())
    assert (answer.status, len(client.sandbox.faults)) == (400, 0)
    assert (await client.send("POST", "/v2/generate", order())).status == 201


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", f"/v2/generations?limit={ENDLESS_INTEGER}", {}),
        ("POST", "/v2/generate", {"x-sandbox-progression": f"polls({HUGE_INTEGER})"}),
        ("POST", "/v2/generate", {"x-sandbox-progression": f"time(1-{HUGE_INTEGER})"}),
    ],
)
async def test_numbers_in_text_are_400(
    client: Client, method: str, path: str, headers: dict[str, str]
) -> None:
    """Queries and headers are read with as much care as bodies."""
    await created(client)
    body = order() if method == "POST" else None
    assert (await client.send(method, path, body, headers=headers)).status == 400
