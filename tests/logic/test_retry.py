"""The rules of trying again, over thousands of calls that fail in every way."""

import attrs
import pytest
from hypothesis import given, strategies as st

from lipsync_async import errors
from lipsync_async._enums import Status
from lipsync_async._logic.endpoints import error_for
from lipsync_async._logic.retry import Failure, FailureKind, backoff_delays, classify
from lipsync_async._models.policies import RetryPolicy
from lipsync_async._models.response import Generation
from lipsync_async.errors import LipsyncError
from tests.logic.answers import reply

NEVER_DELIVERED, PACED, NO_SLOT, OUTCOME_UNKNOWN, FINAL = FailureKind
JOB = Generation(id="g1", status=Status.PROCESSING)


def answered(status: int, code: str | None = None) -> LipsyncError:
    """Return the error of an answer with this status and code."""
    return error_for(reply({"message": "Words.", "errorCode": code}, status))


CLASSIFIED: list[tuple[LipsyncError, FailureKind]] = [
    (errors.ConnectError("x", method="POST", url="u"), NEVER_DELIVERED),
    (errors.ConnectionLostError("x", method="POST", url="u"), OUTCOME_UNKNOWN),
    (errors.RequestTimeoutError("x", method="POST", url="u"), OUTCOME_UNKNOWN),
    (answered(429), PACED),
    (answered(429, "rate_limit_exceeded"), PACED),
    (answered(429, "of_the_future"), PACED),
    (answered(429, "concurrency_limit_reached"), NO_SLOT),
    (answered(429, "batch_concurrency_limit_reached"), NO_SLOT),
    (answered(429, "free_tier_generations_exhausted"), FINAL),
    *((answered(status), OUTCOME_UNKNOWN) for status in (408, 500, 502, 503, 504)),
    *((answered(status), OUTCOME_UNKNOWN) for status in (506, 507, 508, 509, 510, 511)),
    *((answered(status), OUTCOME_UNKNOWN) for status in (*range(520, 531), 561, 598, 599)),
    *((answered(status), OUTCOME_UNKNOWN) for status in (600, 700, 999)),
    *((answered(status), FINAL) for status in (501, 505)),
    *((answered(status), FINAL) for status in (400, 401, 402, 403, 404, 405, 409, 413, 418, 422)),
    *((answered(status), FINAL) for status in (301, 302, 307, 308)),
    *((answered(status), OUTCOME_UNKNOWN) for status in (0, 99, 100, 101, 102, 103, 199)),
    *((answered(status), OUTCOME_UNKNOWN) for status in (300, 303, 304, 305, 306, 309, 399)),
    (answered(503, "generation_media_probe_timeout"), OUTCOME_UNKNOWN),
    (answered(503, "IDEMPOTENCY_OUTCOME_UNKNOWN"), OUTCOME_UNKNOWN),
    (answered(409, "IDEMPOTENCY_REQUEST_IN_PROGRESS"), OUTCOME_UNKNOWN),
    (answered(422, "IDEMPOTENCY_OUTCOME_UNKNOWN"), OUTCOME_UNKNOWN),
    (answered(409, "IDEMPOTENCY_KEY_REUSED"), FINAL),
    (answered(422, "IDEMPOTENCY_PAYLOAD_MISMATCH"), FINAL),
    (answered(400, "INVALID_IDEMPOTENCY_KEY"), FINAL),
    (answered(422, "generation_input_video_inaccessible"), FINAL),
    (answered(402, "account_on_hold"), FINAL),
    (errors.DecodeError("its body is empty", response=reply()), OUTCOME_UNKNOWN),
    (errors.DecodeError("odd", response=reply(), paths=["odd @ $"]), FINAL),
    (LipsyncError("x"), FINAL),
    (errors.ConfigurationError("x"), FINAL),
    (errors.InvalidRequestError(["x"]), FINAL),
    (errors.TransportError("x", method="POST", url="u"), FINAL),
    (errors.DownloadError("x"), FINAL),
    (errors.JournalError("x"), FINAL),
    (errors.GenerationFailedError(JOB), FINAL),
    (errors.WaitTimeoutError(JOB, timeout=1), FINAL),
]


def name_of(value: object) -> str:
    """Name a case by class, status and code."""
    facts = (getattr(value, "status", None), getattr(value, "code", None))
    told = [str(fact) for fact in facts if fact is not None]
    return " ".join([type(value).__name__, *told]) if isinstance(value, Exception) else str(value)


@pytest.mark.parametrize(("error", "kind"), CLASSIFIED, ids=name_of)
def test_every_error_has_its_kind(error: LipsyncError, kind: FailureKind) -> None:
    """How far it got decides what is done; nothing is tried again that tells a caller not to."""
    assert classify(error) is kind
    assert error.is_retryable or kind is FINAL


@attrs.frozen(slots=True)
class Blow:
    """Hold what one try meets: how it fails, after how long, and what the service asks."""

    kind: FailureKind
    took: float
    retry_after: float | None


SECONDS = st.floats(0.001, 1000)
POLICIES = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 8),
    first_pause=st.floats(0.01, 20),
    longest_pause=st.floats(0.01, 60),
    give_up_after=st.none() | SECONDS,
    slot_timeout=st.none() | SECONDS,
)
BLOWS = st.builds(
    Blow,
    kind=st.sampled_from([*FailureKind, NO_SLOT, PACED, NEVER_DELIVERED, OUTCOME_UNKNOWN]),
    took=st.floats(0, 60),
    retry_after=st.none() | st.floats(0, 120),
)


class Calling:
    """Live through one call's failures without a clock, and remember what was spent."""

    def __init__(self, policy: RetryPolicy, *, is_repeatable: bool) -> None:
        """Make the first try."""
        self.policy = policy
        self.is_repeatable = is_repeatable
        self.tries = 1
        self.elapsed = 0.0
        self._steps = backoff_delays(policy, is_repeatable=is_repeatable)
        assert next(self._steps) == 0.0

    @property
    def grown(self) -> float:
        """Upper end of the next pause, before the service has a say."""
        return min(self.policy.longest_pause, self.policy.first_pause * 2.0 ** (self.tries - 1))

    def suffer(self, blow: Blow) -> float | None:
        """Return the pause before the next try, `None` when it was given up."""
        self.elapsed += blow.took
        try:
            return self._steps.send(Failure(blow.kind, self.elapsed, blow.retry_after))
        except StopIteration:
            return None

    def wait(self, pause: float) -> None:
        """Let the pause go by."""
        self.elapsed += pause
        self.tries += 1


@given(POLICIES, st.booleans(), st.lists(BLOWS, max_size=30))
def test_a_call_stays_within_its_policy(
    policy: RetryPolicy,
    is_repeatable: bool,  # noqa: FBT001
    blows: list[Blow],
) -> None:
    """Tries, time and pauses are bounded, and the service is obeyed."""
    calling = Calling(policy, is_repeatable=is_repeatable)
    for blow in blows:
        pause = calling.suffer(blow)
        if pause is None:
            assert is_reason_to_give_up(calling, blow)
            return
        check_pause(calling, blow, pause)
        calling.wait(pause)
        check_spending(calling, blow)


def is_reason_to_give_up(calling: Calling, blow: Blow) -> bool:
    """Tell whether one of the documented reasons to give up may hold."""
    policy, asked = calling.policy, blow.retry_after or 0.0
    return (
        blow.kind in {FINAL, NO_SLOT}
        or (blow.kind is OUTCOME_UNKNOWN and not calling.is_repeatable)
        or calling.tries >= policy.attempts
        or exceeds(calling.elapsed + max(2 * calling.grown, asked), policy.give_up_after)
    )


def check_pause(calling: Calling, blow: Blow, pause: float) -> None:
    """Check one pause: drawn as documented, and never shorter than the service asked."""
    asked = blow.retry_after or 0.0
    assert pause >= asked
    if blow.kind is PACED:
        assert calling.grown - 1e-9 <= pause <= max(2 * calling.grown, asked) + 1e-9
    else:
        assert 0 <= pause <= max(calling.grown, asked) + 1e-9


def check_spending(calling: Calling, blow: Blow) -> None:
    """Check what was spent until the next try, which is about to be made."""
    policy = calling.policy
    assert blow.kind not in {FINAL, NO_SLOT}
    assert blow.kind is not OUTCOME_UNKNOWN or calling.is_repeatable
    assert calling.tries <= policy.attempts
    assert not exceeds(calling.elapsed - 1e-6, policy.give_up_after)


def exceeds(seconds: float, limit: float | None) -> bool:
    """Compare with a limit that may be none."""
    return limit is not None and seconds > limit


@given(st.integers(1, 10), st.sampled_from([NEVER_DELIVERED, PACED, OUTCOME_UNKNOWN]))
def test_attempts_count_the_first_try(attempts: int, kind: FailureKind) -> None:
    """Exactly so many tries are made when nothing else ends them."""
    calling = Calling(RetryPolicy(attempts=attempts, give_up_after=None), is_repeatable=True)
    made = 1
    while (pause := calling.suffer(Blow(kind, 0.0, None))) is not None:
        calling.wait(pause)
        made += 1
    assert made == attempts


def test_the_lack_of_a_slot_is_for_others_to_wait_out() -> None:
    """It is given up here at once, whatever tries are left: the slots know when to ask again."""
    calling = Calling(RetryPolicy(), is_repeatable=True)
    assert calling.suffer(Blow(NO_SLOT, 0.0, 30.0)) is None


@given(st.integers(0, 2**32 - 1))
def test_pauses_differ(seed: int) -> None:
    """Two clients that failed together do not come back together."""
    del seed  # Hypothesis seeds the random numbers of each example anew
    drawn = set()
    for _ in range(2):
        calling = Calling(RetryPolicy(first_pause=20), is_repeatable=True)
        drawn.add(calling.suffer(Blow(NEVER_DELIVERED, 0.0, None)))
    assert len(drawn) == 2
