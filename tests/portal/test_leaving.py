"""However a program leaves its client, it ends at once and nothing is said."""

import pytest

from lipsync_async.sandbox import Sandbox
from tests.interpreter import STRICT
from tests.portal.programs import run

pytestmark = pytest.mark.anyio

LEFT = {
    "alive at the end": """
        client = connect()
        say(client.generations.run(**ORDER).status)
    """,
    "never used": """
        client = connect()
        say("COMPLETED")
    """,
    "dropped": """
        client = connect()
        say(client.generations.run(**ORDER).status)
        del client
        import gc; gc.collect()
        say(threading.active_count())
    """,
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
        import atexit

        client = connect()
        client.models.list()
        atexit.register(lambda: say(client.generations.run(**ORDER).status))
    """,
    "a verb that the interpreter itself calls": """
        import atexit

        client = connect()
        say(client.generations.run(**ORDER).status)
        atexit.register(client.models.list)
    """,
    "closed when the program ends": """
        import atexit

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
        client = connect(poll=PollPolicy(first_interval=60.0, long_poll=None))
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
    """Under `-W error -X dev` a client that nobody closed is no matter for the terminal."""
    code, printed, errors = await run(body, sandbox)
    assert (code, printed.split()[0], errors) == (0, "COMPLETED", "")


async def test_a_dropped_client_ends_its_thread(sandbox: Sandbox) -> None:
    """Without a client there is no thread."""
    _, printed, _ = await run(LEFT["dropped"], sandbox, STRICT)
    assert printed.split() == ["COMPLETED", "1"]


async def test_closed_from_another_thread(sandbox: Sandbox) -> None:
    """Who waits while another thread closes the client gets one clear error, with its key."""
    body = """
        client = connect(poll=PollPolicy(first_interval=60.0, long_poll=None))
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
