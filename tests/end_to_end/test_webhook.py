from collections.abc import AsyncIterator

import anyio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from lipsync_async import (
    AsyncClient,
    Audio,
    ElevenLabs,
    Generation,
    GenerationFailedError,
    Status,
    Text,
    Video,
)
from lipsync_async.sandbox import Sandbox
from lipsync_async.webhooks import SIGNATURE_HEADER, WebhookVerificationError, parse, verify
from tests.end_to_end.conftest import Make

PATIENCE = 10.0  # seconds; a webhook that never comes fails its test instead of hanging


class Receiver:
    """Take in webhooks as a user's own server would."""

    def __init__(self) -> None:
        self.deliveries: list[tuple[bytes, str | None]] = []
        self.has_one = anyio.Event()

    async def take(self, request: web.Request) -> web.Response:
        """Keep the raw body and the signature."""
        self.deliveries.append((await request.read(), request.headers.get(SIGNATURE_HEADER)))
        self.has_one.set()
        return web.Response()


@pytest.fixture
async def receiver() -> Receiver:
    """Start without deliveries."""
    return Receiver()


@pytest.fixture
async def hook(receiver: Receiver) -> AsyncIterator[str]:
    """Serve the receiver and return its URL."""
    application = web.Application()
    application.router.add_post("/hook", receiver.take)
    async with TestServer(application) as server:
        yield str(server.make_url("/hook"))


async def run(client: AsyncClient, video: str, audio: str, hook: str) -> Generation:
    """Order a generation that tells a hook of its end."""
    return await client.generations.run(
        model="lipsync-2", input=[Video(video), Audio(audio)], webhook_url=hook
    )


async def test_a_receiver_gets_the_bytes_that_were_signed(
    client: AsyncClient, sandbox: Sandbox, head: Make, receiver: Receiver, hook: str
) -> None:
    """What arrives over HTTP verifies byte for byte, and no longer once it is changed."""
    line = Text(ElevenLabs(voice_id="anybody", script="Grüße, ça va, 你好!"))
    generation = await client.generations.run(
        model="lipsync-2", input=[Video(sandbox.host_file(head(0.8))), line], webhook_url=hook
    )
    with anyio.fail_after(PATIENCE):
        await receiver.has_one.wait()
    ((body, signature),) = receiver.deliveries
    verify(body, signature, sandbox.webhook_secret)
    event = parse(body)
    assert (event.id, event.status) == (generation.id, Status.COMPLETED)
    assert event.input[1]["provider"]["script"] == line.provider.script
    with pytest.raises(WebhookVerificationError):
        verify(body + b" ", signature, sandbox.webhook_secret)
    with pytest.raises(WebhookVerificationError):
        verify(body, signature, "whsec_another")


async def test_a_failure_is_told_with_its_code(
    client: AsyncClient, sandbox: Sandbox, speech: Make, receiver: Receiver, hook: str
) -> None:
    """The webhook of a failed job has the code that the error has."""
    audio = sandbox.host_file(speech(0.4))
    with pytest.raises(GenerationFailedError) as caught:
        await run(client, hook.replace("/hook", "/gone.mp4"), audio, hook)
    with anyio.fail_after(PATIENCE):
        await receiver.has_one.wait()
    ((body, signature),) = receiver.deliveries
    verify(body, signature, sandbox.webhook_secret)
    event = parse(body)
    assert event.status == Status.FAILED
    assert event.error_code == caught.value.code == "generation_input_video_inaccessible"
    assert event.output_url is None
