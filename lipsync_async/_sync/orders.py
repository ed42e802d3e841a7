# Generated from lipsync_async/_async/orders.py by lipsync_async/_tools/mirror.
# Change that file, not this one, and run `nox -s regenerate`.

"""Placing orders for generations, and asking what they would cost."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lipsync_async._portal.portal import SyncWrapper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lipsync_async._async.orders import AsyncOrders
    from lipsync_async._models.request import DubParams, GenerationRequest, Input, Options, Segment
    from lipsync_async._models.response import CostEstimate, Generation


class Orders(SyncWrapper):
    """Place orders. A part of `client.generations`."""

    _source: AsyncOrders

    def create(
        self,
        request: GenerationRequest | None = None,
        *,
        model: str | None = None,
        input: Sequence[Input] = (),  # noqa: A002 - the wire's name
        options: Options | None = None,
        segments: Sequence[Segment] | None = None,
        webhook_url: str | None = None,
        output_file_name: str | None = None,
        project_id: str | None = None,
        dub_params: DubParams | None = None,
        idempotency_key: str | None = None,
    ) -> Generation:
        """Order a generation and return it as the service accepted it, usually PENDING.

        Wire: `POST /v2/generate`, as JSON, or as a form when an input is a local file.

        The order carries one Idempotency-Key through all its tries, so that it is never
        placed, or paid for, twice.

        Args:
            request: The whole order; or give its fields one by one.
            model: See `GenerationRequest`, as for all fields down to `dub_params`.
            input: The video or image, and the audio or text.
            options: How the lips are made.
            segments: Time ranges of the video with an audio each.
            webhook_url: Gets a POST when the job has ended.
            output_file_name: Base name of the result, without extension.
            project_id: UUID of a project.
            dub_params: Dub the video's own speech.
            idempotency_key: 1 to 128 of `A-Za-z0-9._~-`; `None`: a new one is made. Pass
                your own, stored beforehand, to be able to repeat the call after a crash.

        Returns:
            The generation, its `idempotency_key` included.

        Raises:
            InvalidRequestError: The order is wrong; nothing was sent.
            ResponseError: The service refused it; the class tells the status.
            TransportError: No answer came, retries included; `.idempotency_key` is kept.
            DecodeError: The answer cannot be read; `.idempotency_key` is kept.

        Example:
            `client.generations.create(model="lipsync-2", input=[Video(v), Audio(a)])`

        Source: contract sections 0, 2.2 and 4.4.
        """
        return self._portal.call(
            partial(
                self._source.create,
                request,
                model=model,
                input=input,
                options=options,
                segments=segments,
                webhook_url=webhook_url,
                output_file_name=output_file_name,
                project_id=project_id,
                dub_params=dub_params,
                idempotency_key=idempotency_key,
            ),
        )

    def estimate(self, request: GenerationRequest) -> CostEstimate:
        """Return what an order would cost; the service looks at its media for that.

        Wire: `POST /v2/analyze/cost`

        Args:
            request: The order. Its inputs are urls or assets; for local files, see
                `estimate_duration`.

        Raises:
            InvalidRequestError: The order is wrong; nothing was sent.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: contract section 2.9.
        """
        return self._portal.call(partial(self._source.estimate, request))

    def estimate_duration(
        self,
        *,
        model: str,
        duration: float,
        fps: float | None = None,
        reasoning_enabled: bool | None = None,
    ) -> CostEstimate:
        """Return what a result of a known length would cost.

        Wire: `POST /v2/generations/estimate`

        Args:
            model: The model's name.
            duration: Seconds of output, more than 0.
            fps: Output frames a second; `None`: the service's 30.
            reasoning_enabled: As in `Options`; it changes the price.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            UnprocessableError: The service has no price for it.
            ResponseError: The service refused.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: contract section 2.9.
        """
        return self._portal.call(
            partial(
                self._source.estimate_duration,
                model=model,
                duration=duration,
                fps=fps,
                reasoning_enabled=reasoning_enabled,
            ),
        )
