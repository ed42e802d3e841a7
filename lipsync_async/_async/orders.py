"""Placing orders for generations, and asking what they would cost."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import attrs

from lipsync_async._async.resource import AsyncResource
from lipsync_async._callsite import is_from_callback, tell_left, under_way
from lipsync_async._logic import endpoints, validation
from lipsync_async._models.request import GenerationRequest
from lipsync_async.errors import InvalidRequestError, LipsyncError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lipsync_async._models.request import DubParams, Input, Options, Segment
    from lipsync_async._models.response import CostEstimate, Generation

# No error of ours leaves a cancelled call, and the order may have been accepted all the same.
_MAY_HAVE_WORKED = (
    "A create was left while under way and may have worked. To find out without paying twice, "
    "repeat it with idempotency_key={key!r}."
)
# Lines from `validation.check_request` up to the user's own, for the warnings.
_TO_THE_CALLER = 3


class AsyncOrders(AsyncResource):
    """Place orders. A part of `client.generations`."""

    async def create(
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
            `await client.generations.create(model="lipsync-2", input=[Video(v), Audio(a)])`

        Source: contract sections 0, 2.2 and 4.4.
        """
        order = whole_order(
            request,
            GenerationRequest(
                model="" if model is None else model,
                input=input,
                options=options,
                segments=segments,
                webhook_url=webhook_url,
                output_file_name=output_file_name,
                project_id=project_id,
                dub_params=dub_params,
            ),
        )
        return await self._place(order, idempotency_key)

    async def _place(self, order: GenerationRequest, idempotency_key: str | None) -> Generation:
        key = str(uuid.uuid4()) if idempotency_key is None else idempotency_key
        refuse(validation.idempotency_key_problems(key))
        key = str.__str__(key)
        validation.check_request(order, stacklevel=_TO_THE_CALLER)
        call = endpoints.create_generation(order, idempotency_key=key)
        left = _MAY_HAVE_WORKED.format(key=key)
        try:
            with under_way(lambda: [left] if call.is_sent else []):
                return await self._requester.execute(call, self._options)
        except BaseException as error:
            # An error of ours names the key by itself.
            if call.is_sent and (not isinstance(error, LipsyncError) or is_from_callback(error)):
                tell_left(error, left)
            raise

    async def estimate(self, request: GenerationRequest) -> CostEstimate:
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
        validation.check_request(request, stacklevel=_TO_THE_CALLER - 1)
        refuse(validation.upload_problems(request))
        return await self._requester.execute(endpoints.estimate_request(request), self._options)

    async def estimate_duration(
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
        refuse(validation.estimate_problems(model=model, duration=duration, fps=fps))
        call = endpoints.estimate_duration(
            model=model,
            duration=duration,
            fps=fps,
            reasoning_enabled=reasoning_enabled,
        )
        return await self._requester.execute(call, self._options)


def whole_order(request: GenerationRequest | None, fields: GenerationRequest) -> GenerationRequest:
    """Take the order whole or by fields, but not both: one of them would be ignored."""
    if request is None:
        return fields
    # Looked at one by one: what a caller gives may raise when it is compared.
    given = (getattr(fields, name) for name in attrs.fields_dict(GenerationRequest))
    if any(
        not (value is None or (type(value) in {str, list, tuple} and not value)) for value in given
    ):
        raise InvalidRequestError(["request: give a GenerationRequest or its fields, not both"])
    return request


def refuse(problems: Sequence[str]) -> None:
    if problems:
        raise InvalidRequestError(problems)
