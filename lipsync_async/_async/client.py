"""The async client: settings, and the resources of the service."""

from __future__ import annotations

import os
import uuid
from copy import copy
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from lipsync_async._async.generations import AsyncGenerations, send
from lipsync_async._asyncio_tools import LoopLocal
from lipsync_async._logic import config, endpoints, validation
from lipsync_async._logic.secrecy import Headers, hidden
from lipsync_async._models.policies import Limits, PollPolicy, RetryPolicy
from lipsync_async._polling import Poller
from lipsync_async._rate_limits import AccountLimits, limits_for
from lipsync_async._requester import Requester, RequestOptions
from lipsync_async._stores import store_of
from lipsync_async.errors import ConfigurationError, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ssl import SSLContext
    from types import TracebackType
    from typing import Self

    from lipsync_async._async.account import AsyncAccountInfo
    from lipsync_async._async.assets import AsyncAssets
    from lipsync_async._async.batches import AsyncBatches
    from lipsync_async._async.dialogue import AsyncDialogueEdits, AsyncTranscriptions
    from lipsync_async._async.projects import AsyncProjects
    from lipsync_async._async.speech import AsyncTextToSpeech, AsyncVoices
    from lipsync_async._models.http import Response
    from lipsync_async._models.request import GenerationRequest
    from lipsync_async._models.response import ModelInfo
    from lipsync_async._stores.protocol import AccountStore
    from lipsync_async._transport.protocol import Session, Transport


@attrs.define(slots=False, eq=False, repr=False)
class AsyncModels:
    """Models that the account may use. Reached as `client.models`."""

    _requester: Requester
    _options: RequestOptions

    async def list(self) -> list[ModelInfo]:
        """Return the models; deprecated ones are left out by the service.

        Wire: `GET /v2/models`

        Raises:
            ResponseError: The service refused; AuthenticationError for a wrong key.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "List models", sync.so API reference.
        """
        return await self._requester.execute(endpoints.list_models(), self._options)


class _Unset(Enum):
    """Marker of an argument that was left out, where `None` has a meaning."""

    UNSET = auto()


_UNSET = _Unset.UNSET


class AsyncClient:
    """Client of the sync.so API for asyncio code.

    Use it as `async with AsyncClient() as client`, or call `aclose` in the end. One client
    serves any number of tasks of one event loop at once. It may be built anywhere, and
    used by several `asyncio.run` calls in a row.

    Args:
        api_key: The account's key; `None`: the environment's `SYNC_API_KEY`, read now.
        base_url: Where the service is; `None`: the environment's `SYNC_BASE_URL`, or
            `https://api.sync.so`; without the `/v2` of its paths. Plain http only to a
            loopback host, or with a sandbox's own key (`sandbox-...`).
        timeout: Seconds for one try of one request (uploads get a second more for each
            125,000 bytes of file); `None`: no limit.
        retry: How failed requests are tried again.
        poll: How waiting polls for a job.
        limits: How many requests may be sent in a minute, and how many jobs run at once;
            `None`: as every plan allows, 60 creates and 600 others, and as many jobs as the
            service turns out to run. All clients of a process that use the same key and
            address share them.
        on_response: Called, and awaited if need be, with each raw answer (status,
            headers, body), retries and polls included. Where an answer quotes the API key,
            `***` stands there instead.
        proxy: Address of an http(s) proxy for all requests, downloads and uploads, this
            machine's included, such as `http://user:password@proxy.example:3128`; an empty
            text: none; `None`: as `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`
            say now, which never count for this machine. `.netrc` is not read.
        ssl_context: How servers and proxies are trusted, and a client certificate;
            `None`: by the usual authorities, or those of `SSL_CERT_FILE`.
        headers: Further header fields of each request to the service, for a gateway, say;
            never sent to media hosts, nor to another server by a redirect.
        user_agent: What to put behind the client's own name, such as `my-program/1.0`.
        max_connections: Requests under way at once, from 1; up to 20 downloads come on top;
            `None`: 100.
        session: An `aiohttp.ClientSession` that carries the requests and is left open. Its
            own settings count then, and the environment's proxies do not.
        transport: What carries the requests; `None`: sockets. The sandbox has one that
            runs in memory, on a virtual clock.
        account: Account store, by which processes with the same key and base address share their
            limits, slots included: the address of a Redis (`redis://...`, `rediss://...`,
            `unix://...`) or PostgreSQL (`postgresql://...`) server, or an `AccountStore`, which
            you close yourself. An empty text: limits are not shared; `None`: the environment's
            `SYNC_ACCOUNT`.

    Raises:
        ConfigurationError: There is no key, or an argument cannot be used.

    Example:
        `async with AsyncClient() as client: await client.generations.get(job_id)`

    Source: "Authentication", sync.so API reference.
    """

    generations: AsyncGenerations
    models: AsyncModels

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        timeout: float | None = 60.0,
        retry: RetryPolicy | None = None,
        poll: PollPolicy | None = None,
        limits: Limits | None = None,
        on_response: Callable[[Response], object] | None = None,
        proxy: str | None = None,
        ssl_context: SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        user_agent: str | None = None,
        max_connections: int | None = None,
        session: Session | None = None,
        transport: Transport | None = None,
        account: str | AccountStore | None = None,
    ) -> None:
        # Tracebacks that list local variables must not show them.
        api_key = hidden(api_key)
        proxy = hidden(proxy)
        headers = hidden(headers)
        account = hidden(account) if isinstance(account, str) else account
        limits = Limits() if limits is None else limits
        options = RequestOptions(
            timeout,
            RetryPolicy() if retry is None else retry,
            PollPolicy() if poll is None else poll,
            on_response,
        )
        is_brought = transport is not None or session is not None
        settled, problems = config.settle(
            api_key,
            base_url,
            os.environ,
            proxy="" if is_brought and proxy is None else proxy,
            headers=headers,
            user_agent=user_agent,
        )
        find_limits: Callable[[], AccountLimits] = partial(limits_for, settled)
        self._store: AccountStore | None = None
        if account is not None or os.environ.get("SYNC_ACCOUNT"):
            self._store, store_problems = store_of(account, os.environ)
            problems += store_problems
        # A store that was passed in is left open.
        self._owns_store = self._store is not account
        policies = {
            "limits": (limits, Limits),
            "retry": (options.retry, RetryPolicy),
            "poll": (options.poll, PollPolicy),
        }
        problems += validation.argument_problems(timeout=timeout)
        if transport is None:
            problems += config.setting_problems(policies, on_response, ssl_context, max_connections)
            # Imported here: aiohttp takes 200 ms to import.
            from lipsync_async._transport import aiohttp  # noqa: PLC0415

            if session is not None:
                problems += aiohttp.session_problems(session)
            if problems:
                raise _refusal(problems)
            transport = aiohttp.AiohttpTransport(
                connections=max_connections,
                proxies=settled.proxies,
                ssl_context=ssl_context,
                session=session,
            )
        else:
            useless = {
                "proxy": proxy,
                "ssl_context": ssl_context,
                "session": session,
                "max_connections": max_connections,
            }
            problems += config.setting_problems(policies, on_response)
            problems += config.transport_problems(transport)
            problems += [
                f"{name} is of no use where transport= carries the requests; leave one out"
                for name, value in useless.items()
                if value is not None
            ]
            if problems:
                raise _refusal(problems)
            # It may have its own clock, so its requests cannot be counted with other clients'.
            find_limits = AccountLimits
        self._requester = Requester(transport, settled, find_limits, limits, self._store)
        self._pollers = LoopLocal(partial(Poller, self._requester, limits.requests_per_minute))
        self._options = options
        self.generations = AsyncGenerations(self._requester, options, self._pollers, _upload_inputs)
        self.models = AsyncModels(self._requester, options)

    @property
    def assets(self) -> AsyncAssets:
        """Files at the service: upload, register, list, change, delete."""
        from lipsync_async._async.assets import AsyncAssets  # noqa: PLC0415 - loaded when it is used

        return AsyncAssets(self._requester, self._options)

    @property
    def projects(self) -> AsyncProjects:
        """Folders of generations and assets."""
        from lipsync_async._async.projects import AsyncProjects  # noqa: PLC0415 - loaded when it is used

        return AsyncProjects(self._requester, self._options)

    @property
    def voices(self) -> AsyncVoices:
        """Voices that speak scripts; clones of your own."""
        from lipsync_async._async.speech import AsyncVoices  # noqa: PLC0415 - loaded when it is used

        return AsyncVoices(self._requester, self._options)

    @property
    def speech(self) -> AsyncTextToSpeech:
        """Speech made of a script, at once or as a job."""
        from lipsync_async._async.speech import AsyncTextToSpeech  # noqa: PLC0415 - loaded when it is used

        return AsyncTextToSpeech(self._requester, self._options)

    @property
    def transcriptions(self) -> AsyncTranscriptions:
        """What is said in a video or an audio."""
        from lipsync_async._async.dialogue import AsyncTranscriptions  # noqa: PLC0415 - loaded when it is used

        return AsyncTranscriptions(self._requester, self._options)

    @property
    def dialogue_edits(self) -> AsyncDialogueEdits:
        """Edits of what is said in a video (beta)."""
        from lipsync_async._async.dialogue import AsyncDialogueEdits  # noqa: PLC0415 - loaded when it is used

        return AsyncDialogueEdits(self._requester, self._options)

    @property
    def batches(self) -> AsyncBatches:
        """The service's batches: 20 to 500 requests in one."""
        from lipsync_async._async.batches import AsyncBatches  # noqa: PLC0415 - loaded when it is used

        return AsyncBatches(self._requester, self._options)

    @property
    def account(self) -> AsyncAccountInfo:
        """Plan, usage, error codes, webhook secret, feedback."""
        from lipsync_async._async.account import AsyncAccountInfo  # noqa: PLC0415 - loaded when it is used

        return AsyncAccountInfo(self._requester, self._options)

    def with_options(
        self,
        *,
        timeout: float | _Unset | None = _UNSET,
        retry: RetryPolicy | None = None,
        poll: PollPolicy | None = None,
        on_response: Callable[[Response], object] | _Unset | None = _UNSET,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, str] | None = None,
    ) -> Self:
        """Return a view of this client with other settings.

        The view shares connections, account and poller with this client; closing one closes
        both. When many wait at once, one poll serves all of them, with the settings of the
        task that makes it.

        Args:
            timeout: Seconds for one try of one request; `None`: no limit. Left out: as here.
            retry: How failed requests are tried again; `None`: as here.
            poll: How waiting polls for a job; `None`: as here.
            on_response: Called, and awaited if need be, with each raw answer; `None`: nothing
                is called. Left out: as here.
            extra_headers: Further header fields of the view's requests; `None`: as here. Polls
                that serve other tasks as well go without them, and without `extra_query`.
            extra_query: Further query parameters of the view's requests; `None`: as here. They
                are no place for secrets: errors and answers show their addresses.

        Raises:
            ConfigurationError: An argument cannot be used.

        Example:
            `client.with_options(timeout=5.0, retry=RetryPolicy(attempts=1))`

        """
        extra_headers = hidden(extra_headers)
        current = self._options
        options = RequestOptions(
            timeout=current.timeout if timeout is _UNSET else timeout,
            retry=current.retry if retry is None else retry,
            poll=current.poll if poll is None else poll,
            on_response=current.on_response if on_response is _UNSET else on_response,
            headers=current.headers,
            query=current.query if extra_query is None else extra_query,
        )
        policies = {"retry": (options.retry, RetryPolicy), "poll": (options.poll, PollPolicy)}
        problems = validation.argument_problems(timeout=options.timeout)
        problems += config.setting_problems(policies, options.on_response)
        problems += config.extra_problems(extra_headers, extra_query)
        if problems:
            raise _refusal(problems)
        if extra_headers is not None:
            fields = {name.lower(): value for name, value in extra_headers.items()}
            options = attrs.evolve(options, headers=Headers(fields))
        view = copy(self)
        view._options = options  # noqa: SLF001 - of this very class
        view.generations = AsyncGenerations(self._requester, options, self._pollers, _upload_inputs)
        view.models = AsyncModels(self._requester, options)
        return view

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        body: bytes | None = None,
        idempotency_key: str | None = None,
    ) -> Response:
        """Send a request that no verb covers, and return its answer: status, headers, bytes.

        The API key, limits, retries and errors are those of all verbs. If the outcome of a try
        is unknown, GET, HEAD and PUT are repeated; others only with `idempotency_key`. A create
        (`POST /v2/generate`) always carries a key; prefer `generations.create`.

        Args:
            method: GET, HEAD, POST, PUT, PATCH or DELETE.
            path: From the host on, percent-encoded, such as `/v2/assets?limit=10`.
            query: Parameters to add to the path.
            headers: Further header fields, such as `content-type`.
            json: What to send as JSON; or give `body`.
            body: The bytes to send.
            idempotency_key: 1 to 128 of `A-Za-z0-9._~-`, sent as `Idempotency-Key`. Pass one
                only where the service says that it knows it.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was sent.
            ResponseError: The service refused; the class tells the status.
            TransportError: No answer came, retries included.

        Example:
            `answer = await client.request("GET", "/v2/assets", query={"limit": "10"})`

        Source: "Introduction", sync.so API reference.
        """
        headers = hidden(headers)
        is_create = method == "POST" and path.partition("?")[0] == "/v2/generate"
        key = str(uuid.uuid4()) if is_create and idempotency_key is None else idempotency_key
        problems = [
            *endpoints.raw_problems(method, path, json, body, key),
            *config.extra_problems(headers, query, allowed={"accept", "content-type"}),
        ]
        if problems:
            raise InvalidRequestError(problems)
        call = endpoints.raw_request(
            method, path, headers=headers or {}, json=json, body=body, idempotency_key=key
        )
        options = attrs.evolve(self._options, query={**self._options.query, **(query or {})})
        return await send(self._requester, call, options, has_slot=not is_create)

    async def aclose(self) -> None:
        """Close all connections. Idempotent; the client cannot be used again."""
        await self._requester.transport.aclose()
        if self._store is not None and self._owns_store:
            await self._store.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        name = type(self).__name__
        requester = getattr(self, "_requester", None)
        if requester is None:  # its constructor has failed, and a traceback shows the variables
            return f"<{name}, not built>"
        return f"<{name} base_url={requester.base_url!r} in_flight={requester.in_flight}>"


async def _upload_inputs(
    requester: Requester, options: RequestOptions, request: GenerationRequest, **how: Any
) -> GenerationRequest:
    """Upload the local files of a request."""
    from lipsync_async._async.assets import upload_inputs  # noqa: PLC0415 - loaded when it is used

    return await upload_inputs(requester, options, request, **how)


def _refusal(problems: list[str]) -> ConfigurationError:
    """Return an error that names all problems."""
    sentences = [problem if problem.endswith(".") else f"{problem}." for problem in problems]
    if len(sentences) == 1:
        return ConfigurationError(sentences[0])
    lines = "".join(f"\n  {sentence}" for sentence in sentences)
    return ConfigurationError(f"The client cannot be built; correct this:{lines}")
