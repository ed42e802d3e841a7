"""Every error that leaves this package; each answers "how far did it get?".

    LipsyncError
    ├── ConfigurationError            the client cannot be built or used this way
    ├── InvalidRequestError           nothing was sent (also a ValueError)
    ├── TransportError                no answer came
    │   ├── ConnectError              the request was never delivered
    │   ├── ConnectionLostError       broken while in flight: outcome unknown
    │   └── RequestTimeoutError       too slow: outcome unknown (also a TimeoutError)
    ├── ResponseError                 the service answered with an error status
    │   ├── BadRequestError 400, AuthenticationError 401, PaymentRequiredError 402,
    │   │   PermissionDeniedError 403, NotFoundError 404, ConflictError 409,
    │   │   PayloadTooLargeError 413, UnprocessableError 422, ServerError 5xx
    │   ├── RateLimitError 429        too many requests in a minute
    │   ├── ConcurrencyLimitError 429 too many generations at once
    │   └── BatchLimitError 429       too many batches at once
    ├── DecodeError                   an answer that cannot be read
    ├── DownloadError                 the media did not arrive whole
    ├── UploadError                   a file did not arrive whole at the service
    ├── JournalError                  the journal of a run cannot be used
    ├── AccountStoreError             the account store (`account=`) cannot be used
    ├── SpendingLimitError            `max_jobs` or `max_cost` is reached
    ├── UnexpectedError               something else was raised; `.__cause__` is what
    ├── GenerationError               the job itself
    │   ├── GenerationFailedError, GenerationRejectedError
    │   └── WaitTimeoutError          waiting ended, the job did not (also a TimeoutError)
    └── JobError                      the same of a job that is no generation
        ├── JobFailedError
        └── JobTimeoutError           waiting ended, the job did not (also a TimeoutError)

Messages end with the next step, and hold no control characters. Every error pickles,
and none holds the API key.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lipsync_async._models.text import for_screens_by_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lipsync_async._models.http import Response
    from lipsync_async._models.response import Generation


# Codes after which the same create may be sent again ("Error codes", sync.so API reference);
# the two prefixes classify codes that are still unknown.
_RETRYABLE_CODES = frozenset(
    {
        "concurrency_limit_reached",
        "elevenlabs_service_unavailable",
        "generation_database_error",
        "generation_media_probe_timeout",
        "generation_media_probe_unavailable",
        "generation_pipeline_failed",
        "generation_timeout",
        "generation_unhandled_error",
        "generation_unknown_error",
        "internal_error",
        "rate_limit_exceeded",
        "usage_dependency_unavailable",
        "voice_clone_busy",
    }
)
_RETRYABLE_PREFIXES = ("generation_infra_", "controller_")
# In codes of a create whose key is known and whose outcome is not ("Idempotency", same place).
_UNSETTLED_WORDS = ("UNKNOWN", "PROGRESS")
# Below the errors, only these say for certain that nothing was done: the request is to be sent
# elsewhere. "See other" (303) is said after the work.
_FIRST_ERROR_STATUS = 400
_ELSEWHERE = frozenset({301, 302, 307, 308})


def is_no_answer(status: int) -> bool:
    """Tell whether a status that is no success says neither that it worked nor that it failed."""
    return status < _FIRST_ERROR_STATUS and status not in _ELSEWHERE


def is_unsettled_code(code: str | None) -> bool:
    """Tell whether a create's outcome is still open, so that its own key must be kept."""
    return (
        code is not None
        and code.startswith("IDEMPOTENCY_")
        and any(word in code for word in _UNSETTLED_WORDS)
    )


def is_reused_key_code(code: str | None) -> bool:
    """Tell whether a create was refused because its key was used with another body.

    The service documents no code for that.
    """
    return code is not None and code.startswith("IDEMPOTENCY_") and not is_unsettled_code(code)


def is_retryable_code(code: str | None) -> bool:
    """Tell whether trying again unchanged may help after this error code."""
    return code is not None and (
        code in _RETRYABLE_CODES or code.startswith(_RETRYABLE_PREFIXES) or is_unsettled_code(code)
    )


_REQUEST_TIMEOUT = 408
MAX_PROBLEMS = 100  # a table of many rows may have one in each
_MAX_URL = 200  # characters; the hundred ids of a list help no reader
_MAX_MESSAGE = 200
# Of each text of a job that may be of any length; the job itself has all of it.
_MAX_TEXT = 1000


def _cut(text: str, most: int = _MAX_TEXT) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _restore(
    kind: type[LipsyncError], args: tuple[Any, ...], state: dict[str, Any]
) -> LipsyncError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class LipsyncError(Exception):
    """Base class of all errors raised by this package.

    Attributes:
        is_retryable: Whether the same call may succeed later, unchanged.
        idempotency_key: On a failed create: the key it was sent with. Creating again
            with it never pays twice. `None` on calls without one.
        may_have_worked: Whether the call may have had its effect nevertheless: the outcome
            of some try is unknown, or its answer was a success that cannot be read.
        generation: The job that the failed call was about, as last seen, where there is
            one. `None` otherwise.
        generation_ids: Where the error has ended a run of many requests: ids of the
            generations that were created and whose outcomes were not delivered.
        idempotency_keys: The same for creates that may have been accepted and whose ids are
            not known: their Idempotency-Keys, by the index of the request.

    """

    is_retryable: bool = False
    idempotency_key: str | None = None
    may_have_worked: bool = False
    generation: Generation | None = None
    generation_ids: tuple[str, ...] = ()
    idempotency_keys: Mapping[int, str] = MappingProxyType({})

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by state, so that keyword-only constructors do not matter."""
        return _restore, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        """Return the message, with the key or the job that must not be lost."""
        message = super().__str__()
        if self.idempotency_key is not None and (self.may_have_worked or self.is_retryable):
            message += (
                " To try this create again without paying twice, pass "
                f"idempotency_key={self.idempotency_key!r}."
            )
        if self.generation is not None and self.generation.id not in message:
            ending = "" if self.generation.is_terminal else ", which goes on"
            message += f" This was about generation {self.generation.id!r}{ending}."
        # The service's words may hold escape sequences, and messages end up on terminals.
        return for_screens_by_line(message)


class ConfigurationError(LipsyncError):
    """Raised when the client cannot be built, or cannot run where it is used."""


def first_problems(problems: Sequence[str]) -> list[str]:
    """Return the problems that a person reads: of very many the first, and how many follow."""
    more = len(problems) - MAX_PROBLEMS
    return [*problems[:MAX_PROBLEMS], f"... and {more:,} more"] if more > 0 else [*problems]


class InvalidRequestError(LipsyncError, ValueError):
    """Raised when a call's arguments are wrong. Nothing was created or changed.

    Attributes:
        problems: Every problem found, each `path: what is wrong`.

    """

    def __init__(self, problems: Sequence[str], *, state: str = "Nothing was sent") -> None:
        if isinstance(problems, str):  # the whole message: so task queues build errors anew
            self.problems: tuple[str, ...] = (problems,)
            super().__init__(problems)
            return
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems):,} problems"
        lines = "".join(f"\n  {problem}" for problem in first_problems(self.problems))
        super().__init__(f"{state}; correct {count} and call again:{lines}")


class TransportError(LipsyncError):
    """Raised when no answer came.

    Attributes:
        method: The request's method.
        url: The request's URL.

    """

    is_retryable = True

    def __init__(self, message: str, *, method: str, url: str) -> None:
        self.method = method
        self.url = url
        super().__init__(f"{method} {_cut(url, _MAX_URL)}: {message}")


class ConnectError(TransportError):
    """Raised when no connection could be made: the request was never delivered.

    Attributes:
        is_lasting: Whether it would be so again: a certificate that is not trusted, a proxy
            that refuses.

    """

    def __init__(self, message: str, *, method: str, url: str, is_lasting: bool = False) -> None:
        self.is_lasting = is_lasting
        self.is_retryable: bool = not is_lasting
        super().__init__(message, method=method, url=url)


class ConnectionLostError(TransportError):
    """Raised when the connection broke in flight: the outcome is unknown."""


class RequestTimeoutError(TransportError, TimeoutError):
    """Raised when the answer took too long: the outcome is unknown."""


class ResponseError(LipsyncError):
    """Raised when the service answered with an error status.

    Attributes:
        status: HTTP status code.
        code: The service's `errorCode`; branch on this, never on the message.
        message: The service's words.
        suggestion: The service's advice.
        field: The field that the service complains about.
        request_id: The id to quote to the service's support.
        retry_after: Seconds to wait, as asked by the service.
        body: The decoded JSON body, or the raw text where it is no JSON.
        response: The whole answer: status, headers, bytes.

    """

    next_step = "See .body for what the service said."

    def __init__(
        self,
        *,
        response: Response,
        message: str,
        code: str | None = None,
        suggestion: str | None = None,
        field: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        body: Any = None,
    ) -> None:
        self.response = response
        self.status: int = response.status
        self.code = code
        self.message = message
        self.suggestion = suggestion
        self.field = field
        self.request_id = request_id
        self.retry_after = retry_after
        self.body = body
        if self.status == _REQUEST_TIMEOUT or is_no_answer(self.status) or is_retryable_code(code):
            self.is_retryable = True
        named = f"{self.status} {code}" if code else str(self.status)
        where = f" (field {field})" if field else ""
        quoted = f" [request id {_cut(request_id)}]" if request_id else ""
        super().__init__(
            f"{response.method} {_cut(response.url, _MAX_URL)} answered {named}{where}{quoted}: "
            f"{_sentence(message)} {suggestion or self.next_step}"
        )


class BadRequestError(ResponseError):
    """Raised for 400: the service found the request malformed."""

    next_step = "Correct the request; sending it again unchanged cannot help."


class AuthenticationError(ResponseError):
    """Raised for 401: the API key is missing or wrong."""

    next_step = "Check api_key= or SYNC_API_KEY against the keys page of your account."


class PaymentRequiredError(ResponseError):
    """Raised for 402: quota, plan or invoice stands in the way; also for a 429 that says so."""

    next_step = "Check plan and billing of your account."


class PermissionDeniedError(ResponseError):
    """Raised for 403: it belongs to another organization, or is gone."""

    next_step = "Check that the id belongs to the organization of this API key."


class NotFoundError(ResponseError):
    """Raised for 404: there is no such thing."""

    next_step = "Check the id, and that it belongs to the organization of this API key."


class ConflictError(ResponseError):
    """Raised for 409: not in this state."""

    next_step = "Wait until the generation has ended, then call again."


class PayloadTooLargeError(ResponseError):
    """Raised for 413: a file is over what one upload may hold."""

    next_step = "Host the file and pass its url instead of file."


class UnprocessableError(ResponseError):
    """Raised for 422: well-formed, but the media or the plan do not allow it."""

    next_step = "Correct the input that the code names."


class RateLimitError(ResponseError):
    """Raised for 429: too many requests in a minute."""

    is_retryable = True
    next_step = "Wait for .retry_after seconds, then call again."


class ConcurrencyLimitError(ResponseError):
    """Raised for 429: as many generations are running as the plan allows.

    Attributes:
        concurrency_limit: Generations that the plan runs at once, where told.
        active_generations: Generations running at that moment, where told.

    """

    is_retryable = True
    next_step = "Wait for a running generation to end, then call again."

    def __init__(
        self,
        *,
        concurrency_limit: int | None = None,
        active_generations: int | None = None,
        **facts: Any,
    ) -> None:
        self.concurrency_limit = concurrency_limit
        self.active_generations = active_generations
        super().__init__(**facts)


class BatchLimitError(ResponseError):
    """Raised for 429: as many batches are running as the plan allows.

    It says nothing about generations, which go on as before. `batches.create` waits, and raises
    it when the wait has lasted for `RetryPolicy.batch_timeout`.
    """

    is_retryable = True
    next_step = "Wait for a running batch to end, then call again."


class ServerError(ResponseError):
    """Raised for 5xx: the service or something before it failed."""

    is_retryable = True
    next_step = "Call again later."


STATUS_ERRORS: Mapping[int, type[ResponseError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: PaymentRequiredError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    413: PayloadTooLargeError,
    422: UnprocessableError,
    429: RateLimitError,
}


class DecodeError(LipsyncError):
    """Raised when an answer cannot be read: no JSON, or not of the documented shape.

    Attributes:
        paths: Each problem with its path in the body.
        request_id: The id to quote to the service's support.
        response: The whole answer: status, headers, bytes.

    """

    def __init__(
        self,
        reason: str,
        *,
        response: Response,
        paths: Sequence[str] = (),
        request_id: str | None = None,
    ) -> None:
        self.paths: tuple[str, ...] = tuple(paths)
        self.request_id = request_id
        self.response = response
        # It was cut off or replaced on its way; a wrong shape stays wrong.
        self.is_retryable: bool = not self.paths
        quoted = f" [request id {_cut(request_id)}]" if request_id else ""
        listed = "".join(f"\n  {path}" for path in self.paths)
        super().__init__(
            f"{response.method} {_cut(response.url, _MAX_URL)} answered {response.status}{quoted}, "
            # The first bytes usually show who really answered.
            f"but {reason}; it begins {response.body[:80]!r}.{listed} Compare .response with "
            "the service's documentation, and check that nothing between you and it rewrites "
            "answers."
        )


class DownloadError(LipsyncError):
    """Raised when the media did not arrive whole, or cannot be stored safely."""

    is_retryable = True


class UploadError(LipsyncError):
    """Raised when a file did not arrive whole at the service. No asset was made of it."""


class JournalError(LipsyncError):
    """Raised when a journal is in use, is none, or cannot be written; nothing in it is lost."""


class AccountStoreError(LipsyncError):
    """Raised when the account store (`account=`) cannot be used; nothing was sent."""

    is_retryable = True


class SpendingLimitError(LipsyncError):
    """Raised when `max_jobs` or `max_cost` does not allow a create; it was not sent."""


class UnexpectedError(LipsyncError):
    """Raised when something was raised that is no error of this package; `__cause__` is what."""

    def __init__(self, doing: str, cause: BaseException) -> None:
        super().__init__(
            f"{doing} raised {in_words(cause)}. This should not happen: please report it, with "
            "the traceback of .__cause__."
        )


def in_words(error: BaseException) -> str:
    """Return an exception's class and message in one line of printable characters.

    A message that raises is left out, for the exception may be of any class.
    """
    try:
        message = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - it is foreign
        message = ""
    if len(message) > _MAX_MESSAGE:
        message = f"{message[:_MAX_MESSAGE]}..."
    message = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


class GenerationError(LipsyncError):
    """Raised when a job did not come to a good end.

    Attributes:
        generation: The job as last seen.

    """

    generation: Generation

    def __init__(self, message: str, *, generation: Generation) -> None:
        self.generation = generation
        super().__init__(message)


class GenerationFailedError(GenerationError):
    """Raised when the job ended as FAILED.

    Attributes:
        code: The service's error code, where it gave one.
        is_retryable: Whether a *new*, newly paid create of the same request may succeed.

    """

    code: str | None

    def __init__(self, generation: Generation) -> None:
        self.code, coded, reason = _reason(generation)
        self.is_retryable: bool = is_retryable_code(self.code)
        advice = (
            "A new create with a new idempotency key may succeed (and is billed again)."
            if self.is_retryable
            else "Correct what the reason names, then create again."
        )
        super().__init__(
            f"generation {generation.id} ended as {_cut(generation.status)}{coded}: {reason} "
            f"{advice}",
            generation=generation,
        )


class GenerationRejectedError(GenerationError):
    """Raised when the job ended as REJECTED: it never ran (moderation or plan).

    Attributes:
        code: The service's error code, where it gave one.

    """

    code: str | None

    def __init__(self, generation: Generation) -> None:
        self.code, coded, reason = _reason(generation)
        super().__init__(
            f"generation {generation.id} was rejected{coded} and never ran: {reason} "
            "Check its content and your plan before creating it again.",
            generation=generation,
        )


def _reason(generation: Generation) -> tuple[str | None, str, str]:
    """Return a job's error code, the code for a message, and the reason as a sentence."""
    code = generation.error_code
    reason = _cut(generation.error or "the service gave no reason")
    return code, f" ({_cut(code)})" if code else "", reason.removesuffix(".") + "."


class WaitTimeoutError(GenerationError, TimeoutError):
    """Raised when waiting took too long. The job goes on, and is still paid for."""

    is_retryable = True

    def __init__(self, generation: Generation, *, timeout: float) -> None:
        super().__init__(
            f"generation {generation.id} is still {_cut(generation.status)} after {timeout:g} s; "
            "it goes on. Call "
            f"wait_until_complete({generation.id!r}) to go on waiting.",
            generation=generation,
        )


class JobError(LipsyncError):
    """Raised when a job that is not a generation ended badly, or did not end in time.

    Attributes:
        job: The job as last seen; `None`: it was not seen.

    """

    job: Any

    def __init__(self, message: str, *, job: Any) -> None:
        self.job = job
        super().__init__(message)


class JobFailedError(JobError):
    """Raised when a job that is not a generation ended badly, such as FAILED.

    Attributes:
        code: The service's error code, where it gave one.

    """

    code: str | None

    def __init__(self, job: Any) -> None:
        failure = getattr(job, "error", None)
        self.code = getattr(failure, "code", None)
        coded = f" ({_cut(self.code)})" if self.code else ""
        plain = job.raw.get("error")
        told = getattr(failure, "message", None) or (plain if isinstance(plain, str) else None)
        reason = _cut(told or "the service gave no reason")
        next_step = "Correct what the reason names, then create it again."
        super().__init__(
            f"{job.NOUN} {job.id} ended as {_cut(job.status)}{coded}: {reason.rstrip('.')}. "
            f"{next_step}",
            job=job,
        )


class JobTimeoutError(JobError, TimeoutError):
    """Raised when waiting took too long. The job goes on."""

    is_retryable = True

    def __init__(self, job_id: str, job: Any, *, timeout: float) -> None:
        noun, status = ("job", "not known") if job is None else (job.NOUN, _cut(job.status))
        super().__init__(
            f"{noun} {job_id} has not ended after {timeout:g} s (its status is {status}); it goes "
            f"on. Call wait_until_complete({job_id!r}) to go on waiting.",
            job=job,
        )


class LipsyncWarning(UserWarning):
    """Base class of all warnings of this package."""


class IgnoredOptionWarning(LipsyncWarning):
    """Category for parts of a request that the service silently ignores or discourages."""
