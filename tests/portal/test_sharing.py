"""One client, many threads; and loops that run already."""

import anyio

from lipsync_async.sandbox import Sandbox
from lipsync_async.sandbox.faults import Fault
from tests.portal.programs import run, text


async def test_fifty_threads(sandbox: Sandbox) -> None:
    """Fifty threads share one client for hundreds of requests, each for its own job."""
    body = """
        from concurrent.futures import ThreadPoolExecutor

        with connect() as client, ThreadPoolExecutor(50) as pool:
            jobs = [client.generations.create(**ORDER).id for _ in range(10)] * 30
            seen = list(pool.map(client.generations.get, jobs))
            say([job.id for job in seen] == jobs, len(seen), client)
    """
    shown = f"<Client base_url='{sandbox.url}' in_flight=0>"
    assert await run(body, sandbox) == (0, f"True 300 {shown}\n", "")


async def test_futures(sandbox: Sandbox) -> None:
    """Verbs can be submitted to a pool; results and errors come as its futures have them."""
    sandbox.faults.add(Fault("fail_job", skip=1))
    body = """
        from concurrent.futures import ThreadPoolExecutor, as_completed, wait

        with connect() as client, ThreadPoolExecutor(3) as pool:
            first = pool.submit(client.generations.run, **ORDER)
            wait([first])
            second = pool.submit(client.generations.run, **ORDER)
            say(first.result().status, type(second.exception()).__name__)
    """
    assert await run(body, sandbox) == (0, "COMPLETED GenerationFailedError\n", "")


async def test_first_calls_at_once(sandbox: Sandbox) -> None:
    """Threads that make a client's first call at the same moment start one loop."""
    body = """
        from concurrent.futures import ThreadPoolExecutor

        gate = threading.Barrier(20)
        with connect() as client, ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda _: (gate.wait(), client.models.list()), range(20)))
            say(sum(thread.name == "lipsync_async" for thread in threading.enumerate()))
    """
    assert await run(body, sandbox) == (0, "1\n", "")


async def test_inside_a_running_loop(sandbox: Sandbox) -> None:
    """A client works where a loop runs already, as in a notebook."""
    body = """
        import asyncio

        async def main():
            with connect() as client:
                say(client.generations.run(**ORDER).status)
                say(len([job.status for job in client.generations.iter()]))

        asyncio.run(main())
    """
    assert await run(body, sandbox) == (0, "COMPLETED\n1\n", "")


async def test_in_ipython(sandbox: Sandbox, tmp_path: anyio.Path) -> None:
    """A script run by IPython's `%run`, and a cell after it, both use a client."""
    script = anyio.Path(tmp_path / "script.py")
    ran = "client = connect()\nsay(client.generations.run(**ORDER).status)"
    await script.write_text(text(ran, sandbox))
    cells = f"get_ipython().run_line_magic('run', {str(script)!r})\nawait cell()"
    body = f"""
        import IPython

        async def cell():
            say(sum(1 for _ in shell.user_ns["client"].generations.iter()))

        os.environ["IPYTHONDIR"] = {str(tmp_path)!r}
        shell = IPython.core.interactiveshell.InteractiveShell.instance(
            colors="NoColor", history_length=0, user_ns={{"cell": cell}}
        )
        shell.history_manager.enabled = False
        outcome = shell.run_cell({cells!r})
        outcome.raise_error()
    """
    code, printed, errors = await run(body, sandbox, ())
    assert (code, printed, errors) == (0, "COMPLETED\n1\n", "")


async def test_from_its_own_loop(sandbox: Sandbox) -> None:
    """Code that runs in the client's own loop is refused at once instead of waiting for itself."""
    body = """
        import anyio

        class Nosy:
            now, aclose = staticmethod(time.monotonic), staticmethod(anyio.lowlevel.checkpoint)
            sleep = hold = stream = staticmethod(anyio.sleep)

            async def send(self, request, *, timeout, deadline):
                for verb in (client.models.list, lambda: list(client.generations.iter())):
                    try:
                        verb()
                    except ConfigurationError as error:
                        say(error)
                return Response("GET", request.url, 200, {}, b'{"count": 7}')

        with connect(transport=Nosy()) as client:
            say(client.generations.count())
    """
    refusal = (
        "A blocking call from the client's own event loop would wait for itself for ever. Make it "
        "from another thread, or use AsyncClient.\n"
    )
    assert await run(body, sandbox) == (0, f"{refusal}{refusal}7\n", "")


async def test_in_a_logging_handler(sandbox: Sandbox) -> None:
    """A handler may use the client, though the client's own log goes to the same handler."""
    sandbox.faults.add(Fault("status", status=503, count=2))
    body = """
        class Calling(logging.Handler):
            def emit(self, record):
                say(record.name, threading.current_thread().name)
                if record.name == "app":
                    say(client.generations.count())

        logging.getLogger().addHandler(Calling())
        logging.getLogger("lipsync_async").setLevel("INFO")
        with connect(retry=RetryPolicy(first_pause=0.001)) as client:
            logging.getLogger("app").error("hello")
    """
    retried = "lipsync_async.retry MainThread\n"
    assert await run(body, sandbox) == (0, f"app MainThread\n{retried}{retried}0\n", "")
