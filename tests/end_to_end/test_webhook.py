from collections.abc import AsyncIterator

import anyio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from lipsync_async import AsyncClient, Audio, ElevenLabs, GenerationFailedError, Status, Text, Video
from lipsync_async.sandbox import Sandbox
from lipsync_async.webhooks import (
    SIGNATURE_HEADER,
    GenerationEvent,
    WebhookVerificationError,
    unwrap,
)
from tests.end_to_end.conftest import Make
from tests.sandbox.clients import until

PATIENCE = 10.0  # seconds; a webhook that never comes fails its test instead of hanging


Deliveries = list[tuple[bytes, str | None]]  # raw bodies with their signatures


@pytest.fixture
def deliveries() -> Deliveries:
    """Start without deliveries."""
    return []


@pytest.fixture
async def hook(deliveries: Deliveries) -> AsyncIterator[str]:
    """Take in webhooks as a user's own server would; return its URL."""

    async def take(request: web.Request) -> web.Response:
        deliveries.append((await request.read(), request.headers.get(SIGNATURE_HEADER)))
        return web.Response()

    application = web.Application()
    application.router.add_post("/hook", take)
    async with TestServer(application) as server:
        yield str(server.make_url("/hook"))


async def test_a_receiver_gets_the_bytes_that_were_signed(
    client: AsyncClient, sandbox: Sandbox, head: Make, deliveries: Deliveries, hook: str
) -> None:
    """What arrives over HTTP verifies byte for byte, and no longer once it is changed."""
    line = Text(ElevenLabs(voice_id="anybody", script="Grüße, ça va, 你好!"))
    generation = await client.generations.run(
        model="lipsync-2", input=[Video(sandbox.host_file(head(0.8))), line], webhook_url=hook
    )
    with anyio.fail_after(PATIENCE):
        await until(lambda: deliveries)
    ((body, signature),) = deliveries
    event = unwrap(body, signature, sandbox.webhook_secret)
    assert isinstance(event, GenerationEvent)
    assert (event.id, event.status) == (generation.id, Status.COMPLETED)
    assert event.input[1]["provider"]["script"] == line.provider.script
    with pytest.raises(WebhookVerificationError):
        unwrap(body + b" ", signature, sandbox.webhook_secret)
    with pytest.raises(WebhookVerificationError):
        unwrap(body, signature, "whsec_another")


async def test_a_failure_is_told_with_its_code(
    client: AsyncClient, sandbox: Sandbox, speech: Make, deliveries: Deliveries, hook: str
) -> None:
    """The webhook of a failed job has the code that the error has."""
    gone = hook.replace("/hook", "/gone.mp4")
    inputs: list[Video | Audio] = [Video(gone), Audio(sandbox.host_file(speech(0.4)))]
    with pytest.raises(GenerationFailedError) as caught:
        await client.generations.run(model="lipsync-2", input=inputs, webhook_url=hook)
    with anyio.fail_after(PATIENCE):
        await until(lambda: deliveries)
    ((body, signature),) = deliveries
    event = unwrap(body, signature, sandbox.webhook_secret)
    assert isinstance(event, GenerationEvent)
    assert event.status == Status.FAILED
    assert event.error_code == caught.value.code == "generation_input_video_inaccessible"
    assert event.output_url is None
