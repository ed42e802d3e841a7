"""Ctrl-C: it stops the call, lets it clean up, and leaves the client usable."""

import time
from collections.abc import Callable
from pathlib import Path

import anyio

from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.faults import Fault
from tests.portal.programs import run, running

# What the product promises; the quickest of three counts, because machines are shared.
PROMISED_SECONDS = 0.5


async def arrivals(sandbox: Sandbox, many: int, method: str = "GET", path: str = "*") -> None:
    """Wait until so many requests have come."""
    await true(lambda: sandbox.requests.count(method, path) >= many)


async def true(condition: Callable[[], object]) -> None:
    """Let others run until something that they do has happened."""
    while not condition():
        await anyio.lowlevel.checkpoint()


async def test_interrupted_wait(sandbox: Sandbox) -> None:
    """It stops within half a second, the clean-up has run, and the client goes on."""
    sandbox.faults.add(Fault("hang", method="GET", count=3))
    body = """
        client = connect()
        job = client.generations.create(**ORDER)
        for _ in range(3):
            try:
                client.generations.wait_until_complete(job)
            except KeyboardInterrupt:
                say(time.monotonic(), client)
        say(client.generations.wait_until_complete(job).status)
        client.close()
    """
    seconds = []
    async with running(body, sandbox) as program:
        for number in range(3):
            await arrivals(sandbox, number + 1)
            pressed = time.monotonic()
            program.interrupt()
            stopped, _, shown = (await program.line()).partition(" ")
            seconds.append(float(stopped) - pressed)
            assert shown == f"<Client base_url='{sandbox.url}' in_flight=0>"
        assert await program.end() == (0, "COMPLETED\n", "")
    assert min(seconds) < PROMISED_SECONDS


async def test_interrupted_create_names_its_key(sandbox: Sandbox) -> None:
    """The key that finds out what became of the order is noted on the interruption."""
    sandbox.faults.add(Fault("hang", method="POST"))
    body = """
        with connect() as client:
            try:
                client.generations.create(**ORDER, idempotency_key="my-key")
            except KeyboardInterrupt as interruption:
                say(*interruption.__notes__)
            job = client.generations.create(**ORDER, idempotency_key="my-key")
            say(job.status)
    """
    async with running(body, sandbox) as program:
        await arrivals(sandbox, 1, "POST")
        program.interrupt()
        code, printed, errors = await program.end()
    note, status = printed.splitlines()
    assert (code, errors, status) == (0, "", "PENDING")
    assert "idempotency_key='my-key'" in note


async def test_interrupted_download_leaves_no_file(sandbox: Sandbox, tmp_path: Path) -> None:
    """The unfinished file is gone when the interruption arrives."""
    body = f"""
        with connect() as client:
            done = client.generations.run(**ORDER)
            try:
                client.generations.download(done, {str(tmp_path)!r})
            except KeyboardInterrupt:
                say(os.listdir({str(tmp_path)!r}))
    """
    sandbox.faults.add(Fault("slow_body", path="/__sandbox/media/*", seconds=60.0))
    async with running(body, sandbox) as program:
        await true(lambda: list(tmp_path.iterdir()))
        program.interrupt()
        assert await program.end() == (0, "[]\n", "")


async def test_interrupted_iteration(sandbox: Sandbox) -> None:
    """An iteration that is interrupted between or in its steps is over, and the client is not."""
    sandbox.faults.add(Fault("hang", method="GET", path="/v2/generations", skip=1))
    body = """
        with connect() as client:
            for _ in range(3):
                client.generations.create(**ORDER)
            jobs = client.generations.iter(page_size=2)
            say(next(jobs).status)
            try:
                next(jobs)
            except KeyboardInterrupt:
                say(list(jobs), client)
            say(client.generations.count())
    """
    async with running(body, sandbox) as program:
        assert await program.line() == "PROCESSING"
        await arrivals(sandbox, 2)
        program.interrupt()
        shown = f"[] <Client base_url='{sandbox.url}' in_flight=0>"
        assert await program.end() == (0, f"{shown}\n3\n", "")


async def test_interrupted_callback(sandbox: Sandbox) -> None:
    """Ctrl-C in a callback ends the call as well, and names the job that goes on."""
    body = """
        with connect() as client:
            try:
                client.generations.run(**ORDER, on_update=lambda job: (say(job.id), time.sleep(60)))
            except KeyboardInterrupt as interruption:
                say(*interruption.__notes__)
                say(client)
    """
    async with running(body, sandbox) as program:
        job = await program.line()
        program.interrupt()
        code, printed, errors = await program.end()
    note, shown = printed.splitlines()
    assert (code, errors) == (0, "")
    assert f"Generation {job} goes on" in note
    assert shown.endswith("in_flight=0>")


async def test_interrupted_block(sandbox: Sandbox) -> None:
    """Ctrl-C in the body of a `with` block ends the watch and goes on its way."""
    body = """
        with connect() as client:
            job = client.generations.create(**ORDER)
            try:
                with client.generations.updates(job.id) as changes:
                    say(next(changes).status)
                    time.sleep(60)
            except KeyboardInterrupt:
                say(list(changes), client)
    """
    async with running(body, sandbox) as program:
        await program.line()
        program.interrupt()
        shown = f"[] <Client base_url='{sandbox.url}' in_flight=0>\n"
        assert await program.end() == (0, shown, "")


async def test_second_interruption(sandbox: Sandbox) -> None:
    """A second Ctrl-C gives up a clean-up that takes its time."""
    body = """
        import anyio

        class Slow:
            now, aclose = staticmethod(time.monotonic), staticmethod(anyio.lowlevel.checkpoint)
            sleep = hold = stream = staticmethod(anyio.sleep)

            async def send(self, request, *, timeout, deadline):
                try:
                    say("sending")
                    await anyio.sleep_forever()
                finally:
                    with anyio.CancelScope(shield=True):
                        say("cleaning up")
                        await anyio.sleep_forever()

        client = connect(transport=Slow())
        try:
            client.models.list()
        except KeyboardInterrupt:
            say(client)
    """
    async with running(body, sandbox) as program:
        for expected in ("sending", "cleaning up"):
            assert await program.line() == expected
            program.interrupt()
        code, printed, errors = await program.end()
    # What was given up is cancelled once more at the end, and then ends.
    assert (code, errors) == (0, "")
    assert printed == f"<Client base_url='{sandbox.url}' in_flight=1>\n"


async def test_other_interruptions(sandbox: Sandbox) -> None:
    """An alarm's exception or an exit from a signal handler ends a call just so."""
    sandbox.faults.add(Fault("hang", method="GET", count=2))
    body = """
        class Enough(Exception): pass

        def ring(*_):
            raise ENDING

        signal.signal(signal.SIGALRM, ring)
        with connect() as client:
            for ENDING in (Enough("enough"), SystemExit(3)):
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                try:
                    client.models.list()
                except Enough as error:
                    say(error, client)
    """
    expected = f"enough <Client base_url='{sandbox.url}' in_flight=0>\n"
    assert await run(body, sandbox) == (3, expected, "")


async def test_without_a_handler_the_program_ends(sandbox: Sandbox) -> None:
    """A program that catches nothing ends by Ctrl-C with the user's own line in the traceback."""
    sandbox.faults.add(Fault("hang", method="GET"))
    body = """
        with connect() as client:
            client.models.list()
    """
    async with running(body, sandbox) as program:
        await arrivals(sandbox, 1)
        program.interrupt()
        code, printed, errors = await program.end()
    assert (code, printed) == (-2, "")
    assert errors.splitlines()[-1] == "KeyboardInterrupt"
    assert "Exception ignored" not in errors
