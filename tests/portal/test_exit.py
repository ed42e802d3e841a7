"""However a program leaves its client, it ends at once, and prints only what is paid for."""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest

from lipsync_async import LipsyncError
from lipsync_async._callsite import CallSite
from lipsync_async._portal import BlockingCall, CallState, LoopThread
from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.faults import Fault
from tests.client.connections import records_of
from tests.portal.programs import run, running
from tests.portal.test_interruption import true

USED = "client = connect()\nsay(client.generations.run(**ORDER).status)\n"
LEFT = {
    "alive at the end": USED,
    "never used": 'client = connect()\nsay("COMPLETED")',
    "dropped": f"{USED}del client\ngc.collect()\nsay(threading.active_count())",
    "an iteration left open": """
        client = connect()
        job = client.generations.run(**ORDER)
        jobs = client.generations.iter()
        say(next(jobs).status)
    """,
    "a watch left open": """
        client = connect()
        job = client.generations.create(**ORDER)
        watch = client.generations.updates(job.id)
        changes = watch.__enter__()
        next(changes)
        say("COMPLETED")
    """,
    "views outlive it": """
        view = connect().with_options(timeout=5.0)
        say(view.generations.run(**ORDER).status)
    """,
    "used when the program ends": """
        client = connect()
        client.models.list()
        atexit.register(lambda: say(client.generations.run(**ORDER).status))
    """,
    "a verb that the interpreter itself calls": f"{USED}atexit.register(client.models.list)",
    "closed when the program ends": """
        client = connect()
        atexit.register(client.close)
        say(client.generations.run(**ORDER).status)
    """,
    "by an exit in its block": """
        with connect() as client:
            say(client.generations.run(**ORDER).status)
            sys.exit(0)
    """,
    "a call under way in a daemon thread": """
        client = connect(poll=PollPolicy(initial_interval=60.0, long_poll=None))
        job = client.generations.create(**ORDER)
        is_called = threading.Event()
        waiting = threading.Thread(
            target=client.generations.wait_until_complete,
            args=(job.id,),
            kwargs={"on_update": lambda _: is_called.set()},
            daemon=True,
        )
        waiting.start()
        is_called.wait()
        say("COMPLETED")
    """,
}


@pytest.mark.parametrize("body", LEFT.values(), ids=LEFT.keys())
async def test_leaving(sandbox: Sandbox, body: str) -> None:
    """Under `-W error -X dev` a client that is not closed prints nothing."""
    code, printed, errors = await run(body, sandbox)
    threads = ["1"] if "active_count" in body else []  # without a client there is no other
    assert (code, printed.split(), errors) == (0, ["COMPLETED", *threads], "")


async def test_closed_from_another_thread(sandbox: Sandbox) -> None:
    """Who waits while another thread closes the client gets one clear error, with its key."""
    body = """
        client = connect(poll=PollPolicy(initial_interval=60.0, long_poll=None))
        seen = threading.Event()

        def note(job):
            if job.status == "PROCESSING":  # the next look is a minute away
                seen.set()

        def wait():
            try:
                client.generations.run(**ORDER, on_update=note)
            except ConfigurationError as error:
                say(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        seen.wait()
        client.close()
        waiting.join()
        try:
            client.models.list()
        except ConfigurationError as error:
            say(error)
        client.close()
        say(threading.active_count())
    """
    code, printed, errors = await run(body, sandbox)
    first, second, threads = printed.splitlines()
    (job,) = sandbox.jobs
    assert (code, errors, threads) == (0, "", "1")
    # The second, where the close came between two steps of the call.
    closed = ("The client was closed while this call was under way.", second)
    assert first.startswith(closed)
    assert f"generation {job.id!r}, which goes on" in first
    assert second == "This client is closed. Build a new one to go on."


DAEMONS = """
    logging.getLogger("lipsync_async").setLevel("WARNING")
    limits = Limits(concurrent_generations=15, creates_per_minute=None, requests_per_minute=None)
    client = connect(limits=limits, retry=RetryPolicy(first_pause=100.0, longest_pause=100.0))
    verbs = client.generations

    requests = [GenerationRequest(**ORDER)]

    def run_many():
        with verbs.run_many(requests) as outcomes:
            next(outcomes)

    for call, *arguments in (
        (lambda: say(verbs.create(requests[0]).id),),
        (verbs.run, requests[0]),
        (verbs.run_all, requests),
        (run_many,),
    ):
        threading.Thread(target=call, args=arguments, daemon=True).start()
    try:
        say("begun")
        time.sleep(60)
    except KeyboardInterrupt:
        pass
"""
CALLS = 4
_POST: dict[str, Any] = {"method": "POST", "path": "/v2/generate", "count": None}
HELD_UP = {
    "jobs that run": None,
    "creates under way": Fault("latency", seconds=600.0, **_POST),
    "creates whose answer is lost": Fault("reset_after", **_POST),
    "pauses between two creates": Fault("status", status=500, **_POST),
}


@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize("fault", HELD_UP.values(), ids=HELD_UP.keys())
async def test_calls_that_are_left_in_daemon_threads(fault: Fault | None) -> None:
    """The end of the program names each job that they have ordered, or the key of its order."""
    async with Sandbox(seed=1, render=False, progression="manual") as sandbox:
        if fault is not None:
            sandbox.faults.add(fault)
        async with running(DAEMONS, sandbox) as program:
            await program.line()
            await true(lambda: len(keys_sent(sandbox)) == CALLS)
            program.interrupt()
            code, printed, errors = await program.end()
        records = records_of(sandbox)
        jobs = {key: record.created for key, record in records.items() if record.created}
        told = [
            key in errors or jobs.get(key, key) in printed + errors for key in keys_sent(sandbox)
        ]
    assert (code, told) == (0, [True] * CALLS)


def keys_sent(sandbox: Sandbox) -> set[str]:
    """Return the keys of the creates that have come."""
    return {each.headers["idempotency-key"] for each in sandbox.requests.find(method="POST")}


async def fail() -> None:
    """Fail as a create does whose answer was lost."""
    raise LipsyncError("idempotency_key='scene-12' tells")


async def return_a_job() -> str:
    """Return what a create does."""
    return "Generation(id='job-1')"


async def turns(are_done: threading.Event) -> None:
    """Let others run before an event is set."""
    for _ in range(10):
        await anyio.lowlevel.checkpoint()
    are_done.set()


LATE_ENDS: list[tuple[Callable[[], Coroutine[Any, Any, object]], list[str]]] = [
    (return_a_job, ["The call had succeeded meanwhile: \"Generation(id='job-1')\""]),
    (fail, ["The call had failed meanwhile: idempotency_key='scene-12' tells"]),
    (anyio.lowlevel.checkpoint, []),
    (lambda: anyio.Event().wait(), []),
]


@pytest.mark.parametrize(("work", "told"), LATE_ENDS)
@pytest.mark.parametrize("raises", [False, True])
def test_calls_that_end_when_the_program_has_ended(
    work: Callable[[], Coroutine[Any, Any, object]],
    told: list[str],
    raises: bool,  # noqa: FBT001 - a parameter
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Their callers do not get what they return or raise, so it is logged, filters or not."""

    def refuse(_: logging.LogRecord) -> bool:
        raise PermissionError

    thread = LoopThread()
    call = BlockingCall(thread, work, CallSite.here())
    thread.is_silent = True
    logger = logging.getLogger("lipsync_async")
    if raises:
        logger.addFilter(refuse)
    thread.submit(call.begin)  # nothing waits for it
    are_done = threading.Event()
    a_few_turns: list[asyncio.Task[None]] = []
    thread.submit(lambda: a_few_turns.append(asyncio.ensure_future(turns(are_done))))
    assert are_done.wait(10)
    thread.stop()
    logger.removeFilter(refuse)
    assert call.state is CallState.DONE
    assert caplog.messages == ([] if raises else told)
