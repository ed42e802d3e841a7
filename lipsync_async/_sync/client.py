# Generated from lipsync_async/_async/client.py by lipsync_async/_tools/mirror.py.
# Change that file, not this one, and run `nox -s regenerate`.

"""The blocking client: settings, and the resources of the service."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Self

from lipsync_async._async.client import _UNSET, AsyncClient, AsyncModels, _Unset
from lipsync_async._logic.secrecy import hidden
from lipsync_async._portal import Portal, SyncWrapper, call_in_caller
from lipsync_async._sync.generations import Generations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ssl import SSLContext
    from types import TracebackType

    from lipsync_async._models.http import Response
    from lipsync_async._models.policies import Limits, PollPolicy, RetryPolicy
    from lipsync_async._models.response import ModelInfo
    from lipsync_async._stores.protocol import AccountStore
    from lipsync_async._sync.account import AccountInfo
    from lipsync_async._sync.assets import Assets
    from lipsync_async._sync.batches import Batches
    from lipsync_async._sync.dialogue import DialogueEdits, Transcriptions
    from lipsync_async._sync.projects import Projects
    from lipsync_async._sync.speech import TextToSpeech, Voices
    from lipsync_async._transport.protocol import Session, Transport


class Models(SyncWrapper):
    """Models that the account may use. Reached as `client.models`."""

    _source: AsyncModels

    def list(self) -> list[ModelInfo]:
        """Return the models; deprecated ones are left out by the service.

        Wire: `GET /v2/models`

        Raises:
            ResponseError: The service refused; AuthenticationError for a wrong key.
            TransportError: No answer came, retries included.
            DecodeError: The answer cannot be read.

        Source: "List models", sync.so API reference.
        """
        return self._portal.call(self._source.list)


class Client(SyncWrapper):
    """Client of the sync.so API for code that cannot await.

    Use it as `with Client() as client`, or call `close` in the end. One client
    serves any number of threads at once; its methods suit `executor.submit`. Each runs
    in an event loop that the client keeps in a thread of its own, so it may be used
    inside a running loop, too. A forked child may go on using the client.

    Ctrl-C during a call cancels it, waits for its clean-up, and raises
    `KeyboardInterrupt`; a second Ctrl-C does not wait. Callbacks are called in the
    thread that waits.

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
        on_response: Called, in the thread that waits, with each raw answer (status,
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
        `with Client() as client: client.generations.get(job_id)`

    Source: "Authentication", sync.so API reference.
    """

    generations: Generations
    models: Models
    _source: AsyncClient
    _parts = (("generations", Generations), ("models", Models))

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
        api_key = hidden(api_key)
        proxy = hidden(proxy)
        headers = hidden(headers)
        account = hidden(account) if isinstance(account, str) else account
        super().__init__(
            Portal(),
            AsyncClient(
                api_key,
                base_url=base_url,
                timeout=timeout,
                retry=retry,
                poll=poll,
                limits=limits,
                on_response=call_in_caller("on_response", on_response),
                proxy=proxy,
                ssl_context=ssl_context,
                headers=headers,
                user_agent=user_agent,
                max_connections=max_connections,
                session=session,
                transport=transport,
                account=account,
            ),
        )

    @property
    def assets(self) -> Assets:
        """Files at the service: upload, register, list, change, delete."""
        from lipsync_async._sync.assets import Assets  # noqa: PLC0415 - loaded when it is used

        return Assets(self._portal, self._source.assets)

    @property
    def projects(self) -> Projects:
        """Folders of generations and assets."""
        from lipsync_async._sync.projects import Projects  # noqa: PLC0415 - loaded when it is used

        return Projects(self._portal, self._source.projects)

    @property
    def voices(self) -> Voices:
        """Voices that speak scripts; clones of your own."""
        from lipsync_async._sync.speech import Voices  # noqa: PLC0415 - loaded when it is used

        return Voices(self._portal, self._source.voices)

    @property
    def speech(self) -> TextToSpeech:
        """Speech made of a script, at once or as a job."""
        from lipsync_async._sync.speech import TextToSpeech  # noqa: PLC0415 - loaded when it is used

        return TextToSpeech(self._portal, self._source.speech)

    @property
    def transcriptions(self) -> Transcriptions:
        """What is said in a video or an audio."""
        from lipsync_async._sync.dialogue import Transcriptions  # noqa: PLC0415 - loaded when it is used

        return Transcriptions(self._portal, self._source.transcriptions)

    @property
    def dialogue_edits(self) -> DialogueEdits:
        """Edits of what is said in a video (beta)."""
        from lipsync_async._sync.dialogue import DialogueEdits  # noqa: PLC0415 - loaded when it is used

        return DialogueEdits(self._portal, self._source.dialogue_edits)

    @property
    def batches(self) -> Batches:
        """The service's batches: 20 to 500 requests in one."""
        from lipsync_async._sync.batches import Batches  # noqa: PLC0415 - loaded when it is used

        return Batches(self._portal, self._source.batches)

    @property
    def account(self) -> AccountInfo:
        """Plan, usage, error codes, webhook secret, feedback."""
        from lipsync_async._sync.account import AccountInfo  # noqa: PLC0415 - loaded when it is used

        return AccountInfo(self._portal, self._source.account)

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
            on_response: Called, in the thread that waits, with each raw answer; `None`: nothing
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
        return self._view(
            self._source.with_options(
                timeout=timeout,
                retry=retry,
                poll=poll,
                on_response=call_in_caller("on_response", on_response),
                extra_headers=extra_headers,
                extra_query=extra_query,
            )
        )

    def request(
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
            `answer = client.request("GET", "/v2/assets", query={"limit": "10"})`

        Source: "Introduction", sync.so API reference.
        """
        return self._portal.call(
            partial(
                self._source.request,
                method,
                path,
                query=query,
                headers=headers,
                json=json,
                body=body,
                idempotency_key=idempotency_key,
            )
        )

    def close(self) -> None:
        """Close all connections. Idempotent; the client cannot be used again.

        Calls that are under way in other threads end with `ConfigurationError`.
        """
        self._portal.close(self._source.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
